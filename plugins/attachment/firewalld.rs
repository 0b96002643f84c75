//! firewalld, over the system's bus: an address is a source of a zone, and the zone says what may pass. These sources are not
//! written to its configuration: they end with it.

use std::io::ErrorKind;
use std::net::IpAddr;

use cni::error::{Error, OrFail, Result};

use crate::attachment::bus::{Bus, Callee, Refusal};

const NAME: &str = "org.fedoraproject.FirewallD1";
const ZONE: Callee = Callee {
    name: NAME,
    path: "/org/fedoraproject/FirewallD1",
    interface: "org.fedoraproject.FirewallD1.zone",
};

/// What firewalld says of a source that it does not have, or has in another zone.
const NOT_THERE: [&str; 3] = ["UNKNOWN_SOURCE", "ZONE_CONFLICT", "NOT_ENABLED"];

/// A conversation with firewalld.
pub struct Firewalld(Bus);

/// What has become of an address that was to come into a zone.
pub enum Put {
    /// It is in the zone, and was before, or an earlier ADD has claimed that: it stays there whatever becomes of this one.
    Before,
    /// It is in the zone.
    Now,
    /// The bus has broken before anybody said: it may be.
    Unknown(Error),
}

impl Firewalld {
    /// firewalld, if it runs.
    ///
    /// # Errors
    /// There is no bus that would know.
    pub fn find() -> Result<Option<Firewalld>> {
        Firewalld::asked().doing(asking)
    }

    /// The same, for what it was asked for before: without a bus it does not run, and nothing is left of it.
    ///
    /// # Errors
    /// There is a bus, and it does not tell: what was asked for may be there.
    pub fn find_to_end() -> Result<Option<Firewalld>> {
        let no_bus = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
        match Firewalld::asked() {
            Err(Refusal::Broken(error)) if no_bus.contains(&error.kind()) => Ok(None),
            asked => asked.doing(asking),
        }
    }

    fn asked() -> std::result::Result<Option<Firewalld>, Refusal> {
        let mut bus = Bus::system()?;
        Ok(bus.has(NAME)?.then_some(Firewalld(bus)))
    }

    /// Puts an address into a zone, if it `is_claimed` by an earlier ADD once more.
    ///
    /// # Errors
    /// It is in another zone; what firewalld says. Then nothing was changed.
    pub fn add(&mut self, zone: &str, address: IpAddr, is_claimed: bool) -> Result<Put> {
        let doing = || format!("failed to add the address {address} to {zone} zone");
        // What may have to be asked back must not have been somebody else's.
        if !is_claimed && self.query(zone, address).doing(doing)? {
            return Ok(Put::Before);
        }
        match self.0.call(ZONE, "addSource", &[zone, &source(address)]) {
            Err(Refusal::Said(_, text)) if text.contains("ZONE_ALREADY_SET") => {
                match self.has(zone, address)? {
                    true => Ok(Put::Before),
                    false => Err(Error::internal(format!("{}: {text}", doing()))),
                }
            }
            Err(Refusal::Broken(error)) if !is_claimed => {
                Err(Refusal::Broken(error)).doing(doing).or_else(|error| Ok(Put::Unknown(error)))
            }
            added => added.map(|_| if is_claimed { Put::Before } else { Put::Now }).doing(doing),
        }
    }

    /// Takes an address out of a zone; one that is not in it is taken out.
    ///
    /// # Errors
    /// What firewalld says.
    pub fn remove(&mut self, zone: &str, address: IpAddr) -> Result<()> {
        match self.0.call(ZONE, "removeSource", &[zone, &source(address)]) {
            Err(Refusal::Said(_, text)) if NOT_THERE.iter().any(|word| text.contains(word)) => Ok(()),
            removed => {
                removed.map(drop).doing(|| format!("failed to remove the address {address} from {zone} zone"))
            }
        }
    }

    /// Whether an address is in a zone.
    ///
    /// # Errors
    /// What firewalld says.
    pub fn has(&mut self, zone: &str, address: IpAddr) -> Result<bool> {
        self.query(zone, address).doing(|| format!("failed to look for the address {address} in {zone} zone"))
    }

    /// The zone that an address is in, if it is in one.
    ///
    /// # Errors
    /// What firewalld says.
    pub fn zone_of(&mut self, address: IpAddr) -> Result<Option<String>> {
        let asked = self.0.call(ZONE, "getZoneOfSource", &[&source(address)]);
        let zone = asked.and_then(|answer| answer.text());
        let zone = zone.doing(|| format!("failed to look for the zone of the address {address}"))?;
        Ok(Some(zone).filter(|zone| !zone.is_empty()))
    }

    fn query(&mut self, zone: &str, address: IpAddr) -> std::result::Result<bool, Refusal> {
        self.0.call(ZONE, "querySource", &[zone, &source(address)])?.truth()
    }

    /// Whether there is such a zone: firewalld knows what is in it.
    ///
    /// # Errors
    /// What firewalld says of one that is not there.
    pub fn knows(&mut self, zone: &str) -> Result<()> {
        let asked = self.0.call(ZONE, "getSources", &[zone]);
        asked.map(drop).doing(|| format!("failed to look at {zone} zone"))
    }
}

fn asking() -> String {
    "ask the system's bus for firewalld".into()
}

fn source(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}
