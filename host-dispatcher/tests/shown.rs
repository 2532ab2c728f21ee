//! `pumice results` and `pumice log` as a user types them, on run directories that the store wrote.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use host_dispatcher::job::event::{
    ByteRange, Case, CaseOrigin, Event, LogRecord, Source, Stamped, SuiteEnd,
};
use host_dispatcher::job::verdict::{CaseResult, Verdict};
use host_dispatcher::store::run_dir::RunDir;
use jiff::Timestamp;

/// A folder of runs, removed at the end.
struct Runs(PathBuf);

impl Runs {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pumice-shown-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A run that goes on: a suite of two cases, one failed.
    fn begin(&self) -> RunDir {
        let mut run = RunDir::create(&self.0, "smoke", time(0.0), 7).unwrap();
        let text = || "x".to_owned();
        let first = Event::RunStarted {
            run: run.name().to_owned(),
            job: "smoke".into(),
            board: text(),
            board_type: text(),
            dispatcher_version: text(),
            store_version: 1,
        };
        let events = [
            (0.0, first),
            (1.0, Event::TestStarted { suite: "mount".into() }),
            (2.0, case("ext4", CaseResult::Pass, ByteRange { from: 0, to: 5 })),
            (3.0, case("vfat", CaseResult::Fail, ByteRange { from: 5, to: 14 })),
        ];
        for (seconds, event) in events {
            run.event(&Stamped { time: time(seconds), event }).unwrap();
        }
        run.replace_file("tests/mount/stdout.log", &b"fine\nno table\n"[..]).unwrap();
        // As they come: the kernel's early log after what came before it.
        for (seconds, source, level, text) in [
            (2.5, Source::Stdout, None, "fine"),
            (0.5, Source::Kernel, Some(6), "Linux version 6.1"),
            (2.6, Source::Kernel, Some(3), "FAT-fs (vda2): \u{1b}[2Jbogus number"),
            (2.9, Source::Stdout, None, "no table"),
        ] {
            run.log(&record(seconds, source, level, text)).unwrap();
        }
        run
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn end(run: &mut RunDir) {
    let ended = Event::TestEnded {
        suite: "mount".into(),
        end: SuiteEnd::Exited { status: 0 },
        result: CaseResult::Pass,
        seconds: 2.0,
        rusage: None,
    };
    let over = Event::RunEnded { verdict: Verdict::Failed, exit_status: 1, seconds: 5.0 };
    for event in [ended, over] {
        run.event(&Stamped { time: time(5.0), event }).unwrap();
    }
    run.finish(&serde_json::Value::Null).unwrap();
}

fn time(seconds: f64) -> Timestamp {
    Timestamp::from_microsecond(1_893_456_000_000_000 + (seconds * 1e6) as i64).unwrap()
}

fn case(name: &str, result: CaseResult, stdout: ByteRange) -> Event {
    Event::CaseEnded(Case {
        seconds: Some(0.5),
        stdout: Some(stdout),
        ..Case::new("mount", name, result, CaseOrigin::Helper)
    })
}

fn record(seconds: f64, source: Source, level: Option<u8>, text: &str) -> LogRecord {
    LogRecord {
        level,
        suite: (source == Source::Stdout).then(|| "mount".into()),
        ..LogRecord::new(time(seconds), source, text)
    }
}

fn pumice(runs: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pumice"));
    command.args(words.split_whitespace()).arg("--out").arg(runs);
    command
}

fn output(runs: &Runs, words: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = pumice(&runs.0, words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn results_of_a_run_in_every_form() {
    let runs = Runs::new("results");
    let mut run = runs.begin();
    let (status, text, _) = output(&runs, "results last");
    assert_eq!(status, Some(0));
    assert!(text.contains("mount  fail"), "{text}");
    assert!(text.contains("the run's end was not written"), "{text}");
    end(&mut run);
    let (status, text, _) = output(&runs, "results smoke");
    assert_eq!(status, Some(0), "it could be read, whatever the run came to");
    assert!(text.starts_with("mount  fail        2.0 s  1 passed, 1 failed\n  pass     ext4\n  fail     vfat\n\nfailed: 1 passed, 1 failed in 5.0 s\n"), "{text}");
    let (_, junit, _) = output(&runs, "results last --format junit");
    assert_eq!(junit, fs::read_to_string(run.path().join("results.junit.xml")).unwrap());
    assert!(junit.contains("<system-out>no table\n</system-out>"), "{junit}");
    let (_, json, _) = output(&runs, "results last --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["suites"][0]["cases"][1]["case"], "vfat");
    for (format, start) in [
        ("tap", "TAP version 13\n1..2\nok 1 - mount ext4\n"),
        ("csv", "\"job\",\"suite\",\"result\","),
        ("lava", "- {\"job\": \"20"),
    ] {
        let (status, text, _) = output(&runs, &format!("results last --format {format}"));
        assert!(status == Some(0) && text.starts_with(start), "{text}");
    }
    let file = runs.0.join("results.tap");
    let words = format!("results last --format tap --output {}", file.display());
    assert_eq!(output(&runs, &words).1, "");
    assert!(fs::read_to_string(&file).unwrap().starts_with("TAP version 13\n"));
    let (status, _, error) = output(&runs, "results nosuch");
    assert_eq!(status, Some(2));
    assert!(error.starts_with("pumice: no run \"nosuch\" in "), "{error}");
}

#[test]
fn a_log_is_merged_filtered_and_harmless() {
    let runs = Runs::new("log");
    let mut run = runs.begin();
    let whole = "     0.500000 kernel       info   Linux version 6.1\n     2.500000 stdout              fine\n     2.600000 kernel       err    FAT-fs (vda2): \\u{1b}[2Jbogus number\n     2.900000 stdout              no table\n";
    let expect = |words: &str, expected: &str| {
        let (status, text, error) = output(&runs, words);
        assert_eq!((status, text.as_str()), (Some(0), expected), "{words}: {error}");
    };
    // Not over, and not in order in the file.
    expect("log last", whole);
    expect(
        "log last --level err",
        whole.lines().nth(2).map(|line| format!("{line}\n")).unwrap().as_str(),
    );
    end(&mut run);
    expect("log last", whole);
    expect("log last --follow", whole);
    let line = |index: usize| format!("{}\n", whole.lines().nth(index).unwrap());
    expect("log last --source stdout --since 2.7", &line(3));
    expect("log last --test mount --until 2.5", &line(1));
    expect("log last --grep Linux|table", &(line(0) + &line(3)));
    expect("log last --since 00:00:02.6 --source kernel", &line(2));
    let (_, json, _) = output(&runs, "log last --json");
    assert_eq!(json, fs::read_to_string(run.path().join("timeline.ndjson")).unwrap());
    let (_, lava, _) = output(&runs, "log last --format lava");
    let levels: Vec<&str> = lava
        .lines()
        .map(|line| line.split("\"lvl\": \"").nth(1).unwrap().split('"').next().unwrap())
        .collect();
    assert_eq!(
        levels,
        // The case at 2.0 stands between the lines before and after it; that at 3.0 behind all.
        ["target", "results", "target", "target", "target", "results", "results"]
    );
}

#[test]
fn a_log_is_followed_to_the_end_of_the_run() {
    let runs = Runs::new("follow");
    let mut run = runs.begin();
    let mut follower = pumice(&runs.0, "log last --follow").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first: Vec<String> = lines.by_ref().take(4).collect();
    assert!(first[3].ends_with("no table"), "{first:?}");
    run.log(&record(4.0, Source::Stdout, None, "later")).unwrap();
    assert!(lines.next().unwrap().ends_with("later"));
    // Nobody waits for this one: it is there when the run is over.
    run.log(&record(4.5, Source::Stdout, None, "last")).unwrap();
    end(&mut run);
    let rest: Vec<String> = lines.collect();
    assert!(rest.len() == 1 && rest[0].ends_with("last"), "{rest:?}");
    assert!(follower.wait().unwrap().success());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let runs = Runs::new("pipe");
    let mut run = runs.begin();
    for n in 0..20_000 {
        run.log(&record(3.0, Source::Stdout, None, &format!("line {n}"))).unwrap();
    }
    end(&mut run);
    let mut child =
        pumice(&runs.0, "log last").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr), (Some(0), Vec::new()));
}

/// Also while there is nothing to write.
#[test]
fn a_follower_ends_when_nobody_reads_any_more() {
    let runs = Runs::new("hangup");
    let _run = runs.begin();
    let mut follower = pumice(&runs.0, "log last --follow").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert!(lines.nth(3).unwrap().unwrap().ends_with("no table"));
    drop(lines);
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}
