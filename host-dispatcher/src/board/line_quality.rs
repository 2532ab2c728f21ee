//! What the counters of both ends say about a line: one verdict, in a sentence with what to do, and the rates behind it.
//!
//! Pure: counters in, words out. Each end counts what arrives at it, so damage has a direction; counters that a UART's
//! driver keeps tell overruns from noise. The thresholds tell a line that costs something from one that does not, and
//! each stands with its reason below.

use std::fmt;

use agent_core::link::Stats;
use agent_core::wire::response;
use serde_json::{Map, Value};

/// What a UART's driver counted (TIOCGICOUNT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UartErrors {
    /// Bytes lost because nobody fetched them in time.
    pub overruns: u32,
    /// Framing and parity errors.
    pub errors: u32,
}

/// Counters of one end of a line, those of several agents of a run added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Whole frames that arrived.
    pub frames_in: u64,
    /// Frames that arrived damaged.
    pub damaged: u64,
    /// Frames that were sent.
    pub frames_out: u64,
    /// DATA frames that were sent again.
    pub resent: u64,
    /// DATA frames that arrived again: what the peer sent again for nothing.
    pub duplicates: u64,
    /// Frames of its own that came back.
    pub echoes: u64,
    /// Bytes that its UART lost.
    pub overruns: u64,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// From the host to the board.
    Board,
    /// From the board to the host.
    Host,
    /// Both ways.
    Both,
}

/// What the line is like: the first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Frames of one end come back to it.
    Echo {
        /// How many.
        frames: u64,
    },
    /// The board's UART lost bytes because its driver was late.
    BoardOverruns {
        /// How many.
        bytes: u64,
    },
    /// The host's UART did.
    HostOverruns {
        /// How many.
        bytes: u64,
    },
    /// Frames arrive damaged.
    Noisy {
        /// Which way.
        towards: Towards,
        /// How many were damaged.
        damaged: u64,
        /// ... of so many.
        frames: u64,
    },
    /// Many frames had to be sent again, and few arrived damaged: they vanished on their way.
    Vanishing {
        /// Which way.
        towards: Towards,
        /// How many had to be sent again.
        resent: u64,
        /// ... of so many.
        frames: u64,
    },
    /// Nothing is wrong, as far as so few frames can tell.
    TooLittle,
    /// Nothing is wrong.
    Good,
}

impl End {
    /// The host's end.
    pub fn host(stats: &Stats, uart: UartErrors) -> Self {
        let mut end = Self::default();
        end.add(stats, uart);
        end
    }

    /// Adds what an agent counted since its start.
    pub fn add_agent(&mut self, line: &response::Line) {
        let uart = UartErrors { overruns: line.overruns, errors: line.errors };
        self.add(&line.stats, uart);
    }

    fn add(&mut self, stats: &Stats, uart: UartErrors) {
        // A board's counters are whatever it says.
        for (sum, count) in [
            (&mut self.frames_in, stats.frames_in),
            (&mut self.damaged, stats.damaged_frames.saturating_add(stats.overlong)),
            (&mut self.frames_out, stats.frames_out),
            (&mut self.resent, stats.retransmits),
            (&mut self.duplicates, stats.duplicates),
            (&mut self.echoes, stats.echoes),
            (&mut self.overruns, u64::from(uart.overruns)),
        ] {
            *sum = sum.saturating_add(count);
        }
    }

    /// Frames that arrived in whatever state.
    pub fn arrived(&self) -> u64 {
        self.frames_in.saturating_add(self.damaged)
    }

    fn is_noisy(&self) -> bool {
        self.damaged >= DAMAGED_MIN && self.damaged.saturating_mul(NOISY_ONE_IN) >= self.arrived()
    }

    fn is_overrun(&self) -> bool {
        self.overruns >= OVERRUNS_MIN
            && self.overruns.saturating_mul(NOISY_ONE_IN) >= self.arrived()
    }

    /// Frames of this end that had to be sent again because they did not arrive. Those that arrived twice were only
    /// answered late: behind a full queue, or by an emulator on a busy machine.
    fn lost(&self, peer: &Self) -> u64 {
        self.resent.saturating_sub(peer.duplicates)
    }

    /// Whether what this end sent vanished. Damage at either end explains a resend: the frame's own, or its answer's.
    fn is_vanishing(&self, peer: &Self) -> bool {
        let (lost, explained) = (self.lost(peer), self.damaged.saturating_add(peer.damaged));
        lost >= RESENT_MIN
            && lost.saturating_mul(RESENT_ONE_IN) >= self.frames_out
            && lost > explained.saturating_mul(4)
    }
}

