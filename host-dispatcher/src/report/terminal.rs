//! For a person who watches: lines that stay, and below them one that moves.

use std::io::Write;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Reporter;
use super::summary::Summary;
use super::text::{self, Color};
use crate::job::event::{Event, Stamped};
use crate::job::verdict::Tally;

/// Draws on standard error; the summary goes to standard output.
#[derive(Debug)]
pub struct Terminal {
    bar: ProgressBar,
    /// What the bar shows, so that its style is set once per kind.
    shows: Shows,
    is_paused: bool,
    lines: Color,
    table: Color,
    /// Results of the suite that runs.
    counted: Tally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Words,
    Bytes,
    BytesOfTotal,
}

impl Terminal {
    /// A reporter with colours in its lines, and in the summary, or without.
    pub fn new(color_lines: bool, color_table: bool) -> Self {
        let color = |yes| if yes { Color::Ansi } else { Color::None };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style(Shows::Words));
        Self {
            bar,
            shows: Shows::Words,
            is_paused: false,
            lines: color(color_lines),
            table: color(color_table),
            counted: Tally::default(),
        }
    }

    fn show(&mut self, shows: Shows) {
        if self.shows != shows {
            self.shows = shows;
            self.bar.set_style(style(shows));
        }
    }

    fn begin(&mut self, what: &str) {
        self.show(Shows::Words);
        self.bar.reset();
        self.bar.set_message(text::printable(what));
    }
}

impl Reporter for Terminal {
    fn event(&mut self, stamped: &Stamped) {
        match &stamped.event {
            Event::ActionStarted { action } => self.begin(action),
            Event::ActionProgress { action, done_bytes, total_bytes } => {
                match total_bytes {
                    Some(total) => {
                        self.bar.set_length(*total);
                        self.show(Shows::BytesOfTotal);
                    }
                    None => self.show(Shows::Bytes),
                }
                self.bar.set_message(text::printable(action));
                self.bar.set_position(*done_bytes);
            }
            Event::ActionEnded { .. } => self.begin(""),
            Event::TestStarted { suite } => {
                self.counted = Tally::default();
                self.begin(&format!("test {suite}"));
            }
            Event::CaseEnded(case) => {
                self.counted.add(case.result);
                let counts = text::counts_of(&self.counted);
                self.bar.set_message(text::printable(&format!("{}: {counts}", case.suite)));
            }
            Event::Phase { to, .. } => self.begin(&format!("board: {to}")),
            _ => {}
        }
        // What is under way stands in the moving line; a line for its beginning would be said twice.
        let moving = matches!(stamped.event, Event::TestStarted { .. } | Event::Phase { .. });
        if let Some(line) = text::line(&stamped.event, self.lines).filter(|_| !moving) {
            self.bar.println(line);
        }
    }

    fn tick(&mut self) {
        if !self.is_paused {
            self.bar.tick();
        }
    }

    fn pause(&mut self) {
        self.is_paused = true;
        self.bar.finish_and_clear();
    }

    fn finish(&mut self, summary: &Summary, directory: &Path) {
        self.bar.finish_and_clear();
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text::table(summary, directory, self.table).as_bytes());
        let _ = out.flush();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(shows: Shows) -> ProgressStyle {
    let template = match shows {
        Shows::Words => "{spinner} {msg} {elapsed}",
        Shows::Bytes => "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}",
        Shows::BytesOfTotal => {
            "{spinner} {msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta}"
        }
    };
    // A template that is not understood costs the bar, not the run; a test reads all three.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{panicked_run, run_with_cases};
    use super::*;

    #[test]
    fn takes_every_event() {
        let mut terminal = Terminal::new(false, false);
        terminal.bar.set_draw_target(ProgressDrawTarget::hidden());
        let time = panicked_run()[0].time;
        let progress = |total_bytes| Event::ActionProgress {
            action: "deploy".into(),
            done_bytes: 5,
            total_bytes,
        };
        for event in
            [Event::ActionStarted { action: "deploy".into() }, progress(None), progress(Some(10))]
        {
            terminal.event(&Stamped { time, event });
        }
        assert_eq!(
            (terminal.shows, terminal.bar.position(), terminal.bar.length()),
            (Shows::BytesOfTotal, 5, Some(10))
        );
        panicked_run().iter().for_each(|event| terminal.event(event));
        assert_eq!(terminal.shows, Shows::Words);
        run_with_cases().iter().take(5).for_each(|event| terminal.event(event));
        assert_eq!(terminal.bar.message(), "smoke: 1 passed, 1 failed, 1 skipped");
    }
}
