//! The writer of a run directory.
//!
//! Guarantees that `events.ndjson` alone, whatever happens to the process, tells what happened up to its last whole
//! line; and that every other file is whole or absent, or only grows. A failed write is returned, never a panic, and
//! leaves the rest usable. Wall-clock times are passed in.
//!
//! As long as it lives it holds `flock` on `events.ndjson`, by which [`is_abandoned`](super::reader::is_abandoned) knows.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::append::{Append, Dropped};
use super::{
    StoreError, WholeFile, log_text, names, reader, reopen, results, timeline, write_json,
    write_whole,
};
use crate::job::event::{DroppedRecords, Event, LogRecord, Source, Stamped};
use crate::redact::{Patterns, Redactor};
use crate::report::summary::Summary;

/// A run directory that is being written.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    name: String,
    events: Append,
    console: Append,
    timeline: Append,
    kernel: Append,
    agent: Append,
    user_console: Append,
    dispatcher: Append,
    summary: Summary,
    events_max: u64,
    /// What was said of files that are full.
    told: HashMap<&'static str, Dropped>,
    /// Outputs of suites of which every byte is on the timeline.
    whole: HashSet<(String, Source)>,
    /// What files of the board and of the job are written without. Events and records come without it.
    hidden: Arc<Patterns>,
}

/// A suite's file as it grows, without what is hidden. An end that may be the beginning of that is not written yet.
#[derive(Debug)]
pub struct SuiteFile {
    file: File,
    redactor: Redactor,
}

#[derive(Serialize)]
struct RunJson<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    /// Counters of the link, by cause; what the live half knows.
    link: &'a serde_json::Value,
    /// Bytes that full files dropped, by file.
    dropped_bytes: serde_json::Value,
}

impl RunDir {
    /// Makes `<root>/<date>-<job>-<id>/`, which did not exist before. The date is that of `now` in UTC; the id comes from
    /// `random`.
    ///
    /// # Errors
    /// The folder or one of its files cannot be made.
    pub fn create(
        root: &Path,
        job_name: &str,
        now: Timestamp,
        random: u64,
    ) -> Result<Self, StoreError> {
        Self::create_bounded(root, job_name, now, random, [EVENTS_BYTES_MAX, LOG_BYTES_MAX])
    }

    /// The same with other bounds: of `events.ndjson`, and of each log.
    fn create_bounded(
        root: &Path,
        job_name: &str,
        now: Timestamp,
        random: u64,
        bounds: [u64; 2],
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(StoreError::of("create", root))?;
        let date = now.to_zoned(TimeZone::UTC).date();
        let stem = format!("{date}-{}", names::component(job_name, JOB_BYTES_MAX));
        let mut random = random;
        for attempt in 1.. {
            let name = format!("{stem}-{}", names::run_id(random));
            let path = root.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => return Self::fill(path, name, bounds),
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS_MAX =>
                {
                    // The next number of Knuth's generator: other digits, and no second source of chance.
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407)
                        >> 1;
                }
                Err(error) => return Err(StoreError::of("create", &path)(error)),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn fill(
        path: PathBuf,
        name: String,
        [events_max, log_max]: [u64; 2],
    ) -> Result<Self, StoreError> {
        let make = |file: &str| Append::create(&path.join(file), log_max);
        let events = Append::create_unmarked(&path.join("events.ndjson"), events_max)?;
        events.mark();
        Ok(Self {
            events,
            console: make("console.raw")?,
            timeline: Append::create_unmarked(&path.join("timeline.ndjson"), log_max)?,
            kernel: make("kernel.log")?,
            agent: make("agent.log")?,
            user_console: make("user-console.log")?,
            dispatcher: make("dispatcher.log")?,
            summary: Summary::default(),
            events_max,
            told: HashMap::new(),
            whole: HashSet::new(),
            hidden: Arc::default(),
            path,
            name,
        })
    }

    /// Goes on with the directory of a run that nobody writes any more: its dispatcher died. With `from_test` the board
    /// still has everything since the test image booted, and will tell all of it again: what is known of that is left
    /// out, so that nothing stands there twice.
    ///
    /// # Errors
    /// A file cannot be read or written. What was there is still there then.
    pub fn reopen(path: &Path, from_test: bool) -> Result<Self, StoreError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        reopen::cut_back(path, from_test)?;
        let old = reader::summary(path)?;
        let open = |file: &str| Append::reopen(&path.join(file), LOG_BYTES_MAX);
        let events = Append::reopen_unmarked(&path.join(EVENTS), EVENTS_BYTES_MAX)?;
        events.mark();
        Ok(Self {
            events,
            console: open("console.raw")?,
            timeline: Append::reopen_unmarked(&path.join("timeline.ndjson"), LOG_BYTES_MAX)?,
            kernel: open("kernel.log")?,
            agent: open("agent.log")?,
            user_console: open("user-console.log")?,
            dispatcher: open("dispatcher.log")?,
            summary: old,
            events_max: EVENTS_BYTES_MAX,
            told: HashMap::new(),
            whole: HashSet::new(),
            hidden: Arc::default(),
            path: path.to_owned(),
            name,
        })
    }

