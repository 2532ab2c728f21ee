//! How a board's power is switched.
//!
//! In files: `none`, `with-connection`, or a map of commands, each a list of words or a text for `sh -c`. Nothing is
//! switched here.

use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::template::{InPower, NoValue, Template, TextIn, Values};
use super::value::Period;
use super::yaml::did_you_mean;

/// How a board's power is switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// Not at all: a person does it, or nobody.
    None,
    /// The board is the connection's child process: on starts it, off kills it.
    WithConnection,
    /// Commands of this host.
    Commands(PowerCommands),
}

/// The commands that switch a board's power. Exit status 0 means done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerCommands {
    /// Switches on.
    pub on: HostCommand,
    /// Switches off.
    pub off: HostCommand,
    /// Does both; without it: off, [`PowerCommands::settle`], on.
    pub cycle: Option<HostCommand>,
    /// The time between off and on: what the board's capacitors need.
    pub settle: Duration,
}

/// A command of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCommand {
    /// Words, run as they are; at least one.
    Argv(Vec<Template>),
    /// A text for `sh -c`.
    Shell(Template),
}

impl Power {
    /// Whether the power can be switched.
    pub fn can_switch(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl HostCommand {
    /// The words to run.
    ///
    /// # Errors
    /// A place for which there is no value; `{board}` is the only one allowed.
    pub fn argv(&self, values: &Values) -> Result<Vec<String>, NoValue> {
        match self {
            Self::Argv(words) => words.iter().map(|word| word.expand(values)).collect(),
            Self::Shell(text) => Ok(vec!["/bin/sh".into(), "-c".into(), text.expand(values)?]),
        }
    }
}

impl<'de> Deserialize<'de> for Power {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PowerVisitor;

        impl<'de> Visitor<'de> for PowerVisitor {
            type Value = Power;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("power: none, with-connection or {on: COMMAND, off: COMMAND}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Power, E> {
                match text {
                    "none" => Ok(Power::None),
                    "with-connection" => Ok(Power::WithConnection),
                    _ if text.starts_with("pdudaemon:") => Err(E::custom(
                        "pdudaemon is not supported yet: write {on: pduclient … on, off: pduclient … off}",
                    )),
                    _ => Err(E::custom(format_args!(
                        "\"{}\" is no power: {}, or write {{on: COMMAND, off: COMMAND}}",
                        super::value::shorten(text),
                        did_you_mean(text, WORDS)
                    ))),
                }
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Power, M::Error> {
                let form = CommandsForm::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Power::Commands(PowerCommands {
                    on: form.on,
                    off: form.off,
                    cycle: form.cycle,
                    settle: form.settle.map_or(SETTLE, Period::duration),
                }))
            }
        }

        deserializer.deserialize_any(PowerVisitor)
    }
}

impl<'de> Deserialize<'de> for HostCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandVisitor;

        impl<'de> Visitor<'de> for CommandVisitor {
            type Value = HostCommand;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command: a text for the shell, or [PROGRAM, ARGUMENT, …]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HostCommand, E> {
                if text.trim().is_empty() {
                    return Err(E::custom(EMPTY));
                }
                Template::parse(text, <InPower as super::template::Allowed>::ALLOWED)
                    .map(HostCommand::Shell)
                    .map_err(E::custom)
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut words: S) -> Result<HostCommand, S::Error> {
                let mut argv = Vec::new();
                while let Some(word) = words.next_element::<TextIn<InPower>>()? {
                    argv.push(word.template);
                }
                if argv.is_empty() {
                    Err(de::Error::custom(EMPTY))
                } else {
                    Ok(HostCommand::Argv(argv))
                }
            }
        }

        deserializer.deserialize_any(CommandVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandsForm {
    on: HostCommand,
    off: HostCommand,
    cycle: Option<HostCommand>,
    settle: Option<Period>,
}

/// LAVA's default between off and on (`hard_reset_command` of most farms sleeps for it).
const SETTLE: Duration = Duration::from_secs(1);
const WORDS: [&str; 2] = ["none", "with-connection"];
const EMPTY: &str = "a command is missing: write a text for the shell, or [PROGRAM, ARGUMENT, …]";

#[cfg(test)]
mod tests {
    use super::super::template::Placeholder;
    use super::super::yaml;
    use super::*;

    fn parse(text: &str) -> Result<Power, String> {
        yaml::from_str("f", text, &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn forms() {
        assert_eq!(parse("none"), Ok(Power::None));
        assert_eq!(parse("with-connection"), Ok(Power::WithConnection));
        let Ok(Power::Commands(commands)) =
            parse("{on: [relay, \"{board}\"], off: relay off, settle: 3s}")
        else {
            panic!("commands are expected");
        };
        let values = Values::new().with(Placeholder::Board, "bbb-01");
        assert_eq!(commands.on.argv(&values).unwrap(), ["relay", "bbb-01"]);
        assert_eq!(commands.off.argv(&values).unwrap(), ["/bin/sh", "-c", "relay off"]);
        assert_eq!(commands.settle, Duration::from_secs(3));
    }

    #[test]
    fn mistakes() {
        for (text, expected) in [
            (
                "nome",
                "f: \"nome\" is no power: did you mean \"none\"?, or write {on: COMMAND, off: COMMAND}",
            ),
            ("on: relay on", "f:1: missing key \"off\": add \"off: …\""),
            (
                "on: []\noff: x",
                "f:1: a command is missing: write a text for the shell, or [PROGRAM, ARGUMENT, …]",
            ),
            ("on: x {disk}\noff: x", "f:1: unknown placeholder {disk}: known are board"),
            ("on: x\nof: x", "f:2: unknown key \"of\": did you mean \"off\"?"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()));
        }
    }
}
