//! What a record says is never less than what was claimed: whoever replaces one knows what it said, wherever he is killed; and
//! one that cannot be read is not one that is not there.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};
use crate::portmap::port;
use crate::spoof::until;
use crate::{firewall, portmap};

const OURS: &[Need] =
    &[Need::Program("strace"), Need::Ours("purge"), Need::Ours("portmap"), Need::Ours("firewall")];

/// Everything that an ADD may write a record with.
const STEPS: [&str; 5] = ["ftruncate", "write", "linkat", "/^rename", "/^unlink"];

/// Kills the call before each of these steps, one after another, and looks around each time.
fn killed_at_each(call: &Call, mut look: impl FnMut(&str)) {
    let mut times = 0;
    for step in STEPS {
        for number in 1.. {
            let inject = format!("inject={step}:signal=KILL:when={number}");
            let call = call.clone().under(&["strace", "-qq", "-o", "/dev/null", "-e", &inject]);
            let was_killed = call.run().status().signal().is_some();
            look(&format!("{step} {number}"));
            if !was_killed {
                break;
            }
            times += 1;
        }
    }
    assert!(times > 3, "it was killed {times} times only");
}

fn record(host: &Host, plugin: &str, container: &str) -> String {
    let records = host.sh(&format!("grep -l '\"{container}\"' /run/jackfield/attachments/*.{plugin}"));
    records.trim().to_owned()
}

fn left(host: &Host, plugin: &str) -> String {
    host.sh(&format!("ls -A /run/jackfield/attachments | grep {plugin} || true"))
}

#[test]
fn a_repeated_add_of_firewall_that_is_killed_leaves_a_record_of_both() {
    lab_with(OURS, |host| {
        let web = firewall::Container::new(host, "web");
        let moved = conf::with(&web.result, "/ips", json!([{"address": "10.9.0.99/24", "interface": 2}]));
        let rules = || host.sh("nft list ruleset");
        let again = web.wall.call_with("ADD", &moved);
        web.admit().result();
        killed_at_each(&again, |step| {
            web.wall.del().silent();
            assert!(!rules().contains("10.9.0."), "{step}: {}", rules());
            assert_eq!(left(host, "firewall"), "", "{step}");
            web.admit().result();
        });
        web.del();
    });
}

#[test]
fn a_repeated_add_of_portmap_that_is_killed_can_still_be_repeated_by_restore() {
    lab_with(OURS, |host| {
        let web = portmap::Container::new(host, "web");
        let ports = [port("tcp", 7000), port("udp", 7001)];
        web.publishes(&ports);
        let before = fs::read_to_string(record(host, "portmap", "web")).unwrap();
        let again = web.wanting(&ports).call_with("ADD", &web.result);
        killed_at_each(&again, |step| {
            assert_eq!(fs::read_to_string(record(host, "portmap", "web")).unwrap(), before, "{step}");
        });
        host.sh("nft delete table inet jackfield");
        let restore = Call::of(host.program("cnitool"), &["restore"]).env("CNI_PATH", host.bin()).run();
        assert!(restore.stdout().contains("portmap"), "{restore}");
        web.check(&ports).silent();
        assert_eq!(left(host, "next"), "");
        web.del();
        assert!(!host.sh("nft list ruleset").contains("jackfield"));
    });
}

/// Somebody has flushed all rules, and has them made again: each of two has his own port.
fn each_has_his_own_again(host: &Host, [web, mail]: &[portmap::Container<'_>; 2], when: &str) {
    host.sh("nft flush ruleset");
    let restore = Call::of(host.program("cnitool"), &["restore"]).env("CNI_PATH", host.bin()).run();
    assert!(restore.succeeded(), "{when}: {restore}");
    for (container, number) in [(web, 7000), (mail, 7001)] {
        let outcome = container.check(&[port("tcp", number)]);
        assert!(outcome.succeeded(), "{when}: {outcome}");
    }
}

/// Each with his port.
fn web_and_mail<'h>(host: &'h Host, backend: &str) -> [portmap::Container<'h>; 2] {
    [("web", 7000), ("mail", 7001)].map(|(name, number)| {
        let container = portmap::Container::new(host, name).with("/backend", json!(backend));
        container.publishes(&[port("tcp", number)]);
        container
    })
}

