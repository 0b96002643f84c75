//! What may come on stdin, and what must not.

use serde_json::{Value, json};

use crate::lab::host::{Host, Pod};
use crate::lab::{conf, lab};

/// Runs ADD of every plugin with these bytes and expects one of the codes; nothing may change.
fn refused(stdins: &[&[u8]], codes: &[i64]) {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::every(host) {
            for stdin in stdins {
                host.attach(program, conf.clone(), &pod)
                    .call("ADD")
                    .stdin(*stdin)
                    .run()
                    .fails_with_one_of(codes);
            }
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

/// ADD and DEL of every plugin after the configuration was changed; both must succeed.
fn accepted(change: impl Fn(&Value) -> Vec<u8>) {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            let web = host.attach(program, conf.clone(), &pod);
            let plain = web.add().result();
            web.del().silent();
            let changed = web.call("ADD").stdin(change(&conf)).run().result();
            assert_eq!(shape(&changed), shape(&plain), "{program}");
            web.call("DEL").stdin(change(&conf)).run().silent();
        }
    });
}

/// A result without what differs from one ADD to the next.
fn shape(result: &Value) -> Value {
    let mut result = result.clone();
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        interface["mac"] = Value::Null;
        if interface["name"].as_str().is_some_and(|name| name.starts_with("veth")) {
            interface["name"] = Value::Null;
        }
    }
    for ip in result["ips"].as_array_mut().into_iter().flatten() {
        ip["address"] = Value::Null;
    }
    result
}

// INP-01, INP-02, INP-03, ERR-10
#[test]
fn what_is_no_json_object_cannot_be_decoded() {
    refused(&[b"", b" \n", b"{{{", b"{\"cniVersion\":", b"nonsense", b"[]", b"\"x\"", b"5", b"true"], &[6]);
}

// INP-03
#[test]
fn null_is_no_configuration() {
    refused(&[b"null"], &[6, 7]);
}

// INP-04
#[test]
fn bytes_behind_the_object_are_refused() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::every(host) {
            for behind in ["x", "{}", " ,", "\0"] {
                let stdin = format!("{conf}{behind}");
                host.attach(program, conf.clone(), &pod).call("ADD").stdin(stdin).run().fails(6);
            }
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// INP-04
#[test]
fn white_space_around_the_object_is_nothing() {
    accepted(|conf| format!("\n\t {conf} \r\n\n").into_bytes());
}

// INP-05, CAP-31, ARG-14, WKK-01, WKK-04
#[test]
fn a_value_of_the_wrong_type_is_refused_by_its_key() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::every(host) {
            for (pointer, wrong) in wrong_types(program) {
                let key = pointer.rsplit('/').find(|part| part.parse::<u8>().is_err()).unwrap();
                let answer = host.attach(program, conf::with(&conf, pointer, wrong), &pod).add();
                let ours = || drop(answer.fails(6).names(&[key]));
                let theirs =
                    || assert!(answer.succeeded() || matches!(answer.fails_somehow().code, 6 | 7 | 999));
                host.differs("decode-code", ours, theirs);
            }
        }
        let untouched = || {
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&pod.snapshot(), &[]);
        };
        host.differs("decode-code", untouched, || ());
    });
}

