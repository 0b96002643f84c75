//! What the kernel is told: routes with all their attributes, sysctls, announcements.

use serde_json::{Value, json};

use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::world::{Need, skip, variable};
use crate::lab::{conf, lab, lab_with};

/// A witness beside the road: nft notes who announces which address, MAC and address in one element.
const NOTE_ANNOUNCEMENTS: &str = "nft -f - <<'END'
table bridge witness {
    set said4 { type ether_addr . ipv4_addr; size 1024; flags dynamic; }
    set said6 { type ether_addr . ipv6_addr; size 1024; flags dynamic; }
    chain road {
        type filter hook prerouting priority 0;
        ether daddr ff:ff:ff:ff:ff:ff arp saddr ip != 0.0.0.0 add @said4 { ether saddr . arp saddr ip }
        ether type ip6 icmpv6 type nd-neighbor-advert add @said6 { ether saddr . ip6 saddr }
    }
}
END";

/// Until that MAC has announced that address; an announcement that never comes ends at the test's deadline.
fn wait_for_announcement(host: &Host, set: &str, mac: &str, address: &str) {
    let said = format!("{mac} . {address}");
    while !host.sh(&format!("nft list set bridge witness {set}")).contains(&said) {}
}

fn add(host: &Host, program: &str, pod: &Pod, routes: Value) -> Value {
    let conf = if program == "bridge" { conf::bridge(host) } else { conf::veth(host) };
    host.attach(program, conf::with(&conf, "/ipam/routes", routes), pod).add().result()
}

// RES-09, RES-10, CHK-18
#[test]
fn a_route_has_every_attribute_that_ipam_gave_it() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        for program in ["bridge", "veth"] {
            let pod = host.pod();
            let routes = json!([
                {"dst": "192.0.2.0/24", "gw": "10.9.0.1", "mtu": 1400, "advmss": 1300, "priority": 5},
                {"dst": "198.51.100.0/24", "table": 100, "scope": 253},
                {"dst": "203.0.113.0/24", "gw": "10.9.0.1", "table": 5000, "scope": 0},
                {"dst": "2001:db8::/32", "gw": "fd00:9::1", "mtu": 1300, "priority": 7, "table": 100}
            ]);
            let result = add(host, program, &pod, routes.clone());
            assert_eq!(result["routes"], routes, "reported as given, zeros too");

            let route = &pod.routes("-4 route show 192.0.2.0/24")[0];
            assert_eq!((&route["gateway"], &route["metric"]), (&json!("10.9.0.1"), &json!(5)), "{route}");
            assert_eq!(route["metrics"], json!([{"mtu": 1400, "advmss": 1300}]), "{route}");
            let route = &pod.routes("-4 route show 198.51.100.0/24 table 100")[0];
            assert_eq!((&route["scope"], route.get("gateway")), (&json!("link"), None), "{route}");
            let route = &pod.routes("-4 route show 203.0.113.0/24 table 5000")[0];
            assert_eq!(route["gateway"], "10.9.0.1", "{route}");
            let route = &pod.routes("-6 route show 2001:db8::/32 table 100")[0];
            assert_eq!(
                (&route["metric"], &route["metrics"]),
                (&json!(7), &json!([{"mtu": 1300}])),
                "{route}"
            );
        }
    });
}

// RES-10
#[test]
fn host_scope_and_no_scope_are_installed_as_said() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        let pod = host.pod();
        add(host, "bridge", &pod, json!([{"dst": "192.0.2.0/24", "scope": 253}, {"dst": "198.51.100.0/24"}]));
        assert_eq!(pod.routes("-4 route show 192.0.2.0/24")[0]["scope"], "link");
        let universe = &pod.routes("-d -4 route show 198.51.100.0/24")[0];
        assert!(universe["scope"] == "global" && universe["gateway"] == "10.9.0.1", "{universe}");
        assert_eq!(universe["protocol"], "boot");
    });
}