    /// From here on nothing of this gets into a file. What is written by [`Self::event`], [`Self::console`] and [`Self::log`]
    /// their caller takes it out of: others are told the same.
    pub fn hide(&mut self, hidden: Arc<Patterns>) {
        self.hidden = hidden;
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name: its folder's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the events so far come to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Keeps the job file's text, as others may see it, as `job.yaml`.
    ///
    /// # Errors
    /// A failed write.
    pub fn keep_job(&self, text: &str) -> Result<(), StoreError> {
        write_whole(&self.path.join("job.yaml"), text.as_bytes())
    }

    /// Keeps the test definition that a suite was made from as `definitions/<suite>.yaml`. `suite` is a name of the job.
    ///
    /// # Errors
    /// A failed write.
    pub fn keep_definition(&self, suite: &str, text: &str) -> Result<(), StoreError> {
        let place = self.path.join("definitions").join(format!("{suite}.yaml"));
        self.make_folder_of(&place)?;
        write_whole(&place, self.hidden.redact_whole(text).as_bytes())
    }

    /// Keeps what is known of the board as `board.json`; may be called again when more is known.
    ///
    /// # Errors
    /// A failed write.
    pub fn keep_board(&self, board: &impl Serialize) -> Result<(), StoreError> {
        self.write_json("board.json", board)
    }

    /// Keeps what became of the images that were deployed, as `deploy.json`.
    ///
    /// # Errors
    /// A failed write.
    pub fn keep_deployed(&self, deployed: &impl Serialize) -> Result<(), StoreError> {
        self.write_json("deploy.json", deployed)
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let mut value = serde_json::to_value(value)
            .map_err(|error| StoreError::of("encode", &self.path)(io::Error::other(error)))?;
        self.hidden.redact_strings(&mut value);
        write_json(&self.path.join(name), &value)
    }

    /// Writes an event down. Important ones are on the disk when this returns; progress is not written. A file that
    /// fills up keeps room for results, more for verdicts, and the most for the run's end, and says what it left out.
    ///
    /// # Errors
    /// A failed write; the summary counts the event all the same.
    pub fn event(&mut self, stamped: &Stamped) -> Result<(), StoreError> {
        if !stamped.event.is_stored() {
            return Ok(());
        }
        if let Event::RunEnded { .. } = stamped.event {
            self.tell_dropped(stamped.time)?;
        }
        self.summary.handle_event(stamped);
        self.line(stamped)?;
        if self.events.dropped() != Dropped::default() && !self.told.contains_key(EVENTS) {
            self.tell_dropped(stamped.time)?;
        }
        if let Event::RunStarted { .. } = stamped.event {
            // The run's folder is on the disk only when the one above it is.
            super::sync_folder(&self.path)?;
        }
        Ok(())
    }

    fn line(&mut self, stamped: &Stamped) -> Result<(), StoreError> {
        let reserve = self.events_max >> reserve_shift(&stamped.event);
        self.events.write_if_room(&json_line(stamped, &self.path)?, reserve)?;
        if stamped.event.is_important() { self.events.sync() } else { Ok(()) }
    }

    /// Puts on record what files had no room for, where that was not said before.
    fn tell_dropped(&mut self, time: Timestamp) -> Result<(), StoreError> {
        for (file, log) in self.logs().map(|(file, log)| (file, log.dropped())) {
            if log == self.told.get(file).copied().unwrap_or_default() {
                continue;
            }
            self.told.insert(file, log);
            let Dropped { records, bytes } = log;
            let event = Event::Dropped(DroppedRecords { file: file.to_owned(), records, bytes });
            let stamped = Stamped { time, event };
            self.summary.handle_event(&stamped);
            self.line(&stamped)?;
        }
        Ok(())
    }

    fn logs(&self) -> [(&'static str, &Append); 7] {
        [
            (EVENTS, &self.events),
            ("console.raw", &self.console),
            ("timeline.ndjson", &self.timeline),
            ("kernel.log", &self.kernel),
            ("agent.log", &self.agent),
            ("user-console.log", &self.user_console),
            ("dispatcher.log", &self.dispatcher),
        ]
    }

    /// Appends bytes to `console.raw` as they came from the line.
    ///
    /// # Errors
    /// A failed write.
    pub fn console(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.console.write(bytes)
    }

    /// Appends a record to `timeline.ndjson`, and to the log of its source if that has one.
    ///
    /// # Errors
    /// A failed write.
    pub fn log(&mut self, record: &LogRecord) -> Result<(), StoreError> {
        let line = json_line(record, &self.path)?;
        let was_full = self.timeline.dropped() != Dropped::default();
        if !self.timeline.write_if_room(&line, TIMELINE_RESERVE)? && !was_full {
            let text = "timeline.ndjson is full: of what follows not all was kept";
            self.timeline_note(record.host_time, text)?;
        }
        let log = match record.source {
            Source::Kernel => &mut self.kernel,
            Source::Agent => &mut self.agent,
            Source::UserConsole => &mut self.user_console,
            Source::Dispatcher => &mut self.dispatcher,
            Source::Stdout
            | Source::Stderr
            | Source::Console
            | Source::BootLoader
            | Source::AgentLine => return Ok(()),
        };
        log.write(log_text::of(record).as_bytes())
    }

    fn timeline_note(&mut self, time: Timestamp, text: &str) -> Result<(), StoreError> {
        let note = LogRecord::new(time, Source::Dispatcher, text);
        self.timeline.write_if_room(&json_line(&note, &self.path)?, 0).map(drop)
    }

    /// Every byte of a suite's output is on the timeline now: what was marked as left out is not missing any more.
    pub fn output_is_whole(&mut self, suite: &str, source: Source) {
        self.whole.insert((suite.to_owned(), source));
    }

    /// Appends the text of a kernel panic to `panic.txt`, and has it on the disk.
    ///
    /// # Errors
    /// A failed write.
    pub fn append_panic(&self, whole: &str) -> Result<(), StoreError> {
        let path = self.path.join("panic.txt");
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let redacted = self.hidden.redacted(whole);
        let text = redacted.as_deref().unwrap_or(whole);
        file.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(StoreError::of("write", &path))
    }

    /// Opens `tests/<suite>/<name>` to append to it as it comes live: `stdout.log`, `stderr.log`, `output.ndjson`.
    ///
    /// # Errors
    /// The folder or the file cannot be made.
    pub fn open_suite_file(&self, suite: &str, name: &str) -> Result<SuiteFile, StoreError> {
        let path =
            self.path.join(names::place_of_board_file(&format!("tests/{}/{name}", one(suite))));
        self.make_folder_of(&path)?;
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map(|file| SuiteFile { file, redactor: Redactor::new(Arc::clone(&self.hidden)) })
            .map_err(StoreError::of("open", &path))
    }

    /// Begins a file that a board calls `name` (`tests/uname/stdout.log`); its place is that of
    /// [`names::place_of_board_file`]. On [`WholeFile::commit`] it replaces what came live.
    ///
    /// # Errors
    /// The folder or the file cannot be made.
    pub fn begin_file(&self, name: &str) -> Result<WholeFile, StoreError> {
        let path = self.path.join(names::place_of_board_file(name));
        self.make_folder_of(&path)?;
        Ok(WholeFile::begin(&path)?.without(&self.hidden))
    }

    /// [`RunDir::begin_file`] with everything that `reader` gives. Returns where the file is.
    ///
    /// # Errors
    /// A failed read or write; what was there before stays.
    pub fn replace_file(&self, name: &str, mut reader: impl Read) -> Result<PathBuf, StoreError> {
        let mut file = self.begin_file(name)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return file.commit(),
                Ok(length) => file.write(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(StoreError::of("read what becomes", Path::new(name))(error));
                }
            }
        }
    }

