//! The configuration of host-local: as written, and as meant.
//!
//! As written, addresses and subnets are still text: DEL needs only the folder, and must not fail because somebody
//! has meanwhile written nonsense into the ranges of which the lease was given.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use cni::call::Call;
use cni::env::Args;
use cni::error::{Code, Error, OrFail, Result};
use cni::name::NetworkName;
use cni::result::Route;
use cni::spec::Spec;
use cni::value::parse_cidr;
use serde::Deserialize;

use crate::caller::{self, address};
use crate::policy::{self, Allocation, Policy, excluded};
use crate::range::{BadRange, Range, RangeSet, Row};

/// Where leases are kept unless `dataDir` says otherwise; a folder per network lies below.
pub const DATA_DIR: &str = "/var/lib/cni/networks";

/// As written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    ipam: Option<RawIpam>,
    runtime_config: RawRuntime,
    args: caller::Args,
}

/// The section `ipam`. The four keys from `subnet` on are the old form with one range.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawIpam {
    ranges: RawSets,
    routes: Vec<Route>,
    data_dir: String,
    resolv_conf: String,
    subnet: Option<String>,
    range_start: Option<String>,
    range_end: Option<String>,
    gateway: Option<String>,
    exclude: Vec<Option<String>>,
    allocation: String,
    sticky: bool,
    cooldown_seconds: u32,
}

/// What the capabilities `ipRanges` and `ips` put in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawRuntime {
    ip_ranges: RawSets,
    ips: caller::Ips,
}

/// `null` in a list is an item, and one that says nothing.
type RawSets = Vec<Option<Vec<Option<RawRange>>>>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawRange {
    subnet: Option<String>,
    range_start: Option<String>,
    range_end: Option<String>,
    gateway: Option<String>,
}

/// As meant.
#[derive(Clone, Debug)]
pub struct Conf {
    /// One address is given from each; their place in the list is the number in `last_reserved_ip.N`.
    pub sets: Vec<RangeSet>,
    /// Addresses that the caller asks for by name.
    pub requested: Vec<IpAddr>,
    /// Copied into the result.
    pub routes: Vec<Route>,
    /// A resolver configuration (resolv.conf(5)) to put into the result.
    pub resolv_conf: Option<PathBuf>,
    /// Where the leases of this network are.
    pub folder: PathBuf,
    /// How addresses are chosen.
    pub policy: Policy,
}

impl Raw {
    /// Where the leases of a network are. Right even if nothing else in the configuration is.
    pub fn folder(&self, network: &NetworkName) -> PathBuf {
        let data_dir = self.ipam.as_ref().map_or("", |ipam| &ipam.data_dir);
        PathBuf::from(if data_dir.is_empty() { DATA_DIR } else { data_dir }).join(network.as_str())
    }

    /// For how long an address that is freed now rests. Right even if nothing else in the configuration is.
    pub fn cooldown(&self) -> Option<Duration> {
        let seconds = self.ipam.as_ref().map_or(0, |ipam| ipam.cooldown_seconds);
        Some(seconds).filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// What is meant.
    ///
    /// # Errors
    /// [`Code::CONFIG`] with the Go plugin's words for what makes no sense; [`Code::ENVIRONMENT`] for an `IP=` in
    /// `CNI_ARGS` that is no address.
    pub fn meant(self, call: &Call) -> Result<Conf> {
        let (folder, cooldown) = (self.folder(&call.network), self.cooldown());
        let Some(ipam) = self.ipam else { return Err(Error::config("IPAM config missing 'ipam' key")) };
        let requested = requested(caller::heard(&self.runtime_config.ips, &self.args), &call.args)?;
        let old_form = RawRange {
            subnet: ipam.subnet,
            range_start: ipam.range_start,
            range_end: ipam.range_end,
            gateway: ipam.gateway,
        };
        let old_form = old_form.subnet.is_some().then(|| Some(vec![Some(old_form)]));
        let written: Vec<_> =
            self.runtime_config.ip_ranges.into_iter().chain(old_form).chain(ipam.ranges).collect();
        let excluded: Vec<Row> = ipam
            .exclude
            .iter()
            .map(|text| excluded(text.as_deref().unwrap_or_default()))
            .collect::<Result<_>>()?;
        let sets = sets(written, call.spec, &excluded)?;
        let is_beside = |row: &Row| sets.iter().any(|set| set.is_beside(row));
        if let Some((text, _)) = ipam.exclude.iter().zip(&excluded).find(|(_, row)| !is_beside(row)) {
            let text = text.as_deref().unwrap_or_default();
            return Err(Error::config(format!("exclude {text:?} lies in no subnet of the ranges")));
        }
        let name = if ipam.sticky { policy::name(&call.args) } else { None };
        let policy = Policy { allocation: Allocation::read(&ipam.allocation)?, name, cooldown };
        let resolv_conf = Some(ipam.resolv_conf).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Conf { sets, requested, routes: ipam.routes, resolv_conf, folder, policy })
    }
}

