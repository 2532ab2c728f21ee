//! The files that a board leaves of a run, read as after a collect: whatever stands in them, the record that is made of
//! them holds only what files and suites of the job may bring, no name of the board's becomes a path of the host's, and
//! reading them once more adds nothing.
//!
//! The only target that touches a disk: a run directory below the temporary folder, which it removes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use agent_core::time::Instant;
use host_dispatcher::board::{Board, BoardEvent, BoardSpec};
use host_dispatcher::clock::{Clock, Sample};
use host_dispatcher::config::lab::Lab;
use host_dispatcher::definition::overlay::Overlay;
use host_dispatcher::job::event::{Event, LogRecord, Stamped};
use host_dispatcher::job::test::Test;
use host_dispatcher::kernel::Policy;
use host_dispatcher::report::summary::Summary;
use host_dispatcher::report::{junit, lava, tap13};
use host_dispatcher::script::Bench;
use host_dispatcher::script::collect::Home;
use host_dispatcher::script::live::Live;
use host_dispatcher::script::observer::Observer;
use host_dispatcher::store::run_dir::RunDir;
use host_dispatcher::store::{names, reader};
use jiff::Timestamp;

/// The files of an input, each behind a unit separator; what stands behind them are names that the board gives to others.
const FILES: [&str; 10] = [
    "journal.ndjson",
    "kernel.log",
    "user-console.ndjson",
    "user-console.log",
    "agent.log",
    "tests/a/output.ndjson",
    "tests/a/stdout.log",
    "tests/a/stderr.log",
    "tests/b/stdout.log",
    "pstore/dmesg-ramoops-0",
];
pub(crate) const SEPARATOR: u8 = 0x1f;

/// What is written down, and how much of it.
struct Record {
    dir: RunDir,
    events: Vec<Stamped>,
    lines: Vec<LogRecord>,
}

impl Observer for Record {
    fn board_event(&mut self, _: Timestamp, _: &BoardEvent) {}

    fn event(&mut self, wall: Timestamp, event: Event) {
        let stamped = Stamped { time: wall, event };
        self.dir.event(&stamped).expect("the event is written");
        self.events.push(stamped);
    }

    fn log(&mut self, record: &LogRecord) {
        self.dir.log(record).expect("the line is written");
        self.lines.push(record.clone());
    }

    fn with_run_dir(&mut self, work: &mut dyn FnMut(&mut RunDir)) {
        work(&mut self.dir);
    }
}

pub(crate) fn run(input: &[u8]) {
    let root = scratch();
    let _ = std::fs::remove_dir_all(&root);
    let dir = RunDir::create(&root, "fuzz", WALL, 7).expect("the scratch folder can be written");
    let path = dir.path().to_owned();
    let mut parts = input.split(|byte| *byte == SEPARATOR);
    for (name, content) in FILES.iter().zip(parts.by_ref()) {
        dir.replace_file(name, content).expect("the file is written");
    }
    let own = all_below(&path);
    let record = Rc::new(RefCell::new(Record { dir, events: Vec::new(), lines: Vec::new() }));
    complete(&record);
    let Record { dir, events, lines } = &mut *record.borrow_mut();
    check_record(events, lines, input);
    for name in parts.take(8) {
        let name = String::from_utf8_lossy(name);
        let place = names::place_of_board_file(&name);
        // Folders and files that are there already may be in its way, which is an error and nothing else.
        if let Ok(written) = dir.replace_file(&name, &b"x"[..]) {
            assert_eq!(written, path.join(&place), "{name:?}");
        }
        let mut parts = place.components();
        let top = parts.next().expect("a place");
        assert!(
            ["tests", "pstore", "board"].map(|top| Component::Normal(top.as_ref())).contains(&top)
        );
        assert!(parts.all(|part| matches!(part, Component::Normal(_))), "{name:?}: {place:?}");
    }
    dir.finish(&serde_json::Value::Null).expect("the directory is completed");
    check_directory(dir.path(), &own, dir.summary());
    let beside: Vec<_> = std::fs::read_dir(&root).expect("the scratch folder is there").collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    std::fs::remove_dir_all(&root).expect("the scratch folder can be removed");
}

