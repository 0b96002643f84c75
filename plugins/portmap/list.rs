//! `portmap --list`: who has which port.

use std::net::{IpAddr, SocketAddr};

use cni::call::Owner;
use cni::error::{Code, Error, OrFail, Result};
use cni::plain::{plain, table};
use linux::nft::object::Element;
use serde::Serialize;

use crate::attachment::{published, record, ruleset};
use crate::portmap::PLUGIN;
use crate::portmap::holder::{self, Line};
use crate::portmap::key::Key;
use crate::portmap::release::{self, Held};

const USAGE: &str = "usage: portmap --list [--json]";

/// What it says of itself to a person.
const PAGE: &str = "\
portmap publishes ports of a container on the host. Runtimes call it, behind the plugin that made the link.
By hand it shows who has which port, and changes nothing:

    portmap --list [--json]

    --list     the published ports: where on the host, protocol, where they lead, and whose they are
    --json     a JSON list instead of text
";

/// One port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    host_port: u16,
    protocol: String,
    /// The address at which it is published; of none in particular, `0.0.0.0` or `::`.
    #[serde(rename = "hostIP")]
    host_ip: IpAddr,
    #[serde(rename = "containerIP")]
    container_ip: IpAddr,
    container_port: u16,
    /// The hash of the network's condition, where it sets one.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    network: String,
    container: String,
    ifname: String,
    /// Who keeps its rules, where that is not nftables.
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'static str>,
}

/// The page that a person has asked for.
///
/// # Errors
/// Other words than `--list` and `--json`; what the kernel says.
pub fn page(words: &[String]) -> Result<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_json = match words.as_slice() {
        ["--list"] => false,
        ["--list", "--json"] | ["--json", "--list"] => true,
        ["--help" | "-h"] => return Ok(PAGE.into()),
        _ => return Err(Error::new(Code::CONFIG, USAGE)),
    };
    let held = match ruleset::open_if_any()? {
        Some(nft) => release::everything(&nft).doing(|| "list published ports".into())?,
        None => Vec::new(),
    };
    let mut rows: Vec<Row> = held.iter().filter_map(row).collect();
    for owner in published::all()? {
        rows.extend(rows_by_iptables(&owner)?);
    }
    rows.sort();
    match is_json {
        true => serde_json::to_string_pretty(&rows).map(|text| text + "\n").doing(|| "write JSON".into()),
        false => Ok(columns(&rows)),
    }
}

fn row(held: &Held) -> Option<Row> {
    Some(row_of(held.port()?, owner(&held.element)))
}

/// What iptables knows of ports tells nobody whose they are; the record does.
fn rows_by_iptables(owner: &Owner) -> Result<Vec<Row>> {
    let Some(written) = record::written::<Line>(PLUGIN, owner)? else { return Ok(Vec::new()) };
    let whose = &written.attachment;
    let ports = holder::published(&written.lines).last().map(|published| published.ports(whose));
    let names = || [whose.network.to_string(), whose.container.to_string(), whose.ifname.to_string()];
    let rows = ports.into_iter().flatten().map(|port| row_of(port, names()));
    Ok(rows.map(|row| Row { backend: Some("iptables"), ..row }).collect())
}

fn row_of((key, to): (Key, SocketAddr), [network, container, ifname]: [String; 3]) -> Row {
    let everywhere = if key.space.v6 { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0; 4]) };
    Row {
        backend: None,
        host_port: key.port,
        protocol: key.protocol.to_string(),
        host_ip: key.host.unwrap_or(everywhere),
        container_ip: to.ip(),
        container_port: to.port(),
        condition: key.space.condition,
        network,
        container,
        ifname,
    }
}

/// The names are whole in the record; the comment may have lost the end of the container's.
fn owner(element: &Element) -> [String; 3] {
    let record =
        ruleset::mark(element).and_then(|mark| record::of_owner(PLUGIN, mark.owner()).ok().flatten());
    if let Some(record) = record {
        let whose = record.attachment;
        return [whose.network.to_string(), whose.container.to_string(), whose.ifname.to_string()];
    }
    let comment = element.comment.as_deref().unwrap_or_default();
    let names = comment.split_once(" jackfield: ").map_or("", |(_, names)| names);
    let mut words = names.splitn(3, ' ').map(String::from);
    let [network, ifname, container] =
        [words.next(), words.next(), words.next()].map(Option::unwrap_or_default);
    [network, container, ifname]
}

fn columns(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let host = std::net::SocketAddr::new(row.host_ip, row.host_port).to_string();
        let condition = if row.condition.is_some() { " (conditional)" } else { "" };
        let container = std::net::SocketAddr::new(row.container_ip, row.container_port).to_string();
        let [protocol, network, ifname, id] =
            [&row.protocol, &row.network, &row.ifname, &row.container].map(|cell| plain(cell));
        [host + condition, protocol, container, network, ifname, id]
    });
    table(["HOST", "PROTOCOL", "CONTAINER", "NETWORK", "INTERFACE", "ID"], cells)
}
