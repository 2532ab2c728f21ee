//! The secrets of a job: texts that its tests need and nobody else may see.
//!
//! A value stands in the job file, in the environment of who runs or submits the job, or in a file of his. Where it was
//! used it is never shown: [`Secrets::patterns`] is what everything that is written down goes through.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::notify::{self, Callback, NotifyForm};
use crate::config::value::{percent_encoded, shorten};
use crate::config::yaml::{self, FileError, Place, Spanned, place};
use crate::definition::variable::{is_name, quote};
use crate::redact::{Patterns, mark};

/// The secrets of a job, in the order in which they stand there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<Secret>);

/// One of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// A name for a shell variable, or what a token is called in marks.
    pub name: String,
    /// At least [`VALUE_BYTES_MIN`] bytes, without control characters but line ends and tabs.
    pub value: String,
}

/// Where values are that do not stand in the job file.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// The job is this process's: its environment, and files relative to this folder.
    Here(&'a Path),
    /// Somebody submitted the job, and sent them along by their names.
    Sent(&'a BTreeMap<String, String>),
}

impl Secrets {
    /// These.
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self(secrets)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }

    /// These, and others behind them.
    #[must_use]
    pub fn and(&self, others: impl IntoIterator<Item = Secret>) -> Self {
        Self(self.0.iter().cloned().chain(others).collect())
    }

    /// The file that tests read: `NAME=value`, a line each, for a shell. A value of harmless characters stands as it is,
    /// which is also what LAVA writes; others are quoted.
    pub fn file(&self) -> String {
        let line = |Secret { name, value }: &Secret| {
            let is_harmless = |c: char| c.is_ascii_alphanumeric() || "_-.,:/+=@%".contains(c);
            let value = if value.chars().all(is_harmless) { value.clone() } else { quote(value) };
            format!("{name}={value}\n")
        };
        self.0.iter().map(line).collect()
    }

    /// What must not be seen: each value, of several lines each line, also as shells, JSON and the kernel's log write it.
    pub fn patterns(&self) -> Patterns {
        self.marked(mark)
    }

    /// The same with marks that show the name whatever their length: where no place in the text counts.
    pub fn full_marks(&self) -> Patterns {
        self.marked(|name, _| format!("(secret:{name})").into_bytes())
    }

    fn marked(&self, mark: impl Fn(&str, usize) -> Vec<u8>) -> Patterns {
        let mut texts = Vec::new();
        for Secret { name, value } in &self.0 {
            for text in lines(value).flat_map(spellings) {
                let mark = mark(name, text.len());
                texts.push((text.into_bytes(), mark));
            }
        }
        Patterns::new(texts)
    }
}

/// The lines of a value that can be told from other text.
fn lines(value: &str) -> impl Iterator<Item = &str> {
    value.split('\n').map(str::trim).filter(|line| line.len() >= VALUE_BYTES_MIN)
}

/// The secrets of a job's text, before all of it is looked at; none of one that is in no order.
pub fn of_text(text: &str, origin: Origin<'_>) -> Secrets {
    let Ok(job) = yaml::from_str::<SecretKeys>("", text, &[]) else { return Secrets::default() };
    let secrets = job.secrets.unwrap_or_default().check("", origin).unwrap_or_default();
    let callbacks = job.notify.unwrap_or_default().check("", origin).unwrap_or_default();
    secrets.and(notify::tokens(&callbacks))
}

/// The callbacks of a job's text; none of one that is in no order.
pub fn callbacks_of_text(text: &str, origin: Origin<'_>) -> Vec<Callback> {
    let job: Option<SecretKeys> = yaml::from_str("", text, &[]).ok();
    let form = job.and_then(|job| job.notify).unwrap_or_default();
    form.check("", origin).unwrap_or_default()
}

/// The values that a job file does not hold itself, by their names: what has to go with it to a lab elsewhere.
///
/// # Errors
/// As for the job itself.
pub fn to_send(
    file: &str,
    text: &str,
    folder: &Path,
) -> Result<BTreeMap<String, String>, FileError> {
    let job: SecretKeys = yaml::from_str(file, text, &[])?;
    let mut form = job.secrets.unwrap_or_default();
    form.0.retain(|(_, value)| matches!(value.value, ValueForm::Elsewhere(_)));
    let secrets = form.check(file, Origin::Here(folder))?;
    let mut values: BTreeMap<String, String> =
        secrets.0.into_iter().map(|Secret { name, value }| (name, value)).collect();
    for (number, form) in job.notify.unwrap_or_default().values_elsewhere() {
        let (name, at) = (notify::token_name(number), place(&form));
        let value = value_of(file, at, &name, form.value, Origin::Here(folder))?;
        values.insert(name, value);
    }
    Ok(values)
}

