//! Everything that is read of a board's kernel, together: each report once, whoever told it first.
//!
//! The kernel's log is the truth while there is one. What the raw line shows in a session is held back until the log,
//! which is complete then, has told it too, or until the image is dead and there will be no log.

use std::collections::VecDeque;

use agent_core::time::Instant;

use super::console::{ConsoleReader, Printed};
use super::cutter::{Cutter, Report};
use super::policy::Kind;
use super::pstore;
use crate::board::Slot;

/// Where a report was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel's log.
    Kernel,
    /// The raw line.
    Console,
    /// The memory that outlives a kernel.
    Pstore,
}

/// A report, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The report.
    pub report: Report,
    /// Where it was read first.
    pub origin: Origin,
    /// The image whose kernel it is, where that is known.
    pub slot: Option<Slot>,
    /// Of a panic on the raw line: the lines as they came, with those of what led to it.
    pub raw: Option<String>,
}

/// The watch over one board's kernels.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    live: Cutter,
    /// Of the log as it came home in a file: it has the lines that did not come live.
    file: Cutter,
    console: ConsoleReader,
    next_sequence: Option<u64>,
    /// The image that runs, or ran last.
    slot: Option<Slot>,
    /// An agent tells the log.
    is_followed: bool,
    /// Reports of the raw line that the log is to confirm.
    held: Vec<Printed>,
    /// Live reports with missing lines: the file has them whole.
    torn: Vec<Found>,
    known: Vec<Known>,
    found: VecDeque<Found>,
    dropped: u64,
}

/// Image, kind, time and first line of a report that was told.
type Known = (Option<Slot>, Kind, Option<u64>, String);

/// A record of the kernel's log.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Facility × 8 + level.
    pub priority: u8,
    /// The kernel's time, µs.
    pub board_us: u64,
    /// The kernel's number; without one nothing is known to be missing.
    pub sequence: Option<u64>,
    /// The text.
    pub text: &'a str,
}

impl Watch {
    /// A record of the log came live.
    pub fn handle_log(&mut self, now: Instant, slot: Slot, line: LogLine<'_>) {
        if let Some(sequence) = line.sequence {
            // A long record comes in pieces of one number; a new boot begins with a small one.
            if self.next_sequence.is_some_and(|next| sequence > next) {
                self.live.handle_gap();
            }
            self.next_sequence = Some(sequence.saturating_add(1));
        }
        if is_kernels_own(line.priority) {
            self.live.handle_line(now, Some(line.board_us), line.text);
        }
        self.take_live(slot);
    }

    /// A line of the log came home in its file, which begins with the boot.
    pub fn handle_file(&mut self, now: Instant, slot: Slot, line: LogLine<'_>) {
        if is_kernels_own(line.priority) {
            self.file.handle_line(now, Some(line.board_us), line.text);
        }
        self.take_file(slot);
    }

    /// The file is over.
    pub fn end_file(&mut self, slot: Slot) {
        self.file.finish();
        self.take_file(slot);
    }

    /// Text came on the raw line, cut anywhere.
    pub fn handle_console(&mut self, now: Instant, bytes: &[u8]) {
        self.console.handle_bytes(now, bytes);
        self.take_console();
    }

    /// An agent can be asked for the log, or no more.
    pub fn set_followed(&mut self, is_followed: bool) {
        self.is_followed = is_followed;
    }

    /// The kernel is dead, and may have something to say yet: what the raw line told is all that there will be.
    pub fn handle_death(&mut self) {
        self.is_followed = false;
        self.release();
    }

    /// The image's kernel runs no more, or another one begins: what the raw line told is all that there will be.
    pub fn handle_end_of_boot(&mut self, now: Instant) {
        self.is_followed = false;
        self.console.finish(now);
        self.take_console();
        self.release();
    }

    /// This image is the one that runs from now on.
    pub fn set_slot(&mut self, now: Instant, slot: Slot) {
        if self.slot.is_some_and(|last| last != slot) {
            self.handle_end_of_boot(now);
        }
        self.slot = Some(slot);
    }

    /// What the raw line told of the death of the kernel was a print: its agent lives.
    pub fn handle_print(&mut self) {
        self.console.forget();
        self.held.clear();
    }

