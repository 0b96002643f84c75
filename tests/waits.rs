//! DEL answers when links and rules are gone from everybody's view. What the kernel still does then takes it 10 to 20 ms, and
//! a child process sits through that: it is looked for in /proc right after the answer.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("del-early")];

/// More often than chance could hide what is always so.
const ROUNDS: usize = 12;

/// Processes of this name that were left to process 1.
fn orphans(program: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (name, rest) = stat.rsplit_once(')').unwrap_or_default();
        let mut rest = rest.split_whitespace();
        let (state, parent) = (rest.next(), rest.next());
        name.ends_with(&format!("({program}")) && parent == Some("1") && !matches!(state, Some("Z" | "X"))
    };
    numbers.filter(is_one).collect()
}

/// What a process has open, as /proc names it.
fn open_files(pid: u32) -> Vec<String> {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    all.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string())).collect()
}

fn end_of(program: &str) {
    while !orphans(program).is_empty() {
        std::thread::yield_now();
    }
}

/// An attachment with the plugins that have to wait: each with the configuration and the words of its DEL.
fn chain<'h>(host: &'h Host, pod: &Pod) -> Vec<(&'static str, Attach<'h>)> {
    let bridge = host.attach("bridge", conf::with(&conf::bridge(host), "/ipMasq", json!(true)), pod);
    let result = bridge.add().result();
    let behind = |program: &'static str, key: &str, value: Value| {
        let conf = json!({"cniVersion": host.newest(), "name": "net-a", "type": program, "runtimeConfig": {key: value}});
        let plugin = host.attach(program, conf, pod);
        plugin.call_with("ADD", &result).run().result();
        (program, plugin)
    };
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let rates = json!({"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000});
    let all = [
        behind("portmap", "portMappings", ports),
        behind("firewall", "none", json!({})),
        behind("bandwidth", "bandwidth", rates),
    ];
    std::iter::once(("bridge", bridge)).chain(all).rev().collect()
}

#[test]
fn del_answers_while_a_child_that_holds_nothing_sits_through_the_wait() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let mut caught = std::collections::BTreeMap::new();
        for _ in 0..ROUNDS {
            for (program, plugin) in chain(host, &pod) {
                plugin.del().silent();
                for child in orphans(program) {
                    let open = open_files(child);
                    assert!(open.iter().all(|it| it.starts_with("socket:")), "{program}: {open:?}");
                    let folder = std::fs::read_link(format!("/proc/{child}/cwd"));
                    assert!(folder.is_err() || folder.is_ok_and(|it| it == std::path::Path::new("/")));
                    *caught.entry(program).or_insert(0) += 1;
                }
                end_of(program);
            }
            // Nobody sees anything of it any more.
            assert!(!host.sh("nft list ruleset").contains("net-a"));
            assert!(host.links().iter().all(|link| link == "br0"), "{:?}", host.links());
            assert!(pod.links().is_empty());
        }
        assert_eq!(
            caught.keys().copied().collect::<Vec<_>>(),
            ["bandwidth", "bridge", "firewall", "portmap"],
            "{caught:?}"
        );
    });
}

#[test]
fn whoever_wants_to_wait_waits() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        for _ in 0..ROUNDS {
            for (program, plugin) in chain(host, &pod) {
                let asked = plugin.conf(conf::with(plugin.configuration(), "/jackfieldWait", json!(true)));
                let del = if program == "portmap" {
                    plugin.call("DEL").env("JACKFIELD_WAIT", "1")
                } else {
                    asked.call("DEL")
                };
                del.run().silent();
                assert!(orphans(program).is_empty(), "{program}");
            }
        }
    });
}

#[test]
fn a_caller_that_is_process_1_gets_no_orphans() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        for _ in 0..ROUNDS {
            let web = host.attach("bridge", conf::bridge(host), &pod);
            web.add().result();
            // The shell is process 1 of a world in which the plugin is its child.
            let script = "\"$0\"; grep -l bridge /proc/[0-9]*/comm";
            let del = web
                .call("DEL")
                .under(&["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script])
                .run();
            assert_eq!((del.status().code(), del.stdout().as_str()), (Some(1), ""), "{}", del.stderr());
            assert!(host.links().iter().all(|link| link == "br0"));
        }
    });
}

#[test]
fn the_same_attachment_can_be_made_again_at_once() {
    lab_with(OURS, |host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            for _ in 0..ROUNDS {
                let result = web.add().result();
                assert!(pod.pings("10.9.0.1"));
                web.check(&result).silent();
                web.del().silent();
                web.del().silent();
            }
        }
    });
}

#[test]
fn a_child_that_is_killed_leaves_nothing() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        chain(host, &pod).iter().for_each(|(_, plugin)| plugin.del().silent());
        end_of("bridge");
        let before = host.snapshot();
        for _ in 0..ROUNDS {
            for (program, plugin) in chain(host, &pod) {
                plugin.del().silent();
                for child in orphans(program) {
                    host.try_sh(&format!("kill -KILL {child}"));
                }
            }
        }
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

#[test]
fn a_child_that_is_killed_too_early_is_an_error_and_del_can_be_repeated() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        web.add().result();
        web.del().silent();
        web.add().result();
        let before = host.snapshot();
        // Nothing but the child closes descriptors in this way, and it does so first.
        let strace = ["strace", "-f", "-o", "/dev/null", "-e", "inject=close_range:signal=KILL"];
        let fault = web.call("DEL").under(&strace).run().fails(999);
        fault.names(&["failed to delete", "the child process that does it was killed"]);
        before.same_as(&host.snapshot(), &[]);
        assert!(pod.pings("10.9.0.1"));
        web.del().silent();
        assert!(pod.links().is_empty());
    });
}

#[test]
fn where_there_can_be_no_child_del_waits_itself() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        // Without IPAM nothing else has to be started.
        let bare = host.attach("bridge", conf::bridge_l2(host), &pod).ifname("eth1");
        bare.add().result();
        let all = chain(host, &pod);
        for (program, plugin) in all.iter().map(|(name, it)| (*name, it)).chain([("bridge", &bare)]) {
            if program == "bridge" && plugin.configuration().get("ipam").is_some() {
                plugin.del().silent();
                continue;
            }
            end_of(program);
            let strace = ["strace", "-o", "/dev/null", "-e", "inject=fork,clone:error=EAGAIN"];
            plugin.call("DEL").under(&strace).run().silent();
            assert!(orphans(program).is_empty(), "{program}");
        }
        assert!(!host.sh("nft list ruleset").contains("net-a"));
        assert!(host.links().iter().all(|link| link == "br0"), "{:?}", host.links());
    });
}

#[test]
fn what_the_kernel_refuses_is_told_though_a_child_was_refused() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        web.add().result();
        web.del().silent();
        web.add().result();
        let before = host.snapshot();
        let without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
        web.call("DEL")
            .under(&without)
            .run()
            .fails(999)
            .names(&["failed to delete", "operation not permitted"]);
        before.same_as(&host.snapshot(), &[]);
        assert!(pod.pings("10.9.0.1"));
        web.del().silent();
    });
}
