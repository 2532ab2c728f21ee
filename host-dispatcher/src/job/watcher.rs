//! What a [`Watch`] finds in a suite's standard output, line by line.

use super::event::CaseOrigin;
use super::output::{Found, FoundCase, NAME_BYTES_MAX, clipped};
use super::verdict::CaseResult;
use super::watch::{Command, Monitor, Watch, begin_mark, end_mark};

/// Reads the output of a suite that has a [`Watch`].
#[derive(Debug)]
pub(super) struct Watcher {
    watch: Watch,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Of a monitor: nothing came yet, cases may come, the end came.
    Silent,
    Running,
    Over,
    /// Of commands: behind so many, and in the next one with what it has printed.
    Command {
        done: usize,
        output: Option<String>,
    },
}

impl Watcher {
    pub(super) fn new(watch: Watch) -> Self {
        let state = match watch {
            Watch::Monitor(_) => State::Silent,
            Watch::Interactive(_) => State::Command { done: 0, output: None },
        };
        Self { watch, state }
    }

    pub(super) fn line(&mut self, line: &str) -> Vec<Found> {
        match (&self.watch, &mut self.state) {
            (Watch::Monitor(_), State::Over) => Vec::new(),
            (Watch::Monitor(monitor), state) => {
                // What stands behind the end is none of it.
                let (before, is_over) = match line.split_once(&monitor.end) {
                    Some((before, _)) => (before, true),
                    None => (line, false),
                };
                *state = if is_over { State::Over } else { State::Running };
                cases(monitor, before)
            }
            (Watch::Interactive(commands), State::Command { done, output }) => {
                let number = *done + 1;
                match output {
                    None if line == begin_mark(number) => *output = Some(String::new()),
                    None => {}
                    Some(text) if line == end_mark(number) => {
                        let found = commands.get(*done).map(|command| ended(command, number, text));
                        *done = number;
                        *output = None;
                        return found.unwrap_or_default();
                    }
                    Some(text) if text.len() + line.len() < OUTPUT_BYTES_MAX => {
                        text.push_str(line);
                        text.push('\n');
                    }
                    Some(_) => {}
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Vec<Found> {
        let why = match (&self.watch, &self.state) {
            (Watch::Monitor(monitor), State::Silent) => {
                format!("\"{}\" did not come", monitor.start)
            }
            (Watch::Monitor(monitor), State::Running) => {
                format!("\"{}\" did not come", monitor.end)
            }
            (Watch::Interactive(commands), State::Command { done, .. }) => {
                let missing = commands.iter().enumerate().skip(*done);
                let unknown = missing.map(|(index, command)| {
                    let name = name_of(command, index + 1);
                    let why = Some("its end was not seen".to_owned());
                    Found::CaseEnded(FoundCase { why, ..case(name, CaseResult::Unknown) })
                });
                return unknown.collect();
            }
            _ => return Vec::new(),
        };
        let failed = FoundCase { why: Some(why), ..case(MONITOR.to_owned(), CaseResult::Fail) };
        vec![Found::CaseEnded(failed)]
    }
}

/// The cases on a line.
fn cases(monitor: &Monitor, line: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for groups in monitor.pattern.0.captures_iter(line) {
        let group = |name| groups.name(name).map(|group| group.as_str().trim());
        let Some(name) = group("test_case_id").map(case_name).filter(|name| !name.is_empty())
        else {
            continue;
        };
        let measurement =
            group("measurement").and_then(|text| text.parse().ok()).filter(|n: &f64| n.is_finite());
        let (result, why) = match group("result") {
            Some(word) => match monitor.results.get(word).copied().or_else(|| result_of(word)) {
                Some(result) => (result, None),
                None => {
                    let why = format!("\"{}\" is no result", clipped(word, NAME_BYTES_MAX));
                    (CaseResult::Unknown, Some(why))
                }
            },
            None if measurement.is_some() => (CaseResult::Pass, None),
            None => continue,
        };
        let units = group("units").filter(|units| !units.is_empty());
        let units = units.map(|units| clipped(units, NAME_BYTES_MAX));
        found.push(Found::CaseEnded(FoundCase { measurement, units, why, ..case(name, result) }));
    }
    found
}

/// What command `number` of a list, from 1, came to by what it printed.
pub(crate) fn ended(command: &Command, number: usize, output: &str) -> Vec<Found> {
    let name = name_of(command, number);
    let failure = command.failures.iter().find(|(pattern, _)| pattern.0.is_match(output));
    let is_missing = !command.successes.is_empty()
        && !command.successes.iter().any(|pattern| pattern.0.is_match(output));
    let why = match failure {
        Some((pattern, _)) => Some(format!("it printed \"{}\"", pattern.0)),
        None if is_missing => {
            let wanted = command.successes.iter().map(|pattern| format!("\"{}\"", pattern.0));
            Some(format!("it printed none of {}", wanted.collect::<Vec<_>>().join(", ")))
        }
        None => None,
    };
    let result = if why.is_some() { CaseResult::Fail } else { CaseResult::Pass };
    let mut found = Vec::new();
    // One without a name is no case, as long as nothing is wrong with it.
    if command.name.is_some() || result == CaseResult::Fail {
        found.push(Found::CaseEnded(FoundCase { why, ..case(name, result) }));
    }
    if let Some((_, Some(stop))) = failure {
        found.push(Found::Raise { text: stop.clone() });
    }
    found
}

/// The case that command `number` of a list is.
pub(crate) fn name_of(command: &Command, number: usize) -> String {
    command.name.clone().unwrap_or_else(|| format!("command-{number}"))
}

fn case(case: String, result: CaseResult) -> FoundCase {
    FoundCase {
        origin: CaseOrigin::Pattern,
        set: None,
        case,
        result,
        measurement: None,
        units: None,
        why: None,
    }
}

/// As LAVA calls a case that a monitor found: lower case, and what is no letter, digit or `_` is one `_`.
fn case_name(text: &str) -> String {
    let mut name = String::new();
    for c in clipped(text, NAME_BYTES_MAX).to_lowercase().chars() {
        if c.is_alphanumeric() || c == '_' {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    name
}

fn result_of(word: &str) -> Option<CaseResult> {
    match word {
        "pass" => Some(CaseResult::Pass),
        "fail" => Some(CaseResult::Fail),
        "skip" => Some(CaseResult::Skip),
        "unknown" => Some(CaseResult::Unknown),
        _ => None,
    }
}

/// The case that says why a monitor did not come to its end.
const MONITOR: &str = "monitor";
/// So much of what a command prints is looked at.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::super::watch::Pattern;
    use super::*;

    fn told(watcher: &mut Watcher, text: &str) -> Vec<String> {
        text.lines().flat_map(|line| watcher.line(line)).map(|found| shown(&found)).collect()
    }

    fn shown(found: &Found) -> String {
        match found {
            Found::CaseEnded(FoundCase { case, result, measurement, units, why, .. }) => {
                let number = measurement.map_or_else(String::new, |number| format!(" {number}"));
                let units = units.as_ref().map_or_else(String::new, |units| format!(" {units}"));
                let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
                format!("{case} {result}{number}{units}{why}")
            }
            Found::Raise { text } => format!("raise {text}"),
            found => format!("{found:?}"),
        }
    }

    fn pattern(text: &str) -> Pattern {
        Pattern(Regex::new(text).unwrap())
    }

    fn monitor(text: &str) -> Watcher {
        Watcher::new(Watch::Monitor(Monitor {
            start: "go".into(),
            end: "done".into(),
            pattern: pattern(text),
            results: [("ok".into(), CaseResult::Pass), ("not ok".into(), CaseResult::Fail)].into(),
        }))
    }

    #[test]
    fn a_monitor_finds_cases_up_to_its_end() {
        let mut watcher = monitor(r"(?P<result>(not )?ok) \d+ - (?P<test_case_id>[\w -]+)");
        let text =
            "go\nok 1 - Map of - x\nnot ok 2 - b\nmaybe 3 - c\nok 4 - d done ok 5 - e\nok 6 - f\n";
        assert_eq!(told(&mut watcher, text), ["map_of_x pass", "b fail", "d pass"]);
        assert!(watcher.finish().is_empty());
        let mut watcher = monitor(r"(?P<test_case_id>\w+)=(?P<measurement>\S+) (?P<units>\w*)");
        assert_eq!(told(&mut watcher, "a=1.5 s b=x y c=inf z"), ["a pass 1.5 s"]);
        let lost: Vec<String> = watcher.finish().iter().map(shown).collect();
        assert_eq!(lost, ["monitor fail: \"done\" did not come"]);
        let lost: Vec<String> = monitor("x").finish().iter().map(shown).collect();
        assert_eq!(lost, ["monitor fail: \"go\" did not come"]);
        let mut watcher = monitor(r"(?P<test_case_id>\w+): (?P<result>\w+)");
        assert_eq!(
            told(&mut watcher, "a: skip\nb: weird"),
            ["a skip", "b unknown: \"weird\" is no result"]
        );
    }

    #[test]
    fn commands_are_what_they_print() {
        let command =
            |name: Option<&str>, successes: &[&str], failures: &[(&str, Option<&str>)]| Command {
                name: name.map(str::to_owned),
                successes: successes.iter().map(|text| pattern(text)).collect(),
                failures: failures
                    .iter()
                    .map(|(text, stop)| (pattern(text), stop.map(str::to_owned)))
                    .collect(),
            };
        let mut watcher = Watcher::new(Watch::Interactive(vec![
            command(Some("net"), &["link (up|ready)"], &[]),
            command(None, &[], &[("panic", Some("it died"))]),
            command(Some("three"), &["yes"], &[("no", None)]),
            command(None, &[], &[]),
            command(Some("five"), &[], &[]),
        ]));
        let text = "\
            <PUMICE_COMMAND 1>\neth0: link\nlink up\n<PUMICE_COMMAND_END 1>\n\
            <PUMICE_COMMAND 2>\n<PUMICE_COMMAND_END 7>\na panic\n<PUMICE_COMMAND_END 2>\n\
            <PUMICE_COMMAND 3>\nyes\nno\n<PUMICE_COMMAND_END 3>\n\
            <PUMICE_COMMAND 4>\n<PUMICE_COMMAND_END 4>\n<PUMICE_COMMAND 5>\n";
        assert_eq!(
            told(&mut watcher, text),
            [
                "net pass",
                "command-2 fail: it printed \"panic\"",
                "raise it died",
                "three fail: it printed \"no\""
            ]
        );
        let lost: Vec<String> = watcher.finish().iter().map(shown).collect();
        assert_eq!(lost, ["five unknown: its end was not seen"]);
    }
}
