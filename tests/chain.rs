//! prevResult: what an earlier plugin of the list has answered.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::{conf, lab};

/// What a tap plugin might have answered.
fn tap(version: &str) -> Value {
    let mut result = json!({
        "cniVersion": version,
        "interfaces": [{"name": "tap0", "mac": "02:00:00:00:00:01"}, {"name": "net1", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"}],
        "ips": [{"address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 1}],
        "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1"}],
        "dns": {"nameservers": ["192.0.2.53"]}
    });
    if version < "1.0.0" {
        result["ips"][0]["version"] = json!("4");
    }
    result
}

fn loopback<'h>(host: &'h Host, pod: &Pod, version: &str) -> Attach<'h> {
    host.attach("loopback", conf::with(&conf::loopback(host), "/cniVersion", json!(version)), pod)
}

// CHN-01, LOO-03
#[test]
fn a_plugin_with_nothing_to_add_repeats_the_previous_result() {
    lab(|host| {
        let pod = host.pod();
        for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", host.newest()] {
            let result = loopback(host, &pod, version).call_with("ADD", &tap(version)).run().result();
            assert_eq!(result, tap(version));
        }
    });
}

// CHN-02
#[test]
fn an_interface_is_added_behind_the_previous_result() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf::without(&conf, "dns"), &pod);
            let result = web.call_with("ADD", &tap(host.newest())).run().result();
            let ours = || {
                assert_eq!(
                    result["interfaces"].as_array().unwrap()[..2],
                    tap("1.0.0")["interfaces"].as_array().unwrap()[..]
                );
                assert_eq!(result["ips"][0], tap("1.0.0")["ips"][0]);
                assert_eq!(result["routes"][0], tap("1.0.0")["routes"][0]);
                let index = usize::try_from(result["ips"][1]["interface"].as_u64().unwrap()).unwrap();
                assert_eq!(result["interfaces"][index]["name"], "eth0");
                assert_eq!(result["ips"][1]["address"], "10.9.0.2/24");
            };
            host.differs("prev-add", ours, || assert_eq!(result["ips"].as_array().unwrap().len(), 2));
            web.check(&result);
            web.del_with(&result).silent();
        }
    });
}

// CHN-04, CHN-02, CHK-19
#[test]
fn check_and_del_find_their_own_behind_the_results_of_others() {
    lab(|host| {
        host.sh("ip link add tap0 type ifb");
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let before = host.snapshot();
            let mut prev = tap(host.newest());
            prev["interfaces"].as_array_mut().unwrap().remove(1);
            prev["ips"] = json!([]);
            prev["routes"] = json!([]);
            let result = web.call_with("ADD", &prev).run().result();
            host.differs("prev-add", || web.check(&result).silent(), || ());
            web.del_with(&result).silent();
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        }
    });
}

// CHN-05
#[test]
fn a_previous_result_keeps_the_family_marks_of_its_version() {
    lab(|host| {
        let pod = host.pod();
        for version in ["0.3.1", "0.4.0"] {
            let result = loopback(host, &pod, version).call_with("ADD", &tap(version)).run().result();
            assert_eq!(result["ips"][0]["version"], "4");
            assert_eq!(result["cniVersion"], version);
        }
    });
}

// CHN-06
#[test]
fn a_previous_result_without_a_version_has_the_configurations() {
    lab(|host| {
        let pod = host.pod();
        for version in ["0.3.1", "0.4.0", "1.0.0"] {
            let prev = conf::without(&tap(version), "cniVersion");
            let result = loopback(host, &pod, version).call_with("ADD", &prev).run().result();
            assert_eq!(result, tap(version));
        }
    });
}

// CHN-07
#[test]
fn a_previous_result_of_another_version_is_converted() {
    lab(|host| {
        let pod = host.pod();
        for (version, prev) in
            [("1.0.0", "0.3.1"), ("0.4.0", "1.0.0"), ("0.3.1", "0.4.0"), ("0.2.0", "1.0.0")]
        {
            let answer = loopback(host, &pod, version).call_with("ADD", &tap(prev)).run();
            let ours = || {
                let result = answer.result();
                assert_eq!(result["cniVersion"], version);
                let address =
                    if version == "0.2.0" { &result["ip4"]["ip"] } else { &result["ips"][0]["address"] };
                assert_eq!(address, "192.0.2.7/24");
                assert_eq!(result["ips"][0].get("version").is_some(), matches!(version, "0.3.1" | "0.4.0"));
            };
            let theirs = || {
                if version != "0.3.1" {
                    drop(answer.fails(999))
                }
            };
            host.differs("prev-family", ours, theirs);
        }
    });
}

