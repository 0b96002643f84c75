//! Smaller answers of host-local and veth in which we and the Go plugins differ on purpose, each as a pair.

use serde_json::{Value, json};

use crate::lab::host::Host;
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

fn pool(host: &Host, ranges: Value) -> Value {
    conf::with(&conf::pool(host, "10.1.1.0/24"), "/ipam/ranges", ranges)
}

fn asking(host: &Host, ips: Value) -> Value {
    conf::with(&conf::pool(host, "10.1.1.0/24"), "/runtimeConfig/ips", ips)
}

// ADD-21
#[test]
fn a_routed_pair_does_not_probe_for_allocated_addresses() {
    lab(|host| {
        let pod = host.pod();
        host.attach("veth", conf::veth(host), &pod).add().result();
        let accepts = pod.sysctl("net/ipv6/conf/eth0/accept_dad");
        assert_eq!(accepts, host.differs("ptp-dad", || "0", || "1"));
    });
}

// CAP-22
#[test]
fn of_two_requests_for_one_pool_the_second_is_named_as_left_over() {
    lab(|host| {
        let lease = host.attach("host-local", asking(host, json!(["10.1.1.70", "10.1.1.71"])), &host.pod());
        let fault = lease.add().fails_somehow().names(&["failed to allocate all requested IPs"]);
        let ours = || {
            assert!(fault.msg.contains("10.1.1.71") && !fault.msg.contains("10.1.1.70"), "{}", fault.msg);
        };
        host.differs("requested-order", ours, || ());
    });
}

// CAP-21
#[test]
fn a_request_that_fits_no_pool_is_refused_before_anything_is_touched() {
    lab(|host| {
        let lease = host.attach("host-local", asking(host, json!(["192.0.2.9"])), &host.pod());
        lease.add().fails_somehow().names(&["192.0.2.9"]);
        let files = host.snapshot().below("folder/run/leases").len();
        host.differs("requested-early", || assert_eq!(files, 0), || assert_ne!(files, 0));
    });
}

// IPM-02
#[test]
fn no_gateway_of_a_set_is_given_away() {
    lab(|host| {
        let ranges = json!([[
            {"subnet": "10.1.1.0/24", "rangeStart": "10.1.1.10", "rangeEnd": "10.1.1.10", "gateway": "10.1.1.20"},
            {"subnet": "10.1.1.0/24", "rangeStart": "10.1.1.20", "rangeEnd": "10.1.1.22", "gateway": "10.1.1.22"}
        ]]);
        let lease = host.attach("host-local", pool(host, ranges), &host.pod());
        lease.add().result();
        let second = lease.container("container-2").add().result();
        let expected = host.differs("gateway-of-neighbour", || "10.1.1.21/24", || "10.1.1.20/24");
        assert_eq!(second["ips"][0]["address"], expected);
    });
}

// IPM-08
#[test]
fn a_range_that_starts_behind_its_ordinary_end_is_refused() {
    lab(|host| {
        let conf = pool(host, json!([[{"subnet": "10.1.1.0/24", "rangeStart": "10.1.1.255"}]]));
        let answer = host.attach("host-local", conf, &host.pod()).add();
        let ours = || drop(answer.fails(7).names(&["10.1.1.255"]));
        host.differs("range-start-at-end", ours, || ());
    });
}

// CAP-31
#[test]
fn null_among_the_requested_addresses_is_refused() {
    lab(|host| {
        let answer = host.attach("host-local", asking(host, json!([null])), &host.pod()).add();
        host.differs("null-request", || drop(answer.fails_with_one_of(&[6, 7])), || ());
    });
}

// IPM-09, IPM-11
#[test]
fn the_round_robin_mark_moves_only_with_a_whole_lease() {
    lab(|host| {
        let ranges = json!([[{"subnet": "10.1.1.0/24"}], [{"subnet": "10.1.2.0/30"}]]);
        let lease = host.attach("host-local", pool(host, ranges), &host.pod());
        lease.add().result();
        lease.container("container-2").add().fails_somehow();
        let mark = host.sh("cat /run/leases/net-a/last_reserved_ip.0");
        assert_eq!(mark, host.differs("cursor-last", || "10.1.1.2", || "10.1.1.3"));
    });
}

