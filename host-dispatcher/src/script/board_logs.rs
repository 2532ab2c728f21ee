//! The board's own logs, live and from its files: the kernel's, and what user space printed to /dev/console.
//!
//! Live is a view and the file the truth, so both bring the same lines; here it is known which are on the timeline.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use agent_core::wire::record::{Record, TEXT_MAX};

/// A line of the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelLine {
    /// The kernel's time, µs.
    pub board_us: u64,
    /// Facility << 3 | level.
    pub priority: u8,
    /// The record's number, where it is known.
    pub sequence: Option<u64>,
    /// So many records are missing here for good, and there is no text.
    pub lost: Option<u64>,
    /// The text, without /dev/kmsg's escapes.
    pub text: String,
}

/// The kernel lines of one boot.
#[derive(Debug, Default)]
pub struct KernelLines {
    /// How often a line came live, and how often it was read in the file since.
    seen: HashMap<(u64, u64), (u32, u32)>,
    /// A record of which there may be more.
    partial: Option<(KernelLine, Vec<u8>)>,
    next: u64,
}

impl KernelLines {
    /// The first record that has not come.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// A live record. Returns the lines that are complete with it; of a long one whose end found no room on the line none,
    /// unless `has_file` is false: there is no other place to read it from.
    pub fn take_record(&mut self, record: &Record<'_>, has_file: bool) -> Vec<KernelLine> {
        let mut complete = Vec::new();
        if let Some((line, text)) = &mut self.partial
            && line.sequence == Some(record.sequence)
            && record.source == Record::KERNEL
        {
            text.extend_from_slice(record.text);
        } else if record.sequence < self.next {
            // An agent that was started anew reads the log from its beginning.
            return Vec::new();
        } else {
            complete.extend(self.partial.take().filter(|_| !has_file));
            self.next = self.next.max(record.sequence.saturating_add(1));
            let line = KernelLine {
                board_us: record.board_us,
                priority: record.priority,
                sequence: Some(record.sequence),
                lost: (record.source == Record::KERNEL_GAP).then_some(record.count),
                text: String::new(),
            };
            self.partial = Some((line, record.text.to_vec()));
        }
        let is_longest = |text: &[u8]| text.len() >= KERNEL_TEXT_MAX;
        if record.text.len() < TEXT_MAX
            || self.partial.as_ref().is_some_and(|(_, text)| is_longest(text))
        {
            complete.extend(self.partial.take());
        }
        let mut lines = Vec::new();
        for (line, text) in complete {
            let line = finish(line, &text);
            let key = key(&line);
            if self.seen.len() < SEEN_MAX || self.seen.contains_key(&key) {
                self.seen.entry(key).or_default().0 += 1;
            }
            lines.push(line);
        }
        lines
    }

    /// A line of the board's `kernel.log`, if it is one and did not come live. `before` is the one before it.
    pub fn take_file_line(
        &mut self,
        line: &str,
        before: Option<&KernelLine>,
    ) -> Option<(KernelLine, bool)> {
        let line = match parse_gap(line) {
            Some(lost) => KernelLine {
                board_us: before.map_or(0, |before| before.board_us),
                priority: 0,
                sequence: None,
                lost: Some(lost),
                text: gap_text(lost),
            },
            None => {
                let (priority, board_us, text) = parse_kernel_line(line)?;
                let line = KernelLine {
                    board_us,
                    priority,
                    sequence: None,
                    lost: None,
                    text: String::new(),
                };
                finish(line, text.as_bytes())
            }
        };
        let is_tracked = self.seen.len() < SEEN_MAX;
        let (live, in_file) = match self.seen.get_mut(&key(&line)) {
            Some(seen) => seen,
            None if is_tracked => self.seen.entry(key(&line)).or_default(),
            // It may have come live; the file has it in any case.
            None => return Some((line, false)),
        };
        *in_file += 1;
        let is_new = *in_file > *live;
        if is_new {
            // So that reading the file a second time adds nothing.
            *live = *in_file;
        }
        Some((line, is_new))
    }