fn wrong_types(program: &str) -> Vec<(&'static str, Value)> {
    let mut all = vec![("/name", json!(5)), ("/cniVersion", json!(5)), ("/prevResult", json!("x"))];
    if program != "loopback" {
        all.extend([("/ipam", json!("x"))]);
    }
    if matches!(program, "bridge" | "veth") {
        all.extend([
            ("/dns", json!([])),
            ("/dns/nameservers", json!("x")),
            ("/mtu", json!(true)),
            ("/mtu", json!(1.5)),
        ]);
        all.extend([("/ipam/type", json!(5))]);
    }
    match program {
        "bridge" => all.extend([
            ("/bridge", json!(5)),
            ("/isGateway", json!("yes")),
            ("/isDefaultGateway", json!(1)),
            ("/hairpinMode", json!("")),
            ("/promiscMode", json!([])),
            ("/forceAddress", json!({})),
            ("/runtimeConfig/mac", json!(5)),
            ("/args/cni/mac", json!(5)),
        ]),
        "host-local" => all.extend([
            ("/ipam/ranges", json!("x")),
            ("/ipam/ranges", json!([{"subnet": "10.0.0.0/24"}])),
            ("/ipam/ranges/0/0/subnet", json!(5)),
            ("/ipam/ranges/0/0/rangeStart", json!(5)),
            ("/ipam/routes", json!({})),
            ("/ipam/dataDir", json!(5)),
            ("/ipam/resolvConf", json!(5)),
            ("/runtimeConfig/ips", json!("x")),
            ("/runtimeConfig/ipRanges", json!("x")),
            ("/args/cni/ips", json!("x")),
        ]),
        "static" => all.extend([
            ("/ipam/addresses", json!("x")),
            ("/ipam/addresses", json!({"address": "10.0.0.5/24"})),
            ("/ipam/addresses", json!(["10.0.0.5/24"])),
            ("/ipam/addresses/0/address", json!(5)),
            ("/ipam/addresses/0/gateway", json!(5)),
            ("/ipam/routes", json!({})),
            ("/ipam/dns", json!("x")),
            ("/ipam/dns/search", json!("x")),
            ("/runtimeConfig/ips", json!("x")),
            ("/runtimeConfig/ips", json!([5])),
            ("/args/cni/ips", json!("x")),
        ]),
        _ => {}
    }
    all
}

// INP-06, ERR-11
#[test]
fn a_network_needs_a_name() {
    refused(&[b"{}", b"{\"cniVersion\":\"1.0.0\"}", b"{\"name\":null}", b"{\"name\":\"\"}"], &[7]);
}

// INP-07, IPM-16, WKK-02
#[test]
fn a_network_name_outside_the_rule_makes_no_folder() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::every(host) {
            for name in ["", "a/b", "-a", ".a", "..", "a b", "é", "n\n", "../../x", "_a"] {
                let web = host.attach(program, conf::with(&conf, "/name", json!(name)), &pod);
                web.add().fails(7);
                web.del().fails(7);
            }
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

// INP-08, ERR-09
#[test]
fn stdin_that_cannot_be_read_is_an_input_output_error() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            host.attach(program, conf, &pod).call("ADD").stdin_from("/run").run().fails(5);
        }
    });
}

// INP-09
#[test]
fn an_answer_that_cannot_be_written_is_undone() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::interfaces(host).into_iter().chain([("host-local", conf::leases(host))])
        {
            let web = host.attach(program, conf, &pod);
            let before = (host.snapshot(), pod.snapshot());
            let answer = web.call("ADD").stdout_to("/dev/full").run();
            assert!(!answer.succeeded() && !answer.stderr().is_empty(), "{answer}");
            let undone = || {
                before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            host.differs("failed-add", undone, || ());
            web.del().silent();
            undone();
        }
    });
}

// INP-10
#[test]
fn three_megabytes_in_an_unknown_field_change_nothing() {
    accepted(|conf| conf::with(conf, "/padding", json!("x".repeat(3 << 20))).to_string().into_bytes());
}

// INP-11
#[test]
fn deep_nesting_is_refused_without_a_crash() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            let text = conf.to_string();
            let deep = format!(
                "{},\"deep\":{}{}}}",
                &text[..text.len() - 1],
                "[".repeat(12_000),
                "]".repeat(12_000)
            );
            host.attach(program, conf, &pod).call("ADD").stdin(deep).run().fails(6);
        }
    });
}

// INP-12
#[test]
fn a_byte_order_mark_is_refused() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            host.attach(program, conf.clone(), &pod)
                .call("ADD")
                .stdin(format!("\u{feff}{conf}"))
                .run()
                .fails(6);
        }
    });
}

// INP-12
#[test]
fn bytes_that_are_no_text_in_an_ignored_field_change_nothing() {
    accepted(|conf| {
        let text = conf.to_string();
        let mut bytes = text.as_bytes()[..text.len() - 1].to_vec();
        bytes.extend(b",\"label\":\"\xff\xfe\"}");
        bytes
    });
}

