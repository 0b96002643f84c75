//! What the programs need of root's rights, and what they leave to whom.

mod tools;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::iptables::Iptables;
use crate::lab::lab_with;
use crate::lab::world::{Feature, Need};

const OURS: &[Need] = &[Need::Ours("hostile")];
/// By what capability iptables-legacy opens its socket.
const NET_RAW: &str = "NET_RAW";
const VERBS: [&str; 5] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];

fn conf_of(host: &Host, program: &str) -> Value {
    let chained = |more: Value| {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net-a", "type": program});
        conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        conf
    };
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    match program {
        "portmap" => chained(json!({"runtimeConfig": ports})),
        "firewall" => chained(json!({})),
        "bandwidth" => chained(json!({"egressRate": 8_000_000, "egressBurst": 800_000})),
        "tuning" => chained(json!({"mtu": 1400, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}})),
        _ => {
            let conf = conf::every(host).into_iter().find(|(name, _)| *name == program).unwrap().1;
            let masquerades = ["bridge", "veth"].contains(&program);
            if masquerades { conf::with(&conf, "/ipMasq", json!(true)) } else { conf }
        }
    }
}

/// The cells of that table of docs/security.md that begins so.
fn rows(head: &str) -> Vec<Vec<String>> {
    let page = include_str!("../docs/security.md");
    let lines = page.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.take_while(|line| line.starts_with('|')).map(cells).collect()
}

fn capabilities(cell: &str) -> BTreeSet<String> {
    cell.split(", ").filter(|word| *word != "-").map(str::to_owned).collect()
}

/// A row of what the verbs of a program need.
struct Row {
    program: String,
    /// What its configuration says beside the usual, as JSON without its braces.
    setting: String,
    /// For each verb the capabilities.
    sets: Vec<BTreeSet<String>>,
}

fn documented(head: &str) -> Vec<Row> {
    let rows = rows(head).into_iter().map(|cells| {
        let (what, sets) = cells.split_first().unwrap();
        let mut quoted = what.split('`').skip(1).step_by(2).map(str::to_owned);
        Row {
            program: quoted.next().unwrap(),
            setting: quoted.next().unwrap_or_default(),
            sets: sets.iter().map(|cell| capabilities(cell)).collect(),
        }
    });
    rows.collect()
}

/// The same call by root without all rights but these.
fn with(capabilities: &BTreeSet<String>, call: Call) -> Call {
    let named: String = capabilities.iter().map(|it| format!(",+{}", it.to_lowercase())).collect();
    call.under(&["setpriv", "--inh-caps=-all", &format!("--bounding-set=-all{named}")])
}

struct Tried<'h> {
    web: Attach<'h>,
    prev: Option<Value>,
    by: Iptables,
}

impl Tried<'_> {
    fn call(&self, verb: &str, result: &Value) -> Call {
        let call = match verb {
            "CHECK" => self.web.call_with(verb, result),
            "GC" => {
                let nobody = conf::with(self.web.configuration(), "/cni.dev~1valid-attachments", json!([]));
                self.web.conf(nobody).host_call(verb)
            }
            "STATUS" => self.web.host_call(verb),
            _ => {
                self.prev.as_ref().map_or_else(|| self.web.call(verb), |prev| self.web.call_with(verb, prev))
            }
        };
        call.env("PATH", self.by.path())
    }
}

fn needs_exactly(host: &Host, tried: &Tried<'_>, verb: &str, needs: &BTreeSet<String>) {
    let program = tried.web.program();
    let added = || if verb == "ADD" { Value::Null } else { tried.call("ADD", &Value::Null).run().result() };
    let result = added();
    let is_by_iptables = tried.web.configuration().to_string().contains("iptables");
    if tried.by == Iptables::Legacy {
        host.sh("touch /run/xtables.lock"); // its own, and it stays
    }
    let before = (verb == "ADD" && !needs.is_empty()).then(|| host.snapshot());
    for lacking in needs {
        let less = needs.iter().filter(|it| *it != lacking).cloned().collect();
        let refused = with(&less, tried.call(verb, &result)).run();
        let named = match &**lacking {
            // The iptables of old says so in words of its own.
            NET_RAW => "Permission denied (you must be root)".to_owned(),
            lacking => format!("CAP_{lacking}"),
        };
        let fault = refused.fails_somehow().names(&[&named]);
        if verb == "ADD" && is_by_iptables && fault.details.contains("not undone") {
            tried.call("DEL", &result).run().silent();
        }
    }
    if let Some(before) = before {
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    }
    let result = if verb == "ADD" {
        result
    } else {
        tried.call("DEL", &result).run().silent();
        added()
    };
    let done = with(needs, tried.call(verb, &result)).run();
    assert!(done.succeeded(), "{program} {verb} needs more than {needs:?}\n{done}");
    tried.call("DEL", &result).run().silent();
}

fn is_as_documented(host: &Host, row: &Row, by: Iptables) {
    let pod = host.pod();
    let mut conf = conf_of(host, &row.program);
    let more: Value = serde_json::from_str(&format!("{{{}}}", row.setting)).unwrap();
    conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let bridge = host.attach("bridge", conf::bridge(host), &pod);
    let is_chained = ["portmap", "firewall", "bandwidth", "tuning"].contains(&&*row.program);
    let prev = is_chained.then(|| bridge.add().result());
    let tried = Tried { web: host.attach(&row.program, conf, &pod), prev, by };
    for (verb, needs) in VERBS.into_iter().zip(&row.sets) {
        needs_exactly(host, &tried, verb, needs);
    }
    if is_chained {
        bridge.del().silent();
    }
}

