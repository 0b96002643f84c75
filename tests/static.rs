//! static: what is written is the lease, and nothing is kept.

use serde_json::{Value, json};

use crate::lab::host::Host;
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

/// static with these addresses, as called directly.
fn written(host: &Host, addresses: Value) -> Value {
    conf::with(&conf::fixed(host), "/ipam/addresses", addresses)
}

/// An ADD of this configuration with these CNI_ARGS.
fn add(host: &Host, conf: Value, args: &str) -> Outcome {
    host.attach("static", conf, &host.pod()).call("ADD").env("CNI_ARGS", args).run()
}

/// The addresses of a result, with their gateways: `10.1.1.5/24 10.1.1.1`.
fn given(result: &Value) -> Vec<String> {
    let ip = |ip: &Value| {
        let gateway = ip["gateway"].as_str().map(|gateway| format!(" {gateway}"));
        format!("{}{}", ip["address"].as_str().unwrap(), gateway.unwrap_or_default())
    };
    result["ips"].as_array().into_iter().flatten().map(ip).collect()
}

// IPM-01, IPM-02, IPM-04
#[test]
fn the_lease_is_what_is_written_and_nothing_is_kept() {
    lab(|host| {
        let dns = json!({"nameservers": ["10.9.0.53"], "domain": "a.test", "search": ["b.test"], "options": ["ndots:2"]});
        let conf = conf::with(&conf::fixed(host), "/ipam/dns", dns.clone());
        let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.7/24", "gw": "10.9.0.77"}]);
        let conf = conf::with(&conf, "/ipam/routes", routes.clone());
        let before = host.snapshot();
        // Nothing is done in the namespace.
        let lease = host.attach("static", conf, &host.pod()).netns("/some/where");
        let result = lease.add().result();
        let expected = json!({
            "cniVersion": host.newest(),
            "ips": [{"address": "10.9.0.5/24", "gateway": "10.9.0.1"}, {"address": "fd00:9::5/64", "gateway": "fd00:9::1"}],
            "routes": routes,
            "dns": dns
        });
        assert_eq!(result, expected);
        assert_eq!(lease.add().result(), expected, "once more");
        lease.check(&result).silent();
        lease.del().silent();
        lease.del().silent();
        let found = before.differences(&host.snapshot(), &[]);
        assert!(found.iter().all(|line| line.contains("netns/")), "{found:#?}");
    });
}

// IPM-03
#[test]
fn every_version_has_its_own_form_of_the_lease() {
    lab(|host| {
        for version in host.versions() {
            let result =
                add(host, conf::with(&conf::fixed(host), "/cniVersion", json!(version)), "").result();
            let (v4, v6) = if version < "0.3.0" {
                let routes = |family: &str| result[family]["routes"].clone();
                assert_eq!(
                    (routes("ip4"), routes("ip6")),
                    (json!([{"dst": "0.0.0.0/0"}]), json!([{"dst": "::/0"}]))
                );
                (result["ip4"]["ip"].clone(), result["ip6"]["ip"].clone())
            } else {
                assert_eq!(result["ips"][0].get("version").is_some(), version < "1.0.0", "{version}");
                (result["ips"][0]["address"].clone(), result["ips"][1]["address"].clone())
            };
            assert_eq!((v4, v6), (json!("10.9.0.5/24"), json!("fd00:9::5/64")), "{version}");
        }
    });
}

