//! What an index keeps of a line.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::job::event::Source;

/// A line of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) offset: u64,
    /// Microseconds since 1970.
    pub(super) time_us: i64,
    /// With the line end.
    pub(super) length: u32,
    /// In [`Tests`].
    pub(super) test: u32,
    pub(super) source: Source,
    /// [`NO_LEVEL`] for a line without.
    pub(super) level: u8,
}

/// The suites, with and without a case, that lines are of. Numbers stand for them.
#[derive(Debug, Default)]
pub(super) struct Tests {
    numbers: HashMap<Test, u32>,
    names: Vec<Test>,
    bytes: usize,
}

/// Suite and case.
pub(super) type Test = (Option<Box<str>>, Option<Box<str>>);

impl Tests {
    /// By number.
    pub(super) fn names(&self) -> &[Test] {
        &self.names
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn number(&mut self, suite: Option<&str>, case: Option<&str>) -> u32 {
        let test: Test = (suite.map(Box::from), case.map(Box::from));
        if let Some(number) = self.numbers.get(&test) {
            return *number;
        }
        let text = |name: &Option<Box<str>>| name.as_ref().map_or(0, |name| name.len());
        let bytes = 2 * (text(&test.0) + text(&test.1)) + TEST_BYTES;
        if self.bytes + bytes > TESTS_BYTES_MAX {
            return UNKNOWN_TEST;
        }
        self.bytes += bytes;
        let number = self.names.len() as u32;
        self.names.push(test.clone());
        self.numbers.insert(test, number);
        number
    }
}

/// What is kept of a line; nothing if it is no record. What it takes for one is one to
/// [`LogRecord`](crate::job::event::LogRecord) too.
pub(super) fn entry(offset: u64, line: &[u8], tests: &mut Tests) -> Option<Entry> {
    let form: Form<'_> = serde_json::from_slice(line).ok()?;
    Some(Entry {
        offset,
        time_us: form.host_time.as_microsecond(),
        length: u32::try_from(line.len()).ok()?,
        test: tests.number(form.suite.as_deref(), form.case.as_deref()),
        source: form.source,
        level: form.level.unwrap_or(NO_LEVEL),
    })
}

/// The text of a line.
pub(super) fn text(line: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }
    serde_json::from_slice::<Text<'_>>(line).ok().map(|form| form.text)
}

/// The same fields as a record's, but that nothing is copied that nobody asks for.
#[derive(Deserialize)]
#[expect(dead_code, reason = "that they can be read is what is asked of them")]
struct Form<'a> {
    host_time: Timestamp,
    board_time_us: Option<u64>,
    uncertainty_us: Option<u64>,
    source: Source,
    level: Option<u8>,
    sequence: Option<u64>,
    #[serde(borrow)]
    suite: Option<Cow<'a, str>>,
    #[serde(borrow)]
    case: Option<Cow<'a, str>>,
    facility: Option<u8>,
    lost: Option<u64>,
    elided: Option<u64>,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

pub(super) const NO_LEVEL: u8 = u8::MAX;
/// One of very many, with names that are not kept: who wants to know must read the line.
pub(super) const UNKNOWN_TEST: u32 = u32::MAX;
/// More cases than a run's summary keeps.
const TESTS_BYTES_MAX: usize = 32 << 20;
/// What a test takes beside its names.
const TEST_BYTES: usize = 128;