// INP-13
#[test]
fn of_two_equal_keys_the_last_one_counts() {
    accepted(|conf| {
        format!("{{\"cniVersion\":\"99.0.0\",\"name\":\"other\",{}", &conf.to_string()[1..]).into_bytes()
    });
}

// INP-14
#[test]
fn keys_match_in_any_case_and_the_last_one_counts() {
    accepted(|conf| {
        let text =
            conf.to_string().replace("\"name\":", "\"Name\":").replace("\"cniVersion\":", "\"CNIVERSION\":");
        let text = text.replace("\"ipam\":", "\"IPAM\":").replace("\"ranges\":", "\"Ranges\":");
        text.replace("\"subnet\":", "\"SubNet\":").replace("\"isGateway\":", "\"isgateway\":").into_bytes()
    });
}

// INP-15, INP-16, ERR-06, WKK-05, DRV-12, ARG-01, ARG-03, CAP-00
#[test]
fn unknown_fields_change_nothing() {
    accepted(|conf| {
        let conf = conf::with(conf, "/rs_unknown", json!({"a": [1, null, 1e300]}));
        let conf = conf::with(&conf, "/cni.dev~1foo", json!(1));
        // Ignored outside GC; v1.9.1 of the Go plugins wants it well formed all the same.
        let living = json!([{"containerID": "somebody", "ifname": "eth0"}]);
        let conf = conf::with(&conf, "/cni.dev~1valid-attachments", living);
        let conf = conf::with(&conf, "/capabilities", json!({"portMappings": true, "mac": false}));
        let conf =
            conf::with(&conf, "/runtimeConfig", json!({"portMappings": [{"HostPort": 1}], "unknown": 5}));
        let args = json!({"ips": ["not under cni"], "vendor": 1, "cni": {"labels": [{"key": "a", "value": "b"}], "x": {}}});
        conf::with(&conf, "/args", args).to_string().into_bytes()
    });
}

// DRV-12
#[test]
fn empty_injected_objects_change_nothing() {
    accepted(|conf| {
        let conf = conf::with(conf, "/capabilities", json!({}));
        let conf = conf::with(&conf, "/runtimeConfig", json!({}));
        conf::with(&conf, "/args", json!({})).to_string().into_bytes()
    });
}

// INP-17
#[test]
fn stdin_is_read_to_its_end() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::every(host) {
            let text = conf.to_string();
            let (first, second) = text.split_at(text.len() / 2);
            let mut running =
                host.attach(program, conf.clone(), &pod).call("ADD").stdin_left_open(first).start();
            running.write(second.as_bytes());
            assert!(!running.has_ended(), "{program} does not wait for the end of its input");
            running.close_stdin();
            running.finish().result();
            host.attach(program, conf, &pod).del().silent();
        }
    });
}

// INP-19
#[test]
fn null_is_absence() {
    accepted(|conf| {
        let nulls = ["prevResult", "args", "runtimeConfig", "capabilities", "mtu", "hairpinMode"];
        let conf =
            nulls.iter().fold(conf.clone(), |conf, key| conf::with(&conf, &format!("/{key}"), Value::Null));
        conf.to_string().into_bytes()
    });
}

// INP-19, DLG-18
#[test]
fn a_null_ipam_is_no_ipam() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::with(&conf::bridge_l2(host), "/ipam", Value::Null), &pod);
        let result = web.add().result();
        assert!(result.get("ips").is_none_or(|ips| ips.as_array().is_some_and(Vec::is_empty)), "{result}");
        web.del().silent();
    });
}

// INP-20, INP-21
#[test]
fn input_of_any_length_cut_anywhere_is_refused_in_one_document() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for (program, conf) in conf::every(host) {
            let text = conf.to_string();
            for length in (0..text.len()).step_by(17) {
                cut_short(host, &pod, program, &text[..length]);
            }
        }
        before.0.same_as(&host.snapshot(), &[]);
        before.1.same_as(&pod.snapshot(), &[]);
    });
}

fn cut_short(host: &Host, pod: &Pod, program: &str, text: &str) {
    host.attach(program, json!({}), pod).call("ADD").stdin(text).run().fails(6);
}
