//! The test plan: which tests the test agent runs, in which order, and how long each may take.
//!
//! The dispatcher puts it on the board as `/.pumice/runs/<run>/plan`, beside `tests/<suite>/run.sh`. It is a
//! postcard body ([`Header`]) followed by one counted [`Test`] after the other, so that both can grow at the tail.

use crate::wire::codec::{self, BadBody};
pub use crate::wire::record::encode_counted;
use crate::wire::record::split_counted;
use serde::{Deserialize, Serialize};

/// Most tests in a plan. Each takes about 80 bytes of the agent's memory.
pub const TESTS_MAX: usize = 128;

/// Longest name of a suite, bytes.
pub const SUITE_NAME_MAX: usize = 64;

/// Longest name of a run, bytes.
pub const RUN_NAME_MAX: usize = 96;

/// Longest plan in bytes: the header and [`TESTS_MAX`] tests with the longest names.
pub const PLAN_MAX: usize = 2 + 64 + RUN_NAME_MAX + TESTS_MAX * (2 + 24 + SUITE_NAME_MAX);

/// What stands first in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header<'a> {
    /// Name of the run.
    #[serde(borrow)]
    pub run: &'a str,
    /// The hardware watchdog (/dev/watchdog) is to restart the board when it was not fed for so many seconds; 0: it is
    /// left alone.
    pub watchdog_s: u16,
}

/// One test of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test<'a> {
    /// Name of its suite, 1 to [`SUITE_NAME_MAX`] bytes of `[A-Za-z0-9._-]`, not starting with a dot.
    #[serde(borrow)]
    pub suite: &'a str,
    /// Killed after so many ms; never 0.
    pub timeout_ms: u32,
    /// Killed when one of its steps ([`TestSignal::STEP`](super::test_signal::TestSignal::STEP)) took so many ms; 0: no
    /// limit of their own.
    pub step_timeout_ms: u32,
    /// [`Test::EXPECTS_REBOOT`], or 0.
    pub flags: u8,
}

impl Test<'_> {
    /// It restarts the board, and the plan goes on behind it. Its end without that is a failure.
    pub const EXPECTS_REBOOT: u8 = 1;
}

/// Reads a plan item by item.
#[derive(Clone, Copy, Debug)]
pub struct PlanReader<'a> {
    rest: &'a [u8],
}

impl<'a> PlanReader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`BadBody`] when it is no plan.
    pub fn new(bytes: &'a [u8]) -> Result<(Header<'a>, Self), BadBody> {
        let mut reader = Self { rest: bytes };
        let header = codec::decode(reader.item()?.ok_or(BadBody)?)?;
        Ok((header, reader))
    }

    /// The next test.
    ///
    /// # Errors
    /// [`BadBody`] when it is cut short, or its name or timeout is not a valid one.
    pub fn test(&mut self) -> Result<Option<Test<'a>>, BadBody> {
        let Some(item) = self.item()? else { return Ok(None) };
        let test: Test<'_> = codec::decode(item)?;
        if is_suite_name(test.suite) && test.timeout_ms > 0 { Ok(Some(test)) } else { Err(BadBody) }
    }

    fn item(&mut self) -> Result<Option<&'a [u8]>, BadBody> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let item = split_counted(self.rest).ok_or(BadBody)?;
        self.rest = &self.rest[item.len() + 2..];
        Ok(Some(item))
    }
}

/// Whether `name` may name a suite, and with it a directory.
pub fn is_suite_name(name: &str) -> bool {
    (1..=SUITE_NAME_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(suite: &str, timeout_ms: u32) -> Test<'_> {
        Test { suite, timeout_ms, step_timeout_ms: 0, flags: Test::EXPECTS_REBOOT }
    }

    #[test]
    fn a_plan_is_read_back() {
        let mut bytes = [0; 256];
        let mut length =
            encode_counted(&Header { run: "run-1", watchdog_s: 60 }, &mut bytes).unwrap().len();
        for (suite, timeout_ms) in [("uname", 1000), ("boot.time", 5)] {
            length += encode_counted(&test(suite, timeout_ms), &mut bytes[length..]).unwrap().len();
        }
        let (header, mut reader) = PlanReader::new(&bytes[..length]).unwrap();
        assert_eq!((header.run, header.watchdog_s), ("run-1", 60));
        assert_eq!(reader.test(), Ok(Some(test("uname", 1000))));
        assert_eq!(reader.test(), Ok(Some(test("boot.time", 5))));
        assert_eq!(reader.test(), Ok(None));
        let (_, mut cut) = PlanReader::new(&bytes[..length - 1]).unwrap();
        assert!(cut.test().is_ok() && cut.test().is_err());
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for name in ["", ".", "..", ".hidden", "a/b", "a b", "\u{fc}"] {
            assert!(!is_suite_name(name), "{name:?}");
        }
        assert!(is_suite_name("a") && is_suite_name("0_smoke-tests.v2"));
    }
}