// ADD-21
#[test]
fn the_container_does_not_probe_for_addresses_that_were_allocated() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let probe = "ip6 saddr :: icmpv6 type nd-neighbor-solicit counter";
        let road = format!("chain road {{ type filter hook prerouting priority 0; {probe}; }}");
        host.sh(&format!("nft 'table bridge witness {{ {road}; }}'"));
        web.add().result();
        assert_eq!(pod.sysctl("net/ipv6/conf/eth0/accept_dad"), "0");
        // A busy kernel is late to say that an address of its own needs no probing, and never too late to probe.
        while pod.sh("ip -6 addr show dev eth0 scope link").contains("tentative") {}
        assert!(host.sh("nft list chain bridge witness road").contains("packets 0"));
    });
}

#[test]
fn enabledad_brings_the_probing_back() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::with(&conf::bridge(host), "/enabledad", json!(true)), &pod);
        web.add().result();
        // Debian's plugins are older than the key.
        let ours = || {
            assert_eq!(pod.sysctl("net/ipv6/conf/eth0/accept_dad"), "1");
            let address = &pod.address_records("eth0")[1];
            assert!(!address.to_string().contains("tentative"), "settled before the answer: {address}");
        };
        host.differs("enabledad", ours, || ());
    });
}

/// An ADD that waits for its address is stopped, and meanwhile the kernel has more to tell than the socket can hold: then it
/// tells that there was more. `before` are orders for the container's namespace, ahead of those; `after` is done when all has
/// settled.
fn an_add_that_hears_too_much_settles(before: &str, after: impl Fn(&Pod, &dyn Fn() -> bool)) {
    lab_with(&[Need::Ours("enabledad")], |host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::with(&conf::bridge(host), "/enabledad", json!(true)), &pod);
        let mut add = web.call("ADD").start();
        let is_tentative = || pod.sh("ip -6 addr show dev eth0 2>&1 || :").contains("scope global tentative");
        while !is_tentative() {
            assert!(!add.has_ended(), "it waits for its address");
        }
        add.signal("STOP");
        pod.sh(&format!("{before} seq 1 2000 | sed 's|.*|addr add fd00:77::&/128 dev lo|' | ip -batch -"));
        while is_tentative() {}
        after(&pod, &is_tentative);
        add.signal("CONT");
        add.finish().result();
        assert!(!is_tentative());
    });
}

#[test]
fn addresses_that_settle_unheard_are_found_settled() {
    an_add_that_hears_too_much_settles("", |_, _| {});
}

/// What it can still hear then is older than what it sees by itself, and the change that followed it was lost.
#[test]
fn an_address_that_settled_unheard_is_not_waited_for_by_what_was_heard_before() {
    if variable("JACKFIELD_GUEST").is_some() {
        let name = "kernel::an_address_that_settled_unheard_is_not_waited_for_by_what_was_heard_before";
        return skip(name, "an emulated kernel takes longer than the five seconds that ADD waits");
    }
    let before =
        "echo 0 >/proc/sys/net/ipv6/conf/eth0/router_solicitation_delay; ip addr add fd00:55::1/64 dev eth0;";
    an_add_that_hears_too_much_settles(before, |pod, is_tentative| {
        // One that is tentative when it looks again, so that it goes on listening.
        pod.sh("ip addr add fd00:56::1/64 dev eth0");
        assert!(is_tentative());
    });
}

#[test]
fn hundreds_of_routes_are_all_installed() {
    lab(|host| {
        let routes: Vec<Value> =
            (0..600).map(|n| json!({"dst": format!("172.16.{}.{}/32", n / 250, n % 250)})).collect();
        for program in ["bridge", "veth"] {
            let pod = host.pod();
            let result = add(host, program, &pod, Value::Array(routes.clone()));
            assert_eq!(pod.routes("-4 route show root 172.16.0.0/16").len(), 600, "{result}");
        }
    });
}

