//! Where we and the Go plugins answer differently on purpose: the table behind docs/differences.md.
//!
//! A test that asserts such a pair names the key; a key that no test names, or that the page does not explain,
//! fails tests/conformance.rs.

mod links;

use super::world;

/// One pair of answers.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// The word by which tests and docs/differences.md name it.
    pub key: &'static str,
    /// The conformance cases it belongs to.
    pub cases: &'static str,
    /// What our programs do.
    pub ours: &'static str,
    /// What the Go plugins do.
    pub theirs: &'static str,
}

/// The pair of that key.
#[track_caller]
pub fn of(key: &str) -> &'static Difference {
    all().find(|d| d.key == key).unwrap_or_else(|| panic!("`{key}` is not in the table of differences"))
}

/// What a world says of each pair in which it took their answer, followed by the key and the cases that this is about.
pub const TAKEN: &str = "their answer: ";

/// Whether their answer is the right one here: the Go plugins are under test, and are not held to ours.
#[track_caller]
pub fn is_theirs(key: &str) -> bool {
    let Difference { cases, .. } = of(key);
    let is_theirs = world::expects_theirs();
    if is_theirs {
        println!("{TAKEN}{key}={}", cases.replace(' ', "+"));
    }
    is_theirs
}

const fn pair(
    key: &'static str,
    cases: &'static str,
    ours: &'static str,
    theirs: &'static str,
) -> Difference {
    Difference { key, cases, ours, theirs }
}

/// All pairs.
pub fn all() -> impl Iterator<Item = &'static Difference> {
    [TABLE, links::TABLE].into_iter().flatten()
}

