//! Puts the lines of `timeline.ndjson` into the order of time.
//!
//! Records arrive out of order: the kernel's early log comes when a session opens, a test's output when it is fetched.
//! The sort is stable and holds only times and places in memory, 24 bytes a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

use super::{StoreError, WholeFile};
use crate::job::event::Source;

/// Sorts a file of lines with a `host_time`. A line without one stays behind the line before it. Marks of what was left
/// out live are dropped where `is_whole` says of a suite's output that all of it has come.
///
/// # Errors
/// Failed reads and writes; the file is then as it was.
pub fn sort(path: &Path, is_whole: impl Fn(&str, Source) -> bool) -> Result<(), StoreError> {
    let (mut lines, dropped) = lines_of(path, is_whole).map_err(StoreError::of("sort", path))?;
    if dropped == 0 && lines.is_sorted_by_key(|line| line.time_us) {
        return Ok(());
    }
    lines.sort_by_key(|line| line.time_us);
    let mut sorted = WholeFile::begin(path)?;
    let mut source = File::open(path).map_err(StoreError::of("read", path))?;
    copy(&mut source, &lines, &mut sorted).map_err(StoreError::of("sort", path))?;
    sorted.commit().map(drop)
}

struct Line {
    time_us: i64,
    offset: u64,
    length: u32,
}

#[derive(Deserialize)]
struct Timed {
    host_time: Timestamp,
    source: Option<Source>,
    suite: Option<String>,
    elided: Option<u64>,
}

/// The lines that stay, and how many do not.
fn lines_of(path: &Path, is_whole: impl Fn(&str, Source) -> bool) -> io::Result<(Vec<Line>, u64)> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut lines, mut offset, mut time_us) = (Vec::new(), 0u64, i64::MIN);
    let (mut bytes, mut dropped) = (Vec::new(), 0);
    loop {
        bytes.clear();
        let length = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
        if length == 0 {
            return Ok((lines, dropped));
        }
        if let Ok(timed) = serde_json::from_slice::<Timed>(&bytes) {
            time_us = timed.host_time.as_microsecond();
            if let (Some(_), Some(suite), Some(source)) = (timed.elided, timed.suite, timed.source)
                && is_whole(&suite, source)
            {
                dropped += 1;
                offset += length as u64;
                continue;
            }
        }
        lines.push(Line { time_us, offset, length: u32::try_from(length).unwrap_or(u32::MAX) });
        offset += length as u64;
    }
}

fn copy(source: &mut File, lines: &[Line], sorted: &mut WholeFile) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, Sink(sorted));
    let mut bytes = Vec::new();
    let mut at = u64::MAX;
    let mut reader = BufReader::new(source);
    for line in lines {
        if at == u64::MAX {
            reader.seek(SeekFrom::Start(line.offset))?;
        } else {
            // Mostly forward by nothing: neighbours stay neighbours, and the reader keeps its buffer.
            reader.seek_relative(line.offset.wrapping_sub(at) as i64)?;
        }
        bytes.resize(line.length as usize, 0);
        reader.read_exact(&mut bytes)?;
        at = line.offset + u64::from(line.length);
        out.write_all(&bytes)?;
        if !bytes.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

struct Sink<'a>(&'a mut WholeFile);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| error.source)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A record's text is bounded by its writer; a longer line is not one of ours and is taken in pieces.
const LINE_BYTES_MAX: u64 = 1 << 20;
