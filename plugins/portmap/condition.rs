//! Who may use the ports of a network: `conditionsV4` and `conditionsV6`, in words of `nft`.
//!
//! ```text
//! condition = match …                                all of them have to hold
//! match     = ip saddr|daddr  [!=] ADDRESS[/LENGTH]  (ip6 in conditionsV6)
//!           | [meta] iifname  [!=] NAME
//!           | [meta] mark     [and NUMBER] [!=] NUMBER
//! ```
//!
//! `==` may stand where `!=` may, `&` for `and`; numbers are decimal, or hexadecimal behind `0x`; a name may stand between
//! quotation marks. The list is read as one text, so it does not matter how the words are divided among its items.

use std::iter::Peekable;
use std::net::IpAddr;
use std::str::SplitWhitespace;

use cni::error::{Error, Result};
use cni::name::IfName;
use ipnetwork::IpNetwork;
use linux::nft::Family;
use linux::nft::expression::{Comparison, Expression, Meta};
use linux::nft::phrase::{self, End};

/// A condition that can be met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// Its words, with one space between them: two that are written alike are the same.
    pub text: String,
    /// What the kernel has to look at.
    pub steps: Vec<Expression>,
}

impl Condition {
    /// Reads the list of this key; an empty one sets no condition.
    ///
    /// # Errors
    /// The word that cannot be understood, with the key.
    pub fn read(key: &str, family: Family, words: &[String]) -> Result<Option<Condition>> {
        let text = words.join(" ");
        let mut reader = Reader { family, words: text.split_whitespace().peekable() };
        let mut steps = Vec::new();
        while let Some(word) = reader.words.next() {
            let step = reader.one(word).map_err(|fault| {
                Error::config(format!("{key}: {fault}")).details(format!("{key} is {text:?}"))
            })?;
            steps.extend(step);
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok((!steps.is_empty()).then_some(Condition { text, steps }))
    }
}

struct Reader<'a> {
    family: Family,
    words: Peekable<SplitWhitespace<'a>>,
}

type Steps = Result<Vec<Expression>, String>;

impl<'a> Reader<'a> {
    /// The match that begins with this word.
    fn one(&mut self, word: &str) -> Steps {
        match word {
            "ip" | "ip6" => self.address(word),
            "iifname" => self.link(),
            "mark" => self.mark(),
            "meta" => match self.next()? {
                "iifname" => self.link(),
                "mark" => self.mark(),
                other => Err(format!("{other:?} is not understood behind \"meta\"")),
            },
            other => Err(format!("{other:?} is not understood")),
        }
    }

    fn next(&mut self) -> Result<&'a str, String> {
        self.words.next().ok_or_else(|| "it ends too early".to_owned())
    }

    fn comparison(&mut self) -> Comparison {
        match self.words.next_if(|word| ["!=", "==", "ne", "eq"].contains(word)) {
            Some("!=" | "ne") => Comparison::Unequal,
            _ => Comparison::Equal,
        }
    }

    fn address(&mut self, family: &str) -> Steps {
        if family != self.family.to_string() {
            return Err(format!("{family:?} is of the other family"));
        }
        let end = match self.next()? {
            "saddr" => End::Source,
            "daddr" => End::Destination,
            other => return Err(format!("{other:?} is not understood behind {family:?}")),
        };
        let how = self.comparison();
        let word = self.next()?;
        let network =
            word.parse::<IpAddr>().ok().map(IpNetwork::from).or_else(|| cni::value::parse_cidr(word));
        match network {
            Some(network) if phrase::family_of(network.ip()) == self.family => {
                Ok(phrase::address(end, how, network))
            }
            _ => Err(format!("{word:?} is no address or network of {family}")),
        }
    }

    fn link(&mut self) -> Steps {
        let how = self.comparison();
        let word = self.next()?;
        let name = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(word);
        match name.parse::<IfName>() {
            Ok(name) if !name.as_str().contains(['*', '"']) => {
                Ok(phrase::link_name(Meta::InputName, how, name.as_str()).into())
            }
            _ => Err(format!("{word:?} is no name of a link")),
        }
    }

    fn mark(&mut self) -> Steps {
        let mask = match self.words.next_if(|word| ["and", "&"].contains(word)) {
            Some(_) => self.number()?,
            None => u32::MAX,
        };
        let how = self.comparison();
        let value = self.number()?;
        Ok(phrase::mark(mask, how, value).into())
    }

    fn number(&mut self) -> Result<u32, String> {
        let word = self.next()?;
        let number = match word.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => word.parse(),
        };
        number.map_err(|_| format!("{word:?} is no number of 32 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(family: Family, text: &str) -> Result<Option<Condition>> {
        Condition::read("conditions", family, &[text.into()])
    }

    #[test]
    fn what_the_grammar_has_is_read() {
        for text in [
            "ip saddr 10.0.0.0/8",
            "ip saddr != 10.0.0.1",
            "ip daddr == 192.0.2.1",
            "iifname eth0",
            "meta iifname != \"eth0\"",
            "meta mark 5",
            "mark and 0xff != 0x10",
            "meta mark & 1 == 1",
            "ip saddr != 10.0.0.0/8 iifname eth0",
        ] {
            assert_eq!(read(Family::Ipv4, text).unwrap().unwrap().text, text);
        }
        assert!(read(Family::Ipv6, "ip6 daddr fd00::/8").unwrap().is_some());
        assert_eq!(read(Family::Ipv4, " ").unwrap(), None);
        assert_eq!(Condition::read("x", Family::Ipv4, &[String::new()]).unwrap(), None);
    }

    #[test]
    fn it_does_not_matter_how_the_words_are_divided() {
        let words: Vec<String> = ["ip", "saddr", "!=", "10.0.0.0/8"].map(String::from).into();
        let divided = Condition::read("x", Family::Ipv4, &words).unwrap();
        assert_eq!(divided, read(Family::Ipv4, "ip  saddr != 10.0.0.0/8").unwrap());
    }

    #[test]
    fn the_word_that_is_not_understood_is_named() {
        for (family, text, word) in [
            (Family::Ipv4, "tcp dport 80", "\"tcp\""),
            (Family::Ipv4, "ip protocol tcp", "\"protocol\""),
            (Family::Ipv4, "ip6 saddr fd00::1", "\"ip6\""),
            (Family::Ipv6, "ip6 saddr 10.0.0.1", "\"10.0.0.1\""),
            (Family::Ipv4, "ip saddr 10.0.0.0/33", "\"10.0.0.0/33\""),
            (Family::Ipv4, "ip saddr @set", "\"@set\""),
            (Family::Ipv4, "ip saddr", "too early"),
            (Family::Ipv4, "iifname eth*", "\"eth*\""),
            (Family::Ipv4, "meta oifname eth0", "\"oifname\""),
            (Family::Ipv4, "meta mark 0xfffffffff", "\"0xfffffffff\""),
            (Family::Ipv4, "ip saddr 10.0.0.1 accept", "\"accept\""),
        ] {
            let error = read(family, text).unwrap_err();
            assert_eq!(error.code(), cni::error::Code::CONFIG);
            assert!(error.msg().contains(word), "{text} gives {}", error.msg());
        }
    }
}
