//! Completing the record of a run from the files that came home: results from the journal, which the agent synced line
//! by line, and what the live log left out from the logs.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use agent_core::wire::response::Exit;
use agent_core::wire::test_signal::{Noted, TestSignal};
use serde::Deserialize;

use super::Bench;
use super::board_logs::KernelLine;
use super::cases::When;
use super::collect::Home;
use super::live::Live;
use crate::job::event::Source;
use crate::job::spec::Test;
use crate::kernel::watch::LogLine;

/// A line of the journal; `agent-core` writes it. What it does not know is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JournalLine {
    event: String,
    test: u16,
    end: String,
    code: u8,
    user_us: u64,
    system_us: u64,
    max_rss_kib: u64,
    elapsed_us: u64,
    board_us: u64,
    /// Of a test's end: what of its output found no room on the board's disk.
    lost_bytes: u64,
    /// Of the plan's end.
    failed_writes: u64,
    /// Of the watchdog.
    os_error: i32,
    /// Of the plan's start, and of its going on.
    boot: String,
    /// Of signals.
    n: u64,
    kind: String,
    name: String,
    result: String,
    measurement: String,
    units: String,
    text: String,
    step: u32,
    stdout_bytes: u64,
    stderr_bytes: u64,
}

/// A line of `output.ndjson`: when which bytes of an output came.
#[derive(Debug, Deserialize)]
struct OutputLine<'a> {
    board_us: u64,
    source: &'a str,
    offset: u64,
    bytes: u64,
}

/// A line of `user-console.ndjson`: when which bytes came, or the boot that what follows is of.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConsoleLine {
    boot: String,
    board_us: u64,
    offset: u64,
    bytes: u64,
}

impl Bench {
    /// Puts on record what the files of the run directory have and the live log had not.
    pub fn complete(&self, tests: &[Test], live: &RefCell<Live>, home: &Home) {
        let boots = self.read_journal(tests, live);
        self.read_kernel_log(&boots, live);
        self.read_user_console(&boots, live);
        self.read_agent_log(&boots, live);
        for (index, test) in tests.iter().enumerate() {
            let Ok(index) = u16::try_from(index) else { return };
            let boot = boots.of_test(index);
            let times = self.output_times(&test.name);
            for (source, times) in [Source::Stdout, Source::Stderr].into_iter().zip(&times) {
                self.read_output(index, test, boot, source, times, live);
                let path = format!("tests/{}/{}.log", test.name, source.as_str());
                if home.whole.contains(&path) {
                    self.run_dir(|dir| dir.output_is_whole(&test.name, source));
                } else if !home.missing.contains(&path) && self.open(&path).is_some() {
                    self.warn(&format!(
                        "{path} is not on the board any more: what came live is all there is"
                    ));
                }
            }
        }
    }

    /// The last word on tests: what began and did not end, and what was expected and did not come.
    pub fn close_tests(&self, tests: &[Test], live: &RefCell<Live>) {
        for (index, test) in tests.iter().enumerate() {
            let Ok(index) = u16::try_from(index) else { return };
            let mut live = live.borrow_mut();
            let has_started = live.has_started(index);
            if has_started {
                let when = When { test: index, suite: &test.name, boot: 0, board_us: 0 };
                let events = live.cases().close(&when, u64::MAX, &test.expected);
                events.into_iter().for_each(|event| self.tell(event));
            }
            let why = if has_started { NO_END } else { "it was not started" };
            live.test_lost(self, index, &test.name, why);
        }
    }

    fn read_journal(&self, tests: &[Test], live: &RefCell<Live>) -> Boots {
        let mut live = live.borrow_mut();
        let mut boots = Boots { all: vec![live.last_boot()], of_tests: Vec::new() };
        self.each_line("board/journal.ndjson", |line| {
            // A torn last line is what a crash leaves; the lines before it count.
            let Ok(line) = serde_json::from_slice::<JournalLine>(line) else { return };
            if let Some(id) = boot_id(&line.boot) {
                let boot = live.boot_of(id);
                boots.enter(boot, line.event == "plan_started");
            }
            if line.failed_writes > 0 {
                let text = format!(
                    "{} writes to the files of the run failed on the board: is its root file system full?",
                    line.failed_writes
                );
                live.warn(self, text);
            }
            if line.event == "watchdog_failed" {
                let text = "the board has no watchdog that takes this time";
                live.warn(self, format!("{text} (errno {}): it is not watched", line.os_error));
            }
            let Some(test) = tests.get(usize::from(line.test)) else { return };
            let boot = boots.current();
            let when = When { test: line.test, suite: &test.name, boot, board_us: line.board_us };
            match line.event.as_str() {
                "test_started" => {
                    boots.enter_test(line.test, boot);
                    live.test_started(self, &when);
                }
                "test_ended" => {
                    live.test_ended(self, &when, &line.exit());
                    if line.lost_bytes > 0 {
                        let text = format!(
                            "{}: {} bytes of its output are lost: the board's root file system was full",
                            test.name, line.lost_bytes
                        );
                        live.warn(self, text);
                    }
                }
                "signal" => {
                    if let Some(noted) = line.noted() {
                        live.signal(self, line.n, &when, &noted, true);
                    }
                }
                _ => {}
            }
        });
        boots
    }

