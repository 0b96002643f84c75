//! Nonsense from outside: each gets its code and a text that names the thing, and leaves no trace.

use serde_json::{Value, json};

use crate::lab::host::Host;
use crate::lab::snapshot::Shared;
use crate::lab::world::Need;
use crate::lab::{conf, lab, lab_with};

// WKK-03, WKK-04, INP-20
#[test]
fn configuration_that_makes_no_sense_is_named_and_leaves_no_trace() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        let cases: &[(&str, &str, Value, &str)] = &[
            ("bridge", "/bridge", json!(""), "bridge"),
            ("bridge", "/bridge", json!("a/b"), "a/b"),
            ("bridge", "/bridge", json!("a234567890123456"), "a234567890123456"),
            ("bridge", "/bridge", json!("a b"), "a b"),
            ("bridge", "/bridge", json!(".."), ".."),
            ("bridge", "/bridge", json!("br\u{0}"), "br"),
            ("bridge", "/bridge", json!("br%d"), "br%d"),
            ("bridge", "/ipam/ranges", json!([[{"subnet": "10.9.0.0/33"}]]), "10.9.0.0/33"),
            ("bridge", "/ipam/ranges", json!([[{"subnet": "10.9.0.9/24"}]]), "host bits"),
            ("bridge", "/ipam/routes", json!([{"dst": "10.0.0.0"}]), "10.0.0.0"),
            ("veth", "/ipam/ranges", json!([[{"subnet": "10.9.0.0/31"}]]), "too small"),
            ("veth", "/ipam/routes", json!([{"dst": "0.0.0.0/0", "gw": "nope"}]), "nope"),
            ("host-local", "/ipam/dataDir", json!("/proc/nowhere"), "/proc/nowhere"),
            ("host-local", "/ipam/dataDir", json!("/dev/null"), "/dev/null"),
        ];
        for (program, pointer, value, words) in cases {
            let conf = conf::every(host).into_iter().find(|(name, _)| name == program).unwrap().1;
            let web = host.attach(program, conf::with(&conf, pointer, value.clone()), &pod);
            let answer = web.add();
            let ours = || {
                answer.fails_somehow().names(&[words]);
                before.0.same_as(&host.snapshot(), conf::NOT_MADE);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            host.differs("failed-add", ours, || drop(web.del()));
        }
    });
}

/// Keys that contradict each other, or one that holds what no link can have.
struct Nonsense {
    program: &'static str,
    changes: Vec<(&'static str, Value)>,
    /// What names key and value.
    words: Vec<String>,
    /// The difference under which the Go plugins do something else.
    key: &'static str,
}

fn nonsense() -> Vec<Nonsense> {
    let mut all = Vec::new();
    let mut add = |program, changes: &[(&'static str, Value)], words: &[&str], key| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        all.push(Nonsense { program, changes: changes.to_vec(), words, key });
    };
    let yes = || json!(true);
    let reflection = ["cannot set hairpin mode and promiscuous mode", "hairpinMode true", "promiscMode true"];
    add("bridge", &[("/hairpinMode", yes()), ("/promiscMode", yes())], &reflection, "config-code");
    let down = ["cannot use IPAM when DisableContainerInterface", "ipam.type \"host-local\""];
    add("bridge", &[("/disableContainerInterface", yes())], &down, "disable-container-interface");
    for name in ["", "a/b"] {
        add("bridge", &[("/bridge", json!(name))], &[&format!("bridge {name:?}")], "failed-add");
    }
    for mac in ["zz", "c2:11:22:33:44", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
        for pointer in ["/runtimeConfig/mac", "/args/cni/mac"] {
            add("bridge", &[(pointer, json!(mac))], &[&format!("mac {mac:?}")], "mac-code");
        }
    }
    for program in ["bridge", "veth"] {
        for mtu in [-1, 1, 67, 65_536, 4_294_967_296 + 1500, i64::MIN] {
            let words = format!("invalid mtu {mtu} (must be 0 or between 68 and 65535)");
            add(program, &[("/mtu", json!(mtu))], &[&words], "mtu-checked");
        }
        let backend = [("/ipMasq", yes()), ("/ipMasqBackend", json!("pf"))];
        add(program, &backend, &["unknown ipmasq backend \"pf\"", "ipMasqBackend"], "masquerade");
    }
    all
}

fn changed(host: &Host, program: &str, changes: &[(&str, Value)]) -> Value {
    let (_, conf) = conf::interfaces(host).into_iter().find(|(name, _)| *name == program).unwrap();
    changes.iter().fold(conf, |conf, (pointer, value)| conf::with(&conf, pointer, value.clone()))
}

// INP-20, WKK-04, CAP-23
#[test]
fn a_contradiction_is_named_with_its_keys_and_values_before_anything_is_touched() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for Nonsense { program, changes, words, key } in nonsense() {
            let web = host.attach(program, changed(host, program, &changes), &pod);
            let answer = web.add();
            let ours = || drop(answer.fails(7).names(&words.iter().map(String::as_str).collect::<Vec<_>>()));
            host.differs(key, ours, || drop(web.del()));
        }
        let untouched = || {
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&pod.snapshot(), &[]);
        };
        host.differs("failed-add", untouched, || ());
    });
}

