//! Which lines a filter takes, kept so that a filter is asked about each line once.

use std::io;
use std::os::unix::fs::FileExt;

use jiff::Timestamp;

use super::line::{self, Entry, NO_LEVEL, UNKNOWN_TEST};
use super::{LogIndex, PIECE_BYTES};
use crate::job::event::{LogRecord, Source};
use crate::report::log_filter::Filter;

/// What one filter takes.
#[derive(Debug)]
pub(super) struct Matches {
    /// Tells filters apart.
    key: String,
    /// A bit for each entry that was looked at, in the order of the file.
    taken: Vec<u64>,
    looked_at: usize,
    /// Numbers of lines in the order of time, for the generation below.
    numbers: Vec<u32>,
    /// So many of the ordered lines are considered in `numbers`.
    considered: usize,
    generation: u64,
}

/// The place of a filter's matches; the one used the longest ago goes where there are too many.
pub(super) fn find(all: &mut Vec<Matches>, filter: &Filter) -> usize {
    let key = key(filter);
    if let Some(known) = all.iter().position(|matches| matches.key == key) {
        return known;
    }
    all.truncate(FILTERS_MAX - 1);
    all.insert(
        0,
        Matches {
            key,
            taken: Vec::new(),
            looked_at: 0,
            numbers: Vec::new(),
            considered: 0,
            generation: 0,
        },
    );
    0
}

impl Matches {
    /// Looks at what was not looked at. Whether that is all there is; else it became late.
    pub(super) fn update(
        &mut self,
        index: &LogIndex,
        filter: &Filter,
        is_late: &dyn Fn() -> bool,
    ) -> io::Result<bool> {
        self.look(index, filter, is_late)?;
        let is_complete = self.looked_at == index.entries.len();
        if self.generation != index.generation || self.considered > index.order.len() {
            self.generation = index.generation;
            self.numbers.clear();
            self.considered = 0;
        }
        for (number, entry) in index.order.iter().enumerate().skip(self.considered) {
            if self.is_taken(*entry as usize) {
                self.numbers.push(number as u32);
            }
        }
        // What was not looked at yet is considered again with the next call.
        if is_complete {
            self.considered = index.order.len();
        } else {
            self.generation = 0;
        }
        Ok(is_complete)
    }

    /// Numbers of the lines that are taken.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    pub(super) fn bytes(&self) -> usize {
        self.taken.capacity() * size_of::<u64>() + self.numbers.capacity() * size_of::<u32>()
    }

    fn look(
        &mut self,
        index: &LogIndex,
        filter: &Filter,
        is_late: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        let quick = Quick::new(filter, index);
        let mut piece = Piece::default();
        for (number, entry) in index.entries.iter().enumerate().skip(self.looked_at) {
            let is_quick = quick.takes(entry);
            let is_taken = match is_quick {
                Some(is_taken) => is_taken,
                None => quick.takes_line(piece.line(index, entry)?, entry),
            };
            self.set(number, is_taken);
            self.looked_at = number + 1;
            // What needs no line costs less than a look at the clock.
            if is_quick.is_none() && number % LOOK_AT_CLOCK_EVERY == 0 && is_late() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn set(&mut self, entry: usize, is_taken: bool) {
        if entry / 64 >= self.taken.len() {
            self.taken.push(0);
        }
        if let Some(word) = self.taken.get_mut(entry / 64) {
            *word |= u64::from(is_taken) << (entry % 64);
        }
    }

    fn is_taken(&self, entry: usize) -> bool {
        self.taken.get(entry / 64).is_some_and(|word| word >> (entry % 64) & 1 == 1)
    }
}

/// A filter, in terms of what the index has.
struct Quick<'a> {
    filter: &'a Filter,
    level: Option<u8>,
    /// For each test of the index, whether it is wanted.
    tests: Option<Vec<bool>>,
    since_us: i64,
    until_us: i64,
}

impl<'a> Quick<'a> {
    fn new(filter: &'a Filter, index: &LogIndex) -> Self {
        let tests = filter.test.as_ref().map(|test| {
            let only = Filter { test: Some(test.clone()), ..Filter::default() };
            let names = index.tests.names().iter();
            names
                .map(|(suite, case)| {
                    only.takes(&LogRecord {
                        suite: suite.as_deref().map(str::to_owned),
                        case: case.as_deref().map(str::to_owned),
                        ..LogRecord::new(Timestamp::UNIX_EPOCH, Source::Stdout, "")
                    })
                })
                .collect()
        });
        // Records have whole microseconds.
        let since_us = filter.since.map_or(i64::MIN, |since| {
            let micros = since.as_microsecond();
            micros + i64::from(since.as_nanosecond() > i128::from(micros) * 1000)
        });
        let until_us = filter.until.map_or(i64::MAX, |until| {
            let micros = until.as_microsecond();
            micros - i64::from(until.as_nanosecond() < i128::from(micros) * 1000)
        });
        Self { filter, level: filter.level.map(|level| level.0), tests, since_us, until_us }
    }

    /// Whether an entry is taken; nothing where its line must be read for that.
    fn takes(&self, entry: &Entry) -> Option<bool> {
        let sources = &self.filter.sources;
        if !(sources.is_empty() || sources.contains(&entry.source))
            || self.level.is_some_and(|most| entry.level == NO_LEVEL || entry.level > most)
            || entry.time_us < self.since_us
            || entry.time_us > self.until_us
        {
            return Some(false);
        }
        let is_test_known = self.tests.is_none() || entry.test != UNKNOWN_TEST;
        if let Some(tests) = &self.tests
            && is_test_known
            && !tests.get(entry.test as usize).copied().unwrap_or(false)
        {
            return Some(false);
        }
        (is_test_known && self.filter.grep.is_none()).then_some(true)
    }

    fn takes_line(&self, line: &[u8], entry: &Entry) -> bool {
        if self.tests.is_some() && entry.test == UNKNOWN_TEST {
            let record = serde_json::from_slice::<LogRecord>(line);
            return record.is_ok_and(|record| self.filter.takes(&record));
        }
        let grep = self.filter.grep.as_ref();
        line::text(line).is_some_and(|text| grep.is_none_or(|regex| regex.is_match(&text)))
    }
}

/// A piece of the file: neighbours are read together.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    offset: u64,
}

impl Piece {
    fn line(&mut self, index: &LogIndex, entry: &Entry) -> io::Result<&[u8]> {
        let end = entry.offset + u64::from(entry.length);
        if entry.offset < self.offset || end > self.offset + self.bytes.len() as u64 {
            let rest = usize::try_from(index.indexed.saturating_sub(entry.offset));
            let length = rest.unwrap_or(PIECE_BYTES).min(PIECE_BYTES).max(entry.length as usize);
            self.bytes.resize(length, 0);
            self.offset = entry.offset;
            if let Err(error) = index.file.read_exact_at(&mut self.bytes, entry.offset) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let start = (entry.offset - self.offset) as usize;
        Ok(&self.bytes[start..start + entry.length as usize])
    }
}

fn key(filter: &Filter) -> String {
    let Filter { sources, level, test, since, until, grep } = filter;
    format!(
        "{sources:?} {level:?} {test:?} {since:?} {until:?} {:?}",
        grep.as_ref().map(regex::Regex::as_str)
    )
}

/// Those of a few people who look at one run.
const FILTERS_MAX: usize = 6;
/// Entries; a clock costs as much as some of them.
const LOOK_AT_CLOCK_EVERY: usize = 256;