    /// Kernel lines that did not come live.
    fn read_kernel_log(&self, boots: &Boots, live: &RefCell<Live>) {
        let mut boot = boots.first();
        let mut before = None;
        live.borrow_mut().kernel_lines(boot).begin_file();
        self.each_line("board/kernel.log", |line| {
            let text = String::from_utf8_lossy(line);
            if let Some(id) = boot_mark(&text) {
                // An agent that was started anew in one boot reads that boot's log from its beginning once more.
                let mut live = live.borrow_mut();
                boot = live.boot_of(id);
                live.kernel_lines(boot).begin_file();
                return;
            }
            let found = live.borrow_mut().kernel_lines(boot).take_file_line(&text, before.as_ref());
            let Some((line, is_new)) = found else { return };
            if line.lost.is_none() {
                let KernelLine { priority, board_us, ref text, .. } = line;
                let line = LogLine { priority, board_us, sequence: None, text };
                self.watch_log_file(&live.borrow(), line);
            }
            if is_new {
                live.borrow_mut().kernel_line(self, boot, line.clone());
            }
            before = Some(line);
        });
        self.end_log_file(&live.borrow());
    }

    /// What of the user console did not come live.
    fn read_user_console(&self, boots: &Boots, live: &RefCell<Live>) {
        let Some(mut file) = self.open("board/user-console.log") else { return };
        let mut live = live.borrow_mut();
        let covered = live.user_console().next();
        let mut rest = Vec::new();
        let from = file.seek(SeekFrom::Start(covered));
        if from.and_then(|_| file.take(READ_MAX).read_to_end(&mut rest)).is_err() {
            return;
        }
        let end = covered + rest.len() as u64;
        let (mut boot, mut at, mut last_us, mut printed) = (boots.first(), covered, 0, 0);
        self.each_line("board/user-console.ndjson", |line| {
            let Ok(piece) = serde_json::from_slice::<ConsoleLine>(line) else { return };
            if let Some(id) = boot_id(&piece.boot) {
                boot = live.boot_of(id);
                return;
            }
            last_us = piece.board_us;
            let piece_end = piece.offset.saturating_add(piece.bytes);
            printed = printed.max(piece_end);
            let until = piece_end.min(end);
            if piece.offset > at || until <= at {
                return;
            }
            let bytes = &rest[(at - covered) as usize..(until - covered) as usize];
            for text in live.user_console().take(at, bytes, true) {
                live.log(self, boot, self.record(Source::UserConsole, piece.board_us, text));
            }
            at = until;
        });
        // Bytes of which no time is known came last: the board died before it was written.
        let mut lines = live.user_console().take(at, &rest[(at - covered) as usize..], true);
        lines.extend(live.user_console().finish());
        for text in lines {
            live.log(self, boot, self.record(Source::UserConsole, last_us, text));
        }
        if printed > end && end > 0 {
            let lost = printed - end;
            live.warn(
                self,
                format!("user-console.log was full on the board: {lost} bytes are lost"),
            );
        }
    }

    /// What the agent noted and did not come live.
    fn read_agent_log(&self, boots: &Boots, live: &RefCell<Live>) {
        let mut live = live.borrow_mut();
        let mut boot = boots.first();
        self.each_line("board/agent.log", |line| {
            let line = String::from_utf8_lossy(line);
            if let Some(id) = boot_mark(&line) {
                boot = live.boot_of(id);
            } else if let Some((board_us, text)) = parse_agent_line(&line) {
                live.agent_line(self, boot, board_us, text.to_owned());
            }
        });
    }

