//! A container that fights back. It is root in a user namespace of its own, and does with its end of the pair what it likes,
//! before and while it is taken down. The host's end is not its to touch, so whatever it does, everything of it goes, its
//! neighbour keeps working, and nothing is left.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{OURS, bounded, whole_list};
use crate::lab::attach::Attach;
use crate::lab::call::PATH;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::place::Place;
use crate::lab::snapshot::Snapshot;

/// A shell in namespaces of its own, which does what it is told. `$OTHER` is a process in another network namespace of its.
struct Rebel {
    process: Child,
    said: BufReader<ChildStdout>,
    path: String,
}

impl Rebel {
    fn new() -> Rebel {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "sh"]);
        unshare.env_clear().env("PATH", PATH).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = unshare.stderr(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        let path = format!("/proc/{}/ns/net", process.id());
        let mut rebel = Rebel { process, said, path };
        writeln!(rebel.stdin(), "unshare --net sh -c 'echo $$; exec sleep 100000' &").unwrap();
        let mut other = String::new();
        rebel.said.read_line(&mut other).unwrap();
        rebel.does(&format!("OTHER={other}"));
        rebel
    }

    fn stdin(&mut self) -> &mut ChildStdin {
        self.process.stdin.as_mut().unwrap()
    }

    /// Has a script run to its end, whatever becomes of it.
    fn does(&mut self, script: &str) {
        writeln!(self.stdin(), "{script}\necho done").unwrap();
        let mut line = String::new();
        while line != "done\n" {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "the rebel has ended: {script}");
        }
    }

    /// Has it go on with something until it is told to end.
    fn begins(&mut self, script: &str) {
        self.does(&format!("while :; do {script}\ndone >&2 & FIGHT=$!"));
    }

    fn ends(&mut self) {
        self.does("kill $FIGHT; wait $FIGHT");
    }
}

impl Drop for Rebel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a container does before it is taken down.
const DEEDS: [&str; 9] = [
    "ip link set eth0 down",
    "ip link set eth0 down; ip link set eth0 name mine up",
    "ip link set eth0 netns $OTHER",
    "ip link set eth0 netns $OTHER name mine; nsenter --net --target $OTHER ip link set mine up",
    "ip link add own type bridge; ip link set own up; ip link set eth0 master own",
    "ip link delete eth0",
    "ip link set eth0 down; ip link set eth0 name mine; ip link add eth0 type veth peer name eth1; ip link set eth0 up",
    "ip link delete eth0; ip link add eth0 type dummy",
    "ip link set eth0 address 02:00:00:00:00:01 mtu 1280; ip addr flush dev eth0; ip addr add 10.9.0.1/24 dev eth0; \
     ip link set eth0 alias \"$(printf '%0255d' 7)\"",
];

/// What it goes on with.
const FIGHTS: [&str; 3] = [
    "ip link set eth0 down; ip link set eth0 name mine; ip link set mine up; ip link set mine down; ip link set mine name eth0",
    "ip link set eth0 netns $OTHER; nsenter --net --target $OTHER ip link set eth0 netns 1",
    "ip link add own type bridge; ip link set eth0 master own; ip link set eth0 nomaster; ip link delete own; ip link delete eth0",
];

/// A network whose plugins leave something of every kind, by way of `bridge` or `veth`.
fn network(host: &Host, program: &str) -> Value {
    let mut list = whole_list(host);
    let with_ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    list["plugins"][4] = json!({"type": "portmap", "runtimeConfig": with_ports});
    if program == "veth" {
        list["plugins"][0] = conf::with(&conf::veth(host), "/ipMasq", json!(true));
    } else {
        list["plugins"][0] = conf::with(&conf::bridge(host), "/ipMasq", json!(true));
        list["plugins"][0]["macspoofchk"] = json!(true);
    }
    list
}

/// An attachment through all plugins of the network, called one by one as a runtime does it.
struct Chain<'h> {
    plugins: Vec<Attach<'h>>,
}

