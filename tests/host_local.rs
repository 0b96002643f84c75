//! host-local called directly: which address, which file, which answer.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::lab::host::Host;
use crate::lab::{conf, lab};

fn pool(host: &Host, ranges: Value) -> Value {
    conf::with(&conf::pool(host, "10.1.1.0/24"), "/ipam/ranges", ranges)
}

/// The addresses of a result.
fn addresses(result: &Value) -> Vec<&str> {
    result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap()).collect()
}

/// The lease files of `net-a`, by address.
fn leases(host: &Host) -> Vec<String> {
    let names = host.sh("ls /run/leases/net-a 2>/dev/null || :");
    names.lines().filter(|name| name.parse::<std::net::IpAddr>().is_ok()).map(str::to_owned).collect()
}

// IPM-01, IPM-02, IPM-04
#[test]
fn a_lease_is_addresses_gateways_and_routes_alone() {
    lab(|host| {
        let result = host.attach("host-local", conf::leases(host), &host.pod()).add().result();
        let expected = json!({
            "cniVersion": host.newest(),
            "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}, {"address": "fd00:9::2/64", "gateway": "fd00:9::1"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        });
        assert_eq!(conf::without(&result, "dns"), expected);
        assert!(result.get("dns").is_none_or(|dns| *dns == json!({})));
    });
}

// ENV-26: nothing is done in the namespace
#[test]
fn the_namespace_is_not_looked_at() {
    lab(|host| {
        let lease = host.attach("host-local", conf::leases(host), &host.pod()).netns("/some/where");
        let result = lease.add().result();
        lease.check(&result).silent();
        lease.del().silent();
        assert!(leases(host).is_empty());
    });
}

// IPM-12
#[test]
fn the_store_is_the_go_plugins_byte_by_byte() {
    lab(|host| {
        let pod = host.pod();
        host.attach("host-local", conf::leases(host), &pod).add().result();
        let read = |name: &str| std::fs::read_to_string(format!("/run/leases/net-a/{name}")).unwrap();
        assert_eq!(read("10.9.0.2"), "container-1\r\neth0");
        assert_eq!(read("fd00:9::2"), "container-1\r\neth0");
        assert_eq!(read("last_reserved_ip.0"), "10.9.0.2");
        assert_eq!(read("last_reserved_ip.1"), "fd00:9::2");
        assert_eq!(read("lock"), "");
        let modes =
            host.sh("cd /run/leases && stat -c '%a %n' net-a/10.9.0.2 net-a/last_reserved_ip.0 net-a");
        let files = host.sh("ls -A /run/leases/net-a");
        assert_eq!(
            files.split_whitespace().collect::<Vec<_>>(),
            ["10.9.0.2", "fd00:9::2", "last_reserved_ip.0", "last_reserved_ip.1", "lock"]
        );
        // 1.1.1 leaves the mode to the umask.
        assert!(modes.contains("600 net-a/10.9.0.2") || host.is_reference(), "{modes}");
        assert!(modes.contains("755 net-a\n"), "{modes}");
    });
}

// IPM-12
#[test]
fn the_ordinary_store_is_below_var_lib_cni() {
    lab(|host| {
        let mut conf = conf::pool(host, "10.1.1.0/24");
        conf["ipam"].as_object_mut().unwrap().remove("dataDir");
        let lease = host.attach("host-local", conf, &host.pod());
        lease.add().result();
        assert_eq!(host.sh("cat /var/lib/cni/networks/net-a/10.1.1.2"), "container-1\r\neth0");
        lease.del().silent();
        assert_eq!(
            host.sh("ls /var/lib/cni/networks/net-a/").split_whitespace().collect::<Vec<_>>(),
            ["last_reserved_ip.0", "lock"]
        );
    });
}

// IPM-12
#[test]
fn leases_of_the_go_plugin_are_respected_and_freed() {
    lab(|host| {
        let pod = host.pod();
        host.sh("mkdir -p /run/leases/net-a && cd /run/leases/net-a && printf 'old-container' > 10.1.1.2 && printf 'other\\r\\neth0' > 10.1.1.3 && printf 10.1.1.1 > last_reserved_ip.0");
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &pod);
        assert_eq!(addresses(&lease.add().result()), ["10.1.1.4/24"]);
        // A file of the time before interface names belongs to the container, whatever its interface.
        lease
            .container("old-container")
            .check(&json!({"cniVersion": host.newest(), "ips": [{"address": "10.1.1.2/24"}]}))
            .silent();
        lease.container("old-container").del().silent();
        lease.container("other").del().silent();
        assert_eq!(leases(host), ["10.1.1.4"]);
    });
}

// IPM-11
#[test]
fn a_freed_address_waits_its_turn() {
    lab(|host| {
        let pod = host.pod();
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/29"), &pod);
        let mut given = Vec::new();
        for n in 0..7 {
            let lease = lease.container(&format!("c{n}"));
            given.push(addresses(&lease.add().result())[0].to_owned());
            lease.del().silent();
        }
        let expected = ["2", "3", "4", "5", "6", "2", "3"].map(|n| format!("10.1.1.{n}/29"));
        assert_eq!(given, expected);
    });
}

// IPM-06, DEL-13
#[test]
fn a_lease_belongs_to_network_container_and_interface() {
    lab(|host| {
        let pod = host.pod();
        let first = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &pod);
        let second = first.ifname("eth1");
        let elsewhere = first.conf(conf::with(&conf::pool(host, "10.1.1.0/24"), "/name", json!("net-b")));
        assert_eq!(addresses(&first.add().result()), ["10.1.1.2/24"]);
        assert_eq!(addresses(&second.add().result()), ["10.1.1.3/24"]);
        assert_eq!(addresses(&elsewhere.add().result()), ["10.1.1.2/24"]);
        second.del().silent();
        assert_eq!(leases(host), ["10.1.1.2"]);
        elsewhere.del().silent();
        assert_eq!(leases(host), ["10.1.1.2"]);
        first.ifname("eth1").del().silent();
        assert_eq!(leases(host), ["10.1.1.2"]);
    });
}

