//! What a runtime may ask for: capabilities, `args` and CNI_ARGS.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::Host;
use crate::lab::{conf, lab};

fn pool(host: &Host) -> Value {
    conf::pool(host, "10.1.1.0/24")
}

/// The addresses that an ADD with these demands gives; they are freed again.
fn given(lease: &Attach<'_>, conf: Value, args: &str) -> Vec<String> {
    let lease = lease.conf(conf);
    let result = lease.call("ADD").env("CNI_ARGS", args).run().result();
    lease.del().silent();
    result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap().to_owned()).collect()
}

// CAP-20, CNV-01, ARG-04, ARG-07, ARG-05
#[test]
fn a_requested_address_is_given() {
    lab(|host| {
        let lease = host.attach("host-local", pool(host), &host.pod());
        for form in ["10.1.1.70", "10.1.1.70/24", "10.1.1.70/16"] {
            let asked = |pointer: &str| conf::with(&pool(host), pointer, json!([form]));
            assert_eq!(given(&lease, asked("/runtimeConfig/ips"), ""), ["10.1.1.70/24"]);
            assert_eq!(given(&lease, asked("/args/cni/ips"), ""), ["10.1.1.70/24"]);
            assert_eq!(given(&lease, pool(host), &format!("IP={form}")), ["10.1.1.70/24"]);
        }
        // podman names one address twice.
        let twice = conf::with(&pool(host), "/runtimeConfig/ips", json!(["10.1.1.70", "10.1.1.70"]));
        assert_eq!(given(&lease, twice, ""), ["10.1.1.70/24"]);
    });
}

// ARG-06, ARG-12
#[test]
fn the_first_of_three_ways_to_ask_counts() {
    lab(|host| {
        let lease = host.attach("host-local", pool(host), &host.pod());
        for combination in 0..8 {
            let [runtime, args, variable] = [4, 2, 1].map(|bit| combination & bit != 0);
            let mut conf = pool(host);
            if runtime {
                conf = conf::with(&conf, "/runtimeConfig/ips", json!(["10.1.1.70"]));
            }
            if args {
                conf = conf::with(&conf, "/args/cni/ips", json!(["10.1.1.60"]));
            }
            let several = [runtime, args, variable].iter().filter(|asked| **asked).count() > 1;
            let expected = match (runtime, args, variable) {
                (true, _, _) => vec!["10.1.1.70/24"],
                (_, true, _) => vec!["10.1.1.60/24"],
                (_, _, true) => vec!["10.1.1.50/24"],
                _ => vec![],
            };
            let call = lease
                .conf(conf.clone())
                .call("ADD")
                .env("CNI_ARGS", if variable { "IP=10.1.1.50" } else { "" });
            let theirs = || {
                if several {
                    call.run().fails(999).names(&["failed to allocate all requested IPs"]);
                }
            };
            let ours = || {
                let result = call.run().result();
                let address = result["ips"][0]["address"].as_str().unwrap();
                assert!(
                    expected.is_empty() || expected == [address],
                    "{runtime} {args} {variable}: {address}"
                );
                lease.del().silent();
            };
            host.differs("requested-precedence", ours, theirs);
        }
    });
}

// CAP-21, CNV-02
#[test]
fn an_address_that_cannot_be_had_is_named() {
    lab(|host| {
        let lease = host.attach("host-local", pool(host), &host.pod());
        let taken = conf::with(&pool(host), "/runtimeConfig/ips", json!(["10.1.1.70"]));
        lease.conf(taken.clone()).add().result();
        let before = host.snapshot();
        let other = lease.container("container-2");
        other.conf(taken).add().fails_somehow().names(&["10.1.1.70", "not available in range set"]);
        let gateway = conf::with(&pool(host), "/runtimeConfig/ips", json!(["10.1.1.1"]));
        other.conf(gateway).add().fails_somehow().names(&["10.1.1.1", "gateway"]);
        let outside = conf::with(&pool(host), "/runtimeConfig/ips", json!(["192.0.2.9"]));
        other.conf(outside).add().fails_somehow().names(&["192.0.2.9"]);
        before.same_as(&host.snapshot(), &[crate::lab::snapshot::Shared::Store]);
    });
}

