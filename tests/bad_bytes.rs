//! Whole programs, given configurations in which a value or some bytes are others (docs/fuzzing.md): each answers with one
//! object, in little memory, without a fault of its own, and what it accepts it takes back.

use fuzz::every;
use fuzz::mutation::Mutation;
use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::Host;
use crate::lab::outcome::Outcome;
use crate::lab::snapshot::Shared;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

/// Configurations for each program with one value changed, key after key; `JACKFIELD_FUZZ_RUNS` multiplies it.
const EACH: usize = 30;

/// And so many that are changed at random.
const RANDOM: usize = 10;

/// 64 MiB of addresses, and no end of patience. The root of the world is not to be written to, wherever a path leads.
const BOUNDS: [&str; 4] =
    ["sh", "-c", "ulimit -v 65536; exec timeout -s KILL 60 chroot /run/lab/root \"$@\"", "sh"];

/// What would leave things beside the node that a snapshot compares: other back ends, files in other places.
const LEFT_OUT: [&str; 6] = ["dataDir", "jackfieldLog", "resolvConf", "iptables", "firewalld", "Chain"];

/// Everything that can be seen of the calls stays, but for what is shared.
const SHARED: &[Shared<'_>] =
    &[Shared::Bridge("br0"), Shared::Forwarding, Shared::Store, Shared::Records, Shared::Index];

/// What each program is told, before bytes of it change. Those behind another plugin have a container with an `eth0`.
fn seeds(host: &Host, prev: &Value) -> Vec<(&'static str, Value)> {
    let no_folder = |conf: &Value| {
        let mut conf = conf.clone();
        conf["ipam"].as_object_mut().unwrap().remove("dataDir");
        conf
    };
    let united = |conf: &Value, keys: Value| {
        let mut conf = conf.clone();
        conf.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        conf
    };
    let behind = |program: &'static str, keys: Value| {
        let conf = json!({"cniVersion": "1.1.0", "name": "net-b", "type": program, "prevResult": prev});
        (program, united(&conf, keys))
    };
    let bridge = conf::with(&no_folder(&conf::bridge(host)), "/ipMasq", json!(true));
    let bridge = conf::with(&bridge, "/macspoofchk", json!(true));
    let ports = json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}
    ]);
    vec![
        (
            "bridge",
            united(
                &bridge,
                json!({"mtu": 1400, "hairpinMode": true, "portIsolation": true, "enabledad": false}),
            ),
        ),
        ("veth", conf::with(&no_folder(&conf::veth(host)), "/mtu", json!(1300))),
        ("loopback", conf::loopback(host)),
        ("host-local", no_folder(&conf::leases(host))),
        ("static", conf::fixed(host)),
        behind(
            "portmap",
            json!({"snat": true, "conditionsV4": ["ip saddr 10.0.0.0/8"], "runtimeConfig": {"portMappings": ports}}),
        ),
        behind("firewall", json!({"ingressPolicy": "same-bridge", "markBit": 13})),
        behind("bandwidth", json!({"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8000})),
        behind(
            "tuning",
            json!({
                "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mac": "02:00:00:00:00:09", "mtu": 1400, "txQLen": 5,
                "promisc": true, "allmulti": true
            }),
        ),
    ]
}

#[test]
fn a_configuration_with_other_bytes_is_answered_and_leaves_nothing() {
    lab_with(&[Need::Ours("accepted")], |host| {
        // Before it is the root of anybody: a namespace that is named later would not be seen there.
        let pod = host.pod();
        host.sh("mkdir /run/lab/root; mount --rbind / /run/lab/root; mount -o remount,bind,ro /run/lab/root");
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let prev = web.add().result();
        let words = fuzz::words().into_iter().filter(|word| {
            let word = String::from_utf8_lossy(word);
            !LEFT_OUT.iter().any(|left_out| word.contains(left_out))
        });
        let mut mutation = Mutation::of("programs", words.collect());
        for (program, conf) in seeds(host, &prev) {
            // Those behind another plugin are about its interface; the others make one beside it.
            let behind = conf.get("prevResult").is_some();
            let call = host.attach(program, conf.clone(), &pod).ifname(if behind { "eth0" } else { "eth1" });
            let before = (host.snapshot(), pod.snapshot());
            let seed = serde_json::to_vec(&conf).unwrap();
            assert!(answers(&call, seed.clone()), "{program} accepts what nobody has changed");
            // What each plugin decodes, and what another one has answered, is changed where it is read (`plugins::hostile`):
            // here it is about what is done then.
            let own = |path: &str| {
                !["", "cniVersion", "name", "type"].contains(&path) && !path.starts_with("prevResult")
            };
            // The witness, `ip -j`, does not escape what a name may have in it.
            let sample = every::sample(&seed, own).filter(|it| !it.windows(6).any(|part| part == br"\u001b"));
            for changed in sample.take(EACH * fuzz::times()) {
                answers(&call, changed);
            }
            let own = serde_json::to_vec(&conf::without(&conf, "prevResult")).unwrap();
            for round in 0..RANDOM * fuzz::times() {
                // What an earlier plugin has answered is most of the bytes: every other time they stay as they are.
                answers(
                    &call,
                    match round % 2 {
                        0 => mutation.change(&seed, &seed),
                        _ => followed_by(&mutation.change(&own, &own), conf.get("prevResult")),
                    },
                );
            }
            remove_other_bridges(host);
            before.0.same_as(&host.snapshot(), SHARED);
            before.1.same_as(&pod.snapshot(), &[Shared::Link("lo")]);
        }
        web.del_with(&prev).silent();
    });
}

/// An object with this previous result as its last member, if there is one and it still ends as an object.
fn followed_by(own: &[u8], prev: Option<&Value>) -> Vec<u8> {
    match (own.strip_suffix(b"}"), prev) {
        (Some(own), Some(prev)) => [own, b",\"prevResult\":", prev.to_string().as_bytes(), b"}"].concat(),
        _ => own.to_vec(),
    }
}

/// Says it to ADD; what that has made, DEL takes away, and where it has accepted, every verb is asked. Whether it has.
fn answers(call: &Attach<'_>, stdin: Vec<u8>) -> bool {
    let run = |verb: &str| call.call(verb).under(&BOUNDS).folder("/run").stdin(stdin.clone()).run();
    let added = run("ADD");
    is_an_answer(&added);
    if added.succeeded() {
        ["CHECK", "STATUS", "GC"].iter().for_each(|verb| is_an_answer(&run(verb)));
        let deleted = run("DEL");
        is_an_answer(&deleted);
        assert!(deleted.succeeded(), "what ADD accepts, DEL does\n{deleted}");
    }
    added.succeeded()
}

/// One object or nothing, and no fault of ours in it.
fn is_an_answer(outcome: &Outcome) {
    assert!(matches!(outcome.status().code(), Some(0 | 1)), "{outcome}");
    assert!(!outcome.stderr().contains("panicked"), "{outcome}");
    match outcome.succeeded() {
        true if outcome.stdout().trim().is_empty() => {}
        true => drop(outcome.result()),
        false => {
            let fault = outcome.fails_somehow();
            assert!(!fault.msg.contains("a fault in this plugin"), "{outcome}");
        }
    }
}

/// A bridge is never undone; one of another name is one that nobody else has.
fn remove_other_bridges(host: &Host) {
    for bridge in host.ip("link show type bridge") {
        let name = bridge["ifname"].as_str().unwrap_or_default();
        if name != "br0" {
            assert!(
                host.command("ip").args(["link", "delete", name]).status().unwrap().success(),
                "{name:?}"
            );
        }
    }
}
