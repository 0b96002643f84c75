//! What a call takes of memory: it has to do with so much address space, of which it touches only a part.

use serde_json::{Value, json};

use super::flat::{fill, ipv4};
use super::{container, network};
use crate::lab::call::Call;
use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;

/// Runs the call with no more address space than this.
fn within(kib: u32, call: Call) -> Outcome {
    call.under(&["sh", "-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\"")]).run()
}

/// The list of a GC for which all of these live.
fn all_live(count: u32) -> Value {
    (0..count).map(|n| json!({"containerID": format!("container-{n:050}"), "ifname": "eth0"})).collect()
}

/// Every verb among so many leases, once with an index and once without. GC has a bound of its own: it is given a list of
/// all that live.
fn all_verbs(host: &Host, count: u32, kib: u32, kib_of_gc: u32) {
    let (data, pod) = (format!("/run/leases-{count}"), host.pod());
    fill(&format!("{data}/net-a"), (0..count).map(ipv4));
    let conf = network(host, &data, "10.64.0.0/16");
    let gc = crate::lab::conf::with(&conf, "/cni.dev~1valid-attachments", all_live(count));
    let web = container(host, &pod, &conf, "web");
    let result = json!({"cniVersion": "1.1.0", "ips": []});
    for is_cold in [true, false] {
        let bounded = |kib: u32, call: Call| {
            if is_cold {
                host.sh("rm -rf /run/jackfield");
            }
            within(kib, call)
        };
        let measured = |call: Call| bounded(kib, call);
        measured(host.call("host-local", "STATUS", &conf)).silent();
        measured(web.call("ADD")).result();
        measured(web.call_with("CHECK", &result)).silent();
        measured(web.call("ADD")).fails(999).names(&["duplicate allocation"]);
        measured(web.call("DEL")).silent();
        web.check(&result).fails(999);
        web.add().result();
        bounded(kib_of_gc, host.call("host-local", "GC", &gc)).silent();
        web.check(&result).fails(999);
        assert_eq!(super::leases(&format!("{data}/net-a")).len(), count as usize);
    }
    // The measure itself: no program starts with next to nothing.
    assert!(!within(300, host.call("host-local", "STATUS", &conf)).succeeded());
}

#[test]
fn ten_leases_take_less_than_4_mb_and_sixty_thousand_less_than_16() {
    if !cfg!(target_env = "musl") || cfg!(debug_assertions) {
        return println!("not judged: this is not the build that is shipped");
    }
    lab_with(&[Need::Ours("flat-cost")], |host| {
        all_verbs(host, 10, 4_000_000 / 1024, 4_000_000 / 1024);
        all_verbs(host, 60_000, 16_000_000 / 1024, 32_000_000 / 1024);
    });
}
