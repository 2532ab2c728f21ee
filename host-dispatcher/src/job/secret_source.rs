//! The text of a job file as others may see it.

use serde_json::Value;

use super::notify::token_name;
use super::secret::{Secret, Secrets};
use crate::config::yaml;
use crate::redact::Patterns;

/// A job file's text without the values of its secrets and of its callbacks' tokens, those of `known` among them. It is
/// what was written, with marks; where a value is written in a way in which its text is not found (escapes, folded
/// lines), the job is written anew, as JSON, which is YAML too. Also for texts that are no job at all, and for LAVA's.
pub fn masked(text: &str, known: &Secrets) -> String {
    let document: Option<Value> = yaml::from_str("", text, &[]).ok();
    let Some(mut document) = document else { return known.full_marks().redact_whole(text) };
    let mut inside = Vec::new();
    each_value(&mut document, &mut |name, value| {
        inside.push(Secret { name: name.to_owned(), value: text_of(value) });
    });
    let patterns = known.and(inside.iter().cloned()).full_marks();
    let masked = patterns.redact_whole(text);
    if is_masked(&masked, &inside, &patterns) {
        return masked;
    }
    each_value(&mut document, &mut |name, value| *value = format!("(secret:{name})").into());
    patterns.redact_strings(&mut document);
    let json = serde_json::to_string_pretty(&document).unwrap_or_default();
    format!(
        "# The job file as JSON: a secret's value is written in it in a way that cannot be marked.\n{json}\n"
    )
}

/// Calls `work` for each value that stands in a job: of a secret, or of a token, with its name.
fn each_value(document: &mut Value, work: &mut dyn FnMut(&str, &mut Value)) {
    if let Some(secrets) = document.get_mut("secrets").and_then(Value::as_object_mut) {
        for (name, value) in secrets.iter_mut().filter(|(_, value)| is_scalar(value)) {
            work(name, value);
        }
    }
    let Some(notify) = document.get_mut("notify").and_then(Value::as_object_mut) else { return };
    for (key, value) in notify.iter_mut() {
        let callbacks: &mut [Value] = match (key.as_str(), value) {
            ("callbacks", Value::Array(all)) => all,
            ("callback", one) => std::slice::from_mut(one),
            _ => continue,
        };
        for (number, callback) in (1..).zip(callbacks) {
            let token = callback.get_mut("token").filter(|token| is_scalar(token));
            if let Some(token) = token {
                work(&token_name(number), token);
            }
        }
    }
}

/// Whether nothing of the values is in a text, however it is written.
fn is_masked(text: &str, inside: &[Secret], patterns: &Patterns) -> bool {
    let Ok(mut document) = yaml::from_str::<Value>("", text, &[]) else { return false };
    let mut values = Vec::new();
    each_value(&mut document, &mut |_, value| values.push(text_of(value)));
    let is_kept = values.len() != inside.len()
        || values.iter().zip(inside).any(|(now, then)| *now == then.value);
    !is_kept && !patterns.redact_strings(&mut document)
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_) | Value::Null)
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_file_stays_what_it_was_but_for_its_secrets() {
        let text = "name: x\nsecrets:\n  A: hunter222  # not this\n  B: {environment: HOME}\n  C: |\n    -----BEGIN\n    abcdefgh\n    x\ntests: [{name: a, run: 'echo hunter222 abcdefgh'}]\nnotify: {callbacks: [{url: 'http://x', token: '0123-token'}]}\n";
        let expected = "name: x\nsecrets:\n  A: (secret:A)  # not this\n  B: {environment: HOME}\n  C: |\n    (secret:C)\n    (secret:C)\n    x\ntests: [{name: a, run: 'echo (secret:A) (secret:C)'}]\nnotify: {callbacks: [{url: 'http://x', token: '(secret:callback-1-token)'}]}\n";
        assert_eq!(masked(text, &Secrets::default()), expected);
        let plain = "name: x\ntests: [{name: a, run: 'true'}]\n";
        assert_eq!(masked(plain, &Secrets::default()), plain);
        let known = Secrets::new(vec![Secret { name: "K".into(), value: "from-elsewhere".into() }]);
        assert_eq!(masked("run: from-elsewhere", &known), "run: (secret:K)");
        assert_eq!(masked("{no yaml: [from-elsewhere", &known), "{no yaml: [(secret:K)");
    }

    #[test]
    fn values_that_are_written_in_another_way_are_not_kept_either() {
        for (text, value) in [
            ("secrets: {A: \"hun\\x74er222\"}\nname: x\n", "hunter222"),
            ("secrets:\n  A: >-\n    two words\n    on two lines\nname: x\n", "on two lines"),
            ("secrets: {A: short}\nname: x\n", "short"),
            ("secrets: {A: 12345678}\nname: x\n", "12345678"),
            ("secrets: {A: true}\nname: x\n", "true"),
            ("notify: {callback: {url: u, token: \"to\\x6ben-token\"}}\nname: x\n", "token-token"),
            ("secrets: {A: 'it''s mine'}\nname: x\ntests: [\"it's\\x20mine\"]\n", "it's mine"),
        ] {
            let masked = masked(text, &Secrets::default());
            let document: Value = yaml::from_str("", &masked, &[]).unwrap();
            assert_eq!(document["name"], "x", "{masked}");
            assert!(!masked.contains(value) && !document.to_string().contains(value), "{masked}");
            assert!(masked.contains("(secret:"), "{masked}");
        }
    }
}