#[test]
fn what_a_refused_add_has_wanted_is_in_no_record_and_not_made_again() {
    lab_with(OURS, |host| {
        for backend in ["nftables", "iptables"] {
            let both = web_and_mail(host, backend);
            let [web, _] = &both;
            let text = || fs::read_to_string(record(host, "portmap", "web")).unwrap();
            let before = text();
            web.publish(&[port("tcp", 7001)]).fails(999).names(&["7001/tcp is taken"]);
            assert_eq!(text(), before);
            each_has_his_own_again(host, &both, backend);
            assert_eq!(text(), before, "made again by the same call");
            // This one has made all when nobody hears of it.
            let more = web.wanting(&[port("tcp", 7000), port("udp", 7002)]);
            let unheard = more.call_with("ADD", &web.result).stdout_to("/dev/full").run();
            assert!(!unheard.succeeded(), "{unheard}");
            assert_eq!(text(), before);
            each_has_his_own_again(host, &both, backend);
            assert!(!host.sh("nft list ruleset").contains("7002"));
            // One that is not refused is the one that counts.
            web.publishes(&[port("tcp", 7000), port("udp", 7002)]);
            host.sh("nft flush ruleset");
            each_has_his_own_again(host, &both, backend);
            assert!(host.sh("nft list ruleset").contains("7002"));
            assert_eq!(left(host, "next"), "");
            both.iter().for_each(|it| {
                it.del();
                it.pod.delete();
            });
            assert_eq!(left(host, "portmap"), "");
        }
    });
}

#[test]
fn what_an_add_has_wanted_that_was_killed_is_not_made_again() {
    lab_with(OURS, |host| {
        for backend in ["nftables", "iptables"] {
            let both = web_and_mail(host, backend);
            let refused = both[0].wanting(&[port("tcp", 7001)]).call_with("ADD", &both[0].result);
            killed_at_each(&refused, |step| {
                each_has_his_own_again(host, &both, &format!("{backend} {step}"));
            });
            // The first one of a container that has nothing yet.
            both[0].ports.del().silent();
            killed_at_each(&refused, |step| {
                host.sh("nft flush ruleset");
                let restore =
                    Call::of(host.program("cnitool"), &["restore"]).env("CNI_PATH", host.bin()).run();
                assert!(restore.succeeded(), "{backend} {step}: {restore}");
                both[1].check(&[port("tcp", 7001)]).silent();
                both[0].ports.del().silent();
            });
            both.iter().for_each(|it| {
                it.del();
                it.pod.delete();
            });
            assert_eq!(left(host, "portmap"), "");
        }
    });
}

/// The port of somebody who is killed while his rules are there is nobody else's, and GC and purge know of his rules.
#[test]
fn a_repeated_add_by_iptables_that_is_killed_hides_its_rules_from_nobody() {
    lab_with(OURS, |host| {
        let both = web_and_mail(host, "iptables");
        let [web, mail] = &both;
        let again = web.wanting(&[port("tcp", 7000), port("tcp", 7002)]).call_with("ADD", &web.result);
        let gc = conf::with(
            web.ports.configuration(),
            "/cni.dev~1valid-attachments",
            json!([{"containerID": "mail", "ifname": "eth0"}]),
        );
        let gc = host.call("portmap", "GC", &gc);
        let purge = Call::of(host.program("cnitool"), &["purge"]);
        let mut is_gc = false;
        killed_at_each(&again, |step| {
            mail.publish(&[port("tcp", 7000)]).fails(999).names(&["7000/tcp is taken", "container web"]);
            is_gc = !is_gc;
            let ends = if is_gc {
                &gc
            } else {
                web.pod.sh("ip link delete eth0");
                &purge
            };
            let ended = ends.run();
            assert!(ended.succeeded(), "{step}: {ended}");
            let rules = host.sh("nft list ruleset");
            assert!(!rules.contains("7000") && !rules.contains("7002"), "{step}: {rules}");
            assert!(rules.contains("7001"), "{step}: {rules}");
            let records =
                host.sh("ls -A /run/jackfield/attachments/*.portmap* /run/jackfield/published/* | wc -l");
            assert_eq!(records, "2\n", "{step}");
            if !is_gc {
                web.link.del().silent();
                web.link.add().result();
            }
            web.publishes(&[port("tcp", 7000)]);
        });
        [web, mail].iter().for_each(|it| it.del());
    });
}

