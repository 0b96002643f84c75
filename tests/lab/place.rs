//! A network namespace as a witness sees it: the host of the world, or a pod.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::snapshot::Snapshot;

/// Somewhere that has links: everything is read with `ip -j` and friends, which share no code with us.
#[derive(Debug, Clone)]
pub struct Place {
    /// `None` is the host.
    netns: Option<PathBuf>,
}

impl Place {
    /// The world's own namespace.
    pub fn host() -> Place {
        Place { netns: None }
    }

    /// The namespace behind a path.
    pub fn at(netns: &Path) -> Place {
        Place { netns: Some(netns.to_owned()) }
    }

    /// A program that will run here, with the lab's ordinary search path.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match &self.netns {
            None => Command::new(program),
            Some(netns) => {
                let mut enter = Command::new("nsenter");
                enter.arg(format!("--net={}", netns.display())).arg(program);
                enter
            }
        };
        command.env("PATH", super::call::PATH);
        command
    }

    /// Runs a shell script here, whatever becomes of it.
    pub fn try_sh(&self, script: &str) -> Output {
        self.command("sh").args(["-c", script]).output().expect("a shell")
    }

    /// Runs a shell script here, which must succeed; gives what it printed.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{script}` in {self:?}: {}: {complaint}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// `ip -j ARGUMENTS` as JSON; an empty answer is an empty list.
    pub fn ip(&self, arguments: &str) -> Vec<Value> {
        let text = self.sh(&format!("ip -j {arguments}"));
        parse(&text)
    }

    /// The link of that name, with its details.
    pub fn link(&self, name: &str) -> Option<Value> {
        self.ip("-d link").into_iter().find(|link| link["ifname"] == name)
    }

    /// The names of all links but `lo`.
    pub fn links(&self) -> Vec<String> {
        let names =
            self.ip("link").into_iter().map(|link| link["ifname"].as_str().expect("a name").to_owned());
        names.filter(|name| name != "lo").collect()
    }

    /// The addresses of a link with their prefixes, link-local IPv6 left out.
    pub fn addresses(&self, link: &str) -> Vec<String> {
        let records = self.address_records(link).into_iter();
        records.map(|a| format!("{}/{}", a["local"].as_str().unwrap_or("?"), a["prefixlen"])).collect()
    }

    /// The same as `ip -j` records (scope, flags such as `tentative`, broadcast, …).
    pub fn address_records(&self, link: &str) -> Vec<Value> {
        let links = self.ip("addr").into_iter();
        let all = links.filter(|l| l["ifname"] == link).filter_map(|mut l| match l["addr_info"].take() {
            Value::Array(records) => Some(records),
            _ => None,
        });
        let linklocal = |a: &Value| a["family"] == "inet6" && a["scope"] == "link";
        all.flatten().filter(|a| a.get("local").is_some() && !linklocal(a)).collect()
    }

    /// `ip -j ARGUMENTS` about routes, as records: `routes("-4 route show table 100")`.
    pub fn routes(&self, arguments: &str) -> Vec<Value> {
        self.ip(arguments)
    }

    /// A sysctl by its path below /proc/sys.
    pub fn sysctl(&self, key: &str) -> String {
        self.sh(&format!("cat '/proc/sys/{key}'")).trim().to_owned()
    }

    /// Sets a sysctl by its path below /proc/sys.
    pub fn set_sysctl(&self, key: &str, value: &str) {
        self.sh(&format!("echo {value} > '/proc/sys/{key}'"));
    }

    /// Whether an address answers an echo request sent from here. The first ones may be lost while neighbours are found and
    /// links come up, and an emulated machine is slow: only one that never answers costs time.
    pub fn pings(&self, address: &str) -> bool {
        self.try_sh(&format!("timeout 20 sh -c 'until ping -n -c 1 -W 2 {address}; do :; done'"))
            .status
            .success()
    }

    /// Whether an address stays silent, asked once.
    pub fn does_not_ping(&self, address: &str) -> bool {
        !self.try_sh(&format!("ping -n -c 1 -W 1 {address}")).status.success()
    }

    /// Everything that can be seen here.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self)
    }

    /// Whether this is the host of the world.
    pub fn is_host(&self) -> bool {
        self.netns.is_none()
    }
}

/// The JSON of one `ip -j` answer.
pub fn parse(text: &str) -> Vec<Value> {
    match text.trim() {
        "" => Vec::new(),
        json => match serde_json::from_str(json).expect("JSON from iproute2") {
            Value::Array(records) => {
                records.into_iter().filter(|r| r.as_object().is_none_or(|o| !o.is_empty())).collect()
            }
            record => vec![record],
        },
    }
}
