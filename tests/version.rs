//! VERSION, and the versions of the specification.

use serde_json::{Value, json};

use crate::lab::host::Host;
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

const PROGRAMS: [&str; 5] = ["bridge", "veth", "loopback", "host-local", "static"];

fn supported(answer: &Value) -> Vec<&str> {
    answer["supportedVersions"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

// VSN-01, VSN-06, UPG-01
#[test]
fn version_lists_every_version_of_the_specification() {
    lab(|host| {
        for program in PROGRAMS {
            let answer = host.call(program, "VERSION", &json!({"cniVersion": host.newest()})).run().result();
            assert_eq!(supported(&answer), host.versions());
        }
    });
}

// VSN-02
#[test]
fn version_repeats_the_version_it_was_asked_in() {
    lab(|host| {
        for program in PROGRAMS {
            let answer = host.call(program, "VERSION", &json!({"cniVersion": "0.3.1"})).run().result();
            let expected = host.differs("version-echo", || "0.3.1", || host.newest());
            assert_eq!(answer["cniVersion"], expected);
        }
    });
}

// VSN-03, VSN-04
#[test]
fn version_needs_only_the_command() {
    lab(|host| {
        for program in PROGRAMS {
            let call = host.call(program, "VERSION", &Value::Null).without("CNI_PATH").without("PATH");
            for stdin in ["", "null", "{}", "garbage", "{\"cniVersion\":5}", "{\"cniVersion\":\"\"}"] {
                let answer = call.clone().stdin(stdin).run().result();
                assert_eq!(answer["cniVersion"], host.newest(), "{stdin}");
                assert_eq!(supported(&answer), host.versions());
            }
        }
    });
}

// VSN-05, ERR-05, UPG-02, UPG-06, DEL-16
#[test]
fn a_version_that_is_not_listed_is_refused_and_nothing_happens() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::every(host) {
            for version in
                ["99.0.0", "2.0.0", "abc", "0.3", "v1.0.0", "1.0", "1.1.0-rc1", "1.0.0 ", "0.10.0", "-1.0.0"]
            {
                for verb in ["ADD", "DEL"] {
                    let web = host.attach(program, conf::with(&conf, "/cniVersion", json!(version)), &pod);
                    let fault = web.call(verb).run().fails(1);
                    fault.names(&[version, "0.1.0", host.newest()]);
                }
            }
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// VSN-05, UPG-01
#[test]
fn every_listed_version_can_be_used() {
    lab(|host| {
        let pod = host.pod();
        for version in host.versions() {
            for (program, conf) in conf::every(host) {
                let web = host.attach(program, conf::with(&conf, "/cniVersion", json!(version)), &pod);
                assert_eq!(web.add().result()["cniVersion"], version);
                web.del().silent();
            }
        }
    });
}

// VSN-07
#[test]
fn version_works_for_nobody() {
    lab(|host| {
        for program in PROGRAMS {
            // A further user namespace without a mapping: no name, no capability.
            let script =
                format!("CNI_COMMAND=VERSION unshare --user {} </dev/null", host.program(program).display());
            let answer: Value = serde_json::from_str(&host.sh(&script)).unwrap();
            assert_eq!(supported(&answer), host.versions());
        }
    });
}

// VSN-08
#[test]
fn version_ignores_the_dummies_of_old_callers() {
    lab(|host| {
        for program in PROGRAMS {
            let call = host.call(program, "VERSION", &json!({"cniVersion": host.newest()}));
            let call = call
                .netns("dummy")
                .ifname("dummy")
                .env("CNI_PATH", "dummy")
                .container("")
                .env("CNI_ARGS", "");
            call.run().result();
        }
    });
}

// INP-18
#[test]
fn version_answers_while_stdin_is_still_open() {
    lab(|host| {
        for program in PROGRAMS {
            let call = host.call(program, "VERSION", &Value::Null).stdin_left_open("");
            assert_eq!(supported(&call.run().result()), host.versions());
        }
    });
}

// CHK-02, STA-09, GC-14, UPG-06
#[test]
fn a_verb_is_refused_in_versions_that_do_not_know_it() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1"] {
                let web = host.attach(program, conf::with(&conf, "/cniVersion", json!(version)), &pod);
                web.check(&json!({})).fails(1).names(&["CHECK"]);
            }
        }
    });
    // GC and STATUS are younger than the reference.
}

// STA-09, GC-14
#[test]
fn gc_and_status_are_refused_before_1_1_0() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        for (program, conf) in conf::every(host) {
            for version in ["0.3.1", "0.4.0", "1.0.0"] {
                let conf = conf::with(&conf, "/cniVersion", json!(version));
                host.call(program, "STATUS", &conf).run().fails(1).names(&["STATUS"]);
                host.call(program, "GC", &conf).run().fails(1).names(&["GC"]);
            }
        }
    });
}

// RES-16, UPG-04
#[test]
fn a_configuration_without_a_version_is_answered_in_the_oldest() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            for version in [None, Some(Value::Null), Some(json!(""))] {
                let conf = match version {
                    None => conf::without(&conf, "cniVersion"),
                    Some(version) => conf::with(&conf, "/cniVersion", version),
                };
                let web = host.attach(program, conf, &pod);
                let result = web.add().result();
                assert_eq!(result["cniVersion"], "0.1.0", "{program}: {result}");
                assert!(
                    result["ip4"]["ip"].is_string() && result.get("ips").is_none(),
                    "{program}: {result}"
                );
                web.del().silent();
            }
        }
    });
}

// ERR-03
#[test]
fn an_error_speaks_the_version_of_its_configuration() {
    lab_with(&[Need::Ours("error-version")], |host| {
        for (program, conf) in conf::every(host) {
            for version in host.versions() {
                let conf = conf::with(&conf, "/cniVersion", json!(version));
                let fault = broken(host, program, &conf);
                assert_eq!(fault["cniVersion"], version);
            }
            let unreadable = host.call(program, "ADD", &conf).netns("/x").stdin("{{{").run().fails(6);
            assert_eq!(unreadable.object["cniVersion"], host.newest());
            let unknown =
                host.call(program, "ADD", &conf::with(&conf, "/cniVersion", json!("99.0.0"))).netns("/x");
            assert_eq!(unknown.run().fails(1).object["cniVersion"], host.newest());
        }
    });
}

/// The error of an ADD whose container id is bad.
fn broken(host: &Host, program: &str, conf: &Value) -> Value {
    host.call(program, "ADD", &conf::with(conf, "/name", json!("a/b"))).netns("/x").run().fails(7).object
}

// CFG-08
#[test]
fn cni_versions_of_a_list_are_not_the_plugins_business() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            let web =
                host.attach(program, conf::with(&conf, "/cniVersions", json!(["0.1.0", "9.0.0", 5])), &pod);
            assert_eq!(web.add().result()["cniVersion"], host.newest());
            web.del().silent();
        }
    });
}