#[test]
fn router_advertisements_are_off_where_ipam_rules() {
    lab(|host| {
        let (v6, v4, l2) = (host.pod(), host.pod(), host.pod());
        host.attach("bridge", conf::bridge(host), &v6).add().result();
        let only4 = conf::with(&conf::bridge(host), "/ipam/ranges", json!([[{"subnet": "10.8.0.0/24"}]]));
        let only4 = conf::with(&conf::with(&only4, "/ipam/routes", json!([])), "/isGateway", json!(false));
        let only4 = conf::with(&conf::with(&only4, "/name", json!("net-4")), "/bridge", json!("br4"));
        host.attach("bridge", only4.clone(), &v4).add().result();
        host.attach("bridge", conf::with(&conf::bridge_l2(host), "/bridge", json!("br2")), &l2)
            .add()
            .result();
        let ours = || {
            assert_eq!(v6.sysctl("net/ipv6/conf/eth0/accept_ra"), "0", "IPAM gave an IPv6 address");
            assert_eq!(v4.sysctl("net/ipv6/conf/eth0/accept_ra"), "1", "neither address nor gateway is ours");
            assert_eq!(l2.sysctl("net/ipv6/conf/eth0/accept_ra"), "1", "layer 2 alone");
            let gateway = host.pod();
            let conf = conf::with(&conf::with(&only4, "/isGateway", json!(true)), "/name", json!("net-5"));
            let conf = conf::with(&conf, "/ipam/ranges", json!([[{"subnet": "10.5.0.0/24"}]]));
            host.attach("bridge", conf::with(&conf, "/bridge", json!("br5")), &gateway).add().result();
            assert_eq!(gateway.sysctl("net/ipv6/conf/eth0/accept_ra"), "0", "we are the router");
        };
        host.differs("ra", ours, || ());
        for (name, accepts) in [("br0", "0"), ("br2", "0")] {
            assert_eq!(host.sysctl(&format!("net/ipv6/conf/{name}/accept_ra")), accepts);
        }
    });
}

#[test]
fn the_host_end_accepts_no_router_advertisements() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            web.add().result();
            let end = host.links().into_iter().find(|name| name.starts_with("veth")).expect("a host end");
            let accepts = host.sysctl(&format!("net/ipv6/conf/{end}/accept_ra"));
            // A bridge takes every frame of its ports before IPv6 sees it, so a port needs no such switch.
            host.differs(
                "ra",
                || assert!(accepts == "0" || program == "bridge"),
                || assert_eq!(accepts, "0"),
            );
            web.del().silent();
        }
    });
}

#[test]
fn addresses_are_announced_on_the_bridge() {
    lab(|host| {
        host.sh(NOTE_ANNOUNCEMENTS);
        let pod = host.pod();
        let result = host.attach("bridge", conf::bridge(host), &pod).add().result();
        let mac = result["interfaces"][2]["mac"].as_str().unwrap();
        let ours = || {
            wait_for_announcement(host, "said4", mac, "10.9.0.2");
            wait_for_announcement(host, "said6", mac, "fd00:9::2");
        };
        host.differs("announcements", ours, || ());
    });
}

#[test]
fn ipv6_is_switched_on_where_it_was_off() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            for link in ["all", "default", "lo"] {
                pod.set_sysctl(&format!("net/ipv6/conf/{link}/disable_ipv6"), "1");
            }
            let web = host.attach(program, conf, &pod);
            web.add().result();
            assert_eq!(pod.addresses("eth0"), ["10.9.0.2/24", "fd00:9::2/64"]);
            assert!(pod.pings("fd00:9::1"), "{program}");
            web.del().silent();
            host.sh("rm -r /run/leases");
        }
    });
}

#[test]
fn an_address_survives_its_link_going_down() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            web.add().result();
            pod.sh("ip link set eth0 down && ip link set eth0 up");
            let both = || assert_eq!(pod.addresses("eth0").len(), 2, "{program}");
            host.differs("keep-address", both, || ());
            web.del().silent();
        }
    });
}