// IPM-10
#[test]
fn a_second_lease_of_one_owner_is_refused() {
    lab(|host| {
        let pod = host.pod();
        let lease = host.attach("host-local", conf::leases(host), &pod);
        let result = lease.add().result();
        let before = host.snapshot();
        lease.add().fails_somehow().names(&[
            "10.9.0.2",
            "container-1",
            "duplicate allocation is not allowed",
        ]);
        before.same_as(&host.snapshot(), &[]);
        lease.check(&result).silent();
    });
}

// IPM-10
#[test]
fn a_second_lease_is_refused_with_a_requested_address_too() {
    lab(|host| {
        let pod = host.pod();
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &pod);
        lease.add().result();
        let before = host.snapshot();
        let again = lease.conf(conf::with(lease.configuration(), "/runtimeConfig/ips", json!(["10.1.1.9"])));
        let add = again.add();
        let ours = || {
            add.fails_somehow().names(&["duplicate allocation is not allowed"]);
            before.same_as(&host.snapshot(), &[]);
        };
        host.differs("requested-twice", ours, || drop(add.result()));
    });
}

// IPM-05
#[test]
fn thirty_two_at_once_get_thirty_two_addresses() {
    lab(|host| {
        let pod = host.pod();
        let lease = host.attach("host-local", conf::leases(host), &pod);
        let running: Vec<_> =
            (0..32).map(|n| lease.container(&format!("c{n}")).call("ADD").start()).collect();
        let results: Vec<Value> = running.into_iter().map(|call| call.finish().result()).collect();
        let distinct: BTreeSet<_> = results.iter().flat_map(addresses).collect();
        assert_eq!(distinct.len(), 64);
        assert_eq!(leases(host).len(), 64);
        let running: Vec<_> =
            (0..32).map(|n| lease.container(&format!("c{n}")).call("DEL").start()).collect();
        running.into_iter().for_each(|call| call.finish().silent());
        assert!(leases(host).is_empty());
    });
}

