//! nf_tables over netlink, through the program that teaches it: examples/masquerade.rs. `nft` and pings are the
//! witnesses.

use std::path::PathBuf;

use crate::examples::example;
use crate::lab::call::Call;
use crate::lab::host::{Host, Pod};
use crate::lab::lab_with;
use crate::lab::outcome::Outcome;
use crate::lab::place::Place;
use crate::lab::witness::{self, OUTSIDE, outside, sources, watch};
use crate::lab::world::Need;

/// The reference has no libraries.
const NEEDS: &[Need] = &[Need::Ours("tools")];

const SUBNETS: [&str; 2] = ["10.22.0.0/24", "fd00:22::/64"];

/// The program under test.
struct Masquerade(PathBuf);

impl Masquerade {
    fn built() -> Masquerade {
        Masquerade(example("masquerade"))
    }

    fn call(&self, words: &str) -> Call {
        Call::of(&self.0, &words.split(' ').collect::<Vec<_>>())
    }

    fn run(&self, words: &str) -> Outcome {
        self.call(words).run()
    }

    /// Fails, and complains with exactly this.
    #[track_caller]
    fn fails(&self, words: &str, complaint: &str) {
        let outcome = self.run(words);
        assert!(!outcome.succeeded(), "{words} succeeds");
        assert_eq!(outcome.stderr().trim(), format!("masquerade: {complaint}"));
    }
}

/// The whole ruleset as `nft` reads it, with handles: what was made anew differs.
fn ruleset(place: &Place) -> String {
    place.sh("nft -j list ruleset")
}

const LISTING: &str = r#"table inet example_masq {
	comment "made by the example masquerade"
	map sources4 {
		type ipv4_addr : verdict
		comment "who is masqueraded, and where it is decided"
		elements = { 10.22.0.5 comment "one of 10.22.0.0/24" : goto subnet_10.22.0.0/24 }
	}

	map sources6 {
		type ipv6_addr : verdict
		comment "who is masqueraded, and where it is decided"
		elements = { fd00:22::5 comment "one of fd00:22::/64" : goto subnet_fd00-22--/64 }
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr vmap @sources4
		ip6 saddr vmap @sources6
	}

	chain subnet_10.22.0.0/24 {
		comment "what leaves 10.22.0.0/24"
		ip daddr != 10.22.0.0/24 masquerade
	}

	chain subnet_fd00-22--/64 {
		comment "what leaves fd00:22::/64"
		ip6 daddr != fd00:22::/64 masquerade
	}
}
"#;

#[test]
fn nft_lists_what_the_library_made_as_its_own_and_reads_it_back() {
    let masquerade = Masquerade::built();
    lab_with(NEEDS, |host| {
        masquerade.run("add 10.22.0.0/24 10.22.0.5").silent();
        masquerade.run("add fd00:22::/64 fd00:22::5").silent();
        assert_eq!(host.sh("nft list table inet example_masq"), LISTING);
        host.sh("nft list ruleset > /run/listing; nft flush ruleset; nft -f /run/listing");
        assert_eq!(host.sh("nft list table inet example_masq"), LISTING);
        let read_back = ruleset(host);
        masquerade.run("add 10.22.0.0/24 10.22.0.5").silent();
        assert_eq!(ruleset(host), read_back, "what nft made is known again");
    });
}

#[test]
fn what_was_made_goes_with_the_last_address_and_nothing_else_changes() {
    let masquerade = Masquerade::built();
    lab_with(NEEDS, |host| {
        host.sh("nft 'table inet other { chain c { type filter hook forward priority 0; counter; }; }'");
        let before = ruleset(host);
        masquerade.run("del 10.22.0.5").silent();
        masquerade.run("add 10.22.0.0/24 10.22.0.5 10.22.0.6").silent();
        let one_subnet = ruleset(host);
        masquerade.run("add 10.22.0.0/24 10.22.0.6 10.22.0.5").silent();
        masquerade.run("del 10.22.0.7 fd00:22::5").silent();
        assert_eq!(ruleset(host), one_subnet, "nothing to do, nothing done");

        masquerade.run("add fd00:22::/64 fd00:22::5").silent();
        masquerade.run("del 10.22.0.5").silent();
        let chains = host.sh("nft list chains");
        assert!(chains.contains("subnet_10.22.0.0/24"), "10.22.0.6 still needs it: {chains}");
        masquerade.run("del 10.22.0.6").silent();
        let chains = host.sh("nft list chains");
        assert!(!chains.contains("subnet_10") && chains.contains("subnet_fd00-22--/64"), "{chains}");
        masquerade.run("del fd00:22::5").silent();
        assert_eq!(ruleset(host), before);
    });
}

