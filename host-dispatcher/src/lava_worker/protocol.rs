//! What LAVA's server and its workers say to each other: requests as they are sent, answers as they are understood.
//!
//! From the server's `internal_v1_workers`, `internal_v1_jobs` and `internal_v1_jobs_logs` (`lava_scheduler_app/views.py`)
//! and LAVA's own worker (`lava_dispatcher/worker.py`, `lava_common/log.py`), 2023.01. Bodies are forms, answers JSON. A
//! worker asks what there is to do by its ping; the token of a ping is the worker's, that of everything else the job's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The number of a job in LAVA.
pub type LavaId = u64;

/// A request to LAVA's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path below the server's address, with its query.
    pub path: String,
    /// What `LAVA-Token` says; nothing where nobody is known yet.
    pub token: Option<String>,
    /// The fields of a POST; of a GET there are none.
    pub form: Option<Vec<(&'static str, String)>>,
}

/// What came back: a status and a body, or why there is neither.
pub type Reply = Result<Answer, String>;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// JSON, if the server is LAVA's and well.
    pub body: Vec<u8>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server is not there, or not well: it may be asked again.
    Away(String),
    /// It wants another version; which one, if it says so.
    Version(Option<String>),
    /// What answered was no LAVA that is well: it stumbled over the request, or a proxy did not let it through.
    Odd(String),
    /// It will not, however often it is asked.
    Never(String),
}

/// What a ping is answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Orders {
    /// Jobs that are to be begun.
    #[serde(default)]
    pub start: Vec<Order>,
    /// Jobs that are to be ended.
    #[serde(default)]
    pub cancel: Vec<Order>,
    /// Jobs that run here as far as the server knows.
    #[serde(default)]
    pub running: Vec<Order>,
}

/// A job, and the token for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// Its number.
    pub id: LavaId,
    /// What the server knows the job's requests by.
    pub token: String,
}

/// What is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct JobFiles {
    /// The job, YAML.
    pub definition: String,
    /// The rendered device dictionary, YAML.
    pub device: Option<String>,
    /// Variables for programs on the board, YAML.
    #[serde(rename = "env-dut")]
    pub env_dut: Option<String>,
}

/// How a job ended, in LAVA's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Whether it came to its end, whatever its tests came to.
    pub is_complete: bool,
    /// Who must mend what stopped it: `Infrastructure`, `Job`, …; empty if nothing did.
    pub error_type: String,
    /// What stopped it, in a line.
    pub errors: String,
}

/// Which version the server has: a worker must say the same.
pub fn version() -> Request {
    get("/api/v0.2/system/version/".into(), None)
}

/// "I am here", and "what is to be done?".
pub fn ping(name: &str, version: &str, token: &str) -> Request {
    let path =
        format!("/scheduler/internal/v1/workers/{}/?version={}", quote(name), quote(version));
    get(path, Some(token))
}

/// Asks for a token: as somebody whom the server knows, or as who comes from an address that it trusts.
pub fn register(name: &str, login: Option<(&str, &str)>) -> Request {
    let mut form = vec![("name", name.to_owned())];
    if let Some((username, password)) = login {
        form.extend([("username", username.to_owned()), ("password", password.to_owned())]);
    }
    Request { path: "/scheduler/internal/v1/workers/".into(), token: None, form: Some(form) }
}

/// Asks for the files of a job.
pub fn job(order: &Order) -> Request {
    get(job_path(order.id), Some(&order.token))
}

/// Asks which device a job was given; answered to anybody, of jobs that anybody may see.
pub fn job_view(id: LavaId) -> Request {
    get(format!("/api/v0.2/jobs/{id}/"), None)
}

/// Asks how many results of a job the server has; answered as [`job_view`].
pub fn results(id: LavaId) -> Request {
    get(format!("/api/v0.2/jobs/{id}/tests/?limit=1"), None)
}

/// "It runs."
pub fn running(order: &Order) -> Request {
    post(job_path(order.id), order, vec![("state", "RUNNING".into())])
}

/// Lines of the job's log, of which the first has the number `index`. The server skips lines that it has already, but not their
/// results: it would have those twice.
pub fn logs(order: &Order, lines: &[String], index: u64) -> Request {
    let form = vec![("lines", lines.concat()), ("index", index.to_string())];
    post(format!("{}logs/", job_path(order.id)), order, form)
}

/// "It is over."
pub fn finished(order: &Order, end: &End) -> Request {
    let form = vec![
        ("state", "FINISHED".into()),
        ("result", if end.is_complete { "pass" } else { "fail" }.into()),
        ("error_type", end.error_type.clone()),
        ("errors", end.errors.clone()),
        ("description", String::new()),
    ];
    post(job_path(order.id), order, form)
}

