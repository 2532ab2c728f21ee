//! What the bytes of a line alone say about it when no session comes of them: a wrong speed, 7 data bits, a board that
//! does not hear.
//!
//! Pure and bounded: the last [`WINDOW`] bytes of text are looked at, and beacons are counted. It is a guess that helps
//! a person to look in the right place, and decides nothing.

use std::collections::VecDeque;
use std::fmt;

use agent_core::link::Stats;
use agent_core::time::{Duration, Instant};

/// What may be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// What comes is no text.
    WrongSpeed,
    /// What comes is text once its top bits are cleared, or no frame has any.
    SevenBits,
    /// Beacons come, and no hello is answered.
    Unheard,
}

/// The watcher of one line.
#[derive(Clone, Debug, Default)]
pub(super) struct LineSense {
    text: VecDeque<u8>,
    /// Bytes that came since the text was last looked at.
    unseen: usize,
    /// A byte with its top bit set has come: as a part of a frame or of text.
    has_high: bool,
    /// Counters when the watch began.
    before: Stats,
    /// Beacons since the first that hellos were sent for, and when that was.
    beacons: u32,
    first_beacon: Option<Instant>,
    told: Option<Suspicion>,
}

impl LineSense {
    /// Bytes came, of whatever kind.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) {
        self.unseen += bytes.len();
        self.has_high |= bytes.iter().any(|byte| *byte >= 0x80);
    }

    /// Text came that belongs to no frame.
    pub(super) fn handle_text(&mut self, text: &[u8]) {
        let newest = &text[text.len().saturating_sub(WINDOW)..];
        self.text.extend(newest);
        self.text.drain(..self.text.len().saturating_sub(WINDOW));
    }

    /// A beacon came that hellos are sent for.
    pub(super) fn handle_beacon(&mut self, now: Instant) {
        self.first_beacon.get_or_insert(now);
        self.beacons = self.beacons.saturating_add(1);
    }

    /// A session is open, so all is well; or another boot begins.
    pub(super) fn begin_anew(&mut self, stats: &Stats, is_well: bool) {
        let told = self.told.filter(|_| !is_well);
        *self = Self { before: *stats, told, ..Self::default() };
    }

    /// A suspicion that was not told yet. To be asked after bytes came.
    pub(super) fn poll(&mut self, now: Instant, stats: &Stats) -> Option<Suspicion> {
        if self.unseen < LOOK_EVERY {
            return None;
        }
        self.unseen = 0;
        let found = self.suspicion(now, stats).filter(|found| self.told != Some(*found));
        self.told = found.or(self.told);
        found
    }

    /// What may be wrong, as far as can be told.
    pub(super) fn suspicion(&self, now: Instant, stats: &Stats) -> Option<Suspicion> {
        let has_frames = stats.frames_in > self.before.frames_in;
        let damaged = stats.damaged_frames.saturating_sub(self.before.damaged_frames);
        if damaged >= FRAMES_MIN && !has_frames && !self.has_high {
            // A text-safe frame has every data byte's top bit set. Without, its bytes pass for text.
            return Some(Suspicion::SevenBits);
        }
        if let Some(suspicion) = self.of_text() {
            return Some(suspicion);
        }
        let waited = self.first_beacon.map_or(Duration::ZERO, |first| now.since(first));
        if self.beacons >= BEACONS_MIN && waited >= BEACONS_TIME && !has_frames {
            return Some(Suspicion::Unheard);
        }
        // On a line without text all of the garbage passes for frames.
        let damaged = stats.damaged_bytes.saturating_sub(self.before.damaged_bytes);
        (damaged >= DAMAGED_MIN && !has_frames && self.beacons == 0)
            .then_some(Suspicion::WrongSpeed)
    }

    fn of_text(&self) -> Option<Suspicion> {
        let total = self.text.len();
        if total < TEXT_MIN {
            return None;
        }
        let text: Vec<u8> = self.text.iter().copied().collect();
        if garbage(&text) * GARBAGE_ONE_IN < total {
            return None;
        }
        let cleared: Vec<u8> = text.iter().map(|byte| byte & 0x7F).collect();
        let is_clean = garbage(&cleared) * CLEAN_ONE_IN < total && cleared.contains(&b'\n');
        Some(if is_clean { Suspicion::SevenBits } else { Suspicion::WrongSpeed })
    }
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongSpeed => "what comes does not look like text: is the baud rate right?",
            Self::SevenBits => {
                "the line has 7 data bits or parity, at its other end or on the way: set 8N1 (8 data bits, no parity, \
                 1 stop bit)"
            }
            Self::Unheard => {
                "beacons come, and no hello is answered: the board does not hear this host; look at the wire from TX \
                 to its RX, at flow control, and for 7 data bits on the way"
            }
        })
    }
}

