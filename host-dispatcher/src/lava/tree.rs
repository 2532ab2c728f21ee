//! A YAML or JSON text as a tree whose every value knows its line: what an importer reads.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::report::Report;
use crate::config::value::shorten;
use crate::config::yaml::{Place, Spanned, place};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A value and its place.
pub(super) type Node = Spanned<Value>;
/// A key and its place.
pub(super) type Key = Spanned<String>;

/// A value with the way to it: `actions[0].deploy.to`.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) at: Place,
    pub(super) value: Value,
}

/// A map of which one key after the other is taken. What is left at the [end](Self::end) is known to nobody.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    path: String,
    pub(super) at: Place,
    entries: Vec<(Key, Node)>,
    asked: Vec<&'static str>,
}

impl Field {
    /// The root of a text.
    pub(super) fn root(node: Node) -> Self {
        Self { path: String::new(), at: place(&node), value: node.value }
    }

    /// A word, a number or a truth value as a text; everything else is a mistake.
    pub(super) fn text(&self, report: &mut Report) -> Option<String> {
        let text = self.value.scalar();
        if text.is_none() {
            report.mistake(self, "one word or number is expected here");
        }
        text
    }

    /// A whole number, 0 or more.
    pub(super) fn number(&self, report: &mut Report) -> Option<u64> {
        match &self.value {
            Value::Integer(number) if *number >= 0 => u64::try_from(*number).ok(),
            _ => {
                report.mistake(self, "a whole number, 0 or more, is expected here");
                None
            }
        }
    }

    /// The items of a list; of what is no list, it alone.
    pub(super) fn items(self) -> Vec<Self> {
        match self.value {
            Value::List(items) => {
                let field = |(number, node): (usize, Node)| Self {
                    path: format!("{}[{number}]", self.path),
                    at: place(&node),
                    value: node.value,
                };
                items.into_iter().enumerate().map(field).collect()
            }
            value => vec![Self { path: self.path, at: self.at, value }],
        }
    }

    /// The items of a list; everything else is a mistake.
    pub(super) fn list(self, report: &mut Report) -> Vec<Self> {
        if matches!(self.value, Value::List(_)) {
            return self.items();
        }
        report.mistake(&self, "a list is expected here");
        Vec::new()
    }

    /// The texts of a list, or one text.
    pub(super) fn texts(self, report: &mut Report) -> Vec<String> {
        self.items().iter().filter_map(|item| item.text(report)).collect()
    }

    /// The keys of a map; everything else is a mistake, and has none.
    pub(super) fn keys(self, report: &mut Report) -> Keys {
        let Value::Map(entries) = self.value else {
            report.mistake(&self, "a map of keys and values is expected here");
            return Keys { path: self.path, at: self.at, entries: Vec::new(), asked: Vec::new() };
        };
        Keys { path: self.path, at: self.at, entries, asked: Vec::new() }
    }

    /// Whether it is a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }
}

impl Keys {
    /// The value of a key, which is read by this.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Field> {
        self.asked.push(key);
        let index = self.entries.iter().position(|(name, _)| name.value == key)?;
        let (name, node) = self.entries.remove(index);
        Some(self.field(&name, node))
    }

    /// The value of the first of these keys that is there.
    pub(super) fn take_any(&mut self, keys: &[&'static str]) -> Option<Field> {
        keys.iter().filter_map(|key| self.take(key)).next()
    }

    /// All that was not taken, with their names: the keys of a map that everybody names as they like.
    pub(super) fn rest(&mut self) -> Vec<(String, Field)> {
        let entries = std::mem::take(&mut self.entries);
        let field = |(name, node): (Key, Node)| (name.value.clone(), self.field(&name, node));
        entries.into_iter().map(field).collect()
    }

    /// The way to a key of it.
    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// What nobody has asked for is a mistake.
    pub(super) fn end(mut self, report: &mut Report) {
        let asked = std::mem::take(&mut self.asked);
        for (name, field) in self.rest() {
            report.unknown_key(&field, &name, &asked);
        }
    }

    fn field(&self, name: &Key, node: Node) -> Field {
        // Where the key stands: that is the line a person looks for.
        Field { path: join(&self.path, &name.value), at: place(name), value: node.value }
    }
}

impl Value {
    /// As PyYAML and `str()` write it, which is what scripts under LAVA are used to: `True`.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::Null | Self::List(_) | Self::Map(_) => None,
            Self::Bool(true) => Some("True".to_owned()),
            Self::Bool(false) => Some("False".to_owned()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Float(number) => Some(number.to_string()),
            Self::Text(text) => Some(text.clone()),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    // Of bounded length, whatever a file holds.
    let key = shorten(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| Value::Text(number.to_string()), Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Value, S::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut entries: M) -> Result<Value, M::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    #[test]
    fn every_value_knows_its_line() {
        let text = "a: 1\nb:\n  - c: yes\n    d: 1.50\n  - ~\ne: {f: 'x', g: true}\n";
        let mut report = Report::new("job.yaml");
        let mut keys = Field::root(yaml::from_str("f", text, &[]).unwrap()).keys(&mut report);
        let a = keys.take("a").unwrap();
        assert_eq!((a.path.as_str(), a.at.line, a.number(&mut report)), ("a", 1, Some(1)));
        let items = keys.take("b").unwrap().list(&mut report);
        assert_eq!(items[1].value, Value::Null);
        let mut first = items[0].clone().keys(&mut report);
        let d = first.take("d").unwrap();
        assert_eq!((d.path.as_str(), d.at.line), ("b[0].d", 4));
        assert_eq!(first.take("c").unwrap().text(&mut report).unwrap(), "yes");
        let mut e = keys.take("e").unwrap().keys(&mut report);
        assert_eq!(e.take("g").unwrap().text(&mut report).unwrap(), "True");
        assert!(report.is_clean());
        e.end(&mut report);
        assert_eq!(report.to_string(), "job.yaml:6: e.f: unknown key \"f\": known are g\n");
    }

    #[test]
    fn json_is_read_too() {
        let text = "{ \"actions\": [\n\t{\"command\": \"boot_linaro_image\", \"n\": 18000}]}";
        let mut report = Report::new("job.json");
        let mut keys = Field::root(yaml::from_str("f", text, &[]).unwrap()).keys(&mut report);
        let mut action = keys.take("actions").unwrap().items().remove(0).keys(&mut report);
        let command = action.take("command").unwrap();
        assert_eq!((command.at.line, command.path.as_str()), (2, "actions[0].command"));
        assert_eq!(action.take("n").unwrap().number(&mut report), Some(18000));
        assert!(report.is_clean());
    }
}
