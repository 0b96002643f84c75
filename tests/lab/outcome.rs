//! What a call answered, and how a test says what it expected.

use std::process::{ExitStatus, Output};

use serde_json::Value;

use super::differences;
use super::world;

/// Exit status, stdout and stderr of one call.
#[derive(Debug, Clone)]
pub struct Outcome {
    call: String,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Outcome {
    /// Takes what a process left.
    pub fn new(call: String, output: Output) -> Outcome {
        Outcome { call, status: output.status, stdout: output.stdout, stderr: output.stderr }
    }

    /// Success, with exactly one JSON object on stdout: the result.
    #[track_caller]
    pub fn result(&self) -> Value {
        assert!(self.status.success(), "expected success\n{self}");
        self.document()
    }

    /// Success, with nothing on stdout.
    #[track_caller]
    pub fn silent(&self) {
        assert!(self.status.success(), "expected success\n{self}");
        assert!(self.stdout.trim_ascii().is_empty(), "expected nothing on stdout\n{self}");
    }

    /// Failure with this code, in a whole error object on stdout (ERR-01, -02, -04, -15, -16).
    #[track_caller]
    pub fn fails(&self, code: i64) -> Fault {
        let fault = self.fails_somehow();
        assert_eq!(fault.code, code, "the error's code\n{self}");
        fault
    }

    /// Failure with one of these codes.
    #[track_caller]
    pub fn fails_with_one_of(&self, codes: &[i64]) -> Fault {
        let fault = self.fails_somehow();
        assert!(codes.contains(&fault.code), "the error's code is none of {codes:?}\n{self}");
        fault
    }

    /// Failure with this code; the reference's documented code where that is under test.
    #[track_caller]
    pub fn fails_or(&self, key: &str, ours: i64, theirs: i64) -> Fault {
        self.fails(if differences::is_theirs(key) { theirs } else { ours })
    }

    /// Failure with any code, in a whole error object on stdout.
    #[track_caller]
    pub fn fails_somehow(&self) -> Fault {
        assert!(!self.status.success(), "expected failure\n{self}");
        let object = self.document();
        let code = object["code"].as_i64().unwrap_or_else(|| panic!("code is a number\n{self}"));
        let msg = object["msg"].as_str().unwrap_or_else(|| panic!("msg is a string\n{self}")).to_owned();
        assert!(!msg.is_empty(), "msg says something\n{self}");
        let details = match object.get("details") {
            None => String::new(),
            Some(details) => {
                details.as_str().unwrap_or_else(|| panic!("details is a string\n{self}")).to_owned()
            }
        };
        if world::reference().is_none() {
            let known = matches!(code, 1..=8 | 11 | 50 | 51 | 100..);
            assert!(known, "code {code} has no meaning\n{self}");
            assert!(object["cniVersion"].is_string(), "an error says its cniVersion\n{self}");
        }
        Fault { code, msg, details, object, whole: self.to_string() }
    }

    /// The one JSON object on stdout.
    #[track_caller]
    fn document(&self) -> Value {
        match serde_json::from_slice(&self.stdout) {
            Ok(Value::Object(object)) => Value::Object(object),
            Ok(_) => panic!("expected an object on stdout\n{self}"),
            Err(e) => panic!("expected one JSON object on stdout ({e})\n{self}"),
        }
    }

    /// Whether the exit status was 0.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// The exit status.
    pub fn status(&self) -> ExitStatus {
        self.status
    }

    /// What was printed.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What was logged.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { call, status, .. } = self;
        write!(f, "  call: {call}\n  {status}\n  stdout: {}\n  stderr: {}", self.stdout(), self.stderr())
    }
}

/// An error object.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The number for the runtime.
    pub code: i64,
    /// The short text.
    pub msg: String,
    /// The long text, or nothing.
    pub details: String,
    /// The whole object.
    pub object: Value,
    whole: String,
}

impl Fault {
    /// The error names all of these words, in its message or its details.
    #[track_caller]
    pub fn names(self, words: &[&str]) -> Fault {
        let text = format!("{}; {}", self.msg, self.details);
        for word in words {
            assert!(text.contains(word), "expected the error to name `{word}`\n{}", self.whole);
        }
        self
    }

    /// The same, where only we promise it.
    #[track_caller]
    pub fn ours_names(self, key: &str, words: &[&str]) -> Fault {
        if differences::is_theirs(key) { self } else { self.names(words) }
    }
}
