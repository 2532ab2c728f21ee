//! Random runs, exported in every form, and read again by readers that others wrote: junitparser, tap.py, Python's csv,
//! PyYAML with libyaml, the import of a LAVA server (`lava_import.py`), and KCIDB's schema in its own package. `ci/setup`
//! installs them; without them this fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use host_dispatcher::job::event::{
    ByteRange, Case, CaseOrigin, Event, KernelReport, LogRecord, Source, Stamped, SuiteEnd,
};
use host_dispatcher::job::verdict::{CaseResult, ErrorClass, Verdict};
use host_dispatcher::report::rows::{self, RUN_SUITE, Row};
use host_dispatcher::report::summary::Summary;
use host_dispatcher::report::text::printable;
use host_dispatcher::report::{junit, kcidb, lava, lava_log, tap13};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

/// Names that mean something to one of the readers, and any others.
fn name() -> impl Strategy<Value = String> {
    let special = [
        "a # SKIP all",
        "1",
        "- x",
        "ok 1",
        "null",
        "~",
        "yes",
        "1e3",
        "a,b;c",
        "\"q\"",
        "'",
        "<b>&amp;]]>",
        "{x}",
        "[1, 2]",
        "key: value",
        "\u{1b}[31mred",
        "two\nlines",
        "cr\rlf\r\n",
        "\u{85}\u{2028}\u{feff}\u{7f}",
        "\u{0}",
        "=1+1",
        "\\n\\",
        " lead and trail ",
        "\u{1F600}é漢",
        "a # TODO",
        "%YAML",
        "---",
        "...",
        "\t",
        "*a",
        "!!int 1",
    ];
    prop_oneof![
        3 => "[a-z][a-z0-9_.-]{0,12}",
        2 => proptest::sample::select(special.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{1,30}",
        1 => proptest::collection::vec(any::<char>(), 1..20).prop_map(String::from_iter),
    ]
}

fn result() -> impl Strategy<Value = CaseResult> {
    proptest::sample::select(vec![
        CaseResult::Pass,
        CaseResult::Fail,
        CaseResult::Skip,
        CaseResult::Unknown,
    ])
}

fn measurement() -> impl Strategy<Value = f64> {
    prop_oneof![
        proptest::num::f64::NORMAL | proptest::num::f64::ZERO,
        (-1000..1000i32).prop_map(f64::from),
        Just(1e21),
        Just(5e-324),
    ]
}

fn case(suite: &'static str) -> impl Strategy<Value = Event> {
    let text = || proptest::option::weighted(0.4, name());
    (
        proptest::option::weighted(0.3, name()),
        name(),
        result(),
        proptest::option::weighted(0.4, measurement()),
        (text(), text(), text()),
        proptest::option::of(0.0..100.0),
    )
        .prop_map(move |(set, case, result, measurement, (units, reference, why), seconds)| {
            Event::CaseEnded(Case {
                suite: suite.to_owned(),
                set,
                case,
                result,
                origin: CaseOrigin::Helper,
                measurement,
                units,
                reference,
                why,
                end: None,
                seconds,
                rusage: None,
                stdout: Some(ByteRange { from: 0, to: 10 }),
                stderr: None,
                board_time_us: None,
            })
        })
}

/// Two suites with cases that come mixed, some never end, the second suite may not; a report, an error, an end, or not.
fn run() -> impl Strategy<Value = Vec<Stamped>> {
    let mixed = prop_oneof![
        8 => case("first"),
        8 => case("second"),
        1 => name().prop_map(|case| Event::CaseStarted { suite: "first".into(), set: None, case }),
    ];
    let ended = |suite: &'static str| {
        proptest::option::weighted(0.8, 0..3i32).prop_map(move |status| {
            status.map(|status| {
                let end = SuiteEnd::Exited { status };
                let result = end.result();
                Event::TestEnded { suite: suite.into(), end, result, seconds: 1.5, rusage: None }
            })
        })
    };
    let report = (name(), any::<bool>(), any::<bool>()).prop_map(|(title, in_suite, fails)| {
        Event::KernelReport(KernelReport {
            kind: "oops".into(),
            title,
            policy: if fails { "fail" } else { "record" }.into(),
            suite: in_suite.then(|| "second".into()),
            case: None,
            source: "kernel".into(),
            board_time_us: None,
            text: String::new(),
        })
    });
    let error = name().prop_map(|message| Event::Error {
        class: ErrorClass::TestError,
        message,
        console_tail: "tail\u{1b}[2J".into(),
    });
    let over = any::<bool>().prop_map(|is_over| {
        let verdict = Verdict::Failed;
        is_over.then_some(Event::RunEnded { verdict, exit_status: 1, seconds: 9.0 })
    });
    let begin = name().prop_map(|job| {
        let text = || "x".to_owned();
        vec![Event::RunStarted {
            run: "2030-01-01-x-abc234".into(),
            job,
            board: text(),
            board_type: text(),
            dispatcher_version: text(),
            store_version: 1,
        }]
    });
    (
        begin,
        proptest::collection::vec(mixed, 0..20),
        ended("first"),
        ended("second"),
        proptest::option::weighted(0.3, report),
        proptest::option::weighted(0.3, error),
        over,
    )
        .prop_map(|(begin, cases, first, second, report, error, over)| {
            let rest =
                cases.into_iter().chain(first).chain(report).chain(second).chain(error).chain(over);
            let events = begin.into_iter().chain(rest);
            let time = |second: i64| Timestamp::from_second(1_893_456_000 + second).unwrap();
            events.zip(0..).map(|(event, second)| Stamped { time: time(second), event }).collect()
        })
}

