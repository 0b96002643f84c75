//! Whole or not at all: a call that is killed, or refused by the kernel, at any of its requests.
//!
//! The walk records which requests a call makes, and then makes the same call again for each of them, killed right before
//! that request. Nothing is chosen: what lies between any two requests has been the last moment once.

use std::collections::BTreeMap;
use std::fs;

use nix::errno::Errno;
use serde_json::{Value, json};

use super::{container, leases, network};
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::world::{self, Need};
use crate::reliability::tracer::{self, Asked, Deed};
use crate::reliability::{calls, machine};

const NET: &str = "/run/leases/net-a";

/// Their ADD is torn by a crash, for ever.
const OURS: &[Need] = &[Need::Ours("lease-whole")];

/// All requests of a call, in order.
fn requests(call: &Call) -> Vec<Asked> {
    let asked = tracer::record(call).asked;
    let has_locked = asked.iter().any(|request| calls::name(request.point.call) == "flock");
    assert!(asked.len() > 30 && has_locked, "{asked:?}");
    asked
}

/// The call, with this done to one of its requests.
fn with(call: &Call, request: &Asked, deed: Deed) -> Outcome {
    let run = tracer::at(call, &request.point, deed);
    assert!(run.reached, "{request:?} was not made\n{}", run.outcome);
    run.outcome
}

/// A /29 with five addresses, of which three containers have one each and an IPv6 address beside it, and a pod.
struct Net<'h> {
    host: &'h Host,
    pod: Pod,
    conf: Value,
    living: BTreeMap<String, String>,
}

impl<'h> Net<'h> {
    fn new(host: &'h Host) -> Net<'h> {
        let ranges = json!([[{"subnet": "10.1.1.0/29"}], [{"subnet": "fd00:1::/64"}]]);
        let conf = conf::with(&network(host, "/run/leases", "10.1.1.0/29"), "/ipam/ranges", ranges);
        let mut net = Net { host, pod: host.pod(), conf, living: BTreeMap::new() };
        ["a", "b", "c"].iter().for_each(|id| net.comes(id));
        net
    }

    fn call(&self, verb: &str, id: &str) -> Call {
        if verb == "GC" {
            return self.gc();
        }
        container(self.host, &self.pod, &self.conf, id).call(verb)
    }

    fn comes(&mut self, id: &str) {
        let ip = super::address(&self.call("ADD", id).run());
        assert_eq!(self.living.insert(ip, id.to_owned()), None, "an address was given twice");
    }

    /// GC with the living in its list.
    fn gc(&self) -> Call {
        let valid: Vec<Value> =
            self.living.values().map(|id| json!({"containerID": id, "ifname": "eth0"})).collect();
        self.host.call(
            "host-local",
            "GC",
            &conf::with(&self.conf, "/cni.dev~1valid-attachments", json!(valid)),
        )
    }

    /// Every file of the folder is a whole lease, and the living have theirs.
    fn is_whole(&self, why: &dyn std::fmt::Debug) {
        let mut found = BTreeMap::new();
        for ip in leases(NET) {
            let text = fs::read_to_string(format!("{NET}/{ip}")).unwrap();
            let id =
                text.strip_suffix("\r\neth0").unwrap_or_else(|| panic!("{ip} says {text:?} after {why:?}"));
            found.insert(ip, id.to_owned());
        }
        assert!(self.living.iter().all(|(ip, id)| found.get(ip) == Some(id)), "{found:?} after {why:?}");
        let others = fs::read_dir(NET).unwrap().flatten().map(|file| file.file_name().into_string().unwrap());
        let strange: Vec<_> = others.filter(|name| !found.contains_key(name) && name != "lock").collect();
        assert!(
            strange.iter().all(|name| name.starts_with("last_reserved_ip.")),
            "{strange:?} after {why:?}"
        );
    }

    /// The folder holds the living and nobody else; the two addresses that are left can be had, each once, and no third.
    fn nothing_is_lost(&self, why: &dyn std::fmt::Debug) {
        self.is_whole(why);
        let (ipv6, ipv4): (Vec<String>, Vec<String>) =
            leases(NET).into_iter().partition(|ip| ip.contains(':'));
        assert_eq!(ipv4, self.living.keys().cloned().collect::<Vec<_>>(), "after {why:?}");
        assert_eq!(ipv6.len(), self.living.len(), "after {why:?}");
        let rest = 5 - self.living.len();
        let fresh: Vec<String> = (0..rest).map(|n| format!("fresh-{n}")).collect();
        let mut given: Vec<String> =
            fresh.iter().map(|id| super::address(&self.call("ADD", id).run())).collect();
        given.retain(|ip| !self.living.contains_key(ip));
        given.sort();
        given.dedup();
        assert_eq!(given.len(), rest, "after {why:?}");
        self.call("ADD", "too-many").run().fails(999).names(&["no IP addresses available"]);
        fresh.iter().for_each(|id| self.call("DEL", id).run().silent());
    }
}

/// Kills `call` before each of its requests in turn, and looks at what is left. `before` makes the same state each time.
fn walk(net: &Net<'_>, before: impl Fn(&Net<'_>), verb: &str, after: impl Fn(&Net<'_>)) {
    before(net);
    let all = requests(&net.call(verb, "x"));
    after(net);
    for (n, request) in all.iter().enumerate() {
        before(net);
        let answer = with(&net.call(verb, "x"), request, Deed::KillAll);
        assert_eq!(answer.status().code(), None, "was not killed: {request:?}\n{answer}");
        net.is_whole(request);
        // What a runtime does next: it removes what it knows of, or has removed all it does not know of.
        match n % 2 {
            0 => net.call("DEL", "x").run().silent(),
            _ => net.gc().run().silent(),
        }
        after(net);
        net.nothing_is_lost(request);
    }
}

// IPM-17
#[test]
fn an_add_that_is_killed_at_any_request_loses_no_address_and_gives_none_twice() {
    lab_with(OURS, |host| {
        let nothing = |net: &Net<'_>| net.call("DEL", "x").run().silent();
        walk(&Net::new(host), nothing, "ADD", nothing);
    });
}

// IPM-17: the index is made, and made larger
#[test]
fn so_does_an_add_that_makes_the_index() {
    lab_with(OURS, |host| {
        let without_index = |net: &Net<'_>| {
            net.call("DEL", "x").run().silent();
            net.host.sh("rm -rf /run/jackfield");
        };
        walk(&Net::new(host), without_index, "ADD", without_index);
    });
}

