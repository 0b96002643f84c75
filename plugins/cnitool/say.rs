//! Whatever is printed.
//!
//! What comes from files, plugins and other programs may be anybody's text: it does not move the cursor of a terminal.

use std::io::{self, Write};

use cni::error::{Code, Error, OrFail, Result};
use cni::plain::{plain, plain_json, plain_lines};
use cni::spec::Spec;
use serde_json::{Value as Json, json};

/// Prints an answer, as text that is plain already or as JSON.
///
/// # Errors
/// It cannot be written. Whoever reads no further (`| head`) has what he wants.
pub(super) fn either(
    as_json: bool,
    text: impl FnOnce() -> String,
    document: impl FnOnce() -> Json,
) -> Result<()> {
    let text = if as_json { plain_json(&document()) } else { text() };
    match whole(&text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.or_fail(Code::IO, || "write to stdout".into()),
    }
}

/// Prints a text to its end, or says why not.
pub(super) fn whole(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

/// Tells of one thing while others follow; as JSON it is an object in a line.
pub(super) fn deed(deed: &str, what: &str, as_json: bool) {
    let line = match as_json {
        true => plain_lines(&json!({"deed": deed, "what": what}).to_string()),
        false => format!("{deed} {}", plain(what)),
    };
    // What is told to nobody is done all the same.
    let _ = writeln!(io::stdout(), "{line}");
}

/// An error: in one line the text, then the details as the Go library joins them, then the code; or the object that a plugin
/// would write.
pub(super) fn error(error: &Error, as_json: bool) {
    if as_json {
        let mut object = json!({
            "cniVersion": Spec::NEWEST.as_str(),
            "code": error.code().0,
            "msg": error.msg(),
        });
        if let (Some(details), Json::Object(members)) = (error.more(), &mut object) {
            members.insert("details".into(), json!(details));
        }
        // Nobody to tell if that cannot be written: the exit status says it too.
        let _ = io::stdout().write_all(plain_json(&object).as_bytes());
        return;
    }
    let details = error.more().map(|details| format!("; {details}")).unwrap_or_default();
    complain(&format!("Error: {}{details} (code {})", error.msg(), error.code().0));
}

/// A line for people.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain_lines(text));
}
