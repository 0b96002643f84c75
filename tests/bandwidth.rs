//! `bandwidth`: how fast a container may receive and send, by real transfers; `tc` is the other witness.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::world::{self, Need};
use crate::lab::{conf, lab, lab_with};

const OURS: &[Need] = &[Need::Ours("bandwidth-undone")];

/// A container on a bridge, with what the earlier plugins of its list have answered.
struct Container<'h> {
    pod: Pod,
    bridge: Attach<'h>,
    bandwidth: Attach<'h>,
    prev: Value,
}

impl Container<'_> {
    fn host_end(&self) -> &str {
        self.prev["interfaces"][1]["name"].as_str().unwrap()
    }

    fn address(&self) -> &str {
        self.prev["ips"][0]["address"].as_str().unwrap().split_once('/').unwrap().0
    }

    fn add(&self) -> Value {
        self.bandwidth.call_with("ADD", &self.prev).run().result()
    }
}

fn container<'h>(host: &'h Host, name: &str, keys: Value) -> Container<'h> {
    let pod = host.pod_named(name);
    let bridge = host.attach("bridge", conf::bridge(host), &pod).container(name);
    let prev = bridge.add().result();
    let mut own = json!({"cniVersion": host.newest(), "name": "net-a", "type": "bandwidth"});
    own.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    Container { bandwidth: host.attach("bandwidth", own, &pod).container(name), pod, bridge, prev }
}

fn both(rate: u64, burst: u64) -> Value {
    json!({"ingressRate": rate, "ingressBurst": burst, "egressRate": rate, "egressBurst": burst})
}

fn qdiscs(host: &Host, link: &str) -> Vec<Value> {
    serde_json::from_str(&host.sh(&format!("tc -j qdisc show dev {link}"))).unwrap()
}

/// How long it takes until so many bytes have arrived.
fn transfer(from: &Place, to: &Place, address: &str, bytes: u64) -> Duration {
    let mut listener = to.command("sh");
    listener.args(["-c", "busybox nc -l -p 5001 | wc -c"]);
    // Its stdin stays open: at its end nc would hang up.
    let mut listener = listener.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let held = listener.stdin.take();
    while to.sh("ss -Hltn sport = :5001").is_empty() {
        assert!(listener.try_wait().unwrap().is_none(), "the listener has ended");
    }
    let start = Instant::now();
    from.sh(&format!("head -c {bytes} /dev/zero | busybox nc {address} 5001"));
    // The sender may leave before its bytes have arrived.
    let arrived = listener.wait_with_output().unwrap();
    let took = start.elapsed();
    drop(held);
    assert_eq!(String::from_utf8_lossy(&arrived.stdout).trim(), bytes.to_string());
    took
}

/// One of a few transfers runs at this many bits per second on the wire, where each packet of 1448 bytes has 66 bytes of
/// headers: a busy machine is slower now and then, and never faster.
#[track_caller]
fn runs_at(rate: u64, bytes: u64, transfer: impl Fn() -> Duration) -> Duration {
    let on_the_wire =
        |took: Duration| bytes as f64 * 8.0 * 1514.0 / 1448.0 / took.as_secs_f64() / rate as f64;
    let mut slower = Vec::new();
    for _ in 0..5 {
        let took = transfer();
        let share = on_the_wire(took);
        assert!(share < 1.1, "{share} of the rate");
        if share > 0.9 {
            return took;
        }
        slower.push(share);
    }
    panic!("always slower than the rate, of which it is {slower:?}");
}

// CAP-16
#[test]
fn both_directions_run_at_the_rate_that_was_asked_for_and_a_neighbour_at_its_own() {
    lab(|host| {
        // What an emulated kernel can do is less.
        let emulated = world::variable("JACKFIELD_GUEST").is_some();
        let (rate, bytes) = if emulated { (2_000_000, 600_000) } else { (32_000_000, 6_000_000) };
        let slow = container(host, "slow", both(rate, rate / 80));
        let neighbour = container(host, "neighbour", json!({}));
        slow.add();
        let (address, other) = (slow.address(), neighbour.address());
        let inwards = runs_at(rate, bytes, || transfer(host, &slow.pod, address, bytes));
        let outwards = runs_at(rate, bytes, || transfer(&slow.pod, host, "10.9.0.1", bytes));
        let free = || {
            transfer(host, &neighbour.pod, other, bytes) + transfer(&neighbour.pod, host, "10.9.0.1", bytes)
        };
        assert!((0..5).any(|_| free() * 2 < inwards + outwards), "the neighbour is as slow");
    });
}

