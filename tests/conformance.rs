//! The tables of docs/ follow the tests: no case without a test or a reason, no difference without a pair.

mod cases;

use std::collections::BTreeSet;

use crate::lab::differences;
use cases::{cases, page, rows, sources, tested};

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
    for row in rows() {
        let files: BTreeSet<_> =
            tested.remove(&row.case).unwrap_or_default().into_iter().map(|test| test.file).collect();
        let right = files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
        let says_why = files.is_empty() && !row.place.is_empty() && !row.place.contains('`');
        let says_why = says_why || (files.is_empty() && row.place.contains(' '));
        if row.place != right && !says_why {
            faults.push(format!("{}: the page says {}, the tests say {right}", row.case, row.place));
        }
    }
    faults.extend(tested.into_iter().map(|(case, tests)| format!("{case} of {tests:?} is not on the page")));
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
