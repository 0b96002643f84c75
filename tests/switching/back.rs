//! Back to the Go plugins: their DEL removes links and leases of ours, and `cnitool purge` the rest.

use serde_json::{Value, json};

use super::{OURS, STAYS, THEIRS, call, networks, with_both, with_result};
use crate::lab::call::Call;
use crate::lab::conf;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::witness::{self, OUTSIDE, outside, sources, watch};

const FIRST: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
const SECOND: [&str; 2] = ["10.9.0.3", "fd00:9::3"];

/// Networks that masquerade: each by the choice of whoever makes it.
fn masquerading() -> [(&'static str, Value); 2] {
    networks().map(|(program, conf)| (program, conf::with(&conf, "/ipMasq", json!(true))))
}

fn of(folder: &str, verb: &str, network: &(&'static str, Value), pod: &Pod) -> Call {
    call(folder, verb, network, pod).container(pod.name())
}

/// The Go plugins may complain of a missing chain when all else is done: before they learned that it may be missing, and where
/// iptables tells so by another exit status than they know. The DEL that follows finds no link any more, and is content.
#[track_caller]
fn go_dels(network: &(&'static str, Value), result: &Value, pod: &Pod) {
    let del = of(THEIRS, "DEL", &with_result(network, result), pod);
    let first = del.run();
    let of_the_chain = ["Chain 'CNI-", "does not exist"].iter().all(|words| first.stdout().contains(words));
    assert!(first.succeeded() || of_the_chain, "{first}");
    assert!(pod.link("eth0").is_none());
    del.run().silent();
}

fn purge(words: &[&str]) -> Outcome {
    let outcome = Call::of(format!("{OURS}/cnitool"), &[&["purge"], words].concat()).run();
    assert!(outcome.succeeded() && outcome.stderr().is_empty(), "{outcome}");
    outcome
}

fn listing(host: &Host) -> String {
    host.sh("nft list ruleset; ls /run/jackfield/attachments")
}

#[test]
fn what_the_go_plugins_del_cannot_know_harms_nobody_and_purge_removes_it() {
    with_both("what_the_go_plugins_del_cannot_know_harms_nobody_and_purge_removes_it", |host| {
        let outside = outside(host, &[]);
        // The Go plugins leave base chains.
        host.sh("for t in iptables ip6tables; do $t -t nat -A POSTROUTING -j RETURN; $t -t nat -D POSTROUTING 1; done");
        for network in masquerading() {
            let [red, blue, green] = ["red", "blue", "green"].map(|name| host.pod_named(name));
            let before = host.snapshot();
            let result = of(OURS, "ADD", &network, &red).run().result();
            let blues = of(OURS, "ADD", &network, &blue).run().result();
            go_dels(&network, &result, &red);
            assert!(!host.sh("cat /run/leases/*/10.9.0.2 2>&1 || true").contains("red"));
            assert!(listing(host).contains("eth0 red"), "{}", listing(host));

            // The next container at that address, of the same network, by either.
            host.sh("rm /run/leases/*/last_reserved_ip.*");
            for folder in [THEIRS, OURS] {
                let result = of(folder, "ADD", &network, &green).run().result();
                assert_eq!(green.addresses("eth0")[0], "10.9.0.2/24");
                watch(&blue);
                assert_eq!(sources(&outside, &green, OUTSIDE), witness::HOST, "{folder}");
                assert_eq!(sources(&blue, &green, SECOND), FIRST, "{folder}");
                blue.sh("nft delete table inet witness");
                of(folder, "DEL", &with_result(&network, &result), &green).run().silent();
                host.sh("rm /run/leases/*/last_reserved_ip.*");
            }

            // By then ours has taken the element over, and away again; the record is still red's.
            let kept = listing(host);
            let told = purge(&["--dry-run"]).stdout();
            assert_eq!(listing(host), kept, "a rehearsal removes nothing");
            assert_eq!(purge(&[]).stdout(), told.replace("would remove", "removed"));
            assert_eq!(told.lines().count(), 1, "{told}");
            assert!(
                told.ends_with(" of eth0 of container red in network net-a\n") || network.0 == "ptp",
                "{told}"
            );
            of(OURS, "CHECK", &with_result(&network, &blues), &blue).run().silent();
            go_dels(&network, &blues, &blue);
            let told = purge(&[]).stdout();
            assert_eq!(told.lines().count(), 6, "elements, chains, the table, the record: {told}");
            before.same_as(&host.snapshot(), STAYS);
            [red, blue, green].iter().for_each(Pod::delete);
        }
    });
}