/// The verdict on a line. Without the board's counters (an agent that does not tell them) only what the host saw counts.
pub fn judge(host: &End, board: Option<&End>) -> Verdict {
    let none = End::default();
    let there = board.unwrap_or(&none);
    let echoes = host.echoes.saturating_add(there.echoes);
    if echoes >= ECHOES_MIN {
        return Verdict::Echo { frames: echoes };
    }
    if there.is_overrun() {
        return Verdict::BoardOverruns { bytes: there.overruns };
    }
    if host.is_overrun() {
        return Verdict::HostOverruns { bytes: host.overruns };
    }
    let noisy = |towards, ends: &[&End]| Verdict::Noisy {
        towards,
        damaged: ends.iter().fold(0, |sum: u64, end| sum.saturating_add(end.damaged)),
        frames: ends.iter().fold(0, |sum: u64, end| sum.saturating_add(end.arrived())),
    };
    match (there.is_noisy(), host.is_noisy()) {
        (true, true) => return noisy(Towards::Both, &[there, host]),
        (true, false) => return noisy(Towards::Board, &[there]),
        (false, true) => return noisy(Towards::Host, &[host]),
        (false, false) => {}
    }
    // Without the other end's counters a resend may be due to damage there, which is as good a reason to look.
    if host.is_vanishing(there) {
        let (resent, frames) = (host.lost(there), host.frames_out);
        return Verdict::Vanishing { towards: Towards::Board, resent, frames };
    }
    if there.is_vanishing(host) {
        let (resent, frames) = (there.lost(host), there.frames_out);
        return Verdict::Vanishing { towards: Towards::Host, resent, frames };
    }
    let seen = board.map_or(u64::MAX, End::arrived).min(host.arrived());
    if seen < FRAMES_MIN { Verdict::TooLittle } else { Verdict::Good }
}

impl Verdict {
    /// In one word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::BoardOverruns { .. } => "board_overruns",
            Self::HostOverruns { .. } => "host_overruns",
            Self::Noisy { .. } => "noisy",
            Self::Vanishing { .. } => "vanishing",
            Self::TooLittle => "too_little",
            Self::Good => "good",
        }
    }

    /// Whether somebody should do something about the line.
    pub fn is_bad(self) -> bool {
        !matches!(self, Self::Good | Self::TooLittle)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Echo { frames } => write!(
                f,
                "echo: {} came back to the end that sent them; something on the line repeats what it reads: a terminal \
                 that is not raw, or two wires that touch",
                counted(frames, "frame")
            ),
            Self::BoardOverruns { bytes } => write!(
                f,
                "overruns on the board: its UART lost {}; lower the baud rate, or use hardware flow control",
                counted(bytes, "byte")
            ),
            Self::HostOverruns { bytes } => write!(
                f,
                "overruns on the host: its UART lost {}; lower the baud rate, or take an adapter with a larger buffer",
                counted(bytes, "byte")
            ),
            Self::Noisy { towards, damaged, frames } => write!(
                f,
                "noisy {towards}: 1 damaged frame in {}; try a shorter cable, a better ground, or a lower baud rate",
                one_in(damaged, frames)
            ),
            Self::Vanishing { towards, resent, frames } => write!(
                f,
                "bytes vanish {towards}: 1 frame in {} did not arrive, and few arrived damaged; look for flow control \
                 that is on at one end only, and at the adapter",
                one_in(resent, frames)
            ),
            Self::TooLittle => f.write_str("nothing wrong in the few frames so far"),
            Self::Good => f.write_str("good"),
        }
    }
}

impl fmt::Display for Towards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Board => "towards the board",
            Self::Host => "towards the host",
            Self::Both => "both ways",
        })
    }
}

/// Those of an end's counters that are not 0.
pub fn counters(stats: &Stats, uart: UartErrors) -> Map<String, Value> {
    let mut counters = Map::new();
    let mut add = |name: &str, value: u64| {
        if value != 0 {
            counters.insert(name.to_owned(), value.into());
        }
    };
    stats.each(&mut add);
    add("uart_overruns", uart.overruns.into());
    add("uart_errors", uart.errors.into());
    counters
}

/// `1 frame`, `2 frames`.
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// How many of `frames` there are for each of `count`, rounded.
fn one_in(count: u64, frames: u64) -> u64 {
    frames.saturating_add(count / 2) / count.max(1)
}

/// Own frames that come back. Two may be left of a terminal that was not raw before the agent set it so.
const ECHOES_MIN: u64 = 3;

/// Damaged frames that are more than a plug, a power switch or an agent killed in mid-frame leaves behind.
const DAMAGED_MIN: u64 = 3;

/// Bytes lost by a UART: less may come of one long interrupt while a board boots.
const OVERRUNS_MIN: u64 = 3;

/// Damage at this rate costs a thousandth of the line's time; wires that are sound are better by orders of magnitude (a
/// UART on a desk has less than one wrong bit in 10⁹, a frame has some 10³ bits).
const NOISY_ONE_IN: u64 = 1000;

