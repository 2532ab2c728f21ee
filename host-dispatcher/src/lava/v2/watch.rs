//! `monitors` and `interactive`: tests whose results are patterns.

use std::collections::HashSet;

use regex::Regex;

use super::super::import::name_of;
use super::super::output::{Map, Yaml};
use super::super::report::Report;
use super::super::tree::{Field, Keys, Value};
use crate::config::template::braced;

/// Where a script of commands is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the image's shell: here the agent runs them in one.
    Shell,
    /// At the boot loader's prompt.
    BootLoader,
}

impl Place {
    fn key(self) -> &'static str {
        match self {
            Self::Shell => "tests[].interactive",
            Self::BootLoader => "boot_loader_tests[].interactive",
        }
    }
}

/// A monitor as a test, with its name.
pub(super) fn monitor(
    field: Field,
    period: Option<&str>,
    report: &mut Report,
) -> Option<(String, Map)> {
    let whole = field.clone();
    let mut keys = field.keys(report);
    let name = name(&mut keys, Place::Shell, report);
    let mut monitor = Map::default();
    let mut is_whole = true;
    for (key, ours) in [("start", "start"), ("end", "end")] {
        match keys.take(key) {
            Some(field) => match field.text(report).as_deref().and_then(literal) {
                Some(text) => {
                    report.mapped(&field, format!("tests[].monitor.{ours}"));
                    monitor.set(ours, text);
                }
                None => {
                    is_whole = false;
                    report.unsupported(
                        &field,
                        "a text is looked for, not a pattern: write the text itself",
                    );
                }
            },
            None => {
                is_whole = false;
                report.missing(keys.at, &keys.path_of(key), &format!("{key}: …"));
            }
        }
    }
    match keys.take("pattern") {
        Some(field) => match pattern(&field, report) {
            Some(pattern) => {
                report.mapped(&field, "tests[].monitor.pattern");
                monitor.set("pattern", pattern);
            }
            None => is_whole = false,
        },
        None => {
            is_whole = false;
            report.missing(keys.at, &keys.path_of("pattern"), "pattern: (?P<test_case_id>…)");
        }
    }
    if let Some(field) = keys.take("fixupdict") {
        report.mapped(&field, "tests[].monitor.results");
        let mut results = Map::default();
        for (word, field) in field.keys(report).rest() {
            if let Some(result) = field.text(report) {
                results.set(&word, result);
            }
        }
        monitor.set("results", results);
    }
    if let Some(field) = keys.take("expected") {
        report.ignored(&field, "the cases that came are the results");
    }
    keys.end(report);
    report.ignored(
        &whole,
        "the kernel's log is looked at, from its first line on, and not the console",
    );
    is_whole.then(|| (name, test("monitor", monitor, period)))
}

/// A script of commands as a test, with its name.
pub(super) fn interactive(
    field: Field,
    period: Option<&str>,
    at: Place,
    report: &mut Report,
) -> Option<(String, Map)> {
    let mut keys = field.keys(report);
    let name = name(&mut keys, at, report);
    let ignored = match at {
        Place::Shell => [
            ("prompts", "no prompt is waited for: the agent runs the commands"),
            ("echo", "nothing is typed, so nothing comes back"),
        ],
        Place::BootLoader => [
            ("prompts", "the board type has the boot loader's prompt"),
            ("echo", "each command is checked by its echo, which is none of its output"),
        ],
    };
    for (key, why) in ignored {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, why);
        }
    }
    let script = keys.take("script").map(|field| field.list(report)).unwrap_or_default();
    keys.end(report);
    let mut known = HashSet::new();
    let commands: Vec<Yaml> = script
        .into_iter()
        .filter_map(|field| Some(command(field, at, &mut known, report)?.into()))
        .collect();
    (!commands.is_empty()).then(|| (name, test("interactive", commands, period)))
}