// STA-02
#[test]
fn status_refuses_the_same_contradictions() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        let before = host.snapshot();
        for Nonsense { program, changes, words, .. } in nonsense() {
            let status = host.call(program, "STATUS", &changed(host, program, &changes)).run();
            status.fails(7).names(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        before.same_as(&host.snapshot(), &[]);
    });
}

// DEL-10
#[test]
fn del_and_gc_go_through_configurations_that_make_no_sense_any_more() {
    lab_with(&[Need::Ours("spec-1.1.0")], |host| {
        let pod = host.pod();
        let (before, inside) = (host.snapshot(), pod.snapshot());
        for Nonsense { program, changes, .. } in nonsense() {
            let web = host.attach(program, changed(host, program, &[]), &pod);
            let later = changed(host, program, &changes);
            let nobody = conf::with(&later, "/cni.dev~1valid-attachments", json!([]));
            let removals = [web.conf(later).call("DEL"), host.call(program, "GC", &nobody)];
            for removal in removals {
                web.add().result();
                removal.run().silent();
                assert!(pod.links().is_empty(), "{program}: {changes:?}");
            }
        }
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
        inside.same_as(&pod.snapshot(), &[]);
    });
}

// DEL-10
#[test]
fn del_of_a_routed_pair_without_ipam_takes_the_link_and_says_that_the_lease_stays() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("veth", conf::veth(host), &pod);
        web.add().result();
        let del = web.conf(conf::without(&conf::veth(host), "ipam")).del();
        let ours = || {
            del.fails(7).names(&["ipam"]);
            assert!(pod.links().is_empty());
            assert!(!host.snapshot().below("file/run/leases/net-v/10.9.0.2").is_empty());
        };
        host.differs("del-goes-on", ours, || drop(del.fails(999)));
        web.del().silent();
        assert!(host.snapshot().below("file/run/leases/net-v/10.9.0.2").is_empty());
    });
}

// CAP-23, ARG-10
#[test]
fn a_mac_of_the_variable_that_no_link_can_have_is_the_variables_fault() {
    lab(|host| {
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        for mac in ["zz", "01:00:5e:00:00:01"] {
            let web = host.attach("bridge", conf::bridge(host), &pod);
            let args = format!("IgnoreUnknown=1;MAC={mac}");
            let answer = web.call("ADD").env("CNI_ARGS", &args).run();
            let ours = || {
                answer.fails(4).names(&["CNI_ARGS", "MAC", mac]);
                before.0.same_as(&host.snapshot(), &[]);
                before.1.same_as(&pod.snapshot(), &[]);
                web.call("DEL").env("CNI_ARGS", &args).run().silent();
            };
            host.differs("args-code", ours, || drop(web.del()));
        }
    });
}

// WKK-04
#[test]
fn an_mtu_that_is_too_small_for_ipv6_is_refused_where_there_is_ipv6() {
    lab(|host| {
        for program in ["bridge", "veth"] {
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            for mtu in [68, 1279] {
                let web = host.attach(program, changed(host, program, &[("/mtu", json!(mtu))]), &pod);
                let answer = web.add();
                let ours = || {
                    answer.fails(7).names(&[&format!("mtu {mtu}"), "1280", "fd00:9::"]);
                    let shared = [Shared::Store, Shared::Records];
                    before.0.same_as(&host.snapshot(), &shared);
                    before.1.same_as(&pod.snapshot(), &[]);
                };
                host.differs("mtu-checked", ours, || drop(web.del()));
            }
            let v4 = ("/ipam/ranges", json!([[{"subnet": "10.9.0.0/24"}]]));
            let no_routes = ("/ipam/routes", json!([]));
            for (mtu, changes) in [(68, vec![v4, no_routes]), (1280, vec![]), (65_535, vec![])] {
                let changes = [vec![("/mtu", json!(mtu))], changes].concat();
                let web = host.attach(program, changed(host, program, &changes), &pod);
                host.try_sh("ip link del br0");
                web.add().result();
                assert_eq!(pod.link("eth0").unwrap()["mtu"], mtu, "{program}");
                web.del().silent();
            }
        }
    });
}

