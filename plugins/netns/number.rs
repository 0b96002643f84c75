//! Numbers as C reads them: `0x20`, `040` and `32` are one.

use std::ffi::OsStr;

/// What `strtol` with base 0 makes of a whole word, if that fits a C int.
pub(crate) fn read(word: &OsStr) -> Option<i32> {
    let text = word.to_str()?.trim_start_matches(|c| matches!(c, ' ' | '\t'..='\r'));
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("-", digits)) => ("-", digits),
        Some(("+", digits)) => ("", digits),
        _ => ("", text),
    };
    let (digits, base) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    // Rust's own reader would take a second sign.
    digits.starts_with(|c: char| c.is_ascii_alphanumeric()).then_some(())?;
    i32::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_be_decimal_octal_or_hexadecimal() {
        for (word, number) in [
            ("32", 32),
            ("0x20", 32),
            ("0X2f", 47),
            ("040", 32),
            ("0", 0),
            ("-3", -3),
            ("+7", 7),
            (" 7", 7),
            ("-0x10", -16),
            ("2147483647", i32::MAX),
            ("-2147483648", i32::MIN),
        ] {
            assert_eq!(read(OsStr::new(word)), Some(number), "{word}");
        }
        for bad in ["", "abc", "0x", "08", "7 ", "--7", "+-7", "0x+7", "2147483648", "1.5", "self", "-"] {
            assert_eq!(read(OsStr::new(bad)), None, "{bad}");
        }
    }
}
