//! DEL: any number of times, in any state of the world, and never more than its own.

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::{conf, lab};

/// Before, an ADD, a change of the world, a DEL with and without prevResult, and nothing may be left.
fn leaves_nothing(change: impl Fn(&Host, &Pod, &Attach<'_>), del: impl Fn(&Attach<'_>, &Value)) {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let (before, inside) = (host.snapshot(), pod.snapshot());
            let result = web.add().result();
            change(host, &pod, &web);
            del(&web, &result);
            let gone = !std::path::Path::new(pod.path()).exists();
            if !gone {
                inside.same_as(&pod.snapshot(), &[]);
                pod.delete();
            }
            // The Go plugins leave the host end to the end of the namespace, which the kernel takes its time for.
            while host.is_reference() && host.links().iter().any(|name| name.starts_with("veth")) {}
            let after = host.snapshot();
            let found: Vec<_> = before.differences(&after, conf::LEFT_BEHIND);
            let found: Vec<_> = found.into_iter().filter(|line| !line.starts_with("- netns/")).collect();
            assert!(found.is_empty(), "{program}: {found:#?}");
        }
    });
}

// DEL-01, DEL-17
#[test]
fn del_removes_what_add_made() {
    leaves_nothing(|_, _, _| (), |web, result| web.del_with(result).silent());
}

// DEL-07
#[test]
fn del_without_a_previous_result_removes_everything() {
    leaves_nothing(|_, _, _| (), |web, _| web.del().silent());
}

// DEL-07, INP-19
#[test]
fn del_with_an_empty_or_null_previous_result_removes_everything() {
    leaves_nothing(|_, _, _| (), |web, _| web.del_with(&Value::Null).silent());
    leaves_nothing(|_, _, _| (), |web, _| web.del_with(&json!({})).silent());
}

// DEL-02
#[test]
fn del_can_be_repeated() {
    leaves_nothing(
        |_, _, _| (),
        |web, result| {
            web.del_with(result).silent();
            web.del_with(result).silent();
            web.del().silent();
            web.call("DEL").without("CNI_NETNS").run().silent();
            web.call("DEL").netns("").run().silent();
        },
    );
}

// DEL-03
#[test]
fn del_of_what_was_never_added_changes_nothing() {
    lab(|host| {
        let pod = host.pod();
        for (program, conf) in conf::interfaces(host).into_iter().chain([("host-local", conf::leases(host))])
        {
            let web = host.attach(program, conf, &pod);
            let before = (host.snapshot(), pod.snapshot());
            web.del().silent();
            web.call("DEL").without("CNI_NETNS").run().silent();
            web.netns("/run/netns/never").del().silent();
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            before.1.same_as(&pod.snapshot(), &[]);
        }
    });
}

// DEL-04
#[test]
fn del_frees_the_address_when_the_interface_is_already_gone() {
    let unlink = |_: &Host, pod: &Pod, _: &Attach<'_>| drop(pod.sh("ip link del eth0"));
    leaves_nothing(unlink, |web, result| web.del_with(result).silent());
    leaves_nothing(unlink, |web, _| web.del().silent());
}

// DEL-05, ENV-09
#[test]
fn del_frees_the_address_when_the_namespace_is_already_gone() {
    leaves_nothing(|_, pod, _| pod.delete(), |web, result| web.del_with(result).silent());
    leaves_nothing(|_, pod, _| pod.delete(), |web, _| web.del().silent());
}

// ENV-09, ENV-10, DEL-18, DLG-17
#[test]
fn del_without_a_namespace_removes_the_host_end_and_frees_the_address() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            for netns in [None, Some("")] {
                let pod = host.pod();
                let web = host.attach(program, conf.clone(), &pod);
                let before = host.snapshot();
                web.add().result();
                let del = match netns {
                    None => web.call("DEL").without("CNI_NETNS"),
                    Some(path) => web.call("DEL").netns(path),
                };
                del.run().silent();
                let ours = || {
                    before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
                    assert!(pod.links().is_empty(), "the pair goes as a whole");
                };
                let theirs = || {
                    assert_eq!(host.snapshot().below("file/run/leases/net-a/10."), Vec::<&str>::new());
                    assert_eq!(pod.links(), ["eth0"]);
                };
                host.differs("del-without-netns", ours, theirs);
            }
        }
    });
}

