//! Who is told when a job has ended: callbacks, with the words and the payload of LAVA.
//!
//! LAVA's `notify` (`lava_common/schemas/job.py`, 2023.01) is taken as far as it is about callbacks, the older single
//! `callback` and `content-type` among them. What writes mail or to IRC there is refused with what does it here.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::secret::{Origin, Secret, ValueForm, value_of};
use crate::config::value::shorten;
use crate::config::yaml::{FileError, Spanned, place};
use crate::job::verdict::{ErrorClass, Verdict};

/// A request that is sent when the job has ended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// Where to; `{ID}`, `{STATUS}` and their like in it are filled in.
    pub url: String,
    /// How.
    pub method: Method,
    /// What shows the receiver who sends it.
    pub token: Option<String>,
    /// The header that the token stands in.
    pub header: String,
    /// How much is told.
    pub dataset: Dataset,
    /// In which form.
    pub content_type: ContentType,
    /// At which ends.
    pub on: Vec<End>,
}

/// The method of a callback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Nothing is told but that the job has ended.
    #[default]
    Get,
    /// With the payload.
    Post,
}

/// How much a callback tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dataset {
    /// The job, and how it ended.
    #[default]
    Minimal,
    /// And its log.
    Logs,
    /// And its results.
    Results,
    /// All of that.
    All,
}

/// The form of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentType {
    /// As of a form of a web page.
    #[default]
    Urlencoded,
    /// JSON.
    Json,
}

/// How a job ended, in LAVA's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// All of it was done, whatever the results are.
    Complete,
    /// Something stopped it.
    Incomplete,
    /// Somebody stopped it.
    Canceled,
}

impl End {
    /// How a job of this verdict ended; one without was cancelled in the queue, or could not be begun.
    pub fn of(verdict: Option<Verdict>) -> Self {
        match verdict {
            Some(Verdict::Passed | Verdict::Failed) => Self::Complete,
            Some(Verdict::Error(ErrorClass::Canceled)) | None => Self::Canceled,
            Some(Verdict::Error(_)) => Self::Incomplete,
        }
    }
}

/// The tokens of callbacks, as secrets.
pub fn tokens(callbacks: &[Callback]) -> impl Iterator<Item = Secret> {
    let token = |(number, callback): (usize, &Callback)| {
        Some(Secret { name: token_name(number), value: callback.token.clone()? })
    };
    (1..).zip(callbacks).filter_map(token)
}

/// What the token of a callback is called, by its number from 1: no secret's name.
pub fn token_name(number: usize) -> String {
    format!("callback-{number}-token")
}

/// `notify` as a file has it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyForm {
    #[serde(default)]
    callbacks: Vec<Spanned<CallbackForm>>,
    callback: Option<Spanned<CallbackForm>>,
    criteria: Option<Spanned<CriteriaForm>>,
    recipients: Option<Spanned<serde_json::Value>>,
    verbosity: Option<Spanned<serde_json::Value>>,
    compare: Option<Spanned<serde_json::Value>>,
    email: Option<Spanned<serde_json::Value>>,
    irc: Option<Spanned<serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallbackForm {
    url: Spanned<String>,
    method: Option<Method>,
    token: Option<Spanned<ValueForm>>,
    header: Option<Spanned<String>>,
    dataset: Option<Dataset>,
    #[serde(alias = "content-type")]
    content_type: Option<ContentType>,
    on: Option<Vec<End>>,
}

/// LAVA's way to say it once for all callbacks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CriteriaForm {
    status: Spanned<String>,
    #[serde(rename = "type")]
    kind: Option<Spanned<serde_json::Value>>,
    dependency_query: Option<Spanned<serde_json::Value>>,
}

impl NotifyForm {
    /// The callbacks, with their tokens.
    ///
    /// # Errors
    /// Something that is not done here, or a callback that cannot be sent.
    pub(super) fn check(self, file: &str, origin: Origin<'_>) -> Result<Vec<Callback>, FileError> {
        for (key, value) in [
            ("recipients", &self.recipients),
            ("email", &self.email),
            ("irc", &self.irc),
            ("verbosity", &self.verbosity),
            ("compare", &self.compare),
        ] {
            if let Some(value) = value {
                let message = format!("notify.{key}: nobody is written to from here");
                return Err(FileError::at(file, place(value), message).mend(
                    "name the service that does it in callbacks:, or follow /api/v1/events of the lab",
                ));
            }
        }
        let all = self.criteria.map(|form| ends_of(file, &form.value)).transpose()?;
        let all = all.unwrap_or_else(|| EVERY_END.to_vec());
        let mut callbacks = Vec::new();
        for form in self.callbacks.into_iter().chain(self.callback) {
            if callbacks.len() == CALLBACKS_MAX {
                let message = format!("a job has at most {CALLBACKS_MAX} callbacks");
                return Err(FileError::at(file, place(&form), message));
            }
            callbacks.push(form.value.check(file, callbacks.len() + 1, &all, origin)?);
        }
        Ok(callbacks)
    }

