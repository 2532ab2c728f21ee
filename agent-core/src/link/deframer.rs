//! Bytes in; frames, beacons and console text out.
//!
//! Both decoders run side by side on every byte, so that there is no mode to be stuck in: whatever came before, a
//! whole text-safe frame is always read as one, and a whole binary frame between two zeros as well. What belongs to
//! no frame is console text and comes out byte for byte, in order. Bytes of frames that turn out damaged are counted
//! and not shown: they are no text. So every byte is console text, frame, or damaged: none is lost without a trace.
//!
//! A binary frame carries any bytes, those of a beacon or of a text-safe frame too (somebody fetches a log of this very
//! line). So in a session ([`Deframer::set_guarded`]) what begins inside of a stretch between zeros is not read as
//! either. Without a session it is: noise may have left a zero.
//!
//! Where the peer may write binary frames ([`Deframer::binary`]), a stretch between zeros is held back only while it
//! can still be a frame: the second byte of every frame from a board has its top bit set.

use super::beacon::{BEACON_MAX, Beacon};
use super::coding::{CLOSE, COBS_MAX, OPEN, SymbolReader, ZERO, decode_cobs};
use super::frame::{CONTENT_MAX, Numbers, is_whole};
use super::stats::Stats;
use heapless::Vec;

/// Something found in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The content of a frame whose check value is right is in [`Deframer::content`].
    Content,
    /// A line of text said something.
    Said(Said),
}

/// What a line of text can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A beacon.
    Beacon(Beacon),
    /// A beacon of this later version.
    LaterBeacon(u8),
}

impl Said {
    /// What the line says, if anything.
    pub(super) fn find(line: &[u8]) -> Option<Self> {
        let later = || Beacon::find_later(line).map(Self::LaterBeacon);
        Beacon::find(line).map(Self::Beacon).or_else(later)
    }
}

/// Reads one direction of a line.
#[derive(Debug)]
pub(super) struct Deframer {
    /// Binary frames are looked for.
    binary: bool,
    /// Bytes between zeros are console text when they are no frame; the host's end of a UART without console, where
    /// nothing else tells them apart.
    hold_back: bool,
    /// Reads a line of text.
    find: fn(&[u8]) -> Option<Said>,
    /// A session is open: only binary frames are believed inside of a segment.
    is_guarded: bool,
    /// Where the open session's numbers stand.
    numbers: Numbers,
    text: Vec<u8, CONTENT_MAX>,
    symbols: SymbolReader,
    is_text_open: bool,
    /// The open text-safe frame, if it is one, began inside of a segment.
    is_text_inside: bool,
    /// Bytes of the open text-safe frame: those in the segment, and the others.
    text_held: usize,
    text_free: usize,
    segment: Vec<u8, COBS_MAX>,
    segment_state: Segment,
    line: Vec<u8, BEACON_MAX>,
    content: Vec<u8, CONTENT_MAX>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    /// No zero seen since it was last found to be no frame.
    Outside,
    /// Bytes since the zero that closed a frame; the zero that opens the next one is due, but it may be lost.
    Between,
    /// Bytes since another zero.
    Inside,
}

impl Deframer {
    pub(super) fn new(binary: bool, hold_back: bool, find: fn(&[u8]) -> Option<Said>) -> Self {
        Self {
            binary,
            hold_back,
            find,
            is_guarded: false,
            numbers: Numbers::default(),
            text: Vec::new(),
            symbols: SymbolReader::default(),
            is_text_open: false,
            is_text_inside: false,
            text_held: 0,
            text_free: 0,
            segment: Vec::new(),
            segment_state: Segment::Outside,
            line: Vec::new(),
            content: Vec::new(),
        }
    }

