//! What an administrator says in the words of iptables: `externalSetMarkChain`, and `conditionsV4` and `conditionsV6` that
//! begin with `-` or `!`. They are passed on as they are. What each match means only iptables knows; but they stay matches of
//! the one rule that they are written for.

use cni::error::{Error, Result};

/// The short options of a match. Each stands by itself: what is glued to one could be another one.
const SHORT: [&str; 6] = ["-s", "-d", "-i", "-o", "-m", "-f"];

/// The long options that are no match, or that say once more what the rule itself says (iptables(8)).
const NOT_OF_A_MATCH: [&str; 31] = [
    "append",
    "check",
    "delete",
    "delete-chain",
    "exact",
    "flush",
    "goto",
    "help",
    "insert",
    "ipv4",
    "ipv6",
    "jump",
    "line-numbers",
    "list",
    "list-rules",
    "modprobe",
    "new",
    "new-chain",
    "numeric",
    "policy",
    "protocol",
    "rename-chain",
    "replace",
    "set-counters",
    "table",
    "verbose",
    "version",
    "wait",
    "wait-interval",
    "zero",
    "random",
];

/// Options of matches that look like abbreviations of those: of `policy` and of `recent`.
const OF_A_MATCH: [&str; 2] = ["pol", "set"];

/// The matches of one key.
///
/// # Errors
/// A word that is none of a match, with the key.
pub fn matches(key: &str, words: &[String]) -> Result<Vec<String>> {
    for word in words {
        let fault = match word.as_str() {
            "" => Some("is empty"),
            _ if word.contains(|letter: char| letter.is_control()) => Some("is no word of iptables"),
            _ if escapes(word) => Some("is no match, and conditions are matches of one rule"),
            _ => None,
        };
        if let Some(fault) = fault {
            return Err(Error::config(format!("{key}: {word:?} {fault}"))
                .details(format!("{key} is {:?}", words.join(" "))));
        }
    }
    Ok(words.into())
}

/// Is this an option that says what becomes of a packet, or where a rule is, or anything but which packets are meant?
/// iptables takes a long option for another one that begins so, unless a match has it.
fn escapes(word: &str) -> bool {
    let Some(long) = word.strip_prefix("--") else {
        return word.starts_with('-') && !SHORT.contains(&word);
    };
    let name = long.split('=').next().unwrap_or_default();
    !OF_A_MATCH.contains(&name) && NOT_OF_A_MATCH.iter().any(|option| option.starts_with(name))
}

/// The chain of `externalSetMarkChain`.
///
/// # Errors
/// No chain can be called so.
pub fn chain(name: &str) -> Result<String> {
    // XT_EXTENSION_MAXNAMELEN, with its NUL.
    let fits = name.len() < 29 && !name.starts_with(['-', '!']);
    let is_clean = |letter: char| letter.is_ascii_graphic() && letter != '"';
    match fits && name.chars().all(is_clean) {
        true => Ok(name.into()),
        false => Err(Error::config(format!("externalSetMarkChain {name:?} is no name of a chain"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>> {
        let words: Vec<String> = text.split(' ').map(String::from).collect();
        matches("conditionsV4", &words)
    }

    #[test]
    fn matches_are_passed_on_as_they_are() {
        for text in [
            "-s 10.0.0.0/8",
            "! -s 10.0.0.0/8 -i eth0",
            "-m comment --comment ours -d 192.0.2.1",
            "-m recent --set --name x",
            "-m policy --dir in --pol ipsec",
            "--source 10.0.0.0/8 --in-interface eth0",
            "-m set --match-set friends src",
        ] {
            assert_eq!(read(text).unwrap().join(" "), text);
        }
    }

    #[test]
    fn a_word_that_would_leave_the_rule_is_named() {
        for (text, word) in [
            ("-s 10.0.0.0/8 -j ACCEPT", "-j"),
            ("-jACCEPT", "-jACCEPT"),
            ("! -s 10.0.0.0/8 --jump DROP", "--jump"),
            ("--jum DROP", "--jum"),
            ("--jump=DROP", "--jump=DROP"),
            ("-g X", "-g"),
            ("-t filter", "-t"),
            ("--tab filter", "--tab"),
            ("-A INPUT", "-A"),
            ("-s 10.0.0.0/8 -fw", "-fw"),
            ("-w", "-w"),
            ("-p tcp", "-p"),
            ("--modprobe=/tmp/x", "--modprobe=/tmp/x"),
            ("--", "--"),
            ("-", "-"),
            ("-s  10.0.0.0/8", ""),
            ("-s 10.0.0.0/8\nCOMMIT", "10.0.0.0/8\nCOMMIT"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.code(), cni::error::Code::CONFIG);
            let named = format!("conditionsV4: {word:?} is ");
            assert!(error.msg().starts_with(&named), "{text:?} gives {}", error.msg());
        }
    }

    #[test]
    fn a_chain_has_a_name_that_iptables_takes() {
        assert_eq!(chain("KUBE-MARK-MASQ").unwrap(), "KUBE-MARK-MASQ");
        for name in ["-j", "!x", "a b", "x\"", "x\n", &"x".repeat(29)] {
            assert!(chain(name).unwrap_err().msg().contains("externalSetMarkChain"), "{name:?}");
        }
    }
}
