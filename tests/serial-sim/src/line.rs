//! One direction of a UART.

use crate::{Options, Rng, Text};
use std::collections::VecDeque;

/// Bytes that travel in virtual time; see the crate.
#[derive(Debug)]
pub struct Line {
    options: Options,
    /// The reader's speed, where it is not the writer's.
    read_baud: Option<u32>,
    rng: Rng,
    /// What is not on the line yet, one entry a write, with the time at which it was written.
    queue: VecDeque<(u64, VecDeque<u8>)>,
    /// The rest of a text that is just being printed.
    text: VecDeque<u8>,
    /// When the next text of [`Text::Every`] begins.
    text_at_ns: u64,
    /// Until when the line is taken.
    free_ns: u64,
    /// Bytes that the FIFO is still going to lose.
    burst: u64,
    /// What came through, with the time at which it is handed over.
    arrived: VecDeque<(u64, u8)>,
    inserted: Vec<u8>,
    counts: Counts,
}

/// What has happened on a line so far, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That were sent and went onto the line, or would have.
    pub sent: u64,
    /// Of text of others.
    pub inserted: u64,
    /// With a flipped bit.
    pub flipped: u64,
    /// That were lost, by whatever fault.
    pub lost: u64,
    /// That were handed over twice.
    pub duplicated: u64,
    /// That were read at another speed than they were written at.
    pub garbled: u64,
    /// Behind which the line stood still.
    pub stalls: u64,
}