/// `CNI_ARGS` is heard where the configuration asks for nothing: a plugin that reads `args` must not read their
/// equivalent there (CONVENTIONS.md of the CNI specification).
fn requested(heard: Option<&caller::Ips>, cni_args: &Args) -> Result<Vec<IpAddr>> {
    if let Some(asked) = heard {
        let read = |text: &Option<String>| requested_address(text.as_deref()).map_err(Error::config);
        return asked.iter().map(read).collect();
    }
    let Some(text) = cni_args.get("IP") else { return Ok(Vec::new()) };
    let wrong = |why| {
        Error::new(Code::ENVIRONMENT, format!("CNI_ARGS: error parsing value of pair \"IP={text}\": {why}"))
    };
    Ok(vec![requested_address(Some(text)).map_err(wrong)?])
}

/// `10.0.0.5` or `10.0.0.5/24`; what counts is the address, for the prefix is the subnet's.
fn requested_address(text: Option<&str>) -> Result<IpAddr, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Err("cannot understand ip: IP <nil> not v4 nor v6".into());
    };
    let with_prefix = || Some(parse_cidr(text)?.ip().to_canonical());
    address(text).ok().or_else(with_prefix).ok_or_else(|| format!("invalid IP address {text}"))
}

fn sets(written: RawSets, spec: Spec, excluded: &[Row]) -> Result<Vec<RangeSet>> {
    if written.is_empty() {
        return Err(Error::config("no IP ranges specified"));
    }
    let mut sets: Vec<RangeSet> = Vec::new();
    for (i, ranges) in written.into_iter().enumerate() {
        let named = |why: Error| Err(why).or_fail(Code::CONFIG, || format!("invalid range set {i}"));
        let ranges =
            ranges.unwrap_or_default().into_iter().map(|range| self::range(range.unwrap_or_default()));
        let set = ranges.collect::<Result<_>>().and_then(|ranges| RangeSet::new(ranges).map_err(bad));
        let set = set.and_then(|set| set.without(excluded).map_err(bad));
        sets.push(set.or_else(named)?);
    }
    caller::fit(spec, sets.iter().map(RangeSet::is_ipv4))?;
    for (i, set) in sets.iter().enumerate() {
        if let Some((j, _)) = sets.iter().enumerate().skip(i + 1).find(|(_, other)| set.overlaps(other)) {
            return Err(Error::config(format!("range set {i} overlaps with {j}")));
        }
    }
    Ok(sets)
}

fn range(written: RawRange) -> Result<Range> {
    let Some(subnet) = written.subnet else {
        return Err(Error::config("IP <nil> not v4 nor v6").details("no subnet"));
    };
    let subnet =
        parse_cidr(&subnet).ok_or_else(|| Error::config(format!("invalid CIDR address: {subnet}")))?;
    let [start, end, gateway] = [written.range_start, written.range_end, written.gateway].map(|text| {
        let text = text.filter(|text| !text.is_empty());
        text.map(|text| address(&text).map_err(Error::config)).transpose()
    });
    Range::new(subnet, start?, end?, gateway?).map_err(bad)
}

fn bad(range: BadRange) -> Error {
    Error::config(range.to_string())
}

#[cfg(test)]
mod tests {
    use cni::env::{Env, Verb};
    use cni::request::Request;

    use super::*;

