//! CHECK looks at the kernel, says what differs, and repairs nothing.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::snapshot::Shared;
use crate::lab::{conf, lab};

/// ADD, a change of the world, and the CHECK after it; CHECK may change nothing.
fn after(change: impl Fn(&Host, &Pod, &mut Value), then: impl Fn(&Host, &str, &Attach<'_>, &Value)) {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let mut result = web.add().result();
            change(host, &pod, &mut result);
            let before = (host.snapshot(), pod.snapshot());
            then(host, program, &web, &result);
            before.0.same_as(&host.snapshot(), &[Shared::Index]);
            before.1.same_as(&pod.snapshot(), &[]);
            web.del().silent();
            host.try_sh("ip link del br0");
        }
    });
}

/// CHECK finds a fault that names these words.
fn finds(words: &'static [&'static str]) -> impl Fn(&Host, &str, &Attach<'_>, &Value) {
    move |_, _, web, result| drop(web.check(result).fails_somehow().names(words))
}

/// The same, where the Go plugins do not look.
fn only_we_find(words: &'static [&'static str]) -> impl Fn(&Host, &str, &Attach<'_>, &Value) {
    move |host, _, web, result| {
        let answer = web.check(result);
        host.differs("check-closer", || drop(answer.fails_somehow().names(words)), || ());
    }
}

/// CHECK is content.
fn passes(_: &Host, _: &str, web: &Attach<'_>, result: &Value) {
    web.check(result).silent();
}

// CHK-01, CHK-15, CHK-17, CHK-24
#[test]
fn check_passes_right_after_add_and_again() {
    after(
        |_, _, _| (),
        |_, _, web, result| {
            web.check(result).silent();
            web.check(result).silent();
        },
    );
}

// CHK-03
#[test]
fn check_needs_the_previous_result() {
    after(
        |_, _, _| (),
        |_, _, web, _| {
            web.call("CHECK").run().fails_or("config-code", 7, 999).names(&["prevResult"]);
            web.check(&Value::Null).fails_or("config-code", 7, 999).names(&["prevResult"]);
        },
    );
}

// CHK-04
#[test]
fn check_misses_the_interface() {
    after(|_, pod, _| drop(pod.sh("ip link del eth0")), finds(&["eth0"]));
}

// CHK-04
#[test]
fn check_is_not_deceived_by_another_link_of_the_name() {
    after(
        |_, pod, _| drop(pod.sh("ip link del eth0; ip link add eth0 type bridge; ip link set eth0 up")),
        finds(&["eth0"]),
    );
}

// CHK-05
#[test]
fn check_misses_an_address() {
    after(|_, pod, _| drop(pod.sh("ip addr del 10.9.0.2/24 dev eth0")), finds(&["10.9.0.2/24"]));
    after(|_, pod, _| drop(pod.sh("ip addr del fd00:9::2/64 dev eth0")), finds(&["fd00:9::2/64"]));
}

// CHK-05
#[test]
fn check_sees_an_address_with_another_prefix() {
    after(
        |_, pod, _| {
            drop(pod.sh("ip addr del 10.9.0.2/24 dev eth0; ip addr add 10.9.0.2/25 dev eth0; ip route add 10.9.0.0/24 dev eth0"))
        },
        finds(&["10.9.0.2/24"]),
    );
}

// CHK-06
#[test]
fn check_misses_a_route() {
    after(|_, pod, _| drop(pod.sh("ip -4 route del default")), finds(&["0.0.0.0"]));
    after(|_, pod, _| drop(pod.sh("ip -6 route del default")), finds(&["::"]));
}

// CHK-06
#[test]
fn check_sees_a_default_route_through_another_gateway() {
    after(
        |_, pod, _| drop(pod.sh("ip -4 route replace default via 10.9.0.77 dev eth0 onlink")),
        only_we_find(&["0.0.0.0/0"]),
    );
}

// CHK-07
#[test]
fn check_sees_a_container_end_that_is_down() {
    after(
        |_, pod, _| {
            pod.set_sysctl("net/ipv6/conf/eth0/keep_addr_on_down", "1");
            pod.sh("ip link set eth0 down");
        },
        |_, _, web, result| drop(web.check(result).fails_somehow()),
    );
}

// CHK-07
#[test]
fn check_sees_a_host_end_that_left_its_bridge() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let result = web.add().result();
        let outside = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
        host.sh(&format!("ip link set {outside} nomaster"));
        web.check(&result).fails_somehow().ours_names("check-closer", &[&outside, "br0"]);
        host.sh(&format!("ip link set {outside} master br0"));
        web.check(&result).silent();
    });
}

// CHK-07
#[test]
fn check_sees_a_host_end_that_is_down() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let result = web.add().result();
            let outside = result["interfaces"]
                .as_array()
                .unwrap()
                .iter()
                .find_map(|i| i["name"].as_str().filter(|n| n.starts_with("veth")));
            let outside = outside.unwrap();
            host.sh(&format!("ip link set {outside} down"));
            let check = web.check(&result);
            host.differs("check-closer", || drop(check.fails_somehow().names(&[outside])), || ());
        }
    });
}