#[test]
fn an_ipv4_address_has_its_broadcast_address_and_global_scope() {
    lab(|host| {
        let pod = host.pod();
        host.attach("bridge", conf::bridge(host), &pod).add().result();
        let address = &pod.address_records("eth0")[0];
        assert_eq!((&address["broadcast"], &address["scope"]), (&json!("10.9.0.255"), &json!("global")));
    });
}

#[test]
fn both_ends_have_one_queue_and_the_ordinary_length() {
    lab(|host| {
        let pod = host.pod();
        let result = host.attach("bridge", conf::bridge(host), &pod).add().result();
        let outside = host.link(result["interfaces"][1]["name"].as_str().unwrap()).unwrap();
        let ours = || {
            for link in [&outside, &pod.link("eth0").unwrap()] {
                assert_eq!(
                    (&link["num_tx_queues"], &link["num_rx_queues"]),
                    (&json!(1), &json!(1)),
                    "{link}"
                );
                assert_eq!(link["txqlen"], 1000, "{link}");
            }
        };
        host.differs("queues", ours, || assert_eq!(outside["txqlen"], Value::Null));
    });
}

#[test]
fn the_host_end_carries_our_mark_and_says_whose_it_is() {
    lab(|host| {
        let ours = || {
            for (program, conf) in conf::interfaces(host) {
                let pod = host.pod();
                let web = host.attach(program, conf, &pod);
                web.add().result();
                let end = host.links().into_iter().find(|name| name.starts_with("veth")).expect("a host end");
                let link = host.link(&end).unwrap();
                let alias = link["ifalias"].as_str().expect("an alias");
                assert!(alias.starts_with(end.strip_prefix("veth").unwrap()), "{alias}");
                assert!(
                    alias.contains("container-1") && alias.contains("net-") && alias.contains("eth0"),
                    "{alias}"
                );
                assert_ne!(link["group"], "default");
                web.del().silent();
            }
        };
        host.differs("host-end-name", ours, || ());
    });
}

#[test]
fn nothing_of_the_hosts_is_changed_but_what_is_shared() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let before = host.snapshot();
            let web = host.attach(program, conf, &pod);
            let result = web.add().result();
            let end = host.links().into_iter().find(|name| name.starts_with("veth")).expect("a host end");
            let mut shared = conf::LEFT_BEHIND.to_vec();
            shared.push(crate::lab::snapshot::Shared::Link(&end));
            let found = before.differences(&host.snapshot(), &shared);
            let lease =
                |line: &String| line.contains("file/run/leases/") || line.contains("file/run/jackfield/");
            assert!(found.iter().all(lease), "{program}: {found:#?}");
            web.del_with(&result).silent();
        }
    });
}

#[test]
fn a_port_of_a_bridge_needs_no_address_of_its_own() {
    lab(|host| {
        let pod = host.pod();
        let result = host.attach("bridge", conf::bridge(host), &pod).add().result();
        let port = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
        let local = |place: &Place, of: &str| {
            let found = place.sh(&format!("ip -o -6 address show dev {of} scope link"));
            let word = found.split_whitespace().find(|word| word.starts_with("fe80:"));
            word.and_then(|word| word.split('/').next()).map(str::to_owned)
        };
        host.differs(
            "port-address",
            || assert_eq!(local(host, &port), None),
            || assert!(local(host, &port).is_some()),
        );
        assert!(pod.pings("10.9.0.1") && pod.pings("fd00:9::1"));
        // Who has a link-local address reaches those of the bridge and of other containers.
        let other = host.pod();
        host.attach("bridge", conf::bridge(host), &other).container("other").add().result();
        for address in [local(host, "br0"), local(&other, "eth0")] {
            let address = address.unwrap();
            assert!(pod.pings(&format!("{address}%eth0")), "{address}");
        }
    });
}