    /// Whether a frame has begun and not ended, as far as can be told.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.is_text_open || !self.segment.is_empty()
    }

    /// The content last found.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Bytes taken that are neither shown nor counted yet: of a frame that has begun.
    pub(super) fn held(&self) -> usize {
        self.segment.len() + self.text_free
    }

    /// From now on binary frames are looked for too, or no longer.
    pub(super) fn set_binary(&mut self, binary: bool, stats: &mut Stats) {
        self.binary = binary;
        self.hold_back = binary;
        self.drop_segment(0, stats);
    }

    /// A session is open, or is over.
    pub(super) fn set_guarded(&mut self, is_guarded: bool) {
        self.is_guarded = is_guarded;
    }

    /// Where the numbers of the open session stand.
    pub(super) fn set_numbers(&mut self, numbers: Numbers) {
        self.numbers = numbers;
    }

    /// Takes one byte.
    pub(super) fn push(
        &mut self,
        byte: u8,
        stats: &mut Stats,
        console: &mut dyn FnMut(&[u8]),
    ) -> Option<Found> {
        if self.binary {
            let is_held = self.segment_state != Segment::Outside || byte == ZERO;
            if self.push_binary(byte, stats, console) {
                // What looked like text in it was data.
                self.is_text_open = false;
                stats.damaged_bytes += self.take_text_free();
                self.line.clear();
                return Some(Found::Content);
            }
            if is_held {
                // A text-safe frame may still come, also between zeros.
                return self.push_text(byte, true, stats);
            }
        }
        let was_open = self.is_text_open;
        let found = self.push_text(byte, false, stats);
        let is_frame_byte = byte == OPEN || was_open && (byte >= 0x80 || byte == CLOSE);
        if !is_frame_byte {
            stats.console_bytes += 1;
            console(&[byte]);
        }
        found
    }

    /// Takes a byte for the text-safe decoder. `is_held`: the segment has it, too.
    fn push_text(&mut self, byte: u8, is_held: bool, stats: &mut Stats) -> Option<Found> {
        let (held, free) = (usize::from(is_held), usize::from(!is_held));
        match byte {
            OPEN => {
                if self.is_text_open && !self.is_text_inside {
                    stats.damaged_frames += 1;
                }
                stats.damaged_bytes += self.take_text_free();
                (self.is_text_open, self.text_held, self.text_free) = (true, held, free);
                // No binary frame begins as a text-safe one does: its second byte tells.
                self.is_text_inside = self.is_inside() && self.segment.len() > 1;
                self.text.clear();
                self.symbols = SymbolReader::default();
                None
            }
            CLOSE if self.is_text_open => {
                self.is_text_open = false;
                self.text_held += held;
                self.text_free += free;
                let free = self.take_text_free();
                let is_data = self.is_text_inside && self.is_guarded;
                if self.symbols.is_complete() && is_whole(&self.text, &self.numbers) && !is_data {
                    stats.frame_bytes += free;
                    self.drop_segment(self.text_held, stats);
                    core::mem::swap(&mut self.content, &mut self.text);
                    return Some(Found::Content);
                }
                stats.damaged_bytes += free;
                if !self.is_text_inside {
                    stats.damaged_frames += 1;
                }
                None
            }
            0x80.. if self.is_text_open => {
                self.text_held += held;
                self.text_free += free;
                if self.symbols.push(byte).is_some_and(|byte| self.text.push(byte).is_err()) {
                    if !self.is_text_inside {
                        stats.overlong += 1;
                    }
                    self.is_text_open = false;
                    stats.damaged_bytes += self.take_text_free();
                }
                None
            }
            _ => self.push_line(byte),
        }
    }

    fn push_line(&mut self, byte: u8) -> Option<Found> {
        if byte != b'\r' && byte != b'\n' {
            if self.line.push(byte).is_err() {
                // Keep the newer half: a beacon may stand at the end of a long line.
                let keep = self.line.len() / 2;
                self.line.copy_within(keep.., 0);
                self.line.truncate(self.line.len() - keep);
                let _ = self.line.push(byte);
            }
            return None;
        }
        let said = (self.find)(&self.line);
        self.line.clear();
        said.filter(|_| !(self.is_inside() && self.is_guarded)).map(Found::Said)
    }

    /// Bytes of the text-safe frame that just ended, or is given up, which nobody else counts.
    fn take_text_free(&mut self) -> u64 {
        core::mem::take(&mut self.text_free) as u64
    }

    /// What the segment holds is neither shown nor a frame, but for so many bytes of one.
    fn drop_segment(&mut self, of_frame: usize, stats: &mut Stats) {
        let of_frame = of_frame.min(self.segment.len());
        stats.frame_bytes += of_frame as u64;
        stats.damaged_bytes += (self.segment.len() - of_frame) as u64;
        self.clear_segment(Segment::Outside);
    }

    fn clear_segment(&mut self, state: Segment) {
        self.segment.clear();
        self.segment_state = state;
        self.text_held = 0;
    }

    fn is_inside(&self) -> bool {
        self.binary && self.segment_state == Segment::Inside
    }

    /// Takes a byte for the binary decoder; `true` when it completed a frame.
    fn push_binary(&mut self, byte: u8, stats: &mut Stats, console: &mut dyn FnMut(&[u8])) -> bool {
        if byte == ZERO {
            let is_held = self.segment_state != Segment::Outside && !self.segment.is_empty();
            let is_frame = is_held && self.take_segment();
            if is_held && !is_frame {
                stats.damaged_frames += 1;
                self.release(stats, console);
            }
            if is_frame {
                stats.frame_bytes += self.segment.len() as u64;
            }
            stats.frame_bytes += 1;
            self.clear_segment(if is_frame { Segment::Between } else { Segment::Inside });
            return is_frame;
        }
        if self.segment_state == Segment::Outside {
            return false;
        }
        let is_full = self.segment.push(byte).is_err();
        let is_text = self.hold_back && self.segment.len() == 2 && byte < 0x80;
        if is_full || is_text {
            if is_full {
                stats.overlong += 1;
            }
            self.release(stats, console);
            match (is_full, self.hold_back) {
                (true, true) => {
                    stats.console_bytes += 1;
                    console(&[byte]);
                }
                (true, false) => stats.damaged_bytes += 1,
                (false, _) => {}
            }
            self.clear_segment(Segment::Outside);
        }
        false
    }

    /// What was held back is text after all.
    fn release(&self, stats: &mut Stats, console: &mut dyn FnMut(&[u8])) {
        if self.hold_back {
            stats.console_bytes += self.segment.len() as u64;
            console(&self.segment);
        } else {
            stats.damaged_bytes += self.segment.len() as u64;
        }
    }

    fn take_segment(&mut self) -> bool {
        // Decoding is in place and must not spoil what may turn out to be text.
        let mut decoded: Vec<u8, COBS_MAX> = self.segment.clone();
        let Some(length) = decode_cobs(&mut decoded) else { return false };
        if length > CONTENT_MAX || !is_whole(&decoded[..length], &self.numbers) {
            return false;
        }
        self.content.clear();
        self.content.extend_from_slice(&decoded[..length]).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::coding::{Coding, LINE_MAX, encode};
    use super::super::frame::{Frame, Kind};
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec as StdVec;

    /// Everything that comes out of a deframer: contents, and console text. Every byte is accounted for.
    fn read(deframer: &mut Deframer, bytes: &[u8]) -> (StdVec<StdVec<u8>>, StdVec<u8>, Stats) {
        let (mut contents, mut text, mut stats) = (StdVec::new(), StdVec::new(), Stats::default());
        for byte in bytes {
            let found =
                deframer.push(*byte, &mut stats, &mut |bytes| text.extend_from_slice(bytes));
            if found == Some(Found::Content) {
                contents.push(deframer.content().to_vec());
            }
        }
        assert_eq!(stats.console_bytes, text.len() as u64);
        (contents, text, stats)
    }

    fn frame(coding: Coding, body: &[u8]) -> (StdVec<u8>, StdVec<u8>) {
        let frame =
            Frame { kind: Kind::Data, from_board: true, tag: 1, ack: 2, sack: None, seq: 3, body };
        let mut content = [0; CONTENT_MAX];
        let length = frame.emit(&mut content);
        let mut line = [0; LINE_MAX];
        let used = encode(coding, &content[..length], &mut line);
        (content[..length].to_vec(), line[..used].to_vec())
    }

    #[test]
    fn text_inside_a_text_safe_frame_comes_out_and_the_frame_survives() {
        let (content, line) = frame(Coding::TextSafe, b"some body\x00\xff");
        let text = b"\r\n[   12.345678] usb 1-1: new device\r\n";
        for at in 0..=line.len() {
            let mut bytes = line[..at].to_vec();
            bytes.extend_from_slice(text);
            bytes.extend_from_slice(&line[at..]);
            let (contents, console, stats) =
                read(&mut Deframer::new(false, false, Said::find), &bytes);
            assert_eq!(
                (contents.as_slice(), console.as_slice()),
                (core::slice::from_ref(&content), &text[..])
            );
            assert_eq!(stats.damaged_frames, 0);
        }
    }

    #[test]
    fn the_board_reads_either_coding_behind_any_garbage() {
        let (content, text_safe) = frame(Coding::TextSafe, b"a");
        let (_, binary) = frame(Coding::Binary, b"a");
        for garbage in
            [&b"\x00\x05abc"[..], b"\x1e\x80\x81", b"\x00\x1e\xff", b"hello\r\n", b"\x00"]
        {
            for line in [&text_safe, &binary] {
                let bytes = [garbage, line].concat();
                let (contents, ..) = read(&mut Deframer::new(true, false, Said::find), &bytes);
                assert_eq!(contents, core::slice::from_ref(&content), "{garbage:?}");
            }
        }
    }

    #[test]
    fn on_a_uart_of_our_own_text_of_a_boot_loader_is_shown_at_once() {
        let (content, binary) = frame(Coding::Binary, b"abc");
        let mut deframer = Deframer::new(true, true, Said::find);
        let (contents, text, _) = read(&mut deframer, &[&binary[..], b"U-Boot 2023"].concat());
        assert_eq!((contents, text.as_slice()), (StdVec::from([content]), &b"U-Boot 2023"[..]));
    }

    #[test]
    fn data_that_looks_like_a_frame_or_a_beacon_is_data() {
        let (_, hello) = frame(Coding::TextSafe, b"hello");
        let beacon = Beacon { boot_id: [7; 16], nonce: 1, role: 0, coding: Coding::Binary };
        let line = beacon.to_line();
        let body = [&b"abc"[..], &hello, line.as_bytes(), &hello].concat();
        let (content, binary) = frame(Coding::Binary, &body);
        for hold_back in [false, true] {
            let mut deframer = Deframer::new(true, hold_back, Said::find);
            deframer.set_guarded(true);
            let (contents, text, stats) = read(&mut deframer, &[&binary[..], &binary].concat());
            assert_eq!(contents, [content.clone(), content.clone()]);
            assert_eq!((text.len(), stats.damaged_frames, stats.damaged_bytes), (0, 0, 0));
            // Between frames it is none.
            let (contents, ..) = read(&mut deframer, &hello);
            assert_eq!(contents.len(), 1);
        }
    }

    proptest! {
        #[test]
        fn no_byte_that_is_no_frame_is_lost(text in "[ -~\r\n]{0,300}", cut in 0usize..100) {
            let (content, line) = frame(Coding::TextSafe, b"0123456789");
            let cut = cut % text.len().max(1);
            let (before, after) = text.as_bytes().split_at(cut.min(text.len()));
            let bytes = [before, &line, after].concat();
            let (contents, console, _) = read(&mut Deframer::new(false, false, Said::find), &bytes);
            prop_assert_eq!(contents, [content]);
            prop_assert_eq!(console, text.as_bytes());
        }

        #[test]
        fn every_byte_is_accounted_for(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0u8), Just(0x1Eu8), Just(0x1Fu8), 0x80u8..], 0..3000,
            ),
            binary: bool, hold_back: bool, guarded: bool, cut in 0usize..40,
        ) {
            let mut deframer = Deframer::new(binary, binary && hold_back, Said::find);
            deframer.set_guarded(guarded);
            let (_, line) = frame(if binary { Coding::Binary } else { Coding::TextSafe }, b"abc");
            let bytes = [&bytes[..], &line[..cut.min(line.len())], &bytes].concat();
            let (_, _, stats) = read(&mut deframer, &bytes);
            let counted = stats.console_bytes + stats.frame_bytes + stats.damaged_bytes;
            prop_assert_eq!(counted + deframer.held() as u64, bytes.len() as u64);
        }

        #[test]
        fn garbage_never_blocks_a_frame_for_good(
            garbage in proptest::collection::vec(any::<u8>(), 0..2000), binary: bool, hold_back: bool,
        ) {
            let coding = if binary { Coding::Binary } else { Coding::TextSafe };
            let (content, line) = frame(coding, b"after all");
            let mut deframer = Deframer::new(binary, binary && hold_back, Said::find);
            read(&mut deframer, &garbage);
            let (contents, ..) = read(&mut deframer, &line);
            prop_assert_eq!(contents, [content]);
        }
    }
}
