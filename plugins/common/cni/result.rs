//! What an ADD answers: one shape inside, the newest; every older one exists at the edge alone.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::decode::decode;
use crate::error::{Code, Error, OrFail, Result};
use crate::spec::Spec;
use crate::value::{Members, Value};

/// The result of a successful ADD, and what `prevResult` holds (spec 1.1.0, section "ADD Success").
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Success {
    /// Every link that was made or changed, on either side.
    pub interfaces: Vec<Interface>,
    /// The addresses, with their prefixes.
    pub ips: Vec<Ip>,
    /// The routes inside the container.
    pub routes: Vec<Route>,
    /// Name resolution, for whoever writes resolv.conf.
    pub dns: Dns,
    /// What other plugins said and we do not know: it travels on.
    pub extra: Members,
}

/// A link in a result.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct Interface {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its MAC address, lower case, with colons.
    #[serde(default)]
    pub mac: Option<String>,
    /// Its MTU in bytes; since 1.1.0.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// The namespace, as the runtime wrote it; absent for a link of the host.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// The socket of a vhost-user link; since 1.1.0.
    #[serde(default, rename = "socketPath")]
    pub socket_path: Option<String>,
    /// The device on its bus; since 1.1.0.
    #[serde(default, rename = "pciID")]
    pub pci_id: Option<String>,
    /// Keys unknown to us.
    #[serde(skip)]
    pub extra: Members,
}

/// An address in a result.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Ip {
    /// The address with its prefix; host bits kept.
    #[serde(deserialize_with = "crate::value::cidr")]
    pub address: IpNetwork,
    /// The gateway of its subnet, if there is one. It installs no route by itself.
    #[serde(default, deserialize_with = "crate::value::ip")]
    pub gateway: Option<IpAddr>,
    /// Index into `interfaces`; absent, or out of range, is "unknown".
    #[serde(default)]
    pub interface: Option<i64>,
    /// Keys unknown to us.
    #[serde(skip)]
    pub extra: Members,
}

impl Ip {
    /// An address that belongs to no interface yet, as IPAM plugins give it.
    pub fn new(address: IpNetwork, gateway: Option<IpAddr>) -> Ip {
        Ip { address, gateway, interface: None, extra: Members::new() }
    }
}

/// A route in a result or in an `ipam` section.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Route {
    /// Where to.
    #[serde(deserialize_with = "crate::value::cidr")]
    pub dst: IpNetwork,
    /// The next hop; absent means the gateway of the family's address.
    #[serde(default, deserialize_with = "crate::value::ip")]
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes; since 1.1.0.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Maximal segment size to advertise, in bytes; since 1.1.0.
    #[serde(default)]
    pub advmss: Option<u32>,
    /// Metric: lower is better; since 1.1.0.
    #[serde(default)]
    pub priority: Option<u32>,
    /// Routing table, absent means main (254); since 1.1.0.
    #[serde(default)]
    pub table: Option<u32>,
    /// Scope as rtnetlink(7) numbers it: 0 global, 253 link, 254 host; since 1.1.0.
    #[serde(default)]
    pub scope: Option<u8>,
    /// Keys unknown to us.
    #[serde(skip)]
    pub extra: Members,
}

impl Route {
    /// A route without any of the keys of 1.1.0.
    pub fn new(dst: IpNetwork, gw: Option<IpAddr>) -> Route {
        Route {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
            extra: Members::new(),
        }
    }
}

/// `dns` of a result or a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub struct Dns {
    /// Addresses of servers, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Domains to search, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options as in resolv.conf(5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

/// The keys of a result in any version, and of its parts.
const RESULT: [&str; 7] = ["cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6"];
const INTERFACE: [&str; 6] = ["name", "mac", "mtu", "sandbox", "socketPath", "pciID"];
const IP: [&str; 4] = ["address", "gateway", "interface", "version"];
const ROUTE: [&str; 7] = ["dst", "gw", "mtu", "advmss", "priority", "table", "scope"];

