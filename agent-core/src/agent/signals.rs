//! What a running test tells: numbered, written to the journal, answered when it is on the disk, then shown live.
//!
//! One signal at a time: its sender waits for the answer, and the owner brings the next one only when there is room.

use super::queue::{Line, Queue, Queued};
use crate::time::Instant;
use crate::wire::codec;
use crate::wire::record::{Record, TEXT_MAX};
use crate::wire::response::Exit;
use crate::wire::test_signal::{NAME_MAX, Noted, TestSignal};
use heapless::{String, Vec};

/// See the module.
#[derive(Debug)]
pub(super) struct Signals {
    /// Number of the newest. One whose line could not be written keeps its number, so there may be gaps.
    last: u64,
    /// The set of cases that the running test has open; empty for none.
    set: String<NAME_MAX>,
    /// The one that is on its way to the disk.
    pending: Option<Pending>,
    /// `errno` of a write or sync that failed since then; 0 for none.
    failed: u8,
}

/// What the live log will say of it.
#[derive(Debug)]
struct Pending {
    number: u64,
    test: u16,
    board_us: u64,
    noted: Vec<u8, TEXT_MAX>,
}

/// Where the running test is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) test: u16,
    pub(super) stdout_bytes: u64,
    pub(super) stderr_bytes: u64,
}

impl Signals {
    /// Numbers go on behind `last`.
    pub(super) fn new(last: u64) -> Self {
        Self { last, set: String::new(), pending: None, failed: 0 }
    }

    /// A test begins: no set is open.
    pub(super) fn begin_test(&mut self) {
        self.set.clear();
    }

    /// Whether one can be taken now.
    pub(super) fn has_room(&self) -> bool {
        self.pending.is_none()
    }

    /// Takes a packet, and returns whether a step begins with it. The answer is queued in any case.
    pub(super) fn take(
        &mut self,
        now: Instant,
        client: u8,
        packet: &[u8],
        place: Place,
        queue: &mut Queue,
    ) -> bool {
        let Ok(mut signal) = TestSignal::parse(packet) else {
            refuse(client, EINVAL, queue);
            return false;
        };
        if !self.has_room() {
            refuse(client, EAGAIN, queue);
            return false;
        }
        let ended = self.set.clone();
        match signal.kind {
            TestSignal::SET_STARTED => {
                self.set.clear();
                // A name is no longer than this.
                let _ = self.set.push_str(signal.name);
            }
            TestSignal::SET_ENDED => {
                if signal.name.is_empty() {
                    signal.name = &ended;
                }
                self.set.clear();
            }
            _ => {}
        }
        let Place { test, stdout_bytes, stderr_bytes } = place;
        let body = Noted { stdout_bytes, stderr_bytes, signal };
        let mut noted = Vec::new();
        // It fits: see `SIGNAL_MAX`.
        let _ = noted.resize_default(TEXT_MAX);
        let length = codec::encoded(&body, &mut noted).unwrap_or(0);
        noted.truncate(length);
        let (number, board_us) = (self.last + 1, now.as_micros());
        let before = queue.overflows;
        write_line(queue.event("signal").number("n", number), test, &self.set, &body, now);
        queue.push(Queued::AnswerSignal { client, os_error: 0 });
        if queue.overflows != before {
            // Without a pending one the answer becomes an error.
            return false;
        }
        (self.last, self.failed) = (number, 0);
        self.pending = Some(Pending { number, test, board_us, noted });
        signal.kind == TestSignal::STEP
    }

    /// A file of the run could not be written or synced.
    pub(super) fn handle_failed(&mut self, os_error: i32) {
        if self.failed == 0 {
            self.failed = u8::try_from(os_error).ok().filter(|errno| *errno != 0).unwrap_or(EIO);
        }
    }

