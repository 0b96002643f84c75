//! Runs a program of the system, such as `iptables`: for what the kernel does not say to anybody else.

use std::path::PathBuf;
use std::process::Command;

use crate::env;
use crate::error::{Error, Result};
use crate::exec::{self, Output};

/// A program of the system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tool {
    program: PathBuf,
}

impl Tool {
    /// Looks for a program in the folders of `PATH`, then in those that hold the administrator's programs everywhere.
    pub fn find(name: &str) -> Option<Tool> {
        let mut candidates = env::folders_of_tools().into_iter().map(|folder| folder.join(name));
        candidates.find(|program| program.is_file()).map(|program| Tool { program })
    }

    /// Runs the program to its end, in an environment that holds nothing of ours, and hears what it says. How it ended is
    /// the caller's to judge.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn run(&self, arguments: &[&str], stdin: &[u8]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        // C is the language in which a complaint can be looked up.
        command.args(arguments).env_clear().env("LC_ALL", "C");
        if let Ok(path) = std::env::join_paths(env::folders_of_tools()) {
            command.env("PATH", path);
        }
        exec::finish(command, &self.program, exec::TOOL, stdin)
    }

    /// The error for a program that has refused, with what it said.
    pub fn refusal(&self, arguments: &[&str], output: &Output) -> Error {
        let program = self.program.display();
        let words: Vec<String> = std::iter::once(program.to_string())
            .chain(arguments.iter().map(|word| (*word).to_owned()))
            .collect();
        let how = exec::how_it_ended(output.status);
        let said = String::from_utf8_lossy(&output.stderr);
        Error::internal(format!("running [{}]: {how}: {}", words.join(" "), said.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_runs_without_our_environment_and_is_quoted_when_it_fails() {
        let shell = Tool::find("sh").unwrap();
        let output = shell.run(&["-c", "env | cut -d= -f1 | sort; cat"], b"stdin").unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("LC_ALL\n") && said.contains("PATH\n") && said.ends_with("stdin"), "{said}");
        assert!(!said.contains("HOME") && !said.contains("CARGO"), "{said}");

        let failing = ["-c", "echo oops >&2; exit 3"];
        let output = shell.run(&failing, b"").unwrap();
        let text = shell.refusal(&failing, &output).msg();
        assert!(text.starts_with("running [/"), "{text}");
        assert!(text.ends_with("sh -c echo oops >&2; exit 3]: exit status 3: oops"), "{text}");
    }

    #[test]
    fn a_listing_may_be_longer_than_a_plugins_answer() {
        let output = Tool::find("head").unwrap().run(&["-c", "6000000", "/dev/zero"], b"").unwrap();
        assert!(output.status.success() && output.stdout.len() == 6_000_000, "{}", output.stdout.len());
    }

    #[test]
    fn a_tool_that_is_nowhere_is_not_found() {
        assert_eq!(Tool::find("no-such-tool"), None);
    }
}
