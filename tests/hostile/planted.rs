//! Something else in the place of a file of ours.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::{OURS, PRECIOUS, bounded, cnitool, lay_out_what_is_precious, what_is_precious_is_untouched};
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;

/// Where files of ours are.
const FOLDERS: [&str; 4] = ["/run/jackfield", "/run/leases", "/run/cni", "/var/lib/cni"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A symbolic link to what is precious.
    Link,
    /// One to what is not there.
    Dangling,
    /// Another name of what is precious.
    HardLink,
    /// A pipe that nobody writes to.
    Pipe,
}

use Kind::{Dangling, HardLink, Link, Pipe};

impl Kind {
    fn is_planted(self, host: &Host, at: &Path) {
        let _ = fs::remove_file(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let precious = PRECIOUS[usize::from(at.starts_with("/var/lib"))];
        match self {
            Link => symlink(precious, at).unwrap(),
            Dangling => symlink("/run/nowhere", at).unwrap(),
            HardLink => fs::hard_link(precious, at).unwrap(),
            Pipe => drop(host.sh(&format!("mkfifo {}", at.display()))),
        }
    }
}

/// The files that a whole ADD leaves, and the one that is there only while it writes.
fn files_of_ours(host: &Host, pod: &Pod) -> Vec<PathBuf> {
    cnitool(host, "add", pod).run().result();
    let found = host.sh(&format!("find {} -type f", FOLDERS.join(" ")));
    assert!(cnitool(host, "del", pod).run().succeeded());
    let mut files: Vec<PathBuf> = found.lines().map(PathBuf::from).collect();
    let name =
        files.iter().find(|file| file.starts_with("/var/lib/cni/results")).unwrap().file_name().unwrap();
    files.push(Path::new("/var/lib/cni/results").join(format!(".{}.new", name.display())));
    // After DEL: the addresses that rest.
    files.extend(host.sh("find /run/jackfield/leases -type f").lines().map(PathBuf::from));
    files.sort();
    files.dedup();
    assert!(files.len() >= 14, "{files:?}");
    files
}

/// In the place of every file at once. An ADD that refuses one names it; without that one the next ADD shows the next.
#[test]
fn add_and_del_follow_and_wait_for_nothing_that_lies_in_the_place_of_a_file_of_ours() {
    lab_with(OURS, |host| {
        for kind in [Link, Dangling, HardLink, Pipe] {
            let pod = host.pod();
            lay_out_what_is_precious();
            let files = files_of_ours(host, &pod);
            files.iter().for_each(|file| kind.is_planted(host, file));
            for refused in 0.. {
                let add = cnitool(host, "add", &pod).run();
                what_is_precious_is_untouched(&format!("{kind:?}: {add}"));
                if add.succeeded() {
                    break;
                }
                let said = add.stderr();
                let named = files.iter().find(|file| said.contains(file.to_str().unwrap()));
                let named = named.unwrap_or_else(|| panic!("{kind:?}: an error names what it met\n{add}"));
                let why = ["symbolic link", "no regular file", "another name", "file exists"];
                assert!(why.iter().any(|why| said.contains(why)), "{kind:?}: {add}");
                // The DEL behind a failed ADD may have taken it away.
                let _ = fs::remove_file(named);
                assert!(refused < files.len() && pod.links().is_empty(), "{kind:?}: {add}");
            }
            let del = cnitool(host, "del", &pod).run();
            assert!(del.succeeded() && pod.links().is_empty(), "{kind:?}: {del}");
            what_is_precious_is_untouched(&format!("DEL beside {kind:?}"));
            files.iter().for_each(|file| drop(fs::remove_file(file)));
        }
    });
}

/// A record that somebody has replaced says nothing; what it was about is found elsewhere.
#[test]
fn whoever_looks_at_records_that_were_replaced_ends_and_touches_nothing() {
    lab_with(OURS, |host| {
        let tool = |name: &str, words: &[&str]| {
            bounded(Call::of(host.program(name), words))
                .env("NETCONFPATH", "/run/conf")
                .env("CNI_PATH", host.bin())
        };
        for kind in [Link, HardLink, Pipe] {
            let pod = host.pod();
            lay_out_what_is_precious();
            cnitool(host, "add", &pod).run().result();
            let found = host.sh(&format!("find {} -type f ! -name lock", FOLDERS.join(" ")));
            found.lines().for_each(|file| kind.is_planted(host, Path::new(file)));
            kind.is_planted(host, Path::new("/run/jackfield/runs/run-00000000"));
            for (name, words) in [
                ("cnitool", &["list"][..]),
                ("cnitool", &["restore"]),
                ("cnitool", &["check", "net-a", pod.path()]),
                ("cnitool", &["gc", "net-a"]),
                ("portmap", &["--list"]),
                ("host-local", &["--list", "/run/leases/net-a"]),
                ("host-local", &["--verify", "/run/leases/net-a"]),
                ("netns", &["run", "true"]),
                ("cnitool", &["purge"]),
                ("cnitool", &["del", "net-a", pod.path()]),
            ] {
                let told = tool(name, words).run();
                assert!(told.status().code().is_some_and(|code| code < 100), "{kind:?}: it hung\n{told}");
                what_is_precious_is_untouched(&format!("{kind:?}: {told}"));
            }
            for plugin in ["bridge", "portmap", "firewall", "bandwidth", "tuning"] {
                let conf = serde_json::json!({"cniVersion": "1.1.0", "name": "net-a", "type": plugin, "bridge": "br0",
                    "ipam": crate::lab::conf::host_local(), "ipMasq": true});
                let conf = if plugin == "bridge" { conf } else { crate::lab::conf::without(&conf, "ipam") };
                let del = bounded(host.attach(plugin, conf, &pod).container("x").call("DEL")).run();
                assert!(del.status().code().is_some_and(|code| code < 100), "{kind:?}: it hung\n{del}");
            }
            what_is_precious_is_untouched(&format!("{kind:?}"));
            host.sh(&format!("find {} ! -type d -delete; ip link del br0", FOLDERS.join(" ")));
            host.try_sh("nft flush ruleset");
            pod.delete();
        }
    });
}

/// What a run has written down says which programs to execute: nobody else's word counts.
#[test]
fn a_run_that_was_not_written_down_by_us_is_not_cleaned_up_after() {
    lab_with(OURS, |host| {
        host.sh("mkdir -p /run/jackfield/runs /run/evil/conf && netns=/run/netns/run-00000001 && ip netns add run-00000001");
        let record = serde_json::json!({"networks": ["net"], "configurations": b"/run/evil/conf", "plugins": b"/run/evil"});
        let list = serde_json::json!({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "evil"}]});
        fs::write("/run/evil/conf/net.conflist", list.to_string()).unwrap();
        fs::write("/run/evil/evil", "#!/bin/sh\necho done >/run/evil/done\n").unwrap();
        host.sh("chmod 755 /run/evil/evil");
        fs::write("/run/evil/record", record.to_string()).unwrap();
        let at = "/run/jackfield/runs/run-00000001";
        let run = || {
            let ran = bounded(Call::of(host.program("netns"), &["run", "true"])).run();
            assert!(ran.succeeded(), "{ran}");
            Path::new("/run/evil/done").exists()
        };
        for script in [
            format!("ln -s /run/evil/record {at}"),
            format!("ln /run/evil/record {at}"),
            format!("cp /run/evil/record {at}; chmod 666 {at}"),
        ] {
            host.sh(&script);
            assert!(!run(), "{script}: a stranger's program was executed");
            host.sh(&format!("rm {at}"));
        }
        host.sh(&format!("cp /run/evil/record {at}; chmod 600 {at}"));
        assert!(run(), "the record itself is one that would be acted upon");
    });
}