// DEL-06
#[test]
fn del_treats_a_path_that_is_no_namespace_as_gone() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host).into_iter().chain([("loopback", conf::loopback(host))])
        {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let before = host.snapshot();
            web.add().result();
            // What is left at the path after a reboot, or after an unmount by hand.
            host.sh(&format!("umount {}", pod.path()));
            let del = web.del();
            let ours = || {
                del.silent();
                before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            };
            host.differs("del-plain-file", ours, || drop(del.fails(999)));
            host.try_sh("ip link del br0; rm -r /run/leases");
        }
    });
}

// DEL-06: a recycled process id
#[test]
fn del_treats_the_plugins_own_namespace_as_gone() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            host.sh("ip link add eth0 type veth peer name precious && ip link set eth0 up");
            let before = host.snapshot();
            let web = host.attach(program, conf, &pod);
            web.add().result();
            pod.delete();
            let del = web.netns("/proc/self/ns/net").del();
            let ours = || {
                del.silent();
                let found = before.differences(&host.snapshot(), conf::LEFT_BEHIND);
                assert!(found.iter().all(|line| line.starts_with("- netns/")), "{found:#?}");
            };
            // v1.1.1 deletes the host's own eth0, v1.9.1 no longer.
            host.differs("own-namespace", ours, || ());
            host.try_sh("ip link del eth0; ip link del br0");
        }
    });
}

// DEL-08
#[test]
fn del_survives_a_stale_previous_result() {
    leaves_nothing(
        |_, _, _| (),
        |web, result| {
            let mut stale = result.clone();
            stale["interfaces"][0]["name"] = json!("gone0");
            stale["interfaces"][0]["mac"] = json!("02:00:00:00:00:01");
            stale["ips"][0]["interface"] = json!(17);
            web.del_with(&stale).silent();
        },
    );
}

// DEL-09
#[test]
fn del_needs_no_previous_result_in_versions_that_have_none() {
    lab(|host| {
        for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1"] {
            for (program, conf) in conf::interfaces(host) {
                let pod = host.pod();
                let before = (host.snapshot(), pod.snapshot());
                let web = host.attach(program, conf::with(&conf, "/cniVersion", json!(version)), &pod);
                web.add().result();
                web.del().silent();
                before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
                before.1.same_as(&pod.snapshot(), &[]);
            }
        }
    });
}

// DEL-10
#[test]
fn del_survives_the_loss_of_its_own_records() {
    lab(|host| {
        let losses = [
            "rm -rf /run/jackfield",
            "find /run/jackfield -type f -exec sh -c ': > $0' {} ';'",
            "find /run/jackfield -type f -exec sh -c 'head -c 7 $0 > $0.x; mv $0.x $0' {} ';'",
            "find /run/jackfield -type f -exec sh -c 'echo { garbage > $0' {} ';'",
        ];
        for (program, conf) in conf::interfaces(host) {
            for loss in losses {
                for with_result in [true, false] {
                    let pod = host.pod();
                    let web = host.attach(program, conf.clone(), &pod);
                    let before = pod.snapshot();
                    let result = web.add().result();
                    host.try_sh(loss);
                    if with_result {
                        web.del_with(&result).silent()
                    } else {
                        web.del().silent()
                    }
                    before.same_as(&pod.snapshot(), &[]);
                    let after = host.snapshot();
                    assert!(after.below("link/veth").is_empty(), "{loss}");
                    assert!(
                        !after
                            .below("file/run/leases")
                            .iter()
                            .any(|f| f.contains("/10.9") || f.contains("/fd00"))
                    );
                }
            }
        }
    });
}

