//! Whatever a plugin accepts, the kernel accepts: configurations made at random of all that the grammar of each plugin has, run
//! through ADD, CHECK and DEL (docs/fuzzing.md). Nonsense may be refused, as such and before anything is touched; an ADD that
//! fails in the kernel is a fault of whoever let it pass.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::lab::attach::Attach;
use crate::lab::host::{Host, Pod};
use crate::lab::outcome::Outcome;
use crate::lab::world::Need;
use crate::lab::{conf, lab_with};

const OURS: &[Need] = &[Need::Ours("accepted")];

/// Configurations for each plugin; `JACKFIELD_FUZZ_RUNS` multiplies it.
const EACH: usize = 24;

/// What nobody but the kernel knows: whether a next hop can be reached by all the routes that are there.
const HONEST: [&str; 1] = ["Nexthop has invalid gateway"];

/// Gives `run` configurations, always the same; one that fails is made smaller before it is told.
fn each(strategy: impl Strategy<Value = Value>, run: impl Fn(&Value) -> Result<(), String>) {
    let cases = u32::try_from(EACH * fuzz::times()).unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 64, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRunner::deterministic().new_rng());
    let tried = runner.run(&strategy, |conf| run(&conf).map_err(TestCaseError::fail));
    tried.unwrap_or_else(|error| panic!("{error}"));
}

/// An answer of ADD that is a result, or a refusal of the configuration as such.
fn accepted(added: &Outcome) -> Result<bool, String> {
    if added.succeeded() {
        return Ok(true);
    }
    let fault = added.fails_somehow();
    // 7 is nonsense by itself, 4 and 6 are nonsense of the caller: nothing was done.
    match fault.code {
        4 | 6 | 7 => Ok(false),
        _ if HONEST.iter().any(|limit| fault.msg.contains(limit)) => Ok(false),
        _ => Err(format!("accepted, and then refused by somebody else\n{added}")),
    }
}

/// ADD, CHECK and DEL; what was refused has nothing to take away.
fn lives(web: &Attach<'_>, add: &Outcome) -> Result<(), String> {
    if !accepted(add)? {
        return Ok(());
    }
    let result = add.result();
    let (checked, deleted) = (web.check(&result), web.del_with(&result));
    for answer in [checked, deleted] {
        if !answer.succeeded() {
            return Err(format!("ADD accepted it\n{answer}"));
        }
    }
    Ok(())
}

/// A key with a value, or none.
fn key(
    name: &'static str,
    values: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<Vec<(String, Value)>> {
    prop_oneof![2 => Just(Vec::new()), 1 => values.prop_map(move |value| vec![(name.to_owned(), value)])]
        .boxed()
}

/// One of these.
fn of(values: Value) -> impl Strategy<Value = Value> + 'static {
    select(values.as_array().unwrap().clone())
}

/// An object of some of these keys.
fn object(keys: Vec<BoxedStrategy<Vec<(String, Value)>>>) -> impl Strategy<Value = Value> {
    keys.prop_map(|keys| Value::Object(keys.into_iter().flatten().collect()))
}

/// A network of a plugin with these keys.
fn network(program: &'static str, keys: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    keys.prop_map(move |keys| {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net-p", "type": program});
        conf.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        conf
    })
}

