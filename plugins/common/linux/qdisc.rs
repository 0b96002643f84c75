//! Queueing disciplines: how fast a link sends (tc-tbf(8)), and what comes in sent round through another link, so that it
//! can be slowed down too (tc-mirred(8), `ifb`).

pub(crate) mod message;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use nix::errno::Errno;

use self::message::{Attributes, Tc};
use crate::error::Result;
use crate::link::{self, Link};
use crate::rtnl::message::RtnlMessage;
use crate::rtnl::{Request, Rtnl};

/// include/uapi/linux/pkt_sched.h and rtnetlink.h.
const ROOT: u32 = 0xffff_ffff;
const INGRESS: u32 = 0xffff_fff1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// `1:` and `1:1`.
const FIRST_QDISC: u32 = 0x1_0000;
const FIRST_CLASS: u32 = 0x1_0001;
const OPTIONS: u16 = 2;
const TBF_PARMS: u16 = 1;
const TBF_RATE64: u16 = 4;
const U32_CLASSID: u16 = 1;
const U32_SEL: u16 = 5;
const U32_ACT: u16 = 7;
const ACT_KIND: u16 = 1;
const ACT_OPTIONS: u16 = 2;
const MIRRED_PARMS: u16 = 2;
/// Priority 1, `ETH_P_ALL` in network order.
const FIRST_FILTER_OF_ALL: u32 = 0x1_0000 | (0x0003_u16.to_be() as u32);

/// A token bucket: what a link may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes per second.
    pub rate: u64,
    /// What may be sent at once after a pause, in bytes. A packet that is larger is never sent.
    pub burst: u32,
    /// How much may wait, in bytes.
    pub limit: u32,
}

/// What the kernel keeps of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes per second.
    pub rate: u64,
    /// The time that a burst takes, in ticks of 64 ns (`PSCHED_SHIFT`).
    pub buffer: u32,
    /// How much may wait, in bytes.
    pub limit: u32,
}

impl TokenBucket {
    /// What the kernel will keep of it. A burst of more than 275 seconds is cut: the number has 32 bits.
    pub fn shape(&self) -> Shape {
        let nanoseconds = u128::from(self.burst) * 1_000_000_000 / u128::from(self.rate.max(1));
        let buffer = u32::try_from(nanoseconds >> 6).unwrap_or(u32::MAX);
        Shape { rate: self.rate, buffer, limit: self.limit }
    }
}

impl Request {
    /// Lets a link send at most so much; another discipline at its root gives way.
    pub fn set_token_bucket(link: u32, bucket: &TokenBucket) -> Request {
        let Shape { rate, buffer, limit } = bucket.shape();
        let mut parameters = [0; 36];
        let words = [(8, u32::try_from(rate).unwrap_or(u32::MAX)), (24, limit), (28, buffer)];
        for (at, word) in words {
            if let Some(place) = parameters.get_mut(at..at + 4) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
        }
        let options = Attributes::new().bytes(TBF_PARMS, &parameters);
        let options = match u32::try_from(rate) {
            Ok(_) => options,
            Err(_) => options.bytes(TBF_RATE64, &rate.to_ne_bytes()),
        };
        let tc = Tc::of(link, FIRST_QDISC, ROOT, "tbf").with(OPTIONS, options);
        let doing = format!("set a token bucket of {rate} bytes per second on link {link}");
        Request::new(RtnlMessage::NewQdisc(tc), NLM_F_CREATE | NLM_F_REPLACE, doing)
    }

    /// Gives a link back the discipline that it was born with.
    pub fn delete_root_qdisc(link: u32) -> Request {
        let doing = format!("delete the queueing discipline of link {link}");
        let request = Request::new(RtnlMessage::DelQdisc(Tc::at(link, 0, ROOT)), 0, doing);
        request.forgiving(&[Errno::ENOENT, Errno::ENODEV])
    }