    /// Completes the directory after the run's last event: results, JUnit, the timeline in order, `run.json` last.
    /// Everything is tried; the first failure is returned.
    ///
    /// # Errors
    /// A failed write.
    pub fn finish(&mut self, link: &serde_json::Value) -> Result<(), StoreError> {
        let mut first = Ok(());
        for dropped in self.summary.dropped_records.clone() {
            let time = self.summary.ended.unwrap_or_default();
            keep_first(&mut first, self.timeline_note(time, &dropped.to_string()));
        }
        for (_, log) in self.logs() {
            keep_first(&mut first, log.sync());
        }
        keep_first(
            &mut first,
            timeline::sort(&self.path.join("timeline.ndjson"), |suite, source| {
                self.whole.contains(&(suite.to_owned(), source))
            }),
        );
        // What came home late stands at the end of these logs; the timeline has it in its place.
        for (name, source) in [
            ("kernel.log", Source::Kernel),
            ("agent.log", Source::Agent),
            ("user-console.log", Source::UserConsole),
        ] {
            keep_first(&mut first, self.rewrite_log(name, source));
        }
        keep_first(&mut first, results::write(&self.path, &self.summary));
        let dropped: serde_json::Map<String, serde_json::Value> = self
            .logs()
            .into_iter()
            .filter(|(_, log)| log.dropped().bytes > 0)
            .map(|(name, log)| (name.to_owned(), log.dropped().bytes.into()))
            .collect();
        let run = RunJson { summary: &self.summary, link, dropped_bytes: dropped.into() };
        keep_first(&mut first, write_json(&self.path.join("run.json"), &run));
        first
    }

