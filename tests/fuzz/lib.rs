//! Bad bytes: seeds, and what becomes of them when they are changed, place by place and at random (docs/fuzzing.md).
//!
//! Each library has a module `hostile` with its targets: functions from bytes that anybody may have written to nothing, which
//! panic where a promise is broken. Two drive them. Here, in ordinary tests: every seed, every value of it replaced ([`every`]), and
//! then a fixed number of changed ones, always the same. In `tests/fuzz/guided`: libFuzzer, for as long as one likes, led by which code is reached.

#![allow(clippy::indexing_slicing, reason = "whoever tests may fail, and each index is below a length")]

pub mod every;
pub mod mutation;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use mutation::Mutation;

/// Changed inputs for each seed of a target, at least; [`RUNS`] multiplies it.
const EACH: usize = 60;

/// So many for a target with few seeds.
const FEWEST: usize = 4000;

/// Multiplies the runs: for an evening without libFuzzer.
pub const RUNS: &str = "JACKFIELD_FUZZ_RUNS";

/// Gives a target its seeds, each of their values replaced, and then others at random. An input that breaks it is printed, ready to become a seed.
pub fn attack(target: &str, on: impl Fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{target} has no seeds in {}", folder(target).display());
    for seed in &seeds {
        once(target, seed, &on);
    }
    let mut known = BTreeSet::new();
    for changed in seeds.iter().flat_map(|seed| every::changes(seed, &mut known)) {
        once(target, &changed, &on);
    }
    let mut mutation = Mutation::of(target, words());
    for round in 0..(seeds.len() * EACH).max(FEWEST) * times() {
        let seed = &seeds[round % seeds.len()];
        let other = &seeds[mutation.below(seeds.len())];
        once(target, &mutation.change(seed, other), &on);
    }
}

/// How often the usual number of runs.
#[expect(clippy::disallowed_methods, reason = "a test is told how long to go on; no program reads this")]
pub fn times() -> usize {
    std::env::var(RUNS).ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

fn once(target: &str, input: &[u8], on: &impl Fn(&[u8])) {
    let told = Told { target, input };
    on(input);
    drop(told);
}

/// Tells which input it was when the target panics.
struct Told<'a> {
    target: &'a str,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut octal = String::new();
            for byte in self.input {
                // Writing to a string does not fail.
                let _ = write!(octal, "\\{byte:03o}");
            }
            let text = self.input.escape_ascii();
            let folder = folder(self.target);
            complain(&format!(
                "this breaks {}: {text}\nto keep it: printf '{octal}' > {}/NAME\n",
                self.target,
                folder.display()
            ));
        }
    }
}

#[expect(clippy::print_stderr, reason = "libtest shows what a failed test has printed")]
fn complain(text: &str) {
    eprint!("{text}");
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The seeds of a target, in the order of their names.
///
/// # Panics
/// The repository lacks them.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder(target))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}

/// Keys, numbers and names that have a meaning somewhere: the dictionary of libFuzzer, one to a line in quotes.
pub fn words() -> Vec<Vec<u8>> {
    let text = include_str!("words.dict");
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(unescaped).collect()
}

/// A backslash stands before a backslash, a quotation mark, or `x` and two digits.
fn unescaped(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        let hexadecimal = rest.strip_prefix("\\x").and_then(|rest| rest.split_at_checked(2));
        let number = hexadecimal.and_then(|(digits, _)| u8::from_str_radix(digits, 16).ok());
        match (number, rest.strip_prefix('\\').and_then(|rest| rest.chars().next())) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = hexadecimal.map_or("", |(_, rest)| rest);
                continue;
            }
            (None, Some(escaped)) => bytes.extend(escaped.to_string().bytes()),
            (None, None) => bytes.extend(c.to_string().bytes()),
        }
        let taken = if c == '\\' { 2 } else { c.len_utf8() };
        rest = rest.get(taken..).unwrap_or_default();
    }
    bytes
}

/// The variables of a call, one to a line, and behind an empty line its stdin.
pub fn call(bytes: &[u8]) -> (Vec<(OsString, OsString)>, Vec<u8>) {
    let mut rest = bytes;
    let mut variables = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = &after[after.len().min(1)..];
        let Some(middle) = line.iter().position(|byte| *byte == b'=') else { break };
        let text = |part: &[u8]| OsString::from_vec(part.to_vec());
        variables.push((text(&line[..middle]), text(&line[middle + 1..])));
    }
    (variables, rest.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_dictionary_is_read_as_libfuzzer_reads_it() {
        assert_eq!(unescaped(r#"a\\\"\x00\xffé"#), b"a\\\"\0\xff\xc3\xa9");
        assert!(words().contains(&b"\"mtu\"".to_vec()) && words().iter().all(|word| !word.is_empty()));
    }

    #[test]
    fn an_attack_is_the_same_each_time() {
        let heard = || {
            let all = std::cell::RefCell::new(Vec::new());
            attack("value", |bytes| all.borrow_mut().push(bytes.to_vec()));
            all.into_inner()
        };
        let first = heard();
        assert_eq!(first, heard());
        let mut different = first.clone();
        different.sort();
        different.dedup();
        assert!(different.len() > first.len() / 2, "{} of {}", different.len(), first.len());
    }
}
