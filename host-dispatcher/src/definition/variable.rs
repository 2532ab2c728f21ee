//! Shell variables from a file: parameters and environment, in the order in which they stand there.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::value::shorten;
use crate::config::yaml::{FileError, Place, Spanned, place};

/// A shell variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// A letter or `_`, then letters, digits and `_`; at most 64 bytes.
    pub name: String,
    /// Anything but NUL, at most 16 KiB.
    pub value: String,
}

/// What a file has: names and values, not checked yet.
#[derive(Clone, Debug, Default)]
pub struct VariablesForm(Vec<(Spanned<String>, Option<String>)>);

impl Variable {
    /// As a line of a shell script.
    pub fn assignment(&self) -> String {
        format!("{}={}\n", self.name, quote(&self.value))
    }
}

/// A text as one word of a shell.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl VariablesForm {
    /// The variables, each with where it stands. `what` names one of them in messages: "parameter".
    ///
    /// # Errors
    /// A name that no shell takes, a value that is too long or holds NUL, or more than 256 of them.
    pub fn check(self, file: &str, what: &str) -> Result<Vec<(Variable, Place)>, FileError> {
        let mut variables = Vec::with_capacity(self.0.len());
        for (name, value) in self.0 {
            let wrong = |message: String| FileError::at(file, place(&name), message);
            if !is_name(&name.value) {
                return Err(wrong(format!(
                    "\"{}\" cannot be the name of a shell variable",
                    shorten(&name.value)
                ))
                .mend("use 1 to 64 letters, digits and _, no digit first"));
            }
            if variables.len() == VARIABLES_MAX {
                return Err(wrong(format!("more than {VARIABLES_MAX} of one kind: {what}")));
            }
            let value = value.unwrap_or_default();
            if value.len() > VALUE_BYTES_MAX || value.contains('\0') {
                return Err(wrong(format!(
                    "the {what} {} has at most {VALUE_BYTES_MAX} bytes, and no NUL",
                    name.value
                )));
            }
            let place = place(&name);
            variables.push((Variable { name: name.value, value }, place));
        }
        Ok(variables)
    }
}

impl<'de> Deserialize<'de> for VariablesForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormVisitor;

        impl<'de> Visitor<'de> for FormVisitor {
            type Value = VariablesForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names and values")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<VariablesForm, M::Error> {
                let mut form = Vec::new();
                // A scalar is taken as it is written: 1.50 stays 1.50.
                while let Some(entry) = map.next_entry()? {
                    form.push(entry);
                }
                Ok(VariablesForm(form))
            }
        }

        deserializer.deserialize_map(FormVisitor)
    }
}

/// Whether shells take it for the name of a variable, of at most 64 bytes.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

const NAME_BYTES_MAX: usize = 64;
/// Linux takes 128 KiB in one word of a program's arguments; a longer value belongs into a file.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// More is no list that somebody wrote.
const VARIABLES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::config::yaml;

    fn parse(text: &str) -> Result<Vec<(Variable, Place)>, String> {
        yaml::from_str::<VariablesForm>("f", text, &[])
            .and_then(|form| form.check("f", "parameter"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn values_stay_as_they_are_written() {
        let text = "B: 1.50\nA: yes\nC: 0x10\nD:\nE: ' it''s '\nF: true\nG: \"a\\nb\"\n";
        let variables = parse(text).unwrap();
        let pairs: Vec<_> =
            variables.iter().map(|(v, _)| (v.name.as_str(), v.value.as_str())).collect();
        let expected = [
            ("B", "1.50"),
            ("A", "yes"),
            ("C", "0x10"),
            ("D", ""),
            ("E", " it's "),
            ("F", "true"),
            ("G", "a\nb"),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(variables[4].1.line, 5);
    }

    #[test]
    fn mistakes() {
        let name = |text: &str, line| {
            format!(
                "f:{line}: \"{text}\" cannot be the name of a shell variable: use 1 to 64 letters, digits and _, no digit first"
            )
        };
        for (text, expected) in [
            ("A: 1\nB-C: 2", name("B-C", 2)),
            ("1A: 1", name("1A", 1)),
            ("'': 1", name("", 1)),
            ("Ä: 1", name("Ä", 1)),
            ("\"a=b; reboot\\n\": 1", name("a=b; reboot\\n", 1)),
            ("A: \"\\0\"", "f:1: the parameter A has at most 16384 bytes, and no NUL".into()),
            ("A: 1\nA: 2", "f:2: the key \"A\" stands twice: remove one of them".into()),
            ("A: [1]", "f:1: one word or number is expected here".into()),
            ("A: {b: 1}", "f:1: one word or number is expected here".into()),
            ("[A]", "f:1: a map of keys and values is expected here".into()),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_back_what_was_quoted(value in "(?s)[^\0]{0,40}|['\"$`\\\\\n !#~*-]{0,20}") {
            let variable = Variable { name: "VALUE".into(), value: value.clone() };
            let script = format!("{}printf %s \"$VALUE\"\n", variable.assignment());
            let output = Command::new("/bin/sh").args(["-e", "-c", &script]).output().unwrap();
            prop_assert!(output.status.success(), "{output:?}");
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
        }
    }
}