// CAP-20, CNV-01, ARG-04, ARG-06, ARG-07
#[test]
fn the_runtime_replaces_args_and_these_what_is_written_behind_which_the_variable_comes() {
    lab(|host| {
        for combination in 0..16 {
            let [runtime, args, variable, addresses] = [8, 4, 2, 1].map(|bit| combination & bit != 0);
            let mut conf = written(host, json!([]));
            let mut expected = Vec::new();
            if addresses {
                conf = written(host, json!([{"address": "10.1.1.5/24", "gateway": "10.1.1.1"}]));
                expected.push("10.1.1.5/24 10.1.1.1");
            }
            if variable {
                expected.extend(["10.1.1.6/24 10.1.1.254", "fd00:1::6/64"]);
            }
            if args {
                conf = conf::with(&conf, "/args/cni/ips", json!(["10.1.1.7/24", "fd00:1::7/64"]));
                expected = vec!["10.1.1.7/24", "fd00:1::7/64"];
            }
            if runtime {
                conf = conf::with(&conf, "/runtimeConfig/ips", json!(["10.1.1.8/16"]));
                expected = vec!["10.1.1.8/16"];
            }
            let args = if variable { "IP=10.1.1.6/24, fd00:1::6/64;GATEWAY=10.1.1.254" } else { "" };
            assert_eq!(given(&add(host, conf, args).result()), expected, "{combination:04b}");
        }
    });
}

// ARG-07
#[test]
fn a_gateway_of_the_variable_is_for_the_variables_addresses_alone() {
    lab(|host| {
        let conf = written(
            host,
            json!([{"address": "10.1.1.5/24"}, {"address": "10.1.2.5/24", "gateway": "10.1.2.1"}]),
        );
        let with = |args: &str| given(&add(host, conf.clone(), args).result()).split_off(2);
        assert!(with("GATEWAY=10.1.1.254").is_empty());
        assert_eq!(with("IP=10.1.1.6/24;GATEWAY=192.0.2.1"), ["10.1.1.6/24"]);
        assert_eq!(with("GATEWAY=10.1.1.254,10.1.1.253;IP=10.1.1.6/24"), ["10.1.1.6/24 10.1.1.253"]);
        assert_eq!(
            with("IP=10.1.1.6/24,10.1.1.7/24,10.1.3.6/24;GATEWAY=10.1.1.254, 10.1.3.254"),
            ["10.1.1.6/24 10.1.1.254", "10.1.1.7/24 10.1.1.254", "10.1.3.6/24 10.1.3.254"]
        );
    });
}

// IPM-08, ARG-07
#[test]
fn what_cannot_be_read_is_named() {
    lab(|host| {
        let before = host.snapshot();
        let field = |field: &str, text: &str| {
            format!("the '{field}' field is expected to be in CIDR notation, got: '{text}'")
        };
        for text in [
            "",
            "10.1.1.5",
            "nope",
            "10.1.1.5/33",
            "10.1.01.5/24",
            "10.1.1.5/255.255.255.0",
            "fd00::5/129",
            "/24",
        ] {
            let fault =
                add(host, written(host, json!([{"address": text}])), "").fails_or("config-code", 7, 999);
            fault.names(&[&field("address", text)]);
            for pointer in ["/runtimeConfig/ips", "/args/cni/ips"] {
                let fault = add(host, conf::with(&conf::fixed(host), pointer, json!([text])), "");
                let words = format!("an entry in the 'ips' field is NOT in CIDR notation, got: '{text}'");
                fault.fails_or("config-code", 7, 999).names(&[&words]);
            }
            let fault = add(host, conf::fixed(host), &format!("IP=10.1.1.6/24,{text}"));
            fault.fails_or("args-code", 4, 999).names(&[&field("ip", text)]);
        }
        for (addresses, words) in [
            (json!([null]), field("address", "")),
            (json!([{"gateway": "10.1.1.1"}]), field("address", "")),
            (json!([{"address": "10.1.1.5/24", "gateway": "nope"}]), "invalid IP address: nope".into()),
        ] {
            add(host, written(host, addresses), "").fails_or("config-code", 7, 999).names(&[&words]);
        }
        let gateway = add(host, conf::fixed(host), "IP=10.1.1.6/24;GATEWAY=nope");
        gateway.fails_or("args-code", 4, 999).names(&["invalid gateway address: nope"]);
        let alone = add(host, conf::without(&conf::fixed(host), "ipam"), "");
        alone.fails_or("config-code", 7, 999).names(&["IPAM config missing 'ipam' key"]);
        let found = before.differences(&host.snapshot(), &[]);
        assert!(found.iter().all(|line| line.contains("netns/")), "{found:#?}");
    });
}

