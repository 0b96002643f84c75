//! Whole networks, with the plugins under test: ours, or the Go plugins (`CNI_REFERENCE`).

use serde_json::json;

use super::{Tool, refused};
use crate::lab::conf;
use crate::lab::host::Host;
use crate::lab::lab;
use crate::lab::outcome::Outcome;

/// A network of real plugins: two ranges, routes, a gateway.
fn write_network(host: &Host, tool: &Tool<'_>) {
    let list = json!({"cniVersion": host.newest(), "name": "net", "plugins": [conf::without(&conf::bridge(host), "name")]});
    tool.file("10-net.conflist", &list.to_string());
}

fn run(host: &Host, tool: &Tool<'_>, verb: &str) -> Outcome {
    tool.call(verb).env("CNI_PATH", host.bin()).run()
}

#[test]
fn a_namespace_is_attached_checked_and_detached() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        write_network(host, &tool);
        let before = host.snapshot();
        let result = run(host, &tool, "add").result();
        assert_eq!(tool.pod.addresses("eth0"), ["10.9.0.2/24", "fd00:9::2/64"]);
        assert_eq!(result["ips"][0]["address"], "10.9.0.2/24");
        assert!(tool.pod.pings("10.9.0.1"));
        run(host, &tool, "check").silent();
        tool.pod.sh("ip addr del 10.9.0.2/24 dev eth0");
        refused(&run(host, &tool, "check"), &["plugin type=\"bridge\" failed (check)"]);
        run(host, &tool, "del").silent();
        run(host, &tool, "del").silent();
        assert!(tool.pod.links().is_empty());
        before.same_as(&host.snapshot(), conf::LEFT_BEHIND);
    });
}

#[test]
fn a_namespace_that_is_gone_is_still_detached() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        write_network(host, &tool);
        run(host, &tool, "add").result();
        tool.pod.delete();
        run(host, &tool, "del").silent();
        assert_eq!(host.sh("ls /run/leases/net | grep -c '^[0-9a-f]*[.:]' || true").trim(), "0");
    });
}

#[test]
fn gc_detaches_every_namespace_of_the_network() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        write_network(host, &tool);
        let second = Tool { host, pod: host.pod(), stubs: Vec::new() };
        for tool in [&tool, &second] {
            run(host, tool, "add").result();
        }
        run(host, &tool, "gc").silent();
        for tool in [&tool, &second] {
            assert!(tool.pod.links().is_empty());
            assert!(!tool.record().exists());
        }
    });
}

#[test]
fn an_add_that_a_plugin_refuses_leaves_nothing() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        let bridge = conf::with(&conf::bridge(host), "/ipam/ranges/0", json!([{"subnet": "nonsense"}]));
        let bridge = conf::without(&bridge, "name");
        let list = json!({"cniVersion": host.newest(), "name": "net", "plugins": [bridge]});
        tool.file("10-net.conflist", &list.to_string());
        refused(&run(host, &tool, "add"), &["plugin type=\"bridge\" failed (add)", "nonsense"]);
        assert!(tool.pod.links().is_empty());
    });
}

#[test]
fn loopback_works_beside_any_interface() {
    lab(|host| {
        let tool = Tool::with_stubs(host, &[]);
        let list = json!({"cniVersion": "0.3.1", "name": "net", "plugins": [{"type": "loopback"}]});
        tool.file("10-net.conflist", &list.to_string());
        let call = tool.call("add").env("CNI_PATH", host.bin()).env("CNI_IFNAME", "lo");
        call.run().result();
        assert!(tool.pod.pings("127.0.0.1"));
    });
}
