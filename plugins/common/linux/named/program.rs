//! Becoming a program as glibc's `execvp` does it: musl's knows neither the same default path nor a script
//! without `#!`, and `ip netns exec` is used with both. The signal mask and dispositions stay as they are,
//! which `std::os::unix::process::CommandExt::exec` does not promise.

use super::enter::Command;
use nix::errno::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// Comes back only with the reason why no candidate could be run.
pub(super) fn replace_this_process(command: &Command) -> Errno {
    let name = command.program.as_bytes();
    if name.is_empty() {
        return Errno::ENOENT;
    }
    if name.contains(&b'/') {
        return execute(name, command);
    }
    let search = command.search.map_or(&b"/bin:/usr/bin"[..], OsStr::as_bytes);
    let mut reason = Errno::ENOENT;
    for folder in search.split(|byte| *byte == b':') {
        match execute(&within(folder, name), command) {
            Errno::EACCES => reason = Errno::EACCES, // said only if no later folder has a program that runs
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENODEV | Errno::ESTALE | Errno::ETIMEDOUT => {}
            other => return other,
        }
    }
    reason
}

/// An empty folder in a search path is the current one.
fn within(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Runs one candidate; a text that no loader knows is a script for the shell.
fn execute(candidate: &[u8], command: &Command) -> Errno {
    let words = command.arguments.iter().map(|word| CString::new(word.as_bytes()));
    let (Ok(path), Ok(name), Ok(arguments)) = (
        CString::new(candidate),
        CString::new(command.program.as_bytes()),
        words.collect::<Result<Vec<_>, _>>(),
    ) else {
        return Errno::EINVAL; // a zero byte, which no caller's argument vector can hold
    };
    match execv(&path, &[name], &arguments) {
        Errno::ENOEXEC => execv(c"/bin/sh", &[c"/bin/sh".into(), path], &arguments),
        other => other,
    }
}

fn execv(path: &CStr, first: &[CString], rest: &[CString]) -> Errno {
    let words: Vec<&CStr> = first.iter().chain(rest).map(CString::as_c_str).collect();
    match nix::unistd::execv(path, &words) {
        Err(errno) => errno,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails_with(program: &str, search: &str) -> Errno {
        let (program, search) = (OsStr::new(program), Some(OsStr::new(search)));
        replace_this_process(&Command { program, arguments: &[], search })
    }

    #[test]
    fn says_why_nothing_could_be_run() {
        assert_eq!(fails_with("", "/bin"), Errno::ENOENT);
        assert_eq!(fails_with("no-such-program", "/bin:/usr/bin:/etc/passwd"), Errno::ENOENT);
        assert_eq!(fails_with("/etc/passwd", ""), Errno::EACCES);
        assert_eq!(fails_with("passwd", "/etc:/dev"), Errno::EACCES);
        assert_eq!(fails_with("/etc/passwd/x", ""), Errno::ENOTDIR);
    }

    #[test]
    fn an_empty_folder_is_the_current_one() {
        assert_eq!(within(b"", b"tool"), b"tool");
        assert_eq!(within(b"/bin", b"tool"), b"/bin/tool");
    }
}