/// Bytes that no console prints: what is not UTF-8, and control characters but those of lines and terminals.
fn garbage(text: &[u8]) -> usize {
    let is_odd = |c: &char| c.is_control() && !"\t\n\r\u{7}\u{8}\u{1b}".contains(*c);
    text.utf8_chunks()
        .map(|chunk| chunk.valid().chars().filter(is_odd).count() + chunk.invalid().len())
        .sum()
}

/// Bytes of text that are looked at, the last ones: some lines of a console.
const WINDOW: usize = 512;

/// Fewer bytes of text tell nothing: a power switch alone makes some dozens of garbage.
const TEXT_MIN: usize = 256;

/// Bytes between two looks.
const LOOK_EVERY: usize = 64;

/// Text of which so much is garbage is none: a fifth. Of a console's text it is less than 1 %, of text that was read at
/// another speed 29 % (at a third of its own) to 100 %, of random bytes 60 %.
const GARBAGE_ONE_IN: usize = 5;

/// Text is clean when less than 5 % of it is garbage, and has an end of line. Read at another speed and with its top bits
/// cleared it has 19 % and more, but for a third of its own speed: that gives 0 %, and never a line's end.
const CLEAN_ONE_IN: usize = 20;

/// Beacons without an answer: each is followed by hellos until the next one.
const BEACONS_MIN: u32 = 4;

/// ... over so long a time: four come in less than 4 s, and a host that has just opened its line may be late.
const BEACONS_TIME: Duration = Duration::from_secs(5);

/// Damaged frames without a top bit: one may be a mark in a text.
const FRAMES_MIN: u64 = 2;

