//! The variables of a call: which are needed, what they may hold, and what an error says about them.

use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

/// A whole ADD of every plugin, to take something away from.
fn adds(host: &Host, pod: &Pod) -> Vec<Call> {
    conf::every(host).into_iter().map(|(program, conf)| host.attach(program, conf, pod).call("ADD")).collect()
}

// ENV-01
#[test]
fn a_call_without_a_command_names_cni_command() {
    lab(|host| {
        for (program, conf) in conf::every(host) {
            for call in [host.call(program, "", &conf), host.call(program, "", &conf).without("CNI_COMMAND")]
            {
                let answer = call.run();
                let ours = || drop(answer.fails(4).names(&["CNI_COMMAND"]));
                let theirs = || assert!(answer.succeeded() && answer.stderr().contains("CNI"), "{answer}");
                host.differs("no-command", ours, theirs);
            }
        }
    });
}

// ENV-02
#[test]
fn an_unknown_command_is_refused_by_name() {
    lab(|host| {
        let pod = host.pod();
        for call in adds(host, &pod) {
            call.env("CNI_COMMAND", "BOGUS").run().fails(4).names(&["CNI_COMMAND", "BOGUS"]);
        }
    });
}

// ENV-03
#[test]
fn a_command_in_lower_case_is_no_command() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for call in adds(host, &pod) {
            call.env("CNI_COMMAND", "add").run().fails(4).names(&["CNI_COMMAND"]);
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// ENV-04, ENV-05, ENV-06, ENV-17, ERR-08
#[test]
fn add_names_the_variable_that_is_missing_or_empty() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for variable in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
            for call in adds(host, &pod) {
                call.clone().without(variable).run().fails(4).names(&[variable]);
                call.env(variable, "").run().fails(4).names(&[variable]);
            }
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// ENV-07
#[test]
fn add_names_all_missing_variables_at_once() {
    lab(|host| {
        for (program, conf) in conf::every(host) {
            let call = host.call(program, "ADD", &conf).without("CNI_CONTAINERID").without("CNI_IFNAME");
            call.run().fails(4).names(&["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]);
        }
    });
}

// ENV-08
#[test]
fn del_needs_container_and_interface() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            let del = host.attach(program, conf, &pod).call("DEL");
            for variable in ["CNI_CONTAINERID", "CNI_IFNAME"] {
                del.clone().without(variable).run().fails(4).names(&[variable]);
            }
        }
    });
}

// ENV-11
#[test]
fn check_needs_container_namespace_and_interface() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            let check = host.attach(program, conf, &pod).call("CHECK");
            for variable in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
                check.clone().without(variable).run().fails(4).names(&[variable]);
            }
        }
    });
}

// ENV-12
#[test]
fn gc_needs_cni_path_only_where_it_delegates() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        for (program, conf) in conf::every(host) {
            host.call(
                program,
                "GC",
                &conf::with(&conf, "/cni.dev~1valid-attachments", serde_json::json!([])),
            )
            .run()
            .silent();
        }
        host.call("bridge", "GC", &conf::bridge(host))
            .without("CNI_PATH")
            .run()
            .fails(4)
            .names(&["CNI_PATH"]);
        host.call("loopback", "GC", &conf::loopback(host)).without("CNI_PATH").run().silent();
    });
}

// ENV-13, STA-11
#[test]
fn status_needs_nothing_but_the_command() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        host.call("loopback", "STATUS", &conf::loopback(host)).without("CNI_PATH").run().silent();
        host.call("bridge", "STATUS", &conf::bridge_l2(host)).without("CNI_PATH").run().silent();
        host.call("host-local", "STATUS", &conf::leases(host)).without("CNI_PATH").run().silent();
    });
}

// ENV-14
#[test]
fn cni_path_is_needed_only_where_something_is_delegated() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in [("bridge", conf::bridge_l2(host)), ("loopback", conf::loopback(host))] {
            let add = host.attach(program, conf, &pod).call("ADD").without("CNI_PATH").run();
            let ours = || drop(add.result());
            let theirs = || drop(add.fails(4).names(&["CNI_PATH"]));
            host.differs("cni-path", ours, theirs);
        }
    });
}

