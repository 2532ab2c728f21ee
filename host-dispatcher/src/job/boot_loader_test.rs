//! Tests of the boot loader: commands typed at its prompt before the image under test boots, with what they may print.
//!
//! They are judged as those of [`interactive`](super::watch::Watch::Interactive). There is no shell to keep a value in, so
//! what a success matched is put into later commands: `(?P<ip>[0-9.]+)` becomes `{ip}`.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::Deserialize;

use super::test::{TEST_TIMEOUT, Test};
use super::watch::{self, Command, CommandForm};
use crate::config::template::braced;
use crate::config::value::{Name, Period};
use crate::config::yaml::{FileError, Spanned, place};

/// One of them: a suite of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootLoaderTest {
    /// The suite's name.
    pub name: String,
    /// What is typed, in order.
    pub commands: Vec<Typed>,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// A command of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// The text, which may have words in braces; empty to type nothing.
    pub text: String,
    /// The pause before it.
    pub delay: Duration,
    /// What it may print.
    pub judged: Command,
}

/// What earlier commands have matched, by the names of the groups.
#[derive(Clone, Debug, Default)]
pub struct Matched(BTreeMap<String, String>);

/// An item of `boot_loader_tests`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BootLoaderTestForm {
    name: Spanned<Name>,
    interactive: Spanned<Vec<CommandForm>>,
    timeout: Option<Period>,
}

/// Those of a job, whose names are none of its `tests`.
pub(super) fn tests_of(
    file: &str,
    forms: Vec<BootLoaderTestForm>,
    tests: &[Test],
) -> Result<Vec<BootLoaderTest>, FileError> {
    let mut names: HashSet<String> =
        tests.iter().map(|test| test.name.to_ascii_lowercase()).collect();
    let mut read = Vec::with_capacity(forms.len());
    for form in forms {
        let name = form.name.value.as_str().to_owned();
        if !names.insert(name.to_ascii_lowercase()) || read.len() == TESTS_MAX {
            let message =
                format!("the test {name} is there already, or is one of over {TESTS_MAX}");
            return Err(FileError::at(file, place(&form.name), message)
                .mend("give each test a name of its own"));
        }
        let timeout = form.timeout.map_or(TEST_TIMEOUT, Period::duration);
        read.push(BootLoaderTest { name, commands: commands_of(file, form.interactive)?, timeout });
    }
    Ok(read)
}

fn commands_of(file: &str, forms: Spanned<Vec<CommandForm>>) -> Result<Vec<Typed>, FileError> {
    watch::check_count(file, &forms)?;
    let mut known = HashSet::new();
    let mut commands = Vec::with_capacity(forms.value.len());
    for form in forms.value {
        let text = form.command.value.trim().to_owned();
        if text.len() > COMMAND_BYTES_MAX || text.chars().any(|c| !(' '..='~').contains(&c)) {
            let message = format!(
                "a boot loader's command has at most {COMMAND_BYTES_MAX} printable characters"
            );
            return Err(FileError::at(file, place(&form.command), message));
        }
        if let Some(word) = words(&text).find(|word| !known.contains(*word)) {
            let message = format!("{{{word}}} is no group of a success before it");
            return Err(FileError::at(file, place(&form.command), message)
                .mend(format!("write (?P<{word}>…) into a success of an earlier command")));
        }
        let delay = form.delay.map_or(Duration::ZERO, Period::duration);
        let judged = watch::command_of(file, form)?;
        for pattern in &judged.successes {
            known.extend(pattern.0.capture_names().flatten().map(str::to_owned));
        }
        commands.push(Typed { text, delay, judged });
    }
    Ok(commands)
}

impl Matched {
    /// What a command printed.
    pub fn read(&mut self, command: &Command, output: &str) {
        for pattern in &command.successes {
            let Some(groups) = pattern.0.captures(output) else { continue };
            for name in pattern.0.capture_names().flatten() {
                if let Some(group) = groups.name(name) {
                    self.0.insert(name.to_owned(), group.as_str().to_owned());
                }
            }
        }
    }

    /// A command with what was matched in the place of its words.
    ///
    /// # Errors
    /// The word that nothing was matched for, or for which what a boot loader must not get.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = text.to_owned();
        for word in words(text) {
            let value = self.0.get(word).filter(|value| is_plain(value)).ok_or(word)?;
            filled = filled.replace(&format!("{{{word}}}"), value);
        }
        Ok(filled)
    }
}

/// The words that a group may be called.
fn words(text: &str) -> impl Iterator<Item = &str> {
    braced(text).filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
}

/// What the board printed must not become another command.
fn is_plain(value: &str) -> bool {
    value.len() <= VALUE_BYTES_MAX
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/-+,=".contains(&byte))
}

const TESTS_MAX: usize = 64;
/// U-Boot's CONFIG_SYS_CBSIZE is often 256, its largest 2048.
const COMMAND_BYTES_MAX: usize = 2048;
const VALUE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::spec::Job;

    use super::*;

    fn read(tests: &str) -> Result<Job, String> {
        let text = format!("name: x\ntests: [{{name: a, run: b}}]\nboot_loader_tests:\n{tests}");
        Job::from_str("j", &text, "/".as_ref(), |_| Ok(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_matched_goes_into_later_commands() {
        let job = read(
            "- name: net\n  timeout: 90s\n  interactive:\n  - {command: printenv ipaddr, successes: ['ipaddr=(?P<ip>\\S+)']}\n  \
             - {command: 'ping {ip} ${opts}', delay: 2s, name: ping}\n",
        )
        .unwrap();
        let test = &job.boot_loader_tests[0];
        assert_eq!((test.timeout.as_secs(), test.commands[1].delay.as_secs()), (90, 2));
        let mut matched = Matched::default();
        assert_eq!(matched.fill(&test.commands[1].text), Err("ip".to_owned()));
        matched.read(&test.commands[0].judged, "ipaddr=10.0.2.15\n");
        assert_eq!(matched.fill(&test.commands[1].text).unwrap(), "ping 10.0.2.15 ${opts}");
        matched.read(&test.commands[0].judged, "ipaddr=1;reset\n");
        assert_eq!(matched.fill(&test.commands[1].text), Err("ip".to_owned()));
    }

    #[test]
    fn what_cannot_be_meant() {
        for (tests, expected) in [
            ("- {name: a, interactive: [{command: x}]}", "j:4: the test a is there already"),
            ("- {name: b, interactive: []}", "j:4: interactive is a list of 1 to 256 commands"),
            (
                "- {name: b, interactive: [{command: 'ping {ip}'}]}",
                "j:4: {ip} is no group of a success before it: write (?P<ip>…)",
            ),
            (
                "- {name: b, interactive: [{command: \"a\\nb\"}]}",
                "j:4: a boot loader's command has at most",
            ),
            (
                "- {name: b, interactive: [{command: a, successes: ['(']}]}",
                "j:4: \"(\" is no pattern",
            ),
            ("- {name: b, run: a}", "j:4: unknown key \"run\""),
        ] {
            let error = read(tests).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
