//! The shape of a result in every version of the specification.

use serde_json::{Value, json};

use crate::lab::host::{Host, Pod};
use crate::lab::{conf, lab};

fn add(host: &Host, pod: &Pod, program: &str, conf: &Value, version: &str) -> Value {
    let web = host.attach(program, conf::with(conf, "/cniVersion", json!(version)), pod);
    let result = web.add().result();
    web.del().silent();
    host.sh("rm -rf /run/leases");
    result
}

fn empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(members)) => members.is_empty(),
        Some(_) => false,
    }
}

// RES-01, RES-02, IPM-03, ADD-15, RES-15
#[test]
fn the_first_versions_have_one_address_of_each_family() {
    lab(|host| {
        let pod = host.pod();
        for version in ["0.1.0", "0.2.0"] {
            for (program, conf) in [
                ("bridge", conf::bridge(host)),
                ("veth", conf::veth(host)),
                ("host-local", conf::leases(host)),
            ] {
                let result = add(host, &pod, program, &conf, version);
                let mut expected = json!({
                    "cniVersion": version,
                    "ip4": {"ip": "10.9.0.2/24", "gateway": "10.9.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
                    "ip6": {"ip": "fd00:9::2/64", "gateway": "fd00:9::1", "routes": [{"dst": "::/0"}]},
                    "dns": {"nameservers": ["10.9.0.1"], "search": ["rs.test"]}
                });
                if program == "host-local" {
                    expected["dns"] = json!({});
                }
                assert_eq!(result, expected, "{program}");
            }
        }
    });
}

// RES-01, RES-04, RES-05, RES-07, IPM-03, UPG-03, UPG-07
#[test]
fn the_middle_versions_say_the_family_of_each_address() {
    lab(|host| {
        let pod = host.pod();
        for version in ["0.3.0", "0.3.1", "0.4.0"] {
            for (program, conf) in [
                ("bridge", conf::bridge(host)),
                ("veth", conf::veth(host)),
                ("host-local", conf::leases(host)),
            ] {
                let result = add(host, &pod, program, &conf, version);
                assert_eq!(result["cniVersion"], version);
                let families: Vec<_> = result["ips"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|ip| (&ip["version"], &ip["address"]))
                    .collect();
                assert_eq!(
                    families,
                    [(&json!("4"), &json!("10.9.0.2/24")), (&json!("6"), &json!("fd00:9::2/64"))]
                );
                assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]));
                for interface in result["interfaces"].as_array().into_iter().flatten() {
                    assert!(
                        ["mtu", "socketPath", "pciID"].iter().all(|key| interface.get(key).is_none()),
                        "{interface}"
                    );
                }
            }
        }
    });
}

// RES-01, RES-06, RES-07
#[test]
fn the_late_versions_leave_the_family_to_the_address() {
    lab(|host| {
        let pod = host.pod();
        for version in host.versions().into_iter().filter(|version| *version >= "1.0.0") {
            for (program, conf) in [
                ("bridge", conf::bridge(host)),
                ("veth", conf::veth(host)),
                ("host-local", conf::leases(host)),
            ] {
                let result = add(host, &pod, program, &conf, version);
                for ip in result["ips"].as_array().unwrap() {
                    assert!(ip.get("version").is_none(), "{ip}");
                }
                let old = version == "1.0.0";
                let mtu =
                    result["interfaces"].as_array().into_iter().flatten().any(|i| i.get("mtu").is_some());
                assert!(!(old && mtu), "{result}");
            }
        }
    });
}

// RES-01, the fixture of the conformance table
#[test]
fn a_bridge_result_is_whole() {
    lab(|host| {
        let pod = host.pod();
        let result = add(host, &pod, "bridge", &conf::bridge(host), "1.0.0");
        let [bridge, outside, inside] = result["interfaces"].as_array().unwrap().as_slice() else {
            panic!("three interfaces: {result}");
        };
        let expected = json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "br0", "mac": bridge["mac"]},
                {"name": outside["name"], "mac": outside["mac"]},
                {"name": "eth0", "mac": inside["mac"], "sandbox": pod.path()}
            ],
            "ips": [
                {"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 2},
                {"address": "fd00:9::2/64", "gateway": "fd00:9::1", "interface": 2}
            ],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            "dns": {"nameservers": ["10.9.0.1"], "search": ["rs.test"]}
        });
        assert_eq!(result, expected);
        assert!(outside["name"].as_str().unwrap().starts_with("veth"));
    });
}

// RES-02, LOO-02
#[test]
fn loopback_is_right_in_every_version() {
    lab(|host| {
        for version in host.versions() {
            let pod = host.pod();
            let result = add(host, &pod, "loopback", &conf::loopback(host), version);
            let expected = loopback_result(version, pod.path());
            let ours = || {
                let mut result = result.clone();
                if empty(result.get("dns")) {
                    result.as_object_mut().unwrap().remove("dns");
                }
                if version >= "1.1.0" && result["interfaces"][0]["mtu"] == 65536 {
                    result["interfaces"][0].as_object_mut().unwrap().remove("mtu");
                }
                assert_eq!(result, expected);
            };
            // Theirs labels the newest shape with whatever version was asked for.
            let theirs = || assert_eq!(result["interfaces"][0]["name"], "lo");
            host.differs("loopback-shape", ours, theirs);
        }
    });
}

