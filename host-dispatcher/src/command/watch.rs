//! `pumice watch`: a job of a lab as if it ran here: its progress, or its log, and its exit status.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lab_client::with_lab;
use crate::cli::{Global, WatchArgs};
use crate::client::Client;
use crate::io::clock;
use crate::io::hangup::wait_or_hangup;
use crate::job::event::{Event, LogRecord, Stamped};
use crate::job::spec::NODES_MAX;
use crate::job::verdict::{ErrorClass, Verdict, worse_exit_status};
use crate::lab::view::{BoardView, GroupView, JobId, JobState, JobView};
use crate::report::summary::Summary;
use crate::report::text::Color;
use crate::report::{self, Reporter, log_line};
use crate::script::Fault;

/// Watches a job to its end; the exit status is the run's. Ctrl-C ends the watching, not the job.
pub fn watch(global: &Global, args: &WatchArgs) -> u8 {
    with_lab(global, |client| watch_job(global, client, args.job, args.log))
}

/// The same, for who has a client already.
pub(super) fn watch_job(
    global: &Global,
    client: &Client,
    id: JobId,
    log: bool,
) -> Result<u8, Fault> {
    let first: JobView = client.get(&format!("/jobs/{id}"))?;
    // Of a job of several boards all are watched: what one does may be because of another.
    let ids = match &first.group {
        Some(group) => group.ids().take(NODES_MAX).collect(),
        None => vec![id],
    };
    let mut jobs: Vec<Watched> = ids.into_iter().map(Watched::new).collect();
    let mut said = String::new();
    loop {
        for job in &mut jobs {
            job.go_on(global, client, log, &mut said)?;
        }
        let statuses: Vec<u8> = jobs.iter().filter_map(|job| job.status).collect();
        if statuses.len() == jobs.len() {
            return Ok(statuses.into_iter().fold(0, worse_exit_status));
        }
        if wait_or_hangup(io::stdout(), EVERY) {
            return Ok(0);
        }
    }
}

/// One job that is watched.
struct Watched {
    id: JobId,
    watching: Option<Watching>,
    /// Once it has ended.
    status: Option<u8>,
}

impl Watched {
    fn new(id: JobId) -> Self {
        Self { id, watching: None, status: None }
    }

    /// Tells what is new. `said` is what was said last of why it waits.
    fn go_on(
        &mut self,
        global: &Global,
        client: &Client,
        log: bool,
        said: &mut String,
    ) -> Result<(), Fault> {
        if self.status.is_some() {
            return Ok(());
        }
        // Asked for before what it has written: what comes after the end is nothing.
        let job: JobView = client.get(&format!("/jobs/{}", self.id))?;
        if job.state == JobState::Queued {
            // Those of a group wait for the same.
            let id = job.group.as_ref().map_or(job.id, |group| group.first);
            let text = format!("job {id} waits for {}", job.waits_for);
            if !global.json && text != *said {
                let _ = writeln!(io::stderr(), "{text}");
                *said = text;
            }
            self.watching = None;
        }
        if let Some(run) = job.run.as_deref().filter(|_| job.state != JobState::Queued) {
            if self.watching.as_ref().is_none_or(|watching| watching.run != run) {
                self.watching = Some(Watching::new(global, run, log, job.group.as_ref()));
            }
            if let Some(watching) = &mut self.watching {
                watching.go_on(client, &job)?;
            }
        }
        if job.state == JobState::Ended {
            if let Some(watching) = self.watching.take() {
                watching.finish(client)?;
            } else if !job.error.is_empty() && !global.json {
                let _ = writeln!(io::stderr(), "pumice: {}", job.error);
            }
            let infrastructure = Verdict::Error(ErrorClass::InfrastructureError);
            self.status = Some(job.verdict.unwrap_or(infrastructure).exit_status());
        }
        Ok(())
    }
}

/// One run that is watched.
struct Watching {
    run: String,
    reporter: Box<dyn Reporter>,
    log: Option<Log>,
    events: Lines,
    action: String,
}

impl Watching {
    fn new(global: &Global, run: &str, log: bool, group: Option<&GroupView>) -> Self {
        let label = group.map(|group| group.node.clone());
        Self {
            run: run.to_owned(),
            reporter: match &label {
                Some(label) => report::for_node(global.json, label),
                None => report::for_process(global.json),
            },
            log: log.then(|| Log::new(global.json, label)),
            events: Lines::default(),
            action: String::new(),
        }
    }