    /// Makes a log anew from the records of its source on the timeline, in their order.
    fn rewrite_log(&self, name: &str, source: Source) -> Result<(), StoreError> {
        let timeline = self.path.join("timeline.ndjson");
        let reader = File::open(&timeline).map_err(StoreError::of("read", &timeline))?;
        let mut log = WholeFile::begin(&self.path.join(name))?;
        for line in BufReader::new(reader).lines() {
            let line = line.map_err(StoreError::of("read", &timeline))?;
            let Ok(record) = serde_json::from_str::<LogRecord>(&line) else { continue };
            if record.source == source {
                log.write(log_text::of(&record).as_bytes())?;
            }
        }
        log.commit().map(drop)
    }

    fn make_folder_of(&self, path: &Path) -> Result<(), StoreError> {
        let folder = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).map_err(StoreError::of("create", folder))
    }
}

impl io::Write for SuiteFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.redactor.write_to(&mut self.file, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts an event on record behind the end of a run whose directory is complete.
///
/// # Errors
/// It cannot be written, or the file is full.
pub fn append_event(run: &Path, stamped: &Stamped) -> Result<(), StoreError> {
    let path = run.join(EVENTS);
    let mut events = Append::reopen_unmarked(&path, EVENTS_BYTES_MAX)?;
    if !events.write_if_room(&json_line(stamped, run)?, 0)? {
        return Err(StoreError::of("write", &path)(io::ErrorKind::FileTooLarge.into()));
    }
    events.sync()
}

/// Goes on after a failure, and remembers the first.
pub(super) fn keep_first(first: &mut Result<(), StoreError>, next: Result<(), StoreError>) {
    if first.is_ok() {
        *first = next;
    }
}

/// A suite's name as one component of a name.
pub(super) fn one(suite: &str) -> String {
    names::distinct_component(suite, JOB_BYTES_MAX.max(64))
}

fn json_line(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| StoreError::of("encode", path)(io::Error::other(error)))?;
    line.push(b'\n');
    Ok(line)
}

/// How much of the bound of `events.ndjson` must stay free behind an event, as a power of two: a quarter for whatever
/// happens, that results need; a 32nd for results, that verdicts need; a 1024th for verdicts, that the end needs.
fn reserve_shift(event: &Event) -> u32 {
    match event {
        Event::RunEnded { .. } | Event::Dropped(_) | Event::Callback(_) => u64::BITS - 1,
        // As many as a job has tests, and the few that stop a run.
        Event::RunStarted { .. } | Event::TestEnded { .. } | Event::Error { .. } => 10,
        Event::TestStarted { .. }
        | Event::CaseEnded(_)
        | Event::Attachment { .. }
        | Event::KernelReport(_) => 5,
        _ => 2,
    }
}

