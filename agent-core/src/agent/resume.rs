//! What an earlier start of the agent did with the plan, read from its journal, and how the plan goes on behind it.
//!
//! The journal is synced line by line, before what it says happens, so it may end anywhere: a line without its end never
//! happened. A test that was started is never started again, whatever else is missing, and none is said to have ended
//! that was not started.

use crate::wire::response::Exit;
use heapless::Vec;

/// Longest journal that is read, bytes: 100,000 cases with their beginnings, and the memory for it is a line's.
pub const JOURNAL_MAX: u64 = 64 << 20;

/// A journal as far as it matters to the plan. The owner pushes the file's bytes in any pieces, cuts the file behind
/// [`Journal::whole_bytes`], and hands this to [`Agent::start_plan`](super::Agent::start_plan).
#[derive(Debug, Default)]
pub struct Journal {
    /// The line that is being read, or its beginning.
    line: Vec<u8, HEAD_MAX>,
    last: u8,
    bytes: u64,
    whole_bytes: u64,
    /// Boot id of the agent that wrote last.
    boot: Option<Boot>,
    /// Index behind the last test that was started.
    pub(super) next: u16,
    /// It was started, and has no end.
    running: Option<u16>,
    /// End and code of the test that ended last, until the plan went on.
    last_end: Option<(End, u8)>,
    is_ended: bool,
    pub(super) last_signal: u64,
}

/// A boot id as 32 hex digits.
pub(super) type Boot = [u8; 32];

/// The ends of a test that decide what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Rebooted,
    Interrupted,
    Other,
}

/// How the plan goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It was never started.
    New,
    /// With test [`Journal::next`]; `by_board`: the board restarted, otherwise only the agent.
    Resumed { by_board: bool },
    /// It has ended before.
    Ended,
    /// It is over, because the board restarted and nobody expected it: while this test ran, or between two.
    Stopped(Option<u16>),
}

impl Journal {
    /// One of which nothing was read: that of a plan which was never started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.bytes += 1;
            if byte != b'\n' {
                self.last = byte;
                // All that matters stands at a line's beginning.
                let _ = self.line.push(byte);
                continue;
            }
            self.whole_bytes = self.bytes;
            if self.last == b'}' {
                self.take_line();
            }
            self.last = 0;
            self.line.clear();
        }
    }

    /// Bytes up to the end of the last line that has one. What stands behind them never happened, and must be cut off
    /// before anything is appended.
    pub fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    fn take_line(&mut self) {
        let line = &self.line;
        let Some(rest) = line.strip_prefix(b"{\"event\":\"") else { return };
        let event = text(rest);
        let test = number(line, b",\"test\":").and_then(|test| u16::try_from(test).ok());
        match (event, test) {
            (b"plan_started" | b"plan_resumed", _) => {
                let boot = find(line, b",\"boot\":\"").and_then(|rest| rest.first_chunk());
                self.boot = Some(boot.copied().unwrap_or_default());
                self.last_end = None;
            }
            (b"test_started", Some(test)) if test >= self.next => {
                self.next = test.saturating_add(1);
                self.running = Some(test);
                self.last_end = None;
            }
            (b"test_ended", Some(test)) if self.running == Some(test) => {
                self.running = None;
                let end = match find(line, b",\"end\":\"").map(text) {
                    Some(b"rebooted") => End::Rebooted,
                    Some(b"interrupted") => End::Interrupted,
                    _ => End::Other,
                };
                let code = number(line, b",\"code\":").unwrap_or(0);
                self.last_end = Some((end, u8::try_from(code).unwrap_or(u8::MAX)));
            }
            (b"plan_ended", _) => self.is_ended = true,
            (b"signal", _) => {
                let number = number(line, b",\"n\":").unwrap_or(0);
                self.last_signal = self.last_signal.max(number);
            }
            _ => {}
        }
    }

    /// What became of the test whose end is missing, and how the plan goes on. `boot` is that of now;
    /// `expects_restart` tells of a test whether it was to restart the board.
    pub(super) fn resume(
        &self,
        boot: &Boot,
        expects_restart: impl FnOnce(u16) -> bool,
    ) -> (Option<(u16, Exit)>, Start) {
        let Some(last_boot) = &self.boot else { return (None, Start::New) };
        if self.is_ended {
            return (None, Start::Ended);
        }
        let by_board = last_boot != boot;
        let go_on = Start::Resumed { by_board };
        let interrupted = |code| Exit { end: Exit::INTERRUPTED, code, ..Exit::default() };
        if let Some(test) = self.running {
            return match (by_board, by_board && expects_restart(test)) {
                (false, _) => (Some((test, interrupted(Exit::BY_AGENT))), go_on),
                (true, true) => {
                    (Some((test, Exit { end: Exit::REBOOTED, ..Exit::default() })), go_on)
                }
                (true, false) => {
                    (Some((test, interrupted(Exit::BY_BOARD))), Start::Stopped(Some(test)))
                }
            };
        }
        let start = match self.last_end {
            Some((End::Interrupted, Exit::BY_BOARD)) => Start::Stopped(self.next.checked_sub(1)),
            Some((End::Rebooted, _)) => go_on,
            // No test would run twice: some images restart at their first boot.
            _ if by_board && self.next > 0 => Start::Stopped(None),
            _ => go_on,
        };
        (None, start)
    }
}

/// Bytes of a line's beginning that are kept: its event, its numbers, and before them the longest name of a run.
const HEAD_MAX: usize = 256;

/// What stands behind `key`. No name can hold a key: the quotes in it are escaped.
#[inline(never)]
fn find<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = line.windows(key.len()).position(|window| window == key)?;
    line.get(at + key.len()..)
}

/// The text up to the next quote.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'"').next().unwrap_or_default()
}

fn number(line: &[u8], key: &[u8]) -> Option<u64> {
    let rest = find(line, key)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0_u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}