    /// Texts of pstore came home; they are of the image under test.
    pub fn handle_pstore(&mut self, texts: &[String]) {
        for report in pstore::reports(texts) {
            self.put(report, Origin::Pstore, Some(Slot::Test), None);
        }
    }

    /// The run is over. What the raw line showed and a complete log did not confirm was no report of the kernel's.
    pub fn finish(&mut self, now: Instant) {
        self.live.finish();
        self.take_live(self.slot.unwrap_or(Slot::Test));
        for torn in std::mem::take(&mut self.torn) {
            self.put(torn.report, torn.origin, torn.slot, torn.raw);
        }
        if self.is_followed {
            self.handle_print();
        } else {
            self.handle_end_of_boot(now);
        }
    }

    /// When [`Self::handle_timeout`] must be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.live.poll_timeout().into_iter().chain(self.console.poll_timeout()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.live.handle_timeout(now);
        self.take_live(self.slot.unwrap_or(Slot::Test));
        self.console.handle_timeout(now);
        self.take_console();
    }

    /// Whether a kernel is telling of its panic on the raw line.
    pub fn is_in_panic(&self) -> bool {
        self.console.is_in_panic()
    }

    /// Whether [`Self::poll_found`] has something.
    pub fn has_found(&self) -> bool {
        !self.found.is_empty()
    }

    /// The next report.
    pub fn poll_found(&mut self) -> Option<Found> {
        self.found.pop_front()
    }

    /// Reports that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.live.dropped() + self.file.dropped() + self.console.dropped()
    }

    fn release(&mut self) {
        for printed in std::mem::take(&mut self.held) {
            self.put(printed.report, Origin::Console, self.slot, printed.raw);
        }
    }

    fn take_live(&mut self, slot: Slot) {
        while let Some(report) = self.live.poll_report() {
            if report.is_torn && self.torn.len() < HELD_MAX {
                let slot = Some(slot);
                self.torn.push(Found { report, origin: Origin::Kernel, slot, raw: None });
            } else {
                self.put(report, Origin::Kernel, Some(slot), None);
            }
        }
    }

    fn take_file(&mut self, slot: Slot) {
        while let Some(report) = self.file.poll_report() {
            self.put(report, Origin::Kernel, Some(slot), None);
        }
    }

    fn take_console(&mut self) {
        while let Some(printed) = self.console.poll_report() {
            if !self.is_followed {
                self.put(printed.report, Origin::Console, self.slot, printed.raw);
            } else if self.held.len() < HELD_MAX {
                self.held.push(printed);
            } else {
                self.dropped += 1;
            }
        }
    }

    /// Tells a report, if nobody has. Two of one boot are the same if the kernel wrote their first lines at one time.
    fn put(&mut self, report: Report, origin: Origin, slot: Option<Slot>, raw: Option<String>) {
        let is_same = |(of, kind, board_us, title): &Known| {
            let is_one_time = board_us.is_none() || report.board_us.is_none();
            (*of, *kind) == (slot, report.kind)
                && (is_one_time || *board_us == report.board_us)
                && *title == report.title
        };
        if self.known.iter().any(is_same) {
            return;
        }
        if self.known.len() == REPORTS_MAX {
            self.dropped += 1;
            return;
        }
        self.known.push((slot, report.kind, report.board_us, report.title.clone()));
        self.found.push_back(Found { report, origin, slot, raw });
    }
}

/// Facility 0 is the kernel's; /dev/kmsg makes another one of it for whoever writes there (kernel/printk/printk.c,
/// `devkmsg_write`).
fn is_kernels_own(priority: u8) -> bool {
    priority >> 3 == 0
}

/// More of one run tell nothing new: the log has them.
const REPORTS_MAX: usize = 500;