/// Frames sent again: a session that a pulled cable ends leaves about so many.
const RESENT_MIN: u64 = 40;

/// ... and so many of all that were sent. Probes of a peer that is busy with its disk stay below it.
const RESENT_ONE_IN: u64 = 20;

/// Fewer frames than this tell nothing of a line that damages one in some hundred: an `info` has about ten.
const FRAMES_MIN: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn end(frames_in: u64, damaged: u64, frames_out: u64, resent: u64) -> End {
        End { frames_in, damaged, frames_out, resent, ..End::default() }
    }

    #[test]
    fn verdicts() {
        let fine = end(1000, 0, 1000, 1);
        let table = [
            (fine, Some(fine), Verdict::Good, "good"),
            (end(9, 0, 9, 0), Some(fine), Verdict::TooLittle, "nothing wrong"),
            (fine, None, Verdict::Good, "good"),
            // One glitch, and a rate that costs nothing.
            (fine, Some(end(100, 2, 100, 0)), Verdict::Good, "good"),
            (fine, Some(end(10_000, 5, 100, 0)), Verdict::Good, "good"),
            (
                end(1000, 0, 600, 2),
                Some(end(897, 3, 1000, 0)),
                Verdict::Noisy { towards: Towards::Board, damaged: 3, frames: 900 },
                "noisy towards the board: 1 damaged frame in 300; try a shorter cable",
            ),
            (
                end(95, 5, 600, 2),
                None,
                Verdict::Noisy { towards: Towards::Host, damaged: 5, frames: 100 },
                "noisy towards the host: 1 damaged frame in 20;",
            ),
            (
                end(95, 5, 600, 2),
                Some(end(285, 15, 100, 90)),
                Verdict::Noisy { towards: Towards::Both, damaged: 20, frames: 400 },
                "noisy both ways: 1 damaged frame in 20;",
            ),
            (
                end(500, 0, 500, 50),
                Some(End { overruns: 700, ..end(450, 50, 500, 0) }),
                Verdict::BoardOverruns { bytes: 700 },
                "overruns on the board: its UART lost 700 bytes; lower the baud rate",
            ),
            (
                End { overruns: 7, ..end(450, 50, 500, 0) },
                Some(fine),
                Verdict::HostOverruns { bytes: 7 },
                "overruns on the host",
            ),
            (fine, Some(End { overruns: 1, ..fine }), Verdict::Good, "good"),
            (
                End { echoes: 30, ..end(40, 9, 30, 20) },
                None,
                Verdict::Echo { frames: 30 },
                "echo: 30 frames came back",
            ),
            // All that was sent again had arrived before: the answers were late.
            (
                End { duplicates: 170, ..end(2200, 0, 1800, 3) },
                Some(end(1800, 0, 2200, 173)),
                Verdict::Good,
                "good",
            ),
            (
                end(1000, 0, 400, 80),
                Some(end(320, 1, 1000, 0)),
                Verdict::Vanishing { towards: Towards::Board, resent: 80, frames: 400 },
                "bytes vanish towards the board: 1 frame in 5 did not arrive",
            ),
            (
                end(900, 0, 900, 0),
                Some(end(900, 0, 1000, 100)),
                Verdict::Vanishing { towards: Towards::Host, resent: 100, frames: 1000 },
                "bytes vanish towards the host",
            ),
            // A cable that was pulled, and resends that the damage explains.
            (end(1000, 0, 1000, 30), Some(fine), Verdict::Good, "good"),
            (
                end(1000, 0, 1000, 60),
                Some(end(980, 20, 1000, 0)),
                Verdict::Noisy { towards: Towards::Board, damaged: 20, frames: 1000 },
                "noisy",
            ),
        ];
        for (index, (host, board, verdict, text)) in table.into_iter().enumerate() {
            let judged = judge(&host, board.as_ref());
            assert_eq!(judged, verdict, "row {index}");
            assert!(judged.to_string().starts_with(text), "row {index}: {judged}");
        }
    }

    #[test]
    fn counters_of_a_hostile_board_do_not_overflow() {
        let mut stats = Stats::default();
        (stats.frames_in, stats.damaged_frames, stats.overlong) = (u64::MAX, u64::MAX, u64::MAX);
        (stats.retransmits, stats.echoes, stats.frames_out) = (u64::MAX, 0, u64::MAX);
        let line = response::Line { overruns: u32::MAX, errors: u32::MAX, stats };
        let mut board = End::default();
        board.add_agent(&line);
        board.add_agent(&line);
        for verdict in [judge(&board, Some(&board)), judge(&End::default(), Some(&board))] {
            assert!(verdict.is_bad(), "{verdict}");
        }
    }
}