impl<'h> Chain<'h> {
    fn new(host: &'h Host, list: &Value, pod: &Pod, netns: &str, container: &str) -> Chain<'h> {
        let plugins = list["plugins"].as_array().unwrap().iter().map(|plugin| {
            let conf =
                conf::with(&conf::with(plugin, "/name", list["name"].clone()), "/cniVersion", json!("1.1.0"));
            let program = plugin["type"].as_str().unwrap();
            host.attach(program, conf, pod).netns(netns).container(container)
        });
        Chain { plugins: plugins.collect() }
    }

    fn call(plugin: &Attach<'_>, verb: &str, prev: &Value) -> Outcome {
        let call = if prev.is_null() { plugin.call(verb) } else { plugin.call_with(verb, prev) };
        bounded(call).run()
    }

    /// The last result, or the first failure.
    fn add(&self) -> Result<Value, Outcome> {
        let mut result = Value::Null;
        for plugin in &self.plugins {
            let answer = Chain::call(plugin, "ADD", &result);
            if !answer.succeeded() {
                return Err(answer);
            }
            result = answer.result();
        }
        Ok(result)
    }

    fn check(&self, result: &Value) -> Vec<Outcome> {
        self.plugins.iter().map(|plugin| Chain::call(plugin, "CHECK", result)).collect()
    }

    fn del(&self, result: &Value) {
        self.plugins.iter().rev().for_each(|plugin| Chain::call(plugin, "DEL", result).silent());
    }

    /// Of all containers of the network this one alone lives.
    fn gc_lets_live(&self, container: &str) {
        let valid = json!([{"containerID": container, "ifname": "eth0"}]);
        for plugin in &self.plugins {
            let conf = conf::with(plugin.configuration(), "/cni.dev~1valid-attachments", valid.clone());
            bounded(plugin.conf(conf).host_call("GC")).run().silent();
        }
    }
}

/// A neighbour that is checked at the end, and the node before the rebel came.
struct Peace<'h> {
    host: &'h Host,
    list: Value,
    pod: Pod,
    result: Value,
    before: Snapshot,
}

impl<'h> Peace<'h> {
    fn new(host: &'h Host, program: &str) -> Peace<'h> {
        let (list, pod) = (network(host, program), host.pod());
        let result = neighbour(host, &list, &pod).add().unwrap_or_else(|failed| panic!("{failed}"));
        Peace { host, list, pod, result, before: host.snapshot() }
    }

    fn rebel(&self, rebel: &Rebel) -> Chain<'h> {
        Chain::new(self.host, &self.list, &self.pod, &rebel.path, "rebel")
    }

    #[track_caller]
    fn is_as_before(&self, after: &str) {
        let mut found = self.before.differences(&self.host.snapshot(), conf::LEFT_BEHIND);
        // The rebel itself, which is to see that nothing goes with its namespace alone.
        let rebels = ["unshare", "nsenter", "sleep", "sh", "ip"].map(|name| format!("process/{name}/"));
        found
            .retain(|line| !rebels.iter().any(|rebel| line.get(2..).is_some_and(|it| it.starts_with(rebel))));
        assert!(found.is_empty(), "after {after}:\n{}", found.join("\n"));
    }

    fn lives_on(self) {
        let neighbour = neighbour(self.host, &self.list, &self.pod);
        neighbour.check(&self.result).iter().for_each(Outcome::silent);
        neighbour.del(&self.result);
    }
}

/// Without a published port: the rebel has that.
fn neighbour<'h>(host: &'h Host, list: &Value, pod: &Pod) -> Chain<'h> {
    let list = conf::with(list, "/plugins/4", json!({"type": "portmap"}));
    Chain::new(host, &list, pod, pod.path(), "neighbour")
}

/// CHECK finds that something is wrong, or that nothing is: it says so, changes nothing and ends.
fn is_honest(answer: &Outcome) {
    if !answer.succeeded() {
        answer.fails_with_one_of(&[4, 999]);
    }
}