#[test]
fn an_error_names_the_object_that_failed_in_the_words_of_the_kernel_and_changes_nothing() {
    let masquerade = Masquerade::built();
    lab_with(NEEDS, |host| {
        host.sh("nft 'table inet example_masq { set sources6 { type inet_service; }; }'");
        let before = ruleset(host);
        masquerade.fails("add 10.22.0.0/24 10.22.0.5", "add map inet example_masq sources6: file exists");
        assert_eq!(ruleset(host), before, "what stood before it in the batch is not in force either");

        host.sh("nft delete table inet example_masq");
        masquerade.run("add 10.22.0.0/24 10.22.0.5").silent();
        let before = ruleset(host);
        let refused = "add elements to inet example_masq sources4: file exists";
        masquerade.fails("add 10.22.0.0/16 10.22.0.6 10.22.0.5", refused);
        assert_eq!(ruleset(host), before, "an address leads to one subnet");

        masquerade.run("add fd00:22::/64 fd00:22::5").silent();
        host.sh("nft add rule inet example_masq postrouting jump subnet_10.22.0.0/24");
        let before = ruleset(host);
        let busy = "delete chain inet example_masq subnet_10.22.0.0/24: device or resource busy";
        masquerade.fails("del 10.22.0.5", busy);
        assert_eq!(ruleset(host), before, "the element is still there");

        let program = masquerade.0.to_str().unwrap();
        let outcome = Call::of("/usr/bin/unshare", &["--user", program, "del", "10.22.0.5"]).run();
        let unprivileged = "masquerade: ask for the generation of the ruleset: operation not permitted";
        assert_eq!(outcome.stderr().trim(), unprivileged);
        assert_eq!(ruleset(host), before);
    });
}

/// A router with two pods, each on a link of its own so that what they say to each other is routed too, and a
/// place outside that knows the way back to them.
fn network(host: &Host) -> [Pod; 3] {
    let pods = [host.pod_named("red"), host.pod_named("blue"), outside(host, &SUBNETS)];
    let [red, blue, _] = &pods;
    host.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    for (pod, number) in [(red, 5), (blue, 6)] {
        let link = pod.name();
        host.sh(&format!(
            "ip link add {link} type veth peer name eth0 netns {link}; ip link set {link} up
            ip addr add 10.22.0.1/32 dev {link}; ip addr add fd00:22::1/128 dev {link} nodad
            ip route add 10.22.0.{number} dev {link}; ip route add fd00:22::{number} dev {link}"
        ));
        pod.sh(&format!(
            "ip link set eth0 up
            ip addr add 10.22.0.{number}/32 dev eth0; ip addr add fd00:22::{number}/128 dev eth0 nodad
            ip route add 10.22.0.1 dev eth0; ip route add default via 10.22.0.1
            ip route add fd00:22::1 dev eth0; ip route add default via fd00:22::1"
        ));
    }
    watch(blue);
    pods
}

#[test]
fn outside_sees_the_router_and_the_own_subnet_sees_the_pod() {
    let masquerade = Masquerade::built();
    lab_with(NEEDS, |host| {
        let [red, blue, outside] = network(host);
        let (to_outside, to_blue) = (OUTSIDE, ["10.22.0.6", "fd00:22::6"]);
        let (router, itself) = (witness::HOST, ["10.22.0.5", "fd00:22::5"]);
        let before = ruleset(host);
        assert_eq!(sources(&outside, &red, to_outside), itself, "the witness sees who it is");

        for (subnet, address) in SUBNETS.into_iter().zip(itself) {
            masquerade.run(&format!("add {subnet} {address}")).silent();
        }
        assert_eq!(sources(&outside, &red, to_outside), router);
        assert_eq!(sources(&blue, &red, to_blue), itself);
        assert_eq!(sources(&outside, &blue, to_outside), to_blue, "nobody asked for blue");

        masquerade.run(&format!("del {}", itself.join(" "))).silent();
        assert_eq!(sources(&outside, &red, to_outside), itself);
        assert_eq!(ruleset(host), before);
    });
}
