//! The tables of docs/ follow the tests: no case without a test or a reason, no difference without a pair.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::lab::differences;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(top().join("docs").join(name)).unwrap()
}

/// Every test file with its text, by the name that the pages use.
fn sources() -> Vec<(String, String)> {
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
fn cases(comment: &str) -> Vec<String> {
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

/// Which files test which case.
fn tested() -> BTreeMap<String, BTreeSet<String>> {
    let mut tested: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in sources() {
        for case in text.lines().flat_map(cases) {
            tested.entry(case).or_default().insert(name.clone());
        }
    }
    tested
}

#[test]
fn a_comment_names_its_cases() {
    assert_eq!(cases("    // CFG-03, -04, RTL-09"), ["CFG-03", "CFG-04", "RTL-09"]);
    assert_eq!(cases("// DEL-15: a stranger"), ["DEL-15"]);
    assert!(cases("// a word, ENV-01").is_empty() && cases("let x = 1; // ENV-01").is_empty());
}

#[test]
fn every_case_of_the_specification_has_a_test_or_a_reason() {
    let mut tested = tested();
    let mut faults = Vec::new();
    for row in page("conformance.md").lines().filter(|line| line.starts_with("| ") && line.contains("-")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let (Some(case), Some(place)) = (cells.first(), cells.last()) else { continue };
        let files = tested.remove(*case).unwrap_or_default();
        let right = files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
        let says_why = files.is_empty() && !place.is_empty() && !place.contains('`');
        let says_why = says_why || (files.is_empty() && place.contains(' '));
        if *place != right && !says_why {
            faults.push(format!("{case}: the page says {place}, the tests say {right}"));
        }
    }
    faults.extend(tested.into_iter().map(|(case, files)| format!("{case} of {files:?} is not on the page")));
    assert!(faults.is_empty(), "docs/conformance.md:\n{}", faults.join("\n"));
}

#[test]
fn every_difference_is_explained_and_tested_as_a_pair() {
    let page = page("differences.md");
    let (sources, tested) = (sources(), tested());
    let mut faults = Vec::new();
    for difference in differences::all() {
        let key = difference.key;
        if !page.contains(&format!("| `{key}` |")) {
            faults.push(format!("`{key}` is not in docs/differences.md"));
        }
        let used = |(name, text): &(String, String)| {
            !name.starts_with("lab/differences") && text.contains(&format!("\"{key}\""))
        };
        if !sources.iter().any(used) {
            faults.push(format!("no test asserts the pair `{key}`"));
        }
        let cases = difference.cases.split_whitespace().filter(|case| !tested.contains_key(*case));
        faults.extend(cases.map(|case| format!("`{key}`: no test of {case}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