/// `known` are the names of what earlier successes have matched.
fn command(
    field: Field,
    at: Place,
    known: &mut HashSet<String>,
    report: &mut Report,
) -> Option<Map> {
    let key = at.key();
    let whole = field.clone();
    let mut keys = field.keys(report);
    let mut command = Map::default();
    if let Some(field) = keys.take("delay") {
        let seconds = field.number(report).filter(|seconds| *seconds > 0);
        report.mapped(&field, format!("{key}.delay"));
        // With a delay LAVA looks at nothing else of it.
        command.set("command", if at == Place::Shell { ":" } else { "" });
        command.set("delay", seconds.unwrap_or(1));
        let _ = keys.rest();
        return Some(command);
    }
    for helper in ["lava-send", "lava-sync", "lava-wait", "lava-wait-all"] {
        if let Some(field) = keys.take(helper)
            && let Some(text) = field.text(report)
        {
            match at {
                Place::Shell => report.mapped(&field, format!("{key}.command")),
                Place::BootLoader => report.unsupported(
                    &field,
                    "a boot loader sends no messages: do it in a test of the image",
                ),
            }
            // What a script writes as `ID ROLE` is `ID role=ROLE` there.
            let words = text.replace(" role=", " ");
            command.set("command", format!("{helper} {words}"));
        }
    }
    match keys.take("command") {
        Some(field) if field.value == Value::Null => {
            report.unsupported(
                &field,
                "an output belongs to its command: give successes and failures to the command before",
            );
        }
        Some(field) => {
            if let Some(text) = field.text(report) {
                match at {
                    Place::Shell if braced(&text).next().is_some() => report.unsupported(
                        &field,
                        "words of earlier outputs ({…}) are not put into commands: keep them in variables of the shell",
                    ),
                    Place::BootLoader if braced(&text).any(|word| !known.contains(word)) => report
                        .unsupported(
                            &field,
                            "no success before it matches what stands in braces: write what is meant",
                        ),
                    _ => report.mapped(&field, format!("{key}.command")),
                }
                command.set("command", text);
            }
        }
        None if command.is_empty() => {
            report.missing(whole.at, &keys.path_of("command"), "command: ls")
        }
        None => {}
    }
    if let Some(field) = keys.take("name")
        && let Some(text) = field.text(report)
    {
        report.mapped(&field, format!("{key}.name"));
        command.set("name", name_of(&text));
    }
    if let Some(field) = keys.take("wait_for_prompt")
        && field.value != Value::Bool(true)
    {
        let why = match at {
            Place::Shell => "each command runs to its end before the next one",
            Place::BootLoader => "a command that leaves the prompt is judged by its successes",
        };
        report.ignored(&field, why);
    }
    if let Some(field) = keys.take("successes") {
        let patterns: Vec<String> = field
            .list(report)
            .into_iter()
            .filter_map(|field| message(field, key, report))
            .collect();
        for pattern in patterns.iter().filter_map(|pattern| Regex::new(pattern).ok()) {
            known.extend(pattern.capture_names().flatten().map(str::to_owned));
        }
        command.set("successes", patterns);
    }
    if let Some(field) = keys.take("failures") {
        let failures: Vec<Yaml> = field
            .list(report)
            .into_iter()
            .filter_map(|field| Some(failure(field, key, report)?.into()))
            .collect();
        command.set("failures", failures);
    }
    keys.end(report);
    command.get("command").is_some().then_some(command)
}

fn message(field: Field, list: &str, report: &mut Report) -> Option<String> {
    let mut keys = field.keys(report);
    let at = keys.at;
    let Some(field) = keys.take("message") else {
        report.missing(at, &keys.path_of("message"), "message: …");
        return None;
    };
    keys.end(report);
    let pattern = pattern(&field, report)?;
    report.mapped(&field, format!("{list}.successes"));
    Some(pattern)
}

fn failure(field: Field, list: &str, report: &mut Report) -> Option<Map> {
    let mut keys = field.keys(report);
    let at = keys.at;
    let Some(field) = keys.take("message") else {
        report.missing(at, &keys.path_of("message"), "message: …");
        return None;
    };
    let pattern = pattern(&field, report)?;
    report.mapped(&field, format!("{list}.failures"));
    let mut failure = Map::default();
    failure.set("message", pattern.as_str());
    let error = keys.take("error").and_then(|field| {
        report.mapped(&field, format!("{list}.failures.stop"));
        field.text(report)
    });
    if let Some(field) = keys.take("exception") {
        report.mapped(&field, format!("{list}.failures.stop: a TestError"));
        failure.set("stop", error.unwrap_or(pattern));
    }
    keys.end(report);
    Some(failure)
}

fn name(keys: &mut Keys, at: Place, report: &mut Report) -> String {
    let name = keys.take("name").and_then(|field| {
        report.mapped(&field, at.key().replace("interactive", "name"));
        field.text(report)
    });
    name.unwrap_or_else(|| "test".to_owned())
}

fn test(key: &str, what: impl Into<Yaml>, period: Option<&str>) -> Map {
    let mut test = Map::default();
    test.set(key, what);
    if let Some(period) = period {
        test.set("timeout", period);
    }
    test
}

/// A pattern of Python's that means the same here.
fn pattern(field: &Field, report: &mut Report) -> Option<String> {
    let text = field.text(report)?;
    if Regex::new(&text).is_err() {
        report.unsupported(
            field,
            "no look-around and no references to groups: https://docs.rs/regex/#syntax says what there is",
        );
        return None;
    }
    Some(text)
}

/// The text that a pattern stands for, if it is one alone: with `\.` for a point, or the point itself.
fn literal(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.push(characters.next().filter(|c| !c.is_alphanumeric())?),
            '^' | '$' | '|' | '?' | '*' | '+' | '(' | ')' | '[' | ']' | '{' | '}' => return None,
            c => text.push(c),
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_braced() {
        for (pattern, text) in [
            ("Starting tests...", Some("Starting tests...")),
            (r"\[end\] of it\.", Some("[end] of it.")),
            (r"a\d", None),
            ("a|b", None),
            ("", None),
        ] {
            assert_eq!(literal(pattern).as_deref(), text, "{pattern}");
        }
        assert_eq!(braced("ping {ip} {x}").collect::<Vec<_>>(), ["ip", "x"]);
        assert_eq!(braced("echo ${ip} {a,b} { x; }").next(), None);
    }
}