    /// When which bytes of a test's standard output, and of its standard error, came: for each piece the byte behind it
    /// and the board's time, µs.
    fn output_times(&self, suite: &str) -> [Vec<(u64, u64)>; 2] {
        let mut times = [Vec::new(), Vec::new()];
        self.each_line(&format!("tests/{suite}/output.ndjson"), |line| {
            let Ok(line) = serde_json::from_slice::<OutputLine<'_>>(line) else { return };
            let of_source = match line.source {
                "stdout" => &mut times[0],
                "stderr" => &mut times[1],
                _ => return,
            };
            if of_source.len() < TIMES_MAX {
                of_source.push((line.offset.saturating_add(line.bytes), line.board_us));
            }
        });
        times
    }

    /// Output that did not come live.
    fn read_output(
        &self,
        index: u16,
        test: &Test,
        boot: usize,
        source: Source,
        times: &[(u64, u64)],
        live: &RefCell<Live>,
    ) {
        let place = format!("tests/{}/{}.log", test.name, source.as_str());
        let Some(mut file) = self.open(&place) else { return };
        let mut live = live.borrow_mut();
        let mut rest = live.rest_of_output(index, source);
        let mut offset = rest.from();
        if file.seek(SeekFrom::Start(offset)).is_err() {
            return;
        }
        let mut reader = BufReader::with_capacity(1 << 16, file.take(READ_MAX));
        let show = |live: &mut Live, line: &super::output::Line, is_shown: bool| {
            // Times are in the order of their bytes.
            let at = times.partition_point(|(end, _)| *end <= line.offset);
            let board_us = times.get(at).or_else(|| times.last()).map_or(0, |(_, time)| *time);
            let when = When { test: index, suite: &test.name, boot, board_us };
            live.output_line(self, &when, source, line, is_shown);
        };
        loop {
            let count = match reader.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => {
                    for byte in bytes {
                        if let Some(line) = rest.push(offset, *byte) {
                            show(&mut live, &line, rest.is_shown(&line));
                        }
                        offset += 1;
                    }
                    bytes.len()
                }
                Err(_) => break,
            };
            reader.consume(count);
        }
        if let Some(line) = rest.finish() {
            show(&mut live, &line, rest.is_shown(&line));
        }
        live.end_rest_of_output(index, source, rest, offset);
    }

    /// Each line of a file of the run directory, without its end; none when it is not there. What of a line is longer
    /// than [`LINE_BYTES_MAX`] is left out.
    fn each_line(&self, name: &str, mut work: impl FnMut(&[u8])) {
        let Some(file) = self.open(name) else { return };
        let mut reader = BufReader::new(file.take(READ_MAX));
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(length) if length > 0 => {
                    work(line.strip_suffix(b"\n").unwrap_or(&line));
                }
                _ => return,
            }
        }
    }

    /// A file of the run directory.
    pub(super) fn open(&self, name: &str) -> Option<File> {
        File::open(self.run_dir(|dir| dir.path().join(name))?).ok()
    }
}

impl JournalLine {
    fn exit(&self) -> Exit {
        let end = match self.end.as_str() {
            "exited" => Exit::EXITED,
            "signaled" => Exit::SIGNALED,
            "timed_out" => Exit::TIMED_OUT,
            "step_timed_out" => Exit::STEP_TIMED_OUT,
            "rebooted" => Exit::REBOOTED,
            "interrupted" => Exit::INTERRUPTED,
            _ => Exit::NOT_STARTED,
        };
        Exit {
            end,
            code: self.code,
            user_us: self.user_us,
            system_us: self.system_us,
            max_rss_kib: self.max_rss_kib,
            elapsed_us: self.elapsed_us,
        }
    }

    fn noted(&self) -> Option<Noted<'_>> {
        let kind = match self.kind.as_str() {
            "case_started" => TestSignal::CASE_STARTED,
            "case_ended" => TestSignal::CASE_ENDED,
            "set_started" => TestSignal::SET_STARTED,
            "set_ended" => TestSignal::SET_ENDED,
            "reference" => TestSignal::REFERENCE,
            "raise" => TestSignal::RAISE,
            "event" => TestSignal::EVENT,
            "feedback" => TestSignal::FEEDBACK,
            "step" => TestSignal::STEP,
            "attachment" => TestSignal::ATTACHMENT,
            _ => return None,
        };
        let result = match self.result.as_str() {
            "pass" => TestSignal::PASS,
            "fail" => TestSignal::FAIL,
            "skip" => TestSignal::SKIP,
            _ => TestSignal::UNKNOWN,
        };
        let exit = if self.elapsed_us > 0 { self.exit() } else { Exit::default() };
        let signal = TestSignal {
            kind,
            result,
            name: &self.name,
            measurement: &self.measurement,
            units: &self.units,
            text: &self.text,
            step: self.step,
            exit,
        };
        let Self { stdout_bytes, stderr_bytes, .. } = *self;
        Some(Noted { stdout_bytes, stderr_bytes, signal })
    }
}