fn whatever_it_did_before(program: &str, verbs: &[&str]) {
    lab_with(OURS, |host| {
        let peace = Peace::new(host, program);
        for deed in DEEDS {
            for verb in verbs {
                let mut rebel = Rebel::new();
                let chain = peace.rebel(&rebel);
                let result = chain.add().unwrap_or_else(|failed| panic!("{failed}"));
                rebel.does(deed);
                if *verb == "DEL" {
                    chain.check(&result).iter().for_each(is_honest);
                    chain.del(&result);
                } else {
                    chain.gc_lets_live("neighbour");
                }
                peace.is_as_before(deed);
            }
        }
        peace.lives_on();
    });
}

#[test]
fn a_bridged_container_is_taken_down_whatever_it_did_before() {
    whatever_it_did_before("bridge", &["DEL", "GC"]);
}

#[test]
fn a_routed_container_is_taken_down_whatever_it_did_before() {
    whatever_it_did_before("veth", &["DEL"]);
}

fn while_it_fights(program: &str, rounds: usize) {
    lab_with(OURS, |host| {
        let peace = Peace::new(host, program);
        for fight in FIGHTS {
            for round in 0..rounds {
                let mut rebel = Rebel::new();
                let chain = peace.rebel(&rebel);
                let result = match round {
                    // It has begun before it has anything to fight with.
                    0 => {
                        rebel.begins(fight);
                        chain.add().unwrap_or_else(|failed| {
                            failed.fails_with_one_of(&[4, 999]);
                            Value::Null
                        })
                    }
                    _ => {
                        let result = chain.add().unwrap_or_else(|failed| panic!("{failed}"));
                        rebel.begins(fight);
                        result
                    }
                };
                chain.check(&result).iter().filter(|_| !result.is_null()).for_each(is_honest);
                if round == 2 {
                    chain.gc_lets_live("neighbour")
                } else {
                    chain.del(&result)
                }
                rebel.ends();
                peace.is_as_before(fight);
            }
        }
        peace.lives_on();
    });
}

#[test]
fn a_bridged_container_is_taken_down_while_it_fights() {
    while_it_fights("bridge", 3);
}

#[test]
fn a_routed_container_is_taken_down_while_it_fights() {
    while_it_fights("veth", 2);
}

/// A container chooses the numbers of its links, and so whom they seem to lead to.
#[test]
fn a_pair_that_was_forged_leads_to_nobody_elses_link() {
    lab_with(OURS, |host| {
        host.sh("ip link add br0 type bridge; ip link add veth12345678 type veth peer name other; \
                 ip link set veth12345678 master br0");
        let index = |name: &str| host.link(name).unwrap()["ifindex"].clone();
        let (outer, inner) = (index("veth12345678"), index("other"));
        let mut rebel = Rebel::new();
        rebel.does(&format!("ip link add eth0 index {inner} type veth peer name own index {outer}"));
        let there = Place::at(rebel.path.as_ref());
        let forged = ["eth0", "own"].map(|name| there.link(name).unwrap()["ifindex"].clone());
        assert_eq!(forged, [inner, outer]);
        let before = host.snapshot();
        for conf in [conf::bridge(host), conf::veth(host)] {
            let program = conf["type"].as_str().unwrap().to_owned();
            let attach = Attach::new(host, &program, conf, &rebel.path);
            attach.del().silent();
        }
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

/// Only root of the host could do that. Both ends go all the same, and nothing else of that name.
#[test]
fn a_container_end_that_was_moved_to_the_host_goes_with_its_attachment() {
    lab_with(OURS, |host| {
        for (program, conf) in conf::interfaces_in_full(host) {
            for verb in ["DEL", "GC"] {
                let before = host.snapshot();
                let pod = host.pod();
                let web = host.attach(program, conf.clone(), &pod);
                let result = web.add().result();
                pod.sh("ip link set eth0 netns 1");
                host.sh("ip link set eth0 up");
                web.check(&result).fails(999).names(&["Interface name eth0 not found"]);
                // A second one of this container is another attachment.
                web.add().fails(999).names(&["already exists"]);
                match verb {
                    "DEL" => web.del_with(&result).silent(),
                    _ => {
                        let nobody = conf::with(&conf, "/cni.dev~1valid-attachments", json!([]));
                        web.conf(nobody).host_call("GC").run().silent();
                    }
                }
                pod.delete();
                before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
            }
        }
    });
}