impl Line {
    /// A line that is idle.
    pub fn new(options: Options, rng: Rng) -> Self {
        Self {
            options,
            read_baud: None,
            rng,
            queue: VecDeque::new(),
            text: VecDeque::new(),
            text_at_ns: 0,
            free_ns: 0,
            burst: 0,
            arrived: VecDeque::new(),
            inserted: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Queues bytes behind those that wait.
    pub fn send(&mut self, now_us: u64, bytes: &[u8]) {
        self.advance(now_us);
        if !bytes.is_empty() {
            self.queue.push_back((now_us * 1000, bytes.iter().copied().collect()));
        }
    }

    /// What has been handed over until `now_us`; nothing if the time of [`Self::next_arrival`] has not come. May be
    /// only the beginning of it when chunks are split.
    pub fn receive(&mut self, now_us: u64) -> Vec<u8> {
        self.advance(now_us);
        let due = self.arrived.iter().take_while(|(at_us, _)| *at_us <= now_us).count();
        let count = if self.options.is_split && due > 1 {
            self.rng.between(1, due as u64) as usize
        } else {
            due
        };
        let mut chunk: Vec<u8> = self.arrived.drain(..count).map(|(_, byte)| byte).collect();
        if !chunk.is_empty() && self.rng.one_in(self.options.duplicate_one_in) {
            let from = self.rng.below(count as u64) as usize;
            chunk.extend_from_within(from..);
            self.counts.duplicated += (count - from) as u64;
        }
        chunk
    }

    /// The speed and the faults from `now_us` on.
    pub fn set_options(&mut self, now_us: u64, options: Options) {
        self.advance(now_us);
        self.text_at_ns = self.text_at_ns.max(now_us * 1000);
        self.options = options;
    }

    /// The reader listens at this many bits per second from `now_us` on. What was written at another speed is garbage
    /// to it.
    pub fn set_read_baud(&mut self, now_us: u64, baud: u32) {
        self.advance(now_us);
        self.read_baud = Some(baud);
    }

    /// Power is off: everything that waits or is on its way is gone.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.text.clear();
        self.arrived.clear();
    }

    /// The sender's queue is thrown away, wherever in a write it was (`tcflush(3)`, or the sender was ended): what is
    /// through by `now_us` arrives, the rest never does.
    pub fn flush(&mut self, now_us: u64) {
        self.advance(now_us);
        self.queue.clear();
    }

    /// Nothing goes onto the line for so long.
    pub fn stall(&mut self, now_us: u64, for_us: u64) {
        self.advance(now_us);
        self.free_ns = self.free_ns.max(now_us * 1000) + for_us * 1000;
    }

    /// Others print this now, in the middle of what is being sent.
    pub fn insert(&mut self, now_us: u64, text: &[u8]) {
        self.advance(now_us);
        self.free_ns = self.free_ns.max(now_us * 1000);
        self.text.extend(text);
    }

    /// When [`Self::receive`] may have something, if nothing more is sent: never too late. (It has nothing then if a
    /// fault has eaten it.)
    pub fn next_arrival(&self) -> Option<u64> {
        if let Some((at_us, _)) = self.arrived.front() {
            return Some(*at_us);
        }
        self.next_start()
            .map(|(start_ns, _)| self.handed_over_us(start_ns + self.options.byte_ns()))
    }

    /// When the oldest write will have left the queue, if no text comes in between.
    pub fn next_drained(&self) -> Option<u64> {
        let (written_ns, bytes) = self.queue.front()?;
        let start_ns = self.free_ns.max(*written_ns);
        let bytes = (bytes.len() + self.text.len()) as u64;
        Some((start_ns + bytes * self.options.byte_ns()).div_ceil(1000))
    }

    /// Writes not yet completely on the line at `now_us`.
    pub fn queued_writes(&mut self, now_us: u64) -> usize {
        self.advance(now_us);
        self.queue.len()
    }

    /// Bytes not yet on the line at `now_us`.
    pub fn queued_bytes(&mut self, now_us: u64) -> usize {
        self.advance(now_us);
        self.queue.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// All text of others that has gone onto the line.
    pub fn inserted(&self) -> &[u8] {
        &self.inserted
    }

    /// Speed and faults.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What has happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Clocks out every byte that is through by `now_us`.
    fn advance(&mut self, now_us: u64) {
        let byte_ns = self.options.byte_ns();
        while let Some((start_ns, source)) = self.next_start() {
            if start_ns + byte_ns > now_us * 1000 {
                return;
            }
            if source == Source::NewText {
                let Text::Every { interval_us } = self.options.text else { return };
                self.text_at_ns = start_ns.max(self.text_at_ns + interval_us.max(1) * 1000);
                self.print(start_ns);
            }
            if start_ns > self.free_ns {
                // The line was idle, and a FIFO that overran has been read.
                self.burst = 0;
            }
            self.free_ns = start_ns + byte_ns;
            if source != Source::Queue {
                if let Some(byte) = self.text.pop_front() {
                    self.inserted.push(byte);
                    self.counts.inserted += 1;
                    self.carry(byte);
                }
                continue;
            }
            let Some((_, bytes)) = self.queue.front_mut() else { return };
            let byte = bytes.pop_front();
            if bytes.is_empty() {
                self.queue.pop_front();
            }
            if let Some(byte) = byte {
                self.counts.sent += 1;
                self.carry(byte);
            }
            let text_one_in = match self.options.text {
                Text::OneIn { bytes } => bytes,
                _ => 0,
            };
            if self.rng.one_in(text_one_in) {
                self.print(self.free_ns);
            }
        }
    }

    /// When the next byte goes onto the line, and whose it is. Text goes first: the kernel does not ask.
    fn next_start(&self) -> Option<(u64, Source)> {
        if !self.text.is_empty() {
            return Some((self.free_ns, Source::Text));
        }
        let queued = self
            .queue
            .front()
            .map(|(written_ns, _)| (self.free_ns.max(*written_ns), Source::Queue));
        let Text::Every { .. } = self.options.text else { return queued };
        let text_ns = self.free_ns.max(self.text_at_ns);
        match queued {
            Some((start_ns, _)) if start_ns < text_ns => queued,
            _ => Some((text_ns, Source::NewText)),
        }
    }

    fn print(&mut self, now_ns: u64) {
        let words = if self.options.is_utf8 { &UTF8_MESSAGES } else { &MESSAGES };
        let words = *self.rng.pick(words);
        let (seconds, micros) = (now_ns / 1_000_000_000, now_ns / 1000 % 1_000_000);
        self.text.extend(format!("[{seconds:5}.{micros:06}] {words}\r\n").bytes());
    }

    /// A byte is through, unless a fault strikes it.
    fn carry(&mut self, mut byte: u8) {
        if self.rng.one_in(self.options.burst_one_in) {
            self.burst = self.rng.between(1, self.options.burst_max);
        }
        let is_overrun = self.burst > 0;
        self.burst = self.burst.saturating_sub(1);
        if is_overrun || self.options.is_cut || self.rng.one_in(self.options.drop_one_in) {
            self.counts.lost += 1;
            return;
        }
        if let Some(baud) = self.read_baud.filter(|baud| !is_same_speed(*baud, self.options.baud)) {
            return self.garble(baud);
        }
        if self.rng.one_in(self.options.flip_one_in) {
            byte ^= 1 << self.rng.below(8);
            self.counts.flipped += 1;
        }
        self.arrived.push_back((self.handed_over_us(self.free_ns), byte));
        if self.rng.one_in(self.options.stall_one_in) {
            self.counts.stalls += 1;
            self.free_ns += self.rng.between(1, self.options.stall_max_us) * 1000;
        }
    }

    /// A fast reader takes every change of the line for a byte's beginning, a slow one sees several bytes as one.
    fn garble(&mut self, read_baud: u32) {
        self.counts.garbled += 1;
        let (read, written) = (u64::from(read_baud), u64::from(self.options.baud.max(1)));
        let count = if read > written {
            self.rng.between(1, (read / written).clamp(1, 5))
        } else {
            u64::from(self.rng.one_in((written / read.max(1)).max(2)))
        };
        let at_us = self.handed_over_us(self.free_ns);
        for _ in 0..count {
            let byte = self.rng.below(256) as u8;
            self.arrived.push_back((at_us, byte));
        }
    }

    fn handed_over_us(&self, through_ns: u64) -> u64 {
        let through_us = through_ns.div_ceil(1000);
        match self.options.latency_us {
            0 => through_us,
            latency_us => through_us.div_ceil(latency_us) * latency_us,
        }
    }
}

/// Whose byte goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Queue,
    Text,
    NewText,
}

/// What kernels say.
const MESSAGES: [&str; 6] = [
    "usb 1-1: new full-speed USB device number 42 using musb-hdrc",
    "EXT4-fs (mmcblk0p2): mounted filesystem with ordered data mode. Opts: (null)",
    "random: crng init done",
    "cpu cpu0: dev_pm_opp_set_rate: failed to find current OPP for freq 996000000 (-34)",
    "----------------[ cut here ]----------------",
    "x",
];

/// A UART bears about 2 % for each side.
fn is_same_speed(one: u32, other: u32) -> bool {
    one.abs_diff(other) <= one / 50
}
/// What programs say elsewhere. Letters of two, three and four bytes.
const UTF8_MESSAGES: [&str; 6] = [
    "Gerät nicht gefunden: »/dev/sda1« – größer als erwartet",
    "ошибка: устройство не найдено",
    "デバイスが見つかりません",
    "usb 1-1: Product: Ünïcödé Dîsk™",
    "🚀 ready",
    "ü",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn line(options: Options) -> Line {
        Line::new(options, Rng::new(7))
    }

    /// Everything that arrives until `until_us`.
    fn drain(line: &mut Line, until_us: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(at_us) = line.next_arrival().filter(|at_us| *at_us <= until_us) {
            bytes.extend(line.receive(at_us));
        }
        bytes
    }

    #[test]
    fn a_byte_takes_ten_bits() {
        let mut line = line(Options { latency_us: 0, ..Options::clean(9600) });
        line.send(0, b"ab");
        assert_eq!(line.next_arrival(), Some(1042));
        assert_eq!(line.receive(1041), b"");
        assert_eq!(line.receive(1042), b"a");
        assert_eq!((line.queued_writes(1042), line.queued_bytes(1042)), (1, 1));
        assert_eq!(line.next_drained(), Some(2084));
        assert_eq!(line.receive(2084), b"b");
        assert_eq!((line.next_arrival(), line.queued_writes(2084)), (None, 0));
    }

    #[test]
    fn the_adapter_hands_over_on_its_ticks() {
        let mut line = line(Options::clean(115_200));
        line.send(500, &[0; 20]);
        assert_eq!(line.next_arrival(), Some(1000));
        assert_eq!(line.receive(1000).len(), 5);
        assert_eq!(line.receive(2000).len(), 12);
    }

    #[test]
    fn text_cuts_in_and_is_recorded() {
        let mut line = line(Options::console(115_200, 20_000));
        line.send(2_000, &[0xFF; 2000]);
        let all = drain(&mut line, 400_000);
        let text: Vec<u8> = all.iter().copied().filter(|byte| *byte < 0x80).collect();
        assert!(text.len() > 500 && all.len() - text.len() == 2000);
        assert_eq!(text[..], line.inserted()[..text.len()]);
        assert!(text.starts_with(b"[    0.000000] "));
    }

    #[test]
    fn faults_strike_as_often_as_they_should() {
        let count = |options: Options| {
            let mut line = line(options);
            line.send(0, &[0; 100_000]);
            let bytes = drain(&mut line, u64::MAX);
            (bytes, line.counts())
        };
        let (bytes, counts) = count(Options::noisy(1_000_000, 1000));
        assert!((50..200).contains(&counts.flipped));
        assert_eq!(
            bytes.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>(),
            counts.flipped
        );
        let (bytes, counts) = count(Options::lossy(1_000_000, 1000));
        assert!((50..200).contains(&counts.lost) && bytes.len() as u64 == 100_000 - counts.lost);
        let (_, counts) = count(Options::overrun(1_000_000, 5000));
        assert!((100..2000).contains(&counts.lost));
        let (bytes, counts) = count(Options { is_cut: true, ..Options::clean(1_000_000) });
        assert_eq!((bytes.len(), counts.lost), (0, 100_000));
        let (bytes, counts) = count(Options { stall_one_in: 1000, ..Options::clean(1_000_000) });
        assert!((50..200).contains(&counts.stalls) && bytes.len() == 100_000);
        let options = Options { duplicate_one_in: 10, is_split: true, ..Options::clean(1_000_000) };
        let (bytes, counts) = count(options);
        assert!(counts.duplicated > 100);
        assert_eq!(bytes.len() as u64, 100_000 + counts.duplicated);
    }

    #[test]
    fn what_is_read_at_another_speed_is_garbage() {
        let sent = [0x55; 1000];
        for (read_baud, is_read) in
            [(115_200, true), (117_000, true), (921_600, false), (9600, false)]
        {
            let mut line = line(Options::clean(115_200));
            line.set_read_baud(0, read_baud);
            line.send(0, &sent);
            let bytes = drain(&mut line, 1_000_000);
            assert_eq!(bytes == sent, is_read, "{read_baud}");
            assert_eq!(line.counts().garbled, if is_read { 0 } else { 1000 });
        }
    }

    #[test]
    fn a_flush_cuts_a_write_anywhere_and_a_stall_holds_it_up() {
        let mut line = line(Options { latency_us: 0, ..Options::clean(9600) });
        line.send(0, b"abc");
        line.stall(1042, 5_000);
        assert_eq!(line.receive(6_000), b"a");
        line.flush(7_200);
        assert_eq!(drain(&mut line, u64::MAX), b"b");
        assert_eq!(line.queued_writes(7_200), 0);
    }

    #[test]
    fn text_may_have_bytes_that_frames_have() {
        let mut line = line(Options { is_utf8: true, ..Options::console(115_200, 20_000) });
        let all = drain(&mut line, 400_000);
        let text = String::from_utf8(all[..line.inserted().len()].to_vec()).unwrap();
        assert!(text.lines().count() > 10 && !text.is_ascii(), "{text}");
    }

    #[test]
    fn a_seed_says_everything() {
        let run = || {
            let mut line = line(Options::hostile(115_200, 50));
            line.send(0, &[0x55; 2000]);
            drain(&mut line, 1_000_000)
        };
        assert_eq!(run(), run());
    }
}
