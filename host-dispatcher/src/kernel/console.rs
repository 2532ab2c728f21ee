//! The kernel's lines on the raw line: those behind `printk`'s prefix, and in a panic all of them.

use agent_core::time::Instant;

use super::cutter::{Cutter, Report};
use super::policy::Kind;

/// `<4>[   12.345678][    T1] `; kernel/printk/printk.c, `print_syslog`, `print_time`, `print_caller`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Facility × 8 + level, where it is shown.
    pub priority: Option<u32>,
    /// The kernel's time, µs.
    pub board_us: u64,
}

/// Takes `printk`'s prefix from a line.
pub fn split_prefix(line: &str) -> Option<(Prefix, &str)> {
    let (priority, rest) = match line.strip_prefix('<') {
        Some(rest) => {
            let (number, rest) = rest.split_once('>')?;
            (Some(number.parse().ok().filter(|priority| *priority < 1 << 11)?), rest)
        }
        None => (None, line),
    };
    let (time, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = time.trim_start().split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(seconds)
        || seconds.len() > SECONDS_DIGITS_MAX
        || !is_number(micros)
        || micros.len() != 6
    {
        return None;
    }
    let board_us = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
    let text = split_caller(rest).unwrap_or(rest);
    let text = if text.is_empty() { text } else { text.strip_prefix(' ')? };
    Some((Prefix { priority, board_us }, text))
}

/// `[    T1]`: a task; `[    C0]`: a processor, in an interrupt.
fn split_caller(rest: &str) -> Option<&str> {
    let (caller, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let number = caller.trim_start().strip_prefix(['T', 'C'])?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
}

/// A report that was read from the raw line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The report.
    pub report: Report,
    /// Of a panic: its lines as they came, and those of what led to it.
    pub raw: Option<String>,
}

/// Reads the raw line.
#[derive(Clone, Debug, Default)]
pub struct ConsoleReader {
    line: Vec<u8>,
    cutter: Cutter,
    /// The lines of the reports that came last, as they came.
    trail: Vec<String>,
    trail_bytes: usize,
    trail_us: u64,
}

impl ConsoleReader {
    /// Text came, cut anywhere.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        for byte in bytes {
            match *byte {
                b'\n' => self.end_line(now),
                _ if self.line.len() < LINE_BYTES_MAX => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// Nothing more comes of what has begun.
    pub fn finish(&mut self, now: Instant) {
        if !self.line.is_empty() {
            self.end_line(now);
        }
        self.cutter.finish();
    }

    /// What came was somebody's print: it is forgotten.
    pub fn forget(&mut self) {
        let line = std::mem::take(&mut self.line);
        *self = Self { line, ..Self::default() };
    }

    /// See [`Cutter::poll_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.cutter.poll_timeout()
    }

    /// See [`Cutter::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.cutter.handle_timeout(now);
    }

    /// Whether a panic is being told.
    pub fn is_in_panic(&self) -> bool {
        self.cutter.is_in_panic()
    }

    /// See [`Cutter::dropped`].
    pub fn dropped(&self) -> u64 {
        self.cutter.dropped()
    }

    /// The next report.
    pub fn poll_report(&mut self) -> Option<Printed> {
        let report = self.cutter.poll_report()?;
        let raw = (report.kind == Kind::Panic).then(|| {
            self.trail_bytes = 0;
            let mut raw = std::mem::take(&mut self.trail).join("\n");
            raw.push('\n');
            raw
        });
        Some(Printed { report, raw })
    }

    fn end_line(&mut self, now: Instant) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        // Others may have left half a line before it: of a panic that must not hide the beginning.
        let line = match line.find(PANIC) {
            Some(at) if !self.is_in_panic() => from_prefix(line, at),
            _ => line,
        };
        let (prefix, text) = match split_prefix(line) {
            Some((prefix, text)) => (Some(prefix), text),
            None => (None, line),
        };
        // Not all kernels print times; the link then tells whether it is one (board/evidence.rs).
        if prefix.is_none() && !self.is_in_panic() && !text.starts_with(PANIC) {
            return;
        }
        // What user space wrote to /dev/kmsg is no word of the kernel's.
        if prefix.and_then(|prefix| prefix.priority).is_some_and(|priority| priority >= 8) {
            return;
        }
        let board_us = prefix.map(|prefix| prefix.board_us);
        let was_open = self.cutter.is_open();
        self.cutter.handle_line(now, board_us, text);
        self.keep_trail(board_us, line, was_open);
    }

    /// Keeps the lines from the first report on that may have led to a panic.
    fn keep_trail(&mut self, board_us: Option<u64>, line: &str, was_open: bool) {
        let is_near = board_us.is_none_or(|us| us.saturating_sub(self.trail_us) < TRAIL_US);
        if !was_open && !is_near {
            self.trail.clear();
            self.trail_bytes = 0;
        }
        let leads = super::patterns::leads(split_prefix(line).map_or(line, |(_, text)| text));
        if self.trail.is_empty() && !self.cutter.is_open() && !was_open && leads.is_none() {
            return;
        }
        self.trail_us = board_us.unwrap_or(self.trail_us);
        if self.trail.len() < TRAIL_LINES_MAX && self.trail_bytes + line.len() < TRAIL_BYTES_MAX {
            self.trail_bytes += line.len() + 1;
            self.trail.push(line.to_owned());
        }
    }
}