// CHK-12
#[test]
fn check_sees_a_bridge_that_is_down_or_gone() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let result = web.add().result();
        host.sh("ip link set br0 down");
        let check = web.check(&result);
        host.differs("check-closer", || drop(check.fails_somehow().names(&["br0"])), || ());
        host.sh("ip link del br0");
        web.check(&result).fails_somehow().names(&["br0"]);
    });
}

// CHK-12
#[test]
fn check_sees_that_the_bridge_lost_the_gateways_address() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let result = web.add().result();
        host.sh("ip addr del 10.9.0.1/24 dev br0");
        let check = web.check(&result);
        host.differs("check-closer", || drop(check.fails_somehow().names(&["10.9.0.1", "br0"])), || ());
    });
}

// CHK-07
#[test]
fn check_sees_another_mac_or_mtu() {
    after(
        |_, pod, _| drop(pod.sh("ip link set eth0 address 02:00:00:00:00:77")),
        |host, program, web, result| {
            let answer = web.check(result);
            // Theirs compares MACs on a bridge only.
            let theirs = || assert!(program == "veth" || !answer.succeeded());
            host.differs(
                "check-closer",
                || drop(answer.fails_somehow().names(&["eth0", "02:00:00:00:00:77"])),
                theirs,
            );
        },
    );
    after(
        |_, pod, result| {
            pod.sh("ip link set eth0 mtu 1300");
            result["interfaces"]
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .filter(|i| i["name"] == "eth0")
                .for_each(|i| i["mtu"] = json!(1500));
        },
        only_we_find(&["eth0", "1300"]),
    );
}

// CHK-10, CHK-26
#[test]
fn check_misses_the_lease() {
    after(
        |host, _, _| drop(host.sh("rm /run/leases/net-*/10.9.0.2 /run/leases/net-*/fd00*")),
        finds(&["container-1"]),
    );
}

// CHK-13
#[test]
fn what_a_later_plugin_changed_is_the_truth() {
    after(
        |_, pod, result| {
            pod.sh("ip link set eth0 address 02:00:00:00:00:77; ip -4 route del default");
            result["interfaces"]
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .filter(|i| i["name"] == "eth0")
                .for_each(|i| i["mac"] = json!("02:00:00:00:00:77"));
            result["routes"].as_array_mut().unwrap().retain(|route| route["dst"] != "0.0.0.0/0");
        },
        passes,
    );
}

// CHK-14
#[test]
fn check_ignores_addresses_and_routes_of_others() {
    after(
        |host, pod, _| {
            pod.sh("ip addr add 192.0.2.9/24 dev eth0; ip route add 198.51.100.0/24 via 192.0.2.1; ip link add x type ifb");
            host.try_sh("ip link add y type ifb");
        },
        passes,
    );
}

// CHK-17
#[test]
fn a_failing_check_repairs_nothing() {
    after(
        |_, pod, _| drop(pod.sh("ip addr flush dev eth0 scope global")),
        |_, _, web, result| {
            web.check(result).fails_somehow();
            web.check(result).fails_somehow();
        },
    );
}

// CHK-18, RES-09
#[test]
fn check_finds_a_route_in_another_table() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let routes = json!([{"dst": "192.0.2.0/24", "table": 100}]);
            let web = host.attach(program, conf::with(&conf, "/ipam/routes", routes), &pod);
            let ours = || {
                let result = web.add().result();
                web.check(&result).silent();
                pod.sh("ip route flush table 100");
                web.check(&result).fails_somehow().names(&["192.0.2.0/24"]);
                web.del().silent();
            };
            host.differs("check-routes", ours, || ());
        }
    });
}

// CHK-19
#[test]
fn check_ignores_interfaces_of_other_plugins() {
    after(
        |host, _, result| {
            host.try_sh("ip link add ifb7 type ifb");
            result["interfaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "ifb7", "mac": "02:00:00:00:00:09"}));
        },
        passes,
    );
}

// CHK-25
#[test]
fn check_of_a_vanished_namespace_fails() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host).into_iter().chain([("loopback", conf::loopback(host))])
        {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let result = web.add().result();
            pod.delete();
            web.check(&result).fails_or("netns-code", 4, 999).names(&[pod.path()]);
        }
    });
}

// CHK-26, IPM-13
#[test]
fn check_of_a_container_that_was_never_added_fails() {
    after(|_, _, _| (), |_, _, web, result| drop(web.container("never").check(result).fails_somehow()));
}

// CHK-01, DLG-18
#[test]
fn check_passes_on_a_network_without_addresses() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge_l2(host), &pod);
        let result = web.add().result();
        let check = web.check(&result);
        host.differs("check-l2", || check.silent(), || drop(check.fails(999)));
    });
}

// CHN-09, CHN-10, CHN-12
#[test]
fn check_survives_any_previous_result() {
    after(
        |_, _, _| (),
        |_, _, web, result| {
            for (pointer, value) in [
                ("/interfaces", json!([])),
                ("/interfaces", json!("x")),
                ("/ips/0/address", json!("nope")),
                ("/ips/0/address", json!("10.9.0.2")),
                ("/ips/0/interface", json!("x")),
            ] {
                web.check(&conf::with(result, pointer, value)).fails_somehow();
            }
            web.check(&json!({})).fails_somehow();
        },
    );
}
