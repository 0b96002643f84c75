//! The cases of docs/conformance.md, and the tests that name them in the comment above them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A row of the page.
#[derive(Debug)]
#[allow(dead_code, reason = "the report prints all of it, the test of the page some")]
pub struct Row {
    /// The heading above it.
    pub group: String,
    /// Its number, such as `ENV-01`.
    pub case: String,
    /// `must`, `should`, `may`, `convention`, `practice` or `open`.
    pub level: String,
    /// What is demanded.
    pub demand: String,
    /// The files of its tests, or why it has none.
    pub place: String,
}

/// Where a case is tested.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// The file, as the page names it: `cnitool/derivation`.
    pub file: String,
    /// The function, as libtest names it: `cnitool::derivation::name`.
    pub path: String,
}

/// The top of the repository.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// A page of docs/.
pub fn page(name: &str) -> String {
    std::fs::read_to_string(top().join("docs").join(name)).unwrap()
}

/// The rows of docs/conformance.md, in its order.
pub fn rows() -> Vec<Row> {
    let mut group = String::new();
    let mut rows = Vec::new();
    for line in page("conformance.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            group = heading.to_owned();
        }
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        if let [case, level, demand @ .., place] = cells.as_slice()
            && line.starts_with("| ")
            && !cases(&format!("// {case}")).is_empty()
        {
            let [case, level, place] = [case, level, place].map(String::clone);
            rows.push(Row { group: group.clone(), case, level, demand: demand.join(" | "), place });
        }
    }
    rows
}

/// Every test file with its text, by the name that the pages use.
pub fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => walk(&path, found),
                path if path.extension().is_some_and(|kind| kind == "rs") => found.push(path),
                _ => {}
            }
        }
    }
    let mut files = Vec::new();
    ["tests", "ipam"].iter().for_each(|folder| walk(&top().join(folder), &mut files));
    let named = |path: PathBuf| {
        let name = path.strip_prefix(top()).unwrap().with_extension("").display().to_string();
        (name.trim_start_matches("tests/").to_owned(), std::fs::read_to_string(path).unwrap())
    };
    files.into_iter().map(named).collect()
}

/// The cases that a comment names: `CFG-03, -04, RTL-09`.
pub fn cases(comment: &str) -> Vec<String> {
    let Some(words) = comment.trim_start().strip_prefix("// ") else { return Vec::new() };
    let mut group = "";
    let mut found = Vec::new();
    for word in words.split([',', ' ', ':']).filter(|word| !word.is_empty()) {
        let Some((letters, number)) = word.split_once('-') else { break };
        let letters_fit = letters.len() <= 3 && letters.bytes().all(|b| b.is_ascii_uppercase());
        if !letters_fit
            || number.len() != 2
            || number.parse::<u8>().is_err()
            || (letters.is_empty() && group.is_empty())
        {
            break;
        }
        group = if letters.is_empty() { group } else { letters };
        found.push(format!("{group}-{number}"));
    }
    found
}

/// Which tests are about which case: the function that follows the comment, or that it is in.
pub fn tested() -> BTreeMap<String, BTreeSet<Test>> {
    let mut tested: BTreeMap<String, BTreeSet<Test>> = BTreeMap::new();
    for (file, text) in sources() {
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        let mut around = None;
        for (number, line) in lines.iter().enumerate() {
            around = name(line).or(around);
            let mut rest =
                lines.iter().skip(number).filter(|line| !line.starts_with("//") && !line.starts_with("#["));
            let function = rest.next().and_then(|line| name(line)).or(around);
            for case in cases(line) {
                let function = function.unwrap_or_else(|| panic!("{file}: no function has {case}"));
                let path = format!("{}::{function}", file.replace('/', "::"));
                tested.entry(case).or_default().insert(Test { file: file.clone(), path });
            }
        }
    }
    tested
}

/// The name of the function that begins here.
fn name(line: &str) -> Option<&str> {
    line.strip_prefix("fn ")?.split_once('(').map(|(name, _)| name)
}