/// The line from the prefix on that stands directly before `at`, if there is one.
fn from_prefix(line: &str, at: usize) -> &str {
    let starts = line[..at].char_indices().filter(|(_, c)| matches!(c, '[' | '<'));
    let start = starts.map(|(index, _)| index).find(|index| {
        split_prefix(&line[*index..]).is_some_and(|(_, text)| text.starts_with(PANIC))
    });
    start.map_or(line, |start| &line[start..])
}

/// kernel/panic.c
const PANIC: &str = "Kernel panic - not syncing";

/// A century of uptime has ten.
const SECONDS_DIGITS_MAX: usize = 12;

/// `printk` makes no longer line (kernel/printk/printk.c, `PRINTK_MESSAGE_MAX`).
const LINE_BYTES_MAX: usize = 2048;

/// A panic and the oops before it.
const TRAIL_LINES_MAX: usize = 800;
const TRAIL_BYTES_MAX: usize = 128 * 1024;

/// An oops and the panic that it leads to are not further apart; `panic_on_oops` takes none at all.
const TRAIL_US: u64 = 2_000_000;

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Printed> {
        let mut reader = ConsoleReader::default();
        pieces.iter().for_each(|piece| reader.handle_bytes(Instant::ZERO, piece));
        reader.finish(Instant::ZERO);
        std::iter::from_fn(|| reader.poll_report()).collect()
    }

    #[test]
    fn prefixes() {
        let prefix = |priority, board_us| Prefix { priority, board_us };
        for (line, expected) in [
            ("[   12.345678] text", Some((prefix(None, 12_345_678), "text"))),
            ("[12345.000001] [x] y", Some((prefix(None, 12_345_000_001), "[x] y"))),
            ("[    0.000000][    T0] text", Some((prefix(None, 0), "text"))),
            ("[    1.000000][  C12] text", Some((prefix(None, 1_000_000), "text"))),
            ("<4>[    1.000000] a", Some((prefix(Some(4), 1_000_000), "a"))),
            ("<14>[    1.000000] ", Some((prefix(Some(14), 1_000_000), ""))),
            ("[    1.000000]", Some((prefix(None, 1_000_000), ""))),
            ("[    1.000000]x", None),
            ("[    1.0000] x", None),
            ("[99999999999999999999.000000] x", None),
            ("[ OK ] x", None),
            ("<99999>[    1.000000] a", None),
            ("text", None),
            ("", None),
        ] {
            assert_eq!(split_prefix(line), expected, "{line}");
        }
    }

    #[test]
    fn a_panic_is_cut_whole_with_what_led_to_it() {
        let text = samples::console(samples::ARM_PANIC, 12_000_000);
        let noisy =
            format!("login: \r\n[   11.000000] usb 1-1: new device\r\n{text}U-Boot 2023.01\r\n");
        for size in [1, 7, 64, 1_000_000] {
            let pieces: Vec<&[u8]> = noisy.as_bytes().chunks(size).collect();
            let found = read(&pieces);
            let kinds: Vec<Kind> = found.iter().map(|printed| printed.report.kind).collect();
            assert_eq!(kinds, [Kind::Oops, Kind::Panic], "{size}");
            assert_eq!(found[1].raw.as_deref(), Some(&*text.replace('\r', "")), "{size}");
            assert!(found[1].report.text.ends_with("Fatal exception ]---"));
        }
    }

    #[test]
    fn in_a_panic_lines_without_a_prefix_count_and_after_it_none() {
        let text = "abc\x01[    5.000000] Kernel panic - not syncing: x\r\nStack: (0xc0 to 0xd0)\r\n\
                    [    5.000001] ---[ end Kernel panic - not syncing: x ]---\r\nhello\r\n";
        let found = read(&[text.as_bytes()]);
        let [Printed { report, raw: Some(raw) }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(report.title, "Kernel panic - not syncing: x");
        assert_eq!(report.board_us, Some(5_000_000));
        assert!(report.text.contains("\nStack: (0xc0") && !raw.contains("hello"), "{raw}");
        assert!(raw.starts_with("[    5.000000] Kernel panic"), "{raw}");
    }

    #[test]
    fn what_has_no_prefix_or_another_facility_is_no_report() {
        for text in [
            "WARNING: CPU: 0 PID: 1 at x.c:1 f+0x0/0x1\n",
            "BUG: none found\nOops [#1]\nInternal error: Oops: 17 [#1] SMP ARM\n",
            "<12>[    1.000000] Oops: 0000 [#1]\n<12>[    1.000000] Kernel panic - not syncing: ha\n",
            "systemd[1]: Kernel panic - not syncing\n",
        ] {
            assert_eq!(read(&[text.as_bytes()]), [], "{text}");
        }
    }
}
