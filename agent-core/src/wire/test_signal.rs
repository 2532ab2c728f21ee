//! What a running test tells its agent, and the agent the dispatcher: a case began or ended, a set, a measurement.
//!
//! The word is LAVA's, whose tests print such signals to the console. Here the helpers (`lava-test-case` and its like)
//! send a [`TestSignal`], postcard, one a packet, over the Unix socket that `PUMICE_SOCKET` names, and are answered with
//! one byte when it is on the disk: 0, or the low byte of an `errno`. The agent numbers what it took, writes it to the
//! journal, and shows it live as [`Noted`].

use super::codec::{self, BadBody};
use super::response::Exit;
use serde::{Deserialize, Serialize};

/// Longest name of a case or set, bytes.
pub const NAME_MAX: usize = 128;

/// Longest measurement or unit, bytes.
pub const MEASUREMENT_MAX: usize = 32;

/// Longest text, bytes.
pub const SIGNAL_TEXT_MAX: usize = 192;

/// Longest encoded [`TestSignal`]: names, texts and 80 bytes for the rest. A [`Noted`] fits into a record's text.
pub const SIGNAL_MAX: usize = NAME_MAX + 2 * MEASUREMENT_MAX + SIGNAL_TEXT_MAX + 80;
const _: () = assert!(SIGNAL_MAX <= super::record::TEXT_MAX);

/// What a test tells. What a kind does not need is empty or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSignal<'a> {
    /// One of the constants below.
    pub kind: u8,
    /// One of [`TestSignal::PASS`] and its like, of a case that ended or a reference.
    pub result: u8,
    /// The case's or the set's name, 1 to [`NAME_MAX`] bytes; of some kinds it may be empty.
    #[serde(borrow)]
    pub name: &'a str,
    /// A decimal number as it was typed (`-1.5e3`), at most [`MEASUREMENT_MAX`] bytes; empty for none.
    #[serde(borrow)]
    pub measurement: &'a str,
    /// Its unit; empty for none.
    #[serde(borrow)]
    pub units: &'a str,
    /// A reference's URL, a message, or the place of an attachment below `tests/<suite>/attachments/`; at most
    /// [`SIGNAL_TEXT_MAX`] bytes.
    #[serde(borrow)]
    pub text: &'a str,
    /// The step that begins, counted from 1.
    pub step: u32,
    /// How the command of a case ended, and what it used; `elapsed_us` 0 for a case without a command.
    pub exit: Exit,
}

impl<'a> TestSignal<'a> {
    /// A case began: what is printed from here on is its own.
    pub const CASE_STARTED: u8 = 1;
    /// A case ended, or has a result without having begun.
    pub const CASE_ENDED: u8 = 2;
    /// A set of cases begins.
    pub const SET_STARTED: u8 = 3;
    /// The set that is open ended; `name` may be empty, and is then filled in by the agent.
    pub const SET_ENDED: u8 = 4;
    /// A case with a result and a URL that explains it.
    pub const REFERENCE: u8 = 5;
    /// The test cannot go on, and the job is to stop: `text` says why.
    pub const RAISE: u8 = 6;
    /// Something happened: `text`.
    pub const EVENT: u8 = 7;
    /// Text of another connection of the test: `name` is its namespace.
    pub const FEEDBACK: u8 = 8;
    /// A step begins.
    pub const STEP: u8 = 9;
    /// A file was put into `tests/<suite>/attachments/`, at `text`; `name` is its case, or empty for the suite's.
    pub const ATTACHMENT: u8 = 10;

    /// It did what it should.
    pub const PASS: u8 = 0;
    /// It did not.
    pub const FAIL: u8 = 1;
    /// It does not apply here.
    pub const SKIP: u8 = 2;
    /// It cannot be said.
    pub const UNKNOWN: u8 = 3;

    /// Reads a packet of a helper. Anybody on the board may send one.
    ///
    /// # Errors
    /// [`BadBody`] for an unknown kind or result, a name or text that is too long or holds control characters, a missing
    /// name, and a measurement that is no number.
    pub fn parse(packet: &'a [u8]) -> Result<Self, BadBody> {
        let signal: Self = codec::decode(packet)?;
        let needs_name = matches!(
            signal.kind,
            Self::CASE_STARTED..=Self::SET_STARTED | Self::REFERENCE | Self::FEEDBACK
        );
        let is_valid = (Self::CASE_STARTED..=Self::ATTACHMENT).contains(&signal.kind)
            && signal.result <= Self::UNKNOWN
            && is_text(signal.name, NAME_MAX)
            && !(needs_name && signal.name.is_empty())
            && is_text(signal.units, MEASUREMENT_MAX)
            && is_text(signal.text, SIGNAL_TEXT_MAX)
            && (signal.measurement.is_empty() || is_number(signal.measurement));
        if is_valid { Ok(signal) } else { Err(BadBody) }
    }