/// Reports that wait for the log's word.
const HELD_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn log(watch: &mut Watch, text: &str, first_us: u64, priority: u8) {
        for (board_us, text) in samples::records(text, first_us) {
            let sequence = Some(board_us);
            watch.handle_log(NOW, Slot::Test, LogLine { priority, board_us, sequence, text });
        }
    }

    fn file(watch: &mut Watch, text: &str, first_us: u64) {
        for (board_us, text) in samples::records(text, first_us) {
            let line = LogLine { priority: 4, board_us, sequence: None, text };
            watch.handle_file(NOW, Slot::Test, line);
        }
        watch.end_file(Slot::Test);
    }

    fn found(watch: &mut Watch) -> Vec<(Kind, Origin)> {
        std::iter::from_fn(|| watch.poll_found())
            .map(|found| (found.report.kind, found.origin))
            .collect()
    }

    fn followed() -> Watch {
        let mut watch = Watch::default();
        watch.set_slot(NOW, Slot::Test);
        watch.set_followed(true);
        watch
    }

    #[test]
    fn what_log_line_file_and_pstore_tell_is_one_report() {
        let mut watch = followed();
        let text = samples::X86_OOPS;
        watch.handle_console(NOW, samples::console(text, 5_000_000).as_bytes());
        assert_eq!(found(&mut watch), [], "the log has not told it");
        log(&mut watch, text, 5_000_000, 1);
        assert_eq!(found(&mut watch), [(Kind::Oops, Origin::Kernel)]);
        file(&mut watch, text, 5_000_000);
        let pstore = samples::console(text, 5_000_000).replace('\r', "");
        let pstore: String = pstore.lines().map(|line| format!("<1>{line}\n")).collect();
        watch.handle_pstore(&[format!("Oops#1 Part1\n{pstore}")]);
        watch.handle_end_of_boot(NOW);
        watch.finish(NOW);
        assert_eq!(found(&mut watch), []);
    }

    #[test]
    fn the_raw_line_decides_when_the_image_is_dead() {
        let mut watch = followed();
        watch.handle_console(NOW, samples::console(samples::ARM_PANIC, 5_000_000).as_bytes());
        assert_eq!(found(&mut watch), []);
        watch.handle_end_of_boot(NOW);
        let told: Vec<Found> = std::iter::from_fn(|| watch.poll_found()).collect();
        assert_eq!((told[0].report.kind, told[1].report.kind), (Kind::Oops, Kind::Panic));
        assert!(told[1].raw.as_ref().is_some_and(|raw| raw.contains("Unable to handle")));
    }

    #[test]
    fn a_print_is_forgotten_when_its_kernel_lives() {
        let mut watch = followed();
        let text = samples::console(samples::ARM_PANIC, 5_000_000);
        watch.handle_console(NOW, &text.as_bytes()[..1000]);
        watch.handle_print();
        watch.handle_end_of_boot(NOW);
        // ... and what a complete log knows nothing of.
        watch.set_followed(true);
        watch.handle_console(NOW, samples::console(samples::X86_WARN, 6_000_000).as_bytes());
        watch.finish(NOW);
        assert_eq!(found(&mut watch), []);
    }

    #[test]
    fn user_space_in_the_log_counts_for_nothing() {
        let mut watch = followed();
        for (text, _) in samples::ALL {
            // Facility 1: what `echo … > /dev/kmsg` has; 3: a daemon's.
            log(&mut watch, text, 5_000_000, 1 << 3 | 4);
            log(&mut watch, text, 15_000_000, 3 << 3);
        }
        watch.finish(NOW);
        assert_eq!(found(&mut watch), []);
    }

    #[test]
    fn the_file_completes_what_came_with_gaps() {
        let mut watch = followed();
        for (board_us, text) in samples::records(samples::X86_WARN, 7).into_iter().step_by(2) {
            let line = LogLine { priority: 4, board_us, sequence: Some(board_us), text };
            watch.handle_log(NOW, Slot::Test, line);
        }
        file(&mut watch, samples::X86_WARN, 7);
        watch.finish(NOW);
        let told: Vec<Found> = std::iter::from_fn(|| watch.poll_found()).collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].report.text, samples::X86_WARN.trim_end());
    }

    #[test]
    fn a_kernel_that_reports_without_end_is_bounded() {
        let mut watch = followed();
        for n in 0..2 * REPORTS_MAX as u64 {
            log(&mut watch, samples::OOM, n * 10_000_000, 4);
        }
        watch.finish(NOW);
        assert_eq!(found(&mut watch).len(), REPORTS_MAX);
        assert_eq!(watch.dropped(), REPORTS_MAX as u64);
    }
}
