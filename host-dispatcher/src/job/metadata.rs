//! What a job says of itself for those who read its results: names and values that mean nothing here.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::value::shorten;
use crate::config::yaml::{FileError, Place, Spanned, place};

/// Names, and a word, a number, a truth value or a list of these each.
pub type Metadata = Map<String, Value>;

/// As a file has it, not checked yet.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct MetadataForm(Spanned<Map<String, Value>>);

impl MetadataForm {
    /// # Errors
    /// Something that is no value or list of values, or too much.
    pub(super) fn check(self, file: &str) -> Result<Metadata, FileError> {
        let at = place(&self.0);
        let metadata = self.0.value;
        if metadata.len() > KEYS_MAX {
            return Err(wrong(file, at, format!("metadata has at most {KEYS_MAX} keys")));
        }
        let mut bytes = 0;
        for (key, value) in &metadata {
            if key.is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
                let message = format!("\"{}\" cannot be a key of metadata", shorten(key));
                return Err(wrong(file, at, message)
                    .mend(format!("use 1 to {KEY_BYTES_MAX} bytes on one line")));
            }
            let is_fit = match value {
                Value::Array(all) => all.len() <= ITEMS_MAX && all.iter().all(is_scalar),
                one => is_scalar(one),
            };
            if !is_fit {
                let message = format!(
                    "metadata \"{}\" is no word, number, or list of at most {ITEMS_MAX} of these",
                    shorten(key)
                );
                return Err(wrong(file, at, message));
            }
            bytes += key.len() + value.to_string().len();
        }
        if bytes > BYTES_MAX {
            return Err(wrong(file, at, format!("metadata has at most {BYTES_MAX} bytes")));
        }
        Ok(metadata)
    }
}

/// A value as one line of text; the items of a list with commas between.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(text_of).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn wrong(file: &str, at: Place, message: String) -> FileError {
    FileError::at(file, at, message)
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_))
}

/// Those of KernelCI's jobs have some thirty.
const KEYS_MAX: usize = 128;
const KEY_BYTES_MAX: usize = 256;
const ITEMS_MAX: usize = 64;
/// It stands in one event, and in many forms of results once a suite.
const BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn parse(text: &str) -> Result<Metadata, String> {
        let form: Result<MetadataForm, FileError> = yaml::from_str("f", text, &[]);
        form.and_then(|form| form.check("f")).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_words_numbers_and_lists() {
        let metadata = parse("build-url: http://x\nn: 3\nf: 1.5\nok: true\nnone:\nl: [a, 2]\n");
        let metadata = metadata.unwrap();
        let texts: Vec<String> = metadata.values().map(text_of).collect();
        assert_eq!(metadata["none"], Value::Null);
        assert_eq!(metadata["build-url"], "http://x");
        assert!(texts.contains(&"a, 2".into()) && texts.contains(&"1.5".into()), "{texts:?}");
    }

    #[test]
    fn mistakes() {
        let many: String = (0..=KEYS_MAX).map(|n| format!("k{n}: 1\n")).collect();
        let items = format!("a: [{}]", "1, ".repeat(ITEMS_MAX + 1));
        let list = "f:1: metadata \"a\" is no word, number, or list of at most 64 of these";
        for (text, expected) in [
            ("a: {b: c}", list),
            ("a: [[b]]", list),
            (&items, list),
            (&many, "f:1: metadata has at most 128 keys"),
            (&format!("a: {}", "x".repeat(BYTES_MAX)), "f:1: metadata has at most 16384 bytes"),
            ("'': 1", "f:1: \"\" cannot be a key of metadata: use 1 to 256 bytes on one line"),
            ("[a]", "f:1: a map of keys and values is expected here"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
