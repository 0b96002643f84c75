//! The configuration twice: as written, and as meant. Directions are the container's: ingress is what it receives.

use cni::error::{Error, Result};
use linux::qdisc::TokenBucket;
use serde::Deserialize;

/// What go-cni sends for "no burst was asked for".
const NO_BURST: u64 = u32::MAX as u64;

/// How long a packet may wait for its turn, as a part of a second: the Go plugin's 25 ms.
const LATENCY: u64 = 40;

/// The burst that is meant where none is given, as a part of a second: 50 ms.
const PAUSE: u64 = 20;

/// Beside its payload of one MTU a frame has headers, and the kernel rounds a bucket down.
const HEADERS: u32 = 64;

/// The kernel counts a burst in ticks of so many nanoseconds, and what is shorter than one is none (`PSCHED_SHIFT`).
const TICK: u64 = 64;

/// In bytes per second: what goes in one tick, with a packet, is no longer a burst that can be counted.
const TOO_FAST: u64 = 60_000_000_000_000_000;

/// As written: the keys of the Go plugin, 1.9.1. Rates are in bits per second, bursts in bits.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Raw {
    ingress_rate: Option<u64>,
    ingress_burst: Option<u64>,
    egress_rate: Option<u64>,
    egress_burst: Option<u64>,
    runtime_config: Runtime,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Runtime {
    bandwidth: Limits,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Limits {
    ingress_rate: u64,
    ingress_burst: u64,
    egress_rate: u64,
    egress_burst: u64,
}

/// As meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conf {
    /// What the container may receive.
    pub ingress: Option<Limit>,
    /// What it may send.
    pub egress: Option<Limit>,
}

/// The limit of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Bytes per second, at least one.
    rate: u64,
    /// What may go at once after a pause, in bytes; `None` is what goes in 50 ms.
    burst: Option<u32>,
}

impl Conf {
    /// What the configuration means. One key in the network's configuration, and the runtime is not asked.
    ///
    /// # Errors
    /// [`cni::error::Code::CONFIG`] with key and value, for what makes no sense.
    pub fn meant(raw: Raw) -> Result<Conf> {
        let own = [raw.ingress_rate, raw.ingress_burst, raw.egress_rate, raw.egress_burst];
        let Limits { ingress_rate, ingress_burst, egress_rate, egress_burst } =
            match own.iter().any(Option::is_some) {
                true => {
                    let [ingress_rate, ingress_burst, egress_rate, egress_burst] =
                        own.map(Option::unwrap_or_default);
                    Limits { ingress_rate, ingress_burst, egress_rate, egress_burst }
                }
                false => raw.runtime_config.bandwidth,
            };
        Ok(Conf {
            ingress: Limit::meant("ingress", ingress_rate, ingress_burst)?,
            egress: Limit::meant("egress", egress_rate, egress_burst)?,
        })
    }

    /// Nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }
}

impl Limit {
    fn meant(direction: &str, rate: u64, burst: u64) -> Result<Option<Limit>> {
        let refuse = |text: &str| {
            Err(Error::config(text).details(format!("{direction}Rate {rate}, {direction}Burst {burst}")))
        };
        let burst = match burst {
            0 | NO_BURST => None,
            bits => Some(bits / 8),
        };
        let burst = match burst.map(u32::try_from).transpose() {
            Ok(Some(u32::MAX)) | Err(_) => return refuse("burst cannot be more than 4GB"),
            Ok(burst) => burst,
        };
        match (rate, burst) {
            (0, Some(_)) => refuse("if burst is set, rate must also be set"),
            (0, None) => Ok(None),
            (1..8, _) => refuse("the rate is less than a byte per second"),
            (rate, _) if rate / 8 > TOO_FAST => refuse("the rate is more than the kernel can count"),
            (rate, burst) => Ok(Some(Limit { rate: rate / 8, burst })),
        }
    }

