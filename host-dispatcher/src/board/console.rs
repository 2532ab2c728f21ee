//! The text on a line between the frames: lines, the banners in them, and the last of it for whoever asks what happened.
//!
//! Nothing is decided here: [`Console`] says what it saw. All of it is bounded, whatever a board sends.

use std::collections::VecDeque;

use super::expect::{Matcher, Patterns};
use super::spec::BoardSpec;

/// Whose text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsoleSource {
    /// The board's, while the boot loader had the line.
    BootLoader,
    /// The board's, at any other time.
    Console,
    /// What the dispatcher typed at the boot loader.
    Typed,
    /// What came on the agent's own line and belongs to no frame.
    AgentLine,
}

impl ConsoleSource {
    /// Whether the board wrote it on its console line.
    pub fn is_console(self) -> bool {
        matches!(self, Self::BootLoader | Self::Console)
    }
}

/// Something that the text shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A boot loader began.
    BootLoader,
    /// A kernel began.
    Kernel,
    /// A kernel panics; its line is still being written.
    Panic,
    /// ... and here is the line.
    PanicLine(String),
}

/// The reader of one line's text.
#[derive(Clone, Debug)]
pub struct Console {
    patterns: Patterns,
    boot_loader_len: usize,
    kernel_len: usize,
    matcher: Matcher,
    line: LineBuffer,
    line_bytes: usize,
    in_panic: bool,
    tail: VecDeque<u8>,
}

impl Console {
    /// A reader that knows the banners and panics of a board.
    pub fn new(spec: &BoardSpec) -> Self {
        // A type that does not know its board's boot loader may have the most common one all the same: what would be
        // sent again to an agent that is gone must not stop its countdown.
        let banner =
            spec.boot_loader.as_ref().map_or(USUAL_BANNER, |known| known.banner.as_bytes());
        // An index into the patterns says what was found: 0 boot loader, 1 kernel, more: panics.
        let fixed = [banner, spec.kernel_banner.as_bytes()];
        let panics = spec.panics.iter().map(String::as_bytes);
        Self {
            patterns: Patterns::new(fixed.into_iter().chain(panics)),
            boot_loader_len: banner.len(),
            kernel_len: spec.kernel_banner.len(),
            matcher: Matcher::default(),
            line: LineBuffer::new(),
            line_bytes: 0,
            in_panic: false,
            tail: VecDeque::new(),
        }
    }

    /// Takes the next byte of text.
    pub fn push(&mut self, byte: u8) -> Option<Note> {
        if self.tail.len() == TAIL_BYTES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(byte);
        let ended = self.line.push(byte);
        self.line_bytes = if ended { 0 } else { self.line_bytes + 1 };
        if ended {
            return std::mem::take(&mut self.in_panic)
                .then(|| Note::PanicLine(self.line.last().trim().to_owned()));
        }
        match self.patterns.step(&mut self.matcher, byte)? {
            0 => self.is_line_start(self.boot_loader_len, false).then_some(Note::BootLoader),
            1 => self.is_line_start(self.kernel_len, true).then_some(Note::Kernel),
            _ if self.in_panic => None,
            _ => {
                self.in_panic = true;
                Some(Note::Panic)
            }
        }
    }

    /// The line as far as it came, without terminal escapes.
    pub fn line(&self) -> &str {
        self.line.text()
    }

    /// Bytes that came since the last line end.
    pub fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// The panic's line as far as it came, if it was not ended.
    pub fn take_panic_line(&mut self) -> Option<String> {
        std::mem::take(&mut self.in_panic).then(|| self.line.text().trim().to_owned())
    }

    /// The last text, at most [`TAIL_BYTES_MAX`] bytes of it.
    pub fn tail(&self) -> String {
        let (front, back) = self.tail.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }

    /// Whether nothing but (for a kernel) a timestamp stands before the last `length` bytes of the line. A banner that
    /// somebody quotes in the middle of a line is none.
    fn is_line_start(&self, length: usize, has_timestamp: bool) -> bool {
        let text = self.line.text();
        let before = text.get(..text.len().saturating_sub(length)).unwrap_or(text).trim();
        before.is_empty() || has_timestamp && is_timestamp(before)
    }
}

/// A line under construction: printable characters only, without terminal escapes, backspaces carried out.
///
/// Of a line longer than [`LINE_BYTES_MAX`] the rest is dropped.
#[derive(Clone, Debug, Default)]
pub struct LineBuffer {
    text: String,
    last: String,
    escape: Escape,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Began,
    /// Its last byte so far.
    Sequence(u8),
}