/// host-local with ranges of one or both families, large and small, and static with what nobody would lease.
fn ipam() -> impl Strategy<Value = Value> {
    let v4 = of(json!([
        [{"subnet": "10.9.0.0/24"}],
        [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.254", "rangeStart": "10.9.0.9"}],
        [{"subnet": "10.9.0.0/30"}],
        [{"subnet": "10.0.0.0/8", "rangeStart": "10.255.255.250"}],
        [{"subnet": "10.9.1.0/29"}, {"subnet": "10.9.2.0/29"}]
    ]));
    let v6 = of(json!([
        [{"subnet": "fd00:9::/64"}],
        [{"subnet": "fd00:9::/127"}],
        [{"subnet": "fd00:9::/124", "gateway": "fd00:9::f"}]
    ]));
    let sets = prop_oneof![
        v4.prop_map(|v4| json!([v4])),
        v6.prop_map(|v6| json!([v6])),
        (ranges_of_4(), ranges_of_6()).prop_map(|(v4, v6)| json!([v4, v6])),
    ];
    let leased = (sets, routes()).prop_map(
        |(ranges, routes)| json!({"type": "host-local", "dataDir": "/run/leases", "ranges": ranges, "routes": routes}),
    );
    let address = of(json!([
        {"address": "10.9.0.5/24"}, {"address": "10.9.0.5/24", "gateway": "10.9.0.1"}, {"address": "10.9.0.6/32"},
        {"address": "10.9.0.7/32", "gateway": "10.8.0.1"}, {"address": "fd00:9::5/64", "gateway": "fd00:9::1"},
        {"address": "fd00:9::6/128"}, {"address": "169.254.7.7/16"}, {"address": "10.9.0.255/24"},
        {"address": "10.9.0.0/24"}, {"address": "fe80::5/64"}, {"address": "255.255.255.255/32"}, {"address": "127.0.0.9/8"}
    ]));
    let fixed = (prop::collection::vec(address, 1..4), routes())
        .prop_map(|(addresses, routes)| json!({"type": "static", "addresses": addresses, "routes": routes}));
    prop_oneof![2 => leased, 1 => fixed]
}

fn ranges_of_4() -> impl Strategy<Value = Value> {
    of(json!([[{"subnet": "10.9.0.0/24"}], [{"subnet": "10.9.0.0/29", "gateway": "10.9.0.6"}]]))
}

fn ranges_of_6() -> impl Strategy<Value = Value> {
    of(json!([[{"subnet": "fd00:9::/64"}], [{"subnet": "fd00:9::/120", "rangeStart": "fd00:9::80"}]]))
}

/// Destinations with everything that version 1.1.0 can say of a route.
fn routes() -> impl Strategy<Value = Value> {
    let dst = of(json!([
        "0.0.0.0/0",
        "::/0",
        "192.0.2.0/24",
        "192.0.2.9/32",
        "192.0.2.9/24",
        "2001:db8::/32",
        "10.9.0.0/24"
    ]));
    let route = object(vec![
        dst.prop_map(|dst| vec![("dst".to_owned(), dst)]).boxed(),
        key("mtu", of(json!([0, 68, 1280, 1400, 65535, 4_294_967_295_u32]))),
        key("advmss", of(json!([0, 1, 1360, 65535, 4_294_967_295_u32]))),
        key("priority", of(json!([0, 1, 1024, 4_294_967_295_u32]))),
        key("table", of(json!([0, 100, 254, 255, 256, 4_294_967_295_u32]))),
        key("scope", of(json!([0, 200, 253, 254, 255]))),
    ]);
    prop::collection::vec(route, 0..3).prop_map(Value::Array)
}

fn mtu() -> impl Strategy<Value = Value> {
    of(json!([0, 68, 576, 1279, 1280, 1400, 1500, 9000, 65535]))
}

fn yes() -> impl Strategy<Value = Value> {
    of(json!([true, true, false]))
}

/// Attaches, and takes away the bridge, which nobody else may find with another's address.
fn attaches(host: &Host, pod: &Pod, conf: &Value) -> Result<(), String> {
    let web = host.attach(conf["type"].as_str().unwrap(), conf.clone(), pod);
    let lived = lives(&web, &web.add());
    host.try_sh("ip link delete br7");
    lived
}

#[test]
fn what_bridge_accepts_the_kernel_accepts() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let keys = object(vec![
            Just(vec![("bridge".to_owned(), json!("br7"))]).boxed(),
            key("isGateway", yes()),
            key("isDefaultGateway", yes()),
            key("forceAddress", yes()),
            key("ipMasq", yes()),
            key("mtu", mtu()),
            key("hairpinMode", yes()),
            key("promiscMode", yes()),
            key("macspoofchk", yes()),
            key("enabledad", of(json!([false]))),
            key("portIsolation", yes()),
            key("disableContainerInterface", yes()),
            key("ipam", ipam()),
            key("ipam", ipam()),
            key("args", of(json!([{"cni": {"mac": "02:00:00:00:00:07"}}]))),
        ]);
        each(network("bridge", keys), |conf| attaches(host, &pod, conf));
    });
}

