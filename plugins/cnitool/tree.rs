//! Calls that are made within others, as a tree.

/// One call.
#[derive(Debug, Default)]
pub(super) struct Branch {
    /// What stands at its fork.
    pub(super) head: String,
    /// Lines below that, plain already.
    pub(super) body: Vec<String>,
    /// The calls within it.
    pub(super) below: Vec<Branch>,
}

/// The text of a tree, each line with its end.
pub(super) fn draw(branches: &[Branch]) -> String {
    let mut text = String::new();
    grow(&mut text, "", branches);
    text
}

fn grow(text: &mut String, before: &str, branches: &[Branch]) {
    let mut rest = branches;
    while let Some((branch, after)) = rest.split_first() {
        let (fork, stem) = if after.is_empty() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        text.push_str(&format!("{before}{fork}{}\n", branch.head));
        let inner = format!("{before}{stem}");
        let beside = if branch.below.is_empty() { "   " } else { "│  " };
        for line in &branch.body {
            text.push_str(format!("{inner}{beside}{line}").trim_end());
            text.push('\n');
        }
        grow(text, &inner, &branch.below);
        rest = after;
    }
}

/// A document or a log under its name: on the same line where it is short, else on lines of its own. Nothing, where it is
/// empty.
pub(super) fn block(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    match lines.as_slice() {
        [] => Vec::new(),
        [line] => vec![format!("{name}: {line}")],
        lines => {
            let lines = lines.iter().map(|line| format!("    {line}"));
            std::iter::once(format!("{name}:")).chain(lines).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_its_forks_and_stems() {
        let leaf = |head: &str, body: &str| Branch {
            head: head.into(),
            body: block("stdin", body),
            below: Vec::new(),
        };
        let bridge = Branch { below: vec![leaf("host-local", "{\n}")], ..leaf("bridge", "{}") };
        let expected = "\
├─ bridge
│  │  stdin: {}
│  └─ host-local
│        stdin:
│            {
│            }
└─ portmap
";
        assert_eq!(draw(&[bridge, leaf("portmap", "")]), expected);
    }
}
