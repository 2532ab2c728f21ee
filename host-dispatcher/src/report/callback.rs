//! What a callback tells, with the keys of LAVA's `create_job_data` (`lava_scheduler_app/models.py`, 2023.01), so that
//! receivers of LAVA's callbacks take it.
//!
//! Where LAVA has a number of its database, there is the number of the job in the lab, and `null` for a run without one.
//! The definition is the job file as others may see it; its `metadata` is at LAVA's place, which KernelCI reads.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::lava::{logged_time, results_by_suite};
use super::lava_log_file;
use super::summary::Summary;
use crate::config::value::percent_encoded;
use crate::job::metadata::{Metadata, text_of};
use crate::job::notify::{Callback, ContentType, Dataset, End};
use crate::job::verdict::Verdict;

/// The job that a callback is about.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Its number in the lab, where it has one.
    pub id: Option<u64>,
    /// Its name.
    pub name: String,
    /// Who submitted it.
    pub submitter: String,
    /// 0 to 100.
    pub priority: u8,
    /// When it was submitted.
    pub submitted: Option<Timestamp>,
    /// Its file's text, as others may see it.
    pub definition: String,
    /// What it says of itself.
    pub metadata: Metadata,
    /// What it came to; nothing if it was cancelled before it began.
    pub verdict: Option<Verdict>,
    /// Its run, if it had one.
    pub run: Option<Summary>,
}

impl Told {
    /// How it ended.
    pub fn end(&self) -> End {
        End::of(self.verdict)
    }

    /// The request of a callback: where to, the form of the body, and the body. The log comes from the run's directory.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn request(
        &self,
        callback: &Callback,
        directory: Option<&Path>,
    ) -> io::Result<(String, (&'static str, Vec<u8>))> {
        let log = match (&self.run, directory) {
            (Some(run), Some(directory))
                if matches!(callback.dataset, Dataset::Logs | Dataset::All) =>
            {
                Some(lava_log_file::text(directory, run, LOG_BYTES_MAX)?)
            }
            _ => None,
        };
        let body = body(&self.payload(callback, log), callback.content_type);
        Ok((self.url(callback), body))
    }

    /// The payload of a callback. `log` is the job's log as LAVA has it, where the dataset wants it.
    pub fn payload(&self, callback: &Callback, log: Option<String>) -> Map<String, Value> {
        let run = self.run.as_ref();
        let time = |time: Option<Timestamp>| time.map_or_else(|| "None".to_owned(), logged_time);
        let (status, health) = numbers(self.end());
        let failure = run.and_then(|run| run.errors.first()).map(|error| error.message.as_str());
        let metadata: Vec<Value> = self
            .metadata
            .iter()
            .map(|(key, value)| json!({ key.as_str(): text_of(value) }))
            .collect();
        let Value::Object(mut data) = json!({
            "id": self.id,
            "status": status,
            "status_string": status_string(self.end()),
            "state": STATE_FINISHED,
            "state_string": "Finished",
            "health": health,
            "health_string": health_string(self.end()),
            "submit_time": time(self.submitted),
            "start_time": time(run.and_then(|run| run.started)),
            "end_time": time(run.and_then(|run| run.ended)),
            "submitter_username": self.submitter,
            "failure_comment": failure,
            "priority": self.priority,
            "description": self.name,
            "actual_device_id": run.map(|run| run.board.as_str()),
            "definition": self.definition,
            "metadata": metadata,
        }) else {
            return Map::new();
        };
        if let Some(token) = &callback.token {
            data.insert("token".into(), token.as_str().into());
        }
        if let Some(log) = log {
            data.insert("log".into(), log.into());
        }
        if matches!(callback.dataset, Dataset::Results | Dataset::All) {
            let results = run.map(results_by_suite).unwrap_or_default();
            let results: Map<String, Value> =
                results.into_iter().map(|(suite, yaml)| (suite, yaml.into())).collect();
            data.insert("results".into(), results.into());
        }
        data
    }

    /// The address of a callback, with what stands for `{ID}`, `{STATUS}` and so on. Words that are not known stay, as in
    /// LAVA.
    pub fn url(&self, callback: &Callback) -> String {
        let (status, health) = numbers(self.end());
        let value = |word: &str| {
            Some(match word {
                "ID" => self.id.map_or_else(|| "None".to_owned(), |id| id.to_string()),
                "STATUS" => status.to_string(),
                "STATUS_STRING" => status_string(self.end()).to_owned(),
                "STATE" => STATE_FINISHED.to_string(),
                "HEALTH" => health.to_string(),
                "PRIORITY" => self.priority.to_string(),
                "DESCRIPTION" => self.name.clone(),
                "ACTUAL_DEVICE" | "ACTUAL_DEVICE_ID" => self.run.as_ref()?.board.clone(),
                _ => return None,
            })
        };
        let (mut url, mut rest) = (String::new(), callback.url.as_str());
        while let Some((before, behind)) = rest.split_once('{') {
            url.push_str(before);
            let word = behind.split_once('}');
            match word.and_then(|(word, rest)| Some((value(word.trim())?, rest))) {
                Some((value, behind)) => {
                    url.push_str(&percent_encoded(&value));
                    rest = behind;
                }
                None => {
                    url.push('{');
                    rest = behind;
                }
            }
        }
        url + rest
    }
}