impl LineBuffer {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next byte; `true` when it ended a line, which [`Self::last`] then has.
    pub fn push(&mut self, byte: u8) -> bool {
        match (self.escape, byte) {
            (_, b'\n') => {
                self.escape = Escape::None;
                std::mem::swap(&mut self.text, &mut self.last);
                self.text.clear();
                return true;
            }
            (_, 0x1B) => self.escape = Escape::Began,
            (Escape::Began, b'[') => self.escape = Escape::Sequence(byte),
            // The whole screen is erased (ECMA-48, ED): what a menu left behind stands there no more.
            (Escape::Sequence(b'2'), b'J') => {
                self.escape = Escape::None;
                self.text.clear();
            }
            (Escape::Began, _) | (Escape::Sequence(_), b'@'..=b'~') => self.escape = Escape::None,
            (Escape::Sequence(_), _) => self.escape = Escape::Sequence(byte),
            (Escape::None, 0x08) => {
                self.text.pop();
            }
            (Escape::None, b' '..=b'~') if self.text.len() < LINE_BYTES_MAX => {
                self.text.push(char::from(byte));
            }
            _ => {}
        }
        false
    }

    /// The line as far as it came; ASCII.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The last line that ended; ASCII.
    pub fn last(&self) -> &str {
        &self.last
    }

    /// Drops what came of the line.
    pub fn clear(&mut self) {
        self.text.clear();
    }
}

/// The kernel's prefix: `[    0.000000]`, with the caller's `[    T0]` or `[    C0]` where it is configured.
fn is_timestamp(text: &str) -> bool {
    text.starts_with('[') && text.bytes().all(|byte| b"[]<>. TC0123456789".contains(&byte))
}

/// What is kept of the console to be shown with a failure: a kernel's oops with its registers and call trace.
pub const TAIL_BYTES_MAX: usize = 4096;

/// Longer than any command that is typed at a boot loader (its own limit is 4 KiB at most) with its prompt.
pub const LINE_BYTES_MAX: usize = 4096;

/// How U-Boot, and each stage of it, begins.
const USUAL_BANNER: &[u8] = b"U-Boot ";

#[cfg(test)]
mod tests {
    use super::super::tests::spec;
    use super::*;

    fn notes(text: &str) -> Vec<Note> {
        let mut console = Console::new(&spec());
        text.bytes().filter_map(|byte| console.push(byte)).collect()
    }

    #[test]
    fn banners_count_at_the_start_of_a_line() {
        assert_eq!(notes("\r\n\r\nU-Boot 2023.01+dfsg-2 (Jan 2023)\r\n"), [Note::BootLoader]);
        assert_eq!(notes("\u{1b}[2J\u{1b}[1;1HU-Boot SPL 2023.01\r\n"), [Note::BootLoader]);
        assert_eq!(notes("this is no U-Boot 2023.01\r\n"), []);
        assert_eq!(notes("\r\nBooting Linux on physical CPU 0x0\r\n"), [Note::Kernel]);
        assert_eq!(notes("[    0.000000] Booting Linux on physical CPU 0x0\r\n"), [Note::Kernel]);
        assert_eq!(
            notes("[    0.000000][    T0] Booting Linux on physical CPU 0x0\n"),
            [Note::Kernel]
        );
        assert_eq!(notes("dmesg says Booting Linux on physical CPU 0x0\n"), []);
    }

    #[test]
    fn a_panic_is_noted_anywhere_and_quoted_whole() {
        let line = "ab[   12.345678] Kernel panic - not syncing: sysrq triggered crash";
        assert_eq!(notes(&format!("{line}\r\n")), [Note::Panic, Note::PanicLine(line.into())]);
        let mut console = Console::new(&spec());
        for byte in line.bytes() {
            console.push(byte);
        }
        assert_eq!(console.take_panic_line().as_deref(), Some(line));
        assert_eq!(console.take_panic_line(), None);
    }

    #[test]
    fn the_tail_and_the_line_are_bounded() {
        let mut console = Console::new(&spec());
        for _ in 0..10 * TAIL_BYTES_MAX {
            assert_eq!(console.push(b'x'), None);
        }
        assert_eq!(console.tail().len(), TAIL_BYTES_MAX);
        assert_eq!(console.line.text().len(), LINE_BYTES_MAX);
    }

    #[test]
    fn backspaces_and_escapes_are_carried_out() {
        let mut line = LineBuffer::new();
        for byte in b"stop autoboot:  2 \x08\x08\x08 1 \x1b[0m\x07." {
            assert!(!line.push(*byte));
        }
        assert_eq!(line.text(), "stop autoboot:  1 .");
        assert!(line.push(b'\n'));
        assert_eq!((line.text(), line.last()), ("", "stop autoboot:  1 ."));
        for byte in b"ENTER to select\x1b[2J\x1b[1;1H\x1b[?25h=> \x1b[J\x1b[K" {
            line.push(*byte);
        }
        assert_eq!(line.text(), "=> ");
    }
}