/// What of a job file this is about.
#[derive(Deserialize)]
struct SecretKeys {
    secrets: Option<SecretsForm>,
    notify: Option<NotifyForm>,
}

/// How programs write a text. What they encode otherwise (base64, another character set) is not known for it.
fn spellings(line: &str) -> Vec<String> {
    let json = serde_json::Value::from(line).to_string();
    // printk's: `devkmsg_emit_text` escapes these.
    let kmsg = line.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b' '..=b'~' if byte != b'\\' => text.push(char::from(byte)),
            byte => text.push_str(&format!("\\x{byte:02x}")),
        }
        text
    });
    vec![
        line.to_owned(),
        json[1..json.len() - 1].to_owned(),
        // As `set -x` shows it, by bash and by dash and busybox.
        line.replace('\'', r"'\''"),
        line.replace('\'', "'\"'\"'"),
        kmsg,
        percent_encoded(line),
    ]
}

/// The secrets as a file has them.
#[derive(Default)]
pub(super) struct SecretsForm(Vec<(Spanned<String>, Spanned<ValueForm>)>);

/// A value, or where it is.
pub(super) enum ValueForm {
    Text(String),
    Elsewhere(ElsewhereForm),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ElsewhereForm {
    environment: Option<String>,
    file: Option<String>,
}

impl SecretsForm {
    /// The secrets, with their values.
    ///
    /// # Errors
    /// A name that no shell takes, a value that is not there, is too short or too long, or too much of all.
    pub(super) fn check(self, file: &str, origin: Origin<'_>) -> Result<Secrets, FileError> {
        let mut secrets = Vec::with_capacity(self.0.len());
        let mut bytes = 0;
        for (name, form) in self.0 {
            let at = place(&name);
            if !is_name(&name.value) {
                let message =
                    format!("\"{}\" cannot be the name of a secret", shorten(&name.value));
                return Err(FileError::at(file, at, message)
                    .mend("use 1 to 64 letters, digits and _, no digit first"));
            }
            if secrets.len() == SECRETS_MAX {
                let message = format!("a job has at most {SECRETS_MAX} secrets");
                return Err(FileError::at(file, at, message));
            }
            let value = value_of(file, at, &name.value, form.value, origin)?;
            bytes += value.len();
            if bytes > ALL_BYTES_MAX {
                let message = format!("the secrets of a job have at most {ALL_BYTES_MAX} bytes");
                return Err(FileError::at(file, at, message));
            }
            secrets.push(Secret { name: name.value, value });
        }
        Ok(Secrets(secrets))
    }
}

/// The value of the secret `name`, which stands at a place of the job file.
///
/// # Errors
/// It is not there, or not one that can be kept secret. No message shows a value.
pub(super) fn value_of(
    file: &str,
    at: Place,
    name: &str,
    form: ValueForm,
    origin: Origin<'_>,
) -> Result<String, FileError> {
    let wrong = |message: String| FileError::at(file, at, message);
    let value = match (form, origin) {
        (ValueForm::Text(text), _) => text,
        (ValueForm::Elsewhere(form), origin) => match (form, origin) {
            (ElsewhereForm { environment: Some(_), file: Some(_) }, _)
            | (ElsewhereForm { environment: None, file: None }, _) => {
                return Err(wrong(format!("where is the value of {name}?"))
                    .mend("write {environment: VARIABLE} or {file: path}"));
            }
            (_, Origin::Sent(values)) => values.get(name).cloned().ok_or_else(|| {
                wrong(format!("the value of {name} did not come with the job"))
                    .mend("use `pumice submit`, or send it in \"secrets\" of the request")
            })?,
            (ElsewhereForm { environment: Some(variable), .. }, Origin::Here(_)) => {
                std::env::var(&variable).map_err(|_| {
                    wrong(format!(
                        "{name} is to be the variable {}, which is not set",
                        shorten(&variable)
                    ))
                    .mend("export it where pumice is started")
                })?
            }
            (ElsewhereForm { file: Some(path), .. }, Origin::Here(folder)) => {
                read(&folder.join(&path)).map_err(|error| {
                    wrong(format!("the file {} of {name} cannot be read: {error}", shorten(&path)))
                        .mend("paths are relative to the job file")
                })?
            }
        },
    };
    check_value(name, &value).map_err(wrong)?;
    Ok(value)
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    if value.starts_with("(secret:") {
        return Err(format!("the value of {name} is the mark of a secret that was hidden"));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!("the value of {name} has more than {VALUE_BYTES_MAX} bytes"));
    }
    if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(format!("the value of {name} has control characters: encode it"));
    }
    if lines(value).next().is_none() {
        return Err(format!(
            "the value of {name} has no line of at least {VALUE_BYTES_MIN} bytes: \
             what is shorter cannot be told from other text, and kept out of it"
        ));
    }
    Ok(())
}

