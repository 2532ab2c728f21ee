//! A client of a lab's HTTP interface: what `submit`, `jobs`, `watch`, `boards` and their like speak with `pumice serve`.

pub mod job_files;
pub mod lava;
pub mod socket;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, RequestBuilder};

use self::socket::Refused;
use crate::job::verdict::ErrorClass;
use crate::script::Fault;
use crate::store::hexadecimal;

/// A lab at the other end of HTTP.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
    user: String,
}

impl Client {
    /// The lab at this address: `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// A ConfigurationError: it is no such address.
    pub fn new(server: &str, token: Option<String>, user: String) -> Result<Self, Fault> {
        let base = server.trim_end_matches('/').to_owned();
        let is_http = base.starts_with("http://") || base.starts_with("https://");
        if !is_http || base.contains(char::is_whitespace) {
            let message = format!("\"{base}\" is no address of a lab: write http://HOST:PORT");
            return Err(Fault::configuration(message));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_recv_response(Some(ANSWER_LIMIT))
            .build();
        Ok(Self { agent: config.into(), base, token, user })
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Who asks.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Gets JSON.
    ///
    /// # Errors
    /// The lab cannot be reached, or what it says is wrong.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        let answer = self.with_identity(self.agent.get(self.url(path))).call();
        self.json(answer)
    }

    /// Gets JSON of what a query asks for.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Fault> {
        let request = self.agent.get(self.url(path)).query_pairs(query.iter().copied());
        let answer = self.with_identity(request).call();
        self.json(answer)
    }

    /// Posts JSON and gets JSON.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Fault> {
        self.try_post(path, body).map_err(Refused::into_fault)
    }

    /// The same, where it may be worth asking again.
    ///
    /// # Errors
    /// As for [`Self::get`]; [`Refused::Busy`] of what is in another state than it would have to be.
    pub fn try_post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Refused> {
        let request = self.with_identity(self.agent.post(self.url(path)));
        let text =
            serde_json::to_string(body).map_err(|error| Refused::For(self.unreadable(&error)))?;
        let answer = request.header("Content-Type", "application/json").send(text);
        match answer {
            Ok(mut answer) if answer.status() == StatusCode::CONFLICT => {
                Err(Refused::Busy(self.refused(&mut answer)))
            }
            answer => self.json(answer).map_err(Refused::For),
        }
    }

    /// Gets text.
    ///
    /// # Errors
    /// As for [`Self::get`]; bytes that are no UTF-8 are replaced.
    pub fn text(&self, path: &str) -> Result<String, Fault> {
        let answer = self.with_identity(self.agent.get(self.url(path))).call();
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.refused(&mut answer));
        }
        Ok(String::from_utf8_lossy(&self.bytes(&mut answer)?).into_owned())
    }

    /// What of a run's file comes behind the first `from` bytes; nothing where there is no more.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn file_from(&self, run: &str, file: &str, from: u64) -> Result<Vec<u8>, Fault> {
        self.range(run, file, from, &format!("bytes={from}-"))
    }

    /// The same, but at most `length` bytes of it, which is 1 at least; all of it where the lab knows no ranges.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn file_part(
        &self,
        run: &str,
        file: &str,
        from: u64,
        length: u64,
    ) -> Result<Vec<u8>, Fault> {
        let last = from.saturating_add(length.max(1) - 1);
        self.range(run, file, from, &format!("bytes={from}-{last}"))
    }

    fn range(&self, run: &str, file: &str, from: u64, range: &str) -> Result<Vec<u8>, Fault> {
        let path = format!("/runs/{run}/files/{file}");
        let request = self.with_identity(self.agent.get(self.url(&path)));
        let answer = request.header("Range", range).call();
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        match answer.status().as_u16() {
            206 => {}
            // The whole of it, where only that can be had.
            200 => {
                let whole = self.bytes(&mut answer)?;
                let from = usize::try_from(from).unwrap_or(usize::MAX).min(whole.len());
                return Ok(whole[from..].to_vec());
            }
            416 => return Ok(Vec::new()),
            _ => return Err(self.refused(&mut answer)),
        }
        self.bytes(&mut answer)
    }

    /// Sees to it that the lab has a file, and says by which digest.
    ///
    /// # Errors
    /// The file cannot be read, or as for [`Self::get`].
    pub fn upload(&self, file: &Path, tell: &mut dyn FnMut(u64)) -> Result<String, Fault> {
        let failed =
            |error: io::Error| Fault::job(format!("failed to read {}: {error}", file.display()));
        let sha256 = digest(file).map_err(failed)?;
        let path = format!("/files/{sha256}");
        let known = self.with_identity(self.agent.head(self.url(&path))).call();
        let known = known.map_err(|error| self.unreachable(&error))?;
        if known.status().is_success() {
            return Ok(sha256);
        }
        let source = File::open(file).map_err(failed)?;
        tell(source.metadata().map_err(failed)?.len());
        let request = self.with_identity(self.agent.put(self.url(&path)));
        let request = request.config().timeout_recv_response(Some(UPLOAD_LIMIT)).build();
        let answer = request.send(&source);
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() { Ok(sha256) } else { Err(self.refused(&mut answer)) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }

    /// The headers that say who asks.
    pub fn identity(&self) -> impl Iterator<Item = (&'static str, String)> {
        let token = self.token.as_ref().map(|token| ("Authorization", format!("Bearer {token}")));
        std::iter::once(("X-Pumice-User", self.user.clone())).chain(token)
    }

    fn with_identity<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        self.identity().fold(request, |request, (name, value)| request.header(name, value))
    }

    fn json<T: DeserializeOwned>(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, Fault> {
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.refused(&mut answer));
        }
        let bytes = self.bytes(&mut answer)?;
        serde_json::from_slice(&bytes).map_err(|error| self.unreadable(&error))
    }

    fn bytes(&self, answer: &mut Response<Body>) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let reader = answer.body_mut().as_reader();
        let read = reader.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| self.unreachable(&ureq::Error::Io(error)))?;
        Ok(bytes)
    }

    fn unreachable(&self, error: &ureq::Error) -> Fault {
        Fault::infrastructure(format!(
            "no lab answers at {}: {error}: start one with pumice serve, or name another with --server",
            self.base
        ))
    }

    fn unreadable(&self, error: &serde_json::Error) -> Fault {
        Fault::infrastructure(format!("what {} says cannot be understood: {error}", self.base))
    }

    fn refused(&self, answer: &mut Response<Body>) -> Fault {
        let body = self.bytes(answer).unwrap_or_default();
        self.refusal(answer.status().as_u16(), &body)
    }

    /// What a lab that does not do something says, for a person.
    pub fn refusal(&self, status: u16, body: &[u8]) -> Fault {
        let body: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({}));
        let class = match status {
            400..500 => ErrorClass::JobError,
            _ => ErrorClass::InfrastructureError,
        };
        let message = sentence(&body["error"])
            .unwrap_or_else(|| format!("{} answered with status {status}", self.base));
        Fault { class, message }
    }
}

