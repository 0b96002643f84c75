//! The ways that are asked: who sends what to whom, and how what comes of it is told in one cell.

use std::net::{IpAddr, SocketAddr};

use crate::lab::prober::{PORT, Question};
use crate::lab::witness;

/// A row.
pub struct Way {
    from: &'static str,
    to: &'static str,
    /// Who asks whom, by which address.
    pub kind: Kind,
}

/// What is sent.
pub enum Kind {
    /// By all protocols, to an address of each family.
    All(Who, [&'static str; 2]),
    /// By UDP to a port, and the answer is whom the other one has seen.
    Seen(Who, [&'static str; 2], u16),
    /// To the published port, by TCP and UDP.
    Published(Who, [&'static str; 2]),
    /// By all protocols from an address that nobody was given.
    Foreign([&'static str; 2]),
    /// By all protocols in frames from a MAC address that nobody was given.
    Mac([&'static str; 2]),
    /// Packets from addresses that are another's, in frames from one's own MAC address; and whoever they are for takes that
    /// for the other's.
    Claims([&'static str; 2], Who, [&'static str; 2]),
    /// A router advertisement, after which the other one has another way out.
    Router,
}

/// Who can ask, by his place among the probers.
#[derive(Clone, Copy)]
pub enum Who {
    Host = 0,
    Container = 1,
    Neighbour = 2,
    Other = 3,
    Outside = 4,
}

impl Who {
    /// What is his alone.
    fn addresses(self) -> [&'static str; 2] {
        match self {
            Who::Host => witness::HOST,
            Who::Container => CONTAINER,
            Who::Neighbour => NEIGHBOUR,
            Who::Other => OTHER,
            Who::Outside => witness::OUTSIDE,
        }
    }
}

const CONTAINER: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
pub const GATEWAYS: [&str; 2] = ["10.9.0.1", "fd00:9::1"];
pub const NEIGHBOUR: [&str; 2] = ["10.9.0.3", "fd00:9::3"];
const OTHER: [&str; 2] = ["10.8.0.2", "fd00:8::2"];
pub const SECOND: [&str; 2] = ["192.0.2.9", "fd00:99::9"];
pub const FOREIGN: [&str; 2] = ["10.9.0.77", "fd00:9::77"];
pub const FOREIGN_MAC: &str = "02:66:00:00:00:01";
pub const PUBLIC: u16 = 8081;

const fn way(from: &'static str, to: &'static str, kind: Kind) -> Way {
    Way { from, to, kind }
}

/// All rows.
pub const WAYS: [Way; 26] = [
    way("container", "its network", Kind::All(Who::Container, NEIGHBOUR)),
    way("container", "another network", Kind::All(Who::Container, OTHER)),
    way("container", "its gateway", Kind::All(Who::Container, GATEWAYS)),
    way("container", "host", Kind::All(Who::Container, witness::HOST)),
    way("container", "outside", Kind::All(Who::Container, witness::OUTSIDE)),
    way("container", "outside, seen as", Kind::Seen(Who::Container, witness::OUTSIDE, PORT)),
    way("host", "container", Kind::All(Who::Host, CONTAINER)),
    way("outside", "container", Kind::All(Who::Outside, CONTAINER)),
    way("outside", "port of the host", Kind::Published(Who::Outside, witness::HOST)),
    way("outside", "port of the host, seen as", Kind::Seen(Who::Outside, witness::HOST, PUBLIC)),
    way("outside", "port of its second address", Kind::Published(Who::Outside, SECOND)),
    way("host", "its own port", Kind::Published(Who::Host, witness::HOST)),
    way("host", "its port at 127.0.0.1, ::1", Kind::Published(Who::Host, ["127.0.0.1", "::1"])),
    way("its network", "port of the host", Kind::Published(Who::Neighbour, witness::HOST)),
    way("its network", "port of the host, seen as", Kind::Seen(Who::Neighbour, witness::HOST, PUBLIC)),
    way("container itself", "port of the host", Kind::Published(Who::Container, witness::HOST)),
    way("another network", "port of the host", Kind::Published(Who::Other, witness::HOST)),
    way("foreign address", "its network", Kind::Foreign(NEIGHBOUR)),
    way("foreign address", "another network", Kind::Foreign(OTHER)),
    way("foreign address", "outside", Kind::Foreign(witness::OUTSIDE)),
    way("foreign MAC", "its network", Kind::Mac(NEIGHBOUR)),
    way("foreign MAC", "its gateway", Kind::Mac(GATEWAYS)),
    way("foreign MAC", "outside", Kind::Mac(witness::OUTSIDE)),
    way("container as its gateway", "its network", Kind::Claims(GATEWAYS, Who::Neighbour, NEIGHBOUR)),
    way("container as its neighbour", "its gateway", Kind::Claims(NEIGHBOUR, Who::Host, GATEWAYS)),
    way("router advertisement", "its network", Kind::Router),
];

impl Way {
    pub fn name(&self) -> String {
        format!("{} → {}", self.from, self.to)
    }

    pub fn questions(&self) -> Vec<(usize, Question)> {
        let (who, to, from, port, protocols): (Who, _, _, _, &[&'static str]) = match self.kind {
            Kind::All(who, to) => (who, to, None, PORT, &["icmp", "tcp", "udp"]),
            Kind::Seen(who, to, port) => (who, to, None, port, &["udp"]),
            Kind::Published(who, to) => (who, to, None, PUBLIC, &["tcp", "udp"]),
            Kind::Foreign(to) => (Who::Container, to, Some(FOREIGN), PORT, &["icmp", "tcp", "udp"]),
            Kind::Mac(to) => (Who::Container, to, None, PORT, &["icmp", "tcp", "udp"]),
            Kind::Claims(claimed, _, to) => (Who::Container, to, Some(claimed), PORT, &["udp"]),
            Kind::Router => return Vec::new(),
        };
        let one = |family: usize, protocol: &&'static str| {
            let address = |text: &str| text.parse::<IpAddr>().unwrap();
            let from = from.map(|from| address(from[family]));
            (who as usize, Question { protocol, to: SocketAddr::new(address(to[family]), port), from })
        };
        (0..2).flat_map(|family| protocols.iter().map(move |protocol| one(family, protocol))).collect()
    }

    /// The cell: one word where both families and all protocols agree.
    pub fn cell(&self, answers: &[Option<String>]) -> String {
        let (four, six) = answers.split_at(answers.len() / 2);
        let of = |all: &[Option<String>]| match &self.kind {
            Kind::Seen(who, ..) => match all[0].as_deref() {
                None => "–".to_owned(),
                Some(seen) if who.addresses().contains(&seen) => "itself".into(),
                Some(seen) if [witness::HOST, SECOND, GATEWAYS].concat().contains(&seen) => "host".into(),
                Some(seen) => seen.to_owned(),
            },
            _ if all.iter().all(|answer| answer.is_some()) => "yes".into(),
            _ if all.iter().all(|answer| answer.is_none()) => "no".into(),
            _ => all.iter().map(|answer| if answer.is_some() { '+' } else { '-' }).collect(),
        };
        match (of(four).as_str(), of(six).as_str()) {
            (four, six) if four == six => four.to_owned(),
            ("yes", "no") => "IPv4".into(),
            ("no", "yes") => "IPv6".into(),
            (four, six) => format!("{four}/{six}"),
        }
    }
}