    /// The token bucket on a link with this MTU. A burst smaller than a packet would let no packet through, and the kernel
    /// rounds it down to whole ticks.
    pub fn bucket(&self, mtu: u32) -> TokenBucket {
        let default = || u32::try_from(self.rate / PAUSE).unwrap_or(u32::MAX);
        let of_a_tick = u32::try_from(u128::from(self.rate) * u128::from(TICK) / 1_000_000_000);
        let least = mtu.saturating_add(HEADERS).saturating_add(of_a_tick.unwrap_or(u32::MAX));
        let burst = self.burst.unwrap_or_else(default).max(least);
        let waiting = u32::try_from(self.rate / LATENCY).unwrap_or(u32::MAX);
        TokenBucket { rate: self.rate, burst, limit: waiting.saturating_add(burst) }
    }
}

#[cfg(test)]
mod tests {
    use cni::decode::decode;
    use cni::error::Code;
    use cni::value::Value;

    use super::*;

    fn meant(keys: &str) -> Result<Conf> {
        Conf::meant(decode(&Value::parse(format!("{{{keys}}}").as_bytes())?)?)
    }

    fn bucket(keys: &str) -> TokenBucket {
        meant(keys).unwrap().ingress.unwrap().bucket(1500)
    }

    #[test]
    fn bits_become_bytes() {
        let expected = TokenBucket { rate: 100_000, burst: 100_000, limit: 102_500 };
        assert_eq!(bucket(r#""ingressRate":800000,"ingressBurst":800000"#), expected);
    }

    #[test]
    fn without_a_burst_fifty_milliseconds_are_meant_and_never_less_than_a_packet() {
        assert_eq!(bucket(r#""ingressRate":80000000"#).burst, 500_000);
        let containerd = r#""runtimeConfig":{"bandwidth":{"IngressRate":80000000,"IngressBurst":4294967295,"EgressRate":0,"EgressBurst":4294967295}}"#;
        assert_eq!(bucket(containerd).burst, 500_000);
        assert_eq!(meant(containerd).unwrap().egress, None);
        assert_eq!(bucket(r#""ingressRate":8000,"ingressBurst":80"#).burst, 1564);
        assert_eq!(
            bucket(r#""ingressRate":8000,"ingressBurst":80000000"#).burst,
            10_000_000,
            "above the rate"
        );
    }

    #[test]
    fn a_burst_lasts_as_long_as_the_kernel_can_count() {
        for rate in [200_000_000_000_u64, 400_000_000_000, 479_999_999_999_999_999] {
            let bucket = bucket(&format!(r#""ingressRate":{rate},"ingressBurst":8"#));
            assert!(bucket.shape().buffer > 0 && bucket.burst > 1564, "{bucket:?}");
        }
        let error = meant(r#""egressRate":18446744073709551615"#).unwrap_err();
        assert_eq!(error.msg(), "the rate is more than the kernel can count");
    }

    #[test]
    fn the_networks_own_keys_go_before_the_runtimes() {
        let runtime = r#""runtimeConfig":{"bandwidth":{"ingressRate":8000000,"egressRate":8000000}}"#;
        assert!(meant(&format!(r#""ingressRate":0,{runtime}"#)).unwrap().is_empty());
        let both = meant(&format!(r#""egressRate":16000000,{runtime}"#)).unwrap();
        assert_eq!((both.ingress, both.egress.map(|it| it.rate)), (None, Some(2_000_000)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (keys, text) in [
            (r#""ingressBurst":8000"#, "if burst is set, rate must also be set"),
            (r#""egressRate":8000,"egressBurst":34359738360"#, "burst cannot be more than 4GB"),
            (r#""egressRate":7"#, "the rate is less than a byte per second"),
        ] {
            let error = meant(keys).unwrap_err();
            assert_eq!((error.code(), error.msg().as_str()), (Code::CONFIG, text));
        }
    }
}