    /// The line was written and synced, as far as the owner said nothing else: calls `show` with the live record if so,
    /// and returns what the sender is answered.
    pub(super) fn settle(&mut self, show: impl FnOnce(&Record<'_>)) -> u8 {
        let Some(pending) = self.pending.take() else { return EIO };
        if self.failed == 0 {
            show(&Record {
                source: Record::TEST_SIGNAL,
                priority: 0,
                test: pending.test,
                board_us: pending.board_us,
                sequence: pending.number,
                text: &pending.noted,
                count: 0,
            });
        }
        self.failed
    }
}

/// Answers a sender that nothing was noted.
pub(super) fn refuse(client: u8, os_error: u8, queue: &mut Queue) {
    queue.push(Queued::AnswerSignal { client, os_error });
}

/// `errno` when no test runs.
pub(super) const ENOENT: u8 = 2;
pub(super) const EAGAIN: u8 = 11;
pub(super) const EINVAL: u8 = 22;
const EIO: u8 = 5;

/// The rest of a line of the journal.
fn write_line(line: &mut Line<'_>, test: u16, set: &str, noted: &Noted<'_>, now: Instant) {
    let Noted { stdout_bytes, stderr_bytes, signal } = noted;
    let kind = match signal.kind {
        TestSignal::CASE_STARTED => "case_started",
        TestSignal::CASE_ENDED => "case_ended",
        TestSignal::SET_STARTED => "set_started",
        TestSignal::SET_ENDED => "set_ended",
        TestSignal::REFERENCE => "reference",
        TestSignal::RAISE => "raise",
        TestSignal::EVENT => "event",
        TestSignal::FEEDBACK => "feedback",
        TestSignal::STEP => "step",
        _ => "attachment",
    };
    line.number("test", test.into()).string("kind", kind);
    let is_set = matches!(signal.kind, TestSignal::SET_STARTED | TestSignal::SET_ENDED);
    for (key, text) in [
        ("set", if is_set { "" } else { set }),
        ("name", signal.name),
        ("measurement", signal.measurement),
        ("units", signal.units),
        ("text", signal.text),
    ] {
        if !text.is_empty() {
            line.string(key, text);
        }
    }
    if matches!(signal.kind, TestSignal::CASE_ENDED | TestSignal::REFERENCE) {
        line.string("result", TestSignal::result_word(signal.result));
    }
    if signal.kind == TestSignal::STEP {
        line.number("step", signal.step.into());
    }
    let exit = signal.exit;
    if exit.elapsed_us > 0 {
        // A command of a test's has no other ends.
        let is_known = matches!(exit.end, Exit::EXITED | Exit::SIGNALED | Exit::TIMED_OUT);
        let end = if is_known { exit.end } else { Exit::NOT_STARTED };
        write_exit(line, Exit { end, ..exit });
        write_usage(line, exit);
    }
    line.number("stdout_bytes", *stdout_bytes).number("stderr_bytes", *stderr_bytes);
    line.end_at(now);
}

/// How something ended.
pub(super) fn write_exit(line: &mut Line<'_>, exit: Exit) {
    let end = match exit.end {
        Exit::EXITED => "exited",
        Exit::SIGNALED => "signaled",
        Exit::TIMED_OUT => "timed_out",
        Exit::REBOOTED => "rebooted",
        Exit::INTERRUPTED => "interrupted",
        Exit::STEP_TIMED_OUT => "step_timed_out",
        _ => "not_started",
    };
    line.string("end", end).number("code", exit.code.into());
}

/// What it used.
pub(super) fn write_usage(line: &mut Line<'_>, exit: Exit) {
    let Exit { user_us, system_us, max_rss_kib, elapsed_us, .. } = exit;
    line.number("user_us", user_us).number("system_us", system_us);
    line.number("max_rss_kib", max_rss_kib).number("elapsed_us", elapsed_us);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::agent::Effect;
    use std::format;
    use std::string::String as Text;
    use std::vec::Vec as List;

    fn place() -> Place {
        Place { test: 3, stdout_bytes: 100, stderr_bytes: 7 }
    }

    /// Takes a signal and gives back what was asked for, as text, with `failed` reported behind the write.
    fn take(signals: &mut Signals, signal: &TestSignal<'_>, failed: i32) -> List<Text> {
        let (mut queue, mut buffer) = (Queue::new(), [0; 1024]);
        let packet = codec::encode(signal, &mut buffer).unwrap();
        signals.take(Instant::from_micros(9), 2, packet, place(), &mut queue);
        let mut effects = List::new();
        while let Some(queued) = queue.pop() {
            if let Queued::AnswerSignal { os_error: 0, .. } = queued {
                let shown = &mut 0;
                let os_error = signals.settle(|record| *shown = record.sequence);
                effects.push(format!("answer {os_error}, shown {shown}"));
                continue;
            }
            effects.push(match queue.effect(queued, |_| "") {
                Effect::RunFile { bytes, .. } => {
                    if failed != 0 {
                        signals.handle_failed(failed);
                    }
                    Text::from_utf8_lossy(bytes).into_owned()
                }
                other => format!("{other:?}"),
            });
        }
        effects
    }

    #[test]
    fn lines_of_the_journal() {
        let mut signals = Signals::new(40);
        let none = TestSignal::default();
        let exit = Exit {
            code: 1,
            user_us: 1,
            system_us: 2,
            max_rss_kib: 3,
            elapsed_us: 4,
            ..Exit::default()
        };
        for (signal, expected) in [
            (
                TestSignal { kind: TestSignal::CASE_STARTED, name: "a", ..none },
                r#""kind":"case_started","name":"a","#,
            ),
            (
                TestSignal { kind: TestSignal::SET_STARTED, name: "s \"x\\y\"", ..none },
                r#""kind":"set_started","name":"s \"x\\y\"","#,
            ),
            (
                TestSignal {
                    kind: TestSignal::CASE_ENDED,
                    name: "b",
                    result: TestSignal::FAIL,
                    measurement: "1.5",
                    units: "s",
                    exit,
                    ..none
                },
                r#""kind":"case_ended","set":"s \"x\\y\"","name":"b","measurement":"1.5","units":"s","result":"fail","end":"exited","code":1,"user_us":1,"system_us":2,"max_rss_kib":3,"elapsed_us":4,"#,
            ),
            (
                TestSignal { kind: TestSignal::SET_ENDED, ..none },
                r#""kind":"set_ended","name":"s \"x\\y\"","#,
            ),
            (
                TestSignal {
                    kind: TestSignal::REFERENCE,
                    name: "r",
                    result: 2,
                    text: "http://x/",
                    ..none
                },
                r#""kind":"reference","name":"r","text":"http://x/","result":"skip","#,
            ),
            (
                TestSignal { kind: TestSignal::RAISE, text: "no", ..none },
                r#""kind":"raise","text":"no","#,
            ),
            (TestSignal { kind: TestSignal::STEP, step: 4, ..none }, r#""kind":"step","step":4,"#),
        ] {
            let number = signals.last + 1;
            let effects = take(&mut signals, &signal, 0);
            let line = format!(
                "{{\"event\":\"signal\",\"n\":{number},\"test\":3,{expected}\"stdout_bytes\":100,\"stderr_bytes\":7,\"board_us\":9}}\n"
            );
            assert_eq!(effects, [line.as_str(), "SyncRun", &format!("answer 0, shown {number}")]);
        }
        assert_eq!(signals.last, 47);
    }

    #[test]
    fn what_is_not_on_the_disk_is_neither_answered_so_nor_shown() {
        let mut signals = Signals::new(0);
        let event = TestSignal { kind: TestSignal::EVENT, text: "x", ..TestSignal::default() };
        assert_eq!(take(&mut signals, &event, 28)[2], "answer 28, shown 0");
        assert_eq!(take(&mut signals, &event, 0)[2], "answer 0, shown 2");
        assert_eq!(take(&mut signals, &event, i32::MAX)[2], "answer 5, shown 0");
    }

    #[test]
    fn what_is_no_signal_or_finds_no_room_is_refused() {
        let (mut signals, mut queue) = (Signals::new(0), Queue::new());
        let take = |signals: &mut Signals, queue: &mut Queue, packet: &[u8]| {
            signals.take(Instant::ZERO, 5, packet, place(), queue)
        };
        for packet in [&[][..], &[0], &[1, 0, 200], &[255; 600]] {
            assert!(!take(&mut signals, &mut queue, packet));
            assert_eq!(queue.pop(), Some(Queued::AnswerSignal { client: 5, os_error: EINVAL }));
        }
        let mut buffer = [0; 64];
        let step = TestSignal { kind: TestSignal::STEP, step: 1, ..TestSignal::default() };
        let packet = codec::encode(&step, &mut buffer).unwrap();
        assert!(take(&mut signals, &mut queue, packet) && !signals.has_room());
        assert!(!take(&mut signals, &mut queue, packet));
        let mut last = None;
        while let Some(queued) = queue.pop() {
            last = Some(queued);
        }
        assert_eq!(last, Some(Queued::AnswerSignal { client: 5, os_error: EAGAIN }));
        assert_eq!(signals.last, 1);
    }

    #[test]
    fn the_longest_line_fits_into_the_queue() {
        let mut signals = Signals::new(u64::MAX - 9);
        let text = [b'\\'; 192];
        let text = |length: usize| core::str::from_utf8(&text[..length]).unwrap();
        let set =
            TestSignal { kind: TestSignal::SET_STARTED, name: text(128), ..TestSignal::default() };
        take(&mut signals, &set, 0);
        let (user_us, max_rss_kib) = (u64::MAX, u64::MAX);
        let exit = Exit {
            end: 3,
            code: 255,
            user_us,
            system_us: user_us,
            max_rss_kib,
            elapsed_us: user_us,
        };
        let digits = "11111111111111111111111111111111";
        let (kind, name) = (TestSignal::CASE_ENDED, text(128));
        let longest = TestSignal {
            kind,
            result: 3,
            name,
            measurement: digits,
            units: text(32),
            text: text(192),
            step: 0,
            exit,
        };
        let effects = take(&mut signals, &longest, 0);
        assert!(effects.len() == 3 && effects[0].len() < 1600, "{effects:?}");
    }
}