/// A name is made anew or not at all, whatever else has it.
#[test]
fn a_namespace_gets_no_name_that_leads_elsewhere() {
    lab_with(OURS, |host| {
        lay_out_what_is_precious();
        let netns = |words: &[&str]| bounded(Call::of(host.program("netns"), words)).run();
        // From here on the folder of the names is a mount.
        assert!(netns(&["add", "living"]).succeeded());
        let links = [
            ("leads", "/run/precious"),
            ("dangles", "/run/nowhere"),
            ("lives", "/run/netns/living"),
            ("itself", "itself"),
        ];
        for (name, to) in links {
            symlink(to, Path::new("/run/netns").join(name)).unwrap();
        }
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        let living = fs::metadata("/run/netns/living").unwrap().ino();
        for (name, to) in links {
            for words in [&["add", name][..], &["add", "--with-loopback", name], &["attach", name, "1"]] {
                let refused = netns(words);
                assert_eq!(refused.status().code(), Some(1), "{refused}");
                let said = format!("Cannot create namespace file \"/run/netns/{name}\": File exists");
                assert!(refused.stderr().contains(&said), "{refused}");
                assert_eq!(fs::read_link(format!("/run/netns/{name}")).unwrap(), Path::new(to), "{words:?}");
                what_is_precious_is_untouched(&words.join(" "));
                assert_eq!(mounts(), before, "{words:?} has mounted something");
            }
        }
        assert_eq!(fs::metadata("/run/netns/living").unwrap().ino(), living);
    });
}