    /// The tokens that do not stand in the file, by the numbers of their callbacks.
    pub(super) fn values_elsewhere(self) -> Vec<(usize, Spanned<ValueForm>)> {
        let callbacks = self.callbacks.into_iter().chain(self.callback);
        let tokens =
            (1..).zip(callbacks).filter_map(|(number, form)| Some((number, form.value.token?)));
        tokens.filter(|(_, token)| matches!(token.value, ValueForm::Elsewhere(_))).collect()
    }
}

impl CallbackForm {
    fn check(
        self,
        file: &str,
        number: usize,
        all: &[End],
        origin: Origin<'_>,
    ) -> Result<Callback, FileError> {
        check_url(&self.url.value)
            .map_err(|(message, mend)| FileError::at(file, place(&self.url), message).mend(mend))?;
        let header = self.header.as_ref().map_or("Authorization", |header| &header.value);
        if !is_header(header) {
            let message = format!("\"{}\" cannot be the header of a token", shorten(header));
            let at = self.header.as_ref().map_or_else(|| place(&self.url), place);
            return Err(FileError::at(file, at, message));
        }
        let header = header.to_owned();
        let token = match self.token {
            Some(form) => {
                let at = place(&form);
                let token = value_of(file, at, &token_name(number), form.value, origin)?;
                if token.contains(char::is_control) {
                    let message = "the token of a callback has one line, without tabs";
                    return Err(FileError::at(file, at, message));
                }
                Some(token)
            }
            None => None,
        };
        Ok(Callback {
            url: self.url.value,
            method: self.method.unwrap_or_default(),
            token,
            header,
            dataset: self.dataset.unwrap_or_default(),
            content_type: self.content_type.unwrap_or_default(),
            on: self.on.unwrap_or_else(|| all.to_vec()),
        })
    }
}

fn ends_of(file: &str, form: &CriteriaForm) -> Result<Vec<End>, FileError> {
    let not_done = [("type", &form.kind), ("dependency_query", &form.dependency_query)];
    for (key, value) in not_done {
        if let Some(value) = value {
            let message = format!("notify.criteria.{key} is not done here");
            return Err(FileError::at(file, place(value), message)
                .mend("let the receiver compare: a callback says how the job ended"));
        }
    }
    let at = place(&form.status);
    Ok(match form.status.value.as_str() {
        "complete" => vec![End::Complete],
        "incomplete" => vec![End::Incomplete],
        "canceled" => vec![End::Canceled],
        "finished" | "all" => EVERY_END.to_vec(),
        "running" => {
            return Err(FileError::at(file, at, "a callback is sent when the job has ended")
                .mend("write finished, or follow /api/v1/events of the lab"));
        }
        other => {
            let message = format!("unknown word \"{}\"", shorten(other));
            return Err(FileError::at(file, at, message)
                .mend("known are all, finished, complete, incomplete, canceled"));
        }
    })
}

fn check_url(url: &str) -> Result<(), (String, &'static str)> {
    let shown = shorten(url.split_once("://").map_or(url, |(_, rest)| rest));
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        let message = format!("\"{shown}\" is no address of a callback");
        return Err((message, "write https://HOST/PATH"));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || url.len() > URL_BYTES_MAX || url.contains(char::is_control) {
        return Err((
            format!("\"{shown}\" is no address of a callback"),
            "write https://HOST/PATH",
        ));
    }
    if host.contains('@') {
        let message = "a password in an address would be seen".to_owned();
        return Err((message, "give it as token:, with the header that the receiver reads"));
    }
    Ok(())
}

/// RFC 9110, section 5.6.2, without those that say what the request itself is.
fn is_header(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_taken = ["host", "connection", "content-length", "content-type", "transfer-encoding"];
    (1..=64).contains(&name.len())
        && name.bytes().all(is_token)
        && !is_taken.contains(&name.to_ascii_lowercase().as_str())
}

/// By hand: no debug output shows a token.
impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("url", &self.url).finish_non_exhaustive()
    }
}

