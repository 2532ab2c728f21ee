//! LAVA's job log: a list in YAML, an item a line, `{dt, lvl, msg, ns}`.
//!
//! As `lava_common/log.py` writes it. Everything from the board has the level `target`; what the dispatcher and the agent
//! say is `info`, `warning`, `error` or `debug`; a result is `results` with LAVA's keys. `ns` is the source, so that
//! what LAVA cannot tell apart still can be: `kernel`, `stdout`, and so on. LAVA itself sets it for `feedback` only.

use serde::Serialize;
use serde_json::{Map, Value};

use super::lava::{job_row, log_time, message};
use super::rows::{self, Row};
use super::summary::Summary;
use super::yaml;
use crate::job::event::{Case, Event, LogRecord, Source, Stamped};

#[derive(Serialize)]
struct Item<'a> {
    dt: String,
    lvl: &'static str,
    msg: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns: Option<&'a str>,
}

/// The item of a line of the timeline.
pub fn record(record: &LogRecord) -> String {
    let lvl = match (record.source, record.level) {
        (Source::Dispatcher, Some(0..=3)) => "error",
        (Source::Dispatcher, Some(4)) => "warning",
        (Source::Dispatcher, _) => "info",
        (Source::Agent, _) => "debug",
        _ => "target",
    };
    let text = match record.lost {
        Some(lost) => format!("[{lost} lines are missing here] {}", record.text),
        None => record.text.clone(),
    };
    let ns = Some(record.source.as_str());
    yaml::item(&Item { dt: log_time(record.host_time), lvl, msg: text.into(), ns })
}

/// The item of an event that is a result; nothing for others, which have their line on the timeline.
pub fn event(stamped: &Stamped) -> Option<String> {
    let Event::CaseEnded(case) = &stamped.event else { return None };
    Some(results(stamped.time, message(&row_of(case))))
}

/// The items at the end: suites that count themselves, and the result of the run itself.
pub fn end(summary: &Summary) -> String {
    let Some(time) = summary.ended else { return String::new() };
    let suites = rows::of_suites(summary).filter(|row| {
        // A case without an end was never told as an event.
        row.case.as_ref().is_none_or(|case| matches!(case, std::borrow::Cow::Owned(_)))
    });
    suites.chain([job_row(summary)]).map(|row| results(time, message(&row))).collect()
}

fn results(time: jiff::Timestamp, mut message: Map<String, Value>) -> String {
    // One result that its tables cannot hold costs a LAVA server the whole import: such values have other names.
    for (key, other, fits) in [
        ("set", "set_name", fits_set as fn(&Value) -> bool),
        ("measurement", "measured", fits_measurement),
    ] {
        if let Some(value) = message.remove(key) {
            message.insert(if fits(&value) { key } else { other }.to_owned(), value);
        }
    }
    yaml::item(&Item { dt: log_time(time), lvl: "results", msg: message.into(), ns: None })
}

/// What `urllib.parse.quote` leaves as it is (lava_results_app/dbutils.py, `_check_for_testset`), and fits the column.
fn fits_set(set: &Value) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte);
    set.as_str().is_some_and(|set| set.len() <= 200 && set.bytes().all(is_plain))
}

/// 30 digits, 10 of them behind the point (lava_results_app/models.py, `TestCase.measurement`).
fn fits_measurement(number: &Value) -> bool {
    number.as_f64().is_some_and(|number| number.abs() < 1e20)
}

fn row_of(case: &Case) -> Row<'_> {
    let logged =
        super::suite::LoggedCase { logged: jiff::Timestamp::UNIX_EPOCH, inner: case.clone() };
    Row {
        suite: &case.suite,
        name: case.case.as_str().into(),
        result: case.result,
        why: case.why.clone(),
        seconds: case.seconds,
        logged: None,
        case: Some(std::borrow::Cow::Owned(logged)),
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::run_with_cases;
    use super::*;

    #[test]
    fn items() {
        let events = run_with_cases();
        let line = LogRecord {
            board_time_us: Some(1),
            level: Some(3),
            ..LogRecord::new(events[0].time, Source::Kernel, "usb \"1-1\"\u{85}")
        };
        assert_eq!(
            record(&line),
            "- {\"dt\": \"2012-03-01T00:00:00.000000\", \"lvl\": \"target\", \"msg\": \"usb \\\"1-1\\\"\\u0085\", \"ns\": \"kernel\"}\n"
        );
        let told = LogRecord { source: Source::Dispatcher, level: Some(4), ..line };
        assert!(record(&told).contains("\"lvl\": \"warning\""));
        assert_eq!(
            event(&events[2]).unwrap(),
            "- {\"dt\": \"2012-03-01T00:00:02.000000\", \"lvl\": \"results\", \"msg\": {\"case\": \"read-rate\", \
             \"definition\": \"smoke\", \"duration\": \"0.25\", \"measurement\": 41.5, \"result\": \"pass\", \
             \"set\": \"disk\", \"units\": \"MB/s\"}}\n"
        );
        assert_eq!(event(&events[0]), None);
        let Event::CaseEnded(mut case) = events[2].event.clone() else { panic!("{:?}", events[2]) };
        (case.set, case.measurement) = (Some("a b".to_owned()), Some(-1e20));
        let odd = event(&Stamped { time: events[2].time, event: Event::CaseEnded(case) }).unwrap();
        assert!(odd.contains("\"measured\": -1e+20") || odd.contains("\"measured\": -1"), "{odd}");
        assert!(odd.contains("\"set_name\": \"a b\"") && !odd.contains("\"set\""), "{odd}");
        let end = end(&Summary::of(&events));
        assert_eq!(end.lines().count(), 4, "{end}");
        assert!(end.ends_with("\"case\": \"job\", \"definition\": \"lava\", \"duration\": \"50.00\", \"result\": \"pass\"}}\n"), "{end}");
    }
}