// IPM-09
#[test]
fn an_exhausted_pool_is_named_and_takes_nothing() {
    lab(|host| {
        let pod = host.pod();
        // The second set has one address, so the second container's first address must be given back.
        let conf = pool(host, json!([[{"subnet": "10.1.1.0/24"}], [{"subnet": "10.1.2.0/30"}]]));
        let lease = host.attach("host-local", conf, &pod);
        assert_eq!(addresses(&lease.add().result()), ["10.1.1.2/24", "10.1.2.2/30"]);
        for _ in 0..2 {
            let fault = lease.container("container-2").add().fails_somehow();
            fault.names(&["no IP addresses available in range set", "10.1.2"]);
            assert_eq!(leases(host), ["10.1.1.2", "10.1.2.2"]);
        }
    });
}

// IPM-07, IPM-13
#[test]
fn check_finds_the_lease_and_del_frees_it_again_and_again() {
    lab(|host| {
        let pod = host.pod();
        let lease = host.attach("host-local", conf::leases(host), &pod);
        let result = lease.add().result();
        lease.check(&result).silent();
        let stranger = lease.container("never").check(&result).fails_somehow();
        stranger.names(&["Failed to find address added by container never"]);
        lease.ifname("eth1").check(&result).fails_somehow();
        pod.delete();
        for _ in 0..3 {
            lease.del().silent();
        }
        assert!(leases(host).is_empty());
        lease.check(&result).fails_somehow().names(&["container-1"]);
    });
}

// IPM-17
#[test]
fn a_lease_of_an_add_that_was_killed_is_freed_by_del() {
    lab(|host| {
        let pod = host.pod();
        let lease = host.attach("host-local", conf::leases(host), &pod);
        for _ in 0..20 {
            let running = lease.call("ADD").start();
            running.signal("KILL");
            drop(running.finish());
            lease.del().silent();
            // Theirs may have died between making the file and writing into it.
            host.differs(
                "lease-whole",
                || (),
                || drop(host.sh("find /run/leases -name '10.*' -empty -delete || :")),
            );
            assert!(leases(host).is_empty());
        }
        lease.add().result();
    });
}

// CON-04
#[test]
fn a_killed_holder_of_the_lock_blocks_nobody() {
    lab(|host| {
        host.sh("mkdir -p /run/leases/net-a && touch /run/leases/net-a/lock");
        let held = std::fs::File::open("/run/leases/net-a/lock").unwrap();
        held.lock().unwrap();
        let pod = host.pod();
        let mut waiting = host.attach("host-local", conf::leases(host), &pod).call("ADD").start();
        wait_until_blocked(&waiting.pid().to_string());
        assert!(!waiting.has_ended());
        waiting.signal("KILL");
        drop(waiting.finish());
        let next = host.attach("host-local", conf::leases(host), &pod).call("ADD").start();
        drop(held);
        next.finish().result();
    });
}

/// Until the kernel lists this process as waiting for a lock (`->` in /proc/locks).
fn wait_until_blocked(pid: &str) {
    loop {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        if locks.lines().any(|line| line.contains("->") && line.split_whitespace().any(|word| word == pid)) {
            return;
        }
        std::thread::yield_now();
    }
}

// IPM-19
#[test]
fn name_servers_come_from_the_file_that_is_named() {
    lab(|host| {
        let pod = host.pod();
        host.sh("printf '# c\\n; c\\n\\nnameserver 192.0.2.53\\n nameserver\\t2001:db8::53  \\ndomain a.test\\ndomain b.test\\nsearch c.test d.test\\noptions ndots:2 rotate\\nunknown x\\n' > /run/resolv.conf");
        let conf =
            conf::with(&conf::pool(host, "10.1.1.0/24"), "/ipam/resolvConf", json!("/run/resolv.conf"));
        let lease = host.attach("host-local", conf.clone(), &pod);
        assert_eq!(
            lease.add().result()["dns"],
            json!({
                "nameservers": ["192.0.2.53", "2001:db8::53"], "domain": "b.test",
                "search": ["c.test", "d.test"], "options": ["ndots:2", "rotate"]
            })
        );
        let nowhere =
            lease.container("c2").conf(conf::with(&conf, "/ipam/resolvConf", json!("/run/nowhere")));
        nowhere.add().fails_somehow().names(&["/run/nowhere"]);
        assert_eq!(leases(host), ["10.1.1.2"]);
    });
}