    /// What a configuration means to an ADD; `rest` is what stands in it besides name and version.
    fn meant_with(cni_args: &str, version: &str, rest: &str) -> Result<Conf> {
        let stdin = format!(r#"{{"cniVersion":"{version}","name":"net","type":"bridge"{rest}}}"#);
        let env = [("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_ARGS", cni_args)];
        let Request::Del(del) = Request::read(Verb::Del, &Env::of(env), stdin.into(), false)? else {
            panic!("not a DEL")
        };
        cni::decode::decode::<Raw>(&del.call.config)?.meant(&del.call)
    }

    fn meant(rest: &str) -> Result<Conf> {
        meant_with("", "1.0.0", rest)
    }

    fn shown(conf: &Conf) -> Vec<String> {
        conf.sets.iter().map(RangeSet::to_string).collect()
    }

    #[test]
    fn sets_come_from_the_runtime_then_the_old_form_then_the_list() {
        let conf = meant(
            r#","ipam":{"subnet":"10.2.0.0/24","rangeEnd":"10.2.0.9","ranges":[[{"subnet":"10.3.0.0/24"}]]},
               "runtimeConfig":{"ipRanges":[[{"subnet":"10.1.0.0/24","gateway":""}]]}"#,
        );
        let expected = ["10.1.0.1-10.1.0.254", "10.2.0.1-10.2.0.9", "10.3.0.1-10.3.0.254"];
        assert_eq!(shown(&conf.unwrap()), expected);
    }

    #[test]
    fn the_old_form_without_a_subnet_says_nothing() {
        let conf =
            meant(r#","ipam":{"rangeStart":"10.2.0.7","ranges":[[{"subnet":"10.3.0.0/24"}]]}"#).unwrap();
        assert_eq!(shown(&conf), ["10.3.0.1-10.3.0.254"]);
        assert_eq!((conf.folder, conf.resolv_conf), ("/var/lib/cni/networks/net".into(), None));
    }

    #[test]
    fn of_those_who_ask_for_an_address_the_strongest_is_heard_alone() {
        let [runtime, args, cni_args] = ["10.1.0.7", "10.1.0.6", "10.1.0.5"];
        for mask in 0..8 {
            let given = |bit: u8, text: String| if mask & bit == 0 { String::new() } else { text };
            let rest = [
                r#","ipam":{"subnet":"10.1.0.0/24"}"#.to_string(),
                given(4, format!(r#","runtimeConfig":{{"ips":["{runtime}"]}}"#)),
                given(2, format!(r#","args":{{"cni":{{"ips":["{args}/24"]}},"ips":["1.2.3.4"]}}"#)),
            ];
            let variable = given(1, format!("IgnoreUnknown=1;K8S_POD_NAME=x;IP={cni_args}"));
            let conf = meant_with(&variable, "1.0.0", &rest.concat()).unwrap();
            let expected =
                [(4, runtime), (2, args), (1, cni_args)].into_iter().find(|(bit, _)| mask & bit != 0);
            assert_eq!(
                conf.requested.first().map(IpAddr::to_string).as_deref(),
                expected.map(|(_, ip)| ip),
                "{mask}"
            );
            assert!(conf.requested.len() <= 1);
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_in_the_go_plugins_words_with_code_7() {
        for (rest, words) in [
            ("", "IPAM config missing 'ipam' key"),
            (r#","ipam":{}"#, "no IP ranges specified"),
            (r#","ipam":{"ranges":[null]}"#, "invalid range set 0: empty range set"),
            (r#","ipam":{"ranges":[[null]]}"#, "invalid range set 0: IP <nil> not v4 nor v6"),
            (r#","ipam":{"ranges":[[{"subnet":"x"}]]}"#, "invalid range set 0: invalid CIDR address: x"),
            (
                r#","ipam":{"subnet":"10.1.0.0/24","gateway":"x"}"#,
                "invalid range set 0: invalid IP address: x",
            ),
            (
                r#","ipam":{"ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"10.1.0.0/25"}]]}"#,
                "range set 0 overlaps with 1",
            ),
            (
                r#","ipam":{"subnet":"10.1.0.0/24"},"runtimeConfig":{"ips":[null]}"#,
                "cannot understand ip: IP <nil> not v4 nor v6",
            ),
            (r#","ipam":{"subnet":"10.1.0.0/24"},"args":{"cni":{"ips":["x/8"]}}"#, "invalid IP address x/8"),
        ] {
            let error = meant(rest).unwrap_err();
            assert_eq!((error.code(), error.msg().as_str()), (Code::CONFIG, words), "{rest}");
        }
    }

    #[test]
    fn what_operators_ask_for_is_off_unless_they_do() {
        let subnet = r#","ipam":{"subnet":"10.1.0.0/24"}"#;
        let plain = meant_with("K8S_POD_NAME=db-0", "1.0.0", subnet).unwrap().policy;
        assert_eq!(plain, Policy { allocation: Allocation::RoundRobin, name: None, cooldown: None });
        let asked = subnet.replace('}', r#","allocation":"random","sticky":true,"cooldownSeconds":30}"#);
        let policy = meant_with("K8S_POD_NAMESPACE=x;K8S_POD_NAME=db-0", "1.0.0", &asked).unwrap().policy;
        assert_eq!((policy.allocation, policy.cooldown), (Allocation::Random, Some(Duration::from_secs(30))));
        let elsewhere = meant_with("K8S_POD_NAMESPACE=y;K8S_POD_NAME=db-0", "1.0.0", &asked).unwrap().policy;
        assert!(policy.name.is_some() && policy.name != elsewhere.name);
        assert_eq!(meant_with("", "1.0.0", &asked).unwrap().policy.name, None);
        for (key, words) in [
            (r#""allocation":"fastest""#, "allocation \"fastest\" is neither"),
            (r#""exclude":["10.1.0.9-10.1.0.2"]"#, "exclude \"10.1.0.9-10.1.0.2\" is no address"),
            (r#""exclude":[null]"#, "exclude \"\" is no address"),
            (r#""exclude":["10.1.0.0/24"]"#, "range set 0: exclude leaves no address of 10.1.0.1-10.1.0.254"),
            (
                r#""exclude":["10.1.0.9","10.1.1.0/24"]"#,
                "exclude \"10.1.1.0/24\" lies in no subnet of the ranges",
            ),
            (r#""exclude":["10.0.0.0-10.0.255.255"]"#, "exclude \"10.0.0.0-10.0.255.255\" lies in no subnet"),
            (r#""exclude":["fd00::1"]"#, "exclude \"fd00::1\" lies in no subnet"),
        ] {
            let error = meant(&subnet.replace('}', &format!(",{key}}}"))).unwrap_err();
            assert!(error.code() == Code::CONFIG && error.msg().contains(words), "{}", error.msg());
        }
        // One list may serve several nodes, each with its own part of the subnet.
        for row in ["10.1.0.200", "10.1.0.0-10.1.0.1", "10.1.0.255-10.1.7.0", "10.0.0.0-10.1.0.0"] {
            let part = format!(r#","rangeStart":"10.1.0.9","rangeEnd":"10.1.0.19","exclude":["{row}"]}}"#);
            assert!(meant(&subnet.replace('}', &part)).is_ok(), "{row}");
        }
        let silent =
            subnet.replace('}', r#","exclude":null,"allocation":null,"sticky":null,"cooldownSeconds":null}"#);
        assert_eq!(meant(&silent).unwrap().policy, plain);
    }

    #[test]
    fn old_results_have_room_for_one_address_of_a_family() {
        let two = r#","ipam":{"ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"10.2.0.0/24"}]]}"#;
        let both = r#","ipam":{"ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"fd00::/64"}]]}"#;
        let error = meant_with("", "0.2.0", two).unwrap_err();
        assert_eq!(error.msg(), "CNI version 0.2.0 does not support more than 1 address per family");
        assert!(meant_with("", "0.3.0", two).is_ok() && meant_with("", "0.2.0", both).is_ok());
    }

    #[test]
    fn an_address_in_cni_args_that_is_none_is_the_environments_fault() {
        let error = meant_with("IP=10.1", "1.0.0", r#","ipam":{"subnet":"10.1.0.0/24"}"#).unwrap_err();
        assert_eq!(error.code(), Code::ENVIRONMENT);
        assert_eq!(
            error.msg(),
            r#"CNI_ARGS: error parsing value of pair "IP=10.1": invalid IP address 10.1"#
        );
    }
}