#[test]
fn others_read_what_was_meant() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let scratch = std::env::temp_dir().join(format!("pumice-readers-{}", std::process::id()));
    let runs: Vec<(Vec<Stamped>, String)> = (0..RUNS)
        .map(|_| {
            (
                run().new_tree(&mut runner).unwrap().current(),
                name().new_tree(&mut runner).unwrap().current(),
            )
        })
        .collect();
    let mut command = Command::new("/usr/bin/python3");
    // Without a folder of compiled modules beside the sources.
    command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers.py"));
    for (index, (events, text)) in runs.iter().enumerate() {
        let folder = scratch.join(index.to_string());
        fs::create_dir_all(&folder).unwrap();
        let summary = Summary::of(events);
        let mut output = |_: &str, _, _| Some(format!("{text} ]]> \u{1b}").into_bytes());
        let log: String = events.iter().filter_map(lava_log::event).collect();
        let log = lava_log::record(&line(text)) + &log + &lava_log::end(&summary);
        for (file, content) in [
            ("results.xml", junit::xml(&summary, &mut output).unwrap().into_bytes()),
            ("results.tap", tap13::text(&summary).into_bytes()),
            ("results.csv", lava::csv(&summary).unwrap()),
            ("results.yaml", lava::results_yaml(&summary).into_bytes()),
            ("log.yaml", log.into_bytes()),
            ("kcidb.json", kcidb_of(summary, text)),
        ] {
            fs::write(folder.join(file), content).unwrap();
        }
        command.arg(folder);
    }
    validate_kcidb(&scratch);
    let read = command.output().expect("/usr/bin/python3 starts (ci/setup installs it)");
    let errors = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{errors}\n(files in {})", scratch.display());
    let read: Vec<Value> = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(read.len(), RUNS);
    for ((events, text), read) in runs.iter().zip(&read) {
        check(&Summary::of(events), text, read);
    }
    fs::remove_dir_all(&scratch).unwrap();
}

/// Of a build of our own, which then is described too, with whatever a job may say of it.
fn kcidb_of(mut summary: Summary, text: &str) -> Vec<u8> {
    for (key, value) in [
        ("build_id", "ourlab:a build"),
        ("checkout_id", "ourlab:\u{1F600}"),
        ("compiler", text),
        ("tree_name", text),
    ] {
        summary.metadata.insert(format!("kcidb.{key}"), value.into());
    }
    kcidb::submission(&summary, "ourlab").unwrap().to_string().into_bytes()
}