#[test]
fn each_verb_needs_what_is_documented_and_without_one_of_it_says_which() {
    lab_with(OURS, |host| {
        let table = documented("| program | ADD |");
        assert_eq!(table.len(), 9);
        table.iter().for_each(|row| is_as_documented(host, row, Iptables::Nft));
    });
}

/// The rows of the second table whose setting is, or is not, such a one.
fn with_settings(is_meant: impl Fn(&str) -> bool) -> Vec<Row> {
    let mut table = documented("| program, with | ADD |");
    assert_eq!(table.len(), 5);
    table.retain(|row| is_meant(&row.setting));
    assert!(!table.is_empty());
    table
}

#[test]
fn so_it_does_with_settings_that_make_more_rules_and_by_iptables() {
    lab_with(OURS, |host| {
        let table = with_settings(|setting| !setting.contains("vlan"));
        table.iter().for_each(|row| is_as_documented(host, row, Iptables::Nft));
    });
}

#[test]
fn so_it_does_where_the_bridge_tells_vlans_apart() {
    lab_with(&[OURS, &[Need::Has(Feature::BridgeVlans)]].concat(), |host| {
        let table = with_settings(|setting| setting.contains("vlan"));
        table.iter().for_each(|row| is_as_documented(host, row, Iptables::Nft));
    });
}

#[test]
fn iptables_legacy_needs_net_raw_beside_it_whatever_the_verb() {
    lab_with(&[OURS, &[Need::IptablesLegacy]].concat(), |host| {
        // It loads modules by itself, where nobody has; that takes another right.
        for table in ["nat", "filter", "mangle"] {
            for program in ["iptables", "ip6tables"] {
                host.sh(&format!("PATH={} {program} -w -t {table} -S", Iptables::Legacy.path()));
            }
        }
        for mut row in with_settings(|setting| setting.contains("iptables")) {
            for needs in &mut row.sets {
                needs.insert(NET_RAW.to_owned());
            }
            is_as_documented(host, &row, Iptables::Legacy);
        }
    });
}

/// Everything below these folders, with its mode.
fn modes(folder: &Path, found: &mut Vec<(String, u32, bool)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let about = fs::symlink_metadata(entry.path()).unwrap();
        assert_eq!(about.uid(), 0, "{}", entry.path().display());
        found.push((entry.path().display().to_string(), about.permissions().mode() & 0o7777, about.is_dir()));
        if about.is_dir() {
            modes(&entry.path(), found);
        }
    }
}

fn whole(host: &Host, pod: &Pod, mask: &str) {
    let plugins: Vec<Value> =
        ["bridge", "tuning", "bandwidth", "firewall", "portmap"].map(|program| conf_of(host, program)).into();
    let list = json!({"cniVersion": "1.1.0", "name": "net-a", "plugins": plugins});
    fs::create_dir_all("/run/lab/conf").unwrap();
    fs::write("/run/lab/conf/10-a.conflist", list.to_string()).unwrap();
    let script = format!("umask {mask}; exec {} add net-a {}", host.program("cnitool").display(), pod.path());
    let add = Call::of("/bin/sh", &["-c", &script]).env("NETCONFPATH", "/run/lab/conf");
    let add = add.env("CNI_PATH", host.bin()).env("JACKFIELD_LOG", "/run/jackfield.log").run();
    assert!(add.succeeded(), "{add}");
}

/// Who can open a folder of ours could lock it and keep us waiting for ever; who can write to a file of ours tells us lies.
#[test]
fn whatever_the_mask_nobody_else_writes_to_what_is_ours_or_looks_into_what_is_ours_alone() {
    lab_with(OURS, |host| {
        for mask in ["0000", "0022", "0777"] {
            let pod = host.pod();
            whole(host, &pod, mask);
            let mut found = Vec::new();
            for folder in ["/run", "/var/lib"] {
                modes(Path::new(folder), &mut found);
            }
            found.retain(|(path, ..)| {
                !["/run/netns", "/run/lab", "/run/xtables"].iter().any(|it| path.starts_with(it))
            });
            assert!(found.len() > 15, "{found:?}");
            for (path, mode, is_folder) in &found {
                assert_eq!(mode & 0o022, 0, "{path} has the mode {mode:o} by umask {mask}");
                assert_eq!(mode & 0o600, 0o600, "{path} has the mode {mode:o} by umask {mask}");
                assert!(*is_folder || mode & 0o007 == 0, "{path} has the mode {mode:o} by umask {mask}");
                let is_alone = path.starts_with("/run/jackfield") || path.starts_with("/run/cni");
                assert!(!is_alone || mode & 0o077 == 0, "{path} has the mode {mode:o} by umask {mask}");
            }
            pod.delete();
            host.sh("find /run/jackfield* /run/leases /run/cni /var/lib/cni -delete; ip link del br0");
            host.try_sh("nft flush ruleset");
        }
    });
}
