//! Numbers as text, without `core::fmt`, whose machinery a board's agent needs for nothing else.

/// Digits of the longest number.
pub const DIGITS_MAX: usize = 20;

/// The decimal digits of a number.
pub fn decimal(number: u64, digits: &mut [u8; DIGITS_MAX]) -> &str {
    let mut rest = number;
    let mut start = DIGITS_MAX;
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start = index;
        if rest == 0 {
            break;
        }
    }
    digits.get(start..).and_then(|digits| core::str::from_utf8(digits).ok()).unwrap_or_default()
}

/// The low four bits as a hexadecimal digit.
pub fn hex_digit(value: u8) -> u8 {
    match value & 15 {
        value @ 0..10 => b'0' + value,
        value => b'a' - 10 + value,
    }
}

/// The number that all of the text is in decimal digits; `None` for other text, none, and what is too large.
pub fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString as _;

    #[test]
    fn numbers_there_and_back() {
        for number in [0, 1, 9, 10, 4_096, 1_000_000, u64::MAX - 1, u64::MAX] {
            let mut digits = [0; DIGITS_MAX];
            assert_eq!(decimal(number, &mut digits), number.to_string());
            assert_eq!(parse_decimal(number.to_string().as_bytes()), Some(number));
        }
        for bad in ["", "-1", "+1", "1 ", "0x1", "18446744073709551616", "99999999999999999999"] {
            assert_eq!(parse_decimal(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!([0, 9, 10, 31].map(hex_digit), *b"09af");
    }
}