/// Bytes that pass for damaged frames, with no whole one among them.
const DAMAGED_MIN: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[    0.000000] Booting Linux on physical CPU 0x0\r\n\
        [    0.000000] Linux version 6.1.0-18-armmp (debian-kernel@lists.debian.org)\r\n\
        [    0.000000] OF: fdt: Machine model: linux,dummy-virt\r\n\
        \u{1b}[0;32m  OK  \u{1b}[0m Reached target \u{1b}[0;1;39mbasic.target\u{1b}[0m – Basic System.\r\n";

    fn text() -> Vec<u8> {
        TEXT.repeat(8).into_bytes()
    }

    /// What a UART reads at one speed of bytes that were sent at another: it waits for a start bit and takes eight
    /// samples, whatever the line is at the place of the stop bit.
    fn sampled(bytes: &[u8], sent: f64, read: f64) -> Vec<u8> {
        let bits: Vec<bool> = bytes
            .iter()
            .flat_map(|byte| {
                let data = (0..8).map(move |bit| byte >> bit & 1 == 1);
                [false].into_iter().chain(data).chain([true])
            })
            .chain([true; 40])
            .collect();
        let level = |at: f64| bits.get((at * sent) as usize).copied();
        let (mut found, mut at, step) = (Vec::new(), 0.0, 1.0 / read.max(sent) / 16.0);
        while let Some(is_high) = level(at) {
            if is_high {
                at += step;
                continue;
            }
            let sample = |bit: u32| level(at + (f64::from(bit) + 1.5) / read).unwrap_or(true);
            found.push((0..8).fold(0, |byte, bit| byte | u8::from(sample(bit)) << bit));
            at += 9.5 / read;
            // The next start bit is an edge.
            while level(at) == Some(false) {
                at += step;
            }
        }
        found
    }

    fn suspicion_of(bytes: &[u8]) -> Option<Suspicion> {
        let mut sense = LineSense::default();
        for piece in bytes.chunks(100) {
            sense.handle_bytes(piece);
            sense.handle_text(piece);
        }
        sense.suspicion(Instant::ZERO, &Stats::default())
    }

    #[test]
    fn text_at_its_own_speed_is_text() {
        assert_eq!(sampled(&text(), 115_200.0, 115_200.0), text());
        assert_eq!(suspicion_of(&text()), None);
        assert_eq!(suspicion_of("╔═══ größer ═══╗\r\n".repeat(40).as_bytes()), None);
    }

    #[test]
    fn text_at_another_speed_is_none() {
        let speeds = [
            (115_200, 9_600),
            (9_600, 115_200),
            (115_200, 57_600),
            (57_600, 115_200),
            (115_200, 38_400),
            (38_400, 115_200),
            (115_200, 230_400),
            (1_500_000, 115_200),
            (115_200, 1_500_000),
        ];
        for (sent, read) in speeds {
            let bytes = sampled(&TEXT.repeat(60).into_bytes(), sent.into(), read.into());
            assert!(bytes.len() >= TEXT_MIN, "{sent} at {read}: {}", bytes.len());
            assert_eq!(suspicion_of(&bytes), Some(Suspicion::WrongSpeed), "{sent} at {read}");
        }
    }

    #[test]
    fn parity_in_the_top_bit_is_recognized() {
        let even = |byte: &u8| byte & 0x7F | ((byte & 0x7F).count_ones() as u8 & 1) << 7;
        let ascii: Vec<u8> = text().into_iter().filter(u8::is_ascii).collect();
        let with_parity: Vec<u8> = ascii.iter().map(even).collect();
        assert_eq!(suspicion_of(&with_parity), Some(Suspicion::SevenBits));
        let marked: Vec<u8> = ascii.iter().map(|byte| byte | 0x80).collect();
        assert_eq!(suspicion_of(&marked), Some(Suspicion::SevenBits));
    }

    #[test]
    fn little_is_not_judged_and_much_is_bounded() {
        assert_eq!(suspicion_of(&[0xFF; TEXT_MIN - 1]), None);
        let mut sense = LineSense::default();
        sense.handle_text(&[0xFF; 100_000]);
        assert_eq!(sense.text.len(), WINDOW);
        // What was garbage once does not count for ever.
        sense.handle_text(&text());
        assert_eq!(sense.of_text(), None);
    }

    #[test]
    fn a_suspicion_is_told_once_until_all_was_well() {
        let (mut sense, stats) = (LineSense::default(), Stats::default());
        let feed = |sense: &mut LineSense| {
            sense.handle_bytes(&[0x80; WINDOW]);
            sense.handle_text(&[0x80; WINDOW]);
            sense.poll(Instant::ZERO, &stats)
        };
        assert_eq!(feed(&mut sense), Some(Suspicion::WrongSpeed));
        assert_eq!(feed(&mut sense), None);
        sense.begin_anew(&stats, false);
        assert_eq!(feed(&mut sense), None);
        sense.begin_anew(&stats, true);
        assert_eq!(feed(&mut sense), Some(Suspicion::WrongSpeed));
    }

    #[test]
    fn frames_without_top_bits_and_lines_without_text() {
        let mut sense = LineSense::default();
        sense.handle_bytes(&[b'x'; 1000]);
        let damaged = Stats { damaged_frames: 3, damaged_bytes: 600, ..Stats::default() };
        assert_eq!(sense.suspicion(Instant::ZERO, &damaged), Some(Suspicion::SevenBits));
        sense.handle_bytes(&[0xE0]);
        assert_eq!(sense.suspicion(Instant::ZERO, &damaged), Some(Suspicion::WrongSpeed));
        let some = Stats { frames_in: 1, ..damaged };
        assert_eq!(sense.suspicion(Instant::ZERO, &some), None);
    }
}