    /// Makes the place where filters see what comes in.
    pub fn set_ingress(link: u32) -> Request {
        let tc = Tc::of(link, INGRESS_HANDLE, INGRESS, "ingress");
        let doing = format!("make an ingress qdisc on link {link}");
        Request::new(RtnlMessage::NewQdisc(tc), NLM_F_CREATE | NLM_F_EXCL, doing)
    }

    /// Deletes that place with its filters.
    pub fn delete_ingress(link: u32) -> Request {
        let doing = format!("delete the ingress qdisc of link {link}");
        let request = Request::new(RtnlMessage::DelQdisc(Tc::at(link, INGRESS_HANDLE, INGRESS)), 0, doing);
        // EINVAL: there is no such place.
        request.forgiving(&[Errno::ENOENT, Errno::ENODEV, Errno::EINVAL])
    }

    /// Sends everything that comes in on a link, which has that place, out through another one: by a u32 filter, which
    /// every kernel has, with one key that fits all packets.
    pub fn redirect(link: u32, to: u32) -> Request {
        let mut selector = [0; 32];
        // TC_U32_TERMINAL, one key.
        selector[0] = 1;
        selector[2] = 1;
        let action = Attributes::new().text(ACT_KIND, "mirred").nest(ACT_OPTIONS, mirred(to));
        let options = Attributes::new()
            .bytes(U32_CLASSID, &FIRST_CLASS.to_ne_bytes())
            .bytes(U32_SEL, &selector)
            .nest(U32_ACT, Attributes::new().nest(1, action));
        let mut tc = Tc::of(link, 0, INGRESS_HANDLE, "u32").with(OPTIONS, options);
        tc.info = FIRST_FILTER_OF_ALL;
        let doing = format!("redirect what comes in on link {link} to link {to}");
        Request::new(RtnlMessage::NewFilter(tc), NLM_F_CREATE | NLM_F_EXCL, doing)
    }
}

/// `struct tc_mirred`: TC_ACT_STOLEN, TCA_EGRESS_REDIR, the link.
fn mirred(to: u32) -> Attributes {
    let words: [u32; 7] = [0, 0, 4, 0, 0, 1, to];
    Attributes::new().bytes(MIRRED_PARMS, &words.map(u32::to_ne_bytes).concat())
}

/// What is done with what comes in on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// There is no place for it.
    Nothing,
    /// The place is there, and nothing in it.
    Empty,
    /// All of it goes to this link; 0 is one that has vanished, and then it goes nowhere.
    Redirect(u32),
    /// Something else.
    Other,
}

/// An `ifb` link: what is sent through it comes out where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfbSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Its group (`IFLA_GROUP`).
    pub group: u32,
    /// Its free text, of at most 255 bytes.
    pub alias: &'a str,
}

