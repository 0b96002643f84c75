//! `cnitool restore`: rules that somebody has flushed are there again, and nobody's who is gone.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use super::program;
use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::snapshot::{Shared, Snapshot};
use crate::lab::witness::outside;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("purge"), Need::Ours("portmap"), Need::Ours("firewall")];

fn restore(host: &Host, words: &[&str]) -> Outcome {
    let call = Call::of(program(host), &[&["restore"], words].concat());
    call.env("CNI_PATH", host.bin()).run()
}

#[track_caller]
fn restores(host: &Host, words: &[&str]) -> Vec<String> {
    let outcome = restore(host, words);
    assert!(outcome.succeeded() && outcome.stderr().is_empty(), "{outcome}");
    outcome.stdout().lines().map(str::to_owned).collect()
}

/// A container with everything that is kept in rules.
struct Container<'h> {
    pod: Pod,
    result: Value,
    chain: [Attach<'h>; 3],
}

impl<'h> Container<'h> {
    #[track_caller]
    fn new(host: &'h Host, name: &str, port: u16, backend: &str) -> Container<'h> {
        let pod = host.pod_named(name);
        let mut bridge = conf::bridge(host);
        for (key, value) in [
            ("ipMasq", json!(true)),
            ("ipMasqBackend", json!(backend)),
            ("macspoofchk", json!(true)),
            ("hairpinMode", json!(true)),
        ] {
            bridge[key] = value;
        }
        let plugin = |kind: &str| json!({"cniVersion": host.newest(), "name": "net-a", "type": kind, "backend": backend});
        let mut portmap = plugin("portmap");
        portmap["runtimeConfig"] =
            json!({"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]});
        let chain = [("bridge", bridge), ("portmap", portmap), ("firewall", plugin("firewall"))]
            .map(|(plugin, conf)| host.attach(plugin, conf, &pod).container(name));
        let result = chain[0].add().result();
        for attachment in &chain[1..] {
            assert_eq!(attachment.call_with("ADD", &result).run().result(), result);
        }
        Container { pod, result, chain }
    }

    #[track_caller]
    fn is_whole(&self) {
        for attachment in &self.chain {
            attachment.check(&self.result).silent();
        }
    }

    #[track_caller]
    fn del(&self) {
        self.chain.iter().rev().for_each(|attachment| attachment.del().silent());
    }
}

/// As Docker leaves it.
fn drop_what_is_forwarded(host: &Host) {
    host.sh("iptables -w -P FORWARD DROP; ip6tables -w -P FORWARD DROP");
}

/// Without counters. In which order containers come does not matter.
const LISTING: &str =
    "(iptables -w -S; ip6tables -w -S; iptables -w -t nat -S; ip6tables -w -t nat -S) | sort";

const NODE: [&str; 2] = ["192.0.2.1", "[fd00:99::1]"];

/// What a node's own service does: it flushes everything, and loads its own rules.
fn flushed_by_a_reload(backend: &str) {
    lab_with(OURS, |host| {
        let outside = outside(host, &[]);
        // By iptables, what FORWARD drops from outside is not led to a port: so with the Go plugin.
        let drops = || {
            if backend == "nftables" {
                drop_what_is_forwarded(host)
            }
        };
        drops();
        let [web, mail] =
            [("web", 8080), ("mail", 2525)].map(|(name, port)| Container::new(host, name, port, backend));
        let _web = web.pod.listens("tcp", 80, "web");
        let _mail = mail.pod.listens("tcp", 80, "mail");
        let _world = outside.listens("tcp", 7, "world");
        let all_is_well = |when: &str| {
            for node in NODE {
                let [of_web, of_mail] =
                    [8080, 2525].map(|port| outside.asks("tcp", &format!("{node}:{port}")));
                assert!(
                    of_web.is_some_and(
                        |said| said.starts_with("web 192.0.2.2") || said.starts_with("web fd00:99::2")
                    ),
                    "{when}"
                );
                assert!(of_mail.is_some_and(|said| said.starts_with("mail ")), "{when}");
            }
            assert_eq!(web.pod.asks("tcp", "192.0.2.2:7").as_deref(), Some("world 192.0.2.1"), "{when}");
            let itself = web.pod.asks("tcp", "192.0.2.1:8080");
            assert!(itself.is_some(), "the container itself, {when}");
        };
        all_is_well("before");
        let (before, listed) = (host.snapshot(), host.sh(LISTING));

        host.sh("nft flush ruleset");
        drops();
        for node in NODE {
            assert_eq!(outside.asks("tcp", &format!("{node}:8080")), None, "the ports are dead");
        }
        let whose = |plugin: &str| {
            ["mail", "web"].map(|name| format!("{plugin} eth0 of container {name} in network net-a"))
        };
        let mut expected = [whose("bridge"), whose("firewall"), whose("portmap")].concat();
        let mut told = restores(host, &["--dry-run"]);
        told.sort();
        expected.sort();
        assert_eq!(told, expected.iter().map(|line| format!("would restore {line}")).collect::<Vec<_>>());
        assert!(!host.sh("nft list ruleset").contains("8080"), "nothing was done");
        let mut told = restores(host, &[]);
        told.sort();
        assert_eq!(told, expected.iter().map(|line| format!("restored {line}")).collect::<Vec<_>>());
        is_as_it_was(host, &before);
        assert_eq!(host.sh(LISTING), listed);
        all_is_well("after");
        [&web, &mail].into_iter().for_each(Container::is_whole);

        // What is there is left alone.
        restores(host, &[]);
        is_as_it_was(host, &before);
        web.del();
        all_of(host, &mail);
        mail.del();
        assert!(!host.sh("nft list ruleset").contains("jackfield"));
    });
}

/// Packets have been counted meanwhile.
#[track_caller]
fn is_as_it_was(host: &Host, before: &Snapshot) {
    let mut differences = before.differences(&host.snapshot(), &[Shared::Records]);
    differences.retain(|line| !line.contains("\"counter\""));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The one that stays is as it was.
#[track_caller]
fn all_of(host: &Host, container: &Container<'_>) {
    container.is_whole();
    assert_eq!(restores(host, &[]).len(), 3);
}

#[test]
fn whatever_was_flushed_by_a_reload_is_there_again_by_nftables() {
    flushed_by_a_reload("nftables");
}

#[test]
fn whatever_was_flushed_by_a_reload_is_there_again_by_iptables() {
    flushed_by_a_reload("iptables");
}

/// A connection that is there when the rules go is led on by those that come back. What is sent in between is not: the host, which
/// knows no such connection, would reset it, so all is acknowledged before the rules go.
#[test]
fn a_connection_lives_through_flush_and_restore() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web", 8080, "nftables");
        let outside = outside(host, &[]);
        let mut echo =
            web.pod.command("busybox").args(["nc", "-l", "-p", "80", "-e", "cat"]).spawn().unwrap();
        web.pod.sh("until ss -Hltn 'sport = 80' | grep -q .; do :; done");
        let talk = "exec 3<>/dev/tcp/192.0.2.1/8080; while read line; do echo $line >&3; read -t 30 line <&3; echo $line; done";
        let mut client = outside.command("bash");
        let mut client =
            client.args(["-c", talk]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut ask, mut answers) =
            (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()).lines());
        for word in ["one", "two", "three"] {
            writeln!(ask, "{word}").unwrap();
            assert_eq!(answers.next().unwrap().unwrap(), word);
            for end in [&web.pod, &outside] {
                end.sh("until ss -Htn state established | awk '$2 { unheard = 1 } END { exit unheard || !NR }'; do :; done");
            }
            host.sh("nft flush ruleset");
            assert_eq!(restores(host, &[]).len(), 3);
        }
        drop(ask);
        assert!(client.wait().unwrap().success());
        let _ = echo.kill();
        echo.wait().unwrap();
    });
}

