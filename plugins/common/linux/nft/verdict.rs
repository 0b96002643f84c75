//! What a rule or an element of a verdict map decides.

use crate::nft::attribute::{Attributes, Read};

const CODE: u16 = 1;
const CHAIN: u16 = 2;

/// A decision about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is thrown away.
    Drop,
    /// It passes this hook; a later hook or chain may still drop it.
    Accept,
    /// The rules after the one that jumped here go on.
    Return,
    /// The chain of this name decides, and if it does not, the rules after this one.
    Jump(String),
    /// The chain of this name decides instead of this one.
    Goto(String),
}

impl Verdict {
    pub(super) fn write(&self) -> Attributes {
        let (code, chain) = match self {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Goto(chain) => (-4, Some(chain)),
            Verdict::Return => (-5_i32, None),
        };
        let attributes = Attributes::new().bytes(CODE, &code.to_be_bytes());
        attributes.with(chain, |attributes, chain| attributes.text(CHAIN, chain))
    }

    pub(super) fn read(attributes: Read<'_>) -> Option<Verdict> {
        let code = attributes.get(CODE)?.try_into().ok().map(i32::from_be_bytes)?;
        Some(match code {
            0 => Verdict::Drop,
            1 => Verdict::Accept,
            -3 => Verdict::Jump(attributes.text(CHAIN)?),
            -4 => Verdict::Goto(attributes.text(CHAIN)?),
            -5 => Verdict::Return,
            _ => return None,
        })
    }

    /// The chain that it leads to.
    pub fn chain(&self) -> Option<&str> {
        match self {
            Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}