    /// The file is read from its beginning.
    pub fn begin_file(&mut self) {
        self.seen.values_mut().for_each(|(_, in_file)| *in_file = 0);
    }
}

/// What of the user console is on the timeline.
#[derive(Debug, Default)]
pub struct UserConsole {
    next: u64,
    line: Vec<u8>,
}

impl UserConsole {
    /// Bytes before this one are on the timeline or in the unfinished line.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes from `offset` on. Returns the lines that end in them. Behind a gap nothing is taken if there is a file, which
    /// brings it all in order; else the line before it is cut there.
    pub fn take(&mut self, offset: u64, bytes: &[u8], has_file: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if offset != self.next {
            if has_file {
                return lines;
            }
            lines.extend(self.finish());
        }
        self.next = offset.saturating_add(bytes.len() as u64);
        for byte in bytes {
            if *byte == b'\n' || self.line.len() >= CONSOLE_LINE_MAX {
                lines.push(self.text());
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
        lines
    }

    /// The unfinished line, if there is one.
    pub fn finish(&mut self) -> Option<String> {
        (!self.line.is_empty()).then(|| self.text())
    }

    fn text(&mut self) -> String {
        let line = std::mem::take(&mut self.line);
        let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        String::from_utf8_lossy(&line[..end]).into_owned()
    }
}

/// How a gap stands in a `kernel.log`.
pub fn gap_text(lost: u64) -> String {
    format!("-- {lost} records lost --")
}

/// `-- 7 records lost --`
fn parse_gap(line: &str) -> Option<u64> {
    line.strip_prefix("-- ")?.strip_suffix(" records lost --")?.parse().ok()
}

/// `<6>[    1.234567] text`
fn parse_kernel_line(line: &str) -> Option<(u8, u64, &str)> {
    let (priority, rest) = line.strip_prefix('<')?.split_once(">[")?;
    let (time, text) = rest.split_once("] ")?;
    let (seconds, micros) = time.trim_start().split_once('.')?;
    let board_us =
        seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?;
    Some((priority.parse().ok()?, board_us, text))
}

/// The text as the program printed it. /dev/kmsg writes control characters, everything beyond ASCII and the backslash as
/// `\xNN` (the kernel's Documentation/ABI/testing/dev-kmsg), and so do the wire and the board's file.
fn unescape(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after {
            [b'x', high, low, ..] if *first == b'\\' => {
                let digit = |byte: &u8| (*byte as char).to_digit(16);
                digit(high).zip(digit(low)).map(|(high, low)| (high << 4 | low) as u8)
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn finish(line: KernelLine, text: &[u8]) -> KernelLine {
    let text = line.lost.map_or_else(|| unescape(text), gap_text);
    KernelLine { text, ..line }
}

/// Two lines that are equal in this are told apart by counting.
fn key(line: &KernelLine) -> (u64, u64) {
    let mut hasher = DefaultHasher::new();
    (line.lost.map_or(line.priority, |_| 0), &line.text).hash(&mut hasher);
    // The time of a gap is that of the record behind it, which the file does not tell.
    (if line.lost.is_some() { u64::MAX } else { line.board_us }, hasher.finish())
}

/// Longer than any record of a kernel: 1 KiB of text, each byte of which may be escaped.
const KERNEL_TEXT_MAX: usize = 8192;

/// Lines of a boot that are told apart; of more, those of the file are left out of the timeline.
const SEEN_MAX: usize = 1 << 20;

/// A longer line of the user console becomes several.
const CONSOLE_LINE_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(source: u8, sequence: u64, text: &[u8]) -> Record<'_> {
        let count = if source == Record::KERNEL_GAP { 7 } else { 0 };
        Record { source, priority: 30, test: 0, board_us: 5, sequence, text, count }
    }

    fn texts(lines: Vec<KernelLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    fn new_in_file(lines: &mut KernelLines, line: &str) -> bool {
        lines.take_file_line(line, None).unwrap().1
    }

    #[test]
    fn kernel_lines_of_the_board_are_read() {
        assert_eq!(
            parse_kernel_line("<6>[   12.000345] usb 1-1: new device"),
            Some((6, 12_000_345, "usb 1-1: new device"))
        );
        for bad in ["", "usb", "<6>[x] y", "<6>[99999999999999999999.1] z", "<900>[1.1] a"] {
            assert_eq!(parse_kernel_line(bad), None, "{bad}");
            assert_eq!(KernelLines::default().take_file_line(bad, None), None, "{bad}");
        }
        assert_eq!(parse_gap("-- 12 records lost --"), Some(12));
        assert_eq!(parse_gap("-- x records lost --"), None);
    }

    #[test]
    fn a_line_stands_on_the_timeline_as_often_as_it_was_printed() {
        let mut lines = KernelLines::default();
        let live = lines.take_record(&record(Record::KERNEL, 3, b"twice"), true);
        assert_eq!(texts(live), ["twice"]);
        let line = "<30>[    0.000005] twice";
        assert!(!new_in_file(&mut lines, line));
        assert!(new_in_file(&mut lines, line), "the second one did not come live");
        assert!(new_in_file(&mut lines, line), "nor did the third");
        lines.begin_file();
        assert!(!new_in_file(&mut lines, line));
        assert!(new_in_file(&mut lines, "<31>[    0.000005] twice"), "another priority");
    }

    #[test]
    fn a_long_record_is_one_line_and_a_cut_one_is_left_to_the_file() {
        let long = [b'x'; TEXT_MAX];
        for has_file in [true, false] {
            let mut lines = KernelLines::default();
            assert_eq!(lines.take_record(&record(Record::KERNEL, 1, &long), has_file), []);
            let whole = lines.take_record(&record(Record::KERNEL, 1, b"end"), has_file);
            assert_eq!(texts(whole), ["x".repeat(TEXT_MAX) + "end"]);
            lines.take_record(&record(Record::KERNEL, 2, &long), has_file);
            let cut = texts(lines.take_record(&record(Record::KERNEL, 3, b"next"), has_file));
            assert_eq!(
                (cut.len(), cut.last().unwrap().as_str()),
                (2 - usize::from(has_file), "next")
            );
        }
    }

    #[test]
    fn a_gap_is_told_once() {
        let mut lines = KernelLines::default();
        let gap = lines.take_record(&record(Record::KERNEL_GAP, 3, b""), true);
        assert_eq!((gap[0].lost, gap[0].text.as_str()), (Some(7), "-- 7 records lost --"));
        assert!(!new_in_file(&mut lines, "-- 7 records lost --"));
        assert!(new_in_file(&mut lines, "-- 8 records lost --"));
    }

    #[test]
    fn escapes_of_kmsg_are_what_was_printed() {
        for (escaped, text) in [
            (r"a\x5cb\x0ac", "a\\b\nc"),
            (r"gr\xc3\xbcn", "grün"),
            (r"\xff", "\u{fffd}"),
            (r"\x4", r"\x4"),
            (r"\xzz", r"\xzz"),
            ("\\", "\\"),
        ] {
            assert_eq!(unescape(escaped.as_bytes()), text);
        }
    }

    #[test]
    fn the_user_console_becomes_lines_and_a_gap_is_left_to_the_file() {
        let mut console = UserConsole::default();
        assert_eq!(console.take(0, b"[  OK  ] one\r\ntw", true), ["[  OK  ] one"]);
        assert_eq!(console.take(20, b"later\n", true), [""; 0]);
        assert_eq!((console.take(16, b"o\n", true), console.next()), (vec!["two".to_owned()], 18));
        assert_eq!(console.take(30, b"x\ny", false), ["x"]);
        assert_eq!(console.take(40, b"z\n", false), ["y", "z"]);
        assert_eq!(console.finish(), None);
    }
}
