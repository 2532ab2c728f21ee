//! The whole of a run's log in LAVA's form: the lines of the timeline, and among them the results as they came.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use jiff::Timestamp;

use super::lava_log;
use super::summary::Summary;
use crate::job::event::Stamped;
use crate::store::records::Records;

/// The log of a run whose directory is complete; of a longer one the first so many bytes, in whole lines, and what says so.
///
/// # Errors
/// It cannot be read.
pub fn text(run: &Path, summary: &Summary, bytes_max: usize) -> io::Result<String> {
    let mut records = Records::open(run).map_err(io::Error::other)?;
    let mut results = Results::open(run)?;
    let mut text = Vec::new();
    while let Some(record) = records.read()? {
        results.until(record.host_time, &mut text)?;
        text.extend_from_slice(lava_log::record(&record).as_bytes());
        if text.len() > bytes_max {
            let end =
                text[..bytes_max].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            text.truncate(end);
            let cut =
                "- {\"lvl\": \"warning\", \"msg\": \"the log goes on in the run directory\"}\n";
            text.extend_from_slice(cut.as_bytes());
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
    results.until(Timestamp::MAX, &mut text)?;
    text.extend_from_slice(lava_log::end(summary).as_bytes());
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The results among the events of a run, as items of LAVA's log, by and by.
#[derive(Debug)]
pub struct Results {
    reader: BufReader<File>,
    line: Vec<u8>,
    waiting: Option<(Timestamp, String)>,
}

impl Results {
    /// Those of a run, from its beginning.
    ///
    /// # Errors
    /// Its events cannot be read.
    pub fn open(run: &Path) -> io::Result<Self> {
        let reader = BufReader::new(File::open(run.join("events.ndjson"))?);
        Ok(Self { reader, line: Vec::new(), waiting: None })
    }

    /// Writes the results that were put on record up to `time`.
    ///
    /// # Errors
    /// They cannot be read, or not be written.
    pub fn until(&mut self, time: Timestamp, out: &mut impl Write) -> io::Result<()> {
        loop {
            if let Some((at, item)) = &self.waiting {
                if *at > time {
                    return Ok(());
                }
                out.write_all(item.as_bytes())?;
            }
            self.waiting = None;
            // A line may not be whole yet: it is kept until it is, or until it is longer than any event.
            let room = EVENT_BYTES_MAX.saturating_sub(self.line.len() as u64);
            let count = (&mut self.reader).take(room).read_until(b'\n', &mut self.line)?;
            if !self.line.ends_with(b"\n") && room > 0 {
                if count == 0 {
                    return Ok(());
                }
                continue;
            }
            if let Ok(stamped) = serde_json::from_slice::<Stamped>(&self.line)
                && let Some(item) = lava_log::event(&stamped)
            {
                self.waiting = Some((stamped.time, item));
            }
            self.line.clear();
        }
    }
}

/// As in the reader of events.
const EVENT_BYTES_MAX: u64 = 1 << 20;