// ENV-15
#[test]
fn a_missing_cni_path_is_named_and_nothing_is_made() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::interfaces(host) {
            host.attach(program, conf, &pod)
                .call("ADD")
                .without("CNI_PATH")
                .run()
                .fails(4)
                .names(&["CNI_PATH"]);
        }
        before.0.same_as(&host.snapshot(), conf::NOT_MADE);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// ENV-16, IPM-16
#[test]
fn a_container_id_outside_the_rule_is_refused_before_anything_is_touched() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for id in ["-a", ".a", "_a", "a/b", "a b", "a;b", "../x", "é", "a\n", "a\tb", ".."] {
            for call in adds(host, &pod) {
                let fault = call.clone().container(id).run().fails(4);
                fault.ours_names("names-variable", &["CNI_CONTAINERID"]);
                call.container(id).env("CNI_COMMAND", "DEL").run().fails(4);
            }
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// ENV-16
#[test]
fn every_container_id_within_the_rule_is_accepted() {
    lab(|host| {
        let pod = host.pod();
        let hexadecimal = "0123456789abcdef".repeat(4);
        for id in ["a", "0", "a.b-c_d", "A--..__", &hexadecimal] {
            let lease = host.attach("host-local", conf::leases(host), &pod).container(id);
            lease.add().result();
            lease.del().silent();
        }
        let web = host.attach("bridge", conf::bridge(host), &pod).container(&hexadecimal);
        web.add().result();
        web.del().silent();
    });
}

// ENV-18
#[test]
fn an_interface_name_that_the_kernel_would_refuse_is_refused_at_the_door() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for name in ["a234567890123456", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\nb", "a\u{a0}b"] {
            for call in adds(host, &pod) {
                call.ifname(name).run().fails(4).ours_names("names-variable", &["CNI_IFNAME"]);
            }
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// ENV-18
#[test]
fn an_interface_name_of_fifteen_bytes_is_used_whole() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod).ifname("a23456789012345");
            web.add().result();
            assert_eq!(pod.links(), ["a23456789012345"]);
            web.del().silent();
            assert!(pod.links().is_empty());
        }
    });
}