// CHN-09
#[test]
fn a_malformed_previous_result_is_refused_and_nothing_changes() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        let bad = [
            json!("x"),
            json!([]),
            json!(5),
            json!({"ips": [{"address": "nope"}]}),
            json!({"ips": [{"address": "192.0.2.7"}]}),
            json!({"ips": [{"address": "192.0.2.7/33"}]}),
            json!({"ips": [{"address": "192.0.2.7/24", "gateway": "x"}]}),
            json!({"ips": "x"}),
            json!({"interfaces": [5]}),
            json!({"routes": [{"dst": "x"}]}),
            json!({"cniVersion": "9.9.9"}),
            json!({"dns": {"nameservers": "x"}}),
        ];
        for prev in &bad {
            for verb in ["ADD", "CHECK"] {
                for (program, conf) in [
                    ("bridge", conf::bridge(host)),
                    ("veth", conf::veth(host)),
                    ("loopback", conf::loopback(host)),
                ] {
                    let answer = host.attach(program, conf, &pod).call_with(verb, prev).run();
                    host.differs("decode-code", || drop(answer.fails_with_one_of(&[6, 7])), || ());
                }
            }
        }
        let untouched = || {
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&pod.snapshot(), &[]);
        };
        host.differs("decode-code", untouched, || ());
    });
}

// CHN-09, CHN-10, UPG-05
#[test]
fn an_index_that_leads_nowhere_is_an_unknown_interface() {
    lab(|host| {
        let pod = host.pod();
        for index in [json!(-1), json!(99), json!(2_000_000_000)] {
            let prev = conf::with(&tap(host.newest()), "/ips/0/interface", index.clone());
            let result = loopback(host, &pod, host.newest()).call_with("ADD", &prev).run().result();
            assert_eq!(result["ips"][0]["address"], "192.0.2.7/24");
            let web = host.attach("bridge", conf::bridge(host), &pod);
            let result = web.call_with("ADD", &prev).run().result();
            let told: Vec<_> = result["ips"].as_array().unwrap().iter().map(|ip| &ip["address"]).collect();
            let own = pod.addresses("eth0");
            assert!(
                own.len() == 2 && own.iter().all(|address| told.iter().any(|t| *t == address)),
                "{result}"
            );
            web.del_with(&result).silent();
        }
    });
}

// CHN-11
#[test]
fn unknown_keys_of_a_previous_result_travel_on() {
    lab(|host| {
        let pod = host.pod();
        let mut prev = tap(host.newest());
        prev["custom"] = json!({"a": [1, 2.5, null]});
        prev["interfaces"][0]["foo"] = json!("x");
        prev["routes"][0]["bar"] = json!(5);
        prev["ips"][0]["baz"] = json!(true);
        let result = loopback(host, &pod, host.newest()).call_with("ADD", &prev).run().result();
        host.differs("prev-shape", || assert_eq!(result, prev), || assert!(result.get("custom").is_none()));
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let result = web.call_with("ADD", &prev).run().result();
        let ours = || {
            assert_eq!(result["custom"], prev["custom"]);
            assert_eq!(result["interfaces"][0]["foo"], "x");
        };
        host.differs("prev-shape", ours, || ());
    });
}

// CHN-12
#[test]
fn an_empty_previous_result_is_a_result() {
    lab(|host| {
        let pod = host.pod();
        let result = loopback(host, &pod, "1.0.0").call_with("ADD", &json!({})).run().result();
        assert_eq!(conf::without(&result, "dns"), json!({"cniVersion": "1.0.0"}));
        for (program, conf) in conf::interfaces(host) {
            let web = host.attach(program, conf, &pod);
            let result = web.call_with("ADD", &json!({})).run().result();
            assert_eq!(result["ips"].as_array().unwrap().len(), 2);
            web.del_with(&json!({})).silent();
        }
    });
}

// CHN-14, CNV-05
#[test]
fn without_a_previous_result_the_interface_is_made() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf::with(&conf, "/prevResult", Value::Null), &pod);
            web.add().result();
            assert_eq!(pod.links(), ["eth0"]);
            web.del().silent();
        }
    });
}