    fn go_on(&mut self, client: &Client, job: &JobView) -> Result<(), Fault> {
        for line in self.events.read(client, &self.run, "events.ndjson")? {
            let Ok(event) = serde_json::from_slice::<Stamped>(&line) else { continue };
            match &event.event {
                Event::ActionStarted { action } => self.action.clone_from(action),
                Event::RunStarted { .. } => {
                    if let Some(log) = &mut self.log {
                        log.start.get_or_insert(event.time);
                    }
                }
                _ => {}
            }
            if self.log.is_none() {
                self.reporter.event(&event);
            }
        }
        if let Some(log) = &mut self.log {
            return log.go_on(client, &self.run);
        }
        if let (JobState::Running, None, Some(board)) = (job.state, job.verdict, &job.board) {
            let board: BoardView = client.get(&format!("/boards/{board}"))?;
            if let Some(part) = board.progress.filter(|_| board.action == self.action) {
                let event = Event::ActionProgress {
                    action: self.action.clone(),
                    done_bytes: (part * PARTS) as u64,
                    total_bytes: Some(PARTS as u64),
                };
                self.reporter.event(&Stamped { time: clock::wall(), event });
            }
        }
        self.reporter.tick();
        Ok(())
    }

    fn finish(mut self, client: &Client) -> Result<(), Fault> {
        if let Some(mut log) = self.log {
            return log.rest(client, &self.run);
        }
        let run: RunView = client.get(&format!("/runs/{}", self.run))?;
        let place = format!("{}/#/runs/{}", client.base(), self.run);
        self.reporter.finish(&run.summary, Path::new(&place));
        Ok(())
    }
}

#[derive(Deserialize)]
struct RunView {
    summary: Summary,
}

/// The lines of a timeline as they come. At the run's end the file is put into order, so what was shown is remembered,
/// and what was not comes then.
struct Log {
    lines: Lines,
    start: Option<Timestamp>,
    shown: HashSet<u64>,
    color: Option<Color>,
    /// Which of several boards it is of.
    label: Option<String>,
}

impl Log {
    fn new(json: bool, label: Option<String>) -> Self {
        let is_colored = io::stdout().is_terminal() && super::wants_color();
        let color = if is_colored { Color::Ansi } else { Color::None };
        let color = (!json).then_some(color);
        Self { lines: Lines::default(), start: None, shown: HashSet::new(), color, label }
    }

    fn go_on(&mut self, client: &Client, run: &str) -> Result<(), Fault> {
        let lines = self.lines.read(client, run, "timeline.ndjson")?;
        lines.iter().try_for_each(|line| self.show(line)).map_err(output)
    }

    fn rest(&mut self, client: &Client, run: &str) -> Result<(), Fault> {
        self.lines = Lines::default();
        loop {
            let lines = self.lines.read(client, run, "timeline.ndjson")?;
            if lines.is_empty() {
                return Ok(());
            }
            lines.iter().try_for_each(|line| self.show(line)).map_err(output)?;
        }
    }

    fn show(&mut self, line: &[u8]) -> io::Result<()> {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        if !self.shown.insert(hasher.finish()) {
            return Ok(());
        }
        let Ok(record) = serde_json::from_slice::<LogRecord>(line) else { return Ok(()) };
        let start = *self.start.get_or_insert(record.host_time);
        let mut out = io::stdout();
        match (self.color, &self.label) {
            (Some(color), None) => out.write_all(log_line::line(&record, start, color).as_bytes()),
            (Some(color), Some(label)) => log_line::line(&record, start, color)
                .lines()
                .try_for_each(|line| writeln!(out, "{label}: {line}")),
            (None, None) => out.write_all(line).and_then(|()| out.write_all(b"\n")),
            (None, Some(node)) => {
                let line = serde_json::to_vec(&OfNode { node, record: &record })?;
                out.write_all(&line).and_then(|()| out.write_all(b"\n"))
            }
        }
    }
}

/// A line of the log of one of several boards.
#[derive(Serialize)]
struct OfNode<'a> {
    node: &'a str,
    #[serde(flatten)]
    record: &'a LogRecord,
}

/// The whole lines of a file that grows.
#[derive(Default)]
struct Lines {
    from: u64,
}

impl Lines {
    fn read(&mut self, client: &Client, run: &str, file: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let bytes = client.file_from(run, file, self.from)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.from += whole as u64;
        Ok(bytes[..whole]
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .filter(|l| !l.is_empty())
            .collect())
    }
}

fn output(error: io::Error) -> Fault {
    Fault::infrastructure(format!("failed to write: {error}"))
}

/// A person who watches sees little delay, and a lab of many viewers little load.
const EVERY: Duration = Duration::from_millis(300);
/// How finely progress is shown that comes as a part of one.
const PARTS: f64 = 1000.0;
