//! What container runtimes do with the plugins: their calls, replayed, and the runtimes themselves.

mod recorded;
