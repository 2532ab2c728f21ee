//! An index of a run's `timeline.ndjson`: a million lines are filtered and shown in pages without being read again.
//!
//! Lines are numbered in the order of time. A file that is written grows at its end, and what comes late has its place
//! before the end: then the numbers change, and with them the [`LogIndex::generation`]. A finished file is sorted and
//! takes the old one's place by rename: the index begins anew. All work stops when it is late, and goes on with the
//! next call where it stopped. 36 bytes a line.

mod cache;
mod line;
mod matches;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

pub use cache::LogIndexes;
use line::{Entry, Tests};
use matches::Matches;

use super::StoreError;
use crate::io::clock;
use crate::job::event::LogRecord;
use crate::report::log_filter::Filter;

/// The index of one timeline, and of the last few filters what they take of it.
#[derive(Debug)]
pub struct LogIndex {
    path: PathBuf,
    /// Stays open: what was indexed can be read, whatever took the file's place meanwhile.
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// Up to here it is indexed.
    indexed: u64,
    in_long_line: bool,
    entries: Vec<Entry>,
    /// Numbers of entries, in the order of time.
    order: Vec<u32>,
    tests: Tests,
    generation: u64,
    matches: Vec<Matches>,
}

/// Where a page of lines begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this one of those that match; a negative one counts from the end.
    Number(i64),
    /// So that this time is in its middle.
    Around(Timestamp),
}

/// Some lines of those that a filter takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Changes when the numbers of lines did.
    pub generation: u64,
    /// Lines in all.
    pub lines: u64,
    /// Lines that the filter takes.
    pub matched: u64,
    /// Whether all of the file was looked at; if not, ask again.
    pub is_complete: bool,
    /// The first of the records' number among those that match.
    pub from: u64,
    /// The records, each with its number in the timeline.
    pub records: Vec<(u64, LogRecord)>,
}

impl LogIndex {
    /// The index of the timeline of a run directory; nothing is read yet.
    ///
    /// # Errors
    /// The timeline cannot be opened.
    pub fn open(run: &Path) -> Result<Self, StoreError> {
        let path = run.join("timeline.ndjson");
        let (file, identity) = open(&path).map_err(StoreError::of("open", &path))?;
        Ok(Self::empty(path, file, identity))
    }

    fn empty(path: PathBuf, file: File, identity: (u64, u64)) -> Self {
        Self {
            path,
            file,
            identity,
            indexed: 0,
            in_long_line: false,
            entries: Vec::new(),
            order: Vec::new(),
            tests: Tests::default(),
            generation: new_generation(),
            matches: Vec::new(),
        }
    }

