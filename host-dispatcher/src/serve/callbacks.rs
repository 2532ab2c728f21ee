//! Callbacks of jobs that have ended: kept on the disk until somebody has taken them, and sent by a thread of their own.
//!
//! `<store>/callbacks/<job>-<number>.json` is there before the database says that the job has ended, and goes when the
//! receiver has answered, or was asked often enough. A dispatcher that dies in between sends it again: a receiver may be
//! told twice, and is never forgotten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::database::{job_file, runs_folder};
use super::{log, secrets};
use crate::config::yaml;
use crate::io::callback::{Answer, Outgoing};
use crate::io::clock;
use crate::job::event::{CallbackSent, Event, Stamped};
use crate::job::metadata::Metadata;
use crate::job::notify::{Callback, End};
use crate::job::secret::{self, Origin, Secrets};
use crate::job::secret_source::masked;
use crate::lab::view::JobView;
use crate::report::callback::Told;
use crate::store::{StoreError, reader, run_dir, write_private};

/// The thread that sends.
#[derive(Debug)]
pub(super) struct Sender {
    waker: SyncSender<()>,
}

/// A callback that waits.
#[derive(Serialize, Deserialize)]
struct Pending {
    callback: Callback,
    job: JobView,
    tries: u32,
    due: Timestamp,
}

impl Sender {
    /// Begins to send what waits, and what is kept later. It ends with the value, and with the process: what it was doing
    /// then is done again.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(store: PathBuf) -> io::Result<Self> {
        let (waker, woken) = sync_channel(1);
        let work = move || {
            loop {
                let next = round(&store, clock::wall(), ANSWER_LIMIT);
                let until = next.map(|at| at.duration_since(clock::wall()));
                let wait = until.map_or(IDLE, |until| until.unsigned_abs().clamp(SOON, IDLE));
                if woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        };
        thread::Builder::new().name("callbacks".into()).spawn(work)?;
        Ok(Self { waker })
    }

    /// There may be something to be sent.
    pub(super) fn wake(&self) {
        // One that is woken already looks at everything.
        let _ = self.waker.try_send(());
    }
}

/// Keeps the callbacks of a job that has just ended.
///
/// # Errors
/// They cannot be written.
pub(super) fn keep(store: &Path, job: &JobView) -> Result<(), StoreError> {
    let Ok(text) = fs::read_to_string(job_file(store, job)) else { return Ok(()) };
    let values = secrets::read(store, job.id);
    let callbacks = secret::callbacks_of_text(&text, Origin::Sent(&values));
    let end = End::of(job.verdict);
    for (number, callback) in (1..).zip(callbacks) {
        if !callback.on.contains(&end) {
            continue;
        }
        let folder = folder(store);
        fs::create_dir_all(&folder).map_err(StoreError::of("create", &folder))?;
        let due = job.ended.unwrap_or_default();
        let pending = Pending { callback, job: job.clone(), tries: 0, due };
        pending.write(&folder.join(format!("{}-{number}.json", job.id)))?;
    }
    Ok(())
}

/// Sends everything that is due; when the next is.
fn round(store: &Path, now: Timestamp, limit: Duration) -> Option<Timestamp> {
    let mut next: Option<Timestamp> = None;
    for place in places(store) {
        let Some(mut pending) = Pending::read(&place) else { continue };
        if pending.due <= now && pending.is_done(store, limit) {
            let _ = fs::remove_file(&place);
            continue;
        }
        if pending.due <= now {
            let shift = pending.tries.saturating_sub(1).min(16);
            let pause = (FIRST_PAUSE * (1 << shift)).min(LONGEST_PAUSE);
            pending.due = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
            if let Err(error) = pending.write(&place) {
                log::warn(&format!("a callback will be sent more often than it should: {error}"));
            }
        }
        next = Some(next.map_or(pending.due, |next| next.min(pending.due)));
    }
    next
}

impl Pending {
    fn read(place: &Path) -> Option<Self> {
        let bytes = fs::read(place).ok()?;
        let pending = serde_json::from_slice(&bytes);
        if let Err(error) = &pending {
            // Whole files are written here: this one is somebody else's.
            log::warn(&format!("{} is no callback: {error}", place.display()));
            let _ = fs::rename(place, place.with_extension("broken"));
        }
        pending.ok()
    }

    fn write(&self, place: &Path) -> Result<(), StoreError> {
        let json = serde_json::to_vec(self);
        let json =
            json.map_err(|error| StoreError::of("encode", place)(io::Error::other(error)))?;
        write_private(place, &json)
    }

