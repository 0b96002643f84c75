//! The table of the document, and how what was found is told beside it.

use std::fmt::Write as _;

const DOCUMENT: &str = include_str!("../../docs/reachability.md");

/// Rows of cells; the first row has the options, the first two cells of each other one from whom and to whom.
pub struct Table(Vec<Vec<String>>);

impl Table {
    pub fn of_the_document() -> Table {
        let mut rows = DOCUMENT.lines().skip_while(|line| !line.starts_with("| from | to |"));
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
        };
        let head = cells(rows.next().expect("a table"));
        let rest = rows.skip(1).take_while(|line| line.starts_with('|')).map(cells);
        Table([head].into_iter().chain(rest).collect())
    }

    /// The options.
    pub fn columns(&self) -> &[String] {
        &self.0[0][2..]
    }

    /// The ways, as `from → to`.
    pub fn rows(&self) -> Vec<String> {
        self.0[1..].iter().map(|row| format!("{} → {}", row[0], row[1])).collect()
    }

    /// What one option promises: way by way.
    pub fn column(&self, option: &str) -> Vec<String> {
        let place = self.0[0].iter().position(|name| name == option).expect("a column");
        self.0[1..].iter().map(|row| row[place].clone()).collect()
    }
}

/// The column as it should be and as it is, the wrong cells marked.
pub fn compared(rows: &[String], expected: &[String], found: &[String]) -> String {
    let mut told = String::new();
    let width = rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
    for ((row, expected), found) in rows.iter().zip(expected).zip(found) {
        let mark = if expected == found { "" } else { "   <-- wrong" };
        writeln!(told, "{row:width$}  expected {expected:8} found {found}{mark}").unwrap();
    }
    told
}