    /// Takes up what the file has grown by. Whether that is all there is; else it became late.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn refresh(&mut self, is_late: &dyn Fn() -> bool) -> Result<bool, StoreError> {
        let path = self.path.clone();
        self.grow(is_late).map_err(StoreError::of("read", &path))
    }

    /// Lines that are records.
    pub fn lines(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Changes when the numbers of lines did.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// At most `count` of the lines that `filter` takes, and of them no more than some megabytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn page(
        &mut self,
        filter: &Filter,
        from: Start,
        count: usize,
        is_late: &dyn Fn() -> bool,
    ) -> Result<Page, StoreError> {
        let is_read = self.refresh(is_late)?;
        let failed = StoreError::of("read", &self.path);
        let at = matches::find(&mut self.matches, filter);
        let mut matches = self.matches.remove(at);
        let looked = matches.update(self, filter, is_late);
        let page =
            looked.map(|looked| self.page_of(matches.numbers(), from, count, is_read && looked));
        self.matches.insert(0, matches);
        page.map_err(failed)
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.order.capacity() * size_of::<u32>()
            + self.tests.bytes()
            + self.matches.iter().map(Matches::bytes).sum::<usize>()
    }

    fn page_of(&self, numbers: &[u32], from: Start, count: usize, is_complete: bool) -> Page {
        let first = match from {
            Start::Number(number) if number < 0 => {
                let back = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
                numbers.len().saturating_sub(back)
            }
            Start::Number(number) => usize::try_from(number).unwrap_or(usize::MAX),
            Start::Around(time) => {
                let time_us = time.as_microsecond();
                let middle = numbers.partition_point(|number| self.time_us(*number) < time_us);
                middle.saturating_sub(count / 2).min(numbers.len().saturating_sub(count))
            }
        };
        let first = first.min(numbers.len());
        let mut page = Page {
            generation: self.generation,
            lines: self.lines(),
            matched: numbers.len() as u64,
            is_complete,
            from: first as u64,
            records: Vec::new(),
        };
        let mut bytes = 0;
        for number in numbers[first..].iter().take(count) {
            let Some(entry) = self.entry(*number) else { continue };
            bytes += entry.length as usize;
            if bytes > PAGE_BYTES_MAX && !page.records.is_empty() {
                break;
            }
            if let Some(record) = self.record(entry) {
                page.records.push((u64::from(*number), record));
            }
        }
        page
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(*self.order.get(number as usize)? as usize)
    }

    fn time_us(&self, number: u32) -> i64 {
        self.entry(number).map_or(i64::MAX, |entry| entry.time_us)
    }

    /// Nothing where the file was cut or written over, which nobody of ours does.
    fn record(&self, entry: &Entry) -> Option<LogRecord> {
        let mut bytes = vec![0; entry.length as usize];
        self.file.read_exact_at(&mut bytes, entry.offset).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn grow(&mut self, is_late: &dyn Fn() -> bool) -> io::Result<bool> {
        let (file, identity) = open(&self.path)?;
        let length = file.metadata()?.len();
        if identity != self.identity || length < self.indexed {
            *self = Self::empty(std::mem::take(&mut self.path), file, identity);
        }
        let known = self.entries.len();
        let is_read = self.read_lines(length, is_late);
        self.put_in_order(known);
        is_read
    }

    fn read_lines(&mut self, length: u64, is_late: &dyn Fn() -> bool) -> io::Result<bool> {
        let mut buffer = vec![0; PIECE_BYTES];
        while self.indexed < length && self.entries.len() < LINES_MAX {
            let want = usize::try_from(length - self.indexed).unwrap_or(PIECE_BYTES);
            let want = want.min(buffer.len());
            self.file.read_exact_at(&mut buffer[..want], self.indexed)?;
            let taken = self.take_lines(&buffer[..want]);
            self.indexed += taken as u64;
            if taken == 0 && want == buffer.len() {
                // Longer than any record: all of it is left out.
                self.in_long_line = true;
                self.indexed += want as u64;
            } else if taken == 0 {
                return Ok(true);
            }
            if is_late() {
                return Ok(self.indexed >= length);
            }
        }
        Ok(true)
    }

    /// Takes up the whole lines in a piece of the file; how many bytes these are.
    fn take_lines(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") || self.entries.len() >= LINES_MAX {
                break;
            }
            let offset = self.indexed + taken as u64;
            if !std::mem::take(&mut self.in_long_line)
                && let Some(entry) = line::entry(offset, line, &mut self.tests)
            {
                reserve_some(&mut self.entries, 1);
                self.entries.push(entry);
            }
            taken += line.len();
        }
        taken
    }

    /// Gives entries from number `known` on their places in the order of time; among those of one time, that of the file.
    fn put_in_order(&mut self, known: usize) {
        let time = |number: &u32| self.entries[*number as usize].time_us;
        let mut new: Vec<u32> = (known..self.entries.len()).map(|number| number as u32).collect();
        new.sort_by_key(time);
        let Some(earliest) = new.first().map(time) else { return };
        let place = self.order.partition_point(|number| time(number) <= earliest);
        let later = self.order.split_off(place);
        if !later.is_empty() {
            self.generation = new_generation();
        }
        reserve_some(&mut self.order, later.len() + new.len());
        let mut later = later.into_iter().peekable();
        for number in new {
            while let Some(before) = later.next_if(|before| time(before) <= time(&number)) {
                self.order.push(before);
            }
            self.order.push(number);
        }
        self.order.extend(later);
    }
}

/// Makes room by an eighth: a vector that doubles would take twice the memory for most of its life.
fn reserve_some<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity() - items.len() < more {
        items.reserve_exact(more.max(items.len() / 8).max(64));
    }
}

fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, (metadata.dev(), metadata.ino())))
}

/// Never the same again, in this process nor, as far as clocks go, in a later one: a page that outlives the dispatcher
/// must not take old numbers for new ones. A browser can count so far.
fn new_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(clock::wall().as_microsecond()).unwrap_or(0);
    let last =
        NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
    last.map_or(now, |last| now.max(last + 1))
}

/// Also the longest line that is taken for a record.
const PIECE_BYTES: usize = 1 << 20;
/// 180 MB of index; more than a gibibyte of ordinary lines has, which is where a timeline ends.
const LINES_MAX: usize = 5_000_000;
/// A page of lines that are as long as they can be.
const PAGE_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "what is measured here is real time")]
mod tests;
