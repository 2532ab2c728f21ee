//! The words for events and results. Pure: returns text, writes nothing.
//!
//! Whatever came from a board or a file goes through [`printable`], so that nothing can move the cursor of the
//! terminal that shows it.

use std::fmt::Write as _;
use std::path::Path;

use super::suite::{LoggedCase, SuiteSummary, is_not_allowed};
use super::summary::Summary;
use crate::job::event::{ActionOutcome, Case, Event, OperationState, SuiteEnd};
use crate::job::verdict::{CaseResult, Tally, Verdict};

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// ANSI colours.
    Ansi,
    /// Words only.
    None,
}

/// The line for an event; nothing for those that say too little for a person.
pub fn line(event: &Event, color: Color) -> Option<String> {
    let text = match event {
        Event::RunStarted { run, job, board, board_type, .. } => {
            format!(
                "run {} of \"{}\" on {} ({})",
                printable(run),
                printable(job),
                printable(board),
                printable(board_type)
            )
        }
        Event::Phase { from, to, cause } => {
            format!("board: {} → {} ({})", printable(from), printable(to), printable(cause))
        }
        Event::Power { operation, state } => match state {
            OperationState::Started => return None,
            OperationState::Done => format!("power {operation}"),
            OperationState::Failed => paint(color, RED, &format!("power {operation} failed")),
        },
        Event::ActionStarted { .. } | Event::ActionProgress { .. } | Event::Clock(_) => {
            return None;
        }
        Event::ActionEnded { action, seconds, outcome } => match outcome {
            ActionOutcome::Done => format!("{}: done in {}", printable(action), period(*seconds)),
            ActionOutcome::Skipped { why } => {
                format!("{}: nothing to do ({})", printable(action), printable(why))
            }
            ActionOutcome::Failed { why } => paint(
                color,
                RED,
                &format!(
                    "{}: failed after {}: {}",
                    printable(action),
                    period(*seconds),
                    printable(why)
                ),
            ),
        },
        Event::SessionOpened { slot, .. } => format!("session with the {} agent", slot.as_str()),
        Event::SessionClosed { reason } => format!("session closed: {}", printable(reason)),
        Event::TestStarted { suite } => format!("test {} …", printable(suite)),
        // Its cases, which may come later, have a say in its result: the table at the end has it.
        Event::TestEnded { suite, end, result, seconds, .. } => format!(
            "test {}: {} in {}",
            printable(suite),
            paint(color, result_color(*result), &printable(&end.to_string())),
            period(*seconds)
        ),
        Event::CaseStarted { .. } | Event::Attachment { .. } | Event::Metadata { .. } => {
            return None;
        }
        Event::CaseEnded(case) => match case.result {
            CaseResult::Pass | CaseResult::Skip => return None,
            result => format!(
                "  {} {}{}",
                paint(color, result_color(result), &format!("{:<7}", result.as_str())),
                printable(&case_name(case)),
                in_brackets(case.why.as_deref())
            ),
        },
        Event::KernelReport(report) => {
            paint(color, YELLOW, &format!("kernel {}: {}", report.kind, printable(&report.title)))
        }
        Event::Job { id, attempt, submitter } => {
            printable(&format!("job {id} of {submitter}, attempt {attempt}"))
        }
        Event::Note { text } => printable(text),
        Event::Callback(sent) if sent.why.is_none() => printable(&sent.to_string()),
        Event::Callback(sent) => {
            paint(color, YELLOW, &format!("warning: {}", printable(&sent.to_string())))
        }
        Event::Warning { text } => paint(color, YELLOW, &format!("warning: {}", printable(text))),
        Event::Dropped(dropped) => {
            paint(color, YELLOW, &format!("warning: {}", printable(&dropped.to_string())))
        }
        Event::Error { class, message, console_tail } => {
            let mut text = paint(color, RED, &format!("{class}: {}", printable(message)));
            for line in last_lines(console_tail, TAIL_LINES_MAX) {
                let _ = write!(text, "\n    | {}", printable(line));
            }
            text
        }
        Event::RunEnded { verdict, seconds, .. } => {
            format!("run {verdict} after {}", period(*seconds))
        }
    };
    Some(text)
}

/// The table at the end of a run: every suite with its first cases that did not pass, the counts, what stopped the run,
/// and where everything is.
pub fn table(summary: &Summary, directory: &Path, color: Color) -> String {
    results(summary, directory, color, Cases::NotPassed)
}