// IPM-08
#[test]
fn an_address_that_no_container_can_use_is_refused() {
    lab(|host| {
        for (address, gateway, words) in [
            ("0.0.0.0/0", "", "0.0.0.0/0"),
            ("::/64", "", "::/64"),
            ("224.0.0.5/24", "", "224.0.0.5/24"),
            ("ff02::5/64", "", "ff02::5/64"),
            ("::ffff:10.1.1.5/64", "", "::ffff:10.1.1.5/64"),
            ("10.1.1.5/24", "fd00::1", "fd00::1"),
            ("fd00::5/64", "10.1.1.1", "10.1.1.1"),
        ] {
            let conf = written(host, json!([{"address": address, "gateway": gateway}]));
            let answer = add(host, conf, "");
            host.differs(
                "static-nonsense",
                || drop(answer.fails(7).names(&[words])),
                || drop(answer.result()),
            );
        }
    });
}

// IPM-02
#[test]
fn addresses_are_read_as_go_reads_them() {
    lab(|host| {
        for (address, gateway, expected) in [
            ("::ffff:10.1.1.5/120", "::ffff:10.1.1.1", "10.1.1.5/24 10.1.1.1"),
            ("FD00:0::5/64", "FD00::1", "fd00::5/64 fd00::1"),
            ("10.1.1.5/32", "169.254.1.1", "10.1.1.5/32 169.254.1.1"),
            ("fd00::5/128", "fe80::1", "fd00::5/128 fe80::1"),
            ("10.1.1.5/24", "", "10.1.1.5/24"),
            ("10.1.1.0/31", "10.1.1.1", "10.1.1.0/31 10.1.1.1"),
        ] {
            let conf = written(host, json!([{"address": address, "gateway": gateway, "version": "9"}]));
            assert_eq!(given(&add(host, conf, "").result()), [expected]);
        }
    });
}

// IPM-08
#[test]
fn an_address_that_is_written_twice_is_one_address() {
    lab(|host| {
        let twice = written(
            host,
            json!([{"address": "10.1.1.5/24"}, {"address": "10.1.1.5/24", "gateway": "10.1.1.1"}]),
        );
        let found = given(&add(host, twice.clone(), "IP=10.1.1.5/24,10.1.1.5/16").result());
        let ours = || assert_eq!(found, ["10.1.1.5/24 10.1.1.1", "10.1.1.5/16"]);
        host.differs("static-twice", ours, || assert_eq!(found.len(), 4));
        let answer = add(host, twice, "IP=10.1.1.5/24;GATEWAY=10.1.1.254");
        let ours = || drop(answer.fails(7).names(&["10.1.1.5/24", "10.1.1.1", "10.1.1.254"]));
        host.differs("static-twice", ours, || drop(answer.result()));
        // podman names one address twice.
        let asked =
            conf::with(&conf::fixed(host), "/runtimeConfig/ips", json!(["10.1.1.5/24", "10.1.1.5/24"]));
        let found = given(&add(host, asked, "").result());
        host.differs("static-twice", || assert_eq!(found, ["10.1.1.5/24"]), || assert_eq!(found.len(), 2));
    });
}

