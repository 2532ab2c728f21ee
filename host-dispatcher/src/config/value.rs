//! Small checked values that several files use: names and periods.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

/// A name that may stand in a path, a command and a URL as it is: 1 to 64 of `A-Z a-z 0-9 . _ -`, and the first of
/// them a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A period of time in a file: `500ms`, `30s`, `5m`, `1h`, or a whole number of seconds. More than 0, at most 7 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Period {
    /// The time.
    pub fn duration(self) -> Duration {
        self.0
    }

    fn from_duration(duration: Duration) -> Result<Self, ValueError> {
        if duration.is_zero() || duration > LONGEST {
            return Err(ValueError::PeriodOutOfRange);
        }
        Ok(Self(duration))
    }
}

impl FromStr for Name {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = (1..=NAME_LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if fits { Ok(Self(text.to_owned())) } else { Err(ValueError::Name(shorten(text))) }
    }
}

impl FromStr for Period {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let wrong = || ValueError::Period(shorten(text));
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit_ms = match unit.trim_start() {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        Self::from_duration(Duration::from_millis(number.saturating_mul(unit_ms)))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeriodVisitor;

        impl Visitor<'_> for PeriodVisitor {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a period of time such as 30s, 5m or 1h")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Period, E> {
                Period::from_duration(Duration::from_secs(seconds)).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Period, E> {
                self.visit_u64(u64::try_from(seconds).unwrap_or(0))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Period, E> {
                Err(E::custom(ValueError::Period(seconds.to_string())))
            }
        }

        deserializer.deserialize_any(PeriodVisitor)
    }
}

/// A text as it may stand in an address: what RFC 3986 reserves, and all beyond ASCII, as `%XX`.
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// At most the first 60 characters of a text, with what follows replaced by `…` and control characters made visible:
/// what a message may quote of a file.
pub fn shorten(text: &str) -> String {
    let mut short: String =
        text.chars().take(QUOTED_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(QUOTED_CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// A path as a message shows it: control characters visible, and nothing cut off, for the end tells most.
pub fn visible_path(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_debug());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// A name is part of paths whose components are limited to 255 bytes; 64 leaves room for a date and an id.
const NAME_LENGTH_MAX: usize = 64;
/// What a message quotes of a file stays on one line of a terminal.
const QUOTED_CHARACTERS_MAX: usize = 60;
/// Nothing on a board is awaited for longer; a larger number is a slip.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why a value is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// Not a [`Name`].
    Name(String),
    /// Not a [`Period`].
    Period(String),
    /// A [`Period`] of nothing, or too long.
    PeriodOutOfRange,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) => write!(
                f,
                "\"{text}\" cannot be a name: use 1 to {NAME_LENGTH_MAX} letters, digits and . _ -, a letter or digit first"
            ),
            Self::Period(text) => {
                write!(f, "\"{text}\" is no period of time: write it as 500ms, 30s, 5m or 1h")
            }
            Self::PeriodOutOfRange => {
                f.write_str("a period of time must be more than 0 and at most 7 days")
            }
        }
    }
}

impl std::error::Error for ValueError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        for (text, ms) in
            [("500ms", 500), ("30s", 30_000), ("7", 7_000), ("5m", 300_000), ("1 h", 3_600_000)]
        {
            assert_eq!(text.parse::<Period>().unwrap().duration().as_millis(), ms, "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "1d",
            "1.5h",
            "0s",
            "8000000000000000000h",
            "169h",
            "99999999999999999999s",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        for text in ["a", "bbb-01", "x.y_z", &"a".repeat(64)] {
            assert!(text.parse::<Name>().is_ok(), "{text}");
        }
        for text in ["", ".", "..", "-x", "a/b", "a b", "ä", "a\n", &"a".repeat(65)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn quotes_are_one_short_line() {
        assert_eq!(shorten("a\nb\u{1b}[31m\"c\""), "a\\nb\\u{1b}[31m\"c\"");
        assert_eq!(shorten(&"x".repeat(100)).chars().count(), 61);
    }
}