/// The body of a request. As a form, a value that is no text or number is JSON, and one that is none is left out.
pub fn body(data: &Map<String, Value>, content_type: ContentType) -> (&'static str, Vec<u8>) {
    match content_type {
        ContentType::Json => {
            ("application/json", Value::Object(data.clone()).to_string().into_bytes())
        }
        ContentType::Urlencoded => {
            let pair = |(key, value): (&String, &Value)| {
                let text = match value {
                    Value::Null => return None,
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                Some(format!("{}={}", percent_encoded(key), percent_encoded(&text)))
            };
            let pairs: Vec<String> = data.iter().filter_map(pair).collect();
            ("application/x-www-form-urlencoded", pairs.join("&").into_bytes())
        }
    }
}

/// LAVA's legacy status (`get_legacy_status`), and its health.
fn numbers(end: End) -> (u8, u8) {
    match end {
        End::Complete => (2, 1),
        End::Incomplete => (3, 2),
        End::Canceled => (4, 3),
    }
}

fn status_string(end: End) -> &'static str {
    match end {
        End::Complete => "complete",
        End::Incomplete => "incomplete",
        End::Canceled => "canceled",
    }
}

fn health_string(end: End) -> &'static str {
    match end {
        End::Complete => "Complete",
        End::Incomplete => "Incomplete",
        End::Canceled => "Canceled",
    }
}

/// A receiver has it in its memory, and so have we.
const LOG_BYTES_MAX: usize = 64 << 20;
/// `TestJob.STATE_FINISHED`.
const STATE_FINISHED: u8 = 5;

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{panicked_run, run_with_cases};
    use super::*;
    use crate::job::notify::Method;

    fn callback(dataset: Dataset) -> Callback {
        Callback {
            url: "http://a/{ID}/{ STATUS_STRING }?d={DESCRIPTION}&x={UNKNOWN}{".into(),
            method: Method::Post,
            token: Some("a-long-token".into()),
            header: "Authorization".into(),
            dataset,
            content_type: ContentType::Json,
            on: Vec::new(),
        }
    }

    fn told(run: Option<Summary>) -> Told {
        Told {
            id: Some(17),
            name: "smoke & more".into(),
            submitter: "ann".into(),
            priority: 50,
            submitted: Some("2012-03-01T00:00:00Z".parse().unwrap()),
            definition: "name: smoke\nmetadata: {a: [1, b]}\n".into(),
            metadata: serde_json::from_str(r#"{"a": [1, "b"]}"#).unwrap(),
            verdict: run.as_ref().and_then(|run| run.verdict),
            run,
        }
    }

    /// The bytes that receivers of LAVA's callbacks know; keys as of LAVA 2023.01.
    #[test]
    fn the_payload_of_a_run_is_lavas() {
        let told = told(Some(Summary::of(&panicked_run())));
        let data = told.payload(&callback(Dataset::Minimal), None);
        let expected = concat!(
            r#"{"actual_device_id":"qemu-01","definition":"name: smoke\nmetadata: {a: [1, b]}\n","description":"smoke & more","#,
            r#""end_time":"2012-03-01 00:00:07.000000+00:00","failure_comment":"the kernel of the test image panicked","health":2,"#,
            r#""health_string":"Incomplete","id":17,"metadata":[{"a":"1, b"}],"priority":50,"start_time":"2012-03-01 00:00:00.000000+00:00","#,
            r#""state":5,"state_string":"Finished","status":3,"status_string":"incomplete","#,
            r#""submit_time":"2012-03-01 00:00:00.000000+00:00","submitter_username":"ann","token":"a-long-token"}"#
        );
        let (kind, bytes) = body(&data, ContentType::Json);
        assert_eq!(
            (kind, String::from_utf8(bytes).unwrap().as_str()),
            ("application/json", expected)
        );
        let (kind, bytes) = body(&data, ContentType::Urlencoded);
        let form = String::from_utf8(bytes).unwrap();
        assert_eq!(kind, "application/x-www-form-urlencoded");
        assert!(form.contains("&description=smoke%20%26%20more&"), "{form}");
        assert!(form.contains("&metadata=%5B%7B%22a%22%3A%221%2C%20b%22%7D%5D&"), "{form}");
        assert_eq!(
            told.url(&callback(Dataset::All)),
            "http://a/17/incomplete?d=smoke%20%26%20more&x={UNKNOWN}{"
        );
    }

    #[test]
    fn results_have_the_names_that_receivers_take_apart() {
        let told = told(Some(Summary::of(&run_with_cases())));
        let data = told.payload(&callback(Dataset::All), Some("- {}\n".into()));
        assert_eq!(data["log"], "- {}\n");
        let results = data["results"].as_object().unwrap();
        assert_eq!(results.keys().collect::<Vec<_>>(), ["0_smoke", "1_stress", "lava"]);
        let lava = results["lava"].as_str().unwrap();
        let names = ["\"name\": \"login-action\"", "\"name\": \"0_smoke\"", "\"name\": \"job\""];
        assert!(names.iter().all(|name| lava.contains(name)), "{lava}");
        let smoke = results["0_smoke"].as_str().unwrap();
        assert!(
            smoke.starts_with("- {\"job\": ") && smoke.contains("\"suite\": \"0_smoke\""),
            "{smoke}"
        );
        assert_eq!((&data["status"], &data["health_string"]), (&3.into(), &"Incomplete".into()));
    }

    #[test]
    fn a_job_that_was_cancelled_in_the_queue_has_no_run() {
        let data = told(None).payload(&callback(Dataset::Results), None);
        assert_eq!((&data["status"], &data["actual_device_id"]), (&4.into(), &Value::Null));
        assert_eq!((&data["start_time"], &data["results"]), (&"None".into(), &json!({})));
    }
}
