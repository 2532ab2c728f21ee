//! The watch over a kernel: any text on the raw line gives the same reports however it is cut; any mix of log, file, raw
//! line, pstore and time gives a bounded number of bounded reports, each once.

use agent_core::time::{Duration, Instant};
use arbitrary::{Arbitrary, Unstructured};
use host_dispatcher::board::Slot;
use host_dispatcher::kernel::console::{ConsoleReader, Printed, split_prefix};
use host_dispatcher::kernel::cutter::{BYTES_MAX, LINES_MAX, Report};
use host_dispatcher::kernel::watch::{Found, LogLine, Watch};
use host_dispatcher::kernel::{Kind, pstore};

/// The reports of `host-dispatcher`'s own tests, the same file.
#[path = "../../../host-dispatcher/src/kernel/samples.rs"]
pub(crate) mod samples;

pub(crate) fn run(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode {
        0 => console(rest),
        1 => left(rest),
        _ => watch(rest),
    }
}

/// The first byte says how the rest is cut.
fn console(input: &[u8]) {
    let Some((cut, text)) = input.split_first() else { return };
    let whole = read(&[text]);
    let pieces: Vec<&[u8]> = text.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(read(&pieces), whole);
    for line in text.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        if let Some((_, rest)) = split_prefix(&line) {
            assert!(line.ends_with(rest));
        }
    }
}

fn read(pieces: &[&[u8]]) -> (Vec<Printed>, u64) {
    let mut reader = ConsoleReader::default();
    pieces.iter().for_each(|piece| reader.handle_bytes(Instant::ZERO, piece));
    reader.finish(Instant::ZERO);
    let printed: Vec<Printed> = std::iter::from_fn(|| reader.poll_report()).collect();
    for Printed { report, raw } in &printed {
        check(report);
        assert_eq!(raw.is_some(), report.kind == Kind::Panic);
        assert!(raw.as_ref().is_none_or(|raw| raw.len() <= 128 << 10));
    }
    assert!(!reader.is_in_panic() && reader.poll_timeout().is_none());
    (printed, reader.dropped())
}

/// Texts of pstore, each behind a NUL.
fn left(input: &[u8]) {
    let texts: Vec<String> = input
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    pstore::reports(&texts).iter().for_each(check);
}

/// What happens around a kernel.
#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Log { priority: u8, board_us: u64, sequence: Option<u64>, text: &'a str },
    Record { later_us: u16, text: &'a str },
    File { priority: u8, board_us: u64, text: &'a str },
    EndFile,
    Console(&'a [u8]),
    Followed(bool),
    Slot(bool),
    Death,
    EndOfBoot,
    Print,
    Pstore(&'a str),
    Time(u32),
}

fn watch(input: &[u8]) {
    let mut steps = Unstructured::new(input);
    let mut watch = Watch::default();
    let (mut now, mut kernel_us) = (Instant::ZERO, 0);
    let mut told: Vec<Found> = Vec::new();
    while let Ok(step) = Step::arbitrary(&mut steps) {
        match step {
            Step::Log { priority, board_us, sequence, text } => {
                watch.handle_log(now, Slot::Test, LogLine { priority, board_us, sequence, text });
            }
            Step::Record { later_us, text } => {
                kernel_us += u64::from(later_us);
                for text in text.lines() {
                    let line = LogLine { priority: 4, board_us: kernel_us, sequence: None, text };
                    watch.handle_log(now, Slot::Test, line);
                }
            }
            Step::File { priority, board_us, text } => {
                let line = LogLine { priority, board_us, sequence: None, text };
                watch.handle_file(now, Slot::Test, line);
            }
            Step::EndFile => watch.end_file(Slot::Test),
            Step::Console(bytes) => watch.handle_console(now, bytes),
            Step::Followed(is_followed) => watch.set_followed(is_followed),
            Step::Slot(is_test) => {
                watch.set_slot(now, if is_test { Slot::Test } else { Slot::Master });
            }
            Step::Death => watch.handle_death(),
            Step::EndOfBoot => watch.handle_end_of_boot(now),
            Step::Print => watch.handle_print(),
            Step::Pstore(text) => watch.handle_pstore(&[text.to_owned()]),
            Step::Time(micros) => {
                now = now + Duration::from_micros(u64::from(micros));
                // Asked in time, as a loop does it: a timer that is due is not due again at once.
                if watch.poll_timeout().is_some_and(|at| at <= now) {
                    watch.handle_timeout(now);
                    assert!(watch.poll_timeout().is_none_or(|at| at > now));
                }
            }
        }
        told.extend(std::iter::from_fn(|| watch.poll_found()));
        if steps.is_empty() {
            break;
        }
    }
    watch.finish(now);
    told.extend(std::iter::from_fn(|| watch.poll_found()));
    assert!(told.len() <= 500 && !watch.is_in_panic() && watch.poll_timeout().is_none());
    for (index, found) in told.iter().enumerate() {
        check(&found.report);
        let is_same = |other: &Found| {
            let key = |found: &Found| (found.slot, found.report.kind, found.report.board_us);
            key(other) == key(found) && other.report.title == found.report.title
        };
        assert!(!told[..index].iter().any(is_same), "twice: {found:?}");
    }
}

fn check(report: &Report) {
    assert!(report.text.len() <= BYTES_MAX, "{} bytes", report.text.len());
    // A record may have lines of its own, which are counted as one.
    assert!(report.text.split('\n').count() <= 1025 * LINES_MAX);
    assert!(!report.title.is_empty() && report.text.contains(&report.title), "{report:?}");
}
