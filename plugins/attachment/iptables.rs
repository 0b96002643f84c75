//! iptables, for an administrator who insists: rules in the tables that he looks into, by the program that he uses.
//!
//! A change costs a listing and one `iptables-restore`, which does all or nothing.

use std::fs::File;
use std::path::Path;

use cni::error::{Error, OrFail, Result};
use cni::files;
use cni::tool::Tool;
use linux::nft::Family;

/// How often another is let pass who changes the same at the same moment.
const ATTEMPTS: usize = 5;

/// The folder whose lock is held while rules are changed.
const FOLDER: &str = "/run/jackfield";

/// The programs of a family.
pub struct Iptables {
    changes: Tool,
    restores: Tool,
}

impl Iptables {
    /// Finds the programs of IPv4, or of IPv6. `because` tells an administrator what he can change, if they are not there.
    ///
    /// # Errors
    /// The program that is missing.
    pub fn find(v4: bool, because: &str) -> Result<Iptables> {
        let (changes, restores) =
            if v4 { ("iptables", "iptables-restore") } else { ("ip6tables", "ip6tables-restore") };
        let located = |program| {
            Tool::find(program).ok_or_else(|| {
                let text =
                    format!("failed to locate iptables: {program:?}: executable file not found in $PATH");
                Error::internal(text).details(because)
            })
        };
        Ok(Iptables { changes: located(changes)?, restores: located(restores)? })
    }

    /// The programs that write to nf_tables, if they are there.
    pub(super) fn of_nft(family: Family) -> Option<Iptables> {
        let (named, plain) = match family {
            Family::Ipv6 => (["ip6tables-nft", "ip6tables-nft-restore"], ["ip6tables", "ip6tables-restore"]),
            _ => (["iptables-nft", "iptables-nft-restore"], ["iptables", "iptables-restore"]),
        };
        Iptables::of(named).or_else(|| Iptables::of(plain))
    }

    /// These programs, if both are there.
    pub(super) fn of([changes, restores]: [&str; 2]) -> Option<Iptables> {
        Some(Iptables { changes: Tool::find(changes)?, restores: Tool::find(restores)? })
    }

    /// `iptables v1.8.9 (legacy)`; before 1.8 there was no other, and no word for it.
    pub(super) fn is_legacy(&self) -> bool {
        let version = self.changes.run(&["--version"], b"");
        version.is_ok_and(|said| !String::from_utf8_lossy(&said.stdout).contains("nf_tables"))
    }