impl Rtnl {
    /// Makes an `ifb` link, which is down: settings have to be there before it comes up.
    ///
    /// The kernel takes no alias with a link that it makes. It comes in the same datagram, of which the kernel does all or,
    /// should we die before, nothing: there is no such link without one.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken, `EOPNOTSUPP` where the kernel has no such links.
    pub fn create_ifb(&self, ifb: &IfbSpec<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(ifb.name.into()),
            LinkAttribute::Mtu(ifb.mtu),
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::Group(ifb.group),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
        ];
        let doing = || format!("create ifb {}", ifb.name);
        let create = Request::new(RtnlMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, doing());
        let mut message = LinkMessage::default();
        let name = LinkAttribute::IfName(ifb.name.into());
        message.attributes = vec![name, LinkAttribute::IfAlias(ifb.alias.into())];
        self.all([create, Request::new(RtnlMessage::SetLink(message), 0, doing())])
    }

    /// The token bucket at a link's root, if that is what is there.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn token_bucket(&self, link: u32) -> Result<Option<Shape>> {
        let question = RtnlMessage::GetQdisc(Tc::at(link, 0, ROOT));
        let doing = format!("look up the queueing discipline of link {link}");
        // The kernel answers with a notification, which the asker gets only as an echo (`qdisc_get_notify`).
        match self.send_for_echo(Request::new(question, NLM_F_ECHO, doing)) {
            Ok(Some(RtnlMessage::NewQdisc(tc))) if tc.is("tbf") => Ok(shape(&tc)),
            Ok(_) => Ok(None),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is done with what comes in on a link.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn ingress(&self, link: u32) -> Result<Ingress> {
        let doing = format!("look up the ingress qdisc of link {link}");
        let question = RtnlMessage::GetQdisc(Tc::at(link, 0, INGRESS));
        match self.send_for_echo(Request::new(question, NLM_F_ECHO, doing.as_str())) {
            Ok(Some(RtnlMessage::NewQdisc(tc))) if tc.is("ingress") => {}
            Ok(Some(_)) => return Ok(Ingress::Other),
            Ok(None) => return Ok(Ingress::Nothing),
            Err(error) if error.is_absent() || error.is_invalid() => return Ok(Ingress::Nothing),
            Err(error) => return Err(error),
        }
        let filters = self.dump(RtnlMessage::GetFilter(Tc::at(link, 0, INGRESS_HANDLE)), &doing)?;
        // A u32 filter comes with its hash tables, which have no options of interest.
        let filters = filters.into_iter().filter_map(|answer| match answer {
            RtnlMessage::NewFilter(tc) if tc.link == link => Some(tc),
            _ => None,
        });
        let filters: Vec<Tc> = filters.collect();
        let mut redirects = filters.iter().filter_map(redirect_of);
        Ok(match (redirects.next(), redirects.next(), filters.iter().all(|tc| tc.is("u32"))) {
            (Some(to), None, true) => Ingress::Redirect(to),
            (None, None, true) => Ingress::Empty,
            _ => Ingress::Other,
        })
    }

    /// The links of kind `ifb` in a group.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn ifbs(&self, group: u32) -> Result<Vec<Link>> {
        self.links(link::LinkFilter { kind: Some("ifb"), group: Some(group), ..link::LinkFilter::default() })
    }
}

pub(crate) fn shape(tc: &Tc) -> Option<Shape> {
    let options = tc.get(OPTIONS)?;
    let parameters = message::find(options, TBF_PARMS)?;
    let word = |at: usize| parameters.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let large =
        message::find(options, TBF_RATE64).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes);
    Some(Shape { rate: large.or(word(8).map(u64::from))?, limit: word(24)?, buffer: word(28)? })
}

pub(crate) fn redirect_of(tc: &Tc) -> Option<u32> {
    let actions = message::find(tc.get(OPTIONS)?, U32_ACT)?;
    let options = message::find(message::find(actions, 1)?, ACT_OPTIONS)?;
    let parameters = message::find(options, MIRRED_PARMS)?;
    parameters.get(24..28)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_kept_as_rate_time_and_limit() {
        let bucket = TokenBucket { rate: 100_000, burst: 100_000, limit: 102_500 };
        assert_eq!(bucket.shape(), Shape { rate: 100_000, buffer: 15_625_000, limit: 102_500 });
        let slow = TokenBucket { rate: 1, burst: u32::MAX, limit: 1 };
        assert_eq!(slow.shape().buffer, u32::MAX);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for rate in [1, 100_000, 1 << 33] {
            let bucket = TokenBucket { rate, burst: 5000, limit: 9000 };
            let RtnlMessage::NewQdisc(tc) = Request::set_token_bucket(7, &bucket).what().clone() else {
                panic!("no qdisc")
            };
            assert_eq!(shape(&tc), Some(bucket.shape()));
        }
        let RtnlMessage::NewFilter(tc) = Request::redirect(7, 9).what().clone() else { panic!("no filter") };
        assert_eq!(redirect_of(&tc), Some(9));
    }
}
