//! Numbers and text, without the standard library's formatting (see [`agent_core::text`]).

use agent_core::text::{DIGITS_MAX, decimal, parse_decimal};

/// The decimal digits.
pub(crate) fn number(number: impl Into<u64>) -> String {
    decimal(number.into(), &mut [0; DIGITS_MAX]).to_owned()
}

/// The digits of an error's number, or of another that is never below 0.
pub(crate) fn errno(number: i32) -> String {
    self::number(number.unsigned_abs())
}

/// The number that the text is, if it is one and not too large for its kind.
pub(crate) fn parse<N: TryFrom<u64>>(text: impl AsRef<[u8]>) -> Option<N> {
    parse_decimal(text.as_ref()).and_then(|number| number.try_into().ok())
}