// CAP-22
#[test]
fn one_address_may_be_requested_of_each_set() {
    lab(|host| {
        let lease = host.attach("host-local", conf::leases(host), &host.pod());
        let asked = |ips: Value| conf::with(&conf::leases(host), "/runtimeConfig/ips", ips);
        assert_eq!(
            given(&lease, asked(json!(["fd00:9::77", "10.9.0.77"])), ""),
            ["10.9.0.77/24", "fd00:9::77/64"]
        );
        let before = host.snapshot();
        let left = lease.conf(asked(json!(["10.9.0.77", "10.9.0.78"]))).add().fails_somehow();
        left.names(&["failed to allocate all requested IPs"]);
        before.same_as(&host.snapshot(), &[crate::lab::snapshot::Shared::Store]);
    });
}

// CAP-11, CAP-12
#[test]
fn ranges_of_the_runtime_come_before_those_of_the_network() {
    lab(|host| {
        let lease = host.attach("host-local", pool(host), &host.pod());
        let range = json!([[{"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.10", "gateway": "10.77.0.254"}]]);
        let both = conf::with(&pool(host), "/runtimeConfig/ipRanges", range.clone());
        assert_eq!(given(&lease, both.clone(), ""), ["10.77.0.9/24", "10.1.1.2/24"]);
        let mut alone = both;
        alone["ipam"].as_object_mut().unwrap().remove("ranges");
        let result = lease.conf(alone.clone()).add().result();
        assert_eq!(result["ips"], json!([{"address": "10.77.0.10/24", "gateway": "10.77.0.254"}]));
        lease.conf(alone).del().silent();
        let two = conf::with(
            &pool(host),
            "/runtimeConfig/ipRanges",
            json!([[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]),
        );
        assert_eq!(given(&lease, two, "").len(), 3);
    });
}

// CAP-12, CAP-13
#[test]
fn malformed_ranges_of_the_runtime_are_refused() {
    lab(|host| {
        let pod = host.pod();
        let before = host.snapshot();
        for ranges in [
            json!([[{"subnet": "10.1.1.0/24"}]]),
            json!([[{"subnet": "10.77.0.9/24"}]]),
            json!([[]]),
            json!([[{"subnet": "10.77.0.0/31"}]]),
        ] {
            let conf = conf::with(&pool(host), "/runtimeConfig/ipRanges", ranges);
            host.attach("host-local", conf, &pod).add().fails_or("config-code", 7, 999);
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

// CAP-30
#[test]
fn del_and_check_work_with_and_without_the_demands_of_add() {
    lab(|host| {
        let pod = host.pod();
        let asked = conf::with(
            &conf::bridge(host),
            "/runtimeConfig",
            json!({"ips": ["10.9.0.70"], "mac": "c2:11:22:33:44:55"}),
        );
        let web = host.attach("bridge", asked, &pod);
        let plain = web.conf(conf::bridge(host));
        for (check, del) in [(&web, &plain), (&plain, &web)] {
            let result = web.add().result();
            check.check(&result).silent();
            del.del_with(&result).silent();
            assert!(pod.links().is_empty());
        }
    });
}

// CAP-23
#[test]
fn a_requested_mac_is_the_links_from_the_start() {
    lab(|host| {
        for form in ["c2:11:22:33:44:55", "C2:11:22:33:44:55", "c2-11-22-33-44-55", "c211.2233.4455"] {
            let pod = host.pod();
            let web = host.attach(
                "bridge",
                conf::with(&conf::bridge(host), "/runtimeConfig/mac", json!(form)),
                &pod,
            );
            let result = web.add().result();
            assert_eq!(pod.link("eth0").unwrap()["address"], "c2:11:22:33:44:55");
            assert_eq!(result["interfaces"][2]["mac"], "c2:11:22:33:44:55");
            web.check(&result).silent();
            web.del().silent();
        }
    });
}

// CAP-23
#[test]
fn a_mac_that_no_link_can_have_is_refused() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for mac in [
            "zz",
            "01:00:5e:00:00:01",
            "c2:11:22:33:44",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "c2:11:22:33:44:55:66:77",
        ] {
            let web = host.attach(
                "bridge",
                conf::with(&conf::bridge(host), "/runtimeConfig/mac", json!(mac)),
                &pod,
            );
            let answer = web.add();
            let ours = || {
                answer.fails(7).names(&[mac]);
                before.0.same_as(&host.snapshot(), &[]);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            host.differs("mac-code", ours, || drop(web.del()));
        }
    });
}

// CAP-24
#[test]
fn the_runtimes_mac_comes_before_args_and_these_before_the_variable() {
    lab(|host| {
        let macs = ["c2:00:00:00:00:01", "c2:00:00:00:00:02", "c2:00:00:00:00:03"];
        for combination in 1..8 {
            let pod = host.pod();
            let mut conf = conf::bridge(host);
            if combination & 4 != 0 {
                conf = conf::with(&conf, "/runtimeConfig/mac", json!(macs[0]));
            }
            if combination & 2 != 0 {
                conf = conf::with(&conf, "/args/cni/mac", json!(macs[1]));
            }
            let variable = if combination & 1 != 0 { "IgnoreUnknown=1;MAC=c2:00:00:00:00:03" } else { "" };
            let expected = if combination >= 4 {
                macs[0]
            } else if combination >= 2 {
                macs[1]
            } else {
                macs[2]
            };
            let web = host.attach("bridge", conf, &pod);
            web.call("ADD").env("CNI_ARGS", variable).run().result();
            assert_eq!(pod.link("eth0").unwrap()["address"], expected);
            web.call("DEL").env("CNI_ARGS", variable).run().silent();
        }
    });
}

// ARG-08, ARG-09, ARG-11
#[test]
fn arguments_as_kubernetes_and_podman_send_them_are_taken() {
    lab(|host| {
        let pod = host.pod();
        for args in [
            "",
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=0a;K8S_POD_UID=1-2",
            "K8S_POD_UID=1-2;IgnoreUnknown=1;K8S_POD_NAME=web",
            "IgnoreUnknown=true;K8S_POD_NAME=",
        ] {
            for (program, conf) in conf::every(host) {
                let web = host.attach(program, conf, &pod);
                let result = web.call("ADD").env("CNI_ARGS", args).run().result();
                web.call_with("CHECK", &result).env("CNI_ARGS", args).run().silent();
                web.call("DEL").env("CNI_ARGS", args).run().silent();
            }
        }
    });
}

// ARG-08, ARG-09, ARG-10
#[test]
fn unknown_arguments_and_trailing_semicolons_are_nothing() {
    lab(|host| {
        let pod = host.pod();
        for args in ["K8S_POD_NAME=web", "IgnoreUnknown=1;", ";", "A=B=C", "IgnoreUnknown=0;A=B"] {
            for (program, conf) in conf::every(host) {
                let web = host.attach(program, conf, &pod);
                let add = web.call("ADD").env("CNI_ARGS", args).run();
                host.differs("args-unknown", || drop(add.result()), || ());
                let del = web.call("DEL").env("CNI_ARGS", args).run();
                host.differs("args-unknown", || del.silent(), || web.call("DEL").run().silent());
            }
        }
    });
}

// ARG-10, ENV-08
#[test]
fn an_argument_without_a_value_is_refused_by_the_variables_name() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for args in ["FOO", "IgnoreUnknown=1;FOO", "=x"] {
            for (program, conf) in conf::every(host) {
                let add = host.attach(program, conf, &pod).call("ADD").env("CNI_ARGS", args).run();
                host.differs("args-malformed", || drop(add.fails(4).names(&["CNI_ARGS"])), || ());
            }
        }
        let untouched = || {
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&pod.snapshot(), &[]);
        };
        host.differs("args-malformed", untouched, || ());
    });
}