// ENV-19
#[test]
fn del_and_check_refuse_bad_names_without_touching_a_file() {
    lab(|host| {
        let pod = host.pod();
        host.sh("mkdir -p /run/leases/net-a && echo precious > /run/leases/a && echo precious > /run/leases/net-a/b");
        let before = host.snapshot();
        for (program, conf) in conf::every(host) {
            for verb in ["DEL", "CHECK"] {
                let call = host.attach(program, conf.clone(), &pod).call(verb);
                call.clone().ifname("a/b").run().fails(4).ours_names("names-variable", &["CNI_IFNAME"]);
                call.container("../a").run().fails(4).ours_names("names-variable", &["CNI_CONTAINERID"]);
            }
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

// ENV-20
#[test]
fn variables_that_a_verb_does_not_read_may_hold_anything() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        for (program, conf) in conf::every(host) {
            let call = host.call(program, "STATUS", &conf).container("///").ifname("////").netns("nowhere");
            call.run().silent();
        }
    });
}

// ENV-25
#[test]
fn the_plugins_own_namespace_is_refused_before_anything_is_touched() {
    lab(|host| {
        let before = host.snapshot();
        for (program, conf) in
            [("bridge", conf::bridge(host)), ("veth", conf::veth(host)), ("loopback", conf::loopback(host))]
        {
            let add = host.call(program, "ADD", &conf).netns("/proc/self/ns/net").run();
            let ours = || {
                add.fails(8).names(&["CNI_NETNS"]);
                before.same_as(&host.snapshot(), &[]);
            };
            // Theirs works on the host itself, as far as the names there allow it.
            host.differs("own-namespace", ours, || ());
        }
    });
}

// ENV-25
#[test]
fn cni_netns_override_allows_the_plugins_own_namespace() {
    lab(|host| {
        for value in ["1", "true", "TRUE"] {
            let call = host.call("loopback", "ADD", &conf::loopback(host)).netns("/proc/self/ns/net");
            call.env("CNI_NETNS_OVERRIDE", value).run().result();
        }
    });
}

// ENV-26, CHK-25
#[test]
fn a_namespace_path_that_leads_nowhere_is_named() {
    lab(|host| {
        let before = host.snapshot();
        for (program, conf) in
            [("bridge", conf::bridge(host)), ("veth", conf::veth(host)), ("loopback", conf::loopback(host))]
        {
            for verb in ["ADD", "CHECK"] {
                let conf = conf::with(&conf, "/prevResult", serde_json::json!({}));
                let call = host.call(program, verb, &conf).netns("/run/netns/nowhere");
                call.run().fails_or("netns-code", 4, 999).names(&["/run/netns/nowhere"]);
            }
        }
        before.same_as(&host.snapshot(), host.differs("failed-add", || [].as_slice(), || conf::LEFT_BEHIND));
    });
}

// ENV-27
#[test]
fn a_file_that_is_no_namespace_is_named() {
    lab(|host| {
        host.sh("touch /run/netns/file; mkdir /run/netns/folder");
        let before = host.snapshot();
        for (program, conf) in
            [("bridge", conf::bridge(host)), ("veth", conf::veth(host)), ("loopback", conf::loopback(host))]
        {
            for path in [
                "/run/netns/file",
                "/run/netns/folder",
                "/dev/null",
                "/proc/self/status",
                "/proc/self/ns/mnt",
            ] {
                let add = host.call(program, "ADD", &conf).netns(path).run();
                add.fails_or("netns-code", 4, 999);
            }
        }
        before.same_as(&host.snapshot(), host.differs("failed-add", || [].as_slice(), || conf::LEFT_BEHIND));
    });
}

// ENV-28, RES-11
#[test]
fn a_namespace_may_be_given_by_any_path_and_is_reported_as_given() {
    lab(|host| {
        let pod = host.pod();
        let mut sleeper = pod.command("sleep").arg("1000").spawn().unwrap();
        host.sh("mkdir /run/deep && touch /run/deep/bound && mount --bind /run/netns/pod1 /run/deep/bound");
        host.sh("ln -s netns/pod1 /run/link");
        let proc = format!("/proc/{}/ns/net", sleeper.id());
        wait_until_inside(sleeper.id(), &pod);
        for path in [pod.path(), &proc, "/run/deep/bound", "/run/link", "/run/../run/netns/pod1"] {
            for (program, conf) in conf::interfaces(host) {
                let web = host.attach(program, conf, &pod).netns(path);
                let result = web.add().result();
                let inside =
                    result["interfaces"].as_array().unwrap().iter().find(|i| i["name"] == "eth0").unwrap();
                assert_eq!(inside["sandbox"], path);
                web.check(&result).silent();
                web.del_with(&result).silent();
                assert!(pod.links().is_empty());
            }
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    });
}

/// nsenter(1) needs a moment before it is inside.
fn wait_until_inside(pid: u32, pod: &Pod) {
    let there = pod.sh("readlink /proc/self/ns/net");
    let place = format!("/proc/{pid}/ns/net");
    while std::fs::read_link(&place).unwrap().to_str().unwrap() != there.trim() {
        std::thread::yield_now();
    }
}

// ENV-29, ARG-11
#[test]
fn variables_of_others_change_nothing_and_reach_the_delegate() {
    lab(|host| {
        let pod = host.pod();
        let stub = host.stub("rec-ipam");
        let call = host.attach("bridge", conf::bridge_with_stub(host, "rec-ipam"), &pod).call("ADD");
        let call = call.env("CNI_PATH", stub.folder()).env("TRACEPARENT", "00-1-1-00").env("K8S_POD", "x y");
        call.env("LD_LIBRARY_PATH", "/nowhere").run().result();
        let received = &stub.calls()[0];
        assert_eq!(received.variable("TRACEPARENT").as_deref(), Some("00-1-1-00"));
        assert_eq!(received.variable("K8S_POD").as_deref(), Some("x y"));
    });
}
