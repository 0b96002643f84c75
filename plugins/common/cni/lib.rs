//! CNI as values.
pub mod error;
pub mod name;
pub mod spec;
pub mod value;
pub mod decode;
pub mod result;