/// KCIDB's own package reads what it would be sent.
fn validate_kcidb(scratch: &Path) {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let python = cache.join("pumice/kcidb-io/bin/python3");
    let mut command = Command::new(&python);
    command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kcidb.py"));
    command.args((0..RUNS).map(|index| scratch.join(index.to_string()).join("kcidb.json")));
    let wrong = scratch.join("wrong.json");
    fs::write(&wrong, r#"{"version": {"major": 5, "minor": 3}, "tests": [{"id": "x"}]}"#).unwrap();
    let read = command.arg(wrong).output();
    let read = read.unwrap_or_else(|error| panic!("{}: {error}: run ci/setup", python.display()));
    let errors = String::from_utf8_lossy(&read.stderr);
    let out = String::from_utf8_lossy(&read.stdout);
    // The last one is none: who finds that right looks at nothing.
    assert_eq!(out.trim(), format!("{RUNS} valid"), "{errors}\n(files in {})", scratch.display());
}

fn check(summary: &Summary, text: &str, read: &Value) {
    let suites: Vec<Row<'_>> = rows::of_suites(summary).collect();
    let run: Vec<Row<'_>> = rows::of_run(summary).collect();
    let number = |row: &Row<'_>| row.case.as_ref().and_then(|case| case.measurement);
    let set = |row: &Row<'_>| row.case.as_ref().and_then(|case| case.set.clone());

    // JUnit: every row, in its order, with its class and kind; the counts are those of the rows.
    let cases = read["junit"]["cases"].as_array().unwrap();
    let all: Vec<&Row<'_>> = suites.iter().chain(&run).collect();
    assert_eq!(cases.len(), all.len(), "{summary:?}");
    for (row, case) in all.iter().zip(cases) {
        if row.suite != RUN_SUITE {
            let class =
                set(row).map_or_else(|| row.suite.to_owned(), |set| format!("{}.{set}", row.suite));
            assert_eq!(case[0], xml_text(&class));
        }
        assert_eq!(case[1], xml_text(&row.name));
        let kind = match row.result {
            CaseResult::Pass => "Passed",
            CaseResult::Skip => "Skipped",
            CaseResult::Unknown => "Error",
            CaseResult::Fail if row.error.is_some() => "Error",
            CaseResult::Fail => "Failure",
        };
        assert_eq!(case[2], kind);
        assert_eq!(case[4].as_str().map(|text| text.parse::<f64>().unwrap()), number(row));
    }
    let counted = |kind: &str| cases.iter().filter(|case| case[2] == kind).count();
    let counts = [cases.len(), counted("Failure"), counted("Error"), counted("Skipped")];
    assert_eq!(read["junit"]["counts"], serde_json::json!(counts));

    // TAP: a point a row.
    let points = read["tap"]["points"].as_array().unwrap();
    assert_eq!((&read["tap"]["plan"], points.len()), (&all.len().into(), all.len()));
    assert_eq!(read["tap"]["wrong"], serde_json::json!([]), "{summary:?}");
    for (row, point) in all.iter().zip(points) {
        let is_ok = matches!(row.result, CaseResult::Pass | CaseResult::Skip);
        assert_eq!(
            (&point[0], &point[1], &point[2]),
            (&is_ok.into(), &(row.result == CaseResult::Skip).into(), &false.into()),
            "{row:?} {point}"
        );
        let described = point[4].as_str().unwrap().trim_start_matches("- ").to_owned();
        let names = [Some(row.suite.to_owned()), set(row), Some(row.name.to_string())];
        let names: Vec<String> =
            names.into_iter().flatten().map(|name| printable(&name).replace('#', "_")).collect();
        assert_eq!(described.trim(), names.join(" ").trim());
        if let Some(number) = number(row) {
            assert_eq!(point[5]["measurement"].as_f64(), Some(number), "{point}");
        }
        if !is_ok {
            assert_eq!(point[5]["message"].as_str(), row.why.as_deref());
        }
    }

    // LAVA's: the run itself first, then every row.
    for (format, measured) in [("csv", false), ("yaml", true)] {
        let lines = read[format].as_array().unwrap();
        let job = &lines[0];
        assert_eq!(
            (&job["suite"], &job["name"]),
            (
                &"lava".into(),
                &run.first()
                    .map_or("job", |row| if row.name == "run" { "job" } else { "kernel" })
                    .into()
            )
        );
        assert_eq!(lines.len(), suites.len() + run.len().max(1));
        for (row, line) in suites.iter().zip(&lines[run.len().max(1)..]) {
            assert_eq!(
                (&line["suite"], &line["name"], &line["result"]),
                (&row.suite.into(), &(&*row.name).into(), &row.result.as_str().into())
            );
            let told = line["measurement"].as_str().unwrap();
            assert_eq!(told.parse::<f64>().ok(), number(row), "{line}");
            if measured {
                assert_eq!(line["metadata"]["measurement"].as_f64(), number(row));
                assert_eq!(line["metadata"]["set"].as_str(), set(row).as_deref());
                assert_eq!(line["metadata"]["why"].as_str(), row.why.as_deref());
            }
        }
    }

    // LAVA's log: the same results, and the text of a line byte for byte.
    assert_eq!(read["log"]["texts"], serde_json::json!([text]));
    let mut told: Vec<String> = read["log"]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| format!("{}/{} {}", result[0], result[1], result[2]))
        .collect();
    let mut meant: Vec<String> = suites
        .iter()
        .map(|row| {
            format!(
                "{}/{} {}",
                Value::from(row.suite),
                Value::from(&*row.name),
                Value::from(row.result.as_str())
            )
        })
        .collect();
    let job = run.first().map_or(("job", CaseResult::Pass), |row| {
        (if row.name == "run" { "job" } else { "kernel" }, row.result)
    });
    meant.push(format!("\"lava\"/\"{}\" \"{}\"", job.0, job.1));
    told.sort();
    meant.sort();
    assert_eq!(told, meant);
    check_lava(&suites, &read["lava"]);
}

