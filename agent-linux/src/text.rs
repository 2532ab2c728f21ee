//! Numbers and text, without the standard library's formatting (see [`agent_core::text`]).

use agent_core::text::{DIGITS_MAX, decimal, parse_decimal};

/// The decimal digits.
pub(crate) fn number(number: impl Into<u64>) -> String {
    decimal(number.into(), &mut [0; DIGITS_MAX]).to_owned()
}

/// The bytes as text. What is no UTF-8 is replaced by U+FFFD, a mark for each piece.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes;
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(whole) => {
                text.push_str(whole);
                return text;
            }
            Err(error) => error,
        };
        let (good, bad) = rest.split_at(error.valid_up_to());
        text.push_str(std::str::from_utf8(good).unwrap_or_default());
        text.push(char::REPLACEMENT_CHARACTER);
        rest = &bad[error.error_len().unwrap_or(bad.len())..];
    }
}

/// The digits of an error's number, or of another that is never below 0.
pub(crate) fn errno(number: i32) -> String {
    self::number(number.unsigned_abs())
}

/// The number that the text is, if it is one and not too large for its kind.
pub(crate) fn parse<N: TryFrom<u64>>(text: impl AsRef<[u8]>) -> Option<N> {
    parse_decimal(text.as_ref()).and_then(|number| number.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_replaced_as_the_standard_library_does() {
        for bytes in [
            &b""[..],
            b"plain",
            b"\xC3\xA4",
            b"a\xC3",
            b"\xC3(",
            b"\xFF\xFEx\xF0\x9F\x98",
            b"\xF0\x9F\x98\x80\xE2\x82",
            b"\xED\xA0\x80 \xC0\xAF",
        ] {
            assert_eq!(lossy(bytes), String::from_utf8_lossy(bytes));
        }
    }
}