// CAP-14, CAP-17, CHN-04
#[test]
fn what_is_made_is_told_checked_and_taken_away_though_the_container_lives_on() {
    lab(|host| {
        let runtime = json!({"runtimeConfig": {"bandwidth": both(800_000, 800_000)}});
        let red = container(host, "red", runtime);
        let before = host.snapshot();
        let result = red.add();
        let tbf = |link: &str| {
            let found = qdiscs(host, link);
            let tbf = found.iter().find(|it| it["kind"] == "tbf").unwrap_or_else(|| panic!("{found:?}"));
            (tbf["root"].clone(), tbf["options"]["rate"].clone())
        };
        assert_eq!(tbf(red.host_end()), (json!(true), json!(100_000)));
        let ifb = result["interfaces"].as_array().unwrap().last().unwrap().clone();
        let name = ifb["name"].as_str().unwrap();
        assert!(name.starts_with("bwp") && ifb.get("sandbox").is_none(), "{ifb}");
        assert_eq!(ifb["mac"], host.link(name).unwrap()["address"]);
        assert_eq!(tbf(name), (json!(true), json!(100_000)));
        assert!(host.sh(&format!("tc qdisc show dev {name}")).contains("burst 10000"), "about 100,000 bytes");
        let filter = host.sh(&format!("tc filter show dev {} ingress", red.host_end()));
        assert!(filter.contains(&format!("Egress Redirect to device {name}")), "{filter}");
        assert_eq!(result["ips"], red.prev["ips"]);

        host.differs("bandwidth-undone", || red.bandwidth.check(&result).silent(), || ());
        red.bandwidth.del_with(&result).silent();
        host.differs(
            "bandwidth-undone",
            || before.same_as(&host.snapshot(), &[]),
            || assert!(host.link(name).is_none()),
        );
        red.bandwidth.del_with(&result).silent();
        assert!(host.differs("bandwidth-undone", || red.pod.pings("10.9.0.1"), || true));
    });
}

#[test]
fn without_a_limit_the_previous_result_is_repeated() {
    lab_with(OURS, |host| {
        let red = container(
            host,
            "red",
            json!({"runtimeConfig": {"bandwidth": {"EgressBurst": 4_294_967_295_u64}}}),
        );
        let before = host.snapshot();
        let result = red.add();
        assert_eq!(result, red.prev);
        red.bandwidth.check(&result).silent();
        red.bandwidth.del_with(&result).silent();
        before.same_as(&host.snapshot(), &[]);
    });
}

#[test]
fn add_again_replaces_what_was_there() {
    lab_with(OURS, |host| {
        let red = container(host, "red", both(8_000_000, 800_000));
        let first = red.add();
        let faster = red.bandwidth.conf(conf::with(
            &conf::with(red.bandwidth.configuration(), "/ingressRate", json!(16_000_000)),
            "/egressRate",
            json!(16_000_000),
        ));
        let second = faster.call_with("ADD", &first).run().result();
        assert_eq!(
            second["interfaces"].as_array().unwrap().len(),
            first["interfaces"].as_array().unwrap().len()
        );
        faster.check(&second).silent();
        red.bandwidth
            .check(&second)
            .fails(999)
            .names(&["Rate doesn't match", "not 1000000 bytes per second"]);
        assert_eq!(host.ip("link show type ifb").len(), 1);
        faster.del_with(&second).silent();
        assert!(host.ip("link show type ifb").is_empty());
    });
}

