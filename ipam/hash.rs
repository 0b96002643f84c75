//! A number for names: the same on every machine, in every boot and in every version of this program.

/// The number of these names in this order. Different names have different numbers but for one chance in 2^64.
pub fn of(names: &[&str]) -> u64 {
    // No name holds a NUL, so the end of one cannot be mistaken.
    let bytes = names.iter().flat_map(|name| name.bytes().chain([0]));
    spread(bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// Spreads what is in some bits over all of them (the last step of SplitMix64).
pub fn spread(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_read_alike_are_told_apart() {
        let all = [&["a", "b"][..], &["ab", ""], &["ab"], &["", "ab"], &["a", "bc"], &["ab", "c"]];
        for (i, one) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|other| of(one) != of(other)), "{one:?}");
        }
    }

    /// Whoever updates keeps the addresses of his containers.
    #[test]
    fn a_number_stays_what_it_is() {
        assert_eq!(of(&["default", "db-0"]), 1_230_879_302_330_968_400);
    }
}
