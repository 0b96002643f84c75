//! A plugin that would ask itself for addresses.

use serde_json::json;

use crate::lab::host::Host;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

/// A folder whose `NAME` is ours, as long as there are few of them: what calls itself must not eat the machine.
fn with_a_limit(host: &Host, folder: &str, name: &str, program: &str) {
    let program = host.program(program);
    host.sh(&format!(
        "mkdir -p {folder}; cat > {folder}/{name} << 'END'
#!/bin/sh
export DEPTH=$((${{DEPTH:-0}} + 1))
echo $DEPTH >> {folder}/depths
[ $DEPTH -gt 4 ] && exit 1
exec {}
END
chmod +x {folder}/{name}",
        program.display()
    ));
}

// DLG-02
#[test]
fn a_plugin_of_interfaces_is_nobodys_ipam_and_never_asks_itself() {
    lab_with(&[Need::Ours("ipam-type")], |host| {
        for (i, (program, conf)) in conf::interfaces(host).into_iter().enumerate() {
            for asked in ["bridge", "veth", "ptp", "loopback"] {
                let folder = format!("/run/lab/limited-{i}-{asked}");
                with_a_limit(host, &folder, "limited", asked);
                let pod = host.pod();
                let good = host.attach(program, conf.clone(), &pod);
                let own = conf::with(&conf, "/ipam/type", json!("limited"));
                let bad = host.attach(program, own, &pod).path(&folder);
                let words = ["ipam.type", "\"limited\"", "gives no addresses"];
                let before = (host.snapshot(), pod.snapshot());
                bad.add().fails(7).names(&words);
                bad.host_call("STATUS").run().fails(7).names(&words);
                before.1.same_as(&pod.snapshot(), &[]);
                let result = good.add().result();
                bad.check(&result).fails(7).names(&words);
                bad.del().fails(7).names(&words);
                assert!(pod.links().is_empty(), "the link goes, whoever should have been asked");
                let nobody = conf::with(bad.configuration(), "/cni.dev~1valid-attachments", json!([]));
                host.call(program, "GC", &nobody).env("CNI_PATH", &folder).run().fails(7).names(&words);
                let depths = host.sh(&format!("sort -u {folder}/depths"));
                assert_eq!(depths.trim(), "1", "{program} asked {asked}, and nobody went on");
                good.del().silent();
                before.1.same_as(&pod.snapshot(), &[]);
            }
            host.try_sh("ip link del br0");
        }
    });
}
