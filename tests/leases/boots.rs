//! A reboot frees what nobody freed, and nothing else does.

use super::{address, container, leases, network};
use crate::lab::host::{Host, Pod};
use crate::lab::world::{Need, kernel};
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("boots")];

/// From here on the machine says that this is its boot number `n`.
pub fn boot(host: &Host, n: u32) {
    let id = format!("00000000-0000-0000-0000-{n:012}");
    host.sh(&format!(
        "echo {id} > /run/lab/boot-{n}; mount --bind /run/lab/boot-{n} /proc/sys/kernel/random/boot_id"
    ));
}

/// From here on this is machine `n`; 0 has no number.
pub fn machine(host: &Host, n: u32) {
    let id = if n == 0 { "uninitialized".into() } else { format!("{n:032}") };
    host.sh(&format!("mount -t tmpfs etc /etc; echo {id} > /etc/machine-id"));
}

/// A folder that could outlive a boot, with extended attributes: not on a tmpfs, whose files say little before Linux 6.6.
pub fn lasting_folder(host: &Host) -> &'static str {
    let overlay = "mkdir -p /run/lab/lower /run/lab/upper/up /run/lab/upper/work
        mount -t overlay leases /var/lib/cni \
            -o lowerdir=/run/lab/lower,upperdir=/run/lab/upper/up,workdir=/run/lab/upper/work,userxattr";
    let disk = "modprobe -a loop ext4; truncate -s 16M /run/lab/disk; mkfs.ext4 -q /run/lab/disk
        mount -o loop /run/lab/disk /var/lib/cni";
    host.sh(&format!("mkdir -p /var/lib/cni; {}", if kernel() >= (6, 6) { overlay } else { disk }));
    "/var/lib/cni"
}

