//! A whole plugin in thirty lines: it adds the name servers of its configuration to the result of the plugin before it.
//!
//! Build it with `cargo build --release --example name_servers`, copy it to /opt/cni/bin, and put this behind another
//! plugin in a conflist: `{ "type": "name_servers", "nameservers": ["9.9.9.9"] }`.

use cni::attach::{Attached, attach};
use cni::call::{Add, Call, Check, Del, Gc};
use cni::capability::Capability;
use cni::error::{Error, Result};

struct NameServers;

#[derive(serde::Deserialize)]
struct Conf {
    nameservers: Vec<String>,
}

impl cni::Plugin for NameServers {
    type Conf = Conf;
    const ENTERS: bool = false;
    const NEEDS: &'static [Capability] = &[];
    const PLACES: &'static [&'static str] = &[];

    fn add(add: &Add, conf: Conf) -> Result<Attached> {
        let mut result =
            add.prev.clone().ok_or_else(|| Error::config("no plugin before this one in the list"))?;
        result.dns.nameservers.extend(conf.nameservers);
        attach(|_| Ok(result))
    }

    fn check(check: &Check, conf: Conf) -> Result<()> {
        match conf.nameservers.iter().find(|server| !check.prev.dns.nameservers.contains(server)) {
            Some(server) => Err(Error::internal(format!("name server {server} is not in the result"))),
            None => Ok(()),
        }
    }

    // Nothing on this host has been changed, so there is nothing to undo, to collect, or to wait for.
    fn del(_: &Del, _: Conf) -> Result<()> {
        Ok(())
    }
    fn gc(_: &Gc, _: Conf) -> Result<()> {
        Ok(())
    }
    fn status(_: &Call, _: Conf) -> Result<()> {
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    cni::serve::<NameServers>()
}