/// A LAVA server keeps every result of the log: sets that its URLs can name, and measurements that its column can hold.
fn check_lava(suites: &[Row<'_>], read: &Value) {
    assert_eq!(read["comment"], Value::Null);
    let kept = read["cases"].as_array().unwrap();
    assert_eq!(kept.len(), suites.len() + 1);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut kept: Vec<(String, f64)> = kept
        .iter()
        .filter(|case| case[0] != "lava")
        .map(|case| {
            let key = format!(
                "{}|{}|{}|{}",
                text(&case[0]),
                text(&case[1]),
                text(&case[2]),
                text(&case[3])
            );
            (key, text(&case[4]).parse().unwrap_or(NO_NUMBER))
        })
        .collect();
    let mut meant: Vec<(String, f64)> = suites
        .iter()
        .map(|row| {
            let set = row.case.as_ref().and_then(|case| case.set.clone()).unwrap_or_default();
            let is_word = |c: char| c.is_ascii_alphanumeric() || "_.-~/".contains(c);
            let set = if set.chars().all(is_word) { set } else { String::new() };
            // As Python strips.
            let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
            let name = row.name.trim_matches(is_space);
            let number = row.case.as_ref().and_then(|case| case.measurement);
            let number = number.filter(|number| number.abs() < 1e20).unwrap_or(NO_NUMBER);
            (format!("{}|{set}|{name}|{}", row.suite, row.result), number)
        })
        .collect();
    for cases in [&mut kept, &mut meant] {
        cases.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    }
    for (kept, meant) in kept.iter().zip(&meant) {
        assert_eq!(kept.0, meant.0);
        // Ten places behind the point.
        let may_differ = 1e-10 + meant.1.abs() * 1e-15;
        assert!((kept.1 - meant.1).abs() <= may_differ, "{kept:?} {meant:?}");
    }
}

/// Stands for none in what is compared; no measurement of these runs.
const NO_NUMBER: f64 = -12_345.678_9;

/// What XML 1.0 can hold of a name: no characters that are none.
fn xml_text(text: &str) -> String {
    printable(text).chars().filter(|c| !matches!(c, '\u{fffe}' | '\u{ffff}')).collect()
}

fn line(text: &str) -> LogRecord {
    LogRecord::new(Timestamp::from_second(1_893_456_000).unwrap(), Source::Stdout, text)
}

/// So many take a second or two of Python.
const RUNS: usize = 60;
