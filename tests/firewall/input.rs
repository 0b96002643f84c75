//! What makes no sense is refused before anything is touched.

use serde_json::json;

use super::{Container, OURS, network};
use crate::lab::{conf, lab_with};

#[test]
fn bad_configuration_is_refused_and_nothing_is_touched() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web");
        let before = host.snapshot();
        for (key, value, words) in [
            ("backend", json!("pf"), "unrecognized backend \"pf\""),
            ("ingressPolicy", json!("shut"), "unknown ingress policy: \"shut\""),
            ("markBit", json!(32), "markBit must be between 0 and 31"),
            ("iptablesAdminChainName", json!("A B"), "iptablesAdminChainName \"A B\""),
        ] {
            let conf = conf::with(&network(host), &format!("/{key}"), value.clone());
            let wall = web.wall.conf(conf);
            for verb in ["ADD", "CHECK"] {
                wall.call_with(verb, &web.result).run().fails(7).names(&[words]);
            }
            wall.host_call("STATUS").run().fails(7).names(&[words]);
            wall.del().silent();
        }
        web.wall
            .conf(conf::with(&network(host), "/ingressPolicy", json!(1)))
            .add()
            .fails(6)
            .names(&["ingressPolicy"]);
        web.wall.add().fails(7).names(&["missing prevResult from earlier plugin"]);
        before.same_as(&host.snapshot(), &[]);
    });
}

#[test]
fn a_policy_without_a_bridge_is_refused_and_an_attachment_without_addresses_passes() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web");
        let before = host.snapshot();
        let isolating = web.wall.conf(conf::with(&network(host), "/ingressPolicy", json!("isolated")));
        let lonely = conf::with(&web.result, "/interfaces", json!([]));
        let lonely = conf::with(&lonely, "/ips", json!([{"address": "10.9.0.2/24"}]));
        isolating.call_with("ADD", &lonely).run().fails(7).names(&["interface needs to be set", "isolated"]);
        let inside = conf::with(&web.result, "/interfaces", json!([web.result["interfaces"][2].clone()]));
        isolating
            .call_with("ADD", &conf::with(&inside, "/ips", json!([])))
            .run()
            .fails(7)
            .names(&["no bridge of the host"]);
        let none = conf::with(&web.result, "/ips", json!([]));
        assert_eq!(web.wall.call_with("ADD", &none).run().result()["interfaces"], none["interfaces"]);
        web.wall.check(&none).silent();
        before.same_as(&host.snapshot(), &[]);
    });
}

/// The empty words are podman's.
#[test]
fn empty_words_mean_nothing() {
    lab_with(OURS, |host| {
        let web = Container::new(host, "web")
            .with("backend", json!(""))
            .with("ingressPolicy", json!(""))
            .admitted();
        web.check().silent();
        web.del();
    });
}
