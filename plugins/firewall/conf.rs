//! The configuration twice: as written, and as meant.

use cni::error::{Error, Result};
use serde::Deserialize;

/// As written: the keys of the Go plugin, 1.9.1, and the bit of the mark.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    backend: Option<String>,
    iptables_admin_chain_name: Option<String>,
    firewalld_zone: Option<String>,
    ingress_policy: Option<String>,
    mark_bit: Option<i64>,
}

/// As meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conf {
    /// Who keeps the rules.
    pub choice: Choice,
    /// The chain of the administrator's own rules, where iptables keeps ours.
    pub admin_chain: String,
    /// The zone of firewalld.
    pub zone: String,
    /// Who may send to the container.
    pub policy: IngressPolicy,
    /// The bit of a packet's mark that is used, if the administrator has chosen one.
    pub mark_bit: Option<u8>,
}

/// Which backend was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// This one.
    This(Named),
    /// firewalld where it runs, and else this one.
    FirewalldOr(Named),
}

/// A backend by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// The kernel's nf_tables, in a table of ours.
    Nftables,
    /// iptables, in its own tables.
    Iptables,
    /// The daemon.
    Firewalld,
}

/// From where packets may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IngressPolicy {
    /// From everywhere.
    Open,
    /// Not from another bridge that has a policy.
    SameBridge,
    /// Nor from the same one.
    Isolated,
}

impl Conf {
    /// What the configuration of this call means.
    ///
    /// # Errors
    /// [`cni::error::Code::CONFIG`] with key and value, for what makes no sense.
    pub fn meant(raw: Raw) -> Result<Conf> {
        let text = |text: Option<String>| text.filter(|text| !text.is_empty());
        let admin_chain = text(raw.iptables_admin_chain_name);
        let policy = match raw.ingress_policy.as_deref().unwrap_or_default() {
            "" | "open" => IngressPolicy::Open,
            "same-bridge" => IngressPolicy::SameBridge,
            "isolated" => IngressPolicy::Isolated,
            other => {
                return Err(Error::config(format!("unknown ingress policy: {other:?}"))
                    .details("ingressPolicy is \"open\", \"same-bridge\" or \"isolated\""));
            }
        };
        Ok(Conf {
            choice: choice(raw.backend.as_deref().unwrap_or_default(), admin_chain.as_deref())?,
            admin_chain: admin_chain.map_or(Ok("CNI-ADMIN".into()), chain)?,
            zone: text(raw.firewalld_zone).unwrap_or_else(|| "trusted".into()),
            policy,
            mark_bit: raw.mark_bit.map(bit).transpose()?,
        })
    }
}

/// Whoever names a chain of iptables has rules there that must come first.
fn choice(backend: &str, admin_chain: Option<&str>) -> Result<Choice> {
    match (backend, admin_chain) {
        ("", None) => Ok(Choice::FirewalldOr(Named::Nftables)),
        ("", Some(_)) => Ok(Choice::FirewalldOr(Named::Iptables)),
        ("nftables", None) => Ok(Choice::This(Named::Nftables)),
        ("nftables", Some(chain)) => Err(Error::config(
            "nftables backend was requested but configuration contains iptables-specific options [iptablesAdminChainName]",
        )
        .details(format!("iptablesAdminChainName {chain:?}"))),
        ("iptables", _) => Ok(Choice::This(Named::Iptables)),
        ("firewalld", _) => Ok(Choice::This(Named::Firewalld)),
        (other, _) => Err(Error::config(format!("unrecognized backend {other:?}"))
            .details("backend is \"nftables\", \"iptables\" or \"firewalld\"")),
    }
}

/// As iptables has it: at most 28 bytes, and no word of its own.
fn chain(name: String) -> Result<String> {
    const TAKEN: [&str; 6] =
        ["INPUT", "FORWARD", "OUTPUT", "CNI-FORWARD", "CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"];
    let is_word = !name.starts_with(['-', '!']) && name.bytes().all(|byte| byte.is_ascii_graphic());
    match is_word && name.len() <= 28 && !name.contains(['"', '\'', '\\']) && !TAKEN.contains(&name.as_str())
    {
        true => Ok(name),
        false => Err(Error::config(format!("invalid iptablesAdminChainName {name:?}")).details(
            "a chain of iptables has a name of at most 28 letters, and is not one of ours or of its own",
        )),
    }
}

fn bit(bit: i64) -> Result<u8> {
    u8::try_from(bit)
        .ok()
        .filter(|bit| *bit < 32)
        .ok_or_else(|| Error::config("markBit must be between 0 and 31").details(format!("markBit {bit}")))
}

#[cfg(test)]
mod tests {
    use cni::decode::decode;
    use cni::error::Code;
    use cni::value::Value;

    use super::*;

    fn meant(keys: &str) -> Result<Conf> {
        Conf::meant(decode(&Value::parse(format!("{{{keys}}}").as_bytes())?)?)
    }

    #[test]
    fn without_a_key_it_is_firewalld_where_that_runs_and_else_nftables() {
        let plain = Conf {
            choice: Choice::FirewalldOr(Named::Nftables),
            admin_chain: "CNI-ADMIN".into(),
            zone: "trusted".into(),
            policy: IngressPolicy::Open,
            mark_bit: None,
        };
        assert_eq!(meant("").unwrap(), plain);
        let empty = r#""backend":"","ingressPolicy":"","iptablesAdminChainName":"","firewalldZone":"""#;
        assert_eq!(meant(empty).unwrap(), plain, "as podman writes it");
    }

    #[test]
    fn a_chain_of_iptables_asks_for_iptables() {
        let conf = meant(r#""iptablesAdminChainName":"MINE""#).unwrap();
        assert_eq!((conf.choice, conf.admin_chain.as_str()), (Choice::FirewalldOr(Named::Iptables), "MINE"));
        let named =
            [("iptables", Named::Iptables), ("nftables", Named::Nftables), ("firewalld", Named::Firewalld)];
        for (backend, named) in named {
            assert_eq!(meant(&format!(r#""backend":"{backend}""#)).unwrap().choice, Choice::This(named));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_key_and_value() {
        for (keys, words, value) in [
            (r#""backend":"pf""#, "unrecognized backend \"pf\"", "nftables"),
            (r#""ingressPolicy":"shut""#, "unknown ingress policy: \"shut\"", "ingressPolicy"),
            (r#""markBit":32"#, "markBit must be between 0 and 31", "32"),
            (r#""markBit":-1"#, "markBit", "-1"),
            (r#""backend":"nftables","iptablesAdminChainName":"MINE""#, "[iptablesAdminChainName]", "MINE"),
            (r#""iptablesAdminChainName":"-X""#, "iptablesAdminChainName \"-X\"", "28"),
            (r#""iptablesAdminChainName":"A B""#, "iptablesAdminChainName \"A B\"", "28"),
            (r#""iptablesAdminChainName":"FORWARD""#, "\"FORWARD\"", "28"),
            (r#""iptablesAdminChainName":"01234567890123456789012345678""#, "iptablesAdminChainName", "28"),
        ] {
            let error = meant(keys).unwrap_err();
            assert_eq!(error.code(), Code::CONFIG, "{keys}");
            assert!(error.msg().contains(words), "{keys} gives {}", error.msg());
            assert!(error.more().unwrap().contains(value), "{keys} gives {:?}", error.more());
        }
    }
}