/// A result as it may be written, whatever its version.
#[derive(Deserialize)]
struct Written {
    #[serde(default, rename = "cniVersion")]
    version: Option<String>,
    #[serde(default)]
    interfaces: Vec<Value>,
    #[serde(default)]
    ips: Vec<Value>,
    #[serde(default)]
    routes: Vec<Value>,
    #[serde(default)]
    dns: Dns,
    #[serde(default)]
    ip4: Option<OldIp>,
    #[serde(default)]
    ip6: Option<OldIp>,
}

/// `ip4` and `ip6` of versions 0.1.0 and 0.2.0.
#[derive(Deserialize)]
struct OldIp {
    #[serde(deserialize_with = "crate::value::cidr")]
    ip: IpNetwork,
    #[serde(default, deserialize_with = "crate::value::ip")]
    gateway: Option<IpAddr>,
    #[serde(default)]
    routes: Vec<Value>,
}

impl Success {
    /// Reads a result of any version. One that does not say its version is of version `default`.
    ///
    /// # Errors
    /// As [`decode`]; [`Code::CONFIG`] for a version that does not exist.
    pub fn read(value: &Value, default: Spec) -> Result<Success> {
        let written: Written = decode(value)?;
        let said = written.version.as_deref().filter(|version| !version.is_empty());
        let spec = match said.map(str::parse::<Spec>) {
            None => default,
            Some(Ok(spec)) => spec,
            Some(Err(_)) => {
                return Err(Error::config(format!(
                    "unsupported CNI result version {:?}",
                    said.unwrap_or_default()
                )));
            }
        };
        let extra = value.members_except(&RESULT);
        if !spec.has_interfaces() {
            return Success::from_old(written, extra);
        }
        let mut interfaces =
            parts(&written.interfaces, &INTERFACE, |it: &mut Interface, extra| it.extra = extra)
                .doing(|| "interfaces".into())?;
        interfaces.iter_mut().for_each(|it| it.sandbox = it.sandbox.take().filter(|path| !path.is_empty()));
        Ok(Success {
            interfaces,
            ips: parts(&written.ips, &IP, |it: &mut Ip, extra| it.extra = extra).doing(|| "ips".into())?,
            routes: routes(&written.routes)?,
            dns: written.dns,
            extra,
        })
    }

    fn from_old(written: Written, extra: Members) -> Result<Success> {
        let mut success = Success { dns: written.dns, extra, ..Success::default() };
        for old in [written.ip4, written.ip6].into_iter().flatten() {
            success.ips.push(Ip::new(old.ip, old.gateway));
            success.routes.extend(routes(&old.routes)?);
        }
        Ok(success)
    }

    /// This result behind an earlier plugin's: what was there stays, and every index stays valid.
    #[must_use]
    pub fn behind(mut self, prev: Option<&Success>) -> Success {
        let Some(prev) = prev else { return self };
        let shift = i64::try_from(prev.interfaces.len()).unwrap_or(i64::MAX);
        for ip in &mut self.ips {
            ip.interface = ip.interface.map(|index| index.saturating_add(shift));
        }
        let mut both = prev.clone();
        both.interfaces.append(&mut self.interfaces);
        both.ips.append(&mut self.ips);
        both.routes.append(&mut self.routes);
        both.extra.append(&mut self.extra);
        if !self.dns.is_empty() {
            both.dns = self.dns;
        }
        both
    }

    /// Writes the result in a version; what that version has no word for is left out.
    ///
    /// # Errors
    /// `cannot convert: no valid IP addresses` below 0.3.0, whose results are about addresses alone.
    pub fn render(&self, spec: Spec) -> Result<Json> {
        let mut out = Map::new();
        out.insert("cniVersion".into(), json!(spec.as_str()));
        if spec.has_interfaces() {
            put_extra(&mut out, &self.extra);
            put_list(&mut out, "interfaces", self.interfaces.iter().map(|it| it.render(spec)));
            put_list(&mut out, "ips", self.ips.iter().map(|it| it.render(spec)));
            put_list(&mut out, "routes", self.routes.iter().map(|it| it.render(spec)));
        } else {
            self.render_old(&mut out)?;
        }
        if !self.dns.is_empty() || spec < Spec::V1_0_0 {
            out.insert("dns".into(), json!(self.dns));
        }
        Ok(Json::Object(out))
    }

