//! Results of every version, read and written.

use super::*;

const NEWEST: &str = r#"{
    "cniVersion": "1.1.0",
    "dns": {"nameservers": ["10.9.0.1"], "search": ["x.test"]},
    "interfaces": [
        {"mac": "0a:00:00:00:00:01", "mtu": 1500, "name": "br0"},
        {"mac": "0a:00:00:00:00:02", "name": "eth0", "sandbox": "/run/netns/x", "vendor": 1}
    ],
    "ips": [
        {"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 1},
        {"address": "fd00:9::2/64", "interface": 1}
    ],
    "routes": [
        {"dst": "0.0.0.0/0", "mtu": 1400, "priority": 5, "scope": 0, "table": 100},
        {"dst": "::/0", "gw": "fd00:9::1"}
    ],
    "vendor": {"a": [1]}
}"#;

fn read(text: &str, default: Spec) -> Result<Success> {
    Success::read(&Value::parse(text.as_bytes())?, default)
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_newest_version_comes_back_as_it_was_with_everything_unknown() {
    assert_eq!(read(NEWEST, Spec::V0_1_0).unwrap().render(Spec::V1_1_0).unwrap(), json(NEWEST));
}

#[test]
fn older_versions_have_no_word_for_the_keys_of_the_newest() {
    let middle = read(NEWEST, Spec::NEWEST).unwrap().render(Spec::V0_4_0).unwrap();
    assert_eq!(middle["ips"][0]["version"], "4");
    assert_eq!(middle["ips"][1]["version"], "6");
    assert_eq!(middle["routes"][0], json(r#"{"dst":"0.0.0.0/0"}"#));
    assert_eq!(middle["interfaces"][0], json(r#"{"mac":"0a:00:00:00:00:01","name":"br0"}"#));
    let one = read(NEWEST, Spec::NEWEST).unwrap().render(Spec::V1_0_0).unwrap();
    assert!(one["ips"][0].get("version").is_none() && one["routes"][0].get("table").is_none());
}

#[test]
fn the_oldest_version_is_about_one_address_per_family() {
    let expected = r#"{"cniVersion": "0.2.0", "dns": {"nameservers": ["10.9.0.1"], "search": ["x.test"]},
        "ip4": {"ip": "10.9.0.2/24", "gateway": "10.9.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "ip6": {"ip": "fd00:9::2/64", "routes": [{"dst": "::/0", "gw": "fd00:9::1"}]}}"#;
    let old = read(NEWEST, Spec::NEWEST).unwrap().render(Spec::V0_2_0).unwrap();
    assert_eq!(old, json(expected));
    let back = Success::read(&Value::parse(expected.as_bytes()).unwrap(), Spec::NEWEST).unwrap();
    assert_eq!((back.ips.len(), back.routes.len(), back.interfaces.len()), (2, 2, 0));
}

#[test]
fn without_an_address_there_is_no_old_result() {
    let error = Success::default().render(Spec::V0_2_0).unwrap_err();
    assert_eq!(error.msg(), "cannot convert: no valid IP addresses");
}

#[test]
fn dns_is_always_there_before_one_zero_and_never_empty_after() {
    assert_eq!(Success::default().render(Spec::V0_4_0).unwrap(), json(r#"{"cniVersion":"0.4.0","dns":{}}"#));
    assert_eq!(Success::default().render(Spec::V1_0_0).unwrap(), json(r#"{"cniVersion":"1.0.0"}"#));
}

#[test]
fn a_result_behind_another_keeps_every_index_valid() {
    let prev = read(NEWEST, Spec::NEWEST).unwrap();
    let both = prev.clone().behind(Some(&prev));
    assert_eq!(both.interfaces.len(), 4);
    assert_eq!(both.ips[2].interface, Some(3));
    assert_eq!(prev.clone().behind(None), prev);
}

#[test]
fn a_malformed_result_is_refused_and_says_where() {
    for (text, part) in [
        (r#""x""#, "cannot unmarshal"),
        (r#"{"ips":[{"address":"nope"}]}"#, "ips"),
        (r#"{"ips":[{"address":"10.0.0.1"}]}"#, "ips"),
        (r#"{"ips":[{"address":"10.0.0.1/8","interface":99999999999999999999}]}"#, "ips"),
        (r#"{"routes":[{}]}"#, "routes"),
        (r#"{"cniVersion":"9.0.0"}"#, "9.0.0"),
    ] {
        let error = read(text, Spec::NEWEST).unwrap_err();
        assert!(matches!(error.code(), Code::DECODE | Code::CONFIG), "{text}");
        assert!(error.msg().contains(part), "{text} gives {}", error.msg());
    }
    assert_eq!(
        read(r#"{"ips":[{"address":"10.0.0.1/8","interface":-1}]}"#, Spec::NEWEST).unwrap().ips.len(),
        1
    );
}
