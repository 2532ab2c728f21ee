//! Effects that wait to be asked for, with the little text that some of them carry.

use super::effect::{Effect, Op, RunFile};
use crate::wire::block::Codec;
use core::fmt::{self, Write};
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
    Zero {
        op: Op,
        offset: u64,
        length: u64,
    },
    Bin {
        op: Op,
        codec: Codec,
        packed: u32,
        offset: u64,
        length: u32,
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

    /// Text for a file of the run.
    pub(super) fn push_text(&mut self, file: RunFile, text: fmt::Arguments<'_>) {
        let start = self.text.len();
        if (TextWriter { text: &mut self.text }).write_fmt(text).is_err() {
            self.text.truncate(start);
            self.overflows += 1;
            return;
        }
        self.push(Queued::RunFile { file, start, end: self.text.len() });
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
            Queued::Zero { op, offset, length } => Effect::Zero { op, offset, length },
            Queued::Bin { op, codec, packed, offset, length } => {
                Effect::Bin { op, codec, packed, offset, length }
            }
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

struct TextWriter<'a> {
    text: &'a mut Vec<u8, TEXT_MAX>,
}

impl Write for TextWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.extend_from_slice(text.as_bytes()).map_err(|()| fmt::Error)
    }
}
