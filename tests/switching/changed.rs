//! Containers of the Go plugins whose network's configuration has changed since: what proves a link to be theirs, and what becomes
//! of the lease where nothing does.

use serde_json::{Value, json};

use super::{OURS, STAYS, THEIRS, call, networks, with_both, with_result};
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;

type Network = (&'static str, Value);

/// A configuration by which the link would not have been made as it is, and what makes it so: the bridge is called otherwise, or
/// nobody can read how; somebody has made a routed pair's host end a port.
fn changed(host: &Host, network: &Network, link: &str) -> Vec<Network> {
    let (program, conf) = network;
    if *program == "ptp" {
        host.sh(&format!("ip link add br7 type bridge; ip link set {link} master br7"));
        return vec![network.clone()];
    }
    [json!("br9"), json!(7)].map(|bridge| (*program, conf::with(conf, "/bridge", bridge))).into()
}

/// The host end, as the result of the Go plugins' ADD names it.
fn host_end(result: &Value) -> String {
    let interfaces = result["interfaces"].as_array().unwrap().iter();
    let mut names = interfaces.filter_map(|it| it["name"].as_str());
    names.find(|name| name.starts_with("veth")).unwrap().to_owned()
}

fn leased(host: &Host) -> String {
    host.sh("cat /run/leases/*/10.9.0.* 2>/dev/null || true")
}

fn dels(network: &Network, pod: &Pod, has_netns: bool) -> Outcome {
    let del = call(OURS, "DEL", network, pod);
    if has_netns { del.run() } else { del.netns("").run() }
}

#[test]
fn a_host_end_that_the_result_names_goes_though_its_network_is_another_by_now() {
    with_both("a_host_end_that_the_result_names_goes_though_its_network_is_another_by_now", |host| {
        for network in networks() {
            // systemd gives a link another MAC address a moment after it is made.
            for (has_netns, has_new_mac) in [(true, false), (false, false), (true, true)] {
                let kinds = if network.0 == "ptp" { 1 } else { 2 };
                for kind in 0..kinds {
                    let pod = host.pod();
                    let before = host.snapshot();
                    let result = call(THEIRS, "ADD", &network, &pod).run().result();
                    let link = host_end(&result);
                    let changed = &changed(host, &network, &link)[kind];
                    if has_new_mac {
                        host.sh(&format!("ip link set {link} address 02:00:00:00:00:07"));
                    }
                    dels(&with_result(changed, &result), &pod, has_netns).silent();
                    assert!(pod.links().is_empty() && leased(host).is_empty(), "{changed:?} {has_netns}");
                    host.try_sh("ip link delete br7");
                    before.same_as(&host.snapshot(), STAYS);
                }
            }
        }
    });
}

/// The next container gets an address of its own, and the first one keeps what it has, until somebody can tell whose it is or it
/// is gone.
#[test]
fn a_host_end_that_nothing_proves_stays_and_keeps_its_address() {
    with_both("a_host_end_that_nothing_proves_stays_and_keeps_its_address", |host| {
        // The Go plugins leave their base chain.
        host.sh(
            "nft 'table bridge nat { chain PREROUTING { type filter hook prerouting priority -300; }; }'",
        );
        for (program, conf) in networks() {
            let network = (program, conf::with(&conf, "/macspoofchk", json!(true)));
            for is_deleted_by_hand in [true, false] {
                let [pod, other] = [host.pod(), host.pod()];
                let before = host.snapshot();
                let link = host_end(&call(THEIRS, "ADD", &network, &pod).run().result());
                let changed = changed(host, &network, &link);
                let rules = host.sh("nft list ruleset");
                for changed in &changed {
                    for _ in 0..2 {
                        let fault = dels(changed, &pod, true).fails(999);
                        fault.names(&[&link, "eth0 of container container-1", "addresses stay taken"]);
                    }
                    assert_eq!(pod.addresses("eth0")[0], "10.9.0.2/24");
                    assert!(leased(host).contains("container-1"), "{changed:?}");
                    assert_eq!(host.sh("nft list ruleset"), rules, "it stays guarded");
                    let next = call(OURS, "ADD", &network, &other).container("next");
                    next.run().result();
                    assert_eq!(other.addresses("eth0")[0], "10.9.0.3/24");
                    call(OURS, "DEL", &network, &other).container("next").run().silent();
                    host.sh("rm /run/leases/*/last_reserved_ip.*");
                }
                match is_deleted_by_hand {
                    true => host.sh(&format!("ip link delete {link}")),
                    false => host.sh(&format!("ip link delete br7 || ip link set {link} master br0")),
                };
                let ends = if is_deleted_by_hand { &changed[0] } else { &network };
                dels(ends, &pod, true).silent();
                host.try_sh("ip link delete br7");
                assert!(pod.links().is_empty() && leased(host).is_empty(), "{program}");
                before.same_as(&host.snapshot(), STAYS);
                [pod, other].iter().for_each(Pod::delete);
            }
        }
    });
}

/// Without the namespace there is nothing but a name; and a link of that name with another address may be anybody's.
#[test]
fn a_host_end_of_the_name_with_another_address_stays_where_the_namespace_cannot_tell() {
    with_both("a_host_end_of_the_name_with_another_address_stays_where_the_namespace_cannot_tell", |host| {
        for network in networks() {
            let pod = host.pod();
            let before = host.snapshot();
            let result = call(THEIRS, "ADD", &network, &pod).run().result();
            let (link, remembered) = (host_end(&result), with_result(&network, &result));
            host.sh(&format!("ip link set {link} address 02:00:00:00:00:07"));
            dels(&remembered, &pod, false).fails(999).names(&[&link, "addresses stay taken"]);
            assert!(pod.link("eth0").is_some() && leased(host).contains("container-1"));
            dels(&remembered, &pod, true).silent();
            assert!(leased(host).is_empty());
            dels(&remembered, &pod, false).silent();
            before.same_as(&host.snapshot(), STAYS);
        }
    });
}
