//! Text for a terminal. What stands in a file, or in its name, may be anybody's: it must not move the cursor, colour what
//! follows, or begin a line of its own.

use std::fmt::Write;

use serde_json::Value;

/// The same text, in which whatever is no visible character stands as Rust would escape it, line breaks too. A backslash is
/// doubled, so that no two texts look alike.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_visible(c) && c != '\\' {
            true => shown.push(c),
            false => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// A document on lines of its own, in which whatever is no visible character is escaped as JSON has it: whoever reads it
/// gets the very text.
pub fn plain_json(document: &Value) -> String {
    plain_lines(&format!("{document:#}\n"))
}

/// The same text on its own lines, in which whatever else is no visible character is escaped as JSON has it: where the text
/// is JSON, it still says the same.
pub fn plain_lines(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if c == '\n' || is_visible(c) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// Rows in columns below their headings, each a line. What is in them is plain already.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Neither a control character nor one that changes how its neighbours look (U+202E writes from right to left).
fn is_visible(c: char) -> bool {
    matches!(c, '\\' | '\'' | '"') || c.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_written_out() {
        for (text, shown) in [
            ("web_1.a-b", "web_1.a-b"),
            ("eth0 of \"wéb\", 'x'", "eth0 of \"wéb\", 'x'"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("a\nb\r\t\0\u{7f}", "a\\nb\\r\\t\\0\\u{7f}"),
            // One character that is two to a terminal, and one that turns the rest of the line around.
            ("\u{9b}2J\u{202e}", "\\u{9b}2J\\u{202e}"),
            ("\\n", "\\\\n"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [["é".into(), "x".into()], ["longer".into(), String::new()]];
        assert_eq!(table(["A", "B"], rows), "A       B\né       x\nlonger\n");
    }

    #[test]
    fn json_is_plain_and_says_the_same() {
        let document = json!([{"file": "\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{e0001}\n\\ \"é\""}]);
        let text = plain_json(&document);
        assert!(text.chars().all(|c| c == '\n' || is_visible(c)), "{text}");
        assert!(
            text.ends_with("]\n") && text.contains("\\u001b[2J\\u009b\\u007f\\u202e\\udb40\\udc01\\n"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }
}
