//! `backend: "firewalld"`, and what is done where firewalld runs: the real one, on a bus of its own, with `gdbus` as witness.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Container, OURS, bridge, does_not_reach, network, outside, reaches};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::witness::OUTSIDE;
use crate::lab::world::{self, Need};
use crate::lab::{conf, lab_with};

/// Debian's package, unpacked by `make`: installed it would start, and change the rules of the machine.
fn unpacked() -> Option<PathBuf> {
    let mut places =
        Path::new(env!("CARGO_TARGET_TMPDIR")).ancestors().take(3).map(|it| it.join("firewalld"));
    places.find(|place| place.join("usr/sbin/firewalld").exists())
}

fn where_it_can_run(test: &str, work: impl FnOnce(&Host)) {
    if unpacked().is_some() {
        lab_with(OURS, work);
    } else {
        world::skip(test, "firewalld is not unpacked (make firewalld)");
    }
}

const BUS: &str = r#"<busconfig>
  <type>system</type>
  <listen>unix:path=ADDRESS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_type="method_call"/>
    <allow send_destination="*" eavesdrop="true"/> <allow receive_sender="*"/>
  </policy>
</busconfig>"#;

/// From now on this world has a bus.
fn bus(host: &Host, socket: &str) {
    std::fs::write("/run/lab/bus.conf", BUS.replace("ADDRESS", socket)).unwrap();
    host.sh(&format!(
        "mkdir -p $(dirname {socket})
        dbus-daemon --config-file=/run/lab/bus.conf --nopidfile --fork"
    ));
}

/// A firewalld. It ends with this value.
struct Daemon(Child);

