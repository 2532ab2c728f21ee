//! Tests whose results are patterns in what is printed: `monitor`, which waits for texts in the kernel's log, and
//! `interactive`, a list of commands with what they may print. Forms in, a shell text for the board and a [`Watch`] for
//! the dispatcher out; an [`OutputReader`](super::output::OutputReader) tells what it finds.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use super::verdict::CaseResult;
use crate::config::value::{Name, Period, shorten};
use crate::config::yaml::{FileError, Place, Spanned, place};
use crate::definition::variable::quote;

/// What is looked for in a suite's standard output, in the place of signals and TAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Cases of one pattern, up to a text that ends them.
    Monitor(Monitor),
    /// Commands, each a case if it has a name.
    Interactive(Vec<Command>),
}

/// See [`Watch::Monitor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// The text with which it begins, 1 to 256 bytes.
    pub start: String,
    /// The text with which it ends.
    pub end: String,
    /// With the groups `test_case_id` and `result`, or `measurement` in the place of `result`; `units` may be there.
    pub pattern: Pattern,
    /// What a `result` means that is none of our words.
    pub results: BTreeMap<String, CaseResult>,
}

/// A command of [`Watch::Interactive`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The case that it is.
    pub name: Option<String>,
    /// One of these must match what it prints, if there are any.
    pub successes: Vec<Pattern>,
    /// None of these may, with what to stop the job with if one does.
    pub failures: Vec<(Pattern, Option<String>)>,
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// `monitor` of a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MonitorForm {
    start: Spanned<String>,
    end: Spanned<String>,
    pattern: Spanned<String>,
    #[serde(default)]
    results: BTreeMap<String, CaseResult>,
}

/// An item of `interactive` of a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandForm {
    pub(super) command: Spanned<String>,
    name: Option<Name>,
    #[serde(default)]
    successes: Vec<Spanned<String>>,
    #[serde(default)]
    failures: Vec<FailureForm>,
    pub(super) delay: Option<Period>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureForm {
    message: Spanned<String>,
    /// The job is to be stopped with this.
    stop: Option<Spanned<String>>,
}

/// The shell text of a monitor, and what to look for in what it prints.
pub(super) fn monitor(file: &str, form: MonitorForm) -> Result<(String, Watch), FileError> {
    for text in [&form.start, &form.end] {
        if !(1..=TEXT_BYTES_MAX).contains(&text.value.len()) || has_control(&text.value) {
            let message = format!("a text of 1 to {TEXT_BYTES_MAX} bytes on one line is expected");
            return Err(FileError::at(file, place(text), message));
        }
    }
    let pattern = pattern(file, &form.pattern)?;
    let has = |name| pattern.0.capture_names().flatten().any(|group| group == name);
    if !has("test_case_id") || !(has("result") || has("measurement")) {
        let message = "the pattern needs the groups test_case_id, and result or measurement";
        return Err(FileError::at(file, place(&form.pattern), message)
            .mend("write (?P<test_case_id>…) … (?P<result>…)"));
    }
    let run = MONITOR.replace("START", &quote(&form.start.value));
    let run = run.replace("END", &quote(&form.end.value));
    let monitor =
        Monitor { start: form.start.value, end: form.end.value, pattern, results: form.results };
    Ok((run, Watch::Monitor(monitor)))
}

/// The shell text of commands, and what to look for in what they print.
pub(super) fn interactive(
    file: &str,
    forms: Spanned<Vec<CommandForm>>,
) -> Result<(String, Watch), FileError> {
    check_count(file, &forms)?;
    let mut run = String::new();
    let mut commands = Vec::with_capacity(forms.value.len());
    for (number, form) in (1..).zip(forms.value) {
        if let Some(delay) = form.delay {
            run.push_str(&format!("sleep {}\n", delay.duration().as_secs_f64().ceil()));
        }
        if form.command.value.len() > COMMAND_BYTES_MAX || form.command.value.contains('\0') {
            let message = format!("a command has at most {COMMAND_BYTES_MAX} bytes");
            return Err(FileError::at(file, place(&form.command), message));
        }
        // In this shell, so that variables and folders stay; its end is behind a line end of its own.
        run.push_str(&format!(
            "echo {}\n{{ {}\n}} 2>&1 || :\necho; echo {}\n",
            quote(&begin_mark(number)),
            form.command.value,
            quote(&end_mark(number)),
        ));
        commands.push(command_of(file, form)?);
    }
    Ok((run, Watch::Interactive(commands)))
}