    /// Sends it once more; whether it was the last time.
    fn is_done(&mut self, store: &Path, limit: Duration) -> bool {
        self.tries += 1;
        let run = self.job.run.as_ref().map(|run| runs_folder(store).join(run));
        let told = self.told(store, run.as_deref());
        let request = told.request(&self.callback, run.as_deref());
        let answer = match &request {
            Ok((url, body)) => {
                let body = body.clone();
                Outgoing { callback: &self.callback, url, body }.send(limit)
            }
            Err(error) => Answer::Later(None, format!("the log cannot be read: {error}")),
        };
        let (status, why) = match answer {
            Answer::Taken(status) => (Some(status), None),
            Answer::Refused(status, why) => (Some(status), Some(why)),
            Answer::Later(..) if self.tries < TRIES_MAX => return false,
            Answer::Later(status, why) => (status, Some(why)),
        };
        let tries = self.tries;
        let sent =
            CallbackSent { url: CallbackSent::shown(&self.callback.url), status, why, tries };
        log::note(&format!("job {}: {sent}", self.job.id));
        let stamped = Stamped { time: clock::wall(), event: Event::Callback(sent) };
        if let Some(Err(error)) = run.map(|run| run_dir::append_event(&run, &stamped)) {
            log::warn(&error.to_string());
        }
        true
    }

    fn told(&self, store: &Path, run: Option<&Path>) -> Told {
        let job = &self.job;
        let text = fs::read_to_string(job_file(store, job)).unwrap_or_default();
        let definition = masked(&text, &Secrets::default());
        let run = run.and_then(|run| reader::summary(run).ok());
        let metadata = match &run {
            Some(run) => run.metadata.clone(),
            None => metadata_of(&definition),
        };
        Told {
            id: Some(job.id),
            name: job.name.clone(),
            submitter: job.submitter.clone(),
            priority: job.priority,
            submitted: Some(job.submitted),
            definition,
            metadata,
            verdict: job.verdict,
            run,
        }
    }
}

/// What a job that never began says of itself.
fn metadata_of(definition: &str) -> Metadata {
    let job: serde_json::Value = yaml::from_str("", definition, &[]).unwrap_or_default();
    job.get("metadata").and_then(|metadata| metadata.as_object()).cloned().unwrap_or_default()
}

fn places(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(store)).into_iter().flatten().flatten();
    let places = entries.map(|entry| entry.path());
    let mut places: Vec<PathBuf> =
        places.filter(|place| place.extension().is_some_and(|kind| kind == "json")).collect();
    places.sort();
    places
}

fn folder(store: &Path) -> PathBuf {
    store.join("callbacks")
}