/// Which cases are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cases {
    /// All.
    All,
    /// Of each suite the first 20 that did not pass.
    NotPassed,
}

/// As [`table`], with more or fewer cases.
pub fn results(summary: &Summary, directory: &Path, color: Color, cases: Cases) -> String {
    let mut text = String::new();
    let width = summary
        .suites
        .iter()
        .map(|suite| printable(&suite.suite).chars().count())
        .max()
        .unwrap_or(0);
    for suite in &summary.suites {
        // Padded before it is painted: colours have no width.
        let result =
            paint(color, result_color(suite.result), &format!("{:<7}", result_word(suite)));
        let name = printable(&suite.suite);
        let time = period(suite.seconds);
        let counted = suite.has_cases().then(|| counts_of(&suite.tally));
        let why = suite.why().filter(|_| suite.end.is_some() || !suite.kernel_reports.is_empty());
        let notes: Vec<String> = counted.into_iter().chain(why).collect();
        let row = format!("{name:<width$}  {result}  {time:>8}  {}", printable(&notes.join("; ")));
        let _ = writeln!(text, "{}", row.trim_end());
        add_cases(&mut text, suite, color, cases);
    }
    if !summary.suites.is_empty() {
        text.push('\n');
    }
    for report in summary.kernel_reports.iter().filter(|report| is_not_allowed(report)) {
        let report = format!("kernel {}: {}", report.kind, printable(&report.title));
        let _ = writeln!(text, "{}", paint(color, RED, &report));
    }
    for error in &summary.errors {
        let _ = writeln!(
            text,
            "{}",
            paint(color, RED, &format!("{}: {}", error.class, printable(&error.message)))
        );
    }
    for dropped in &summary.dropped_records {
        let _ = writeln!(text, "{}", paint(color, YELLOW, &printable(&dropped.to_string())));
    }
    let _ = writeln!(text, "{}", counts(summary, color));
    let _ = writeln!(text, "{}", directory.display());
    text
}

