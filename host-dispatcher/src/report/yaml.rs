//! JSON that is YAML too, YAML 1.1 as its common readers take it (PyYAML, which LAVA uses).
//!
//! JSON is YAML but for three things: characters that a YAML stream may not hold stand as escapes here, a colon has a
//! space behind it, and a number with an exponent has a point and a sign, without which it would be a text.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// A value on one line; what cannot be written (a map whose keys are no texts) is `null`.
pub fn flow(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Flow));
    match (written, String::from_utf8(bytes)) {
        (Ok(()), Ok(text)) => text,
        _ => "null".to_owned(),
    }
}

/// A value as one item of a list, on a line of its own.
pub fn item(value: &impl Serialize) -> String {
    format!("- {}\n", flow(value))
}

struct Flow;

impl Formatter for Flow {
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let text = format!("{value:?}");
        let Some((number, exponent)) = text.split_once('e') else {
            return out.write_all(text.as_bytes());
        };
        let point = if number.contains('.') { "" } else { ".0" };
        let sign = if exponent.starts_with('-') { "" } else { "+" };
        write!(out, "{number}{point}e{sign}{exponent}")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(is_escaped) {
            out.write_all(&rest.as_bytes()[..at])?;
            let Some(c) = rest[at..].chars().next() else { break };
            write!(out, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// What YAML 1.1 does not print (section 5.1), or takes for the end of a line. All of it is in the basic plane.
fn is_escaped(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let value = serde_json::json!({"a": ["x\u{1b}\u{85}\u{2028}\u{1F600}é\"", 1], "b": 1e21, "c": 2.5e-9, "d": {}});
        assert_eq!(
            item(&value),
            "- {\"a\": [\"x\\u001b\\u0085\\u2028\u{1F600}é\\\"\", 1], \"b\": 1.0e+21, \"c\": 2.5e-9, \"d\": {}}\n"
        );
    }
}