    fn render_old(&self, out: &mut Map<String, Json>) -> Result<()> {
        for (key, v4) in [("ip4", true), ("ip6", false)] {
            let Some(ip) = self.ips.iter().find(|ip| ip.address.is_ipv4() == v4) else { continue };
            let mut old = Map::new();
            old.insert("ip".into(), json!(ip.address.to_string()));
            put(&mut old, "gateway", ip.gateway);
            let family = self.routes.iter().filter(|route| route.dst.is_ipv4() == v4);
            put_list(&mut old, "routes", family.map(|route| route.render(Spec::V0_2_0)));
            out.insert(key.into(), Json::Object(old));
        }
        if out.contains_key("ip4") || out.contains_key("ip6") {
            return Ok(());
        }
        Err(Error::new(Code::CONFIG, "cannot convert: no valid IP addresses"))
    }
}

impl Interface {
    fn render(&self, spec: Spec) -> Json {
        let mut out = Map::new();
        put_extra(&mut out, &self.extra);
        out.insert("name".into(), json!(self.name));
        put(&mut out, "mac", self.mac.as_ref().filter(|mac| !mac.is_empty()));
        put(&mut out, "sandbox", self.sandbox.as_ref());
        if spec >= Spec::V1_1_0 {
            put(&mut out, "mtu", self.mtu.filter(|mtu| *mtu != 0));
            put(&mut out, "socketPath", self.socket_path.as_ref().filter(|path| !path.is_empty()));
            put(&mut out, "pciID", self.pci_id.as_ref().filter(|id| !id.is_empty()));
        }
        Json::Object(out)
    }
}

impl Ip {
    fn render(&self, spec: Spec) -> Json {
        let mut out = Map::new();
        put_extra(&mut out, &self.extra);
        if spec < Spec::V1_0_0 {
            out.insert("version".into(), json!(if self.address.is_ipv4() { "4" } else { "6" }));
        }
        out.insert("address".into(), json!(self.address.to_string()));
        put(&mut out, "gateway", self.gateway);
        put(&mut out, "interface", self.interface);
        Json::Object(out)
    }
}

impl Route {
    /// The route as JSON, in a version.
    pub(crate) fn render(&self, spec: Spec) -> Json {
        let mut out = Map::new();
        if spec.has_interfaces() {
            put_extra(&mut out, &self.extra);
        }
        out.insert("dst".into(), json!(self.dst.to_string()));
        put(&mut out, "gw", self.gw);
        if spec >= Spec::V1_1_0 {
            put(&mut out, "mtu", self.mtu.filter(|mtu| *mtu != 0));
            put(&mut out, "advmss", self.advmss.filter(|mss| *mss != 0));
            put(&mut out, "priority", self.priority.filter(|metric| *metric != 0));
            put(&mut out, "table", self.table);
            put(&mut out, "scope", self.scope);
        }
        Json::Object(out)
    }
}

fn routes(written: &[Value]) -> Result<Vec<Route>> {
    parts(written, &ROUTE, |it: &mut Route, extra| it.extra = extra).doing(|| "routes".into())
}

/// Reads the items of a list, and gives each the keys that nobody here knows.
fn parts<T: serde::de::DeserializeOwned>(
    items: &[Value],
    known: &[&str],
    keep: impl Fn(&mut T, Members),
) -> Result<Vec<T>> {
    let read = |item: &Value| {
        let mut part: T = decode(item)?;
        keep(&mut part, item.members_except(known));
        Ok(part)
    };
    items.iter().map(read).collect()
}

fn put(out: &mut Map<String, Json>, key: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        out.insert(key.into(), json!(value));
    }
}

fn put_list(out: &mut Map<String, Json>, key: &str, items: impl Iterator<Item = Json>) {
    let items: Vec<Json> = items.collect();
    if !items.is_empty() {
        out.insert(key.into(), Json::Array(items));
    }
}

fn put_extra(out: &mut Map<String, Json>, extra: &Members) {
    out.extend(extra.iter().map(|(key, value)| (key.clone(), json!(value))));
}

#[cfg(test)]
mod tests;
