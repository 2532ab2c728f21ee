//! A line of the timeline for a person: time from the run's start, source, level, text.

use jiff::Timestamp;

use super::text::{Color, paint, printable};
use crate::job::event::{LogRecord, Source};

/// The line, with its end. A record of several lines has what stands before it in front of each.
pub fn line(record: &LogRecord, start: Timestamp, color: Color) -> String {
    let micros = record.host_time.as_microsecond() - start.as_microsecond();
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    let time = format!("{:>6}.{rest:06}", format!("{sign}{seconds}"));
    let source = paint(color, hue(record.source), &format!("{:<12}", record.source.as_str()));
    let level = record.level.map_or("", word);
    let level = match record.level {
        Some(0..=3) => paint(color, "31", &format!("{level:<6}")),
        Some(4) => paint(color, "33", &format!("{level:<6}")),
        _ => format!("{level:<6}"),
    };
    let head = format!("{time} {source} {level} ");
    let mut text = String::new();
    if let Some(lost) = record.lost {
        let mark = paint(color, "33", &format!("[{lost} lines are missing here]"));
        text.push_str(&format!("{head}{mark}\n"));
        if record.text.is_empty() {
            return text;
        }
    }
    for line in record.text.split('\n') {
        let line = printable(line.trim_end_matches('\r'));
        text.push_str(format!("{head}{line}").trim_end());
        text.push('\n');
    }
    text
}

fn word(level: u8) -> &'static str {
    const WORDS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
    WORDS.get(usize::from(level)).copied().unwrap_or("?")
}

/// Of each source another colour, none of those that say how grave something is.
fn hue(source: Source) -> &'static str {
    match source {
        Source::Kernel => "36",
        Source::Stdout => "32",
        Source::Stderr => "35",
        Source::UserConsole => "34",
        Source::Console => "90",
        Source::Agent => "94",
        Source::Dispatcher => "1",
        Source::BootLoader => "96",
        Source::AgentLine => "95",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let start = Timestamp::from_second(100).unwrap();
        let mut record = LogRecord {
            level: Some(4),
            ..LogRecord::new(
                Timestamp::from_microsecond(112_345_678).unwrap(),
                Source::Kernel,
                "one\u{1b}[2J\ntwo",
            )
        };
        assert_eq!(
            line(&record, start, Color::None),
            "    12.345678 kernel       warn   one\\u{1b}[2J\n    12.345678 kernel       warn   two\n"
        );
        assert!(line(&record, start, Color::Ansi).starts_with(
            "    12.345678 \u{1b}[36mkernel      \u{1b}[0m \u{1b}[33mwarn  \u{1b}[0m one"
        ));
        record.lost = Some(7);
        record.source = Source::Stdout;
        record.level = None;
        record.text = String::new();
        record.host_time = Timestamp::from_microsecond(99_500_000).unwrap();
        assert_eq!(
            line(&record, start, Color::None),
            "    -0.500000 stdout              [7 lines are missing here]\n"
        );
    }
}
