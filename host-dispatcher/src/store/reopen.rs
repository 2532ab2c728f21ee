//! Brings the files of a run whose dispatcher died into a state from which another one goes on.
//!
//! The test agent keeps everything from the start of its image on, and tells it again from the beginning. So what is
//! known of that is taken out first: results, the suites' output, the kernel's, the agent's and user space's lines. What
//! only this host has heard stays: its own events, the console, the boot loader. Each file is replaced as a whole, so a
//! death in the middle leaves files of which each is as before or cut back, and both are right.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use jiff::Timestamp;

use super::{StoreError, WholeFile};
use crate::job::event::{Event, LogRecord, Source, Stamped};

/// Ends torn lines, and with `from_test` takes out what the board tells again.
///
/// # Errors
/// A file cannot be read or written; it is as it was.
pub(super) fn cut_back(run: &Path, from_test: bool) -> Result<(), StoreError> {
    let mut begin = None;
    rewrite(&run.join("events.ndjson"), |line| {
        let Ok(stamped) = serde_json::from_slice::<Stamped>(line) else { return false };
        if matches!(&stamped.event, Event::ActionStarted { action } if action == TEST) {
            begin.get_or_insert(stamped.time);
        }
        !from_test || is_kept(&stamped, begin)
    })?;
    rewrite(&run.join("timeline.ndjson"), |line| {
        let Ok(record) = serde_json::from_slice::<LogRecord>(line) else { return false };
        !from_test || begin.is_none_or(|begin| is_ours(record.source) || record.host_time < begin)
    })
}

/// Whether an event is only known here.
fn is_kept(stamped: &Stamped, begin: Option<Timestamp>) -> bool {
    let is_told_again = matches!(
        stamped.event,
        Event::TestStarted { .. }
            | Event::TestEnded { .. }
            | Event::CaseStarted { .. }
            | Event::CaseEnded(_)
            | Event::Attachment { .. }
            | Event::KernelReport(_)
            | Event::Clock(_)
    );
    let is_end = matches!(stamped.event, Event::RunEnded { .. } | Event::Error { .. });
    begin.is_none() || !(is_told_again || is_end)
}

/// Whether nobody but this host has lines of this source.
fn is_ours(source: Source) -> bool {
    matches!(source, Source::Console | Source::BootLoader | Source::AgentLine | Source::Dispatcher)
}

/// Makes a file of the lines that `keep` wants; a line that its writer died in is none.
fn rewrite(path: &Path, mut keep: impl FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
    let source = File::open(path).map_err(StoreError::of("open", path))?;
    let mut reader = BufReader::new(source);
    let mut kept = WholeFile::begin(path)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(StoreError::of("read", path))? == 0 {
            return kept.commit().map(drop);
        }
        if line.ends_with(b"\n") && keep(&line) {
            kept.write(&line)?;
        }
    }
}

/// The step of a job from which on the test agent has everything.
const TEST: &str = "test";
/// Events and records are shorter.
const LINE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::run_dir::RunDir;
    use super::super::run_dir::tests::Scratch;
    use super::*;
    use crate::report::summary::tests::panicked_run;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(1_330_560_000 + second).unwrap()
    }

    #[test]
    fn what_the_board_tells_again_is_taken_out() {
        let scratch = Scratch::new();
        let mut run = RunDir::create(&scratch.0, "smoke", time(0), 1).unwrap();
        let mut events = panicked_run();
        let action = Event::ActionStarted { action: TEST.into() };
        events.insert(1, Stamped { time: time(1), event: action });
        events.pop();
        events.iter().for_each(|event| run.event(event).unwrap());
        for (second, source) in [(0, Source::Kernel), (2, Source::Kernel), (2, Source::Console)] {
            run.log(&LogRecord::new(time(second), source, "line")).unwrap();
        }
        run.console(b"raw").unwrap();
        let path = run.path().to_owned();
        drop(run);
        let append = |file: &str, text: &str| {
            let whole = fs::read_to_string(path.join(file)).unwrap();
            fs::write(path.join(file), whole + text).unwrap();
        };
        append("events.ndjson", "{\"time\":\"20");
        append("timeline.ndjson", "{\"host_time\"");

        let again = RunDir::reopen(&path, false).unwrap();
        assert_eq!(again.summary().suites.len(), 3, "whole lines stay");
        drop(again);
        let mut again = RunDir::reopen(&path, true).unwrap();
        assert_eq!((again.summary().suites.len(), again.summary().errors.len()), (0, 0));
        assert_eq!(again.summary().run, "2012-03-01-smoke-abc234");
        events[2..].iter().for_each(|event| again.event(event).unwrap());
        again.log(&LogRecord::new(time(2), Source::Kernel, "line")).unwrap();
        again.console(b"and more").unwrap();
        again.finish(&serde_json::Value::Null).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(read("events.ndjson").lines().count(), events.len());
        assert_eq!(read("timeline.ndjson").lines().count(), 3);
        assert_eq!(read("console.raw"), "rawand more");
        assert!(path.join("run.json").exists());
    }
}
