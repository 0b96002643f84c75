//! What an interface plugin owes its IPAM plugin, and what it makes of the answers.

mod itself;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::stub::Stub;
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

/// One attachment of each interface plugin whose leases come from a stub, each in a pod of its own.
fn with_stub(test: impl Fn(&Host, &Pod, &Stub, &Attach<'_>)) {
    lab(|host| each(host, &test));
}

fn each(host: &Host, test: impl Fn(&Host, &Pod, &Stub, &Attach<'_>)) {
    for (program, conf) in conf::interfaces(host) {
        let stub = host.stub(&format!("rec-{program}"));
        let pod = host.pod();
        let conf = conf::with(&conf, "/ipam", json!({"type": stub.name(), "foo": 1}));
        let web = host.attach(program, conf::with(&conf, "/keyA", json!([1])), &pod).path(stub.folder());
        test(host, &pod, &stub, &web);
        host.try_sh("ip link del br0");
    }
}

// DLG-01
#[test]
fn the_first_folder_of_cni_path_wins() {
    with_stub(|_, _, stub, web| {
        let later = Stub::install_in(stub.name(), &format!("{}/later", stub.folder()));
        let path = format!("/nowhere::{}:{}", stub.folder(), later.folder());
        web.path(&path).add().result();
        assert_eq!((stub.verbs().len(), later.verbs().len()), (1, 0));
    });
}

// DLG-02, WKK-02
#[test]
fn a_delegate_is_never_found_by_a_path() {
    lab(|host| {
        let stub = host.stub("rec-ipam");
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            for name in ["../stub-rec-ipam/rec-ipam", "a/b", "/run/lab/stub-rec-ipam/rec-ipam", ".", ".."] {
                let web = host
                    .attach(program, conf::with(&conf, "/ipam/type", json!(name)), &pod)
                    .path(stub.folder());
                web.add().fails_or("delegate-name", 7, 999);
            }
            assert!(stub.verbs().is_empty(), "nothing was executed");
            let untouched = || {
                before.0.same_as(&host.snapshot(), &[]);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            host.differs("failed-add", untouched, || ());
        }
    });
}

// DLG-02
#[test]
fn a_delegate_that_is_nowhere_is_named() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            let web = host.attach(program, conf::with(&conf, "/ipam/type", json!("no-such-ipam")), &pod);
            web.path("/nowhere:/run/lab").add().fails_somehow().names(&["no-such-ipam", "/nowhere"]);
            let untouched = || {
                before.0.same_as(&host.snapshot(), conf::NOT_MADE);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            host.differs("failed-add", untouched, || ());
        }
    });
}

// DLG-03, DLG-04, DLG-05, DLG-07
#[test]
fn the_delegate_gets_the_callers_environment_and_exact_bytes() {
    with_stub(|host, pod, stub, web| {
        let mut result = Value::Null;
        for verb in ["ADD", "CHECK", "DEL"] {
            let text = web.call_with(verb, &result).stdin_bytes();
            let stdin = format!("  {},\"Unknown\":[1.50,1e3,\"\\u00e9\"] }}\n", &text[..text.len() - 1]);
            let call = web
                .call(verb)
                .env("EXTRA", "x=y;z")
                .env("CNI_ARGS", "IgnoreUnknown=1;A=B")
                .stdin(stdin.as_str());
            match verb {
                "ADD" => result = call.run().result(),
                _ => call.run().silent(),
            }
            let received = stub.calls().into_iter().next().expect("the delegate was called");
            stub.forget();
            assert_eq!(received.verb, verb);
            assert_eq!(String::from_utf8_lossy(&received.stdin), stdin, "byte by byte");
            for (key, value) in [
                ("CNI_CONTAINERID", "container-1"),
                ("CNI_NETNS", pod.path()),
                ("CNI_IFNAME", "eth0"),
                ("CNI_ARGS", "IgnoreUnknown=1;A=B"),
                ("CNI_PATH", stub.folder()),
                ("EXTRA", "x=y;z"),
            ] {
                assert_eq!(received.variable(key).as_deref(), Some(value), "{verb}");
            }
            assert_eq!(
                received.netns,
                host.sh("readlink /proc/self/ns/net").trim(),
                "in the runtime's namespace"
            );
        }
    });
}

