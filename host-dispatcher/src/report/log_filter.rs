//! Which lines of a timeline somebody wants to see.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use regex::{Regex, RegexBuilder};

use crate::job::event::{LogRecord, Source};

/// What a line must be to be shown; what is not said does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// From one of these sources; from any if there are none.
    pub sources: Vec<Source>,
    /// Of this level or a graver one (a smaller number). Lines of sources without levels are then left out.
    pub level: Option<Level>,
    /// Output of this suite, `SUITE`, or of one of its cases, `SUITE/CASE`.
    pub test: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// With a text that this matches.
    pub grep: Option<Regex>,
}

/// A syslog level, 0 to 7, from its number or its word as in syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub u8);

/// A time, as a person says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// `2026-03-01T12:00:00Z`.
    At(Timestamp),
    /// `12:00:30`, UTC: the first one that is not before the run's start.
    Clock(Time),
    /// `12.5`, seconds from the run's start.
    AfterStart(f64),
}

/// A text that is no level, time or source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood(&'static str);

impl Filter {
    /// Whether a line is shown.
    pub fn takes(&self, record: &LogRecord) -> bool {
        (self.sources.is_empty() || self.sources.contains(&record.source))
            && self.level.is_none_or(|most| record.level.is_some_and(|level| level <= most.0))
            && self.test.as_deref().is_none_or(|test| is_of(record, test))
            && self.since.is_none_or(|since| record.host_time >= since)
            && self.until.is_none_or(|until| record.host_time <= until)
            && self.grep.as_ref().is_none_or(|regex| regex.is_match(&record.text))
    }
}

impl When {
    /// The moment, in a run that started at `start`.
    pub fn in_run(self, start: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Clock(time) => {
                let date = start.to_zoned(TimeZone::UTC).date();
                let on = |date: jiff::civil::Date| {
                    date.at(time.hour(), time.minute(), time.second(), time.subsec_nanosecond())
                        .to_zoned(TimeZone::UTC)
                        .map_or(start, |zoned| zoned.timestamp())
                };
                let same_day = on(date);
                if same_day >= start { same_day } else { date.tomorrow().map_or(same_day, on) }
            }
            Self::AfterStart(seconds) => SignedDuration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|after| start.checked_add(after).ok())
                .unwrap_or(Timestamp::MAX),
        }
    }
}

/// A regular expression of bounded size; the crate's matching takes time linear in the text.
///
/// # Errors
/// What is wrong with it.
pub fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| error.to_string())
}

/// A source by its word; `-` will do for `_`.
///
/// # Errors
/// It is none.
pub fn source(text: &str) -> Result<Source, NotUnderstood> {
    let word = text.trim().replace('-', "_");
    Source::ALL
        .into_iter()
        .find(|source| source.as_str() == word)
        .ok_or(NotUnderstood("kernel, stdout, stderr, user_console, console, agent, dispatcher or boot_loader is expected"))
}

fn is_of(record: &LogRecord, test: &str) -> bool {
    let Some(suite) = record.suite.as_deref() else { return false };
    // A suite's name may hold a slash, and so may a case's.
    let case = test.strip_prefix(suite).and_then(|rest| rest.strip_prefix('/'));
    suite == test || (case.is_some() && record.case.as_deref() == case)
}

impl FromStr for Level {
    type Err = NotUnderstood;

    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        let words = [
            ["emerg", "emergency", "panic"],
            ["alert", "", ""],
            ["crit", "critical", ""],
            ["err", "error", ""],
            ["warn", "warning", ""],
            ["notice", "", ""],
            ["info", "", ""],
            ["debug", "", ""],
        ];
        let by_word = words.iter().position(|words| !text.is_empty() && words.contains(&text));
        let by_number = text.parse::<usize>().ok().filter(|level| *level < words.len());
        by_word.or(by_number).and_then(|level| u8::try_from(level).ok()).map(Self).ok_or(
            NotUnderstood(
                "0 to 7, emerg, alert, crit, err, warn, notice, info or debug is expected",
            ),
        )
    }
}

