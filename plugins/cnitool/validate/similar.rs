//! Did you mean?

/// The known word that was probably meant: the same in another case, or a slip or two away.
pub(crate) fn similar<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let rated = known.into_iter().map(|known| (distance(&lower, &known.to_lowercase()), known));
    // A third of the letters may be wrong: `mtuu` is mtu, `ipMask` is ipMasq, and `foo` is nothing.
    let close = rated.filter(|(slips, known)| *slips <= known.chars().count().max(3) / 3);
    close.min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// How many slips lead from one word to the other: a letter too many, one missing, another one, or two that changed places.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
            let swapped = i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            let swap = if swapped { at(&before, j - 1) + 1 } else { usize::MAX };
            let change = at(&row, j) + usize::from(a != b);
            next.push(change.min(at(&row, j + 1) + 1).min(at(&next, j) + 1).min(swap));
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_and_another_word_is_not() {
        let known = ["bridge", "isGateway", "isDefaultGateway", "ipMasq", "ipMasqBackend", "mtu", "vlan"];
        for (word, meant) in [
            ("isGatewya", Some("isGateway")),
            ("isgateway", Some("isGateway")),
            ("ipMask", Some("ipMasq")),
            ("birdge", Some("bridge")),
            ("mtuu", Some("mtu")),
            ("mut", Some("mtu")),
            ("subnet", None),
            ("foo", None),
            ("", None),
        ] {
            assert_eq!(similar(word, known), meant, "{word}");
        }
        assert_eq!((distance("ca", "abc"), distance("abcd", "acbd"), distance("", "abc")), (3, 1, 3));
    }
}
