//! `mtu: "auto"`: packets as large as the way to the outside lets through.

use serde_json::json;

use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

/// As containers of a node whose way to the outside is a tunnel need it.
#[test]
fn mtu_auto_is_that_of_the_way_to_the_outside() {
    lab_with(&[Need::Ours("mtu-auto")], |host| {
        host.sh("for link in up0 up1 up2; do ip link add $link type veth peer name $link-peer
            ip link set $link up; ip link set $link-peer up; done
            ip link set up0 mtu 1450; ip link set up1 mtu 1420; ip link set up2 mtu 1400
            ip addr add 192.0.2.1/24 dev up0; ip -6 addr add fd00:99::1/64 dev up1 nodad");
        let is = |routes: &str, mtu: u32| {
            host.sh("ip route flush table main; ip -6 route flush table main");
            host.sh("ip route add 192.0.2.0/24 dev up0; ip -6 route add fd00:99::/64 dev up1");
            host.sh(routes);
            for (program, conf) in conf::interfaces(host) {
                let pod = host.pod();
                let conf = conf::with(&conf, "/mtu", json!("auto"));
                let web = host.attach(program, conf.clone(), &pod);
                host.call(program, "STATUS", &conf).run().silent();
                let result = web.add().result();
                assert_eq!(pod.link("eth0").unwrap()["mtu"], mtu, "{program}: {routes}");
                for link in host.links().into_iter().filter(|link| link == "br0") {
                    assert_eq!(
                        host.link(&link).unwrap()["mtu"],
                        mtu,
                        "{routes}: a bridge that is made has it"
                    );
                }
                web.check(&result).silent();
                web.del().silent();
                host.sh("ip link delete br0 2>/dev/null || :");
            }
        };
        is("ip route add default via 192.0.2.2", 1450);
        is("ip -6 route add default via fd00:99::2", 1420);
        is("ip route add default via 192.0.2.2; ip -6 route add default via fd00:99::2", 1420);
        is("ip route add default via 192.0.2.2 mtu 1300; ip -6 route add default via fd00:99::2", 1300);
        // What does not win is no way.
        is("ip route add default via 192.0.2.2; ip route add default dev up2 metric 100", 1450);
        is("ip route add default nexthop via 192.0.2.2 nexthop dev up2", 1400);
    });
}

#[test]
fn mtu_auto_without_a_default_route_is_refused_before_anything_is_made() {
    lab_with(&[Need::Ours("mtu-auto")], |host| {
        let pod = host.pod();
        // It leads nowhere, so no packet takes it; and this one is no default route.
        host.sh("ip link add up0 type veth; ip link set up0 up; ip route add 10.0.0.0/8 dev up0
            ip route add unreachable default");
        let before = host.snapshot();
        for (program, conf) in conf::interfaces(host) {
            let conf = conf::with(&conf, "/mtu", json!("auto"));
            let web = host.attach(program, conf.clone(), &pod);
            web.add().fails(999).names(&["mtu \"auto\"", "the host has no default route"]);
            host.call(program, "STATUS", &conf).run().fails(50).names(&["no default route"]);
            web.del().silent();
            for wrong in ["Auto", "1500", ""] {
                let conf = conf::with(&conf, "/mtu", json!(wrong));
                let words = format!("invalid mtu {wrong:?} (must be \"auto\", 0 or between 68 and 65535)");
                host.attach(program, conf, &pod).add().fails(7).names(&[&words]);
            }
        }
        before.same_as(&host.snapshot(), &[]);
        // A way that is too narrow for IPv6.
        host.sh("ip route del unreachable default; ip route add default dev up0 mtu 1000");
        for (program, conf) in conf::interfaces(host) {
            let web = host.attach(program, conf::with(&conf, "/mtu", json!("auto")), &pod);
            web.add().fails(7).names(&["invalid mtu 1000", "fd00:9::"]);
        }
    });
}