// DEL-12
#[test]
fn del_touches_no_other_container() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let (one, two) = (host.pod(), host.pod());
            let first = host.attach(program, conf.clone(), &one);
            let second = host.attach(program, conf, &two).container("container-2");
            let result = first.add().result();
            let before = (host.snapshot(), one.snapshot());
            let other = second.add().result();
            second.del_with(&other).silent();
            before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            before.1.same_as(&one.snapshot(), &[]);
            assert!(one.pings("10.9.0.1") && one.pings("fd00:9::1"));
            first.check(&result).silent();
            first.del().silent();
        }
    });
}

// DEL-15
#[test]
fn del_leaves_a_strangers_interface_of_the_same_name_alone() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            for kind in ["type bridge", "type ifb", "type veth peer name other"] {
                let pod = host.pod();
                pod.sh(&format!("ip link add eth0 {kind}"));
                let before = (host.snapshot(), pod.snapshot());
                let web = host.attach(program, conf.clone(), &pod);
                web.del().silent();
                let ours = || before.1.same_as(&pod.snapshot(), &[]);
                host.differs("del-foreign", ours, || assert!(pod.link("eth0").is_none()));
                before.0.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            }
        }
    });
}

// DEL-15
#[test]
fn del_leaves_the_strangers_interface_that_took_the_place_of_ours() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let result = web.add().result();
            pod.sh("ip link del eth0 && ip link add eth0 type veth peer name other && ip link set eth0 up");
            web.del_with(&result).silent();
            let ours = || assert!(pod.link("eth0").is_some() && pod.link("other").is_some());
            host.differs("del-foreign", ours, || assert!(pod.link("eth0").is_none()));
            assert!(host.snapshot().below("file/run/leases/net-a/10.").is_empty());
        }
    });
}

// DEL-12, DEL-15: every namespace counts its links for itself
#[test]
fn del_is_not_deceived_by_a_neighbour_whose_links_have_the_same_numbers() {
    lab(|host| {
        for (program, conf) in conf::interfaces(host) {
            let [ours, neighbour, elsewhere] = [host.pod(), host.pod(), host.pod()];
            // The neighbour's pair is one that the Go plugin made. Ours leads to a namespace that is not the host's.
            host.sh(&format!(
                "ip link add br0 type bridge; ip link add veth0a1b2c3d index 500 type veth peer name eth0 index 600 netns {}",
                neighbour.name()
            ));
            if program == "bridge" {
                host.sh("ip link set veth0a1b2c3d master br0");
            }
            ours.sh(&format!(
                "ip link add eth0 index 600 type veth peer name other index 500 netns {}",
                elsewhere.name()
            ));
            host.attach(program, conf, &ours).del().silent();
            assert!(host.link("veth0a1b2c3d").is_some() && neighbour.link("eth0").is_some(), "{program}");
            host.differs("del-foreign", || assert!(ours.link("eth0").is_some()), || ());
            host.sh("ip link del veth0a1b2c3d; ip link del br0");
        }
    });
}

// RTL-06
#[test]
fn del_leaves_the_namespace_to_the_runtime() {
    lab(|host| {
        for (program, conf) in conf::every(host) {
            let pod = host.pod();
            let web = host.attach(program, conf, &pod);
            let identity = pod.sh("readlink /proc/self/ns/net");
            web.add().result();
            web.del().silent();
            assert_eq!(pod.sh("readlink /proc/self/ns/net"), identity);
        }
    });
}

// DEL-11
#[test]
fn the_lease_stays_while_the_link_cannot_be_removed() {
    lab(|host| {
        let pod = host.pod();
        let web = host.attach("host-local", conf::leases(host), &pod);
        web.add().result();
        // A store that cannot be written: the lease cannot go, and DEL says so.
        host.sh("mount --bind /run/leases /run/leases && mount -o remount,bind,ro /run/leases");
        let del = web.del();
        host.differs("release-fault", || drop(del.fails_somehow()), || ());
        host.sh("umount /run/leases");
        assert!(!host.snapshot().below("file/run/leases/net-a/10.9.0.2").is_empty());
        web.del().silent();
        assert!(host.snapshot().below("file/run/leases/net-a/10.9.0.2").is_empty());
    });
}
