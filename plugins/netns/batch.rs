//! `-batch FILE`: many commands from a file, one to a line, as iproute2 reads them. A line may begin with `netns`, so that
//! a file for `ip -batch` will do.

use crate::words::{self, Options};
use crate::{Refusal, Status, complain, perform_line};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Performs the commands in a file. The first one that fails ends it, with `-force` only one that makes no sense.
pub(crate) fn batch(options: &Options, file: &OsStr) -> Result<(), Refusal> {
    let mut done = Ok(());
    for (number, line) in lines(&read(file)?) {
        let words = split(&line)?;
        if words.is_empty() {
            continue;
        }
        let Err(refusal) = perform(options, &words) else { continue };
        if refusal.status == Status::Rejected || refusal.status == Status::Killed {
            return Err(refusal);
        }
        refusal.tell();
        complain(&format!("Command failed {}:{number}", file.display()));
        done = Err(Refusal::said());
        if !options.force {
            break;
        }
    }
    done
}

fn perform(options: &Options, words: &[OsString]) -> Result<(), Refusal> {
    let line = match words {
        [first, rest @ ..] if first == "netns" => rest,
        line => line,
    };
    perform_line(options, words::command(options, line)?)
}

fn read(file: &OsStr) -> Result<Vec<u8>, Refusal> {
    let mut text = Vec::new();
    let read = match file.as_bytes() {
        b"-" => std::io::stdin().lock().read_to_end(&mut text).map(|_| text),
        _ => std::fs::read(file),
    };
    read.map_err(|error| {
        let why = linux::named::reason(&error);
        Refusal::failed(format!("Cannot open file \"{}\" for reading: {why}", file.display()))
    })
}

/// The lines without comments, and those that end in a backslash joined with the next; each with the number of its last.
fn lines(text: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut found = Vec::new();
    let mut begun: Vec<u8> = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let code = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        begun.extend(code);
        // A backslash in a comment joins nothing.
        match code.len() == line.len() && begun.last() == Some(&b'\\') {
            true => drop(begun.pop()),
            false => found.push((number, std::mem::take(&mut begun))),
        }
    }
    found
}

/// The words of a line; blanks within quotes belong to the word, and nothing else is special.
fn split(line: &[u8]) -> Result<Vec<OsString>, Refusal> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some((first, behind)) = rest.split_first() {
        let (word, after) = match first {
            b'\'' | b'"' => {
                let end = behind.iter().position(|byte| byte == first);
                let end = end.ok_or_else(|| Refusal::failed("Unterminated quoted string"))?;
                (behind.get(..end), behind.get(end + 1..))
            }
            _ => {
                let end = rest.iter().position(blank).unwrap_or(rest.len());
                (rest.get(..end), rest.get(end..))
            }
        };
        words.push(OsString::from_vec(word.unwrap_or_default().to_vec()));
        rest = after.unwrap_or_default().trim_ascii_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).ok().unwrap().into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn words_are_apart_by_blanks_unless_they_are_quoted() {
        assert_eq!(words("  add\ta "), ["add", "a"]);
        assert_eq!(words(r#"add 'a b' "c'd" '' x"#), ["add", "a b", "c'd", "", "x"]);
        assert_eq!(words(r#"a'b c"#), ["a'b", "c"], "a quote within a word is a letter");
        assert!(words(" \t\r").is_empty());
        let refusal = split(b"add 'a").unwrap_err();
        assert_eq!(
            (refusal.message.as_str(), refusal.status),
            ("Unterminated quoted string", Status::Failed)
        );
    }

    #[test]
    fn a_line_may_be_a_comment_and_may_go_on() {
        let text = b"one # no\n#two\nthr\\\nee\nfour # \\\nfive";
        let found: Vec<_> =
            lines(text).into_iter().map(|(n, l)| (n, String::from_utf8(l).unwrap())).collect();
        let expected = [(1, "one "), (2, ""), (4, "three"), (5, "four "), (6, "five")];
        assert_eq!(found, expected.map(|(n, l)| (n, l.to_owned())));
    }

    #[test]
    fn whatever_a_file_holds_is_lines_of_words() {
        fuzz::attack("batch", |text| {
            let lines = lines(text);
            assert!(lines.len() <= text.len() + 1 && lines.windows(2).all(|pair| pair[0].0 < pair[1].0));
            for (_, line) in lines {
                let Ok(words) = split(&line) else { continue };
                assert!(words.iter().map(|word| word.len()).sum::<usize>() <= line.len());
                assert!(words.len() <= line.len());
            }
        });
    }
}