/// Machine 1 in its boot 1, a folder that could outlive it, and a pod.
fn on_machine_one(test: impl FnOnce(&Host, &Pod, &'static str)) {
    lab_with(OURS, |host| {
        machine(host, 1);
        boot(host, 1);
        test(host, &host.pod(), lasting_folder(host));
    });
}

// IPM-17
#[test]
fn leases_of_an_earlier_boot_are_free_without_anybodys_help() {
    on_machine_one(|host, pod, folder| {
        let conf = network(host, folder, "10.1.1.0/29");
        let ids = ["c1", "c2", "c3", "c4", "c5"];
        let before: Vec<_> = ids.map(|id| container(host, pod, &conf, id).add().result()).into();
        container(host, pod, &conf, "late").add().fails(999).names(&["no IP addresses available"]);
        host.call("host-local", "STATUS", &conf).run().fails(50);
        boot(host, 2);
        host.call("host-local", "STATUS", &conf).run().silent();
        for (id, result) in ids.iter().zip(&before) {
            let old = container(host, pod, &conf, id);
            old.check(result).fails(999).names(&["Failed to find address", id]);
        }
        for n in 1..=5 {
            container(host, pod, &conf, &format!("new-{n}")).add().result();
        }
        // A late DEL for a container of the earlier boot takes nothing from the new ones.
        for id in ids {
            container(host, pod, &conf, id).del().silent();
        }
        assert_eq!(leases(&format!("{folder}/net-a")).len(), 5);
        container(host, pod, &conf, "late").add().fails(999).names(&["no IP addresses available"]);
        for n in 1..=5 {
            container(host, pod, &conf, &format!("new-{n}")).del().silent();
        }
        assert!(leases(&format!("{folder}/net-a")).is_empty());
    });
}

// IPM-10: podman starts a container again under its old ID
#[test]
fn a_container_that_comes_back_after_a_reboot_is_no_second_add() {
    on_machine_one(|host, pod, folder| {
        let conf = network(host, folder, "10.1.1.0/29");
        let web = container(host, pod, &conf, "web");
        let old = web.add().result();
        boot(host, 2);
        let new = web.add().result();
        web.check(&new).silent();
        assert!(old == new || !web.check(&old).succeeded());
        web.add().fails(999).names(&["duplicate allocation is not allowed"]);
        web.del().silent();
        assert!(leases(&format!("{folder}/net-a")).is_empty());
    });
}

// GC-01, IPM-17
#[test]
fn gc_removes_what_an_earlier_boot_left_and_what_is_rubbish() {
    on_machine_one(|host, pod, folder| {
        let conf = network(host, folder, "10.1.1.0/29");
        ["c1", "c2"].iter().for_each(|id| drop(container(host, pod, &conf, id).add().result()));
        boot(host, 2);
        container(host, pod, &conf, "c3").add().result();
        std::fs::write(format!("{folder}/net-a/10.1.1.6"), "").unwrap();
        let gc = |valid: serde_json::Value| {
            host.call("host-local", "GC", &conf::with(&conf, "/cni.dev~1valid-attachments", valid))
                .run()
                .silent();
        };
        gc(serde_json::json!([{"containerID": "c3", "ifname": "eth0"}]));
        assert_eq!(leases(&format!("{folder}/net-a")), ["10.1.1.4"]);
    });
}

// IPM-17: a folder on a shared file system
#[test]
fn leases_of_another_machine_are_never_old() {
    on_machine_one(|host, pod, folder| {
        let conf = network(host, folder, "10.1.1.0/30");
        let there = container(host, pod, &conf, "there");
        assert_eq!(address(&there.add()), "10.1.1.2");
        for other in [2, 0] {
            machine(host, other);
            boot(host, 20);
            let here = container(host, pod, &conf, "here");
            here.add().fails(999).names(&["no IP addresses available"]);
            host.call("host-local", "STATUS", &conf).run().fails(50);
        }
        machine(host, 1);
        boot(host, 2);
        assert_eq!(address(&container(host, pod, &conf, "back").add()), "10.1.1.2");
    });
}

/// A lease as the Go plugin writes it, at this time (date(1)).
fn go_lease(host: &Host, folder: &str, ip: &str, time: &str) {
    host.sh(&format!(
        "mkdir -p {folder}/net-a && printf 'go-{ip}\\r\\neth0' > {folder}/net-a/{ip} && touch -d '{time}' {folder}/net-a/{ip}"
    ));
}

// IPM-17
#[test]
fn a_lease_of_the_go_plugin_is_old_only_if_it_is_older_than_the_boot_by_every_clock() {
    lab_with(OURS, |host| {
        let folder = lasting_folder(host);
        let pod = host.pod();
        let conf = network(host, folder, "10.1.1.0/29");
        let up: f64 = host.sh("cut -d' ' -f1 /proc/uptime").trim().parse().unwrap();
        let in_this_boot = format!("{} seconds ago", up as u64 / 2);
        go_lease(host, folder, "10.1.1.2", "2001-01-01");
        go_lease(host, folder, "10.1.1.3", &in_this_boot); // before /run was born, as after a step of the clock
        go_lease(host, folder, "10.1.1.4", "now");
        let born = host.sh("stat -c %W /run").trim() != "0";
        let fresh: Vec<_> = (1..)
            .map(|n| container(host, &pod, &conf, &format!("c{n}")).add())
            .take_while(|add| add.succeeded())
            .collect();
        // A kernel that does not know when /run was born (before 6.0) cannot tell.
        assert_eq!(fresh.len(), if born { 3 } else { 2 });
        for ip in ["10.1.1.3", "10.1.1.4"] {
            assert_eq!(
                std::fs::read_to_string(format!("{folder}/net-a/{ip}")).unwrap(),
                format!("go-{ip}\r\neth0")
            );
        }
    });
}

// IPM-17: what lies on a tmpfs cannot be of an earlier boot, whatever its time says
#[test]
fn file_times_count_only_where_files_outlive_a_boot() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = network(host, "/run/leases", "10.1.1.0/30");
        go_lease(host, "/run/leases", "10.1.1.2", "2001-01-01");
        container(host, &pod, &conf, "c1").add().fails(999);
        // Nor where /run may be older than the boot.
        let folder = lasting_folder(host);
        go_lease(host, folder, "10.1.1.2", "2001-01-01");
        host.sh(&format!("mkdir {folder}/lab; cp -a /run/lab/bin {folder}/lab; mount --bind {folder} /run"));
        let conf = network(host, folder, "10.1.1.0/30");
        container(host, &pod, &conf, "c1").add().fails(999);
    });
}

// IPM-17: the mark is not the Go plugin's business
#[test]
fn a_file_system_without_attributes_has_leases_all_the_same() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let conf = network(host, "/run/leases", "10.1.1.0/29");
        let web = container(host, &pod, &conf, "web");
        let inject = "inject=fsetxattr:error=EOPNOTSUPP";
        let result =
            web.call("ADD").under(&["strace", "-qq", "-o", "/run/lab/trace", "-e", inject]).run().result();
        assert!(host.sh("cat /run/lab/trace").contains("INJECTED"));
        web.check(&result).silent();
        boot(host, 2);
        web.add().fails(999).names(&["duplicate allocation is not allowed"]);
        web.del().silent();
        assert!(leases("/run/leases/net-a").is_empty());
    });
}
