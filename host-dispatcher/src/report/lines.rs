//! Plain lines, for a log file or a pipe.

use std::io::Write;
use std::path::Path;

use super::Reporter;
use super::summary::Summary;
use super::text::{self, Color};
use crate::job::event::{Event, Stamped};

/// Writes a line for each event to one place, and the summary to another.
#[derive(Debug)]
pub struct Lines<L, S> {
    lines: L,
    summary: S,
    /// Stands before each line, where several runs write to one place.
    label: String,
}

impl<L: Write, S: Write> Lines<L, S> {
    /// A reporter that writes lines to `lines` and the summary to `summary`.
    pub fn new(lines: L, summary: S) -> Self {
        Self { lines, summary, label: String::new() }
    }

    /// The same, of one of several runs that write to one place: `label` stands before each line.
    pub fn labeled(label: &str, lines: L, summary: S) -> Self {
        Self { lines, summary, label: format!("{label}: ") }
    }
}

impl<L: Write, S: Write> Reporter for Lines<L, S> {
    fn event(&mut self, stamped: &Stamped) {
        let line = match &stamped.event {
            // Without a bar the beginning of a long step is worth a line.
            Event::ActionStarted { action } => Some(format!("{} …", text::printable(action))),
            event => text::line(event, Color::None),
        };
        if let Some(line) = line {
            let _ = writeln!(self.lines, "{:.3} {}{line}", stamped.time, self.label);
        }
    }

    fn finish(&mut self, summary: &Summary, directory: &Path) {
        let _ = self.lines.flush();
        let _ = self.summary.write_all(text::table(summary, directory, Color::None).as_bytes());
        let _ = self.summary.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::panicked_run;
    use super::*;

    #[test]
    fn a_run() {
        let events = panicked_run();
        let (mut lines, mut table) = (Vec::new(), Vec::new());
        let mut reporter = Lines::new(&mut lines, &mut table);
        events.iter().for_each(|event| reporter.event(event));
        reporter.finish(&Summary::of(&events), Path::new("runs/x"));
        let lines = String::from_utf8(lines).unwrap();
        assert!(
            lines.starts_with(
                "2012-03-01T00:00:00.000Z run 2012-03-01-smoke-abc234 of \"smoke\" on qemu-01"
            ),
            "{lines}"
        );
        assert!(lines.contains("test audio: exit status 1 in 0.50 s\n"), "{lines}");
        assert!(
            lines.contains("\n    | Kernel panic - not syncing: sysrq triggered crash\n"),
            "{lines}"
        );
        assert!(String::from_utf8(table).unwrap().ends_with("runs/x\n"));
    }
}
