//! The steps of a test definition: shell texts.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::value::shorten;
use crate::config::yaml::{FileError, Spanned, place};

/// A shell text.
#[derive(Clone, Debug)]
pub(super) struct Step(String);

/// The texts of steps, at most 1000.
///
/// # Errors
/// One without text, or one that is too long.
pub(super) fn steps_of(file: &str, steps: Vec<Spanned<Step>>) -> Result<Vec<String>, FileError> {
    if let Some(step) = steps.get(STEPS_MAX) {
        let message = format!("a definition has at most {STEPS_MAX} steps");
        return Err(FileError::at(file, place(step), message));
    }
    for step in &steps {
        let text = &step.value.0;
        if text.trim().is_empty() {
            return Err(FileError::at(file, place(step), "a step has no text")
                .mend("write one, or remove the dash"));
        }
        if text.len() > STEP_BYTES_MAX || text.contains('\0') {
            let message = format!("a step is a shell text of 1 to {STEP_BYTES_MAX} bytes");
            return Err(FileError::at(file, place(step), message));
        }
    }
    Ok(steps.into_iter().map(|step| step.value.0).collect())
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StepVisitor;

        impl<'de> Visitor<'de> for StepVisitor {
            type Value = Step;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shell text: put it in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Step, E> {
                Ok(Step(text.to_owned()))
            }

            // "steps without text" is one mistake, whether YAML takes them for null or for "".
            fn visit_unit<E: de::Error>(self) -> Result<Step, E> {
                Ok(Step(String::new()))
            }

            fn visit_none<E: de::Error>(self) -> Result<Step, E> {
                self.visit_unit()
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Step, E> {
                Err(E::custom(not_a_text(value)))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Step, E> {
                Err(E::custom(not_a_text(value)))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Step, E> {
                Err(E::custom(not_a_text(value)))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Step, E> {
                Err(E::custom(not_a_text(value)))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Step, M::Error> {
                // The colon and the space in `- echo a: b` make a map of what looks like a text.
                let key: Option<String> = map.next_key().unwrap_or_default();
                let key = shorten(&key.unwrap_or_default());
                Err(de::Error::custom(format!(
                    "a step is a text, and \"{key}: …\" is a map: put the step in quotes, or write it behind \"- |\""
                )))
            }

            fn visit_seq<S: de::SeqAccess<'de>>(self, _: S) -> Result<Step, S::Error> {
                Err(de::Error::custom("a step is a text, and this is a list: put it in quotes"))
            }
        }

        fn not_a_text(value: impl fmt::Display) -> String {
            format!("a step is a text, and {value} is none: put it in quotes")
        }

        deserializer.deserialize_any(StepVisitor)
    }
}

/// More is generated, and belongs into a script of the overlay.
const STEPS_MAX: usize = 1000;
/// A longer text is a program: it belongs into the overlay.
const STEP_BYTES_MAX: usize = 64 * 1024;
