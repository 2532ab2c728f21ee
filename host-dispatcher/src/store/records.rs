//! Reads `timeline.ndjson` as a stream, also while it is being written, and brings it into order.
//!
//! A finished timeline is sorted. One that is being written, or that a crash left, is as it came: what is written first
//! lies at most some thousand records before its place, so a window of these puts it right without holding the file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;

use super::StoreError;
use crate::job::event::LogRecord;

/// A timeline that is being read. Whole lines only: the last one may still be growing.
#[derive(Debug)]
pub struct Records {
    file: File,
    buffer: Vec<u8>,
    at: usize,
    in_long_line: bool,
    skipped: u64,
}

impl Records {
    /// The timeline of a run directory.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(run: &Path) -> Result<Self, StoreError> {
        let path = run.join("timeline.ndjson");
        let file = File::open(&path).map_err(StoreError::of("open", &path))?;
        Ok(Self { file, buffer: Vec::new(), at: 0, in_long_line: false, skipped: 0 })
    }

    /// The next record; nothing where the file ends for now. Lines that are no record are left out and counted.
    ///
    /// # Errors
    /// A failed read.
    pub fn read(&mut self) -> io::Result<Option<LogRecord>> {
        loop {
            let rest = &self.buffer[self.at..];
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                if !self.fill()? {
                    return Ok(None);
                }
                continue;
            };
            let line = &rest[..length];
            let was_long = std::mem::take(&mut self.in_long_line);
            let record = (!was_long).then(|| serde_json::from_slice::<LogRecord>(line).ok());
            self.at += length + 1;
            match record.flatten() {
                Some(record) => return Ok(Some(record)),
                None => self.skipped += u64::from(!was_long),
            }
        }
    }

    /// Lines that were no record.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Reads more. Whether there was any.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.len() > LINE_BYTES_MAX {
            // Longer than any record: its rest is left out too.
            self.skipped += u64::from(!self.in_long_line);
            self.in_long_line = true;
            self.buffer.clear();
        }
        let length = self.buffer.len();
        let count = (&mut self.file).take(PIECE_BYTES).read_to_end(&mut self.buffer)?;
        debug_assert_eq!(self.buffer.len(), length + count);
        Ok(count > 0)
    }
}

/// A window that gives records in the order of time, as far as it reaches; those of one time in the order they came.
#[derive(Debug, Default)]
pub struct Window {
    heap: BinaryHeap<Reverse<Waiting>>,
    bytes: usize,
    count: u64,
}

impl Window {
    /// Takes a record. Gives the earliest one while more wait than the window holds; ask again until there is none.
    pub fn push(&mut self, record: LogRecord) {
        self.bytes += size_of(&record);
        self.count += 1;
        self.heap.push(Reverse(Waiting { time: record.host_time, number: self.count, record }));
    }

    /// The earliest record, if more wait than the window holds.
    pub fn pop_full(&mut self) -> Option<LogRecord> {
        let is_full = self.heap.len() > RECORDS_MAX || self.bytes > BYTES_MAX;
        if is_full { self.pop() } else { None }
    }

    /// The earliest record.
    pub fn pop(&mut self) -> Option<LogRecord> {
        let Reverse(Waiting { record, .. }) = self.heap.pop()?;
        self.bytes -= size_of(&record);
        Some(record)
    }
}

#[derive(Debug)]
struct Waiting {
    time: Timestamp,
    number: u64,
    record: LogRecord,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

fn size_of(record: &LogRecord) -> usize {
    size_of_val(record) + record.text.len()
}

/// A record's text is bounded by its writer.
const LINE_BYTES_MAX: usize = 1 << 20;
/// A read of this size costs nothing beside what it brings.
const PIECE_BYTES: u64 = 64 * 1024;
/// A kernel's whole early log comes at once when a session opens: some hundred to some thousand records.
const RECORDS_MAX: usize = 20_000;
/// Long lines fill the window sooner.
const BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::super::run_dir::tests::Scratch;
    use super::*;
    use crate::job::event::Source;

    pub(super) fn record(micros: i64, text: &str) -> LogRecord {
        LogRecord::new(Timestamp::from_microsecond(micros).unwrap(), Source::Stdout, text)
    }

    fn line(record: &LogRecord) -> Vec<u8> {
        let mut line = serde_json::to_vec(record).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn a_file_that_grows_in_pieces_of_lines() {
        let scratch = Scratch::new();
        let path = scratch.0.join("timeline.ndjson");
        let records: Vec<LogRecord> = (0..50).map(|n| record(n, &format!("line {n}"))).collect();
        let bytes = records.iter().flat_map(line).collect::<Vec<u8>>();
        let mut file = File::create(&path).unwrap();
        let mut reader = Records::open(&scratch.0).unwrap();
        let mut read = Vec::new();
        for piece in bytes.chunks(7) {
            file.write_all(piece).unwrap();
            while let Some(record) = reader.read().unwrap() {
                read.push(record);
            }
        }
        assert_eq!(read, records);
        assert_eq!(reader.skipped(), 0);
    }

    #[test]
    fn hostile_lines_are_counted() {
        let scratch = Scratch::new();
        let mut bytes = b"{}\n\xff\xfe\n".to_vec();
        bytes.extend("x".repeat(3 << 20).bytes());
        bytes.push(b'\n');
        bytes.extend("[".repeat(100_000).bytes());
        bytes.push(b'\n');
        bytes.extend(line(&record(1, "good")));
        bytes.extend(b"{\"host_time\":\"20");
        fs::write(scratch.0.join("timeline.ndjson"), bytes).unwrap();
        let mut reader = Records::open(&scratch.0).unwrap();
        assert_eq!(reader.read().unwrap().unwrap().text, "good");
        assert_eq!(reader.read().unwrap(), None);
        assert_eq!(reader.skipped(), 4);
    }

    #[test]
    fn a_window_orders_and_is_bounded() {
        let mut window = Window::default();
        let mut out = Vec::new();
        // Pairs that came the wrong way round, and two of one time.
        for n in 0..RECORDS_MAX as i64 + 500 {
            window.push(record((n ^ 1) / 2 * 2, &(n ^ 1).to_string()));
            while let Some(record) = window.pop_full() {
                out.push(record);
            }
            assert!(window.heap.len() <= RECORDS_MAX);
        }
        assert_eq!(out.len(), 500);
        while let Some(record) = window.pop() {
            out.push(record);
        }
        assert!(out.is_sorted_by_key(|record| record.host_time));
        assert_eq!((out[0].text.as_str(), out[1].text.as_str()), ("1", "0"));
        assert_eq!(window.bytes, 0);
    }
}
