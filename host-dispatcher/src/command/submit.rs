//! `pumice submit`: a job into a lab's queue.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;

use indicatif::HumanBytes;
use serde_json::json;

use super::job_texts::{JobText, job_texts};
use super::lab_client::with_lab;
use super::watch::watch_job;
use crate::cli::{Global, SubmitArgs};
use crate::client::Client;
use crate::client::job_files::{self, JobFiles};
use crate::job::secret;
use crate::lab::view::JobView;
use crate::script::Fault;

/// Submits the jobs, the files that they name first. With `watch` the exit status is that of the last one that did not
/// pass.
pub fn submit(global: &Global, args: &SubmitArgs) -> u8 {
    with_lab(global, |client| {
        let mut jobs = Vec::new();
        for file in &args.jobs {
            for JobText { text, .. } in job_texts(file).map_err(|error| error.fault())? {
                let job = submit_one(client, file, &text, args.priority)?;
                if global.json {
                    println!("{}", json!(job));
                } else {
                    let name = super::jobs::name_of(&job);
                    println!("job {}: {name} ({}/#/jobs/{})", job.id, client.base(), job.id);
                }
                jobs.push(job);
            }
        }
        let mut status = 0;
        for job in jobs.iter().filter(|_| args.watch) {
            match watch_job(global, client, job.id, false)? {
                0 => {}
                other => status = other,
            }
        }
        Ok(status)
    })
}

fn submit_one(
    client: &Client,
    file: &Path,
    text: &str,
    priority: Option<u8>,
) -> Result<JobView, Fault> {
    let name = file.display().to_string();
    let base = file.parent().unwrap_or_else(|| Path::new(""));
    let base = if base == Path::new("") { Path::new(".") } else { base };
    let JobFiles { folder, files } = job_files::of(&name, text, base)
        .map_err(|error| Fault::configuration(error.to_string()))?;
    let secrets = secret::to_send(&name, text, base)
        .map_err(|error| Fault::configuration(error.to_string()))?;
    let mut digests = BTreeMap::new();
    for (name, place) in files {
        let mut tell = |bytes| {
            if std::io::stderr().is_terminal() {
                let _ = writeln!(std::io::stderr(), "sending {name}, {}", HumanBytes(bytes));
            }
        };
        let digest = client.upload(&place, &mut tell)?;
        digests.insert(name, digest);
    }
    let body = json!({
        "definition": text,
        "file": name,
        "priority": priority,
        "folder": folder,
        "files": digests,
        "secrets": secrets,
    });
    client.post("/jobs", &body)
}
