//! What a run of the lab wrote, as lines of LAVA's log.
//!
//! The two files of a run that grow, `timeline.ndjson` and `events.ndjson`, are read from a place on, in pieces. When a run
//! ends its timeline is put into the order of time, so places in it mean nothing any more: it is read once again from its
//! beginning, and each line that was told already is known by its hash.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::protocol::End;
use crate::job::event::{LogRecord, Stamped};
use crate::report::lava::log_time;
use crate::report::{lava_log, yaml};

/// What of a piece of a file was used.
#[derive(Debug, Default)]
pub struct Read {
    /// Bytes that need not be read again: whole lines.
    pub used: u64,
    /// Lines of LAVA's log, each with its time and its end.
    pub lines: Vec<(Timestamp, String)>,
}

/// The lines of LAVA's log that were told of a timeline.
#[derive(Debug, Default)]
pub struct Told {
    hashes: HashSet<u64>,
    /// Those since [`Told::take_new`] was asked last.
    new: Vec<u64>,
}

impl Told {
    /// What was told before this process began.
    pub fn known(hashes: Vec<u64>) -> Self {
        Self { hashes: hashes.into_iter().collect(), new: Vec::new() }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// The hashes that are not on the disk yet.
    pub fn take_new(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.new)
    }

    fn is_new(&mut self, line: &[u8]) -> bool {
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(line)[..8]);
        let hash = u64::from_le_bytes(first);
        let is_new = self.hashes.insert(hash);
        if is_new {
            self.new.push(hash);
        }
        is_new
    }
}

/// Lines of a timeline that were not told yet. Marks of what was left out live are told when the run `is_over`: before, what
/// was left out may still come.
pub fn of_timeline(bytes: &[u8], told: &mut Told, is_over: bool) -> Read {
    read(bytes, |line| {
        let record: LogRecord = serde_json::from_slice(line).ok()?;
        if record.elided.is_some() && !is_over || !told.is_new(line) {
            return None;
        }
        Some((record.host_time, lava_log::record(&record)))
    })
}

/// Results among events.
pub fn of_events(bytes: &[u8]) -> Read {
    read(bytes, |line| {
        let event: Stamped = serde_json::from_slice(line).ok()?;
        Some((event.time, lava_log::event(&event)?))
    })
}

/// The events in a piece of a file, in their order; how many bytes of it were used.
pub fn events(bytes: &[u8], mut handle: impl FnMut(&Stamped)) -> u64 {
    let each = |line: &[u8]| {
        if let Ok(event) = serde_json::from_slice(line) {
            handle(&event);
        }
        None
    };
    read(bytes, each).used
}

/// A line that the worker itself has to say.
pub fn own(time: Timestamp, level: &str, text: &str) -> String {
    yaml::item(&json!({"dt": log_time(time), "lvl": level, "msg": text}))
}

/// The result of a job itself: `lava`, `job`, as every job of LAVA has it.
pub fn job_result(time: Timestamp, end: &End, milliseconds: u64) -> String {
    let result = if end.is_complete { "pass" } else { "fail" };
    let mut message = json!({"definition": "lava", "case": "job", "result": result});
    if milliseconds > 0 {
        message["duration"] =
            format!("{}.{:02}", milliseconds / 1000, milliseconds % 1000 / 10).into();
    }
    if !end.is_complete {
        let why: String = end.errors.chars().take(WHY_CHARS_MAX).collect();
        message["error_type"] = end.error_type.as_str().into();
        message["error_msg"] = why.into();
    }
    yaml::item(&json!({"dt": log_time(time), "lvl": "results", "msg": message}))
}

fn read(bytes: &[u8], mut line_of: impl FnMut(&[u8]) -> Option<(Timestamp, String)>) -> Read {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.filter_map(&mut line_of).collect();
    // A piece without a line end is longer than any line of ours.
    let used = if whole == 0 && bytes.len() >= PIECE_BYTES { bytes.len() } else { whole };
    Read { used: used as u64, lines }
}

/// How much of a file is read at once: more than the longest line.
pub const PIECE_BYTES: usize = 1 << 19;
/// A result with more than 4096 characters around it is not kept whole (`map_scanned_results`).
const WHY_CHARS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::event::Source;
    use crate::report::summary::tests::run_with_cases;

    fn line(text: &str, elided: Option<u64>) -> String {
        let record =
            LogRecord { elided, ..LogRecord::new(Timestamp::UNIX_EPOCH, Source::Stdout, text) };
        format!("{}\n", serde_json::to_string(&record).unwrap())
    }

    #[test]
    fn each_line_once_in_whatever_order() {
        let mut told = Told::default();
        let (a, b, c) = (line("a", None), line("b", None), line("c", None));
        let half = format!("{a}{b}{}", &c[..5]);
        let first = of_timeline(half.as_bytes(), &mut told, false);
        assert_eq!((first.used, first.lines.len()), ((a.len() + b.len()) as u64, 2));
        assert!(first.lines[0].1.starts_with(
            "- {\"dt\": \"1970-01-01T00:00:00.000000\", \"lvl\": \"target\", \"msg\": \"a\""
        ));
        let mut told = Told::known(told.take_new());
        assert_eq!(told.count(), 2);
        let sorted = format!("{c}{a}{b}");
        let rest = of_timeline(sorted.as_bytes(), &mut told, true);
        assert_eq!(rest.lines.len(), 1);
        assert!(rest.lines[0].1.contains("\"msg\": \"c\""), "{rest:?}");
        assert_eq!(told.take_new().len(), 1);
        assert!(told.take_new().is_empty());
    }

    #[test]
    fn marks_and_what_is_no_line() {
        let mut told = Told::default();
        let mark = line("[9 bytes elided]", Some(9));
        assert!(of_timeline(mark.as_bytes(), &mut told, false).lines.is_empty());
        assert_eq!(of_timeline(mark.as_bytes(), &mut told, true).lines.len(), 1);
        let odd = of_timeline(b"\xff\n{}\n\n", &mut told, true);
        assert_eq!((odd.used, odd.lines.len()), (6, 0));
        assert_eq!(of_timeline(&vec![b'x'; PIECE_BYTES], &mut told, true).used, PIECE_BYTES as u64);
        assert_eq!(of_timeline(b"xx", &mut told, true).used, 0);
    }

    #[test]
    fn results() {
        let events = run_with_cases();
        let text: String =
            events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
        let read = of_events(text.as_bytes());
        assert_eq!(read.used, text.len() as u64);
        assert!(read.lines[0].1.contains("\"lvl\": \"results\""), "{read:?}");
        let end = End { is_complete: false, error_type: "Job".into(), errors: "x".repeat(9000) };
        let failed = job_result(Timestamp::UNIX_EPOCH, &end, 0);
        assert!(failed.len() < 2000 && failed.contains("\"error_type\": \"Job\""), "{failed}");
        let passed = job_result(Timestamp::UNIX_EPOCH, &End { is_complete: true, ..end }, 61_059);
        assert!(passed.contains("\"duration\": \"61.05\", \"result\": \"pass\"}}\n"), "{passed}");
        assert_eq!(
            own(Timestamp::UNIX_EPOCH, "error", "a: \"b\""),
            "- {\"dt\": \"1970-01-01T00:00:00.000000\", \"lvl\": \"error\", \"msg\": \"a: \\\"b\\\"\"}\n"
        );
    }
}
