//! The text of a file of ours that an importer writes.

use std::io;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::tree::Value;

/// A value to be written; the keys of a map keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(Map),
}

/// A map to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map(Vec<(String, Yaml)>);

impl Map {
    /// Adds a key, or gives it another value.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Yaml>) {
        let value = value.into();
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Adds the keys of another map behind its own.
    pub(super) fn append(&mut self, other: Self) {
        for (key, value) in other.0 {
            self.set(&key, value);
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Yaml> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a file whose first lines are `comment`.
    ///
    /// # Errors
    /// The library cannot write it, which no value of these kinds makes it do.
    pub(super) fn to_text(&self, comment: &str) -> io::Result<String> {
        let options = serde_saphyr::ser_options! { compact_list_indent: false };
        let text = serde_saphyr::to_string_with_options(self, options).map_err(io::Error::other)?;
        Ok(format!("{comment}{text}"))
    }
}

impl Yaml {
    /// A text as it is; nothing of anything else.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            _ => String::new(),
        }
    }
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Map> for Yaml {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl From<Vec<Self>> for Yaml {
    fn from(list: Vec<Self>) -> Self {
        Self::List(list)
    }
}

impl From<Vec<String>> for Yaml {
    fn from(list: Vec<String>) -> Self {
        Self::List(list.into_iter().map(Self::Text).collect())
    }
}

impl From<bool> for Yaml {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<u64> for Yaml {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::Text(number.to_string()), Self::Integer)
    }
}

/// The same value; what says nothing is an empty text.
impl From<Value> for Yaml {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Text(String::new()),
            Value::Bool(truth) => Self::Bool(truth),
            Value::Integer(number) => Self::Integer(number),
            Value::Float(number) => Self::Float(number),
            Value::Text(text) => Self::Text(text),
            Value::List(items) => {
                Self::List(items.into_iter().map(|node| node.value.into()).collect())
            }
            Value::Map(entries) => {
                let entry = |(key, node): (super::tree::Key, super::tree::Node)| {
                    (key.value, node.value.into())
                };
                Self::Map(Map(entries.into_iter().map(entry).collect()))
            }
        }
    }
}

impl Serialize for Yaml {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::yaml;

    proptest! {
        /// Whatever a text is made of, the file that holds it is read as the same text.
        #[test]
        fn texts_come_back(
            texts in prop::collection::vec(prop_oneof!["[ -~\n\t]{0,120}", "[ \n#:'\"|>{}-]{0,12}", "(yes|no|on|1e3|0x10|~|null|1_0)"], 1..4),
        ) {
            let mut map = Map::default();
            map.set("run", texts.clone());
            let text = map.to_text("# made\n").unwrap();
            let back: serde_json::Value = yaml::from_str("f", &text, &[]).unwrap();
            prop_assert_eq!(back["run"].clone(), serde_json::json!(texts), "{}", text);
        }
    }
}