// ARG-07, ARG-10
#[test]
fn an_address_in_cni_args_that_is_none_is_refused_by_the_variables_name() {
    lab(|host| {
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &host.pod());
        let answer = lease.call("ADD").env("CNI_ARGS", "IP=nope").run();
        let ours = || drop(answer.fails(4).names(&["CNI_ARGS", "nope"]));
        host.differs("args-code", ours, || drop(answer.fails(999)));
    });
}

// IPM-02
#[test]
fn addresses_of_an_ipv6_pool_are_ipv6_addresses() {
    lab(|host| {
        let lease = host.attach("host-local", pool(host, json!([[{"subnet": "::a00:0/112"}]])), &host.pod());
        let answer = lease.add();
        let ours = || {
            let result = answer.result();
            let (address, _) = result["ips"][0]["address"].as_str().unwrap().split_once('/').unwrap();
            assert_eq!(
                address.parse::<std::net::Ipv6Addr>().unwrap(),
                "::a00:2".parse::<std::net::Ipv6Addr>().unwrap()
            );
        };
        host.differs("ipv6-arithmetic", ours, || ());
    });
}

// DEL-12, IPM-07
#[test]
fn a_note_in_the_store_is_no_lease() {
    lab(|host| {
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &host.pod());
        lease.add().result();
        host.sh("cd /run/leases/net-a && cp 10.1.1.2 note && mkdir backup && cp 10.1.1.2 backup/10.1.1.2");
        lease.del().silent();
        let left = host.sh("cd /run/leases/net-a && ls -d note backup/* 10.1.1.2 2>/dev/null || :");
        assert_eq!(left, host.differs("extra-files", || "backup/10.1.1.2\nnote\n", || ""));
    });
}

// CHK-10, IPM-13
#[test]
fn check_wants_the_leases_of_the_results_addresses() {
    lab(|host| {
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &host.pod());
        let mut result = lease.add().result();
        lease.check(&result).silent();
        result["ips"][0]["address"] = json!("10.1.1.77/24");
        let answer = lease.check(&result);
        let ours = || drop(answer.fails_somehow().names(&["10.1.1.77"]));
        host.differs("check-address", ours, || answer.silent());
    });
}

// STA-02, STA-03
#[test]
fn status_tells_that_the_store_cannot_be_written() {
    lab_with(&[Need::Ours("pool-status")], |host| {
        host.sh("mkdir /run/leases && mount -t tmpfs -o ro none /run/leases");
        let answer = host.call("host-local", "STATUS", &conf::pool(host, "10.1.1.0/24")).run();
        answer.fails(50).names(&["/run/leases"]);
    });
}

// IPM-05: one ADD takes all its addresses, or another one does
#[test]
fn addresses_of_one_add_are_taken_in_one_go() {
    lab(|host| {
        let ranges =
            json!([[{"subnet": "10.1.1.0/24"}], [{"subnet": "10.1.2.0/24"}], [{"subnet": "10.1.3.0/24"}]]);
        let lease = host.attach("host-local", pool(host, ranges), &host.pod());
        let running: Vec<_> =
            (0..16).map(|n| lease.container(&format!("c{n}")).call("ADD").start()).collect();
        for call in running {
            let result = call.finish().result();
            let hosts: Vec<_> = result["ips"]
                .as_array()
                .unwrap()
                .iter()
                .map(|ip| ip["address"].as_str().unwrap().rsplit_once('.').unwrap().1.to_owned())
                .collect();
            // Every set is equally far only if nobody came between the first and the last.
            host.differs(
                "lock-span",
                || assert!(hosts.iter().all(|host| *host == hosts[0]), "{hosts:?}"),
                || (),
            );
        }
    });
}
