//! host-local's pools: which configurations make sense, and where an address range starts and ends.

use serde_json::{Value, json};

use crate::lab::host::{Host, Pod};
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

/// ADD that must fail with a configuration error; the store stays as it is.
fn refuses(cases: impl FnOnce(&Host) -> Vec<(Value, &'static str)>) {
    lab(|host| {
        let pod = host.pod();
        let before = host.snapshot();
        for (ranges, words) in cases(host) {
            let lease = host.attach("host-local", pool(host, ranges), &pod);
            lease.add().fails_or("config-code", 7, 999).names(&[words]);
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

// IPM-08
#[test]
fn a_pool_that_makes_no_sense_is_refused() {
    refuses(|_| {
        vec![
            (json!([]), "no IP ranges specified"),
            (json!([[]]), "empty range set"),
            (json!([[{"subnet": "10.1.1.0/31"}]]), "too small to allocate from"),
            (json!([[{"subnet": "10.1.1.0/32"}]]), "too small to allocate from"),
            (json!([[{"subnet": "fd00::/127"}]]), "too small to allocate from"),
            (json!([[{"subnet": "10.1.1.7/24"}]]), "host bits set"),
            (json!([[{"subnet": "10.1.1.0/24", "rangeStart": "10.1.2.5"}]]), "10.1.2.5"),
            (json!([[{"subnet": "10.1.1.0/24", "rangeEnd": "10.1.2.5"}]]), "10.1.2.5"),
            (
                json!([[{"subnet": "10.1.1.0/24", "rangeStart": "10.1.1.9", "rangeEnd": "10.1.1.5"}]]),
                "10.1.1.9",
            ),
            (json!([[{"subnet": "10.1.1.0/24"}, {"subnet": "fd00::/64"}]]), "mixed address families"),
            (json!([[{"subnet": "10.1.1.0/24"}, {"subnet": "10.1.0.0/16"}]]), "overlap"),
            (json!([[{"subnet": "10.1.1.0/24"}], [{"subnet": "10.1.1.0/24"}]]), "overlap"),
            (json!([[{"rangeStart": "10.1.1.5"}]]), "invalid range set 0"),
        ]
    });
}

// IPM-08
#[test]
fn a_pool_that_cannot_be_read_is_refused() {
    lab(|host| {
        let pod = host.pod();
        for (pointer, value) in [
            ("/ipam/ranges/0/0/subnet", json!("nope")),
            ("/ipam/ranges/0/0/subnet", json!("10.1.1.0")),
            ("/ipam/ranges/0/0/subnet", json!("10.1.01.0/24")),
            ("/ipam/ranges/0/0/subnet", json!("")),
            ("/ipam/ranges/0/0/gateway", json!("nope")),
            ("/ipam/ranges/0/0/rangeStart", json!("10.1.1")),
            ("/ipam/routes", json!([{"dst": "nope"}])),
            ("/ipam/routes", json!([{"gw": "10.1.1.1"}])),
            ("/runtimeConfig/ips", json!(["nope"])),
            ("/args/cni/ips", json!(["10.1.1.300"])),
        ] {
            let conf = conf::with(&conf::pool(host, "10.1.1.0/24"), pointer, value);
            let answer = host.attach("host-local", conf, &pod).add();
            let ours = || drop(answer.fails_with_one_of(&[6, 7]));
            let theirs = || assert!(pointer == "/ipam/routes" || answer.fails_somehow().code == 999);
            host.differs("decode-code", ours, theirs);
        }
        assert!(leases(host).is_empty() || host.is_reference());
    });
}

// IPM-08
#[test]
fn a_configuration_without_ipam_is_refused() {
    lab(|host| {
        let pod = host.pod();
        let conf = conf::without(&conf::pool(host, "10.1.1.0/24"), "ipam");
        host.attach("host-local", conf, &pod).add().fails_or("config-code", 7, 999).names(&["ipam"]);
    });
}

// IPM-08
#[test]
fn a_gateway_outside_its_subnet_is_refused() {
    lab(|host| {
        let pod = host.pod();
        let conf = pool(host, json!([[{"subnet": "10.1.1.0/24", "gateway": "10.1.2.1"}]]));
        let answer = host.attach("host-local", conf, &pod).add();
        let ours = || drop(answer.fails(7).names(&["10.1.2.1", "10.1.1.0/24"]));
        host.differs("gateway-outside", ours, || drop(answer.result()));
    });
}

// IPM-08, DEL-10
#[test]
fn del_frees_although_the_pool_makes_no_sense_any_more() {
    lab(|host| {
        let pod = host.pod();
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &pod);
        lease.add().result();
        for ranges in [json!([[{"subnet": "10.1.1.7/24"}]]), json!([]), json!([[{"subnet": "192.0.2.0/24"}]])]
        {
            let later = lease.conf(pool(host, ranges));
            let del = later.del();
            let ours = || {
                del.silent();
                assert!(leases(host).is_empty());
            };
            host.differs("del-needs-folder", ours, || ());
        }
    });
}

/// One range of every form, and the address that comes first.
fn first_of(host: &Host, pod: &Pod, conf: &Value) -> Vec<String> {
    let lease = host.attach("host-local", conf.clone(), pod);
    let given = addresses(&lease.add().result()).into_iter().map(str::to_owned).collect();
    lease.del().silent();
    host.sh("rm -r /run/leases");
    given
}

// IPM-02
#[test]
fn ranges_start_and_end_where_they_say() {
    lab(|host| {
        let pod = host.pod();
        let first = |ranges: Value| first_of(host, &pod, &pool(host, ranges));
        assert_eq!(first(json!([[{"subnet": "10.1.1.0/24"}]])), ["10.1.1.2/24"]);
        assert_eq!(first(json!([[{"subnet": "10.1.1.0/24", "gateway": "10.1.1.254"}]])), ["10.1.1.1/24"]);
        assert_eq!(first(json!([[{"subnet": "10.1.1.0/24", "rangeStart": "10.1.1.9"}]])), ["10.1.1.9/24"]);
        assert_eq!(first(json!([[{"subnet": "10.1.1.0/24", "rangeStart": "10.1.1.0"}]])), ["10.1.1.0/24"]);
        assert_eq!(first(json!([[{"subnet": "fd00::/64", "rangeStart": "fd00::ff"}]])), ["fd00::ff/64"]);
        assert_eq!(
            first(json!([[{"subnet": "10.1.1.0/24"}], [{"subnet": "10.1.2.0/24"}]])),
            ["10.1.1.2/24", "10.1.2.2/24"]
        );
        // One set of two ranges is one address.
        assert_eq!(first(json!([[{"subnet": "10.1.1.0/30"}, {"subnet": "10.1.2.0/24"}]])), ["10.1.1.2/30"]);
    });
}

// IPM-02: the form with one subnet
#[test]
fn the_old_form_with_one_subnet_still_counts() {
    lab(|host| {
        let pod = host.pod();
        let ipam = json!({"type": "host-local", "dataDir": "/run/leases", "subnet": "10.1.1.0/24", "rangeStart": "10.1.1.20", "gateway": "10.1.1.254"});
        let old = conf::with(&conf::pool(host, "10.1.1.0/24"), "/ipam", ipam);
        assert_eq!(first_of(host, &pod, &old), ["10.1.1.20/24"]);
        let both = conf::with(&old, "/ipam/ranges", json!([[{"subnet": "10.2.0.0/24"}]]));
        assert_eq!(first_of(host, &pod, &both), ["10.1.1.20/24", "10.2.0.2/24"]);
    });
}
