//! Others on the same node: neighbours that stay, and somebody who changes links, routes and rules of his own all the time.

use std::io::Read;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::member::Member;
use crate::lab::call::{Call, Running};
use crate::lab::host::{Host, Pod};
use crate::lab::place::Place;
use crate::lab::snapshot::Snapshot;
use crate::lab::witness::{self, HOST, OUTSIDE};

/// Every change makes a dump that somebody else reads just now a torn one, or a change of rules one for a generation that is
/// gone. One of the links is a port of the very bridge.
const BUSY: &str = "
rounds=0
while [ ! -e /run/lab/enough ]; do
    ip -batch - <<END || exit 1
link add stranger1 type veth peer name stranger2
link set stranger2 master br0 up
link set stranger1 up
address add 198.51.100.1/24 dev stranger1
route add 203.0.113.0/24 dev stranger1
rule add from 198.51.100.9 lookup 77 pref 5000
END
    nft -f - <<END || exit 1
add table inet stranger
add chain inet stranger c { type filter hook forward priority 0; }
add rule inet stranger c ip saddr 192.0.2.7 counter
END
    iptables -w -A FORWARD -s 198.51.100.7 -j ACCEPT || exit 1
    iptables -w -D FORWARD -s 198.51.100.7 -j ACCEPT || exit 1
    nft delete table inet stranger || exit 1
    ip -batch - <<END || exit 1
rule del from 198.51.100.9 lookup 77 pref 5000
link del stranger1
END
    rounds=$((rounds + 1))
done
echo $rounds";

/// What a stranger has that stays.
const STAYS: &str = "
ip link add stays type veth peer name stays2
ip link set stays up
ip address add 198.18.0.1/24 dev stays
ip route add 198.19.0.0/24 dev stays
ip rule add from 198.18.0.9 lookup 78 pref 5001
iptables -P FORWARD DROP
ip6tables -P FORWARD DROP
iptables -A FORWARD -s 198.51.100.8 -j ACCEPT
nft 'table inet stays { set s { type ipv4_addr; elements = { 192.0.2.9 }; }
    chain c { type filter hook forward priority 0; ip saddr @s counter; }; }'";

/// Everybody who is there before the burst and after it.
pub struct Strangers {
    pub outside: Pod,
    neighbours: Vec<(Pod, Member, Value)>,
    pings: Vec<(String, Child)>,
    busy: Option<Running>,
    seen: Vec<Snapshot>,
}

/// The neighbours' ports.
const PORT: u16 = 10_000;

impl Strangers {
    /// Lets them come.
    pub fn come(host: &Host) -> Strangers {
        host.sh(STAYS);
        let outside = witness::outside(host, &[]);
        let neighbour = |number: u16| {
            let pod = host.pod_named(&format!("neighbour{number}"));
            let member = if number == 0 {
                Member::numbered(host, &pod, 0)
            } else {
                Member::whole(host, &pod, PORT + number)
            };
            let result = member.add().unwrap_or_else(|answer| panic!("{answer}"));
            (pod, member, result)
        };
        let neighbours: Vec<_> = (0..3).map(neighbour).collect();
        let all = Strangers { outside, neighbours, pings: Vec::new(), busy: None, seen: Vec::new() };
        all.are_well();
        Strangers { seen: all.looks(), ..all }
    }

    /// From now on they are busy.
    pub fn begin(&mut self) {
        let [plain, whole, _] = self.neighbours.as_slice() else { panic!("three") };
        let ways =
            [(&plain.0, "10.9.0.1"), (&plain.0, "fd00:9::1"), (&whole.0, OUTSIDE[0]), (&whole.0, OUTSIDE[1])];
        self.pings = ways.map(|(from, to)| (format!("{from:?} to {to}"), ping(from, to))).into();
        self.busy = Some(Call::of("/bin/sh", &["-c", BUSY]).start());
    }

    /// Whose attachments no GC may take away.
    pub fn ids(&self) -> Vec<String> {
        self.neighbours.iter().map(|(_, member, _)| member.id.clone()).collect()
    }

    /// They have what they had, and everybody who may reach them reaches them.
    pub fn are_well(&self) {
        for (pod, member, result) in &self.neighbours {
            member.check(result);
            assert!(pod.pings("10.9.0.1") && pod.pings("fd00:9::1"));
        }
        let _server = self.neighbours[1].0.listens("tcp", 80, "whole");
        for host in [HOST[0].to_owned(), format!("[{}]", HOST[1])] {
            let said = self.outside.asks("tcp", &format!("{host}:{}", PORT + 1));
            assert!(said.is_some_and(|said| said.starts_with("whole ")), "the neighbour's port at {host}");
        }
    }

    /// The busy one ends; nothing has failed to him, nobody has lost a packet, and everything is as it was.
    pub fn were_left_alone(&mut self, host: &Host) {
        host.sh("touch /run/lab/enough");
        let answer = self.busy.take().unwrap().finish();
        assert!(answer.succeeded(), "the stranger fails\n{answer}");
        let rounds: u32 = answer.stdout().trim().parse().unwrap();
        assert!(rounds > 1, "the stranger was not busy");
        for (way, ping) in std::mem::take(&mut self.pings) {
            was_answered(&way, ping);
        }
        for (before, after) in self.seen.iter().zip(self.looks()) {
            before.same_as(&after, &[]);
        }
        self.are_well();
    }

    fn looks(&self) -> Vec<Snapshot> {
        self.neighbours.iter().map(|(pod, ..)| pod.snapshot()).collect()
    }
}

fn ping(from: &Place, to: &str) -> Child {
    let mut ping = from.command("ping");
    ping.args(["-n", "-q", "-i", "0.05", to]).stdin(Stdio::null()).stdout(Stdio::piped());
    ping.spawn().expect("ping(8)")
}

/// Ends a ping: the very last answer may have been under way, no other is missing.
fn was_answered(way: &str, mut ping: Child) {
    let ended = std::process::Command::new("kill").args(["-INT", &ping.id().to_string()]).status();
    assert!(ended.is_ok_and(|ended| ended.success()));
    let mut said = String::new();
    ping.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    ping.wait().unwrap();
    let numbers = said.lines().find(|line| line.contains("packets transmitted")).unwrap_or_default();
    let counts: Vec<u32> = numbers.split(' ').filter_map(|word| word.parse().ok()).take(2).collect();
    let [sent, answered] = counts.as_slice() else { panic!("{way}: {said}") };
    assert!(answered + 1 >= *sent && *sent > 0, "{way}: {numbers}");
}