// ADD-13, STA-02
#[test]
fn a_link_of_the_bridges_name_that_is_no_bridge_is_named_and_kept() {
    lab(|host| {
        let pod = host.pod();
        for (name, made) in [
            ("br0", "ip link add br0 type ifb"),
            ("br0", "ip link add br0 type veth peer name other"),
            ("br0", "ip link add other type ifb && ip link property add dev other altname br0"),
            ("lo", ":"),
        ] {
            host.sh(made);
            let before = (host.snapshot(), pod.snapshot());
            let conf = conf::with(&conf::bridge(host), "/bridge", json!(name));
            let web = host.attach("bridge", conf, &pod);
            let words = [&*format!("\"{name}\" already exists but is not a bridge")];
            web.add().fails(999).names(&words);
            let kept = || {
                before.0.same_as(&host.snapshot(), &[]);
                before.1.same_as(&pod.snapshot(), &[]);
                host.call("bridge", "STATUS", web.configuration()).run().fails(50).names(&words);
                web.del().silent();
                before.0.same_as(&host.snapshot(), &[]);
            };
            host.differs("failed-add", kept, || ());
            host.try_sh("ip link del br0; ip link del other");
        }
    });
}

// IPM-09, INP-20
#[test]
fn a_store_that_cannot_be_written_is_named_and_nothing_is_made() {
    lab(|host| {
        host.sh("mkdir /run/leases && mount -t tmpfs -o ro none /run/leases");
        for (program, conf) in conf::interfaces(host).into_iter().chain([("host-local", conf::leases(host))])
        {
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            host.attach(program, conf, &pod).add().fails_somehow().names(&["/run/leases", "read-only"]);
            let untouched = || {
                before.0.same_as(&host.snapshot(), conf::NOT_MADE);
                before.1.same_as(&pod.snapshot(), &[]);
            };
            host.differs("failed-add", untouched, || ());
        }
    });
}

// IPM-09
#[test]
fn a_store_without_space_keeps_no_half_of_a_lease() {
    lab(|host| {
        host.sh("mkdir /run/leases && mount -t tmpfs -o size=4k,nr_inodes=4 none /run/leases");
        let pod = host.pod();
        let lease = host.attach("host-local", conf::leases(host), &pod);
        let ours = || {
            for n in 0..3 {
                let lease = lease.container(&format!("c{n}"));
                let answer = lease.add();
                if !answer.succeeded() {
                    answer.fails_somehow().names(&["no space left on device"]);
                    let files = host.snapshot();
                    let mine = files.below("file/run/leases/net-a/10.");
                    assert!(mine.is_empty(), "{mine:?}");
                    return;
                }
                lease.del().silent();
            }
            panic!("the store was never full");
        };
        host.differs("lease-whole", ours, || ());
    });
}

// DLG-01, ENV-15
#[test]
fn cni_path_may_hold_anything() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let good = format!(":/nowhere:/dev/null:relative:/run/lab/\u{e9}:{}", host.bin().display());
        web.path(&good).add().result();
        web.path(&good).del().silent();
        for bad in ["/nowhere", ":", "/dev/null", "/run"] {
            web.path(bad).add().fails_somehow().names(&["host-local"]);
            host.differs("failed-add", || assert!(pod.links().is_empty()), || web.del().silent());
        }
    });
}

// The specification sets no limit to a name; file systems do.
#[test]
fn names_at_the_limits_of_the_file_system_work_or_are_refused_whole() {
    lab(|host| {
        let pod = host.pod();
        for length in [64, 128, 200, 255, 256, 1000, 5000] {
            let long = "n".repeat(length);
            for (program, conf) in
                conf::interfaces(host).into_iter().chain([("host-local", conf::leases(host))])
            {
                for web in [
                    host.attach(program, conf.clone(), &pod).container(&long),
                    host.attach(program, conf::with(&conf, "/name", json!(long)), &pod),
                ] {
                    let answer = web.add();
                    if answer.succeeded() {
                        web.check(&answer.result()).silent();
                    } else {
                        assert!(length > 200, "{answer}");
                        answer.fails_somehow();
                        host.differs("failed-add", || assert!(pod.links().is_empty()), || ());
                    }
                    web.del();
                    assert!(pod.links().is_empty(), "{program} {length}");
                }
            }
        }
    });
}