/// A receiver that keeps others waiting for longer is asked again later.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// With these a receiver that is away for two hours is told.
const TRIES_MAX: u32 = 12;
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(1800);
/// What is due in the past, because the clock jumped or a receiver took its time, need not be hurried.
const SOON: Duration = Duration::from_millis(100);
/// Without a word from anybody the folder is looked at so often.
const IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::super::control::Submission;
    use super::super::database::Database;
    use super::*;
    use crate::config::lab::BoardWish;
    use crate::io::callback::tests::{BUSY, OK, server};
    use crate::io::test_folder::TestFolder;
    use crate::job::verdict::Verdict;
    use crate::lab::NewJob;
    use crate::lab::view::JobState;
    use crate::report::summary::tests::panicked_run;
    use crate::store::run_dir::RunDir;

    /// A store with a job that has just ended, and its run.
    fn ended(store: &Path, notify: &str) -> (Database, JobView, PathBuf) {
        let new = NewJob {
            name: "smoke".into(),
            submitter: "ann".into(),
            priority: 50,
            board_wish: BoardWish::default(),
            folder: String::new(),
            node: None,
        };
        let definition = format!("name: smoke\nmetadata: {{build: 7}}\nnotify: {notify}\n");
        let values = BTreeMap::from([("callback-1-token".to_owned(), "a-long-token".to_owned())]);
        let submission = Submission {
            jobs: vec![new.clone()],
            definition,
            files: BTreeMap::new(),
            secrets: values,
        };
        let (mut database, _) = Database::open(store).unwrap();
        let mut job = new.numbered(1, Timestamp::UNIX_EPOCH);
        database.accept(std::slice::from_ref(&job), &submission).unwrap();
        let mut dir =
            RunDir::create(&runs_folder(store), "smoke", Timestamp::UNIX_EPOCH, 1).unwrap();
        panicked_run().iter().for_each(|event| dir.event(event).unwrap());
        dir.finish(&serde_json::Value::Null).unwrap();
        job.state = JobState::Ended;
        job.run = Some(dir.name().to_owned());
        job.verdict = dir.summary().verdict;
        job.ended = Some(Timestamp::UNIX_EPOCH);
        database.put_jobs(std::slice::from_ref(&job)).unwrap();
        (database, job, dir.path().to_owned())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_callback_is_sent_until_it_is_taken_and_a_restart_forgets_none() {
        let store = TestFolder::new();
        let (url, serving) = server(vec![BUSY, BUSY, OK]);
        let notify = format!(
            "{{callbacks: [{{url: '{url}?key=x', method: POST, token: {{environment: T}}, dataset: all, content_type: json}}]}}"
        );
        let (mut database, job, run) = ended(store.path(), &notify);
        let place = folder(store.path()).join("1-1.json");
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        // Each round is one of another process: nothing is in memory between them.
        assert_eq!(round(store.path(), at(0), LIMIT), Some(at(5)));
        assert_eq!(round(store.path(), at(4), LIMIT), Some(at(5)));
        assert_eq!(round(store.path(), at(5), LIMIT), Some(at(15)));
        assert_eq!(round(store.path(), at(15), LIMIT), None);
        assert!(!place.exists());
        // A job that is told of twice is no second end.
        database.put_jobs(std::slice::from_ref(&job)).unwrap();
        assert_eq!(round(store.path(), at(99), LIMIT), None);
        let summary = reader::summary(&run).unwrap();
        let sent = CallbackSent { url: url.clone(), status: Some(200), why: None, tries: 3 };
        assert_eq!(summary.callbacks, [sent]);
        assert_eq!(summary.verdict, job.verdict);
        let requests = serving.join().unwrap();
        let (head, body) = requests[2].split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains("authorization: a-long-token"), "{head}");
        let data: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&data["id"], &data["status"], &data["token"]),
            (&1.into(), &3.into(), &"a-long-token".into())
        );
        assert!(data["log"].as_str().is_some_and(|log| log.starts_with("- {\"dt\": ")), "{data}");
        assert!(data["results"]["lava"].is_string() && data["definition"].is_string());
        let log = fs::read_to_string(run.join("events.ndjson")).unwrap();
        assert!(!log.contains("a-long-token") && !log.contains("key=x"), "{log}");
    }

    #[test]
    fn one_that_hangs_is_given_up_in_the_end_and_holds_nobody_else_up() {
        let store = TestFolder::new();
        let (hung, _) = server(vec![""; 1]);
        let (taken, serving) = server(vec![OK]);
        let notify = format!("{{callbacks: [{{url: '{hung}'}}, {{url: '{taken}'}}]}}");
        let (_, _, run) = ended(store.path(), &notify);
        let short = Duration::from_millis(300);
        let mut now = round(store.path(), at(0), short).unwrap();
        serving.join().unwrap();
        assert_eq!(reader::summary(&run).unwrap().callbacks[0].url, taken);
        let mut rounds = 1;
        // The listener is gone by now, or hangs on: neither is an answer.
        while let Some(next) = round(store.path(), now, short) {
            assert!(next > now && next.duration_since(now) <= LONGEST_PAUSE);
            (now, rounds) = (next, rounds + 1);
        }
        assert_eq!(rounds, i32::try_from(TRIES_MAX).unwrap() - 1);
        let callbacks = reader::summary(&run).unwrap().callbacks;
        assert_eq!((callbacks[1].url.as_str(), callbacks[1].tries), (hung.as_str(), TRIES_MAX));
        assert!(callbacks[1].why.is_some() && callbacks[1].status.is_none(), "{callbacks:?}");
    }

    #[test]
    fn only_the_ends_that_are_asked_for_are_told() {
        let store = TestFolder::new();
        let notify = "{callbacks: [{url: 'http://127.0.0.1:1', on: [complete]}, {url: 'http://127.0.0.1:1', on: [incomplete]}]}";
        let (_, job, _) = ended(store.path(), notify);
        assert_eq!(End::of(job.verdict), End::Incomplete);
        assert_ne!(job.verdict, Some(Verdict::Failed));
        let names: Vec<_> =
            places(store.path()).iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["1-2.json"]);
        fs::write(folder(store.path()).join("0-1.json"), "{").unwrap();
        assert!(round(store.path(), at(-1), LIMIT).is_some());
        assert!(folder(store.path()).join("0-1.broken").exists());
    }
}