/// What `collect` does when the files are home, twice, and what ends a run.
fn complete(record: &Rc<RefCell<Record>>) {
    static SPEC: OnceLock<BoardSpec> = OnceLock::new();
    let spec = SPEC.get_or_init(|| {
        BoardSpec::from_lab(&Lab::embedded().boards.remove(0)).expect("the embedded lab")
    });
    let board = Board::new(spec.clone(), 7);
    let bench = Bench::new(board, Box::new(record.clone()), Instant::ZERO, WALL);
    bench.begin_kernel_watch(Policy::default());
    let live = RefCell::new(Live::default());
    live.borrow_mut().begin_tests();
    live.borrow_mut().begin_boot([7; 16], clock());
    let tests = [test("a", &["expected"]), test("b", &[])];
    // None was fetched, and that is on record.
    let files = tests.iter().flat_map(|test| {
        ["stdout", "stderr"].map(|file| format!("tests/{}/{file}.log", test.name))
    });
    let home = Home { missing: files.collect(), ..Home::default() };
    bench.complete(&tests, &live, &home);
    let count = |record: &Record| (record.events.len(), record.lines.len());
    let told = count(&record.borrow());
    bench.complete(&tests, &live, &home);
    assert_eq!(count(&record.borrow()), told, "the files were read twice");
    bench.close_tests(&tests, &live);
}

fn check_record(events: &[Stamped], lines: &[LogRecord], input: &[u8]) {
    // Every line of a file is one on the timeline, or several of 4096 bytes; each case has a start and an end, and a
    // plan of TAP may announce some that never come.
    let count = input.iter().filter(|byte| **byte == b'\n').count() + FILES.len();
    assert!(lines.len() <= 2 * count + input.len() / 1000, "{} of {count}", lines.len());
    assert!(events.len() <= 20 * count + 2000, "{} of {count}", events.len());
    for stamped in events {
        let text = serde_json::to_string(stamped).expect("it is an event");
        assert_eq!(&serde_json::from_str::<Stamped>(&text).expect("it is one"), stamped);
        let suite = match &stamped.event {
            Event::TestStarted { suite }
            | Event::TestEnded { suite, .. }
            | Event::CaseStarted { suite, .. } => suite,
            Event::CaseEnded(case) => &case.suite,
            Event::Attachment { suite, path, .. } => {
                let mut parts = Path::new(path).components();
                assert!(parts.all(|part| matches!(part, Component::Normal(_))), "{path}");
                assert!(path.starts_with(&format!("tests/{suite}/")), "{path}");
                suite
            }
            _ => continue,
        };
        assert!(["a", "b"].contains(&&**suite), "{suite}");
    }
    for record in lines {
        let text = serde_json::to_string(record).expect("it is a record");
        assert_eq!(&serde_json::from_str::<LogRecord>(&text).expect("it is one"), record);
    }
}

/// What is there beside the board's files is the host's, and it says the same again.
fn check_directory(path: &Path, own: &BTreeSet<PathBuf>, summary: &Summary) {
    for place in all_below(path).difference(own) {
        let is_board = ["board", "pstore", "tests"].iter().any(|top| place.starts_with(top));
        let is_host =
            ["run.json", "results.junit.xml", "panic.txt"].contains(&&*place.to_string_lossy());
        assert!(is_board || is_host, "{place:?}");
    }
    assert_eq!(&reader::summary(path).expect("the events are read"), summary);
    junit::xml(summary, &mut |_, _, _| None).expect("any summary is JUnit");
    lava::csv(summary).expect("any summary is CSV");
    let _ = (tap13::text(summary), lava::results_yaml(summary));
}

fn all_below(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut open) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("the folder is read") {
            let entry = entry.expect("the entry is read");
            if entry.file_type().expect("it has a type").is_dir() {
                open.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder).expect("below").to_owned());
            }
        }
    }
    found
}

fn test(name: &str, expected: &[&str]) -> Test {
    Test {
        name: name.to_owned(),
        run: "true".to_owned(),
        install: None,
        overlay: Overlay::default(),
        steps: 1,
        definition: None,
        notes: Vec::new(),
        timeout: Duration::from_secs(60),
        step_timeout: None,
        expects_reboot: false,
        expected: expected.iter().map(|name| (*name).to_owned()).collect(),
        watch: None,
    }
}

/// A board whose clock shows 5 s when the host's shows 1 s.
fn clock() -> Clock {
    let mut clock = Clock::default();
    let sample = Sample::new(999_000, 5_000_000, 5_000_100, 1_001_100).expect("it can be");
    clock.add(sample, 1_002_000, WALL);
    clock
}

/// In memory where there is such a place: every input makes some files.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    folder.join(format!("pumice-fuzz-{}-{:?}", std::process::id(), std::thread::current().id()))
}

const WALL: Timestamp = Timestamp::constant(1_893_456_000, 0);