/// The boots that the plan ran in.
struct Boots {
    /// By their places in [`Live`], in their order.
    all: Vec<usize>,
    of_tests: Vec<(u16, usize)>,
}

impl Boots {
    fn enter(&mut self, boot: usize, is_first: bool) {
        if is_first {
            self.all.clear();
        }
        if self.all.last() != Some(&boot) && self.all.len() < BOOTS_MAX {
            self.all.push(boot);
        }
    }

    /// A test began, or began again.
    fn enter_test(&mut self, test: u16, boot: usize) {
        match self.of_tests.iter_mut().find(|known| known.0 == test) {
            Some(known) => known.1 = boot,
            None => self.of_tests.push((test, boot)),
        }
    }

    fn first(&self) -> usize {
        self.all.first().copied().unwrap_or(0)
    }

    fn current(&self) -> usize {
        self.all.last().copied().unwrap_or(0)
    }

    fn of_test(&self, test: u16) -> usize {
        let found = self.of_tests.iter().find(|known| known.0 == test);
        found.map_or_else(|| self.current(), |known| known.1)
    }
}

/// Why tests without an end have none.
const NO_END: &str = "its end was not seen";

/// More of a file is not put on the timeline: it stands in the file.
const READ_MAX: u64 = 256 * 1024 * 1024;

/// An agent writes a time for each read of a pipe; what came after these has the last one's.
const TIMES_MAX: usize = 1_000_000;

/// More changes of boot than any plan has.
const BOOTS_MAX: usize = 10_000;

/// A line of a log that the agent wrote is shorter.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// `-- boot 00112233445566778899aabbccddeeff --`: what follows was said in that boot.
fn boot_mark(line: &str) -> Option<[u8; 16]> {
    boot_id(line.strip_prefix("-- boot ")?.strip_suffix(" --")?)
}

/// `[    1.234567] text`
fn parse_agent_line(line: &str) -> Option<(u64, &str)> {
    let (time, text) = line.strip_prefix('[')?.split_once("] ")?;
    let (seconds, micros) = time.trim_start().split_once('.')?;
    let us = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?;
    Some((us.checked_add(micros.parse().ok()?)?, text))
}

fn boot_id(hex: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_are_told_apart() {
        let id = "000102030405060708090a0b0c0d0e0f";
        let expected = std::array::from_fn(|index| index as u8);
        assert_eq!(boot_mark(&format!("-- boot {id} --")), Some(expected));
        for bad in ["", "-- boot --", "-- boot 00 --", "-- 5 records lost --"] {
            assert_eq!(boot_mark(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_of_the_agent_are_read() {
        assert_eq!(parse_agent_line("[    7.910868] a test"), Some((7_910_868, "a test")));
        for bad in ["", "[x] y", "[1.x] y", "-- boot 0 --", "[99999999999999999999.1] z"] {
            assert_eq!(parse_agent_line(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_signal_of_the_journal_is_the_one_of_the_live_log() {
        let line = r#"{"event":"signal","n":7,"test":1,"kind":"case_ended","name":"boot \"time\"","result":"fail",
            "measurement":"1.5","units":"s","end":"exited","code":3,"elapsed_us":9,"stdout_bytes":5,"stderr_bytes":6,"board_us":7}"#;
        let line: JournalLine = serde_json::from_str(line).unwrap();
        let exit = Exit { end: Exit::EXITED, code: 3, elapsed_us: 9, ..Exit::default() };
        let signal = TestSignal {
            kind: TestSignal::CASE_ENDED,
            result: TestSignal::FAIL,
            name: "boot \"time\"",
            measurement: "1.5",
            units: "s",
            exit,
            ..TestSignal::default()
        };
        assert_eq!(line.noted(), Some(Noted { stdout_bytes: 5, stderr_bytes: 6, signal }));
    }
}