const EVERY_END: [End; 3] = [End::Complete, End::Incomplete, End::Canceled];
/// One for each service that wants to know.
const CALLBACKS_MAX: usize = 8;
/// What servers take in a request line.
const URL_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::config::yaml;

    fn parse(text: &str) -> Result<Vec<Callback>, String> {
        let form: Result<NotifyForm, FileError> = yaml::from_str("f", text, &[]);
        let origin = Origin::Here(Path::new(""));
        form.and_then(|form| form.check("f", origin)).map_err(|error| error.to_string())
    }

    #[test]
    fn lavas_words_and_ours() {
        let callbacks = parse(
            "criteria: {status: incomplete}\ncallbacks:\n  - {url: 'http://a/b', method: POST, token: a-long-token, header: X-Token, dataset: all, content-type: json}\n  - {url: 'https://c?id={ID}', content_type: json, on: [complete]}\n",
        )
        .unwrap();
        let [first, second] = &callbacks[..] else { panic!("{callbacks:?}") };
        assert_eq!((first.method, first.dataset), (Method::Post, Dataset::All));
        assert_eq!((first.header.as_str(), first.content_type), ("X-Token", ContentType::Json));
        assert_eq!((&first.on[..], &second.on[..]), (&[End::Incomplete][..], &[End::Complete][..]));
        assert_eq!((second.method, second.dataset), (Method::Get, Dataset::Minimal));
        assert_eq!(second.header, "Authorization");
        let names: Vec<Secret> = tokens(&callbacks).collect();
        assert_eq!((names.len(), names[0].name.as_str()), (1, "callback-1-token"));
        assert!(!format!("{callbacks:?}").contains("a-long-token"));
        let single = parse("callback: {url: 'http://a'}\ncriteria: {status: finished}\n").unwrap();
        assert_eq!((single.len(), &single[0].on[..]), (1, &EVERY_END[..]));
        assert_eq!(parse("criteria: {status: all}\n").unwrap(), []);
    }

    #[test]
    fn mistakes() {
        let url = "callbacks: [{url: ";
        let many = format!("callbacks: [{}]", "{url: 'http://a'}, ".repeat(9));
        let written = "nobody is written to from here: name the service that does it in callbacks:, or follow /api/v1/events of the lab";
        for (text, expected) in [
            ("recipients: [{to: {method: email}}]", format!("f:1: notify.recipients: {written}")),
            ("irc: x", format!("f:1: notify.irc: {written}")),
            ("criteria: {status: running}", "f:1: a callback is sent when the job has ended: write finished, or follow /api/v1/events of the lab".into()),
            ("criteria: {status: complete, type: regression}", "f:1: notify.criteria.type is not done here: let the receiver compare: a callback says how the job ended".into()),
            ("criteria: {status: over}", "f:1: unknown word \"over\": known are all, finished, complete, incomplete, canceled".into()),
            (&format!("{url}'ftp://a/b'}}]"), "f:1: \"a/b\" is no address of a callback: write https://HOST/PATH".into()),
            (&format!("{url}'http:///b'}}]"), "f:1: \"/b\" is no address of a callback: write https://HOST/PATH".into()),
            (&format!("{url}'http://user:password@a/b'}}]"), "f:1: a password in an address would be seen: give it as token:, with the header that the receiver reads".into()),
            (&format!("{url}'http://a', header: Content-Length}}]"), "f:1: \"Content-Length\" cannot be the header of a token".into()),
            (&format!("{url}'http://a', header: 'a b'}}]"), "f:1: \"a b\" cannot be the header of a token".into()),
            (&format!("{url}'http://a', token: short}}]"), "f:1: the value of callback-1-token has no line of at least 8 bytes: what is shorter cannot be told from other text, and kept out of it".into()),
            (&format!("{url}'http://a', token: \"a-long-\\n-long-token\"}}]"), "f:1: the token of a callback has one line, without tabs".into()),
            (&format!("{url}'http://a', dataset: everything}}]"), "f:1: unknown word \"everything\": known are minimal, logs, results, all".into()),
            (&many, "f:1: a job has at most 8 callbacks".into()),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
        let form: NotifyForm =
            yaml::from_str("f", "callback: {url: 'http://a', token: {environment: HOME}}", &[])
                .unwrap();
        let sent = BTreeMap::from([("callback-1-token".to_owned(), "sent-along".to_owned())]);
        let callbacks = form.check("f", Origin::Sent(&sent)).unwrap();
        assert_eq!(callbacks[0].token.as_deref(), Some("sent-along"));
    }
}
