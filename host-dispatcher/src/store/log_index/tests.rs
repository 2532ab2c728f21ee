//! The index against a plain reading of the same file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use super::*;
use crate::io::test_folder::TestFolder;
use crate::job::event::Source;
use crate::report::log_filter::{self, Level};

/// Never late.
fn never() -> bool {
    false
}

/// Adds lines of the source `stdout` to the timeline in `run`: microseconds and a text.
pub(super) fn write<'a>(run: &Path, lines: impl Iterator<Item = (i64, &'a str)>) {
    add(run, lines.map(|(micros, text)| record(micros, Source::Stdout, text)));
}

fn record(micros: i64, source: Source, text: &str) -> LogRecord {
    LogRecord::new(Timestamp::from_microsecond(micros).unwrap(), source, text)
}

fn add(run: &Path, records: impl Iterator<Item = LogRecord>) {
    let file = OpenOptions::new().append(true).create(true).open(run.join("timeline.ndjson"));
    let mut file = io::BufWriter::new(file.unwrap());
    for record in records {
        serde_json::to_writer(&mut file, &record).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.flush().unwrap();
}

/// Lines of all sources, levels and tests, not in the order of time.
fn mixed(count: i64) -> impl Iterator<Item = LogRecord> {
    (0..count).map(|n| {
        let source = Source::ALL[n as usize % Source::ALL.len()];
        let suite = (n % 3 > 0).then(|| format!("suite/{}", n % 5));
        LogRecord {
            level: (n % 2 == 0).then_some((n % 8) as u8),
            case: suite.as_ref().filter(|_| n % 7 > 0).map(|_| format!("case {}", n % 11)),
            suite,
            ..record(
                n / 3 * 3 + (n * 31 % 7),
                source,
                &format!("line {n} \u{1b}[2J usb {}-1", n % 10),
            )
        }
    })
}

fn page(index: &mut LogIndex, filter: &Filter, from: Start, count: usize) -> Page {
    index.page(filter, from, count, &never).unwrap()
}

fn texts(page: &Page) -> Vec<&str> {
    page.records.iter().map(|(_, record)| record.text.as_str()).collect()
}

#[test]
fn every_filter_takes_what_it_takes_line_by_line() {
    let folder = TestFolder::new();
    add(folder.path(), mixed(2000));
    let mut all: Vec<LogRecord> = mixed(2000).collect();
    all.sort_by_key(|record| record.host_time);
    let mut index = LogIndex::open(folder.path()).unwrap();
    let time = |micros: i64| Timestamp::from_nanosecond(i128::from(micros) * 1000 + 500).ok();
    let none = Filter::default();
    for filter in [
        none.clone(),
        Filter { sources: vec![Source::Kernel, Source::Agent], ..none.clone() },
        Filter { level: Some(Level(4)), ..none.clone() },
        Filter { test: Some("suite/1".into()), ..none.clone() },
        Filter { test: Some("suite/1/case 3".into()), ..none.clone() },
        Filter { since: time(500), until: time(900), ..none.clone() },
        Filter { grep: log_filter::regex("usb [37]-").ok(), ..none.clone() },
        Filter { level: Some(Level(6)), grep: log_filter::regex("9 \u{1b}").ok(), ..none.clone() },
        Filter { test: Some("nothing".into()), ..none.clone() },
    ] {
        let expected: Vec<(u64, LogRecord)> =
            (0..).zip(all.clone()).filter(|(_, record)| filter.takes(record)).collect();
        let got = page(&mut index, &filter, Start::Number(0), 5000);
        assert_eq!(got.records, expected, "{filter:?}");
        assert_eq!((got.matched, got.lines, got.is_complete), (expected.len() as u64, 2000, true));
    }
}

#[test]
fn pages_begin_where_they_are_asked_to() {
    let folder = TestFolder::new();
    write(folder.path(), (0..100).map(|n| (n * 10, "x")));
    let mut index = LogIndex::open(folder.path()).unwrap();
    let none = Filter::default();
    let around = |micros| Start::Around(Timestamp::from_microsecond(micros).unwrap());
    for (from, first, length) in [
        (Start::Number(0), 0, 10),
        (Start::Number(95), 95, 5),
        (Start::Number(100), 100, 0),
        (Start::Number(i64::MAX), 100, 0),
        (Start::Number(-1), 99, 1),
        (Start::Number(i64::MIN), 0, 10),
        (around(500), 45, 10),
        (around(0), 0, 10),
        (around(i64::from(u32::MAX)), 90, 10),
    ] {
        let page = page(&mut index, &none, from, 10);
        assert_eq!((page.from, page.records.len()), (first, length), "{from:?}");
    }
}

#[test]
fn a_file_grows_line_by_line_and_late_lines_change_the_generation() {
    let folder = TestFolder::new();
    let path = folder.path().join("timeline.ndjson");
    let mut file = File::create(&path).unwrap();
    let mut index = LogIndex::open(folder.path()).unwrap();
    let grep = Filter { grep: log_filter::regex("a").ok(), ..Filter::default() };
    assert_eq!(page(&mut index, &grep, Start::Number(0), 9).lines, 0);
    let mut line = serde_json::to_vec(&record(10, Source::Stdout, "a1")).unwrap();
    line.push(b'\n');
    for piece in line.chunks(7) {
        assert_eq!(page(&mut index, &grep, Start::Number(0), 9).lines, 0, "torn");
        file.write_all(piece).unwrap();
    }
    let first = page(&mut index, &grep, Start::Number(0), 9);
    assert_eq!((first.lines, first.matched), (1, 1));
    add(
        folder.path(),
        [(20, "b"), (30, "a2")].map(|(t, x)| record(t, Source::Stdout, x)).into_iter(),
    );
    let second = page(&mut index, &grep, Start::Number(0), 9);
    assert_eq!((texts(&second), second.generation), (vec!["a1", "a2"], first.generation));
    assert_eq!(second.records[1].0, 2);
    add(
        folder.path(),
        [(5, "a0"), (25, "a late"), (40, "a3")]
            .map(|(t, x)| record(t, Source::Stdout, x))
            .into_iter(),
    );
    let third = page(&mut index, &grep, Start::Number(0), 9);
    assert_eq!(texts(&third), ["a0", "a1", "a late", "a2", "a3"]);
    assert!(third.generation > second.generation);
    // The run ends: a sorted file takes its place, and the index begins anew.
    crate::store::timeline::sort(&path, |_, _| false).unwrap();
    let sorted = page(&mut index, &grep, Start::Number(0), 9);
    assert_eq!(sorted.records, third.records);
    assert!(sorted.generation > third.generation);
    fs::write(&path, &line).unwrap();
    assert_eq!(page(&mut index, &grep, Start::Number(0), 9).lines, 1, "cut in place");
    fs::remove_file(&path).unwrap();
    assert!(index.page(&grep, Start::Number(0), 9, &never).is_err());
}

#[test]
fn hostile_lines_are_left_out() {
    let folder = TestFolder::new();
    let mut bytes = b"{}\n\xff\xfe\n\n".to_vec();
    bytes.extend("x".repeat(3 << 20).bytes());
    bytes.push(b'\n');
    bytes.extend("[".repeat(100_000).bytes());
    bytes.push(b'\n');
    bytes.extend(
        br#"{"host_time":"1970-01-01T00:00:00Z","source":"kernel","level":-1,"text":"bad"}"#,
    );
    bytes.push(b'\n');
    bytes.extend(
        br#"{"host_time":"1970-01-01T00:00:00Z","source":"kernel","sequence":"1","text":"bad"}"#,
    );
    bytes.push(b'\n');
    bytes.extend(serde_json::to_vec(&record(1, Source::Stdout, "good\u{0}\"\\")).unwrap());
    bytes.extend(b"\n{\"host_time\":\"20");
    fs::write(folder.path().join("timeline.ndjson"), bytes).unwrap();
    let mut index = LogIndex::open(folder.path()).unwrap();
    let page = page(&mut index, &Filter::default(), Start::Number(0), 9);
    assert_eq!((texts(&page), page.lines, page.is_complete), (vec!["good\0\"\\"], 1, true));
}

#[test]
fn work_stops_when_it_is_late_and_goes_on() {
    let folder = TestFolder::new();
    add(folder.path(), mixed(30_000));
    let mut index = LogIndex::open(folder.path()).unwrap();
    let grep = Filter { grep: log_filter::regex("usb 3").ok(), ..Filter::default() };
    let mut rounds = 0;
    loop {
        let page = index.page(&grep, Start::Number(0), 1, &|| true).unwrap();
        rounds += 1;
        if page.is_complete {
            assert_eq!((page.lines, page.matched), (30_000, 3_000));
            break;
        }
        assert!(rounds < 1000);
    }
    assert!(rounds > 10, "{rounds}");
}

#[test]
fn many_lines() {
    measure(100_000);
}

#[test]
#[ignore = "a minute where nothing is optimised"]
fn a_million_lines() {
    measure(1_000_000);
}

fn measure(count: i64) {
    let folder = TestFolder::new();
    add(folder.path(), mixed(count));
    let mut index = LogIndex::open(folder.path()).unwrap();
    let began = Instant::now();
    assert!(index.refresh(&never).unwrap());
    let indexed = began.elapsed();
    let bytes = index.bytes() as i64 / count;
    let mut timed = |filter: &Filter, from| {
        let began = Instant::now();
        let page = page(&mut index, filter, from, 200);
        (page.matched as i64, began.elapsed())
    };
    let kernel = Filter { sources: vec![Source::Kernel], ..Filter::default() };
    let grep = Filter { grep: log_filter::regex("line 999[0-9]+ ").ok(), ..Filter::default() };
    let first = timed(&kernel, Start::Number(0));
    let again = timed(&kernel, Start::Number(-200));
    let found = timed(&grep, Start::Number(0));
    println!(
        "{count} lines: index {indexed:?}, {bytes} bytes a line, filter {first:?}, again {again:?}, grep {found:?}"
    );
    let of_kernel = (count as usize).div_ceil(Source::ALL.len());
    assert_eq!(first.0, of_kernel as i64);
    assert!(found.0 >= 110, "{found:?}");
    assert!(bytes <= 42, "{bytes}");
    assert!(again.1 < Duration::from_millis(500));
}