/// The text of a file, without its last line end.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(VALUE_BYTES_MAX as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

impl<'de> Deserialize<'de> for SecretsForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormVisitor;

        impl<'de> Visitor<'de> for FormVisitor {
            type Value = SecretsForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names and values")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<SecretsForm, M::Error> {
                let mut form = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    form.push(entry);
                }
                Ok(SecretsForm(form))
            }
        }

        deserializer.deserialize_map(FormVisitor)
    }
}

impl<'de> Deserialize<'de> for ValueForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormVisitor;

        impl<'de> Visitor<'de> for FormVisitor {
            type Value = ValueForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes, {environment: VARIABLE} or {file: path}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueForm, E> {
                Ok(ValueForm::Text(text.to_owned()))
            }

            // The library would show the value.
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<ValueForm, E> {
                Err(E::custom(IN_QUOTES))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<ValueForm, E> {
                Err(E::custom(IN_QUOTES))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<ValueForm, E> {
                Err(E::custom(IN_QUOTES))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<ValueForm, E> {
                Err(E::custom(IN_QUOTES))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<ValueForm, M::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                ElsewhereForm::deserialize(map).map(ValueForm::Elsewhere)
            }
        }

        deserializer.deserialize_any(FormVisitor)
    }
}

/// By hand: no debug output shows a value.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|secret| &secret.name)).finish()
    }
}

