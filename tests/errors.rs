//! Errors as a whole: where they are printed, what they hold, which numbers they use.

use serde_json::{Value, json};

use crate::lab::host::Host;
use crate::lab::outcome::Outcome;
use crate::lab::{conf, lab};

/// One failing call of every kind that needs no special world.
fn failures(host: &Host, program: &str, conf: &Value) -> Vec<Outcome> {
    let pod = host.pod();
    let web = host.attach(program, conf.clone(), &pod);
    vec![
        web.call("BOGUS").run(),
        web.call("ADD").without("CNI_IFNAME").run(),
        web.call("ADD").container("a/b").run(),
        web.call("ADD").stdin("{").run(),
        web.call("ADD").stdin_from("/run").run(),
        web.conf(conf::with(conf, "/name", json!("a/b"))).add(),
        web.conf(conf::with(conf, "/cniVersion", json!("9.0.0"))).add(),
        web.conf(conf::with(conf, "/cniVersion", json!("0.3.1"))).check(&json!({})),
    ]
}

// ERR-01, ERR-02, ERR-04, ERR-15, ERR-16
#[test]
fn every_error_is_one_object_on_stdout_and_a_status() {
    lab(|host| {
        for (program, conf) in conf::every(host) {
            for answer in failures(host, program, &conf) {
                let fault = answer.fails_somehow();
                assert!((1..=7).contains(&fault.code), "{answer}");
                host.differs("error-version", || assert!(fault.object["cniVersion"].is_string()), || ());
                let keys: Vec<_> = fault.object.as_object().unwrap().keys().map(String::as_str).collect();
                assert!(
                    keys.iter().all(|key| ["cniVersion", "code", "msg", "details"].contains(key)),
                    "{answer}"
                );
                // Lower case, no full stop: the text is a part of somebody's longer sentence.
                assert!(!fault.msg.ends_with('.') && !fault.msg.contains('\n'), "{answer}");
            }
        }
    });
}

// ERR-07
#[test]
fn no_error_of_add_tells_the_runtime_to_skip_del() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::interfaces(host) {
            let web = host.attach(program, conf.clone(), &pod);
            let unreachable = json!([{"dst": "192.0.2.0/24", "gw": "203.0.113.1"}]);
            for answer in [
                web.netns("/run/netns/nowhere").add(),
                web.conf(conf::with(&conf, "/ipam/routes", unreachable)).add(),
                web.conf(conf::with(&conf, "/ipam/type", json!("nowhere"))).add(),
            ] {
                assert_ne!(answer.fails_somehow().code, 3, "{answer}");
            }
            web.del();
        }
    });
}

// ERR-17
#[test]
fn a_log_never_changes_the_verdict() {
    lab(|host| {
        let stub = host.stub("rec-ipam");
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge_with_stub(host, "rec-ipam"), &pod).path(stub.folder());
        let answer = web.add();
        assert!(!answer.stderr().is_empty());
        answer.result();
        web.del().silent();
    });
}
