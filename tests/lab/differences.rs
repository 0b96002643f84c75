//! Where we and the Go plugins answer differently on purpose: the table behind docs/differences.md.
//!
//! A test that asserts such a pair names the key; a key that no test names, or that the page does not explain,
//! fails tests/conformance.rs.

/// One pair of answers.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// The word by which tests and docs/differences.md name it.
    pub key: &'static str,
    /// The conformance cases it belongs to.
    pub cases: &'static [&'static str],
    /// What our programs do.
    pub ours: &'static str,
    /// What the Go plugins do.
    pub theirs: &'static str,
}

/// The pair of that key.
#[track_caller]
pub fn of(key: &str) -> &'static Difference {
    TABLE
        .iter()
        .find(|d| d.key == key)
        .unwrap_or_else(|| panic!("`{key}` is not in the table of differences"))
}

/// All pairs.
pub const TABLE: &[Difference] = &[Difference {
    key: "spec-1.1.0",
    cases: &["GC-01", "STA-01", "GC-12"],
    ours: "all of 1.1.0, GC and STATUS included, by every program",
    theirs: "plugins before v1.4 do not know 1.1.0; later ones answer GC with success and do nothing",
}];
