//! The live log: what happens on the board, as it happens, on the stream that the dispatcher named.
//!
//! The line is slower than a board can print. What finds no room is left out and counted, and the next record that
//! finds room is preceded by one that says how many were. Tests that start and end are few and wait for room.

use super::AgentLink;
use crate::wire::codec;
use crate::wire::record::{RECORD_MAX, Record, TEXT_MAX};
use crate::wire::response::Exit;
use heapless::Deque;

/// Marks that wait for room: more than one test starts and ends while the line carries nothing only when tests are
/// shorter than a round trip.
const MARKS_MAX: usize = 32;

/// Room that a kernel record needs at most: the kernel's longest (about 1 KiB) in pieces, and a word on what was left
/// out.
pub(super) const KERNEL_ROOM: usize = 3 * RECORD_MAX;

/// Room that output of a test must find. What it leaves free is for the few records that tell what the output means: a
/// test that floods the line must not hide its own cases, nor the kernel's words.
const OUTPUT_ROOM: usize = 3 * RECORD_MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Live {
    stream: Option<u8>,
    /// Records that were left out, and the bytes of their texts.
    elided: u64,
    elided_bytes: u64,
    marks: Deque<Mark, MARKS_MAX>,
}

/// Something that is never left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) source: u8,
    pub(super) test: u16,
    pub(super) board_us: u64,
    pub(super) exit: Exit,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { stream: None, elided: 0, elided_bytes: 0, marks: Deque::new() }
    }

    /// Somebody follows on this stream from now on. Returns the stream that was followed before.
    pub(super) fn follow(&mut self, stream: u8) -> Option<u8> {
        self.stream.replace(stream).filter(|before| *before != stream)
    }

    /// The stream of the log.
    pub(super) fn stream(&self) -> Option<u8> {
        self.stream
    }

    /// Nobody follows any more.
    pub(super) fn unfollow(&mut self) {
        self.stream = None;
    }

    pub(super) fn is_followed(&self) -> bool {
        self.stream.is_some()
    }

    /// Bytes that may go out now.
    pub(super) fn room(&self, link: &AgentLink) -> usize {
        self.stream.map_or(0, |stream| link.room(stream))
    }

    /// A test starts or ends.
    pub(super) fn mark(&mut self, mark: Mark) {
        if self.marks.is_full() {
            // The oldest goes: what counts in the end is that the plan has ended.
            self.marks.pop_front();
            self.elided += 1;
        }
        let _ = self.marks.push_back(mark);
    }

    /// Sends what waited for room. `suite` names a test.
    pub(super) fn flush<'s>(&mut self, link: &mut AgentLink, suite: impl Fn(u16) -> &'s str) {
        while let Some(mark) = self.marks.front().copied() {
            if self.room(link) < 2 * RECORD_MAX {
                return;
            }
            self.marks.pop_front();
            let mut exit = [0; 64];
            let text = match mark.source {
                Record::TEST_STARTED => suite(mark.test).as_bytes(),
                Record::TEST_ENDED => codec::encode(&mark.exit, &mut exit).unwrap_or(&[]),
                _ => &[],
            };
            let Mark { source, test, board_us, .. } = mark;
            let (priority, sequence, count) = (0, 0, 0);
            self.send(link, &Record { source, priority, test, board_us, sequence, text, count });
        }
    }

    /// Sends a record, in pieces when its text is long, or counts it as left out.
    pub(super) fn record(&mut self, link: &mut AgentLink, record: &Record<'_>) {
        let pieces = record.text.len().div_ceil(TEXT_MAX).max(1);
        let is_output =
            matches!(record.source, Record::STDOUT | Record::STDERR | Record::USER_CONSOLE);
        let needed = if is_output { OUTPUT_ROOM } else { 2 * RECORD_MAX };
        let mut sequence = record.sequence;
        for index in 0..pieces {
            if !self.marks.is_empty() || self.room(link) < needed {
                self.elided += (pieces - index) as u64;
                self.elided_bytes += record.text.len().saturating_sub(index * TEXT_MAX) as u64;
                return;
            }
            let start = index * TEXT_MAX;
            let text = &record.text[start..record.text.len().min(start + TEXT_MAX)];
            self.send(link, &Record { text, sequence, ..*record });
            if is_output {
                sequence += text.len() as u64;
            }
        }
    }

    /// Writes one record, preceded by what was left out; the caller has seen that there is room for both.
    fn send(&mut self, link: &mut AgentLink, record: &Record<'_>) {
        let Some(stream) = self.stream else { return };
        if self.elided > 0 {
            let elided = Record {
                source: Record::ELIDED,
                priority: 0,
                test: record.test,
                board_us: record.board_us,
                sequence: self.elided,
                text: &[],
                count: self.elided_bytes,
            };
            (self.elided, self.elided_bytes) = (0, 0);
            self.send(link, &elided);
        }
        let mut buffer = [0; RECORD_MAX];
        if let Ok(bytes) = record.encode(&mut buffer) {
            link.write(stream, bytes);
        }
    }
}