#[test]
fn what_veth_accepts_the_kernel_accepts() {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let keys = object(vec![
            key("ipMasq", yes()),
            key("mtu", mtu()),
            ipam().prop_map(|ipam| vec![("ipam".to_owned(), ipam)]).boxed(),
        ]);
        each(network("ptp", keys), |conf| {
            let conf = conf::with(conf, "/type", json!("veth"));
            attaches(host, &pod, &conf)
        });
    });
}

/// Behind a bridge with addresses of both families.
fn behind(program: &'static str, keys: impl Fn() -> BoxedStrategy<Value>) {
    lab_with(OURS, |host| {
        let pod = host.pod();
        let web = host.attach("bridge", conf::bridge(host), &pod);
        let prev = web.add().result();
        let tunes = |conf: &Value| {
            let web = host.attach(program, conf.clone(), &pod);
            lives(&web, &web.call_with("ADD", &prev).run())
        };
        each(network(program, keys()), tunes);
        web.del_with(&prev).silent();
    });
}

#[test]
fn what_portmap_accepts_the_kernel_accepts() {
    behind("portmap", || {
        let mapping = object(vec![
            of(json!([1, 80, 8080, 65535])).prop_map(|port| vec![("hostPort".to_owned(), port)]).boxed(),
            of(json!([1, 53, 80, 65535])).prop_map(|port| vec![("containerPort".to_owned(), port)]).boxed(),
            key("protocol", of(json!(["tcp", "udp", "sctp", "TCP", ""]))),
            key(
                "hostIP",
                of(json!([
                    "0.0.0.0",
                    "::",
                    "127.0.0.1",
                    "10.9.0.1",
                    "fd00:9::1",
                    "192.0.2.1",
                    "::ffff:10.9.0.1",
                    ""
                ])),
            ),
        ]);
        let mappings = prop::collection::vec(mapping, 0..6);
        object(vec![
            mappings.prop_map(|all| vec![("runtimeConfig".to_owned(), json!({"portMappings": all}))]).boxed(),
            key("snat", yes()),
            key("masqAll", yes()),
            key("markMasqBit", of(json!([0, 13, 31]))),
            key(
                "conditionsV4",
                of(json!([["ip saddr 10.0.0.0/8"], ["iifname", "!=", "eth0"], ["meta mark & 0xf == 3"], []])),
            ),
            key("conditionsV6", of(json!([["ip6 saddr != fd00::/8"], ["ip6 daddr ::1"]]))),
        ])
        .boxed()
    });
}

#[test]
fn what_firewall_accepts_the_kernel_accepts() {
    behind("firewall", || {
        object(vec![
            key("backend", of(json!(["nftables", ""]))),
            key("ingressPolicy", of(json!(["open", "same-bridge", "isolated"]))),
            key("markBit", of(json!([0, 13, 31]))),
        ])
        .boxed()
    });
}

#[test]
fn what_bandwidth_accepts_the_kernel_accepts() {
    behind("bandwidth", || {
        let rate = || {
            prop_oneof![
                of(json!([0, 7, 8, 9, 800, 80_000_000])),
                any::<u64>().prop_map(|rate| json!(rate >> (rate % 64)))
            ]
        };
        let burst = || {
            prop_oneof![
                of(json!([0, 1, 8, 800, 4_294_967_295_u32])),
                (0..34_359_738_368_u64).prop_map(|burst| json!(burst >> (burst % 32)))
            ]
        };
        object(vec![
            key("ingressRate", rate()),
            key("ingressBurst", burst()),
            key("egressRate", rate()),
            key("egressBurst", burst()),
        ])
        .boxed()
    });
}

#[test]
fn what_tuning_accepts_the_kernel_accepts() {
    behind("tuning", || {
        object(vec![
            key("mac", of(json!(["02:00:00:00:00:07", "0A-00-00-00-00-07", "c2:11:22:33:44:55"]))),
            key("mtu", of(json!([0, 68, 576, 1279, 1280, 1500, 9000, 65535]))),
            key("promisc", yes()),
            key("allmulti", yes()),
            key("txQLen", of(json!([0, 1, 1000, 2000]))),
            key(
                "sysctl",
                of(json!([{"net.ipv4.conf.IFNAME.arp_filter": "1"}, {"net/ipv4/ip_forward": "0"}, {}])),
            ),
        ])
        .boxed()
    });
}
