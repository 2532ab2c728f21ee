//! The board's end of a line test: bytes that are checked as they come, and bytes that are made as the line takes them.

use super::AgentLink;
use super::transfer::WRITE_WINDOW;
use crate::wire::{request, response};
use crate::xorshift::Xorshift32;
use core::num::NonZeroU32;

/// Bytes made at once; they live on the stack.
const PIECE: usize = 128;

/// A line test in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineTest {
    /// The streams; 0 once one has ended, or for none.
    to_board: u8,
    from_board: u8,
    expected: Xorshift32,
    sending: Xorshift32,
    bytes: u64,
    result: response::LineTest,
}

impl LineTest {
    /// `None` when there is nothing to do, or nothing that the series could begin with.
    pub(super) fn new(test: request::LineTest) -> Option<Self> {
        let request::LineTest { to_board, from_board, seed, bytes } = test;
        let series = Xorshift32::new(NonZeroU32::new(seed).filter(|_| to_board | from_board != 0)?);
        let result = response::LineTest { received: 0, wrong: 0, sent: 0 };
        Some(Self { to_board, from_board, expected: series, sending: series, bytes, result })
    }

    /// Its streams are open: as many bytes may come ahead as for a file, so that a fast line is filled.
    pub(super) fn begin(&self, link: &mut AgentLink) {
        link.grant(self.to_board, WRITE_WINDOW);
    }

    /// Whether `stream` is one of its own.
    pub(super) fn has(&self, stream: u8) -> bool {
        stream != 0 && (stream == self.to_board || stream == self.from_board)
    }

    /// Bytes came; those of the other stream are not its own, and earn no credit.
    pub(super) fn handle_bytes(&mut self, stream: u8, bytes: &[u8], link: &mut AgentLink) {
        if stream == self.to_board {
            self.result.received += bytes.len() as u64;
            self.result.wrong += self.expected.wrong(bytes);
            link.grant(stream, bytes.len());
        }
    }

    /// The dispatcher has sent everything.
    pub(super) fn handle_finished(&mut self, stream: u8, link: &mut AgentLink) {
        if stream == self.to_board {
            self.handle_reset(stream, link);
        }
    }

    /// The dispatcher gave a stream up, which ends it.
    pub(super) fn handle_reset(&mut self, stream: u8, link: &mut AgentLink) {
        link.close_stream(stream);
        for own in [&mut self.to_board, &mut self.from_board] {
            if *own == stream {
                *own = 0;
            }
        }
    }

    /// Sends what there is room for. Returns what the test came to, once both directions have ended.
    pub(super) fn advance(&mut self, link: &mut AgentLink) -> Option<response::LineTest> {
        if self.from_board != 0 {
            let mut piece = [0; PIECE];
            loop {
                let left = usize::try_from(self.bytes - self.result.sent).unwrap_or(PIECE);
                let count = left.min(link.room(self.from_board)).min(PIECE);
                if count == 0 {
                    break;
                }
                self.sending.fill(&mut piece[..count]);
                self.result.sent += link.write(self.from_board, &piece[..count]) as u64;
            }
            if self.result.sent == self.bytes {
                link.finish(self.from_board);
                self.from_board = 0;
            }
        }
        (self.to_board | self.from_board == 0).then_some(self.result)
    }
}