// IPM-17
#[test]
fn a_del_that_is_killed_at_any_request_can_be_repeated() {
    lab_with(OURS, |host| {
        let with_x = |net: &Net<'_>| drop(net.call("ADD", "x").run().result());
        let nothing = |net: &Net<'_>| net.call("DEL", "x").run().silent();
        walk(&Net::new(host), with_x, "DEL", nothing);
    });
}

// IPM-17
#[test]
fn a_gc_that_is_killed_at_any_request_can_be_repeated() {
    lab_with(OURS, |host| {
        let with_dead = |net: &Net<'_>| {
            net.call("ADD", "x").run().result();
            fs::write(format!("{NET}/10.1.1.200"), "x\r\neth0").unwrap(); // of a range that there once was
        };
        let collect = |net: &Net<'_>| net.gc().run().silent();
        walk(&Net::new(host), with_dead, "GC", collect);
    });
}

/// What the kernel may say to each kind of request that is about files.
fn refusals(kind: &str) -> &'static [Errno] {
    match kind {
        "open" | "openat" => &[Errno::EIO, Errno::ENOSPC, Errno::EROFS, Errno::EMFILE],
        "linkat" | "unlink" | "unlinkat" => &[Errno::EIO, Errno::ENOSPC, Errno::EROFS, Errno::EINTR],
        "write" | "pwrite64" | "fsetxattr" | "ftruncate" => &[Errno::EIO, Errno::ENOSPC],
        "flock" => &[Errno::EIO, Errno::EINTR, Errno::ENOLCK],
        "read" | "pread64" | "getdents64" | "statx" | "fstat" | "newfstatat" | "fgetxattr" | "utimensat"
        | "statfs" | "mkdir" | "access" | "close" | "stat" | "readlink" | "lseek" => &[Errno::EIO],
        _ => &[],
    }
}

/// What strerror(3) says, of glibc and of musl.
fn words(errno: Errno) -> &'static [&'static str] {
    match errno {
        Errno::EIO => &["input/output error", "i/o error"],
        Errno::EROFS => &["read-only file system"],
        Errno::EMFILE => &["too many open files", "no file descriptors"],
        Errno::ENOLCK => &["locks available"],
        other => calls::words(other),
    }
}