#[test]
fn a_repeated_add_of_firewall_that_fails_leaves_the_record_as_it_was() {
    lab_with(OURS, |host| {
        let web = firewall::Container::new(host, "web").admitted();
        let text = || fs::read_to_string(record(host, "firewall", "web")).unwrap();
        let before = text();
        host.sh("mkdir /run/lab/odd; printf '#!/bin/sh\necho no >&2; exit 3\n' > /run/lab/odd/iptables
            cd /run/lab/odd; chmod 755 iptables
            for i in ip6tables iptables-restore ip6tables-restore; do ln iptables $i; done");
        let conf = conf::with(web.wall.configuration(), "/backend", json!("iptables"));
        let other =
            web.wall.conf(conf).call_with("ADD", &web.result).env("PATH", "/run/lab/odd:/usr/bin:/bin");
        other.run().fails(999).names(&["failed to let packets"]);
        assert_eq!(text(), before);
        web.check().silent();
        web.del();
        assert_eq!(left(host, "firewall"), "");
    });
}

/// A network with rules, and the same without any and with other addresses; neither has leases.
fn guarded_and_plain(host: &Host, backend: &str) -> [Value; 2] {
    let plain = conf::fixed(host);
    let guarded =
        [("/ipMasq", json!(true)), ("/ipMasqBackend", json!(backend)), ("/macspoofchk", json!(true))];
    let guarded = guarded.into_iter().fold(plain.clone(), |conf, (key, value)| conf::with(&conf, key, value));
    [guarded, conf::with(&plain, "/ipam/addresses/0/address", json!("10.9.0.6/24"))]
}

/// As after an ADD that was killed before it made the link, but had claimed everything else.
fn dead(attachment: &Attach<'_>, pod: &Pod) {
    attachment.add().result();
    pod.sh("ip link delete eth0");
}

/// What of the first ADD's rules is there.
fn of_the_dead(host: &Host) -> String {
    host.sh("{ nft list ruleset; iptables -t nat -S; ip6tables -t nat -S; } 2>/dev/null | grep -e container-1 -e '10.9.0.5' -e CNI- || true")
}

#[test]
fn what_an_add_has_claimed_that_was_killed_holds_for_no_later_one() {
    lab_with(OURS, |host| {
        for backend in ["nftables", "iptables"] {
            let pod = host.pod();
            let [guarded, plain] =
                guarded_and_plain(host, backend).map(|conf| host.attach("bridge", conf, &pod));
            dead(&guarded, &pod);
            assert!(of_the_dead(host).contains("container-1"), "{backend}");
            plain.add().result();
            assert_eq!(of_the_dead(host), "", "{backend}");
            assert!(
                pod.pings("10.9.0.1") && pod.pings("fd00:9::1"),
                "{backend}: from whatever address it has"
            );
            plain.del().silent();
            assert_eq!(left(host, "bridge"), "");

            // The later one fails, and the record of the first is there again.
            dead(&guarded, &pod);
            let stub = host.stub("refusing-ipam");
            stub.fails("ADD", r#"{"cniVersion": "1.1.0", "code": 50, "msg": "none left"}"#);
            let refused =
                plain.conf(conf::with(plain.configuration(), "/ipam", json!({"type": "refusing-ipam"})));
            refused.path(&format!("{}:{}", stub.folder(), host.bin().display())).add().fails(50);
            plain.del().silent();
            assert_eq!((of_the_dead(host), left(host, "bridge")), Default::default(), "{backend}");
        }
    });
}

#[test]
fn an_add_after_one_that_was_killed_is_killed_too_and_del_removes_what_both_have_left() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let [guarded, plain] =
            guarded_and_plain(host, "nftables").map(|conf| host.attach("bridge", conf, &pod));
        dead(&guarded, &pod);
        killed_at_each(&plain.call("ADD"), |step| {
            plain.del().silent();
            assert_eq!(host.sh("nft list ruleset; ls -A /run/jackfield/attachments"), "", "{step}");
            assert!(pod.links().is_empty(), "{step}");
            dead(&guarded, &pod);
        });
        plain.del().silent();
    });
}