/// The results of a tally in words: `12 passed, 1 failed`.
pub fn counts_of(tally: &Tally) -> String {
    let parts: Vec<String> = [
        (tally.pass, "passed"),
        (tally.fail, "failed"),
        (tally.skip, "skipped"),
        (tally.unknown, "unknown"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    if parts.is_empty() { "no results".to_owned() } else { parts.join(", ") }
}

fn add_cases(text: &mut String, suite: &SuiteSummary, color: Color, cases: Cases) {
    let is_shown = |case: &LoggedCase| {
        cases == Cases::All || matches!(case.result, CaseResult::Fail | CaseResult::Unknown)
    };
    let max = if cases == Cases::All { usize::MAX } else { CASES_SHOWN_MAX };
    let mut shown = suite.all_cases().filter(|case| is_shown(case));
    for case in shown.by_ref().take(max) {
        let result =
            paint(color, result_color(case.result), &format!("{:<7}", case.result.as_str()));
        let _ = write!(text, "  {result}  {}", printable(&case_name(&case)));
        if let Some(measurement) = case.measurement {
            let units = printable(case.units.as_deref().unwrap_or(""));
            let _ = write!(text, "  {}", format!("{measurement} {units}").trim_end());
        }
        let _ = writeln!(text, "{}", in_brackets(case.why.as_deref()));
    }
    let more = shown.count();
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
}

fn case_name(case: &Case) -> String {
    match &case.set {
        Some(set) => format!("{set}/{}", case.case),
        None => case.case.clone(),
    }
}

/// The first line of a reason.
fn in_brackets(why: Option<&str>) -> String {
    match why.and_then(|why| why.lines().next()) {
        Some(why) => {
            let short: String = why.chars().take(WHY_CHARS_MAX).collect();
            let dots = if short.len() < why.len() { "…" } else { "" };
            format!(" ({}{dots})", printable(&short))
        }
        None => String::new(),
    }
}

/// A text without control characters and other characters that change how it is shown: each stands as its escape.
pub fn printable(text: &str) -> String {
    // U+061C, U+200B..F, U+202A..E, U+2066..9: marks that turn the direction of text or hide it.
    let turns = |c: char| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' {
            shown.push(' ');
        } else if c.is_control() || turns(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A time for a person: `0.25 s`, `12.5 s`, `3 min 05 s`.
pub fn period(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "? s".into();
    }
    if seconds < 1.0 {
        return format!("{seconds:.2} s");
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.min(1e12).round() as u64;
    if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

fn counts(summary: &Summary, color: Color) -> String {
    let counts = counts_of(&summary.tally);
    let verdict = match summary.verdict {
        Some(verdict) => {
            let hue = if verdict == Verdict::Passed { GREEN } else { RED };
            paint(color, hue, verdict.as_str())
        }
        None => paint(color, RED, "the run's end was not written"),
    };
    let time =
        summary.seconds.map_or_else(String::new, |seconds| format!(" in {}", period(seconds)));
    format!("{verdict}: {counts}{time}")
}

fn result_word(suite: &SuiteSummary) -> &'static str {
    match suite.end {
        Some(SuiteEnd::TimedOut) => "timeout",
        _ => suite.result.as_str(),
    }
}

fn last_lines(text: &str, count: usize) -> Vec<&str> {
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

fn result_color(result: CaseResult) -> &'static str {
    match result {
        CaseResult::Pass => GREEN,
        CaseResult::Fail => RED,
        CaseResult::Skip | CaseResult::Unknown => YELLOW,
    }
}

pub(super) fn paint(color: Color, code: &str, text: &str) -> String {
    match color {
        Color::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        Color::None => text.to_owned(),
    }
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
/// As much of the console as shows a panic's cause; the rest is in `console.raw`.
const TAIL_LINES_MAX: usize = 12;
/// Of each suite, at the end of a run; `pumice results` shows all.
const CASES_SHOWN_MAX: usize = 20;
/// Of a reason; the rest is in the record.
const WHY_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{panicked_run, run_with_cases};
    use super::*;

    #[test]
    fn the_table() {
        let summary = Summary::of(&panicked_run());
        let text = table(&summary, Path::new("runs/2012-03-01-smoke-abc234"), Color::None);
        assert_eq!(
            text,
            "uname  pass       0.50 s\n\
             audio  fail       0.50 s  exit status 1\n\
             crash  unknown    0.00 s\n\
             \n\
             TestError: the kernel of the test image panicked\n\
             TestError: 1 passed, 1 failed, 1 unknown in 12.5 s\n\
             runs/2012-03-01-smoke-abc234\n"
        );
    }

    #[test]
    fn cases_in_the_table() {
        let summary = Summary::of(&run_with_cases());
        let shown = results(&summary, Path::new("runs/x"), Color::None, Cases::All);
        assert_eq!(
            shown,
            "smoke   timeout    30.5 s  1 passed, 2 failed, 1 skipped, 1 unknown; timeout\n  \
             pass     disk/read-rate  41.5 MB/s\n  \
             fail     disk/<a> & \"b\": ], 'c'\\u{1b}[2J (expected: 3)\n  \
             skip     sound (no sound card)\n  \
             unknown  hangs (its end was not seen)\n\
             stress  fail        3.0 s  kernel oops: Internal error: Oops: 5 [#1] ARM\n\
             \n\
             Timeout: 1 passed, 3 failed, 1 skipped, 1 unknown in 50.0 s\n\
             runs/x\n"
        );
        let short = table(&summary, Path::new("runs/x"), Color::None);
        assert_eq!(short.lines().count(), shown.lines().count() - 2);
        let live: Vec<String> =
            run_with_cases().iter().filter_map(|event| line(&event.event, Color::None)).collect();
        assert!(
            live.contains(&"  fail    disk/<a> & \"b\": ], 'c'\\u{1b}[2J (expected: 3)".to_owned()),
            "{live:?}"
        );
        assert!(!live.iter().any(|line| line.contains("read-rate") || line.contains('\u{1b}')));
    }

    #[test]
    fn boards_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\r\n\u{202e}\tb"), "a\\u{1b}[2J\\u{d}\\u{a}\\u{202e} b");
        for stamped in panicked_run() {
            let text = line(&stamped.event, Color::None).unwrap();
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn times() {
        for (seconds, text) in [
            (0.0, "0.00 s"),
            (12.54, "12.5 s"),
            (185.0, "3 min 05 s"),
            (7260.0, "2 h 01 min"),
            (f64::NAN, "? s"),
        ] {
            assert_eq!(period(seconds), text);
        }
    }
}