// DLG-06
#[test]
fn the_delegates_log_reaches_the_caller() {
    with_stub(|host, _, stub, web| {
        let added = web.add();
        added.result();
        assert!(added.stderr().contains("stub stderr ADD"), "{added}");
        web.del().silent();
        stub.fails("ADD", r#"{"code":11,"msg":"later"}"#);
        let failed = web.add();
        failed.fails(11);
        let ours = || assert!(failed.stderr().contains("stub stderr ADD"), "{failed}");
        host.differs("delegate-stderr", ours, || ());
        web.del();
    });
}

// DLG-08, ERR-18, CHK-16
#[test]
fn the_delegates_error_is_passed_on_unchanged() {
    with_stub(|host, _, stub, web| {
        stub.fails("ADD", r#"{"cniVersion":"1.0.0","code":11,"msg":"later","details":"dd"}"#);
        let fault = web.add().fails(11);
        assert_eq!((fault.msg.as_str(), fault.details.as_str()), ("later", "dd"));
        web.del().silent();
        stub.answers("ADD", r#"{"ips":[{"address":"10.44.0.2/24","gateway":"10.44.0.1"}]}"#);
        host.differs("first-add", || (), || drop(host.try_sh("ip link del br0")));
        let result = web.add().result();
        stub.fails("CHECK", r#"{"code":123,"msg":"gone","details":"the lease"}"#);
        let fault = web.check(&result).fails(123);
        assert_eq!((fault.msg.as_str(), fault.details.as_str()), ("gone", "the lease"));
    });
}

// ERR-19, DLG-15
#[test]
fn a_delegate_that_dies_without_a_word_is_our_own_error() {
    with_stub(|host, _, stub, web| {
        stub.fails("ADD", "");
        let fault = web.add().fails_or("delegate-code", 999, 0);
        fault.names(&["stub stderr ADD"]);
        host.differs("delegate-code", || (), || web.del().silent());
        stub.dies("ADD");
        let ours = || drop(web.add().fails(999).names(&[stub.name()]));
        host.differs("delegate-code", ours, || drop(web.add().fails(0)));
    });
}

// DLG-15
#[test]
fn a_delegate_that_cannot_be_executed_is_named() {
    with_stub(|host, _, stub, web| {
        host.sh(&format!(
            "printf '\\177ELF garbage' > {0}/{1}; chmod 755 {0}/{1}",
            stub.folder(),
            stub.name()
        ));
        web.add().fails_somehow().names(&[stub.name()]);
        host.sh(&format!("chmod 644 {}/{}", stub.folder(), stub.name()));
        host.differs("failed-add", || (), || drop(web.del()));
        web.add().fails_somehow().names(&[stub.name()]);
    });
}

// DLG-09, DLG-11
#[test]
fn a_delegate_whose_add_failed_gets_a_del() {
    with_stub(|host, pod, stub, web| {
        let before = (host.snapshot(), pod.snapshot());
        stub.fails("ADD", r#"{"code":117,"msg":"no"}"#);
        stub.fails("DEL", r#"{"code":118,"msg":"no either"}"#);
        let fault = web.add().fails(117);
        assert_eq!(fault.msg, "no");
        let ours = || {
            assert_eq!(stub.verbs(), ["ADD", "DEL"]);
            let (add, del) = (&stub.calls()[0], &stub.calls()[1]);
            assert_eq!(add.stdin, del.stdin);
            let rest = |call: &crate::lab::stub::Received| -> Vec<_> {
                let own = ["CNI_COMMAND", "PWD", "OLDPWD", "_", "SHLVL"];
                call.environment
                    .iter()
                    .filter(|(key, _)| !own.iter().any(|own| key == own))
                    .cloned()
                    .collect()
            };
            assert_eq!(rest(add), rest(del));
            before.0.same_as(&host.snapshot(), conf::NOT_MADE);
            before.1.same_as(&pod.snapshot(), &[]);
        };
        host.differs("delegate-del", ours, || assert_eq!(stub.verbs(), ["ADD"]));
    });
}

#[test]
fn a_delegate_does_nothing_for_an_add_that_is_refused() {
    lab_with(&[Need::Ours("failed-add")], |host| {
        // The one has begun by then, and hears that there is nothing to do; of the other nobody knows what it does first.
        for name in ["host-local", "rec-ipam"] {
            let stub = Stub::install_in(name, "/run/lab/stub-first");
            for (program, conf) in conf::interfaces(host) {
                let pod = host.pod();
                let conf = conf::with(&conf, "/ipam", json!({"type": name}));
                let web = host.attach(program, conf, &pod).path(stub.folder());
                let before = host.snapshot();
                pod.sh("ip link add eth0 type bridge");
                web.add().fails(999).names(&["eth0", "already exists"]);
                let heard = stub.calls().into_iter().map(|call| call.stdin.len()).sum::<usize>();
                assert_eq!(heard, 0, "{name}");
                assert!(name == "host-local" || stub.calls().is_empty());
                before.same_as(&host.snapshot(), conf::NOT_MADE);
                pod.sh("ip link del eth0");
                stub.forget();
                web.add().result();
                // A living one's is not even started.
                web.add().fails(999);
                assert_eq!(stub.verbs(), ["ADD"]);
                web.del().silent();
                stub.forget();
                host.try_sh("ip link del br0");
            }
        }
    });
}

// DLG-10
#[test]
fn a_lease_that_cannot_be_used_is_given_back() {
    with_stub(|host, pod, stub, web| {
        let before = (host.snapshot(), pod.snapshot());
        stub.answers(
            "ADD",
            r#"{"ips":[{"address":"10.44.0.2/24","gateway":"10.44.0.1"}],
            "routes":[{"dst":"192.0.2.0/24","gw":"203.0.113.1"}]}"#,
        );
        web.add().fails(999).names(&["unreachable"]);
        assert_eq!(stub.verbs(), ["ADD", "DEL"]);
        let nothing_left = || {
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            before.1.same_as(&pod.snapshot(), &[]);
        };
        host.differs("failed-add", nothing_left, || ());
        web.del().silent();
        nothing_left();
    });
}

// DLG-12
#[test]
fn a_lease_without_an_address_is_refused_and_given_back() {
    with_stub(|host, pod, stub, web| {
        let before = (host.snapshot(), pod.snapshot());
        for answer in [r#"{"ips":[]}"#, "{}"] {
            stub.answers("ADD", answer);
            web.add().fails_somehow().names(&["IPAM plugin returned missing IP config"]);
            let ours = || {
                assert_eq!(stub.verbs(), ["ADD", "DEL"]);
                before.0.same_as(&host.snapshot(), conf::NOT_MADE);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            host.differs("delegate-del", ours, || web.del().silent());
            stub.forget();
        }
    });
}

// DLG-13
#[test]
fn a_delegates_garbage_is_refused_and_given_back() {
    with_stub(|host, pod, stub, web| {
        let before = (host.snapshot(), pod.snapshot());
        for answer in ["garbage", "", "[]", r#"{"ips":"x"}"#, r#"{"ips":[{"address":"10.44.0.2"}]}"#, "{} {}"]
        {
            stub.answers("ADD", answer);
            let ours = || {
                web.add().fails_with_one_of(&[6, 999]);
                assert_eq!(stub.verbs(), ["ADD", "DEL"], "{answer}");
                before.0.same_as(&host.snapshot(), conf::NOT_MADE);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            let theirs = || {
                web.add().fails_somehow();
                web.del().silent();
            };
            host.differs("delegate-del", ours, theirs);
            stub.forget();
        }
    });
}

// DLG-14, UPG-08
#[test]
fn a_lease_in_another_version_is_understood() {
    with_stub(|_, pod, stub, web| {
        for answer in [
            r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.44.0.2/24","gateway":"10.44.0.1","routes":[{"dst":"192.0.2.0/24"}]}}"#,
            r#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.44.0.2/24","gateway":"10.44.0.1"}],"routes":[{"dst":"192.0.2.0/24"}]}"#,
            r#"{"cniVersion":"1.0.0","ips":[{"address":"10.44.0.2/24","gateway":"10.44.0.1"}],"routes":[{"dst":"192.0.2.0/24"}]}"#,
            r#"{"ips":[{"address":"10.44.0.2/24","gateway":"10.44.0.1"}],"routes":[{"dst":"192.0.2.0/24"}]}"#,
        ] {
            stub.answers("ADD", answer);
            let result = web.add().result();
            assert_eq!(result["ips"][0]["address"], "10.44.0.2/24", "{answer}");
            assert_eq!(result["ips"][0].get("version"), None);
            assert_eq!(pod.routes("-4 route show 192.0.2.0/24")[0]["gateway"], "10.44.0.1", "{answer}");
            web.del().silent();
        }
    });
}

// DLG-16
#[test]
fn del_cleans_up_although_the_delegates_del_fails() {
    with_stub(|host, pod, stub, web| {
        let before = (host.snapshot(), pod.snapshot());
        web.add().result();
        stub.fails("DEL", r#"{"code":11,"msg":"later"}"#);
        web.del().fails(11);
        let clean = || {
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            before.1.same_as(&pod.snapshot(), &[]);
        };
        let ours = || assert!(pod.link("eth0").is_none(), "the link is gone");
        host.differs("del-goes-on", ours, || ());
        stub.answers("DEL", "");
        web.del().silent();
        clean();
    });
}

// DLG-17
#[test]
fn the_delegate_hears_of_a_del_without_a_namespace() {
    with_stub(|_, _, stub, web| {
        web.add().result();
        stub.forget();
        web.call("DEL").without("CNI_NETNS").run().silent();
        assert_eq!(stub.verbs(), ["DEL"]);
        assert_eq!(stub.calls()[0].variable("CNI_NETNS").unwrap_or_default(), "");
        web.netns("/run/netns/gone").del().silent();
        assert_eq!(stub.verbs(), ["DEL", "DEL"]);
    });
}

// DLG-18
#[test]
fn without_ipam_nobody_is_asked_and_the_link_is_up() {
    lab(|host| {
        let pod = host.pod();
        let before = host.snapshot();
        for ipam in [None, Some(json!({})), Some(json!({"type": ""}))] {
            let conf = match ipam {
                None => conf::bridge_l2(host),
                Some(ipam) => conf::with(&conf::bridge_l2(host), "/ipam", ipam),
            };
            let web = host.attach("bridge", conf, &pod);
            let result = web.add().result();
            assert!(result.get("ips").is_none_or(|ips| *ips == json!([])));
            assert!(pod.link("eth0").unwrap()["flags"].to_string().contains("LOWER_UP"));
            let outside = result["interfaces"][1]["name"].as_str().unwrap();
            assert_eq!(host.link(outside).unwrap()["operstate"], "UP");
            assert!(pod.addresses("eth0").is_empty());
            web.del().silent();
        }
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

// DLG-20, ARG-09
#[test]
fn arguments_meant_for_the_plugin_do_not_upset_the_delegate() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let add = web.call("ADD").env("CNI_ARGS", "MAC=c2:11:22:33:44:55").run();
        let ours = || {
            add.result();
            assert_eq!(pod.link("eth0").unwrap()["address"], "c2:11:22:33:44:55");
        };
        host.differs("args-unknown", ours, || drop(add.fails(999).names(&["unknown args"])));
        web.call("DEL").env("CNI_ARGS", "MAC=c2:11:22:33:44:55;X=y").run();
    });
}

// DLG-07, GC-12, STA-07
#[test]
fn gc_and_status_are_forwarded_with_the_same_bytes() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        each(host, |_, _, stub, web| {
            for verb in ["GC", "STATUS"] {
                let stdin =
                    conf::with(web.configuration(), "/cni.dev~1valid-attachments", json!([])).to_string();
                web.host_call(verb).env("EXTRA", "1").stdin(stdin.as_str()).run().silent();
                let received = &stub.calls()[0];
                assert_eq!(received.verb, verb);
                assert_eq!(String::from_utf8_lossy(&received.stdin), stdin);
                assert_eq!(received.variable("EXTRA").as_deref(), Some("1"));
                assert_eq!(received.variable("CNI_CONTAINERID").unwrap_or_default(), "");
                stub.forget();
            }
        });
    });
}

// STA-07, STA-08, GC-13
#[test]
fn faults_of_the_delegate_in_gc_and_status_are_passed_on() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        each(host, |host, pod, stub, web| {
            stub.fails("STATUS", r#"{"code":50,"msg":"down","details":"d"}"#);
            let fault = web.host_call("STATUS").run().fails(50);
            assert_eq!((fault.msg.as_str(), fault.details.as_str()), ("down", "d"));

            web.add().result();
            stub.fails("GC", r#"{"code":117,"msg":"cannot"}"#);
            let gc = conf::with(web.configuration(), "/cni.dev~1valid-attachments", json!([]));
            web.host_call("GC").stdin(gc.to_string()).run().fails(117);
            assert!(pod.link("eth0").is_none(), "its own sweep comes first");

            let missing = conf::with(web.configuration(), "/ipam/type", json!("no-such-ipam"));
            host.call(web.program(), "STATUS", &missing).run().fails_somehow().names(&["no-such-ipam"]);
        });
    });
}