// IPM-08
#[test]
fn old_results_hold_one_address_of_a_family() {
    lab(|host| {
        for version in ["0.1.0", "0.2.0"] {
            let old = |addresses: Value| conf::with(&written(host, addresses), "/cniVersion", json!(version));
            let two = old(json!([{"address": "10.1.1.5/24"}, {"address": "10.1.2.5/24"}]));
            let words = format!("CNI version {version} does not support more than 1 address per family");
            add(host, two, "").fails_or("config-code", 7, 999).names(&[&words]);
            let one = old(json!([{"address": "10.1.1.5/24"}]));
            add(host, one, "IP=10.1.2.5/24").fails_or("config-code", 7, 999).names(&[&words]);
            let none = add(host, old(json!([])), "");
            none.fails_or("config-code", 7, 999).names(&["cannot convert: no valid IP addresses"]);
        }
        assert_eq!(given(&add(host, written(host, json!([])), "").result()), [] as [&str; 0]);
        assert_eq!(
            given(&add(host, conf::with(&conf::fixed(host), "/ipam", json!({})), "").result()),
            [] as [&str; 0]
        );
    });
}

// CHK-10, IPM-13
#[test]
fn check_wants_every_address_with_its_gateway() {
    lab(|host| {
        let lease = host.attach("static", conf::fixed(host), &host.pod());
        let result = lease.add().result();
        lease.check(&result).silent();
        // What a bridge and a later plugin add.
        let longer = conf::with(&result, "/interfaces", json!([{"name": "eth0", "sandbox": "/x"}]));
        let mut longer = conf::with(&longer, "/routes", json!([]));
        longer["ips"].as_array_mut().unwrap().insert(0, json!({"address": "192.0.2.1/24"}));
        lease.check(&longer).silent();

        let gateway = lease.check(&conf::with(&result, "/ips/1/gateway", json!("fd00:9::9"))).fails_somehow();
        gateway
            .names(&["static: Failed to match addr fd00:9::5 on interface eth0"])
            .ours_names("static-check", &["fd00:9::9", "fd00:9::1"]);
        let none = lease.check(&conf::with(&result, "/ips/0/gateway", Value::Null)).fails_somehow();
        none.names(&["static: Failed to match addr 10.9.0.5 on interface eth0"]);
        for (pointer, ips) in [
            ("/ips", json!([result["ips"][1]])),
            ("/ips", json!([])),
            ("/ips/0/address", json!("10.9.0.5/16")),
            ("/ips/0/address", json!("10.9.0.6/24")),
        ] {
            let answer = lease.check(&conf::with(&result, pointer, ips));
            let ours =
                || drop(answer.fails(999).names(&["Failed to match addr 10.9.0.5", "eth0", "10.9.0.5/24"]));
            host.differs("static-check", ours, || answer.silent());
        }
    });
}

// CHK-03, CHK-10
#[test]
fn check_asks_for_what_add_was_asked() {
    lab(|host| {
        let asked = conf::with(&written(host, json!([])), "/runtimeConfig/ips", json!(["10.1.1.8/24"]));
        let lease = host.attach("static", asked, &host.pod());
        let result = lease.add().result();
        lease.check(&result).silent();
        // The interface plugin may have chosen a gateway where none is written.
        lease.check(&conf::with(&result, "/ips/0/gateway", json!("10.1.1.1"))).silent();
        lease.call("CHECK").run().fails_or("config-code", 7, 999).names(&["prevResult"]);
        let bad = lease.conf(conf::with(lease.configuration(), "/runtimeConfig/ips", json!(["10.1.1.8"])));
        bad.check(&result).fails_or("config-code", 7, 999).names(&["10.1.1.8"]);
    });
}

// DEL-10
#[test]
fn del_asks_nothing_of_the_configuration() {
    lab(|host| {
        let lease = host.attach("static", conf::fixed(host), &host.pod());
        for ipam in
            [Value::Null, json!("x"), json!({"addresses": 5}), json!({"addresses": [{"address": "x"}]})]
        {
            lease.conf(conf::with(&conf::fixed(host), "/ipam", ipam)).del().silent();
        }
    });
}