const TABLE: &[Difference] = &[
    pair(
        "bandwidth-undone",
        "CAP-17 CHN-04 INP-21 GC-22",
        "`bandwidth` undoes a failed ADD, replaces at a second one, frees a container that lives on, finds all that is gone, takes a rate without a burst",
        "nothing is undone; a second ADD fails; disciplines stay on the host end; CHECK compares rates alone",
    ),
    pair(
        "hostile",
        "IPM-16 INP-21",
        "no file is read or written through a link, nothing waits for a pipe; two who would have one name are told apart; a terminal gets no control characters",
        "links are followed, also to write; a pipe is waited for; two of one name undo each other; names are printed as they are",
    ),
    pair(
        "accepted",
        "IPM-16 INP-21",
        "what no kernel takes is refused as such: a route of scope 255 or there twice with other values, an IPv6 route at an MTU below 1280, a default route by an address outside of its network, a rate that cannot be counted",
        "the kernel refuses it, with its own words, when the interface is half made",
    ),
    pair(
        "tuning-undone",
        "CHN-03 GC-22",
        "`tuning` writes sysctls in their order, undoes a failed ADD, puts sysctls back on DEL, tells a changed MTU, forgets what vanished",
        "random order, no undo; sysctls and the MTU of the result stay; files of vanished containers stay",
    ),
    pair(
        "del-early",
        "DEL-01",
        "DEL answers when link and rules are gone from view; a child process sits through the rest of the kernel's work",
        "DEL answers when the kernel has finished",
    ),
    pair(
        "purge",
        "GC-01",
        "`cnitool purge` removes what the plugins left of attachments whose links are gone",
        "cnitool has no such command",
    ),
    pair(
        "portmap",
        "CAP-01",
        "portmap by nftables maps; a port that a living container has is refused, and the last container takes all rules away",
        "v1.1 knows iptables alone; the first rule wins, and empty chains stay",
    ),
    pair(
        "firewall",
        "CHK-08 GC-22",
        "firewall by nftables, with one rule in FORWARD that accepts a mark; the last container takes all rules away",
        "by iptables or firewalld alone; chains and rules of bridges stay",
    ),
    pair(
        "mtu-auto",
        "CAP-23",
        "mtu \"auto\" is the MTU of the host's way to the outside",
        "a number alone; too large a one loses packets",
    ),
    pair(
        "log",
        "ENV-01",
        "JACKFIELD_LOG or the key jackfieldLog: a line for each call, to a file or to the journal",
        "nobody can tell what a plugin did, and what took its time",
    ),
    pair(
        "spec-1.1.0",
        "GC-01 STA-01 RES-08 RES-09 VSN-06",
        "all of 1.1.0, GC and STATUS included, by every program",
        "plugins before v1.4 do not know 1.1.0; later ones answer GC with success and do nothing",
    ),
    pair(
        "no-command",
        "ENV-01",
        "without CNI_COMMAND: error 4",
        "two lines on stderr, nothing on stdout, exit status 0",
    ),
    pair(
        "cni-path",
        "ENV-13 ENV-14",
        "CNI_PATH is needed only where something is delegated",
        "CNI_PATH is demanded by every verb but VERSION",
    ),
    pair(
        "names-variable",
        "ENV-16 ENV-18 ENV-19 ERR-08",
        "an error about a container id or an interface name names its variable",
        "the text does not name the variable",
    ),
    pair(
        "own-namespace",
        "ENV-25",
        "CNI_NETNS of the plugin itself: error 8 before anything is touched",
        "the work is done, on the host itself; later versions print error 8 behind the result",
    ),
    pair(
        "netns-code",
        "ENV-26 ENV-27 CHK-25",
        "an unusable CNI_NETNS is an unusable variable: error 4",
        "error 999",
    ),
    pair(
        "failed-add",
        "ADD-13 ENV-26 ENV-27 INP-09 INP-20",
        "an ADD that fails undoes what it made",
        "bridge, veth pair or rules stay, depending on where it failed",
    ),
    pair(
        "decode-code",
        "INP-05 CAP-31 ARG-14 WKK-01 WKK-04",
        "a value of the wrong type is error 6 and the text names its key",
        "error 6 for `name`, 999 for everything else; a key that the plugin does not read may hold anything",
    ),
    pair(
        "version-echo",
        "VSN-02",
        "VERSION repeats the version it was asked in",
        "VERSION says the plugin's own newest",
    ),
    pair("error-version", "ERR-02 ERR-03", "an error object has its cniVersion", "it has none"),
    pair(
        "tools",
        "",
        "netns and cnitool come with the plugins",
        "cnitool comes with the CNI library, and named namespaces with iproute2",
    ),
    pair(
        "lease-dns",
        "ADD-17",
        "without `dns` in the network, the lease's is passed on",
        "plugins before v1.2 drop the lease's `dns`",
    ),
    pair(
        "l2-old",
        "ADD-19 UPG-10",
        "a network without addresses cannot be told in 0.1.0 or 0.2.0: refused before anything is made",
        "refused after the link is made, which stays",
    ),
    pair(
        "loopback-shape",
        "RES-02 LOO-02",
        "loopback's result has the shape of its version",
        "below 1.0.0 it has the newest shape under the old version's number",
    ),
    pair("config-code", "IPM-08 CHK-03", "a configuration that makes no sense is error 7", "error 999"),
    pair(
        "old-fields",
        "RES-07",
        "fields that a version does not have are not printed in it",
        "extra keys of routes, and an interface's MTU, appear in results of versions that lack them",
    ),
    pair(
        "del-without-netns",
        "ENV-09 ENV-10 DEL-18",
        "DEL without CNI_NETNS removes the host end too",
        "it frees the lease only; the pair stays until the namespace ends",
    ),
    pair(
        "del-plain-file",
        "DEL-06",
        "a CNI_NETNS that is no namespace any more counts as gone",
        "DEL fails, at every repetition",
    ),
    pair(
        "del-any-configuration",
        "DEL-10",
        "DEL and GC ask of the configuration only what they use, and pass over a key that they cannot read",
        "DEL refuses keys of a wrong type, and DEL of bridge VLANs that cannot be, and the attachment stays",
    ),
    pair(
        "del-foreign",
        "DEL-15",
        "DEL removes the interface only if it is the one that ADD made",
        "DEL removes any interface of that name",
    ),
    pair(
        "release-fault",
        "DEL-11 GC-09",
        "a lease that cannot be removed is an error of DEL",
        "DEL says nothing, and the lease stays",
    ),
    pair(
        "check-closer",
        "CHK-06 CHK-07 CHK-12",
        "CHECK compares host end, bridge, port, MAC, MTU, forwarding and the gateway of a default route too, and names what differs",
        "CHECK does not look at them",
    ),
    pair(
        "check-routes",
        "CHK-18 RES-09",
        "table, scope, priority, mtu and advmss of a route are installed and checked",
        "plugins before v1.6 ignore them; later ones install all but mtu and advmss, and CHECK looks in table main only",
    ),
    pair(
        "check-l2",
        "CHK-01",
        "CHECK works on a network without `ipam`",
        "it always fails: no plugin name provided",
    ),
    pair(
        "delegate-name",
        "DLG-02",
        "`ipam.type` with a `/` is error 7, and nothing is executed",
        "error 999 when the file is looked for",
    ),
    pair(
        "ipam-type",
        "DLG-02",
        "a plugin of interfaces in `ipam.type` is error 7, and asks nobody in its turn",
        "it asks itself, without end",
    ),
    pair(
        "delegate-stderr",
        "DLG-06",
        "the delegate's log reaches the caller in success and failure",
        "only in success",
    ),
    pair("delegate-code", "ERR-19 ERR-15", "a delegate that dies without JSON is error 999", "error 0"),
    pair(
        "delegate-del",
        "DLG-09 DLG-12 DLG-13",
        "a delegate whose ADD failed, or answered what cannot be used, gets a DEL",
        "it gets none",
    ),
    pair(
        "del-goes-on",
        "DLG-16",
        "DEL removes the link although the delegate's DEL fails",
        "ptp stops there",
    ),
    pair(
        "args-unknown",
        "ARG-09 DLG-20",
        "unknown keys of CNI_ARGS are ignored",
        "an error, unless IgnoreUnknown is set",
    ),
    pair(
        "prev-add",
        "CHN-02",
        "prevResult of ADD is kept, our own entries are added behind it",
        "an interface plugin ignores it",
    ),
    pair(
        "prev-family",
        "CHN-07",
        "a prevResult of another version is converted",
        "an error 999 where the family differs",
    ),
    pair("prev-shape", "CHN-11", "keys of prevResult that we do not know travel on", "they are lost"),
    pair(
        "requested-twice",
        "IPM-10",
        "a second ADD of one attachment is refused, with a requested address too",
        "it is let through",
    ),
    pair("gateway-outside", "IPM-08", "a gateway outside its subnet is error 7", "it is accepted"),
    pair(
        "del-needs-folder",
        "IPM-08 DEL-10",
        "DEL frees by the folder alone",
        "DEL validates the ranges again",
    ),
    pair(
        "requested-precedence",
        "ARG-06 ARG-12",
        "of runtimeConfig.ips, args.cni.ips and IP= the first counts",
        "all are collected",
    ),
    pair(
        "args-malformed",
        "ARG-10",
        "a pair without `=` or without a key is error 4 and names CNI_ARGS",
        "error 999, or not looked at",
    ),
    pair(
        "mac-code",
        "CAP-23",
        "a MAC that no link can have is error 7 before anything is made",
        "error 999 after the bridge is made",
    ),
    pair("check-prev", "CHK-03", "CHECK of loopback needs prevResult too", "it passes without"),
    pair(
        "signals",
        "ADD-13",
        "TERM, INT and HUP are held until the ADD is undone",
        "the plugin dies where it is",
    ),
    pair("delegate-orphan", "DLG-15", "a delegate dies with the plugin that called it", "it lives on"),
    pair(
        "lease-whole",
        "IPM-17 IPM-12",
        "a lease file appears whole; an empty one is the rubbish of a crash, and free",
        "it is made and then written; a crash leaves an empty one for ever",
    ),
    pair(
        "crash-anywhere",
        "IPM-17",
        "whatever a call was doing when it was killed, DEL or GC removes it",
        "what was made before anybody was told of it stays",
    ),
    pair(
        "requested-order",
        "CAP-22",
        "of two requests for one set the first is served, the error names the other",
        "which is served is random",
    ),
    pair(
        "requested-early",
        "CAP-21",
        "a request that fits no set is refused before anything is touched",
        "after addresses were taken",
    ),
    pair(
        "gateway-of-neighbour",
        "IPM-02",
        "no gateway of a set is given away",
        "one range may give away the gateway of another",
    ),
    pair("range-start-at-end", "IPM-08", "a rangeStart behind the ordinary end is error 7", "it is accepted"),
    pair("null-request", "CAP-31", "null among the requested addresses is an error", "v1.9.1 crashes"),
    pair(
        "cursor-last",
        "IPM-09 IPM-11",
        "last_reserved_ip.N moves with a whole lease alone",
        "it moves although a later set fails",
    ),
    pair("args-code", "ARG-07 ARG-10", "a bad IP=, GATEWAY= or MAC= in CNI_ARGS is error 4", "error 999"),
    pair(
        "ipv6-arithmetic",
        "IPM-02",
        "an IPv6 pool gives IPv6 addresses",
        "inside ::/96 an IPv4 address may come out",
    ),
    pair(
        "extra-files",
        "DEL-12 IPM-07",
        "only files named like an address are leases",
        "DEL removes any file with the attachment's text",
    ),
    pair(
        "check-address",
        "CHK-10 IPM-13",
        "CHECK wants the leases of the result's addresses",
        "any lease of the attachment will do",
    ),
    pair(
        "pool-status",
        "STA-03 IPM-14",
        "STATUS is 50 when the pool is full or cannot be written to",
        "STATUS succeeds",
    ),
    pair(
        "static-check",
        "CHK-10",
        "CHECK of static wants every address that is written, with its prefix, and says what differs",
        "an address that the result lacks is none of its business",
    ),
    pair(
        "static-nonsense",
        "IPM-08",
        "an address that no link can have, or a gateway of the other family, is error 7",
        "it is given",
    ),
    pair(
        "static-twice",
        "IPM-08",
        "an address that is written twice is given once; two gateways for it are error 7",
        "it is given twice, and the interface plugin fails",
    ),
    pair("boots", "IPM-17", "a lease of an earlier boot is free", "it is taken until its file is removed"),
    pair("flat-cost", "IPM-12", "a call costs the same with any number of leases", "it reads them all"),
    pair("full-says", "IPM-09", "a full range: its size, and what has its addresses", "it is named"),
    pair("lock-span", "", "the lock is held for the whole ADD", "it is released between sets"),
    pair(
        "by-hand",
        "IPM-13",
        "--list and --verify for whoever looks without a runtime",
        "arguments are ignored",
    ),
    pair("policy", "IPM-11", "exclude, cooldownSeconds, sticky and allocation", "these keys are unknown"),
];
