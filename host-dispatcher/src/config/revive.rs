//! What is typed at a boot loader, and sent to it, to bring up a board whose disk holds nothing that boots.
//!
//! In board type files a list: a text is typed, `{send: kernel, with: "loady ${kernel_addr_r}"}` is typed and then
//! followed by a file that the person who revives the board has named.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::boot_loader::COMMANDS_MAX;
use super::connection_error::BAUDS;
use super::template::{InBootLoader, Template, TextIn};

/// A step on the way to an agent in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviveStep {
    /// The command.
    pub command: Template,
    /// What it receives, by YMODEM.
    pub sends: Option<Part>,
}

/// A file that goes over the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The kernel.
    Kernel,
    /// The initramfs with the agent.
    Initrd,
    /// The device tree.
    Dtb,
}

impl Part {
    /// The word for it, in files and options.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Dtb => "dtb",
        }
    }
}

/// What is wrong with the steps of a board type: the key, and why.
pub(super) fn check(steps: &[ReviveStep], baud: Option<u32>) -> Result<(), (&'static str, String)> {
    let wrong = |text: String| Err(("commands", format!("revive: {text}")));
    if steps.len() > COMMANDS_MAX {
        return wrong(format!("at most {COMMANDS_MAX} steps are expected"));
    }
    let mut parts: Vec<Part> = steps.iter().filter_map(|step| step.sends).collect();
    parts.sort_unstable();
    if let Some(twice) = parts.windows(2).find(|pair| pair[0] == pair[1]) {
        return wrong(format!("the {} is sent twice", twice[0].word()));
    }
    if !steps.is_empty() && parts.is_empty() {
        return wrong("no step sends anything: add {send: kernel, with: \"loady …\"}".to_owned());
    }
    if steps.last().is_some_and(|step| step.sends.is_some()) {
        return wrong("the last step must start the kernel".to_owned());
    }
    match baud {
        Some(baud) if !BAUDS.contains(&baud) => {
            Err(("revive_baud", format!("{baud} is no rate of a line: write 921600")))
        }
        Some(_) if steps.is_empty() => {
            Err(("revive_baud", "nothing is sent: add revive to commands".to_owned()))
        }
        _ => Ok(()),
    }
}

impl<'de> Deserialize<'de> for ReviveStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StepVisitor;

        impl<'de> Visitor<'de> for StepVisitor {
            type Value = ReviveStep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command, or {send: kernel, with: COMMAND}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReviveStep, E> {
                let text: TextIn<InBootLoader> =
                    TextIn::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(ReviveStep { command: text.template, sends: None })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<ReviveStep, M::Error> {
                let form = SendForm::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(ReviveStep { command: form.with.template, sends: Some(form.send) })
            }
        }

        deserializer.deserialize_any(StepVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendForm {
    send: Part,
    with: TextIn<InBootLoader>,
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    #[test]
    fn steps_and_mistakes() {
        let parse = |text: &str| {
            let steps: Result<Vec<ReviveStep>, _> = yaml::from_str("f", text, &[]);
            steps.map_err(|error| error.to_string())
        };
        let steps =
            parse("- {send: kernel, with: \"loady ${kernel_addr_r}\"}\n- bootz ${kernel_addr_r}\n")
                .unwrap();
        let told: Vec<_> = steps.iter().map(|step| (step.command.source(), step.sends)).collect();
        assert_eq!(
            told,
            [("loady ${kernel_addr_r}", Some(Part::Kernel)), ("bootz ${kernel_addr_r}", None)]
        );
        for (text, expected) in [
            (
                "- {send: kernle, with: loady}",
                "f:1: unknown word \"kernle\": did you mean \"kernel\"?",
            ),
            ("- {send: dtb, wiht: loady}", "f:1: unknown key \"wiht\": did you mean \"with\"?"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()));
        }
    }

    #[test]
    fn steps_that_lead_nowhere_are_told() {
        let checked = |text: &str, baud| {
            let steps: Vec<ReviveStep> = yaml::from_str("f", text, &[]).unwrap();
            check(&steps, baud).map_err(|(key, why)| format!("{key}: {why}"))
        };
        let good = "- {send: kernel, with: loady}\n- bootz";
        assert_eq!(checked(good, Some(921_600)), Ok(()));
        assert_eq!(checked("[]", None), Ok(()));
        for (text, baud, expected) in [
            (
                "- {send: kernel, with: loady}",
                None,
                "commands: revive: the last step must start the kernel",
            ),
            (
                "- bootz",
                None,
                "commands: revive: no step sends anything: add {send: kernel, with: \"loady …\"}",
            ),
            (
                "- {send: dtb, with: a}\n- {send: kernel, with: b}\n- {send: dtb, with: c}\n- bootz",
                None,
                "commands: revive: the dtb is sent twice",
            ),
            (good, Some(9), "revive_baud: 9 is no rate of a line: write 921600"),
            ("[]", Some(921_600), "revive_baud: nothing is sent: add revive to commands"),
        ] {
            assert_eq!(checked(text, baud), Err(expected.to_owned()));
        }
    }
}
