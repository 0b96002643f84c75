//! RTM_GETVLAN and its answer (include/uapi/linux/if_bridge.h), which the netlink library does not know: the one way to ask
//! for the VLANs of one link.

use netlink_packet_core::{DecodeError, Emitable, NlasIterator, parse_u16, parse_u32};

use super::{VlanId, Vlans};

/// The length of a `struct br_vlan_msg`: family, padding, index.
const HEADER: usize = 8;
const AF_BRIDGE: u8 = 7;
const BRIDGE_VLANDB_ENTRY: u16 = 1;
const BRIDGE_VLANDB_ENTRY_INFO: u16 = 1;
const BRIDGE_VLANDB_ENTRY_RANGE: u16 = 2;
const BRIDGE_VLAN_INFO_PVID: u16 = 1 << 1;
const BRIDGE_VLAN_INFO_UNTAGGED: u16 = 1 << 2;

/// Which link's VLANs are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question(pub(crate) u32);

impl Emitable for Question {
    fn buffer_len(&self) -> usize {
        HEADER
    }

    fn emit(&self, buffer: &mut [u8]) {
        let bytes = [AF_BRIDGE, 0, 0, 0].into_iter().chain(self.0.to_ne_bytes());
        buffer.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    }
}

/// Reads the payload of an answer: the index of a link, and some of its VLANs, or all.
///
/// # Errors
/// It is cut short, or names what is no VLAN.
pub(crate) fn read(payload: &[u8]) -> Result<(u32, Vlans), DecodeError> {
    let (header, attributes) =
        payload.split_at_checked(HEADER).ok_or_else(|| DecodeError::from("vlans without a header"))?;
    let link = parse_u32(header.get(4..).unwrap_or_default())?;
    let mut vlans = Vlans::default();
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        if attribute.kind() == BRIDGE_VLANDB_ENTRY {
            read_entry(&mut vlans, attribute.value())?;
        }
    }
    Ok((link, vlans))
}

/// A VLAN, or an unbroken row of them that are alike.
fn read_entry(vlans: &mut Vlans, parts: &[u8]) -> Result<(), DecodeError> {
    let (mut flags, mut first, mut last) = (0, None, None);
    for part in NlasIterator::new(parts) {
        let part = part?;
        match (part.kind(), part.value()) {
            (BRIDGE_VLANDB_ENTRY_INFO, value) => {
                let (left, right) = value.split_at_checked(2).unwrap_or_default();
                flags = parse_u16(left)?;
                first = Some(parse_u16(right)?);
            }
            (BRIDGE_VLANDB_ENTRY_RANGE, value) => last = Some(parse_u16(value)?),
            _ => {}
        }
    }
    let Some(first) = first else { return Err(DecodeError::from("a vlan without a number")) };
    for number in first..=last.unwrap_or(first) {
        let id = VlanId::new(number)
            .ok_or_else(|| DecodeError::from(format!("{number} is no number of a vlan")))?;
        match flags & BRIDGE_VLAN_INFO_UNTAGGED {
            0 => vlans.tagged.insert(id),
            _ => vlans.untagged.insert(id),
        };
        vlans.pvid = vlans.pvid.or(Some(id).filter(|_| flags & BRIDGE_VLAN_INFO_PVID != 0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn entry(flags: u16, first: u16, last: Option<u16>) -> Vec<u8> {
        let about = [flags.to_ne_bytes(), first.to_ne_bytes()].concat();
        let range = last.map(|last| attribute(BRIDGE_VLANDB_ENTRY_RANGE, &last.to_ne_bytes()));
        let state = attribute(3, &[3]);
        attribute(
            BRIDGE_VLANDB_ENTRY,
            &[attribute(BRIDGE_VLANDB_ENTRY_INFO, &about), state, range.unwrap_or_default()].concat(),
        )
    }

    fn answer(entries: &[Vec<u8>]) -> Vec<u8> {
        [vec![AF_BRIDGE, 0, 0, 0, 9, 0, 0, 0], entries.concat()].concat()
    }

    #[test]
    fn a_question_is_about_one_link() {
        let mut bytes = [0xff; HEADER];
        Question(9).emit(&mut bytes);
        assert_eq!(bytes[..4], [AF_BRIDGE, 0, 0, 0]);
        assert_eq!(bytes[4..], 9u32.to_ne_bytes());
    }

    #[test]
    fn entries_and_rows_of_them_are_read() {
        let bytes = answer(&[entry(6, 1, None), entry(0, 200, Some(202)), entry(4, 7, None)]);
        let (link, vlans) = read(&bytes).unwrap();
        assert_eq!((link, vlans.to_string().as_str()), (9, "1,7 untagged (pvid 1), 200-202 tagged"));
        assert_eq!(read(&answer(&[])).unwrap(), (9, Vlans::default()));
    }

    #[test]
    fn what_is_cut_short_or_no_vlan_is_an_error() {
        let whole = answer(&[entry(6, 1, None)]);
        for length in [0, 3, HEADER - 1, whole.len() - 1, whole.len() - 4] {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(read(&answer(&[entry(0, 0, None)])).is_err());
        assert!(read(&answer(&[entry(0, 4000, Some(5000))])).is_err());
        assert!(read(&answer(&[attribute(BRIDGE_VLANDB_ENTRY, &attribute(3, &[3]))])).is_err());
    }
}
