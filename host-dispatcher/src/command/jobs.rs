//! `pumice jobs` and `pumice cancel`: a lab's queue.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::json;

use super::lab_client::with_lab;
use crate::cli::{Global, JobsArgs};
use crate::job::spec::NODES_MAX;
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
            println!("job {id} is canceled{}", with_others(&job));
        } else {
            let others = with_others(&job);
            println!(
                "job {id} is being canceled{others}: what it has of boards is brought back first"
            );
        }
        Ok(0)
    })
}

/// What a job is called, and for how many boards it is.
pub(super) fn name_of(job: &JobView) -> String {
    match &job.group {
        None => job.name.clone(),
        Some(group) => {
            let name = job.name.strip_suffix(&format!(" ({})", group.node)).unwrap_or(&job.name);
            let last = group.first + u64::from(group.boards.saturating_sub(1));
            format!("{name}, {} boards, jobs {} to {last}", group.boards, group.first)
        }
    }
}

/// The others of its group.
fn with_others(job: &JobView) -> String {
    let Some(group) = &job.group else { return String::new() };
    let others = group.ids().take(NODES_MAX).filter(|id| *id != job.id);
    let others: Vec<String> = others.map(|id| id.to_string()).collect();
    format!(", with {}", others.join(", "))
}

/// A job in a line.
fn line(job: &JobView) -> String {
    let state = match (job.state, job.verdict) {
        (JobState::Ended, Some(verdict)) => verdict.as_str(),
        (state, _) => state.as_str(),
    };
    let more = match job.state {
        JobState::Running if !job.waits_for.is_empty() => format!("waits for {}", job.waits_for),
        JobState::Queued => format!("waits for {}", job.waits_for),
        _ if !job.error.is_empty() => job.error.clone(),
        _ => job.run.clone().unwrap_or_default(),
    };
    let board = job.board.as_deref().unwrap_or("-");
    let group = job.group.as_ref().filter(|group| group.first != job.id);
    let group = group.map_or(String::new(), |group| format!(" with job {}", group.first));
    let text = format!(
        "{:>6}  {state:<20}  {board:<16}  {:<10}  {}{group}  {more}",
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