/// As for [`Secrets`].
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Shorter texts are words that stand everywhere; a secret of eight characters is a bad one already.
pub const VALUE_BYTES_MIN: usize = 8;
/// A private key of 16384 bits in PEM has 12.5 KiB.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;
/// All together: what is searched for in every byte that a board sends.
const ALL_BYTES_MAX: usize = 64 * 1024;
const SECRETS_MAX: usize = 64;
const IN_QUOTES: &str = "the value of a secret is a text: put it in quotes";

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::io::test_folder::TestFolder;

    fn parse(text: &str, origin: Origin<'_>) -> Result<Secrets, String> {
        let form: Result<SecretsForm, FileError> = yaml::from_str("f", text, &[]);
        form.and_then(|form| form.check("f", origin)).map_err(|error| error.to_string())
    }

    #[test]
    fn values_come_from_where_the_job_says() {
        let folder = TestFolder::new();
        std::fs::write(folder.path().join("key"), "-----BEGIN\nabcdefghij\n").unwrap();
        let here = Origin::Here(folder.path());
        let text = "A: 'in the file'\nB: {environment: PATH}\nC: {file: key}\n";
        let secrets = parse(text, here).unwrap();
        let values: Vec<&str> = secrets.iter().map(|secret| secret.value.as_str()).collect();
        let path = std::env::var("PATH").unwrap();
        assert_eq!(values, ["in the file", &path, "-----BEGIN\nabcdefghij"]);
        // Of somebody who is not here neither the environment nor a file is ours.
        let sent = BTreeMap::from([("B".to_owned(), "sent-along".to_owned())]);
        let error = parse(text, Origin::Sent(&sent)).unwrap_err();
        let expected = "f:3: the value of C did not come with the job: use `pumice submit`, or send it in \"secrets\" of the request";
        assert_eq!(error, expected);
        let secrets = parse("A: 'in the file'\nB: {environment: PATH}\n", Origin::Sent(&sent));
        assert_eq!(secrets.unwrap().iter().nth(1).unwrap().value, "sent-along");
    }

    #[test]
    fn what_the_file_does_not_hold_goes_with_it() {
        let folder = TestFolder::new();
        std::fs::write(folder.path().join("key"), "of-the-file\n").unwrap();
        let text = "name: x\nsecrets: {A: stands-here, B: {file: key}}\n\
                    notify:\n  callbacks:\n    - {url: 'http://a', token: stands-here-too}\n    - {url: 'http://a', token: {file: key}}\n";
        let sent = to_send("f", text, folder.path()).unwrap();
        let names: Vec<&str> = sent.keys().map(String::as_str).collect();
        assert_eq!(names, ["B", "callback-2-token"]);
        let hidden = of_text(text, Origin::Sent(&sent));
        let values: Vec<&str> = hidden.iter().map(|secret| secret.value.as_str()).collect();
        assert_eq!(values, ["stands-here", "of-the-file", "stands-here-too", "of-the-file"]);
        let missing = text.replace("token: {file: key}", "token: {file: none}");
        let error = to_send("f", &missing, folder.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("f:6: the file none of callback-2-token cannot be read: "),
            "{error}"
        );
        assert!(to_send("f", "name: x\n", folder.path()).unwrap().is_empty());
    }

    #[test]
    fn mistakes_name_the_secret_and_never_show_it() {
        let folder = TestFolder::new();
        for (text, expected) in [
            ("A-B: hunter22", "f:1: \"A-B\" cannot be the name of a secret: use 1 to 64 letters, digits and _, no digit first".to_owned()),
            ("A: hunter2", "f:1: the value of A has no line of at least 8 bytes: what is shorter cannot be told from other text, and kept out of it".into()),
            ("A: \"hunter\\n22222\"", "f:1: the value of A has no line of at least 8 bytes: what is shorter cannot be told from other text, and kept out of it".into()),
            ("A: \"hunter22\\e\"", "f:1: the value of A has control characters: encode it".into()),
            ("A: 1234567890", format!("f:1: {IN_QUOTES}")),
            ("A: {environment: NO_SUCH_VARIABLE}", "f:1: A is to be the variable NO_SUCH_VARIABLE, which is not set: export it where pumice is started".into()),
            ("A: {file: none}", "f:1: the file none of A cannot be read: No such file or directory (os error 2): paths are relative to the job file".into()),
            ("A: {}", "f:1: where is the value of A?: write {environment: VARIABLE} or {file: path}".into()),
            ("A: {variable: X}", "f:1: unknown key \"variable\": known are environment, file".into()),
        ] {
            assert_eq!(parse(text, Origin::Here(folder.path())).unwrap_err(), expected, "{text}");
        }
        let many: String = (0..=SECRETS_MAX).map(|n| format!("A{n}: hunter22\n")).collect();
        let error = parse(&many, Origin::Here(folder.path())).unwrap_err();
        assert_eq!(error, "f:65: a job has at most 64 secrets");
        let large = format!("A: {}", "x".repeat(VALUE_BYTES_MAX + 1));
        let error = parse(&large, Origin::Here(folder.path())).unwrap_err();
        assert_eq!(error, "f:1: the value of A has more than 16384 bytes");
        assert_eq!(format!("{:?}", secret("hunter22")), "[\"A\"]");
    }

    fn secret(value: &str) -> Secrets {
        Secrets(vec![Secret { name: "A".into(), value: value.into() }])
    }

    #[test]
    fn a_shell_reads_the_file_and_what_it_shows_of_it_is_hidden() {
        for value in ["plain-value.1", "it's a \"$HOME\" `x` \\ secret", "ends in\ttabs and ü"] {
            let secrets = secret(value);
            let script = format!("{}printf %s \"$A\"\nset -x\n: \"$A\"\n", secrets.file());
            for shell in ["sh", "bash"] {
                let output = Command::new(shell).args(["-c", &script]).output().unwrap();
                assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
                let trace = String::from_utf8(output.stderr).unwrap();
                // bash writes other than ASCII and tabs as $'…': nothing that is known for the secret.
                if shell == "sh" || value.is_ascii() {
                    assert!(secrets.patterns().redacted(&trace).is_some(), "{shell}: {trace}");
                }
            }
        }
        assert_eq!(secret("as/it:is").file(), "A=as/it:is\n");
    }

    #[test]
    fn each_line_of_a_value_and_each_way_to_write_it_is_hidden() {
        let patterns = secret("first line\nx\n second \"li\\ne\"'s\r").patterns();
        for text in [
            "first line",
            "second \"li\\ne\"'s",
            r#"second \"li\\ne\"'s"#,
            r#"second "li\x5cne"'s"#,
            r#"second "li\ne"'\''s"#,
            "second%20%22li%5Cne%22%27s",
        ] {
            let redacted = patterns.redacted(&format!("<{text}>")).unwrap_or_default();
            assert_eq!(
                redacted,
                format!("<{}>", String::from_utf8(mark("A", text.len())).unwrap())
            );
        }
        assert_eq!(patterns.redacted("x"), None);
    }
}