/// The JSON of an answer.
///
/// # Errors
/// The server did not do it, or what it says cannot be understood.
pub fn understand<T: for<'a> Deserialize<'a>>(reply: &Reply) -> Result<T, Refusal> {
    let answer = reply.as_ref().map_err(|why| Refusal::Away(why.clone()))?;
    let why = || match error_of(&answer.body) {
        Some(text) => format!("{text} (status {})", answer.status),
        None => format!("status {}", answer.status),
    };
    match answer.status {
        200..300 => serde_json::from_slice(&answer.body)
            .map_err(|error| Refusal::Away(format!("its answer cannot be understood: {error}"))),
        409 => Err(Refusal::Version(error_of(&answer.body).as_deref().and_then(wanted_version))),
        400..500 if error_of(&answer.body).is_some() => Err(Refusal::Never(why())),
        // Too many requests, one that took too long, and a server that is not there behind its proxy say nothing of this one.
        408 | 425 | 429 | 502..=504 => Err(Refusal::Away(why())),
        _ => Err(Refusal::Odd(why())),
    }
}

/// How many of the lines that were sent the server has taken.
///
/// # Errors
/// As for [`understand`].
pub fn line_count(reply: &Reply) -> Result<usize, Refusal> {
    #[derive(Deserialize)]
    struct Taken {
        line_count: usize,
    }
    understand::<Taken>(reply).map(|taken| taken.line_count)
}

/// How many results the server has.
///
/// # Errors
/// As for [`understand`].
pub fn result_count(reply: &Reply) -> Result<u64, Refusal> {
    #[derive(Deserialize)]
    struct Page {
        count: u64,
    }
    understand::<Page>(reply).map(|page| page.count)
}

/// What a server that speaks of itself says in `error`.
fn error_of(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    Some(
        value
            .get("error")?
            .as_str()?
            .chars()
            .filter(|c| !c.is_control())
            .take(ERROR_CHARS_MAX)
            .collect(),
    )
}

/// `Version mismatch 'ours' vs 'theirs'`.
fn wanted_version(text: &str) -> Option<String> {
    let (_, theirs) = text.rsplit_once("vs '")?;
    let theirs = theirs.strip_suffix('\'')?;
    (!theirs.is_empty()).then(|| theirs.to_owned())
}

fn job_path(id: LavaId) -> String {
    format!("/scheduler/internal/v1/jobs/{id}/")
}

fn get(path: String, token: Option<&str>) -> Request {
    Request { path, token: token.map(str::to_owned), form: None }
}

fn post(path: String, order: &Order, form: Vec<(&'static str, String)>) -> Request {
    Request { path, token: Some(order.token.clone()), form: Some(form) }
}

/// A text as a part of a path or a query (RFC 3986, section 2.3).
fn quote(text: &str) -> String {
    text.bytes().fold(String::new(), |mut quoted, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted += &format!("%{byte:02X}");
        }
        quoted
    })
}

/// Errors are for people, in one line.
const ERROR_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Reply {
        Ok(Answer { status, body: body.into() })
    }

    #[test]
    fn requests() {
        let order = Order { id: 7, token: "t".into() };
        assert_eq!(
            ping("a b", "2023.01", "w").path,
            "/scheduler/internal/v1/workers/a%20b/?version=2023.01"
        );
        assert_eq!(job(&order).path, "/scheduler/internal/v1/jobs/7/");
        let lines = ["- {\"lvl\": \"info\"}\n".to_owned(), "- {}\n".to_owned()];
        let logs = logs(&order, &lines, 12);
        assert_eq!(logs.path, "/scheduler/internal/v1/jobs/7/logs/");
        let form = logs.form.unwrap();
        assert_eq!(
            form,
            [("lines", "- {\"lvl\": \"info\"}\n- {}\n".into()), ("index", "12".into())]
        );
        let end = End { is_complete: false, error_type: "Job".into(), errors: "e".into() };
        let form = finished(&order, &end).form.unwrap();
        assert_eq!(form[1], ("result", "fail".into()));
        assert_eq!(register("n", Some(("u", "p"))).form.unwrap().len(), 3);
    }

    #[test]
    fn answers() {
        let orders: Orders = understand(&answer(
            200,
            r#"{"cancel": [], "start": [{"id": 3, "token": "x"}], "more": 1}"#,
        ))
        .unwrap();
        assert_eq!(orders.start, [Order { id: 3, token: "x".into() }]);
        let cases = [
            (
                answer(409, r#"{"error": "Version mismatch '1' vs '2023.01'"}"#),
                Refusal::Version(Some("2023.01".into())),
            ),
            (answer(409, "<html>"), Refusal::Version(None)),
            (answer(409, r#"{"error": "Version mismatch '1' vs ''"}"#), Refusal::Version(None)),
            (
                answer(404, r#"{"error": "Unknown worker 'x'"}"#),
                Refusal::Never("Unknown worker 'x' (status 404)".into()),
            ),
            (answer(502, "<html>"), Refusal::Away("status 502".into())),
            (answer(429, ""), Refusal::Away("status 429".into())),
            (answer(400, "<html>"), Refusal::Odd("status 400".into())),
            (answer(500, "<html>"), Refusal::Odd("status 500".into())),
            (Err("refused".into()), Refusal::Away("refused".into())),
        ];
        for (reply, refusal) in cases {
            assert_eq!(understand::<Orders>(&reply).unwrap_err(), refusal);
        }
        assert!(matches!(understand::<Orders>(&answer(200, "<html>")), Err(Refusal::Away(_))));
        assert_eq!(line_count(&answer(200, r#"{"line_count": 5}"#)), Ok(5));
        assert!(line_count(&answer(200, r#"{"line_count": -1}"#)).is_err());
    }
}
