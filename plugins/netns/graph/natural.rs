//! The order in which people count: `pod2` before `pod10`.

use std::cmp::Ordering;

/// Compares two names; numbers in them by their value.
pub(super) fn natural(left: &[u8], right: &[u8]) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        let order = match (a.split_first(), b.split_first()) {
            (Some((x, _)), Some((y, _))) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let ((x, after_x), (y, after_y)) = (number(a), number(b));
                (a, b) = (after_x, after_y);
                x.len().cmp(&y.len()).then_with(|| x.cmp(y))
            }
            (Some((x, after_x)), Some((y, after_y))) => {
                (a, b) = (after_x, after_y);
                x.cmp(y)
            }
            // `007` and `7` are the same number, and not the same name.
            (None, None) => return left.cmp(right),
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The digits at the beginning, without leading zeros, and what comes after them.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    (digits.get(zeros..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_by_their_value() {
        let mut names = ["pod10", "pod2", "a", "pod2b", "pod", "pod02", "pod2-10", "pod2-9", "Z", ""];
        names.sort_by(|a, b| natural(a.as_bytes(), b.as_bytes()));
        assert_eq!(names, ["", "Z", "a", "pod", "pod02", "pod2", "pod2-9", "pod2-10", "pod2b", "pod10"]);
    }
}
