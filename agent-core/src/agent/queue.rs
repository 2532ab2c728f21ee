//! Effects that wait to be asked for, with the little text that some of them carry.

use super::effect::{Effect, Op, RunFile};
use crate::text::{DIGITS_MAX, decimal};
use crate::time::Instant;
use heapless::{Deque, Vec};

/// Effects at a time. One input makes at most one for each operation and four for the plan; more would mean that the
/// owner does not drain.
const QUEUE_MAX: usize = 32;

/// Text of all waiting effects: a kernel line and a few journal lines.
const TEXT_MAX: usize = 4096;

/// A queue of effects. What does not fit is counted, and the owner of the agent hears of it in its log.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Deque<Queued, QUEUE_MAX>,
    text: Vec<u8, TEXT_MAX>,
    pub(super) overflows: u32,
}

/// An effect that borrows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Read {
        op: Op,
        offset: u64,
        max: usize,
    },
    Work {
        op: Op,
        max: usize,
    },
    Commit {
        op: Op,
    },
    Close {
        op: Op,
    },
    EndInput {
        op: Op,
    },
    Signal {
        op: Op,
        signal: u8,
    },
    RunFile {
        file: RunFile,
        start: usize,
        end: usize,
    },
    SyncRun,
    AnswerSignal {
        client: u8,
        os_error: u8,
    },
    QuietConsole(bool),
    SeekKernel {
        sequence: u64,
    },
    Watchdog {
        seconds: u16,
    },
    Reboot {
        how: u8,
    },
    /// Test `index` of the plan; its name is looked up there.
    StartTest {
        op: Op,
        index: u16,
    },
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { waiting: Deque::new(), text: Vec::new(), overflows: 0 }
    }

    pub(super) fn push(&mut self, effect: Queued) {
        if self.waiting.push_back(effect).is_err() {
            self.overflows += 1;
        }
    }

    /// Begins a line for a file of the run.
    pub(super) fn line(&mut self, file: RunFile) -> Line<'_> {
        let start = self.text.len();
        Line { queue: self, file, start, fits: true }
    }

    /// Begins a line of the journal.
    pub(super) fn event(&mut self, event: &str) -> Line<'_> {
        let mut line = self.line(RunFile::Journal);
        line.text("{\"event\":\"").text(event).text("\"");
        line
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let effect = self.waiting.pop_front();
        if effect.is_none() {
            self.text.clear();
        }
        effect
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The effect as the owner sees it. `suite` names a test of the plan.
    pub(super) fn effect<'a>(
        &'a self,
        queued: Queued,
        suite: impl FnOnce(u16) -> &'a str,
    ) -> Effect<'a> {
        match queued {
            Queued::Read { op, offset, max } => Effect::Read { op, offset, max },
            Queued::Work { op, max } => Effect::Work { op, max },
            Queued::Commit { op } => Effect::Commit { op },
            Queued::Close { op } => Effect::Close { op },
            Queued::EndInput { op } => Effect::EndInput { op },
            Queued::Signal { op, signal } => Effect::Signal { op, signal },
            Queued::RunFile { file, start, end } => {
                Effect::RunFile { file, bytes: self.text.get(start..end).unwrap_or_default() }
            }
            Queued::SyncRun => Effect::SyncRun,
            Queued::AnswerSignal { client, os_error } => Effect::AnswerSignal { client, os_error },
            Queued::QuietConsole(is_quiet) => Effect::QuietConsole(is_quiet),
            Queued::SeekKernel { sequence } => Effect::SeekKernel { sequence },
            Queued::Watchdog { seconds } => Effect::Watchdog { seconds },
            Queued::Reboot { how } => Effect::Reboot { how },
            Queued::StartTest { op, index } => Effect::Spawn {
                op,
                command: super::effect::Command::Test { index, suite: suite(index) },
            },
        }
    }
}

/// A line that is being put together. Without one of its ends it is never written.
pub(super) struct Line<'a> {
    queue: &'a mut Queue,
    file: RunFile,
    start: usize,
    fits: bool,
}

impl Line<'_> {
    /// As it stands.
    #[inline(never)]
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.fits &= self.queue.text.extend_from_slice(text.as_bytes()).is_ok();
        self
    }

    /// A number, at least `width` long, `fill` in front of it.
    pub(super) fn padded(&mut self, number: u64, width: usize, fill: &str) -> &mut Self {
        let mut digits = [0; DIGITS_MAX];
        let digits = decimal(number, &mut digits);
        for _ in digits.len()..width {
            self.text(fill);
        }
        self.text(digits)
    }

    /// A time as the kernel writes it: seconds since boot.
    pub(super) fn stamp(&mut self, us: u64) -> &mut Self {
        self.text("[").padded(us / 1_000_000, 5, " ");
        self.text(".").padded(us % 1_000_000, 6, "0").text("] ")
    }

    /// A key of JSON with a number.
    #[inline(never)]
    pub(super) fn number(&mut self, key: &str, number: u64) -> &mut Self {
        self.text(",\"").text(key).text("\":").padded(number, 0, "")
    }

    /// A key of JSON with a string. It holds no control characters.
    #[inline(never)]
    pub(super) fn string(&mut self, key: &str, text: &str) -> &mut Self {
        self.text(",\"").text(key).text("\":\"");
        for byte in text.bytes() {
            if matches!(byte, b'"' | b'\\') {
                self.fits &= self.queue.text.push(b'\\').is_ok();
            }
            self.fits &= self.queue.text.push(byte).is_ok();
        }
        self.text("\"")
    }

    /// The line is whole, its end included. What does not fit is left out whole.
    #[inline(never)]
    pub(super) fn end(&mut self) {
        let (file, start, end) = (self.file, self.start, self.queue.text.len());
        if self.fits {
            self.queue.push(Queued::RunFile { file, start, end });
        } else {
            self.queue.text.truncate(start);
            self.queue.overflows += 1;
        }
    }

    /// The line of the journal is whole but for its time; it is to be on the disk before anything else happens.
    #[inline(never)]
    pub(super) fn end_at(&mut self, now: Instant) {
        self.number("board_us", now.as_micros()).text("}\n").end();
        self.queue.push(Queued::SyncRun);
    }
}
