//! Cuts whole reports out of a kernel's lines.
//!
//! A report goes from the line that leads it in (`cut here`, a ruler) to the line that ends its kind, or, where there is
//! none, to a pause of the kernel. Two processors may report at once: a line then belongs to every report that is open,
//! since nothing but a caller that few kernels print says whose it is.

use std::collections::VecDeque;

use agent_core::time::{Duration, Instant};

use super::patterns::{self, End, Lead};
use super::policy::Kind;

/// A report, cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is.
    pub kind: Kind,
    /// The line that says so.
    pub title: String,
    /// The kernel's time of that line, µs.
    pub board_us: Option<u64>,
    /// All of it, line by line, at most [`LINES_MAX`] lines and [`BYTES_MAX`] bytes.
    pub text: String,
    /// Lines are missing in it, or it may go on: it met a bound, or a gap in the log.
    pub is_torn: bool,
}

/// Reads lines, and cuts reports out of them.
#[derive(Clone, Debug, Default)]
pub struct Cutter {
    open: Vec<Open>,
    recent: VecDeque<Recent>,
    ready: VecDeque<Report>,
    dropped: u64,
    /// Ends of each [`End`] that were seen while several reports that end so are open.
    ended: [usize; 4],
    /// The last line's time.
    newest_us: u64,
    /// When the last line came that an open report took.
    fed_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Open {
    report: Report,
    lines: usize,
    last_us: Option<u64>,
    /// An exception's own line is in it: the next one is another's.
    has_die_line: bool,
}

/// A line that may yet lead a report in.
#[derive(Clone, Debug)]
struct Recent {
    board_us: Option<u64>,
    text: String,
    leads: Option<Lead>,
    /// ... and has.
    has_led: bool,
}

impl Cutter {
    /// The kernel's next line came, which it wrote at `board_us`. A record of several lines is one.
    pub fn handle_line(&mut self, now: Instant, board_us: Option<u64>, text: &str) {
        let text = shorten(text);
        // What stands behind a line end is often not the kernel's own: the name of a device, say.
        let first = text.lines().find(|line| !line.is_empty()).unwrap_or("");
        self.close_quiet(board_us);
        let before = self.open.len();
        self.begin(board_us, first);
        if self.open.is_empty() {
            return self.remember(board_us, text, patterns::leads(first));
        }
        self.fed_at = Some(now);
        let has_begun = self.open.len() > before;
        let mut leads = patterns::leads(first).filter(|_| !has_begun);
        for open in &mut self.open {
            open.take(board_us, text);
        }
        if let Some(end) = patterns::ends(first).filter(|end| !has_begun || *end == End::Killed) {
            leads = leads.filter(|_| !self.open.iter().any(|open| open.ends_by(end)));
            self.close_ended(end);
        }
        self.remember(board_us, text, leads);
        self.close_full();
    }

    /// Lines are missing here.
    pub fn handle_gap(&mut self) {
        self.open.iter_mut().for_each(|open| open.report.is_torn = true);
        self.recent.clear();
    }

    /// Nothing more belongs to what is open: the boot is over, or its log.
    pub fn finish(&mut self) {
        for open in std::mem::take(&mut self.open) {
            self.put(open.report);
        }
        self.recent.clear();
        self.ended = [0; 4];
        self.fed_at = None;
    }