impl FromStr for When {
    type Err = NotUnderstood;

    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        let seconds = text.strip_suffix('s').unwrap_or(text);
        if let Ok(seconds) = seconds.parse::<f64>()
            && seconds.is_finite()
        {
            return Ok(Self::AfterStart(seconds));
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time));
        }
        let is_clock = text.contains(':')
            && text.bytes().all(|byte| byte.is_ascii_digit() || b":.".contains(&byte));
        match text.parse::<Time>() {
            Ok(time) if is_clock => Ok(Self::Clock(time)),
            _ => Err(NotUnderstood(
                "seconds from the run's start, HH:MM:SS (UTC) or a time like 2026-03-01T12:00:00Z is expected",
            )),
        }
    }
}

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotUnderstood {}

/// Far more than anybody types.
const REGEX_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(source: Source, level: Option<u8>, test: Option<(&str, Option<&str>)>) -> LogRecord {
        LogRecord {
            level,
            suite: test.map(|(suite, _)| suite.to_owned()),
            case: test.and_then(|(_, case)| case.map(str::to_owned)),
            ..LogRecord::new(Timestamp::from_second(100).unwrap(), source, "usb 1-1: new device")
        }
    }

    #[test]
    fn filters() {
        let kernel = record(Source::Kernel, Some(4), None);
        let stdout = record(Source::Stdout, None, Some(("net/udp", Some("a/b"))));
        let time = |second| Timestamp::from_second(second).ok();
        let all = Filter::default();
        for (filter, takes_kernel, takes_stdout) in [
            (all.clone(), true, true),
            (Filter { sources: vec![Source::Kernel], ..all.clone() }, true, false),
            (Filter { level: Some(Level(4)), ..all.clone() }, true, false),
            (Filter { level: Some(Level(3)), ..all.clone() }, false, false),
            (Filter { test: Some("net/udp".into()), ..all.clone() }, false, true),
            (Filter { test: Some("net/udp/a/b".into()), ..all.clone() }, false, true),
            (Filter { test: Some("net/udp/a".into()), ..all.clone() }, false, false),
            (Filter { test: Some("net".into()), ..all.clone() }, false, false),
            (Filter { since: time(100), until: time(100), ..all.clone() }, true, true),
            (Filter { since: time(101), ..all.clone() }, false, false),
            (Filter { until: time(99), ..all.clone() }, false, false),
            (Filter { grep: regex("usb [0-9]-").ok(), ..all.clone() }, true, true),
            (Filter { grep: regex("^new").ok(), ..all }, false, false),
        ] {
            assert_eq!(
                (filter.takes(&kernel), filter.takes(&stdout)),
                (takes_kernel, takes_stdout),
                "{filter:?}"
            );
        }
    }

    #[test]
    fn words() {
        assert_eq!("warn".parse(), Ok(Level(4)));
        assert_eq!("7".parse(), Ok(Level(7)));
        for bad in ["8", "", "loud", "-1"] {
            assert!(bad.parse::<Level>().is_err(), "{bad}");
        }
        assert_eq!(source("boot-loader"), Ok(Source::BootLoader));
        assert!(source("radio").is_err());
        assert!(regex("a{1000}{1000}").is_err() && regex("(").is_err());
    }

    #[test]
    fn times() {
        let start: Timestamp = "2026-03-01T23:59:00Z".parse().unwrap();
        for (text, expected) in [
            ("0", "2026-03-01T23:59:00Z"),
            ("12.5s", "2026-03-01T23:59:12.5Z"),
            ("23:59:30", "2026-03-01T23:59:30Z"),
            ("00:00:10", "2026-03-02T00:00:10Z"),
            ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00Z"),
        ] {
            let when: When = text.parse().unwrap();
            assert_eq!(when.in_run(start), expected.parse().unwrap(), "{text}");
        }
        for bad in ["", "noon", "25:00:00", "inf", "NaN", "12:00:00Z", "2026-03-01"] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
        assert_eq!(When::AfterStart(1e300).in_run(start), Timestamp::MAX);
    }
}
