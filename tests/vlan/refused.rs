//! VLANs that cannot be, and kernels that have none.

use serde_json::{Value, json};

use super::{OURS, filters, frames};
use crate::lab::world::{Feature, Need};
use crate::lab::{conf, lab, lab_with};

#[test]
fn vlans_that_cannot_be_are_refused_before_anything_is_touched_and_do_not_stop_a_del() {
    lab(|host| {
        let known: &[(Value, &[&str])] = &[
            (json!({"vlan": -1}), &["invalid VLAN ID -1 (must be between 0 and 4094)"]),
            (json!({"vlan": 4095}), &["invalid VLAN ID 4095 (must be between 0 and 4094)"]),
            (json!({"vlan": 5000}), &["invalid VLAN ID 5000 (must be between 0 and 4094)"]),
        ];
        let newer: &[(Value, &[&str])] = &[
            (json!({"vlanTrunk": [{"id": 0}]}), &["incorrect trunk id parameter", "vlanTrunk[0].id: 0"]),
            (
                json!({"vlanTrunk": [{"id": 1}, {"id": 4095}]}),
                &["incorrect trunk id", "vlanTrunk[1].id: 4095"],
            ),
            (
                json!({"vlanTrunk": [{"minID": 0, "maxID": 5}]}),
                &["incorrect trunk minID parameter", "minID: 0"],
            ),
            (json!({"vlanTrunk": [{"minID": 5, "maxID": 4095}]}), &["incorrect trunk maxID", "maxID: 4095"]),
            (
                json!({"vlanTrunk": [{"minID": 9, "maxID": 5}]}),
                &["minID is greater than maxID in trunk parameter", "minID: 9, maxID: 5"],
            ),
            (
                json!({"vlanTrunk": [{"minID": 9}]}),
                &["configured simultaneously, maxID is missing", "minID: 9"],
            ),
            (
                json!({"vlanTrunk": [{"maxID": 9}]}),
                &["configured simultaneously, minID is missing", "maxID: 9"],
            ),
            (json!({"vlanTrunk": [null]}), &["vlanTrunk[0]: null"]),
            (
                json!({"vlan": 1000, "bridge": "a-long-name", "isGateway": true, "ipam": {"type": "host-local"}}),
                &["a-long-name.1000", "bridge: a-long-name, vlan: 1000"],
            ),
        ];
        let pod = host.pod();
        let before = (host.snapshot(), pod.snapshot());
        let ours = || known.iter().chain(newer).collect::<Vec<_>>();
        for (keys, words) in host.differs("vlan-trunk", ours, || known.iter().collect()) {
            let web = host.attach("bridge", frames(host, keys.clone()), &pod);
            for call in [web.call("ADD"), web.call_with("CHECK", &json!({"ips": []}))] {
                call.run().fails_or("config-code", 7, 999).names(words);
            }
            let del = web.del();
            host.differs("del-any-configuration", || del.silent(), || drop(del.fails(999).names(words)));
            host.differs("spec-1.1.0", || drop(web.host_call("STATUS").run().fails(7).names(words)), || ());
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&pod.snapshot(), &[]);
        }
    });
}

#[test]
fn values_of_the_wrong_type_are_named() {
    lab_with(&[Need::Ours("decode-code")], |host| {
        let pod = host.pod();
        for (keys, word) in [
            (json!({"vlan": "100"}), "vlan"),
            (json!({"vlan": 1.5}), "vlan"),
            (json!({"vlanTrunk": {"id": 5}}), "vlanTrunk"),
            (json!({"vlanTrunk": [5]}), "vlanTrunk"),
            (json!({"vlanTrunk": [{"id": "5"}]}), "vlanTrunk[0].id"),
            (json!({"preserveDefaultVlan": 1}), "preserveDefaultVlan"),
        ] {
            host.attach("bridge", frames(host, keys), &pod).add().fails(6).names(&[word]);
        }
    });
}

#[test]
fn a_kernel_without_vlans_is_told_before_anything_is_made() {
    lab_with(&[Need::Lacks(Feature::BridgeVlans), Need::Ours("vlan-kernel")], |host| {
        let words = &["this kernel's bridges cannot tell VLANs apart", "operation not supported"];
        let stub = host.stub("rec-ipam");
        for exists in [false, true] {
            if exists {
                host.sh("ip link add br0 type bridge");
            }
            let pod = host.pod();
            let before = (host.snapshot(), pod.snapshot());
            for keys in [json!({"vlan": 100}), json!({"vlanTrunk": [{"id": 5}]}), json!({"vlanTrunk": []})] {
                let conf = conf::with(&frames(host, keys), "/ipam", json!({"type": "rec-ipam"}));
                let web = host.attach("bridge", conf, &pod).path(stub.folder());
                web.add().fails(999).names(words);
                web.host_call("STATUS").run().fails(50).names(words);
                assert!(stub.verbs().is_empty(), "IPAM was not asked");
                web.del().silent();
                stub.forget();
            }
            before.0.same_as(&host.snapshot(), &[]);
            before.1.same_as(&pod.snapshot(), &[]);
        }
    });
}

#[test]
fn status_is_well_where_the_kernel_has_vlans_and_makes_nothing() {
    lab_with(OURS, |host| {
        let before = host.snapshot();
        let conf = frames(host, json!({"vlan": 100}));
        host.call("bridge", "STATUS", &conf).run().silent();
        before.same_as(&host.snapshot(), &[]);
        host.sh("ip link add br0 type bridge");
        host.call("bridge", "STATUS", &conf).run().silent();
        assert!(!filters(host), "STATUS changes nothing");
    });
}
