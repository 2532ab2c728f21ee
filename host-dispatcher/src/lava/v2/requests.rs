//! Requests of a multinode protocol, of roles and of actions (`lava_dispatcher/protocols/multinode.py`, 2023.01): they become
//! tests, in which the helpers make them.
//!
//! All boards of a job begin their tests together, when all are prepared. So what was to happen before an action happens before
//! the tests of its round: nobody's tests have begun by then that could have said what is waited for.

use super::super::output::Map;
use super::super::report::Report;
use super::super::tree::{Field, Keys};
use super::round::Round;
use super::timeout::timeout;

/// `protocols` of an action.
pub(super) fn of_action(field: Field, round: &mut Round, report: &mut Report) {
    let mut keys = field.keys(report);
    let requests = keys.take("lava-multinode").map(Field::items).unwrap_or_default();
    keys.end(report);
    for request in requests {
        of_one(request, round, report);
    }
}

/// What a role that begins later waits for before its tests, from `request` and `expect_role` of its keys.
pub(super) fn of_role(keys: &mut Keys, report: &mut Report) -> Option<(String, Map)> {
    let request = keys.take("request")?;
    let word = request.clone().text(report)?;
    if word.replace('_', "-") != "lava-start" {
        report.unsupported(&request, "a role waits for nothing but lava-start");
        return None;
    }
    let Some(expected) = keys.take("expect_role") else {
        report.missing(request.at, &keys.path_of("expect_role"), "expect_role: server");
        return None;
    };
    let role = expected.clone().text(report)?;
    report.mapped(&request, "a test before all others, which waits for it");
    report.mapped(&expected, "whom that waits for");
    Some((LAVA_START.to_owned(), run(format!("lava-wait-all {LAVA_START} {}", word_of(&role)))))
}

fn of_one(request: Field, round: &mut Round, report: &mut Report) {
    let mut keys = request.keys(report);
    let at = keys.at;
    if let Some(field) = keys.take("action") {
        report.ignored(&field, "it is made before the tests of the round");
    }
    let period = keys.take("timeout").and_then(|field| timeout(field, report));
    let id = keys.take("messageID").and_then(|field| field.text(report));
    let role = keys.take("role").and_then(|field| field.text(report));
    let message = keys.take("message");
    let Some(field) = keys.take("request") else {
        report.missing(at, &keys.path_of("request"), "request: lava-sync");
        return keys.end(report);
    };
    let helper = field.clone().text(report).unwrap_or_default().replace('_', "-");
    let id = match (helper.as_str(), id) {
        ("lava-start", _) => LAVA_START.to_owned(),
        (_, Some(id)) => id,
        _ => {
            report.missing(at, &keys.path_of("messageID"), "messageID: ready");
            return keys.end(report);
        }
    };
    keys.end(report);
    let mut words = vec![helper.clone(), word_of(&id)];
    match helper.as_str() {
        "lava-send" => words.extend(message.map(|field| pairs(field, report)).unwrap_or_default()),
        "lava-start" => words[0] = "lava-send".to_owned(),
        "lava-wait" | "lava-sync" => note_message(message, report),
        "lava-wait-all" => {
            note_message(message, report);
            words.extend(role.as_deref().map(word_of));
        }
        _ => {
            return report.unsupported(
                &field,
                "lava-send, lava-wait, lava-wait-all, lava-sync and lava-start are made",
            );
        }
    }
    report.mapped(&field, "a test before those of the action");
    let mut test = run(words.join(" "));
    if let Some(period) = period {
        test.set("timeout", period);
    }
    if !round.add(&format!("{helper} {id}"), test) {
        report.unsupported(&field, "a job has no place for so many tests");
    }
}

/// What is sent along.
fn pairs(field: Field, report: &mut Report) -> Vec<String> {
    if !field.is_map() {
        return field.text(report).map(|text| word_of(&text)).into_iter().collect();
    }
    let mut words = Vec::new();
    for (key, field) in field.keys(report).rest() {
        let Some(text) = field.clone().text(report) else { continue };
        if text.starts_with('$') {
            report.unsupported(
                &field,
                "values of LAVA's own actions are not known here: send it in a test",
            );
        }
        words.push(word_of(&format!("{key}={text}")));
    }
    words
}

/// What is asked for of a message stands where helpers write it.
fn note_message(message: Option<Field>, report: &mut Report) {
    if let Some(field) = message {
        report.ignored(&field, "what comes with it stands in /tmp/lava_multi_node_cache.txt");
    }
}

fn run(command: String) -> Map {
    let mut test = Map::default();
    test.set("run", command);
    test
}

/// A word as a shell reads it.
fn word_of(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-=:/".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// What a role says to those that wait for it.
const LAVA_START: &str = "lava_start";