const EVENTS: &str = "events.ndjson";
/// For what says that the timeline is full.
const TIMELINE_RESERVE: u64 = 4096;
/// A job's name in that of its run.
const JOB_BYTES_MAX: usize = 40;
/// Two runs with one id on one day are chance; this many are a fault.
const ATTEMPTS_MAX: u32 = 8;
/// An event is some hundred bytes: a hundred thousand of them.
const EVENTS_BYTES_MAX: u64 = 64 << 20;
/// A line of 115200 baud brings this in a day; a faster one must not fill the lab's disk.
const LOG_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::job::event::{Case, CaseOrigin};
    use crate::job::verdict::CaseResult;
    use crate::report::summary::tests::panicked_run;
    use crate::report::text;

    /// A folder of its own for each test, removed at its end.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path =
                std::env::temp_dir().join(format!("pumice-store-{}-{count}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn new_run(scratch: &Scratch) -> RunDir {
        let now = Timestamp::from_second(1_330_560_000).unwrap();
        RunDir::create(&scratch.0, "smoke: ../x", now, 7).unwrap()
    }

    fn record(second: i64, source: Source, text: &str) -> LogRecord {
        LogRecord {
            board_time_us: (source == Source::Kernel).then_some(1_234_567),
            level: (source == Source::Kernel).then_some(6),
            ..LogRecord::new(Timestamp::from_second(second).unwrap(), source, text)
        }
    }

    #[test]
    fn a_whole_run() {
        let scratch = Scratch::new();
        let mut run = new_run(&scratch);
        assert!(run.name().starts_with("2012-03-01-smoke-..-x-"), "{}", run.name());
        run.keep_job("name: x\n").unwrap();
        run.keep_board(&serde_json::json!({"name": "qemu-01"})).unwrap();
        panicked_run().iter().for_each(|event| run.event(event).unwrap());
        run.console(b"U-Boot \xff\n").unwrap();
        run.log(&record(20, Source::Agent, "hello")).unwrap();
        run.log(&record(10, Source::Kernel, "first\nsecond")).unwrap();
        run.log(&record(20, Source::Console, "after hello")).unwrap();
        run.finish(&serde_json::json!({"retransmits": 3})).unwrap();
        let text = |name: &str| fs::read_to_string(run.path().join(name)).unwrap();
        assert_eq!(text("kernel.log"), "<6>[    1.234567] first\n<6>[    1.234567] second\n");
        assert_eq!(text("agent.log"), "1970-01-01T00:00:20.000000Z hello\n");
        let timeline: Vec<String> = text("timeline.ndjson").lines().map(str::to_owned).collect();
        let order = ["first", "\"hello\"", "after hello"];
        assert!(timeline.iter().zip(order).all(|(line, word)| line.contains(word)), "{timeline:?}");
        let run_json: serde_json::Value = serde_json::from_str(&text("run.json")).unwrap();
        assert_eq!(
            (&run_json["verdict"], &run_json["link"]["retransmits"]),
            (&"TestError".into(), &3.into())
        );
        assert!(text("tests/audio/results.json").contains("\"result\": \"fail\""));
        assert!(text("results.junit.xml").contains("<testsuites"));
        assert_eq!(fs::read(run.path().join("console.raw")).unwrap(), b"U-Boot \xff\n");
        let parts = fs::read_dir(run.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part"));
        assert_eq!(parts.count(), 0, "temporary files stayed");
    }

    #[test]
    fn two_runs_never_share_a_folder() {
        let scratch = Scratch::new();
        assert_ne!(new_run(&scratch).path(), new_run(&scratch).path());
    }

    #[test]
    fn files_of_a_board_replace_what_came_live_and_nothing_else() {
        let scratch = Scratch::new();
        let run = new_run(&scratch);
        io::Write::write_all(&mut run.open_suite_file("uname", "stdout.log").unwrap(), b"Lin")
            .unwrap();
        let place = run.replace_file("tests/uname/stdout.log", &b"Linux\n"[..]).unwrap();
        assert_eq!(place, run.path().join("tests/uname/stdout.log"));
        assert_eq!(fs::read(&place).unwrap(), b"Linux\n");
        for name in ["../../outside", "/etc/passwd", "events.ndjson", "tests/../run.json"] {
            let place = run.replace_file(name, &b"x"[..]).unwrap();
            let below = place.strip_prefix(run.path()).unwrap();
            assert!(
                below.starts_with("board") || below.starts_with("tests"),
                "{name} became {place:?}"
            );
        }
        assert!(!run.path().join("run.json").exists());
        drop(run.begin_file("tests/uname/stdout.log").unwrap());
        assert_eq!(fs::read(&place).unwrap(), b"Linux\n", "an unfinished file changes nothing");
    }

    #[test]
    fn full_files_keep_results_verdicts_and_the_end_and_say_what_they_left_out() {
        let scratch = Scratch::new();
        let now = Timestamp::from_second(1_330_560_000).unwrap();
        let bounds = [1 << 20, 64 << 10];
        let mut run = RunDir::create_bounded(&scratch.0, "full", now, 7, bounds).unwrap();
        let stamp = |event| Stamped { time: now, event };
        let case = |result| {
            let name = format!("case {}", "x".repeat(400));
            stamp(Event::CaseEnded(Case::new("audio", name, result, CaseOrigin::Helper)))
        };
        let panicked = panicked_run();
        let (end, before) = panicked.split_last().unwrap();
        before[..4].iter().for_each(|event| run.event(event).unwrap());
        for number in 0..20_000 {
            run.event(&stamp(Event::Note { text: format!("note {number}") })).unwrap();
            run.log(&record(number, Source::Stdout, "one of very many lines")).unwrap();
        }
        // Results have room when notes have none, up to a bound of their own ...
        run.event(&case(CaseResult::Fail)).unwrap();
        (0..2000).for_each(|_| run.event(&case(CaseResult::Pass)).unwrap());
        // ... and the ends of tests, errors and the run have room when results have none.
        before[4..].iter().for_each(|event| run.event(event).unwrap());
        run.event(end).unwrap();
        run.finish(&serde_json::Value::Null).unwrap();

        let length = fs::metadata(run.path().join("events.ndjson")).unwrap().len();
        assert!(length <= 1 << 20, "{length}");
        let read = reader::events(run.path()).unwrap();
        assert_eq!((read.skipped, read.torn), (0, false));
        let count = |name| read.events.iter().filter(|event| event.event.name() == name).count();
        assert_eq!((count("test_ended"), count("error"), count("run_ended")), (2, 1, 1));
        assert!((100..2000).contains(&count("case_ended")), "{}", count("case_ended"));
        let summary = reader::summary(run.path()).unwrap();
        assert_eq!(summary.verdict, run.summary().verdict);
        assert_eq!(summary.suites[1].all_cases().next().unwrap().result, CaseResult::Fail);
        let files: Vec<&str> =
            summary.dropped_records.iter().map(|dropped| dropped.file.as_str()).collect();
        assert_eq!(files, ["events.ndjson", "timeline.ndjson"]);
        let events = &summary.dropped_records[0];
        let kept = read.events.len() as u64 - count("dropped") as u64;
        assert_eq!(events.records, 20_000 + 2001 + panicked.len() as u64 - kept);
        let shown = text::results(&summary, run.path(), text::Color::None, text::Cases::NotPassed);
        assert!(shown.contains(&events.to_string()), "{shown}");

        let mut timeline = super::super::records::Records::open(run.path()).unwrap();
        let lines: Vec<LogRecord> = std::iter::from_fn(|| timeline.read().unwrap()).collect();
        assert_eq!(timeline.skipped(), 0);
        let said: Vec<&LogRecord> =
            lines.iter().filter(|line| line.source == Source::Dispatcher).collect();
        assert!(said[0].text.starts_with("timeline.ndjson is full"), "{said:?}");
        let dropped = &summary.dropped_records[1];
        assert!(said.iter().any(|line| line.text == dropped.to_string()), "{said:?}");
        assert_eq!(lines.len() - said.len(), 20_000 - dropped.records as usize);
    }

    #[test]
    fn a_full_disk_is_an_error_not_a_panic() {
        let scratch = Scratch::new();
        let mut run = new_run(&scratch);
        fs::remove_dir_all(run.path()).unwrap();
        panicked_run().iter().for_each(|event| drop(run.event(event)));
        let error = run.finish(&serde_json::Value::Null).unwrap_err().to_string();
        assert!(error.starts_with("failed to "), "{error}");
        assert_eq!(run.summary().exit_status, Some(1));
    }
}
