//! What a call costs does not depend on how many leases there are. Counted in system calls, which no busy machine changes.

use serde_json::{Value, json};

use super::{container, network};
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("flat-cost")];

/// Many leases as the Go plugin leaves them.
pub fn fill(folder: &str, addresses: impl Iterator<Item = String>) {
    std::fs::create_dir_all(folder).unwrap();
    for (n, ip) in addresses.enumerate() {
        std::fs::write(format!("{folder}/{ip}"), format!("container-{n:050}\r\neth0")).unwrap();
    }
}

pub fn ipv4(n: u32) -> String {
    std::net::Ipv4Addr::from(0x0a40_0002 + n).to_string()
}

fn ipv6(n: u32) -> String {
    std::net::Ipv6Addr::from(0xfd00_0009_0000_0000_0000_0000_0000_0002 + u128::from(n)).to_string()
}

/// How many times a call asks the kernel for something, from its start to its end.
fn asks(call: &Call) -> usize {
    call.clone().under(&["strace", "-f", "-qq", "-o", "/run/lab/strace"]).run();
    std::fs::read_to_string("/run/lab/strace").unwrap().lines().count()
}

/// The price of each verb for one container, in a network that is known already.
fn prices(host: &Host, pod: &Pod, conf: &Value) -> [(&'static str, usize); 5] {
    let web = container(host, pod, conf, "web");
    web.add().result();
    web.del().silent();
    let add = asks(&web.call("ADD"));
    let again = asks(&web.call("ADD"));
    let status = asks(&host.call("host-local", "STATUS", conf));
    let result = json!({"cniVersion": "1.1.0", "ips": []});
    let check = asks(&web.call_with("CHECK", &result));
    web.check(&result).silent();
    let del = asks(&web.call("DEL"));
    web.check(&result).fails(999);
    [("ADD", add), ("second ADD", again), ("STATUS", status), ("CHECK", check), ("DEL", del)]
}

fn costs_the_same(
    fill_few: impl Fn(&Host, &str),
    fill_many: impl Fn(&Host, &str),
    conf: impl Fn(&Host) -> Value,
) {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let prices_of = |folder: &str, fill: &dyn Fn(&Host, &str)| {
            fill(host, &format!("/run/{folder}/net-a"));
            prices(host, &pod, &conf::with(&conf(host), "/ipam/dataDir", json!(format!("/run/{folder}"))))
        };
        let few = prices_of("few", &fill_few);
        let many = prices_of("many", &fill_many);
        for ((verb, few), (_, many)) in few.into_iter().zip(many) {
            // Some pages of the index more, where few leases have only one.
            assert!(many <= few + 12, "{verb} asks {few} times among few leases, {many} among many");
        }
    });
}

// IPM-12
#[test]
fn sixty_thousand_leases_in_a_16_cost_what_ten_do() {
    let last =
        |folder: &str, n: u32| std::fs::write(format!("{folder}/last_reserved_ip.0"), ipv4(n)).unwrap();
    costs_the_same(
        |_, folder| {
            fill(folder, (0..10).map(ipv4));
            last(folder, 9);
        },
        |_, folder| {
            fill(folder, (0..60_000).map(ipv4));
            last(folder, 59_999);
        },
        |host| network(host, "", "10.64.0.0/16"),
    );
}

#[test]
fn so_do_thirty_thousand_in_an_ipv6_64_beside_two_hundred_ranges() {
    let ranges = |host: &Host| {
        let many: Vec<Value> = (0..200).map(|n| json!([{"subnet": format!("10.7.{n}.0/24")}])).collect();
        let set: Vec<Value> = (0..200).map(|n| json!({"subnet": format!("10.8.{n}.0/24")})).collect();
        let sets = [vec![json!([{"subnet": "fd00:9::/64"}]), json!(set)], many[..2].to_vec()].concat();
        conf::with(&network(host, "", "10.0.0.0/24"), "/ipam/ranges", json!(sets))
    };
    costs_the_same(
        |_, folder| fill(folder, (0..10).map(ipv6)),
        |_, folder| fill(folder, (0..30_000).map(ipv6)),
        ranges,
    );
}

// STA-03
#[test]
fn a_full_range_is_refused_at_once_however_large_it_is() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let prices = [10, 30_000].map(|count: u32| {
            let data = format!("/run/leases-{count}");
            fill(&format!("{data}/net-a"), (0..count).map(ipv4));
            let range = json!([[{"subnet": "10.64.0.0/16", "rangeEnd": ipv4(count - 1)}]]);
            let conf = conf::with(&network(host, &data, "10.64.0.0/16"), "/ipam/ranges", range);
            let (status, late) =
                (host.call("host-local", "STATUS", &conf), container(host, &pod, &conf, "late"));
            status.run().fails(50).names(&["no IP addresses available", &format!("{count} addresses")]);
            late.add().fails(999);
            [asks(&status), asks(&late.call("ADD"))]
        });
        for (few, many) in prices[0].into_iter().zip(prices[1]) {
            // One page of the index for each 2048 addresses.
            assert!(many <= few + 20, "{few} requests for a small range, {many} for a large one");
        }
    });
}

// A row of addresses that all live, and one free one behind it
#[test]
fn a_search_passes_a_long_row_of_taken_addresses() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = network(host, "/run/leases", "10.64.0.0/16");
        fill("/run/leases/net-a", (0..20_000).map(ipv4));
        let web = container(host, &pod, &conf, "web");
        assert_eq!(super::address(&web.add()), ipv4(20_000));
        web.del().silent();
        std::fs::write("/run/leases/net-a/last_reserved_ip.0", "10.64.0.1").unwrap();
        let searching = asks(&web.call("ADD"));
        web.del().silent();
        std::fs::write("/run/leases/net-a/last_reserved_ip.0", ipv4(19_999)).unwrap();
        let going = asks(&web.call("ADD"));
        assert!(searching <= going + 12, "{searching} requests to pass 20,000 addresses, {going} without");
    });
}
