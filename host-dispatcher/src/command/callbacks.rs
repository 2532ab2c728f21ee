//! The callbacks of a job that ran in the foreground: sent when its directory is complete.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::io::callback::{Answer, Outgoing};
use crate::io::clock;
use crate::io::hangup::wait_or_hangup;
use crate::job::event::{CallbackSent, Event, Stamped};
use crate::job::notify::Callback;
use crate::job::spec::Job;
use crate::report::callback::Told;
use crate::store::{reader, run_dir};

/// Tells everybody who is to be told of the run in the directory, and puts on record what came of it. A run's exit status
/// does not hang on it: what was not taken is said on the error output.
pub(super) fn tell(job: &Job, submitter: &str, run: &Path) {
    if job.callbacks.is_empty() {
        return;
    }
    let Ok(summary) = reader::summary(run) else { return };
    let told = Told {
        id: None,
        name: job.name.clone(),
        submitter: submitter.to_owned(),
        priority: job.priority.unwrap_or_default(),
        submitted: summary.started,
        definition: job.shown_source(),
        metadata: job.metadata.clone(),
        verdict: summary.verdict,
        run: Some(summary),
    };
    let callbacks = job.callbacks.iter().filter(|callback| callback.on.contains(&told.end()));
    for callback in callbacks {
        let sent = send(&told, callback, run);
        let event = Event::Callback(sent.clone());
        let kept = run_dir::append_event(run, &Stamped { time: clock::wall(), event });
        let warning = match (&sent.why, kept) {
            (Some(_), _) => sent.to_string(),
            (None, Err(error)) => error.to_string(),
            (None, Ok(())) => continue,
        };
        let _ = writeln!(io::stderr(), "pumice: warning: {warning}");
    }
}

fn send(told: &Told, callback: &Callback, run: &Path) -> CallbackSent {
    let url = CallbackSent::shown(&callback.url);
    let mut tries = 0;
    loop {
        tries += 1;
        let answer = match told.request(callback, Some(run)) {
            Ok((url, body)) => Outgoing { callback, url: &url, body }.send(ANSWER_LIMIT),
            Err(error) => Answer::Later(None, format!("the log cannot be read: {error}")),
        };
        let (status, why) = match answer {
            Answer::Taken(status) => (Some(status), None),
            Answer::Refused(status, why) => (Some(status), Some(why)),
            Answer::Later(status, why) => {
                if tries < TRIES_MAX {
                    // A terminal that is gone shortens the pause only: the receiver is told all the same.
                    let _ = wait_or_hangup(io::stderr(), PAUSE * tries);
                    continue;
                }
                (status, Some(why))
            }
        };
        return CallbackSent { url, status, why, tries };
    }
}

/// Somebody waits for the command to end.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const TRIES_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
