//! `netns` beside `ip netns`: the same lines in twin worlds, then the few places where ours differs on purpose.
//!
//! A case tells what both did; the expected statuses keep it from agreeing on the wrong thing.

mod twin;

mod add;
mod advice;
mod attach;
mod batch;
mod commands;
mod delete;
mod each;
mod everywhere;
mod exec;
mod graph;
mod ids;
mod list;
mod monitor;
mod mounts;
mod others;
mod pictures;
mod privileges;
mod processes;
mod run;
mod terminal;

mod differences;
