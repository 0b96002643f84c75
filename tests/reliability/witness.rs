//! A node and its pods, looked at thousands of times: the witnesses of the lab's snapshot, but they stay, and are asked again.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::snapshot::Snapshot;

/// What ip(8) is asked, and the kind of each answer. It speaks of both families in one table of routes.
const IP: &[(&str, &str)] = &[
    ("link", "link show"),
    ("addr", "addr show"),
    ("route", "route show table all"),
    ("rule4", "rule show"),
    ("neigh", "neigh show nud permanent"),
];
const IP6: &[(&str, &str)] = &[("rule6", "rule show")];
const TC: &[(&str, &str)] = &[("qdisc", "qdisc show")];
const BRIDGE: &[(&str, &str)] = &[("vlan", "vlan show")];

/// A program that reads commands, one a line, and answers each with one line of JSON.
struct Stays {
    asked: &'static [(&'static str, &'static str)],
    _child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Stays {
    fn new(place: &Place, program: &[&str], asked: &'static [(&'static str, &'static str)]) -> Stays {
        let mut command = place.command("stdbuf");
        command.arg("-oL").args(program).args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Whoever waits for all children of a thread does not wait for those of another.
        let started = std::thread::scope(|scope| scope.spawn(move || command.spawn()).join());
        let mut child = started.expect("a thread").expect("a witness");
        let commands = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut stays = Stays { asked, _child: child, commands, answers };
        // Until it answers, the process may still be `stdbuf` or `nsenter`, and it is itself among the processes that are looked at.
        stays.tell();
        stays
    }

    fn tell(&mut self) -> Vec<(&'static str, String)> {
        let mut told = Vec::new();
        let questions: String = self.asked.iter().map(|(_, question)| format!("{question}\n")).collect();
        self.commands.write_all(questions.as_bytes()).expect("the witness listens");
        for (kind, question) in self.asked {
            let mut line = String::new();
            self.answers.read_line(&mut line).expect("the witness answers");
            assert!(line.starts_with('['), "`{question}` is answered by {line:?}");
            told.push((*kind, line));
        }
        told
    }
}

/// A place with its witnesses.
struct Watched {
    name: String,
    witnesses: Vec<Stays>,
}

impl Watched {
    fn new(name: &str, place: &Place) -> Watched {
        let witnesses = vec![
            Stays::new(place, &["ip", "-j", "-d"], IP),
            Stays::new(place, &["ip", "-j", "-6"], IP6),
            Stays::new(place, &["tc", "-j"], TC),
            Stays::new(place, &["bridge", "-j"], BRIDGE),
        ];
        Watched { name: name.to_owned(), witnesses }
    }

    fn tell(&mut self) -> Snapshot {
        let told: Vec<_> = self.witnesses.iter_mut().flat_map(Stays::tell).collect();
        Snapshot::told(told.iter().map(|(kind, body)| (*kind, body.as_str())))
    }
}

/// The host and its pods under watch.
pub struct Node<'h> {
    host: &'h Host,
    watched: Watched,
    pods: Vec<(&'h Pod, Watched)>,
}

impl<'h> Node<'h> {
    pub fn new(host: &'h Host, pods: &[&'h Pod]) -> Node<'h> {
        let pods = pods.iter().map(|pod| (*pod, Watched::new(pod.name(), pod))).collect();
        Node { host, watched: Watched::new("host", host), pods }
    }

    /// Everything that can be seen of the host; and of the pods, if they are of interest. Settings cost more than all the rest.
    pub fn look(&mut self, into_pods: bool, at_settings: bool) -> Snapshot {
        let rules = self.host.sh("nft -j list ruleset");
        let legacy =
            if is_used("ip_tables_names") { self.host.sh("iptables-legacy-save") } else { String::new() };
        let legacy6 =
            if is_used("ip6_tables_names") { self.host.sh("ip6tables-legacy-save") } else { String::new() };
        let mut sysctls = String::new();
        if at_settings {
            read_sysctls(Path::new("/proc/sys/net"), &mut sysctls);
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let more =
            [("nft", rules), ("xt4", legacy), ("xt6", legacy6), ("sysctl", sysctls), ("mount", mounts)];
        let mut all = self.watched.tell();
        all = all.and(Snapshot::told(more.iter().map(|(kind, body)| (*kind, body.as_str()))));
        all = all.and(Snapshot::of_machine());
        for (pod, watched) in self.pods.iter_mut().filter(|_| into_pods) {
            let mut told = watched.tell();
            if at_settings {
                let sysctls = pod.sh("grep -rs . /proc/sys/net; :");
                told = told.and(Snapshot::told([("sysctl", sysctls.as_str())].into_iter()));
            }
            all = all.and(told.in_pod(&watched.name));
        }
        all.only(is_steady)
    }
}

/// Whether iptables-legacy has ever had a table here.
fn is_used(names: &str) -> bool {
    std::fs::read_to_string(format!("/proc/net/{names}")).is_ok_and(|names| !names.trim().is_empty())
}

fn read_sysctls(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_sysctls(&path, text);
        } else if let Ok(value) = std::fs::read_to_string(&path) {
            for line in value.lines() {
                text.push_str(&format!("{}:{line}\n", path.display()));
            }
        }
    }
}

/// Left out is what tells which address was given last, and the index of a store, which is a cache.
fn is_steady(key: &str) -> bool {
    let is_mark = key.contains("/last_reserved_ip.") || key.starts_with("file/run/jackfield/leases/");
    !is_mark
}