// INP-07, ENV-16: what ends up on disk and in the kernel is only what the rule lets through
#[test]
fn the_most_hostile_names_that_the_rule_allows_are_kept_apart() {
    lab(|host| {
        let pod = host.pod();
        let names = ["a..", "a.", "a-", "lock", "last_reserved_ip.0", "0"];
        for name in names {
            let lease = host.attach(
                "host-local",
                conf::with(&conf::pool(host, "10.1.1.0/24"), "/name", json!(name)),
                &pod,
            );
            lease.container(name).add().result();
            assert_eq!(host.sh(&format!("cat /run/leases/{name}/10.1.1.2")), format!("{name}\r\neth0"));
        }
        for name in names {
            let lease = host.attach(
                "host-local",
                conf::with(&conf::pool(host, "10.1.1.0/24"), "/name", json!(name)),
                &pod,
            );
            lease.container(name).del().silent();
        }
        assert!(host.snapshot().below("file/run/leases").iter().all(|f| !f.ends_with("10.1.1.2")));
    });
}

// IPM-12: a container called like the mark of the round robin, or like an address
#[test]
fn a_container_called_like_an_address_frees_only_its_own() {
    lab(|host| {
        let pod = host.pod();
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &pod);
        lease.container("10.1.1.3").add().result();
        lease.container("other").add().result();
        lease.container("10.1.1.3").del().silent();
        let files = host.sh("ls /run/leases/net-a");
        let ours = || {
            assert_eq!(
                files.split_whitespace().collect::<Vec<_>>(),
                ["10.1.1.3", "last_reserved_ip.0", "lock"]
            )
        };
        host.differs("lease-whole", ours, || assert!(files.contains("10.1.1.3")));
    });
}

// IPM-17
#[test]
fn rubbish_in_the_store_neither_blocks_nor_breaks() {
    lab_with(&[Need::Ours("lease-whole")], |host| {
        let pod = host.pod();
        host.sh("mkdir -p /run/leases/net-a/folder && cd /run/leases/net-a && : > 10.1.1.2 && printf '\\r\\n' > 10.1.1.3 && printf 'half' > .tmp && printf '\\377\\376' > 10.1.1.9 && printf 'x' > last_reserved_ip.0 && printf y > 999.1.1.1");
        let lease = host.attach("host-local", conf::pool(host, "10.1.1.0/24"), &pod);
        let result = lease.add().result();
        // An empty lease is the rubbish of a crash, and its address is free.
        assert_eq!(result["ips"][0]["address"], "10.1.1.2/24");
        lease.check(&result).silent();
        host.call("host-local", "STATUS", lease.configuration()).run().silent();
        lease.del().silent();
        assert!(std::path::Path::new("/run/leases/net-a/folder").is_dir());
    });
}

// ADD-13, IPM-09: a lease that no link can take
#[test]
fn addresses_that_no_link_can_have_are_refused_and_given_back() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let stub = host.stub(&format!("rec-{program}"));
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            let web = host
                .attach(program, conf::with(&conf, "/ipam", json!({"type": stub.name()})), &pod)
                .path(stub.folder());
            for address in ["ff02::1/64", "::1/128"] {
                stub.answers(
                    "ADD",
                    &json!({"ips": [{"address": address, "gateway": "fd00:44::1"}]}).to_string(),
                );
                let ours = || {
                    web.add().fails_somehow();
                    before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
                    before.1.same_as(&pod.snapshot(), &[]);
                    assert_eq!(stub.verbs(), ["ADD", "DEL"], "{address}");
                    stub.forget();
                };
                host.differs("failed-add", ours, || ());
            }
        }
    });
}

/// To the kernel `eth%d` is a pattern: it makes an `eth0`, or an `eth1`.
#[test]
fn a_name_in_which_the_kernel_would_put_a_number_is_refused() {
    lab_with(&[Need::Ours("accepted")], |host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            for name in ["eth%d", "eth%s", "%"] {
                let web = host.attach(program, conf.clone(), &pod).ifname(name);
                for answer in [web.add(), web.del()] {
                    answer.fails(4).names(&["CNI_IFNAME", name, "%"]);
                }
                before.0.same_as(&host.snapshot(), &[]);
                before.1.same_as(&pod.snapshot(), &[]);
            }
        }
    });
}
