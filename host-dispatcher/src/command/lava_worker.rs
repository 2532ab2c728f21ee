//! `pumice lava-worker`: a worker of LAVA's server, with the boards of a lab.
//!
//! One thread pings; each job has one of its own, so that none waits for what another asks. A thread does what its state
//! machine wants and nothing else.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use agent_core::time::Duration;
use serde::Deserialize;
use serde_json::json;

use super::hands_on::fail;
use super::lab_client;
use crate::cli::{Global, LavaWorkerArgs};
use crate::client::Client;
use crate::client::lava::LavaServer;
use crate::io::clock;
use crate::job::verdict::ErrorClass;
use crate::lab::view::{JobId, JobView};
use crate::lava_worker::convert::{Part, is_same};
use crate::lava_worker::group::{Gathered, Groups};
use crate::lava_worker::job::{Job, LabAnswer, LabRequest, Now, Want};
use crate::lava_worker::lines::{PIECE_BYTES, Told};
use crate::lava_worker::protocol::{self, LavaId, Order, Refusal};
use crate::lava_worker::record::Record;
use crate::lava_worker::worker::{self, Worker};
use crate::script::{Fault, job::duration};
use crate::serve::log::{note, warn};
use crate::store::lava_jobs::LavaJobs;

/// Works until it is ended; jobs go on in the lab meanwhile, and are taken up again by the next one.
pub fn lava_worker(global: &Global, args: &LavaWorkerArgs) -> u8 {
    match try_work(global, args) {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

fn try_work(global: &Global, args: &LavaWorkerArgs) -> Result<(), Fault> {
    let url = global.server.as_deref().ok_or_else(|| {
        Fault::configuration("--server is missing: the address of LAVA's server, https://HOST")
    })?;
    let server = LavaServer::new(url)?;
    let name = args.name.clone().map_or_else(host_name, Ok)?;
    let folder = args.worker_dir.clone();
    let folder =
        folder.unwrap_or_else(|| super::images::store(global).join("lava-worker").join(&name));
    let jobs = LavaJobs::open(&folder).map_err(|error| Fault::configuration(error.to_string()))?;
    let token = token(args, &server, &name, &folder)?;
    let shared = Arc::new(Shared {
        lab: lab_client::client_of(args.lab_server.clone())?,
        server,
        jobs,
        groups: Mutex::default(),
        name: name.clone(),
        every: duration(args.job_log_interval),
    });
    let kept = shared.jobs.all().map_err(|error| Fault::infrastructure(error.to_string()))?;
    let mut running = Running { shared, threads: HashMap::new() };
    for job in kept {
        match job {
            Ok((record, told)) => {
                note(&format!("LAVA's job {} is gone on with", record.id));
                running.start(record, told);
            }
            Err(error) => warn(&format!("{error}: its job is not gone on with")),
        }
    }
    note(&format!("worker {name:?} of {url}, with the lab at {}", running.shared.lab.base()));
    let mut worker =
        Worker::new(&name, &token, args.lava_version.clone(), duration(args.ping_interval));
    // Nobody sends: what waits here is woken by time alone.
    let (_keep, never) = mpsc::channel::<()>();
    loop {
        match worker.poll(clock::now()) {
            worker::Want::Wait(until) => {
                let _ = never.recv_timeout(wait(until.since(clock::now())));
            }
            worker::Want::Lava(request) => {
                let reply = running.shared.server.ask(&request);
                let told = worker.handle_reply(&reply, clock::now());
                if let Some(text) = told.note {
                    note(&text);
                }
                running.obey(told.orders);
            }
        }
    }
}

/// What the threads share.
struct Shared {
    lab: Client,
    server: LavaServer,
    jobs: LavaJobs,
    /// Jobs that wait for others of theirs.
    groups: Mutex<Groups>,
    name: String,
    every: Duration,
}

/// The threads of jobs.
struct Running {
    shared: Arc<Shared>,
    threads: HashMap<LavaId, JobThread>,
}

struct JobThread {
    /// A message is "cancel".
    cancel: mpsc::Sender<()>,
    thread: JoinHandle<()>,
    /// Whether the server named the job once more after its end.
    is_named_again: bool,
}

impl Running {
    fn obey(&mut self, orders: protocol::Orders) {
        let all = || orders.start.iter().chain(&orders.running).chain(&orders.cancel);
        self.threads.retain(|id, job| {
            if !job.thread.is_finished() {
                return true;
            }
            // The server may have written its answer before it heard of the end; the next one will know.
            let is_named = all().any(|order| order.id == *id);
            let is_late = is_named && !job.is_named_again;
            job.is_named_again = is_named;
            is_late
        });
        // A job that the server takes for running and that is not here has lost its record; the lab may have it still.
        for order in all() {
            self.start_new(order);
        }
        for order in &orders.cancel {
            if let Some(job) = self.threads.get(&order.id) {
                let _ = job.cancel.send(());
            }
        }
    }

    fn start_new(&mut self, order: &Order) {
        if !self.threads.contains_key(&order.id) {
            note(&format!("LAVA's job {} is ordered", order.id));
            self.start(Record::new(order), Told::default());
        }
    }

    fn start(&mut self, record: Record, told: Told) {
        let (sender, orders) = mpsc::channel();
        let (shared, id) = (Arc::clone(&self.shared), record.id);
        let work = move || shared.work(record, told, &orders);
        match thread::Builder::new().name(format!("lava-{id}")).spawn(work) {
            Ok(thread) => {
                let job = JobThread { cancel: sender, thread, is_named_again: false };
                self.threads.insert(id, job);
            }
            // The server orders it again.
            Err(error) => warn(&format!("failed to start a thread for LAVA's job {id}: {error}")),
        }
    }
}

impl Shared {
    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, record: Record, told: Told, orders: &mpsc::Receiver<()>) {
        let id = record.id;
        let mut gathering = None;
        let mut job = Job::new(&self.name, record, told, self.every);
        // Hashes that could not be written yet.
        let mut hashes = Vec::new();
        loop {
            while let Ok(()) = orders.try_recv() {
                job.cancel();
            }
            match job.poll(now()) {
                Want::Keep => {
                    hashes.append(&mut job.take_new_hashes());
                    let kept = self.jobs.keep(job.record(), &hashes);
                    if let Err(error) = &kept {
                        warn(&format!("LAVA's job {id}: {error}"));
                        let _ = orders.recv_timeout(RETRY);
                    } else {
                        hashes.clear();
                    }
                    job.handle_kept(kept.is_ok());
                }
                Want::Lava(request) => {
                    let reply = self.server.ask(&request);
                    job.handle_lava(&reply, now());
                }
                Want::Lab(request) => {
                    let answer = self.ask_lab(&request);
                    job.handle_lab(answer, now());
                }
                Want::Gather(member) => {
                    let gathered = self.groups().join(&member, clock::now());
                    gathering = matches!(gathered, Gathered::Wait).then_some(member);
                    job.handle_gathered(gathered, now());
                }
                Want::Wait(until) => match orders.recv_timeout(wait(until.since(clock::now()))) {
                    Ok(()) => job.cancel(),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                },
                Want::Forget => {
                    if let Some(member) = gathering {
                        self.groups().leave(&member);
                    }
                    self.jobs.forget(id);
                    note(&format!("LAVA's job {id} is over"));
                    return;
                }
            }
        }
    }

    fn ask_lab(&self, request: &LabRequest) -> Result<LabAnswer, Refusal> {
        let lab = &self.lab;
        let job = |view: JobView| LabAnswer::Job(Box::new(view));
        let answer = match request {
            LabRequest::Find(part) => self.find(part).map(LabAnswer::Found),
            LabRequest::Submit(file, text) => {
                lab.post("/jobs", &json!({"definition": text, "file": file})).map(job)
            }
            LabRequest::Look(id) => lab.get(&format!("/jobs/{id}")).map(job),
            LabRequest::File(run, file, from) => {
                lab.file_part(run, file, *from, PIECE_BYTES as u64).map(LabAnswer::Bytes)
            }
            LabRequest::Cancel(id) => lab.post(&format!("/jobs/{id}/cancel"), &json!({})).map(job),
        };
        answer.map_err(|fault| match fault.class {
            ErrorClass::JobError => Refusal::Never(fault.message),
            _ => Refusal::Away(fault.message),
        })
    }

    fn find(&self, part: &Part) -> Result<Option<JobId>, Fault> {
        let query = [("name", part.name.as_str()), ("limit", "100")];
        let page: Jobs = self.lab.get_with("/jobs", &query)?;
        for job in page.jobs {
            if is_same(&self.lab.text(&format!("/jobs/{}/definition", job.id))?, part) {
                return Ok(Some(job.id));
            }
        }
        Ok(None)
    }
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<JobView>,
}

/// The worker's token: said, in a file, kept from another time, or asked for.
fn token(
    args: &LavaWorkerArgs,
    server: &LavaServer,
    name: &str,
    folder: &Path,
) -> Result<String, Fault> {
    if let Some(token) = &args.token {
        return Ok(token.clone());
    }
    let kept = folder.join("token");
    let file = args.token_file.as_deref().unwrap_or(&kept);
    if args.token_file.is_some() || file.exists() && args.username.is_none() {
        return one_line(file);
    }
    let password = args.password_file.as_deref().map(one_line).transpose()?;
    let login = args.username.as_deref().zip(password.as_deref());
    let reply = server.ask(&protocol::register(name, login));
    #[derive(Deserialize)]
    struct Registered {
        token: String,
    }
    let registered: Registered = protocol::understand(&reply).map_err(|refusal| {
        let why = match refusal {
            Refusal::Away(why) | Refusal::Odd(why) | Refusal::Never(why) => why,
            Refusal::Version(_) => "status 409".to_owned(),
        };
        Fault::configuration(format!(
            "LAVA's server gives no token to the worker {name:?}: {why}: add the worker there, and give its token with --token-file"
        ))
    })?;
    let mut file = fs::OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o600).open(&kept);
    file.and_then(|mut file| {
        file.write_all(registered.token.as_bytes()).and_then(|()| file.sync_all())
    })
    .map_err(|error| {
        Fault::infrastructure(format!("failed to write {}: {error}", kept.display()))
    })?;
    Ok(registered.token)
}

fn one_line(file: &Path) -> Result<String, Fault> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| {
        Fault::configuration(format!("failed to read {}: {error}", file.display()))
    })?;
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err(Fault::configuration(format!("{} is not one line of text", file.display())));
    }
    Ok(text.to_owned())
}

fn host_name() -> Result<String, Fault> {
    one_line(Path::new("/proc/sys/kernel/hostname"))
        .map_err(|_| Fault::configuration("this host has no name: give one with --name"))
}

fn now() -> Now {
    Now { instant: clock::now(), wall: clock::wall() }
}

fn wait(period: Duration) -> std::time::Duration {
    std::time::Duration::from_micros(period.as_micros())
}

/// A disk that is full is tried again after so long.
const RETRY: std::time::Duration = std::time::Duration::from_secs(10);
