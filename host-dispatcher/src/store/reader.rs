//! Reads run directories, also of runs that were cut off and of later versions.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Serialize;

use super::{StoreError, results, write_json};
use crate::job::event::Stamped;
use crate::report::summary::Summary;

/// The events of a run, as far as they can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// In the order they were written.
    pub events: Vec<Stamped>,
    /// Whether the last line was cut off: the writer died in it.
    pub torn: bool,
    /// Whole lines that are no event this version knows.
    pub skipped: u64,
    /// Whether there was more than is read.
    pub truncated: bool,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// Its directory is complete.
    Ended,
    /// It will never be: who wrote it is gone.
    Abandoned,
}

impl RunState {
    /// That of the run in a directory.
    ///
    /// # Errors
    /// `events.ndjson` cannot be opened.
    pub fn of(run: &Path) -> Result<Self, StoreError> {
        if run.join("run.json").exists() {
            return Ok(Self::Ended);
        }
        Ok(if is_abandoned(run)? { Self::Abandoned } else { Self::Running })
    }
}

/// The events in a run directory.
///
/// # Errors
/// `events.ndjson` cannot be opened or read; its content is never an error.
pub fn events(run: &Path) -> Result<Events, StoreError> {
    let path = run.join("events.ndjson");
    let file = File::open(&path).map_err(StoreError::of("open", &path))?;
    events_in(BufReader::new(file)).map_err(StoreError::of("read", &path))
}

/// Whether a run will never be complete: nobody writes it any more. Where the file system has no locks, nobody knows, and
/// it may still be.
///
/// # Errors
/// `events.ndjson` cannot be opened.
pub fn is_abandoned(run: &Path) -> Result<bool, StoreError> {
    let path = run.join("events.ndjson");
    let file = File::open(&path).map_err(StoreError::of("open", &path))?;
    if file.try_lock_shared().is_err() {
        return Ok(false);
    }
    drop(file);
    // Asked for in this order: the writer completes the directory before it lets go.
    Ok(!run.join("run.json").exists())
}

/// What a run came to, as far as its events can be read; without holding these.
///
/// # Errors
/// As for [`events`].
pub fn summary(run: &Path) -> Result<Summary, StoreError> {
    let mut summary = Summary::default();
    each(run, |event| summary.handle_event(event))?;
    Ok(summary)
}

/// Gives each event of a run to `take`, as far as they can be read; without holding them.
///
/// # Errors
/// As for [`events`].
pub fn each(run: &Path, mut take: impl FnMut(&Stamped)) -> Result<(), StoreError> {
    let path = run.join("events.ndjson");
    let file = File::open(&path).map_err(StoreError::of("open", &path))?;
    each_event(BufReader::new(file), |event| {
        take(&event);
        true
    })
    .map_err(StoreError::of("read", &path))?;
    Ok(())
}

/// The events in a text.
///
/// # Errors
/// Those of the reader.
pub fn events_in(reader: impl BufRead) -> std::io::Result<Events> {
    let mut events = Vec::new();
    let read = each_event(reader, |event| {
        let has_room = events.len() < EVENTS_MAX;
        if has_room {
            events.push(event);
        }
        has_room
    })?;
    Ok(Events { events, ..read })
}

/// Gives each event to `take`, until that says that it is enough. Returns what was not an event.
fn each_event(
    mut reader: impl BufRead,
    mut take: impl FnMut(Stamped) -> bool,
) -> std::io::Result<Events> {
    let mut read = Events::default();
    let mut line = Vec::new();
    let mut in_long_line = false;
    loop {
        line.clear();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(read);
        }
        let whole = line.ends_with(b"\n");
        let too_long = !whole && line.len() as u64 == LINE_BYTES_MAX;
        if in_long_line || too_long {
            // The rest of a line that is longer than any event: counted once.
            read.skipped += u64::from(!in_long_line);
            in_long_line = !whole;
            continue;
        }
        match serde_json::from_slice::<Stamped>(&line) {
            // A line may be whole but for its end.
            Ok(event) => {
                if !take(event) {
                    read.truncated = true;
                    return Ok(read);
                }
            }
            Err(_) if whole => read.skipped += 1,
            Err(_) => read.torn = true,
        }
    }
}