impl Daemon {
    /// It has the usual zones, and a bus. Everybody else is in the zone public.
    #[track_caller]
    fn start(host: &Host) -> Daemon {
        bus(host, "/run/dbus/system_bus_socket");
        host.sh("mkdir /run/firewalld; mount -t tmpfs log /var/log");
        let files = unpacked().unwrap();
        let mut firewalld = Command::new("/usr/bin/python3");
        firewalld.arg(files.join("usr/sbin/firewalld")).args(["--nofork", "--nopid"]);
        firewalld.arg("--default-config").arg(files.join("usr/lib/firewalld"));
        firewalld.args(["--system-config", "/run/firewalld"]);
        firewalld.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket");
        let child = firewalld.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        host.sh("gdbus wait --system --timeout 60 org.fedoraproject.FirewallD1");
        // It has its name before its rules, and answers afterwards.
        asked(host, "getSources", "trusted");
        Daemon(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `gdbus` hears when it calls a method about zones.
fn asked(host: &Host, method: &str, arguments: &str) -> String {
    host.sh(&format!(
        "gdbus call --system --dest org.fedoraproject.FirewallD1 --object-path /org/fedoraproject/FirewallD1 \
         --method org.fedoraproject.FirewallD1.zone.{method} {arguments}"
    ))
}

fn sources(host: &Host, zone: &str) -> String {
    asked(host, "getSources", zone).trim().to_owned()
}

const NONE: &str = "(@as [],)";
const WEB: &str = "(['10.9.0.2/32', 'fd00:9::2/128'],)";

#[test]
fn where_firewalld_runs_a_container_is_a_source_of_a_zone() {
    let name = "where_firewalld_runs_a_container_is_a_source_of_a_zone";
    where_it_can_run(name, |host| {
        let outside = outside(host);
        let _firewalld = Daemon::start(host);
        let web = Container::new(host, "web");
        does_not_reach(&web.pod, OUTSIDE);
        let web = web.admitted();
        assert_eq!(sources(host, "trusted"), WEB);
        reaches(&web.pod, OUTSIDE);
        does_not_reach(&outside, web.addresses());
        web.check().silent();
        web.wall.host_call("STATUS").run().silent();
        let web = web.admitted();
        assert_eq!(sources(host, "trusted"), WEB);
        assert!(!host.sh("nft list tables").contains("jackfield"), "nothing of the other backend");
        for _ in 0..2 {
            web.wall.del().silent();
            assert_eq!(sources(host, "trusted"), NONE);
        }
        // By its record alone, by the result alone, by neither.
        for (loses, knows_result) in [("rm", true), (":", false)] {
            let web = web.admit().result();
            host.sh(&format!("{loses} /run/jackfield/attachments/*.firewall"));
            let del = conf::with(&network(host), "/prevResult", if knows_result { web } else { Value::Null });
            host.call("firewall", "DEL", &del).container("web").ifname("eth0").run().silent();
            assert_eq!(sources(host, "trusted"), NONE, "{loses}");
        }
        // Another zone; and whoever names a backend gets it.
        let internal =
            web.with("firewalldZone", json!("internal")).with("backend", json!("firewalld")).admitted();
        assert_eq!((sources(host, "internal").as_str(), sources(host, "trusted").as_str()), (WEB, NONE));
        internal.check().silent();
        let native = internal.with("backend", json!("nftables")).admitted();
        assert_eq!(sources(host, "internal"), NONE);
        assert!(host.sh("nft list ruleset").contains("firewall1_open"));
        native.del();
        assert!(!host.sh("nft list ruleset").contains("jackfield"));
    });
}

#[test]
fn an_address_in_a_zone_that_nobody_can_read_stays_there_and_is_told() {
    where_it_can_run("an_address_in_a_zone_that_nobody_can_read_stays_there_and_is_told", |host| {
        let _firewalld = Daemon::start(host);
        let web = Container::new(host, "web").admitted();
        host.sh("rm /run/jackfield/attachments/*.firewall");
        let bad = [("backend", json!(5)), ("firewalldZone", json!(["trusted"]))]
            .map(|(key, value)| (key, web.wall.conf(conf::with(&network(host), &format!("/{key}"), value))));
        for (key, wall) in &bad {
            wall.del_with(&web.result).fails(6).names(&[key, "10.9.0.2", "trusted zone"]);
            assert_eq!(sources(host, "trusted"), WEB);
        }
        web.wall.del_with(&web.result).silent();
        assert_eq!(sources(host, "trusted"), NONE);
        bad.iter().for_each(|(_, wall)| wall.del_with(&web.result).silent());
        // The record knows better.
        let web = web.admitted();
        bad[0].1.del().silent();
        assert_eq!(sources(host, "trusted"), NONE);
        web.link.del().silent();
    });
}

#[test]
fn what_goes_wrong_at_firewalld_is_quoted_and_undone() {
    where_it_can_run("what_goes_wrong_at_firewalld_is_quoted_and_undone", |host| {
        let firewalld = Daemon::start(host);
        let web = Container::new(host, "web");
        let records = || host.sh("ls /run/jackfield/attachments");
        let before = records();
        let nowhere = web.wall.conf(conf::with(&network(host), "/firewalldZone", json!("nowhere")));
        let words = ["failed to add the address 10.9.0.2 to nowhere zone", "INVALID_ZONE"];
        nowhere.call_with("ADD", &web.result).run().fails(999).names(&words);
        nowhere.host_call("STATUS").run().fails(50).names(&[
            "firewall cannot work",
            "nowhere",
            "INVALID_ZONE",
        ]);
        // The second address belongs to another zone: the first one leaves again.
        asked(host, "addSource", "home fd00:9::2/128");
        web.admit().fails(999).names(&["fd00:9::2 to trusted zone", "ZONE_CONFLICT"]);
        assert_eq!(sources(host, "trusted"), NONE);
        assert_eq!(sources(host, "home"), "(['fd00:9::2/128'],)");
        web.wall.del_with(&web.result).silent();
        assert_eq!(sources(host, "home"), "(['fd00:9::2/128'],)", "it is not ours");
        asked(host, "removeSource", "home fd00:9::2/128");
        assert!(!web.wall.call_with("ADD", &web.result).stdout_to("/dev/full").run().succeeded());
        assert_eq!(sources(host, "trusted"), NONE);
        assert_eq!(records(), before);
        let web = web.admitted();
        asked(host, "removeSource", "trusted 10.9.0.2/32");
        web.check().fails(999).names(&["failed to find the address 10.9.0.2 in trusted zone"]);
        let web = web.admitted();
        web.check().silent();
        drop(firewalld);
        web.check().fails(999).names(&["firewalld does not run any more"]);
        web.wall.del().silent();
        // Without it the same network is kept by nftables.
        let web = web.admitted();
        web.check().silent();
        assert!(host.sh("nft list ruleset").contains("firewall1_open"));
        let insisting = web.with("backend", json!("firewalld"));
        insisting.admit().fails(999).names(&["firewalld does not run"]);
        insisting.wall.host_call("STATUS").run().fails(50).names(&["firewalld does not run"]);
        insisting.del();
    });
}

#[test]
fn policies_hold_beside_firewalld_and_gc_and_purge_know_its_sources() {
    let name = "policies_hold_beside_firewalld_and_gc_and_purge_know_its_sources";
    where_it_can_run(name, |host| {
        let _outside = outside(host);
        let _firewalld = Daemon::start(host);
        let before = host.sh("nft list tables");
        let isolated = |number, name| {
            let container = Container::of(host, "bridge", bridge(host, number), name);
            container.with("ingressPolicy", json!("isolated")).admitted()
        };
        let (red, blue) = (isolated(9, "red"), isolated(8, "blue"));
        reaches(&red.pod, OUTSIDE);
        does_not_reach(&red.pod, blue.addresses());
        red.check().silent();
        let gone = conf::with(&network(host), "/cni.dev~1valid-attachments", json!([]));
        host.call("firewall", "GC", &gone).run().silent();
        assert_eq!(sources(host, "trusted"), "(['10.8.0.2/32', 'fd00:8::2/128'],)");
        blue.check().silent();
        blue.pod.sh("ip link delete eth0");
        Call::of(host.program("cnitool"), &["purge"]).run().stdout();
        assert_eq!(sources(host, "trusted"), NONE);
        assert_eq!(host.sh("nft list tables"), before);
    });
}

#[test]
fn either_takes_sources_down_that_the_other_has_added() {
    let name = "either_takes_sources_down_that_the_other_has_added";
    if !Path::new("/usr/lib/cni/firewall").exists() {
        return world::skip(name, "the Go plugins are not installed");
    }
    where_it_can_run(name, |host| {
        let _firewalld = Daemon::start(host);
        let web = Container::new(host, "web");
        let at = |conf: &Value| conf::with(conf, "/cniVersion", json!("1.0.0"));
        let theirs = |verb: &str| {
            let conf = conf::with(&at(&network(host)), "/prevResult", at(&web.result));
            let call = Call::new("/usr/lib/cni/firewall".into(), verb, &conf, "/usr/lib/cni".as_ref());
            call.netns(web.pod.path()).container("web").run()
        };
        let ours = web.wall.conf(at(&network(host)));
        theirs("ADD").result();
        assert_eq!(sources(host, "trusted"), WEB);
        ours.call_with("DEL", &at(&web.result)).run().silent();
        assert_eq!(sources(host, "trusted"), NONE);
        ours.call_with("ADD", &at(&web.result)).run().result();
        theirs("DEL").silent();
        assert_eq!(sources(host, "trusted"), NONE);
        ours.call_with("DEL", &at(&web.result)).run().silent();
    });
}

/// A bus that is nowhere, that nobody answers on, or that knows no firewalld.
#[test]
fn without_firewalld_on_the_bus_nftables_is_used() {
    lab_with(&[OURS, &[Need::Program("dbus-daemon")]].concat(), |host| {
        let web = Container::new(host, "web");
        bus(host, "/run/lab/bus/socket");
        for address in [
            "unix:path=/run/lab/bus/nobody",
            "unix:path=/run/lab/bus/socket",
            "tcp:host=localhost",
            "nonsense",
        ] {
            let call =
                |verb: &str| web.wall.call_with(verb, &web.result).env("DBUS_SYSTEM_BUS_ADDRESS", address);
            assert_eq!(call("ADD").run().result(), web.result, "{address}");
            assert!(host.sh("nft list ruleset").contains("firewall1_open"));
            call("CHECK").run().silent();
            call("DEL").run().silent();
            assert_eq!(host.sh("nft list ruleset; ls /run/jackfield/attachments | grep firewall; :"), "");
        }
    });
}