/// Has the kernel refuse each request of `call` in turn. Whatever it refuses, the call does all or nothing, and says why.
fn refused_in_turn(verb: &'static str) {
    if !machine::CAN_REFUSE {
        return world::skip("refused requests", "no answer can be set on this processor");
    }
    lab_with(OURS, |host| {
        let net = Net::new(host);
        let del = || net.call("DEL", "x").run().silent();
        let call = || match verb {
            "CHECK" => {
                let added = net.call("ADD", "x").run().result();
                container(net.host, &net.pod, &net.conf, "x").call_with(verb, &added)
            }
            "ADD" => net.call(verb, "x"),
            _ => {
                net.call("ADD", "x").run().result();
                net.call(verb, "x")
            }
        };
        let all = requests(&call());
        del();
        // What comes before it reads its configuration is the loader and Rust's own beginning.
        let kind = |request: &Asked| calls::name(request.point.call);
        let begins = all.iter().position(|it| kind(it) == "read" && it.first == 0).unwrap();
        for (n, request) in all.iter().enumerate().skip(begins) {
            for errno in refusals(&kind(request)) {
                let answer = with(&call(), request, Deed::Refuse(*errno));
                let why = (errno, request, &answer.stdout());
                net.is_whole(&why);
                let left = leases(NET).len() - 2 * net.living.len();
                let is_right = match (verb, answer.succeeded()) {
                    ("ADD", true) | ("CHECK", _) => left == 2,
                    ("ADD", false) | (_, true) => left == 0,
                    // It ends what it can, and the rest when it is repeated.
                    ("GC", false) => {
                        net.call(verb, "x").run().silent();
                        leases(NET).len() == 2 * net.living.len()
                    }
                    _ => left > 0,
                };
                assert!(is_right, "{left} of its leases are there after {why:?}");
                if !answer.succeeded() {
                    let object: Value = serde_json::from_str(&answer.stdout()).unwrap_or_default();
                    let text = format!("{} {}", object["msg"], object["details"]).to_lowercase();
                    let told = words(*errno).iter().any(|words| text.contains(words));
                    assert!(told || kind(request) == "write", "{why:?}");
                }
                del();
                if n % 4 == 0 {
                    net.nothing_is_lost(&why);
                }
            }
        }
        net.nothing_is_lost(&"all of it");
    });
}

// IPM-17
#[test]
fn an_add_that_is_refused_any_request_takes_an_address_or_says_why_not() {
    refused_in_turn("ADD");
}

// IPM-17
#[test]
fn a_del_that_is_refused_any_request_frees_the_address_or_says_why_not() {
    refused_in_turn("DEL");
}

// IPM-17
#[test]
fn a_gc_that_is_refused_any_request_frees_the_address_or_says_why_not() {
    refused_in_turn("GC");
}

#[test]
fn a_check_that_is_refused_any_request_passes_or_says_why_not_and_changes_nothing() {
    refused_in_turn("CHECK");
}

// IPM-17
#[test]
fn a_full_disk_costs_nobody_an_address_and_del_needs_no_room() {
    lab_with(OURS, |host| {
        host.sh("mkdir -p /run/leases && mount -t tmpfs -o size=64k,nr_inodes=40 small /run/leases");
        let net = Net::new(host);
        host.sh("cd /run/leases; n=0; while touch filler-$n 2>/dev/null; do n=$((n+1)); done");
        for _ in 0..3 {
            net.call("ADD", "x").run().fails(999).names(&["write the lease", "pace left on device"]);
            net.is_whole(&"no inode left");
            assert_eq!(leases(NET).len(), 6);
        }
        host.try_sh("cat /dev/zero > /run/leases/filler-0");
        net.call("DEL", "a").run().silent();
        assert_eq!(leases(NET).len(), 4);
        host.sh("rm /run/leases/filler-*");
        net.call("ADD", "a").run().result();
    });
}

// IPM-17
#[test]
fn a_read_only_folder_is_named_and_keeps_its_leases() {
    lab_with(OURS, |host| {
        host.sh("mkdir -p /run/leases && mount -t tmpfs small /run/leases");
        let net = Net::new(host);
        host.sh("mount -o remount,ro /run/leases");
        net.call("ADD", "x").run().fails(999).names(&["write the lease", "ead-only file system"]);
        net.call("DEL", "a").run().fails(999).names(&["remove the lease", "ead-only file system"]);
        net.gc().run().silent();
        host.call("host-local", "STATUS", &net.conf).run().fails(50).names(&["/run/leases/net-a"]);
        assert_eq!(leases(NET).len(), 6);
        host.sh("mount -o remount,rw /run/leases");
        net.nothing_is_lost(&"read-only");
        net.call("DEL", "a").run().silent();
    });
}