fn loopback_result(version: &str, netns: &str) -> Value {
    let interfaces = json!([{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns}]);
    match version {
        "0.1.0" | "0.2.0" => {
            json!({"cniVersion": version, "ip4": {"ip": "127.0.0.1/8"}, "ip6": {"ip": "::1/128"}})
        }
        "0.3.0" | "0.3.1" | "0.4.0" => json!({"cniVersion": version, "interfaces": interfaces, "ips": [
            {"version": "4", "address": "127.0.0.1/8", "interface": 0}, {"version": "6", "address": "::1/128", "interface": 0}
        ]}),
        _ => json!({"cniVersion": version, "interfaces": interfaces, "ips": [
            {"address": "127.0.0.1/8", "interface": 0}, {"address": "::1/128", "interface": 0}
        ]}),
    }
}

// RES-03, UPG-09
#[test]
fn old_versions_refuse_two_pools_of_one_family() {
    lab(|host| {
        let pod = host.pod();
        let pools =
            json!([[{"subnet": "10.9.0.0/24"}], [{"subnet": "10.10.0.0/24"}], [{"subnet": "fd00:9::/64"}]]);
        for version in ["0.1.0", "0.2.0"] {
            let conf = conf::with(
                &conf::with(&conf::leases(host), "/ipam/ranges", pools.clone()),
                "/cniVersion",
                json!(version),
            );
            let lease = host.attach("host-local", conf, &pod);
            lease.add().fails_or("config-code", 7, 999).names(&[version, "more than 1 address per family"]);
        }
    });
}

// RES-03
#[test]
fn old_versions_keep_the_first_address_of_a_family_and_its_routes() {
    lab(|host| {
        let pod = host.pod();
        let stub = host.stub("rec-ipam");
        stub.answers(
            "ADD",
            r#"{"cniVersion":"1.0.0","ips":[{"address":"10.44.0.2/24"},{"address":"10.45.0.2/24"},
            {"address":"fd00:44::2/64","gateway":"fd00:44::1"}],
            "routes":[{"dst":"::/0"},{"dst":"192.0.2.0/24","gw":"10.44.0.9","priority":5}]}"#,
        );
        let conf = conf::without(&conf::bridge_with_stub(host, "rec-ipam"), "isGateway");
        let web = host.attach("bridge", conf::with(&conf, "/cniVersion", json!("0.2.0")), &pod);
        let result = web.call("ADD").env("CNI_PATH", stub.folder()).run().result();
        assert_eq!(
            result["ip4"],
            json!({"ip": "10.44.0.2/24", "routes": [{"dst": "192.0.2.0/24", "gw": "10.44.0.9"}]})
        );
        assert_eq!(result["ip6"]["ip"], "fd00:44::2/64");
        assert_eq!(pod.addresses("eth0").len(), 3);
    });
}

// RES-07
#[test]
fn fields_of_a_newer_version_are_not_told_to_an_older_reader() {
    lab(|host| {
        let pod = host.pod();
        let routes = json!([{"dst": "192.0.2.0/24", "mtu": 1400, "advmss": 1300, "priority": 5, "table": 100, "scope": 0}]);
        for version in ["0.3.1", "0.4.0", "1.0.0"] {
            for (program, conf) in [
                ("bridge", conf::bridge(host)),
                ("veth", conf::veth(host)),
                ("host-local", conf::leases(host)),
            ] {
                let result =
                    add(host, &pod, program, &conf::with(&conf, "/ipam/routes", routes.clone()), version);
                let expected = json!([{"dst": "192.0.2.0/24"}]);
                // Theirs passes on whatever extra keys it knows.
                let theirs = || assert_eq!(result["routes"][0]["dst"], "192.0.2.0/24");
                host.differs("old-fields", || assert_eq!(result["routes"], expected, "{program}"), theirs);
            }
        }
    });
}

// RES-13, RES-14
#[test]
fn a_gateway_alone_is_no_default_route() {
    lab(|host| {
        let pod = host.pod();
        for is_gateway in [false, true] {
            let conf =
                conf::with(&conf::without(&conf::bridge(host), "dns"), "/isGateway", json!(is_gateway));
            let web = host.attach("bridge", conf::with(&conf, "/ipam/routes", json!([])), &pod);
            let result = web.add().result();
            assert_eq!(result["ips"][0]["gateway"], "10.9.0.1");
            assert!(empty(result.get("routes")) && empty(result.get("dns")), "{result}");
            assert!(
                pod.routes("-4 route show default").is_empty()
                    && pod.routes("-6 route show default").is_empty()
            );
            web.del().silent();
            host.sh("ip link del br0");
        }
    });
}

// RES-18, CHN-11
#[test]
fn a_reader_of_1_0_0_finds_everything_in_1_1_0() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::interfaces(host) {
            let old = add(host, &pod, program, &conf, "1.0.0");
            let new = add(host, &pod, program, &conf, host.newest());
            assert_eq!(new["routes"], old["routes"]);
            assert_eq!(new["ips"], old["ips"]);
            assert_eq!(new["dns"], old["dns"]);
            let names = |result: &Value| -> Vec<Value> {
                result["interfaces"].as_array().unwrap().iter().map(|i| i["sandbox"].clone()).collect()
            };
            assert_eq!(names(&new), names(&old));
        }
    });
}