#[test]
fn two_interfaces_of_a_container_are_slowed_down_each_for_itself() {
    lab_with(OURS, |host| {
        let red = container(host, "red", both(8_000_000, 800_000));
        red.add();
        let second = red.bridge.ifname("eth1");
        let prev = second.add().result();
        let slower = red.bandwidth.ifname("eth1");
        let result = slower.call_with("ADD", &prev).run().result();
        assert_eq!(host.ip("link show type ifb").len(), 2);
        slower.check(&result).silent();
        slower.del().silent();
        assert_eq!(host.ip("link show type ifb").len(), 1);
        let mut first = red.prev.clone();
        let ifb = host.ip("link show type ifb")[0].clone();
        first["interfaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": ifb["ifname"], "mac": ifb["address"]}));
        red.bandwidth.check(&first).silent();
    });
}

#[test]
fn a_failed_add_leaves_nothing() {
    lab_with(OURS, |host| {
        let red = container(host, "red", both(8_000_000, 800_000));
        // Somebody else's place for filters: ours cannot be made.
        host.sh(&format!("tc qdisc add dev {} clsact", red.host_end()));
        let before = host.snapshot();
        red.bandwidth.call_with("ADD", &red.prev).run().fails(999).names(&["create ingress qdisc"]);
        before.same_as(&host.snapshot(), &[]);
        assert!(host.sh(&format!("tc qdisc show dev {}", red.host_end())).contains("clsact"));
        red.bandwidth.del().silent();
        before.same_as(&host.snapshot(), &[]);
    });
}

// CHK-09
#[test]
fn check_names_each_thing_that_is_gone() {
    lab_with(OURS, |host| {
        let red = container(host, "red", both(8_000_000, 800_000));
        let result = red.add();
        let ifb = host.ip("link show type ifb")[0]["ifname"].as_str().unwrap().to_owned();
        let end = red.host_end();
        for (deed, named) in [
            (format!("tc qdisc del dev {end} root"), "Failed to find qdisc of"),
            (
                format!("tc qdisc replace dev {end} root tbf rate 1mbit burst 10000 latency 50ms"),
                "Rate doesn't match",
            ),
            (format!("tc qdisc del dev {ifb} root"), "Failed to find qdisc of"),
            (format!("tc filter del dev {end} ingress"), "is not redirected"),
            (format!("tc qdisc del dev {end} ingress"), "is not redirected"),
            (format!("ip link set {ifb} down"), "is down"),
            (format!("ip link del {ifb}"), "is not redirected"),
        ] {
            host.sh(&deed);
            red.bandwidth.check(&result).fails(999).names(&[named]);
            red.bandwidth.call_with("ADD", &red.prev).run().result();
            red.bandwidth.check(&result).silent();
        }
    });
}

#[test]
fn del_needs_neither_namespace_nor_result_nor_limits() {
    lab_with(OURS, |host| {
        let red = container(host, "red", both(8_000_000, 800_000));
        let before = host.snapshot();
        red.add();
        red.bandwidth
            .conf(json!({"cniVersion": "1.1.0", "name": "net-a", "type": "bandwidth"}))
            .netns("")
            .del()
            .silent();
        before.same_as(&host.snapshot(), &[]);
        red.add();
        red.pod.delete();
        red.bandwidth.del().silent();
        assert!(host.ip("link show type ifb").is_empty());
    });
}

// GC-22
#[test]
fn gc_removes_the_ifb_links_of_this_networks_dead() {
    lab_with(OURS, |host| {
        let (red, blue) = (
            container(host, "red", both(8_000_000, 800_000)),
            container(host, "blue", both(8_000_000, 800_000)),
        );
        let result = red.add();
        blue.add();
        host.sh("ip link add bwpstranger type ifb");
        let mut conf = red.bandwidth.configuration().clone();
        host.call("bandwidth", "GC", &conf).run().silent();
        assert_eq!(host.ip("link show type ifb").len(), 3);
        conf["cni.dev/valid-attachments"] = json!([{"containerID": "red", "ifname": "eth0"}]);
        // What the configuration wants today has nothing to do with what is there.
        (conf["ingressRate"], conf["ingressBurst"]) = (json!(1), json!(0));
        host.call("bandwidth", "STATUS", &conf).run().fails(7);
        host.call("bandwidth", "GC", &conf).run().silent();
        assert_eq!(host.ip("link show type ifb").len(), 2);
        red.bandwidth.check(&result).silent();
    });
}