    /// When [`Self::handle_timeout`] must be called: nobody says that a kernel is quiet.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.fed_at.filter(|_| !self.open.is_empty()).map(|at| at + SILENCE)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| now >= at) {
            self.finish();
        }
    }

    /// The next report that is whole.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.ready.pop_front()
    }

    /// Whether the kernel is dying: whatever comes is its last words.
    pub fn is_in_panic(&self) -> bool {
        self.open.iter().any(|open| open.report.kind == Kind::Panic)
    }

    /// Whether a report is not whole yet.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Reports that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Opens a report, if the line begins one that is no part of another.
    fn begin(&mut self, board_us: Option<u64>, line: &str) {
        if patterns::is_die_line(line) {
            let is_died = |open: &&mut Open| {
                matches!(open.report.kind, Kind::Oops | Kind::Bug) && !open.has_die_line
            };
            if let Some(open) = self.open.iter_mut().find(is_died) {
                open.has_die_line = true;
            } else if !self.is_in_panic() {
                self.open(Kind::Oops, board_us, line, true);
            }
            return;
        }
        let Some(kind) = patterns::begins(line) else { return };
        let has = |kind: Kind| self.open.iter().any(|open| open.report.kind == kind);
        match kind {
            _ if has(Kind::Panic) => {}
            // All of it is about one lack of memory, or one grace period.
            Kind::Oom | Kind::RcuStall if has(kind) => {}
            Kind::Panic => {
                // What led to it has been said; from here on it is the end.
                self.finish();
                self.open(kind, board_us, line, false);
            }
            _ => self.open(kind, board_us, line, false),
        }
    }

    fn open(&mut self, kind: Kind, board_us: Option<u64>, title: &str, has_die_line: bool) {
        if self.open.len() == OPEN_MAX {
            let oldest = self.open.remove(0);
            self.put(Report { is_torn: true, ..oldest.report });
        }
        let report =
            Report { kind, title: title.to_owned(), board_us, text: String::new(), is_torn: false };
        let mut open = Open { report, lines: 0, last_us: board_us, has_die_line };
        let is_near = |line: &Recent| match (line.board_us, board_us) {
            (Some(then), Some(now)) => now.saturating_sub(then) < QUIET_US,
            _ => true,
        };
        let is_alone = self.open.is_empty();
        let leads_in = |line: &Recent| {
            !(is_alone && line.has_led)
                && line.leads.is_some_and(|lead| patterns::leads_of(kind, title).contains(&lead))
                && is_near(line)
        };
        // While another report is open, nobody says which of two leads is whose: the older may be.
        if let Some(at) = self.recent.iter().position(leads_in) {
            self.recent[at].has_led = true;
            for line in self.recent.range(at..) {
                open.take(line.board_us, &line.text);
            }
        }
        self.open.push(open);
    }

    fn remember(&mut self, board_us: Option<u64>, text: &str, leads: Option<Lead>) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { board_us, text: text.to_owned(), leads, has_led: false });
    }

    /// What the kernel has said nothing to for a while, or has gone on about for long, is over.
    fn close_quiet(&mut self, board_us: Option<u64>) {
        let Some(now) = board_us else { return };
        if now.saturating_add(QUIET_US) < self.newest_us {
            // Another boot.
            self.finish();
        }
        self.newest_us = now;
        let mut index = 0;
        while let Some(open) = self.open.get(index) {
            let since = |then: Option<u64>| then.map_or(0, |then| now.saturating_sub(then));
            let is_panic = open.report.kind == Kind::Panic;
            if since(open.last_us) >= QUIET_US && !is_panic
                || since(open.report.board_us) >= SPAN_US
            {
                let open = self.open.remove(index);
                self.put(open.report);
            } else {
                index += 1;
            }
        }
    }

    /// One of those that end so has ended. Which one nobody says: they are closed together, when all have.
    fn close_ended(&mut self, end: End) {
        let alike = self.open.iter().filter(|open| open.ends_by(end)).count();
        let ended = &mut self.ended[end as usize];
        *ended += 1;
        if *ended < alike {
            return;
        }
        *ended = 0;
        let (ended, open) =
            std::mem::take(&mut self.open).into_iter().partition(|open| open.ends_by(end));
        self.open = open;
        let ended: Vec<Open> = ended;
        ended.into_iter().for_each(|open| self.put(open.report));
    }

    fn close_full(&mut self) {
        while let Some(index) = self.open.iter().position(Open::is_full) {
            let open = self.open.remove(index);
            self.put(Report { is_torn: true, ..open.report });
        }
    }

    fn put(&mut self, report: Report) {
        if self.ready.len() < READY_MAX {
            self.ready.push_back(report);
        } else {
            self.dropped += 1;
        }
    }
}

impl Open {
    fn take(&mut self, board_us: Option<u64>, text: &str) {
        if !self.report.text.is_empty() {
            self.report.text.push('\n');
        }
        self.report.text.push_str(text);
        self.lines += 1;
        self.last_us = board_us.or(self.last_us);
    }