    /// The rules of a table, or of one chain of it, as `-S` lists them.
    ///
    /// # Errors
    /// What the program says.
    pub fn list(&self, table: &str, chain: Option<&str>) -> Result<String> {
        let arguments: Vec<&str> = ["-w", "-t", table, "-S"].into_iter().chain(chain).collect();
        let output = self.changes.run(&arguments, b"")?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(self.changes.refusal(&arguments, &output)),
        }
    }

    /// The first of these rules that a table does not have. All of them cost one run of the program, unless one is missing.
    ///
    /// # Errors
    /// What the program says.
    pub fn missing<'r>(&self, table: &str, rules: &'r [Rule]) -> Result<Option<&'r Rule>> {
        let Some((first, rest)) = rules.split_first() else { return Ok(None) };
        if rest.is_empty() || !self.has_all(table, rules)? {
            return self.search(table, first, rules);
        }
        Ok(None)
    }

    /// Halves what has a gap until the gap is one rule.
    fn search<'r>(&self, table: &str, first: &'r Rule, rules: &'r [Rule]) -> Result<Option<&'r Rule>> {
        let mut rules = rules;
        while rules.len() > 1 {
            let (front, back) = rules.split_at(rules.len() / 2);
            rules = if self.has_all(table, front)? { back } else { front };
        }
        let rule = rules.first().unwrap_or(first);
        Ok((!self.has(table, rule)?).then_some(rule))
    }

    fn has_all(&self, table: &str, rules: &[Rule]) -> Result<bool> {
        let questions: String = rules.iter().map(|rule| format!("-C {}\n", rule.text())).collect();
        let orders = format!("*{table}\n{questions}COMMIT\n");
        let output = self.restores.run(&["-w", "--noflush"], orders.as_bytes())?;
        Ok(output.status.success())
    }

    fn has(&self, table: &str, rule: &Rule) -> Result<bool> {
        let words = ["-w", "-t", table, "-C", &rule.chain].into_iter();
        let arguments: Vec<&str> = words.chain(rule.words.iter().map(String::as_str)).collect();
        let output = self.changes.run(&arguments, b"")?;
        // 1 is no; whatever else is wrong has another number, or is met again by the change.
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1 | 2) => Ok(false),
            _ => Err(self.changes.refusal(&arguments, &output)),
        }
    }

    /// Looks, and does what is to be done about what was seen: `orders` is what iptables-restore is told, nothing if nothing
    /// is to be done. Nobody else of ours changes anything by iptables between the look and the deed; whoever else has
    /// (a stranger, or ours over netlink) makes it refuse, and then is looked again.
    ///
    /// # Errors
    /// Those of `orders`; what the program says again and again. Then nothing was changed.
    pub fn settle(&self, mut orders: impl FnMut(&Iptables) -> Result<String>) -> Result<()> {
        let arguments = ["-w", "--noflush"];
        // It refuses to make a chain twice, but hardly ever a rule.
        let _one_after_another = alone()?;
        let mut refused = None;
        for _ in 0..ATTEMPTS {
            let orders = orders(self)?;
            if orders.is_empty() {
                return Ok(());
            }
            let output = self.restores.run(&arguments, orders.as_bytes())?;
            if output.status.success() {
                return Ok(());
            }
            refused = Some(self.restores.refusal(&arguments, &output));
        }
        refused.map_or(Ok(()), Err)
    }
}

/// Some names of links mean something else to iptables: a `+` at the end any link that begins so, a `!` at the beginning every
/// other one.
pub fn can_name(link: &str) -> bool {
    !(link.starts_with(['-', '!']) || link.ends_with('+') || link.contains(['\'', '\\']))
}

/// Keeps all others of ours from changing anything by iptables, until it is dropped. It is a lock of our own: that of xtables is
/// taken by the program itself.
fn alone() -> Result<File> {
    let locked = || {
        files::folder(Path::new(FOLDER))?;
        let folder = File::open(FOLDER)?;
        folder.lock().map(|()| folder)
    };
    locked().doing(|| format!("wait for others at iptables with a lock on {FOLDER}"))
}

/// A rule, as the program is told it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// How it comes into its chain.
    pub place: Place,
    /// What it says.
    pub words: Vec<String>,
}

/// How a rule comes into its chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
}

impl Rule {
    /// A rule behind all others.
    pub fn last<W: Into<String>>(chain: &str, words: impl IntoIterator<Item = W>) -> Rule {
        Rule { chain: chain.into(), place: Place::Last, words: words.into_iter().map(W::into).collect() }
    }

    /// A rule before all others.
    pub fn first<W: Into<String>>(chain: &str, words: impl IntoIterator<Item = W>) -> Rule {
        Rule { place: Place::First, ..Rule::last(chain, words) }
    }

    /// The line by which iptables-restore makes it.
    pub fn order(&self) -> String {
        let place = if self.place == Place::First { "-I" } else { "-A" };
        format!("{place} {}\n", self.text())
    }

    fn text(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| quoted(word)).collect();
        format!("{} {}", self.chain, words.join(" "))
    }
}

/// A word as iptables-restore reads it: `add_param_to_argv` in its `xshared.c`.
fn quoted(word: &str) -> String {
    match word.is_empty() || word.contains([' ', '\t', '"']) {
        true => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
        false => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_it_would_be_read_as_something_else() {
        let rule = Rule::last("X", ["--comment", "a \"b\" \\c", "-s", "10.0.0.0/8", "a\\b", ""]);
        assert_eq!(rule.order(), r#"-A X --comment "a \"b\" \\c" -s 10.0.0.0/8 a\b """#.to_owned() + "\n");
        assert_eq!(Rule::first("X", ["-j", "Y"]).order(), "-I X -j Y\n");
    }
}