/// `file:line: message: mend`.
fn sentence(error: &Value) -> Option<String> {
    let mut text = String::new();
    if let Some(file) = error["file"].as_str() {
        text += file;
        if let Some(line) = error["line"].as_u64() {
            text += &format!(":{line}");
        }
        text += ": ";
    }
    text += error["message"].as_str()?;
    if let Some(mend) = error["mend"].as_str() {
        text += &format!(": {mend}");
    }
    Some(text)
}

fn digest(file: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(file)?, &mut hash)?;
    Ok(hexadecimal(&hash.finalize()))
}

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A job is checked before it is answered for, and its definitions may come from a repository.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// A large image is written and read once more.
const UPLOAD_LIMIT: Duration = Duration::from_secs(3600);
/// A page of a list, or a piece of a log.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_sentence() {
        let error = json!({"message": "m", "file": "job.yaml", "line": 3, "mend": "do this"});
        assert_eq!(sentence(&error).unwrap(), "job.yaml:3: m: do this");
        assert_eq!(sentence(&json!({"message": "m"})).unwrap(), "m");
        assert_eq!(sentence(&json!(null)), None);
    }

    #[test]
    fn addresses() {
        for wrong in ["", "127.0.0.1:8080", "ftp://a", "http://a b"] {
            let error = Client::new(wrong, None, "u".into()).unwrap_err();
            assert_eq!(error.class, ErrorClass::ConfigurationError, "{wrong}");
        }
        let client = Client::new("http://lab:8080/", None, "u".into()).unwrap();
        assert_eq!(client.url("/jobs"), "http://lab:8080/api/v1/jobs");
    }
}