    /// The word for a result, as in every file.
    pub const fn result_word(result: u8) -> &'static str {
        match result {
            Self::PASS => "pass",
            Self::FAIL => "fail",
            Self::SKIP => "skip",
            _ => "unknown",
        }
    }
}

/// A signal as the agent noted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted<'a> {
    /// Bytes of the test's standard output before it.
    pub stdout_bytes: u64,
    /// Bytes of its standard error before it.
    pub stderr_bytes: u64,
    /// The signal. The last field, for it grows.
    #[serde(borrow)]
    pub signal: TestSignal<'a>,
}

/// Whether it is a decimal number: sign, digits, a fraction, an exponent; at most [`MEASUREMENT_MAX`] bytes.
pub fn is_number(text: &str) -> bool {
    text.len() <= MEASUREMENT_MAX
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && is_decimal(text.strip_prefix(['+', '-']).unwrap_or(text))
}

fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_exponent = |text: &str| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        !digits.is_empty() && are_digits(digits)
    };
    are_digits(whole)
        && are_digits(fraction)
        && whole.len() + fraction.len() > 0
        && exponent.is_none_or(is_exponent)
}

fn is_text(text: &str, max: usize) -> bool {
    text.len() <= max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(signal: &TestSignal<'_>) -> bool {
        let mut buffer = [0; 1024];
        TestSignal::parse(codec::encode(signal, &mut buffer).unwrap())
            .is_ok_and(|read| read == *signal)
    }

    #[test]
    fn signals_are_read_back_or_refused() {
        let case =
            TestSignal { kind: TestSignal::CASE_ENDED, name: "boot time", ..TestSignal::default() };
        for good in [
            case,
            TestSignal { measurement: "-1.5e3", units: "ms", result: TestSignal::UNKNOWN, ..case },
            TestSignal { kind: TestSignal::STEP, name: "", step: 3, ..case },
            TestSignal { kind: TestSignal::SET_ENDED, name: "", ..case },
            TestSignal { kind: TestSignal::RAISE, name: "", text: "no power", ..case },
        ] {
            assert!(parse(&good), "{good:?}");
        }
        let long = core::str::from_utf8(&[b'x'; NAME_MAX + 1]).unwrap();
        for bad in [
            TestSignal::default(),
            TestSignal { kind: 11, ..case },
            TestSignal { result: 4, ..case },
            TestSignal { name: "", ..case },
            TestSignal { name: "a\nb", ..case },
            TestSignal { name: long, ..case },
            TestSignal { units: "\u{1b}", ..case },
            TestSignal { measurement: "fast", ..case },
        ] {
            assert!(!parse(&bad), "{bad:?}");
        }
    }

    #[test]
    fn numbers() {
        for good in ["0", "1.", ".5", "-1.5", "+2e9", "1E-3"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", ".", "-", "1e", "1e+", "1.2.3", "1-2", "inf", "0x1", "1 "] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn the_longest_fits_into_a_record() {
        let text = [b'x'; 512];
        let text = |length: usize| core::str::from_utf8(&text[..length]).unwrap();
        let exit = Exit {
            end: 255,
            code: 255,
            user_us: u64::MAX,
            system_us: u64::MAX,
            max_rss_kib: u64::MAX,
            elapsed_us: u64::MAX,
        };
        let signal = TestSignal {
            kind: TestSignal::ATTACHMENT,
            result: 3,
            name: text(NAME_MAX),
            measurement: text(MEASUREMENT_MAX),
            units: text(MEASUREMENT_MAX),
            text: text(SIGNAL_TEXT_MAX),
            step: u32::MAX,
            exit,
        };
        let mut buffer = [0; SIGNAL_MAX];
        assert!(codec::encode(&signal, &mut buffer).is_ok());
        let noted = Noted { stdout_bytes: u64::MAX, stderr_bytes: u64::MAX, signal };
        assert!(codec::encode(&noted, &mut [0; crate::wire::record::TEXT_MAX]).is_ok());
    }
}