#[test]
fn who_is_gone_gets_nothing_back() {
    lab_with(OURS, |host| {
        let [web, mail] =
            [("web", 8080), ("mail", 2525)].map(|(name, port)| Container::new(host, name, port, "nftables"));
        let before = host.snapshot();
        web.pod.sh("ip link delete eth0");
        host.sh("nft flush ruleset");
        assert!(restores(host, &[]).iter().all(|line| line.contains("container mail")));
        let rules = host.sh("nft list ruleset");
        assert!(rules.contains("10.9.0.3") && !rules.contains("10.9.0.2"), "{rules}");
        web.del();
        mail.is_whole();
        drop(before);
        mail.del();
        assert_eq!(restores(host, &[]), [""; 0]);
        assert_eq!(host.sh("nft list ruleset"), "");
    });
}

/// One that cannot be restored does not keep the others from it, and is named.
#[test]
fn what_cannot_be_restored_is_named_and_the_rest_is_done() {
    lab_with(OURS, |host| {
        let [web, mail] =
            [("web", 8080), ("mail", 2525)].map(|(name, port)| Container::new(host, name, port, "nftables"));
        let records = "/run/jackfield/attachments";
        let torn = host.sh(&format!("grep -l '\"container\":\"web\"' {records}/*.bridge"));
        host.sh(&format!("cp -a {torn_} /run/kept; echo '{{' > {torn_}", torn_ = torn.trim()));
        host.sh("nft flush ruleset");
        let outcome = restore(host, &[]);
        assert!(!outcome.succeeded() && outcome.stderr().contains(torn.trim()), "{outcome}");
        mail.is_whole();
        let line = |plugin: &str| format!("restored {plugin} eth0 of container web in network net-a");
        assert!(outcome.stdout().contains(&line("portmap")) && !outcome.stdout().contains(&line("bridge")));
        host.sh(&format!("cp -a /run/kept {}", torn.trim()));

        let nowhere = Call::of(program(host), &["restore"]).env("CNI_PATH", "/run/nowhere").run();
        assert!(!nowhere.succeeded(), "{nowhere}");
        for words in ["failed to find plugin \"portmap\"", "eth0 of container web", "/run/nowhere"] {
            assert!(nowhere.stderr().contains(words), "{nowhere}");
        }
        assert_eq!(restores(host, &[]).len(), 6);
        [&web, &mail].into_iter().for_each(Container::is_whole);
    });
}

/// What ends while rules are made again must not come back.
#[test]
fn a_del_waits_until_rules_are_made() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web", 8080, "nftables");
        host.sh("mkdir -p /run/jackfield/restore; mkfifo /run/enough");
        let held = ["-x", "/run/jackfield/restore", "sh", "-c", "touch /run/held; read enough < /run/enough"];
        let mut holder = host.command("flock").args(held).spawn().unwrap();
        host.sh("until [ -e /run/held ]; do :; done");
        let mut del = web.chain[1].call("DEL").start();
        host.sh("until grep -q -e '-> FLOCK' /proc/locks; do :; done");
        assert!(!del.has_ended() && host.sh("nft list ruleset").contains("8080"));
        host.sh("echo > /run/enough");
        holder.wait().unwrap();
        del.finish().silent();
        assert!(!host.sh("nft list ruleset").contains("8080"));
        web.del();
    });
}