// STA-02, STA-10, GC-22
#[test]
fn status_judges_the_configuration_and_gc_has_nothing_to_do() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        let before = host.snapshot();
        host.call("static", "STATUS", &conf::fixed(host)).without("CNI_PATH").run().silent();
        host.call("static", "STATUS", &written(host, json!([]))).run().silent();
        let bad = written(host, json!([{"address": "10.1.1.5"}]));
        host.call("static", "STATUS", &bad).run().fails(7).names(&["10.1.1.5"]);
        host.call("static", "STATUS", &conf::without(&bad, "ipam")).run().fails(7).names(&["ipam"]);
        for valid in [Value::Null, json!([]), json!([{"containerID": "container-1", "ifname": "eth0"}])] {
            host.call("static", "GC", &conf::with(&bad, "/cni.dev~1valid-attachments", valid)).run().silent();
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

/// The network of an interface plugin with static in place of host-local, and the last octet of its addresses.
fn with_octet(conf: &Value, octet: u8) -> Value {
    let ipam = json!({
        "type": "static",
        "addresses": [
            {"address": format!("10.9.0.{octet}/24"), "gateway": "10.9.0.1"},
            {"address": format!("fd00:9::{octet}/64"), "gateway": "fd00:9::1"}
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    });
    conf::with(conf, "/ipam", ipam)
}

// ADD-01, DEL-01
#[test]
fn containers_of_a_bridge_and_of_routed_pairs_reach_each_other_by_static_addresses() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pods = [host.pod(), host.pod()];
            let before = (host.snapshot(), pods[0].snapshot());
            let first = host.attach(program, with_octet(&conf, 5), &pods[0]);
            let second = host.attach(program, with_octet(&conf, 6), &pods[1]).container("container-2");
            let results = [first.add().result(), second.add().result()];
            assert_eq!(pods[0].addresses("eth0"), ["10.9.0.5/24", "fd00:9::5/64"]);
            for address in ["10.9.0.1", "fd00:9::1", "10.9.0.6", "fd00:9::6"] {
                assert!(pods[0].pings(address), "{program}: {address}");
            }
            first.check(&results[0]).silent();
            second.check(&results[1]).silent();
            // The interface plugin passes CHECK on.
            let other = first.conf(with_octet(&conf, 7)).check(&results[0]);
            host.differs("static-check", || drop(other.fails(999).names(&["10.9.0.7"])), || other.silent());
            first.del_with(&results[0]).silent();
            second.del().silent();
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            before.1.same_as(&pods[0].snapshot(), &[]);
            host.try_sh("ip link del br0");
        }
    });
}

// ADD-01, CAP-20
#[test]
fn a_runtime_chooses_the_address_on_a_bridge_that_is_the_gateway() {
    lab(|host| {
        let pod = host.pod();
        let conf = conf::with(
            &conf::bridge(host),
            "/ipam",
            json!({"type": "static", "routes": [{"dst": "0.0.0.0/0"}]}),
        );
        let web =
            host.attach("bridge", conf::with(&conf, "/runtimeConfig/ips", json!(["10.9.0.70/24"])), &pod);
        let result = web.add().result();
        assert_eq!(given(&result), ["10.9.0.70/24 10.9.0.1"]);
        assert!(pod.pings("10.9.0.1"));
        web.check(&result).silent();
        web.del().silent();
    });
}

// ADD-13
#[test]
fn an_interface_plugin_makes_nothing_where_static_refuses() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::interfaces(host) {
            for address in ["10.9.0.5", "nope", ""] {
                let conf = conf::with(&with_octet(&conf, 5), "/ipam/addresses/0/address", json!(address));
                let answer = host.attach(program, conf, &pod).add();
                let words =
                    format!("the 'address' field is expected to be in CIDR notation, got: '{address}'");
                let ours = || {
                    answer.fails(7).names(&[&words]);
                    before.0.same_as(&host.snapshot(), conf::NOT_MADE);
                    before.1.same_as(&pod.snapshot(), &[]);
                };
                host.differs("failed-add", ours, || drop(answer.fails(999)));
            }
        }
    });
}