/// Stopped before its record has a name, another one runs to its end; then it goes on.
#[test]
fn an_add_that_is_overtaken_leaves_the_record_of_the_one_that_lives() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let network = conf::with(&conf::bridge(host), "/ipMasq", json!(true));
        let web = host.attach("bridge", conf::with(&network, "/macspoofchk", json!(true)), &pod);
        let trace = "/run/lab/overtaken";
        let stop = ["strace", "-qq", "-o", trace, "-e", "inject=flock:signal=STOP:when=1"];
        let slow = web.call("ADD").under(&stop).start();
        until(|| fs::read_to_string(trace).is_ok_and(|it| it.contains("--- stopped by SIGSTOP ---")));
        let result = web.add().result();
        let before = host.sh("cat /run/jackfield/attachments/*.bridge");
        host.sh(&format!("kill -CONT $(cat /proc/{0}/task/{0}/children)", slow.pid()));
        slow.finish().fails(999).names(&["already exists"]);
        assert_eq!(host.sh("cat /run/jackfield/attachments/*.bridge"), before);
        web.check(&result).silent();
        web.del().silent();
        assert_eq!(host.sh("nft list ruleset; ls -A /run/jackfield/attachments"), "");
    });
}

/// Opening this file fails in this way, whoever does it.
fn unreadable(call: &Call, file: &str, errno: &str) -> Call {
    let inject = format!("inject=open,openat:error={errno}");
    call.clone().under(&["strace", "-f", "-qq", "-o", "/dev/null", "-P", file, "-e", &inject])
}

/// portmap for another network than that of the link, as behind a plugin whose host end has another name than ours: by the
/// record alone it is known what its life hangs by.
fn behind_a_stranger<'h>(host: &'h Host, name: &str, backend: &str) -> portmap::Container<'h> {
    let container = portmap::Container::new(host, name).with("/name", json!("net-b"));
    container.with("/backend", json!(backend))
}

#[test]
fn whoever_has_a_port_keeps_it_while_his_record_cannot_be_read() {
    lab_with(OURS, |host| {
        let ports = [port("tcp", 7000)];
        for backend in ["nftables", "iptables"] {
            let [red, blue] = ["red", "blue"].map(|name| behind_a_stranger(host, name, backend));
            red.publishes(&ports);
            let of_red = record(host, "portmap", "red");
            let add = blue.wanting(&ports).call_with("ADD", &blue.result);
            let before = host.snapshot();
            for errno in ["ENFILE", "EMFILE", "ENOMEM", "EIO", "EACCES"] {
                unreadable(&add, &of_red, errno).run().fails(999).names(&["read the record", &of_red]);
            }
            host.sh(&format!("sed -i 's/\"layout\":1/\"layout\":2/' {of_red}"));
            add.run().fails(999).names(&[&of_red, "is of layout 2"]);
            host.sh(&format!("sed -i 's/\"layout\":2/\"layout\":1/' {of_red}"));
            add.run().fails(999).names(&["7000/tcp is taken", "container red"]);
            red.check(&ports).silent();
            before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            [&red, &blue].iter().for_each(|it| {
                it.del();
                it.pod.delete();
            });
        }
    });
}

/// One of each, with what comes before it.
fn one_of_each(host: &Host) -> [(&'static str, Attach<'_>, Value); 2] {
    let wall = firewall::Container::new(host, "wall");
    let ports = portmap::Container::new(host, "ports");
    let wanting = ports.wanting(&[port("tcp", 7000)]);
    [("firewall", wall.wall, wall.result), ("portmap", wanting, ports.result)]
}

#[test]
fn a_record_that_cannot_be_read_stops_an_add_before_it_claims_and_del_says_so_and_keeps_it() {
    lab_with(OURS, |host| {
        let [wall, ports] = one_of_each(host);
        for (plugin, attachment, result) in [&wall, &ports] {
            let add = attachment.call_with("ADD", result);
            add.run().result();
            let file = record(host, plugin, if *plugin == "firewall" { "wall" } else { "ports" });
            let before = host.snapshot();
            for errno in ["ENFILE", "EIO"] {
                unreadable(&add, &file, errno).run().fails(999).names(&[&file]);
            }
            before.same_as(&host.snapshot(), &[]);
            attachment.check(result).silent();
            unreadable(&attachment.call("DEL"), &file, "EIO").run().fails(999).names(&[&file]);
            assert!(fs::exists(&file).unwrap(), "{plugin}");
            let rules = host.sh("nft list ruleset");
            assert!(!rules.contains("10.9.0.2") && !rules.contains("7000"), "{plugin}: {rules}");
            attachment.del().silent();
            assert_eq!(left(host, plugin), "");
        }
    });
}