    fn ends_by(&self, end: End) -> bool {
        patterns::ends_of(self.report.kind, &self.report.title).contains(&end)
    }

    fn is_full(&self) -> bool {
        self.lines >= LINES_MAX || self.report.text.len() + LINE_BYTES_MAX > BYTES_MAX
    }
}

/// The part of a line that is kept.
fn shorten(text: &str) -> &str {
    let mut end = text.len().min(LINE_BYTES_MAX - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Most lines of a report: a panic that shows all processors of a large board has some hundred.
pub const LINES_MAX: usize = 400;

/// Most bytes of a report.
pub const BYTES_MAX: usize = 64 * 1024;

/// A line that is longer is cut; `printk` itself makes none longer (kernel/printk/printk.c, `PRINTKRB_RECORD_MAX`).
const LINE_BYTES_MAX: usize = 1025;

/// Reports at once: one for each processor of a common board.
const OPEN_MAX: usize = 8;

/// Reports that wait for whoever asks after each input; a line makes few.
const READY_MAX: usize = 64;

/// From `cut here` to the warning's own line: a text of the driver.
const RECENT_MAX: usize = 16;

/// A kernel prints a report in one go, at 9600 baud with 100 ms a line.
const QUIET_US: u64 = 1_000_000;

/// A stall waits 10 s for the traces of the other processors (lib/nmi_backtrace.c).
const SPAN_US: u64 = 15_000_000;

/// By the host's clock: the line may be slow, or full of other things.
const SILENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    fn cut<'t>(lines: impl IntoIterator<Item = (u64, &'t str)>) -> Vec<Report> {
        let mut cutter = Cutter::default();
        let mut found = Vec::new();
        for (us, text) in lines {
            cutter.handle_line(Instant::ZERO, Some(us), text);
            found.extend(std::iter::from_fn(|| cutter.poll_report()));
        }
        cutter.finish();
        found.extend(std::iter::from_fn(|| cutter.poll_report()));
        found
    }

    #[test]
    fn each_report_is_cut_whole_out_of_other_lines() {
        for (text, kind) in samples::ALL {
            let before =
                [(1_000_000, "usb 1-1: new device"), (1_500_000, "random: crng init done")];
            let after = [(9_000_000, "usb 1-1: USB disconnect"), (9_000_001, "next")];
            let found =
                cut(before.into_iter().chain(samples::records(text, 3_000_000)).chain(after));
            let [report] = &found[..] else { panic!("{kind}: {found:#?}") };
            assert_eq!(report.kind, kind);
            assert_eq!(report.text, text.trim_end(), "{kind}");
            assert!(!report.is_torn && report.text.contains(&report.title), "{kind}");
        }
    }

    #[test]
    fn an_oops_that_ends_in_a_panic_is_two_reports() {
        let found = cut(samples::records(samples::ARM_PANIC, 1));
        let kinds: Vec<Kind> = found.iter().map(|report| report.kind).collect();
        assert_eq!(kinds, [Kind::Oops, Kind::Panic]);
        assert_eq!(format!("{}\n{}\n", found[0].text, found[1].text), samples::ARM_PANIC);
    }

    #[test]
    fn a_panic_ends_what_led_to_it() {
        let text = format!(
            "{}Kernel panic - not syncing: hung_task: blocked tasks\nCPU: 0\n",
            samples::HUNG_TASK
        );
        let found = cut(samples::records(&text, 1));
        assert_eq!((found[0].kind, found[1].kind, found.len()), (Kind::HungTask, Kind::Panic, 2));
        assert!(found[1].text.ends_with("\nCPU: 0"));
    }

    #[test]
    fn a_pause_ends_what_has_no_end() {
        let quiet =
            cut([(1, "INFO: task a:1 blocked for more than 9 seconds."), (QUIET_US + 1, "other")]);
        assert_eq!(quiet[0].text, "INFO: task a:1 blocked for more than 9 seconds.");
        // ... or the host's clock, when nothing else comes.
        let mut cutter = Cutter::default();
        cutter.handle_line(Instant::ZERO, Some(5), "BUG: scheduling while atomic: sh/1/0x00000002");
        let at = cutter.poll_timeout().unwrap();
        cutter.handle_timeout(at);
        assert_eq!(cutter.poll_report().unwrap().kind, Kind::Bug);
        assert_eq!(cutter.poll_timeout(), None);
    }

    #[test]
    fn a_kernel_that_never_pauses_is_cut_off() {
        let lines =
            (0..10_000).map(|n| (n * 50_000, if n == 3 { "BUG: x" } else { "a line every 50 ms" }));
        let found = cut(lines);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.lines().count() <= LINES_MAX, "{}", found[0].text.lines().count());
    }

    #[test]
    fn a_gap_marks_what_was_open() {
        let mut cutter = Cutter::default();
        let lines = samples::records(samples::X86_WARN, 1);
        for (us, text) in &lines[..5] {
            cutter.handle_line(Instant::ZERO, Some(*us), text);
        }
        cutter.handle_gap();
        for (us, text) in &lines[7..] {
            cutter.handle_line(Instant::ZERO, Some(*us), text);
        }
        assert!(cutter.poll_report().unwrap().is_torn);
    }

    proptest! {
        #[test]
        fn two_processors_at_once_are_two_reports(
            first in 0..samples::ALL.len(),
            second in 0..samples::ALL.len(),
            order in proptest::collection::vec(any::<bool>(), 30),
        ) {
            let (first, second) = (samples::ALL[first], samples::ALL[second]);
            // Of some kinds all that comes at once is one report.
            let is_joined = first.1 == second.1 && matches!(first.1, Kind::Oom | Kind::RcuStall);
            prop_assume!(!is_joined);
            // Who tells them apart, if each has a line of the other's kind at its end?
            let ruled = |kind: Kind| kind == Kind::Sanitizer || kind == Kind::Lockdep;
            prop_assume!(!(ruled(first.1) && ruled(second.1)));
            let (mut a, mut b) = (first.0.lines().peekable(), second.0.lines().peekable());
            let mut lines = Vec::new();
            for is_first in order.iter().chain(std::iter::repeat(&true)) {
                let side = if *is_first && a.peek().is_some() || b.peek().is_none() { &mut a } else { &mut b };
                let Some(line) = side.next() else { break };
                lines.push(line);
            }
            let found = cut(lines.iter().zip(1..).map(|(line, us)| (us, *line)));
            let mut kinds: Vec<Kind> = found.iter().map(|report| report.kind).collect();
            let mut expected = vec![first.1, second.1];
            kinds.sort();
            expected.sort();
            prop_assert_eq!(kinds, expected, "{:#?}", found);
            for (text, kind) in [first, second] {
                let is_whole = |text: &str, report: &Report| {
                    let mut rest = report.text.lines();
                    text.lines().all(|line| rest.any(|other| other == line))
                };
                let whole = found.iter().any(|report| report.kind == kind && is_whole(text, report));
                prop_assert!(whole, "{}: {:#?}", kind, found);
            }
        }

        #[test]
        fn whatever_comes_stays_bounded(
            lines in proptest::collection::vec(
                prop_oneof![
                    Just("WARNING: CPU: 0 PID: 1 at a.c:1 f".to_owned()),
                    Just("------------[ cut here ]------------".to_owned()),
                    Just("Oops: 0000 [#1]".to_owned()),
                    Just("Kernel panic - not syncing: x".to_owned()),
                    Just("---[ end trace ]---".to_owned()),
                    "\\PC{0,40}",
                    Just("\u{e9}x".repeat(1500)),
                ],
                0..80,
            ),
        ) {
            let mut cutter = Cutter::default();
            for (line, us) in lines.iter().zip(0..) {
                cutter.handle_line(Instant::ZERO, Some(us), line);
                prop_assert!(cutter.open.len() <= OPEN_MAX && cutter.recent.len() <= RECENT_MAX);
                prop_assert!(cutter.ready.len() <= READY_MAX);
            }
            cutter.finish();
            while let Some(report) = cutter.poll_report() {
                prop_assert!(report.text.len() <= BYTES_MAX);
                prop_assert!(report.text.lines().count() <= LINES_MAX + RECENT_MAX);
            }
        }
    }
}