#[test]
fn status_tries_it_where_nobody_sees_it() {
    lab_with(OURS, |host| {
        let before = host.snapshot();
        let conf = json!({"cniVersion": "1.1.0", "name": "net-a", "type": "bandwidth"});
        host.call("bandwidth", "STATUS", &conf).run().silent();
        let inject = "inject=unshare:error=EPERM";
        host.call("bandwidth", "STATUS", &conf)
            .under(&["strace", "-f", "-o", "/dev/null", "-e", inject])
            .run()
            .fails(50)
            .names(&["bandwidth cannot be limited"]);
        before.same_as(&host.snapshot(), &[]);
    });
}

// INP-21, CAP-15, CAP-18
#[test]
fn bad_input_is_told_and_nothing_is_touched() {
    lab_with(OURS, |host| {
        for (keys, code, named) in [
            (json!({"ingressBurst": 8000}), 7, "if burst is set, rate must also be set"),
            (
                json!({"egressRate": 8000, "egressBurst": 34_359_738_360_u64}),
                7,
                "burst cannot be more than 4GB",
            ),
            (json!({"egressRate": 3}), 7, "less than a byte per second"),
            (json!({"egressRate": -1}), 6, "egressRate"),
            (json!({"egressRate": "1M"}), 6, "egressRate"),
            (json!({"runtimeConfig": {"bandwidth": {"ingressRate": 1.5}}}), 6, "ingressRate"),
        ] {
            let pod = host.pod();
            let mut conf = json!({"cniVersion": "1.1.0", "name": "net-a", "type": "bandwidth"});
            conf.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            let prev = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "x"}], "ips": []});
            let before = host.snapshot();
            let bandwidth = host.attach("bandwidth", conf, &pod);
            bandwidth.call_with("ADD", &prev).run().fails(code).names(&[named]);
            before.same_as(&host.snapshot(), &[]);
        }
        let red = container(host, "red", both(8_000_000, 800_000));
        let before = host.snapshot();
        red.bandwidth.add().fails(7).names(&["must be called as chained plugin"]);
        let strangers = conf::with(&red.prev, "/interfaces", json!([{"name": "veth0"}]));
        red.bandwidth
            .call_with("ADD", &strangers)
            .run()
            .fails(999)
            .names(&["no veth peer of container interface found in host ns"]);
        let nothing = conf::with(&red.prev, "/interfaces", json!([]));
        red.bandwidth.call_with("ADD", &nothing).run().fails(999).names(&["no interfaces provided"]);
        before.same_as(&host.snapshot(), &[]);
    });
}

/// `make test` installs Debian's package of them.
const GO: &str = "/usr/lib/cni";

#[test]
fn what_the_go_plugin_slowed_down_is_freed_by_ours_and_the_other_way_round() {
    lab_with(OURS, |host| {
        let ours = host.bin();
        let both_ways = [(Path::new(GO), ours.as_path()), (ours.as_path(), Path::new(GO))];
        for (number, (adds, dels)) in both_ways.into_iter().enumerate() {
            let red = container(host, &format!("red{number}"), both(8_000_000, 800_000));
            let through = |folder: &Path, verb: &str, prev: &Value| {
                let mut conf = conf::with(red.bandwidth.configuration(), "/cniVersion", json!("1.0.0"));
                conf["prevResult"] = conf::with(prev, "/cniVersion", json!("1.0.0"));
                let call = Call::new(folder.join("bandwidth"), verb, &conf, folder);
                call.container(red.pod.name()).netns(red.pod.path()).run()
            };
            let result = through(adds, "ADD", &red.prev).result();
            assert_eq!(host.ip("link show type ifb").len(), 1);
            through(dels, "DEL", &result).silent();
            assert!(host.ip("link show type ifb").is_empty());
            if dels == ours {
                assert_eq!(qdiscs(host, red.host_end()).len(), 1, "as it was born");
                assert!(red.pod.pings("10.9.0.1"));
            }
            red.bridge.del().silent();
        }
    });
}
