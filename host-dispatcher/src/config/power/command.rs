//! A command of this host: words that are run as they are, or a text for `sh -c`.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::template::{Allowed, InPower, NoValue, Template, TextIn, Values};

/// A command of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCommand {
    /// Words, run as they are; at least one.
    Argv(Vec<Template>),
    /// A text for `sh -c`.
    Shell(Template),
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
                Template::parse(text, <InPower as Allowed>::ALLOWED)
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

const EMPTY: &str = "a command is missing: write a text for the shell, or [PROGRAM, ARGUMENT, …]";
