//! What keys mean, and which are refused.

use cni::decode::decode;
use cni::error::Code;
use cni::value::Value;

use super::*;

fn meant(keys: &str) -> Result<Conf> {
    Conf::meant(decode(&Value::parse(format!("{{{keys}}}").as_bytes())?)?)
}

fn mapped(mappings: &str) -> Result<Vec<Mapping>> {
    meant(&format!(r#""runtimeConfig":{{"portMappings":[{mappings}]}}"#)).map(|conf| conf.mappings)
}

#[test]
fn without_a_key_everything_is_as_in_the_go_plugin() {
    let conf = meant("").unwrap();
    let none = Conf { snat: Snat::Local, mark_bit: None, by: By::Either, mappings: vec![] };
    assert_eq!(conf, none);
    assert_eq!(meant(r#""snat":false,"masqAll":true"#).unwrap().snat, Snat::None);
    assert_eq!(meant(r#""masqAll":true,"backend":"nftables","markMasqBit":5"#).unwrap().mark_bit, Some(5));
    assert!(meant(r#""backend":"","externalSetMarkChain":"","conditionsV4":[]"#).is_ok());
}

#[test]
fn a_mapping_is_read_as_podman_and_as_containerd_write_it() {
    let mapping = |host| Mapping { host, protocol: Protocol::Tcp, host_port: 8080, container_port: 80 };
    let podman = r#"{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"192.0.2.1"}"#;
    let containerd = r#"{"HostPort":8080,"ContainerPort":80,"Protocol":"TCP","HostIP":""}"#;
    assert_eq!(mapped(podman).unwrap(), [mapping(HostAddress::One([192, 0, 2, 1].into()))]);
    assert_eq!(mapped(containerd).unwrap(), [mapping(HostAddress::Every)]);
    let of = |host: &str| mapped(&podman.replace("192.0.2.1", host)).unwrap()[0].host;
    assert_eq!(of("0.0.0.0"), HostAddress::EveryOf(Family::Ipv4));
    assert_eq!(of("::"), HostAddress::EveryOf(Family::Ipv6));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}

#[test]
fn nonsense_is_refused_with_key_and_value() {
    let one = |host: &str, container: &str, rest: &str| {
        format!(r#"{{"hostPort":{host},"containerPort":{container}{rest}}}"#)
    };
    for (mapping, words) in [
        (one("0", "80", ""), "Invalid host port number: 0"),
        (one("-1", "80", ""), "Invalid host port number: -1"),
        (one("65536", "80", ""), "Invalid host port number: 65536"),
        (one("80", "0", ""), "Invalid container port number: 0"),
        (one("80", "70000", ""), "Invalid container port number: 70000"),
        (one("80", "80", r#","protocol":"icmp""#), "unknown protocol \"icmp\""),
        (one("80", "80", r#","hostIP":"nope""#), "hostIP \"nope\": invalid IP address"),
        (one("80", "80", r#","hostIP":"10.0.0.1/24""#), "hostIP"),
        (one("80", "80", r#","hostIP":"::1""#), "hostIP \"::1\""),
        (one("80", "80", r#","hostIP":"224.0.0.1""#), "hostIP \"224.0.0.1\""),
    ] {
        let error = mapped(&mapping).unwrap_err();
        assert_eq!(error.code(), Code::CONFIG, "{mapping}");
        assert!(error.msg().contains(words), "{mapping} gives {}", error.msg());
        assert!(error.more().unwrap().contains("portMappings[0]."), "{mapping}");
    }
    assert_eq!(mapped(&one("\"80\"", "80", "")).unwrap_err().code(), Code::DECODE);
}

#[test]
fn mappings_that_overlap_are_refused_in_either_order() {
    let at = |host: &str| format!(r#"{{"hostPort":80,"containerPort":1,"hostIP":"{host}"}}"#);
    for (one, other, overlap) in [
        ("", "", true),
        ("", "192.0.2.1", true),
        ("", "::", true),
        ("0.0.0.0", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("0.0.0.0", "::", false),
        ("0.0.0.0", "fd00::1", false),
        ("192.0.2.1", "192.0.2.2", false),
    ] {
        for both in [[one, other], [other, one]] {
            let outcome = mapped(&both.map(at).join(","));
            assert_eq!(outcome.is_err(), overlap, "{both:?}");
        }
    }
    let udp = at("").replace("}", r#","protocol":"udp"}"#);
    assert!(mapped(&format!("{},{udp}", at(""))).is_ok(), "another protocol is another port");
}

#[test]
fn what_belongs_to_iptables_is_named() {
    for (keys, words) in [
        (r#""externalSetMarkChain":"X","markMasqBit":5"#, "Cannot specify"),
        (r#""markMasqBit":32"#, "MasqMarkBit must be between 0 and 31"),
        (r#""markMasqBit":-1"#, "MasqMarkBit must be between 0 and 31"),
        (r#""backend":"pf""#, "unrecognized backend \"pf\""),
        (
            r#""backend":"nftables","conditionsV6":["!","-s","fd00::/8"]"#,
            "nftables backend was requested but configuration contains iptables-specific options [conditionsV6]",
        ),
        (
            r#""backend":"iptables","conditionsV4":["ip","saddr","10.0.0.0/8"]"#,
            "iptables backend was requested but configuration contains nftables-specific options [conditionsV4]",
        ),
        (
            r#""conditionsV4":["-s","10.0.0.0/8"],"conditionsV6":["ip6 saddr fd00::/8"]"#,
            "[conditionsV4] is for iptables, and [conditionsV6] for nftables",
        ),
        (r#""conditionsV4":["-s","10.0.0.0/8","-j","ACCEPT"]"#, "conditionsV4: \"-j\" is no match"),
        (r#""externalSetMarkChain":"-j""#, "externalSetMarkChain \"-j\""),
    ] {
        let error = meant(keys).unwrap_err();
        assert_eq!(error.code(), Code::CONFIG, "{keys}");
        assert!(error.msg().contains(words), "{keys} gives {}", error.msg());
    }
}

#[test]
fn a_backend_is_meant_that_is_named_or_spoken_to() {
    let iptables = |keys: &str| matches!(meant(keys).unwrap().by, By::Iptables(_));
    let nftables = |keys: &str| matches!(meant(keys).unwrap().by, By::Nftables(_));
    assert_eq!(meant(r#""conditionsV4":[],"markMasqBit":5"#).unwrap().by, By::Either);
    for keys in [
        r#""backend":"iptables""#,
        r#""externalSetMarkChain":"KUBE-MARK-MASQ""#,
        r#""conditionsV6":["!","-s","fd00::/8"]"#,
    ] {
        assert!(iptables(keys), "{keys}");
    }
    assert!(nftables(r#""backend":"nftables""#) && nftables(r#""conditionsV4":["ip saddr 10.0.0.1"]"#));
}