/// Makes `tests/<suite>/results.json`, `results.junit.xml` and, where it is missing, `run.json` again from the events.
/// Returns what the run came to.
///
/// # Errors
/// The events cannot be read, or a file not written.
pub fn rebuild(run: &Path) -> Result<Summary, StoreError> {
    let summary = summary(run)?;
    results::write(run, &summary)?;
    let place = run.join("run.json");
    // A run.json that is there knows more: the link's counters were never events.
    if !place.exists() {
        write_json(&place, &summary)?;
    }
    Ok(summary)
}

/// An event holds at most a tail of the console.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// As many as a writer may write, and more.
const EVENTS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use super::super::run_dir::RunDir;
    use super::super::run_dir::tests::Scratch;
    use super::*;
    use crate::report::summary::tests::panicked_run;

    #[test]
    fn a_log_cut_anywhere_is_read_up_to_there() {
        let lines: Vec<String> = panicked_run()
            .iter()
            .map(|event| serde_json::to_string(event).unwrap() + "\n")
            .collect();
        let text = lines.concat();
        let mut ends = Vec::new();
        for line in &lines {
            ends.push(ends.last().unwrap_or(&0) + line.len());
        }
        for cut in 0..=text.len() {
            let read = events_in(&text.as_bytes()[..cut]).unwrap();
            let whole = ends.iter().filter(|end| cut + 1 >= **end).count();
            assert_eq!(read.events.len(), whole, "cut at {cut}");
            assert_eq!(read.skipped, 0);
            assert_eq!(
                read.torn,
                cut > 0 && !ends.iter().any(|end| cut == *end || cut + 1 == *end),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn hostile_lines_are_counted() {
        let good = serde_json::to_string(&panicked_run()[0]).unwrap();
        let long = "x".repeat(3 << 20);
        let deep = "[".repeat(100_000);
        let text = format!(
            "{{}}\n{long}\n{deep}\n\0\n{good}\n{{\"time\":\"2030-01-01T00:00:00Z\",\"event\":\"dreamt\"}}\n"
        );
        let read = events_in(text.as_bytes()).unwrap();
        assert_eq!((read.events.len(), read.skipped, read.torn), (1, 5, false));
    }

    #[test]
    fn a_run_is_abandoned_when_its_writer_is_gone_before_its_end() {
        let scratch = Scratch::new();
        let create = || RunDir::create(&scratch.0, "smoke", Timestamp::UNIX_EPOCH, 1).unwrap();
        let run = create();
        let path = run.path().to_owned();
        assert!(!is_abandoned(&path).unwrap(), "it is being written");
        drop(run);
        assert!(is_abandoned(&path).unwrap());
        let mut run = create();
        let path = run.path().to_owned();
        run.finish(&serde_json::Value::Null).unwrap();
        assert!(!is_abandoned(&path).unwrap());
        drop(run);
        assert!(!is_abandoned(&path).unwrap(), "it is complete");
        assert!(is_abandoned(&scratch.0).is_err());
    }

    #[test]
    fn everything_is_rebuilt_from_the_events() {
        let scratch = Scratch::new();
        let mut run = RunDir::create(&scratch.0, "smoke", Timestamp::UNIX_EPOCH, 1).unwrap();
        panicked_run().iter().for_each(|event| run.event(event).unwrap());
        run.finish(&serde_json::Value::Null).unwrap();
        let files = [
            "results.junit.xml",
            "tests/uname/results.json",
            "tests/audio/results.json",
            "tests/crash/results.json",
        ];
        let before = files.map(|file| fs::read(run.path().join(file)).unwrap());
        files.iter().for_each(|file| fs::remove_file(run.path().join(file)).unwrap());
        fs::remove_file(run.path().join("run.json")).unwrap();
        assert_eq!(&summary(run.path()).unwrap(), run.summary());
        assert_eq!(&rebuild(run.path()).unwrap(), run.summary());
        assert_eq!(files.map(|file| fs::read(run.path().join(file)).unwrap()), before);
        assert!(run.path().join("run.json").exists());
    }
}