/// A list of commands must have some.
pub(super) fn check_count(file: &str, forms: &Spanned<Vec<CommandForm>>) -> Result<(), FileError> {
    if (1..=COMMANDS_MAX).contains(&forms.value.len()) {
        return Ok(());
    }
    let message = format!("interactive is a list of 1 to {COMMANDS_MAX} commands");
    Err(FileError::at(file, place(forms), message))
}

/// What a command may print.
pub(super) fn command_of(file: &str, form: CommandForm) -> Result<Command, FileError> {
    let patterns = form.successes.iter().map(|text| pattern(file, text));
    let failures = form.failures.into_iter().map(|failure| {
        let stop = failure.stop.map(|text| shorten(&text.value));
        Ok((pattern(file, &failure.message)?, stop))
    });
    Ok(Command {
        name: form.name.map(|name| name.as_str().to_owned()),
        successes: patterns.collect::<Result<_, _>>()?,
        failures: failures.collect::<Result<_, FileError>>()?,
    })
}

/// The line before the output of command `number`, from 1.
pub(super) fn begin_mark(number: usize) -> String {
    format!("<PUMICE_COMMAND {number}>")
}

/// The line behind it.
pub(super) fn end_mark(number: usize) -> String {
    format!("<PUMICE_COMMAND_END {number}>")
}

fn pattern(file: &str, text: &Spanned<String>) -> Result<Pattern, FileError> {
    let wrong = |at: Place, message: String| {
        FileError::at(file, at, message).mend(
            "the syntax is https://docs.rs/regex/#syntax: no look-around, no references to groups",
        )
    };
    if text.value.len() > PATTERN_BYTES_MAX {
        let message = format!("a pattern has at most {PATTERN_BYTES_MAX} bytes");
        return Err(wrong(place(text), message));
    }
    let built = RegexBuilder::new(&text.value).size_limit(PATTERN_SIZE_MAX).build();
    built.map(Pattern).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        wrong(place(text), format!("\"{}\" is no pattern: {why}", shorten(&text.value)))
    })
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Follows the kernel's log from its first record on, and prints it from the line with the first text to that with the
/// second. /dev/kmsg gives one record a read and no end, so that a file stands in between.
const MONITOR: &str = r#"log=$(mktemp)
cat /dev/kmsg > "$log" &
reader=$!
trap 'kill $reader 2> /dev/null; rm -f "$log"' EXIT
shown=0
started=
while :; do
  count=$(wc -l < "$log")
  if [ "$count" -gt "$shown" ]; then
    new=$(sed -n "$((shown + 1)),${count}p" "$log" | sed -e '/^ /d' -e 's/^[^;]*;//')
    shown=$count
    if [ -z "$started" ]; then
      case $new in *START*) started=yes new=START${new#*START} ;; esac
    fi
    if [ -n "$started" ]; then
      printf '%s\n' "$new"
      case $new in *END*) break ;; esac
    fi
  fi
  sleep 1
done
"#;

const TEXT_BYTES_MAX: usize = 256;
const PATTERN_BYTES_MAX: usize = 4096;
/// Compiled; a megabyte is far beyond what somebody writes.
const PATTERN_SIZE_MAX: usize = 1 << 20;
const COMMANDS_MAX: usize = 256;
const COMMAND_BYTES_MAX: usize = 4096;
