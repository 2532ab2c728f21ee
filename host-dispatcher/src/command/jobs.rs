//! `pumice jobs` and `pumice cancel`: a lab's queue.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::json;

use super::lab_client::with_lab;
use crate::cli::{Global, JobsArgs};
use crate::lab::view::{JobId, JobState, JobView};
use crate::report::text::printable;

/// A page of jobs.
#[derive(Deserialize)]
struct Page {
    jobs: Vec<JobView>,
}

/// Lists jobs, the newest first.
pub fn jobs(global: &Global, args: &JobsArgs) -> u8 {
    with_lab(global, |client| {
        let mut query = format!("/jobs?limit={}", args.limit);
        for (key, value) in [
            ("state", args.state.map(|state| state.as_str().to_owned())),
            ("board", args.board.clone()),
            ("submitter", args.mine.then(|| client.user().to_owned())),
        ] {
            if let Some(value) = value {
                let _ = write!(query, "&{key}={}", encoded(&value));
            }
        }
        let page: Page = client.get(&query)?;
        for job in &page.jobs {
            if global.json {
                println!("{}", json!(job));
            } else {
                println!("{}", line(job));
            }
        }
        Ok(0)
    })
}

/// Ends a job.
pub fn cancel(global: &Global, id: JobId) -> u8 {
    with_lab(global, |client| {
        let job: JobView = client.post(&format!("/jobs/{id}/cancel"), &json!({}))?;
        if global.json {
            println!("{}", json!(job));
        } else if job.state == JobState::Ended {
            println!("job {id} is canceled");
        } else {
            println!("job {id} is being canceled: its board is brought back first");
        }
        Ok(0)
    })
}

/// A job in a line.
fn line(job: &JobView) -> String {
    let state = match (job.state, job.verdict) {
        (JobState::Ended, Some(verdict)) => verdict.as_str(),
        (state, _) => state.as_str(),
    };
    let more = match job.state {
        JobState::Queued => format!("waits for {}", job.waits_for),
        _ if !job.error.is_empty() => job.error.clone(),
        _ => job.run.clone().unwrap_or_default(),
    };
    let board = job.board.as_deref().unwrap_or("-");
    let text = format!(
        "{:>6}  {state:<20}  {board:<16}  {:<10}  {}  {more}",
        job.id, job.submitter, job.name
    );
    printable(text.trim_end())
}

/// For a query: <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}
