//! One job of LAVA, from its order to its end: what is to be done next, and what comes of it.
//!
//! Knows no sockets, files or clocks. Its owner asks [`Job::poll`], does the one thing that it says, and hands in the outcome;
//! one thing at a time. Whatever is lost in between, a request or the whole process, is asked for again: LAVA skips
//! lines that it has, and says yes twice to `RUNNING` and `FINISHED`; the lab is asked for the job before it is given again.

use agent_core::time::{Duration, Instant};
use jiff::Timestamp;

use super::convert::{self, Converted, Part};
use super::group::{Gathered, Member};
use super::lines::{self, Told};
use super::protocol::{self, End, JobFiles, Refusal, Reply, Request};
use super::record::{Record, Run, Stage, results_in};
use crate::job::verdict::{ErrorClass, Verdict};
use crate::lab::view::{JobId, JobState, JobView};
use crate::report::summary::Summary;
use crate::report::{lava, lava_log};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// Put [`Job::record`] and the new hashes on the disk, then [`Job::handle_kept`].
    Keep,
    /// Ask LAVA's server, then [`Job::handle_lava`].
    Lava(Request),
    /// Ask the lab, then [`Job::handle_lab`].
    Lab(LabRequest),
    /// Bring this one together with the others of its group ([`Groups::join`](super::group::Groups::join)), then
    /// [`Job::handle_gathered`].
    Gather(Box<Member>),
    /// Nothing until then, unless LAVA cancels the job.
    Wait(Instant),
    /// The job is over, and LAVA knows: forget it.
    Forget,
}

/// A question to the lab.
#[derive(Clone, Debug, PartialEq)]
pub enum LabRequest {
    /// Has it this job already?
    Find(Part),
    /// Here is one: its file's name and text.
    Submit(String, String),
    /// How far is it?
    Look(JobId),
    /// What is in this file of this run, from this byte on?
    File(String, &'static str, u64),
    /// End it.
    Cancel(JobId),
}

/// What the lab says.
#[derive(Clone, Debug, PartialEq)]
pub enum LabAnswer {
    /// To [`LabRequest::Find`].
    Found(Option<JobId>),
    /// To [`LabRequest::Submit`], [`LabRequest::Look`] and [`LabRequest::Cancel`].
    Job(Box<JobView>),
    /// To [`LabRequest::File`].
    Bytes(Vec<u8>),
}

/// The time, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For waits.
    pub instant: Instant,
    /// For people.
    pub wall: Timestamp,
}

/// A job of LAVA.
#[derive(Debug)]
pub struct Job {
    worker: String,
    every: Duration,
    record: Record,
    told: Told,
    is_unsaved: bool,
    is_gone: bool,
    /// Whether LAVA knows that it runs.
    is_running: bool,
    /// Whether the lab may have it though nobody said so.
    is_uncertain: bool,
    is_cancel_sent: bool,
    files: Option<JobFiles>,
    asked: Asked,
    step: Step,
    /// Lines that were read in this turn.
    lines: Vec<(Timestamp, String)>,
    has_read: bool,
    /// What the run came to, and how many bytes of its events that is made of.
    summary: (Summary, u64),
    ended: Option<Box<JobView>>,
    not_before: Instant,
    failures: u32,
    /// Since when the lab does not answer.
    away_since: Option<Instant>,
    /// Since when another one of the group is to give it to the lab.
    given_since: Option<Instant>,
    /// Whether the server may have taken the first of the pending lines though it did not say so.
    is_batch_uncertain: bool,
    /// So many lines at most in one request; fewer where the server stumbles over one.
    lines_max: usize,
    stumbles: u32,
}

/// The question that is out to LAVA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Running,
    Files,
    Device,
    Results(usize),
    Logs(usize),
    End,
}

/// What of a job in the lab is looked at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Look,
    Timeline,
    Events,
    Summary,
}

impl Job {
    /// A job that was just ordered, or one that was kept. `every` is how often the lab is asked.
    pub fn new(worker: &str, record: Record, told: Told, every: Duration) -> Self {
        Self {
            worker: worker.to_owned(),
            every,
            is_unsaved: record.stage == Stage::Ordered,
            is_batch_uncertain: !record.pending.is_empty(),
            is_uncertain: true,
            record,
            told,
            is_gone: false,
            is_running: false,
            is_cancel_sent: false,
            files: None,
            asked: Asked::Nothing,
            step: Step::Look,
            lines: Vec::new(),
            has_read: false,
            summary: Default::default(),
            ended: None,
            not_before: Instant::ZERO,
            failures: 0,
            away_since: None,
            given_since: None,
            lines_max: usize::MAX,
            stumbles: 0,
        }
    }

    /// What is to be on the disk.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The hashes that are to be on the disk before the record.
    pub fn take_new_hashes(&mut self) -> Vec<u64> {
        self.told.take_new()
    }

    /// LAVA wants the job to end.
    pub fn cancel(&mut self) {
        if !self.record.is_canceled {
            self.record.is_canceled = true;
            self.is_unsaved = true;
            self.not_before = Instant::ZERO;
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self, now: Now) -> Want {
        if self.record.is_canceled {
            self.end_canceled(now);
        }
        if self.is_unsaved {
            return Want::Keep;
        }
        if self.is_gone {
            return Want::Forget;
        }
        if now.instant < self.not_before {
            return Want::Wait(self.not_before);
        }
        let order = self.record.order();
        // Its files are asked for first: the server keeps what it gave out.
        if !self.is_running && (self.record.stage != Stage::Ordered || self.files.is_some()) {
            return self.ask(Asked::Running, protocol::running(&order));
        }
        let batch = self.record.batch(self.lines_max);
        if !batch.is_empty() {
            let request = protocol::logs(&order, batch, self.record.index);
            let count = batch.len();
            if self.is_batch_uncertain && results_in(batch) > 0 {
                return self.ask(Asked::Results(count), protocol::results(order.id));
            }
            return self.ask(Asked::Logs(count), request);
        }
        match &self.record.stage {
            Stage::Ordered if self.files.is_none() => self.ask(Asked::Files, protocol::job(&order)),
            Stage::Ordered => self.ask(Asked::Device, protocol::job_view(order.id)),
            Stage::Gathering(member) if self.is_uncertain => {
                Want::Lab(LabRequest::Find(member.part.clone()))
            }
            Stage::Gathering(member) => Want::Gather(member.clone()),
            Stage::Submitting(part) if self.is_uncertain => {
                Want::Lab(LabRequest::Find(part.clone()))
            }
            Stage::Submitting(part) => {
                Want::Lab(LabRequest::Submit(convert::file_name(order.id), part.text.clone()))
            }
            Stage::Submitted(run) => Want::Lab(self.question(run)),
            Stage::Over(end) => {
                let request = protocol::finished(&order, end);
                self.ask(Asked::End, request)
            }
        }
    }

    /// The record is on the disk, or it could not be put there.
    pub fn handle_kept(&mut self, is_kept: bool) {
        // Nothing goes on without it.
        self.is_unsaved = !is_kept;
    }

    /// The others of its group are here, or not.
    pub fn handle_gathered(&mut self, gathered: Gathered, now: Now) {
        let Stage::Gathering(member) = &self.record.stage else { return };
        match gathered {
            Gathered::Wait => self.not_before = now.instant + self.every,
            Gathered::Whole(text) => {
                self.record.is_given_by_another = !member.is_first();
                let part = Part { name: member.part.name.clone(), text };
                self.record.stage = Stage::Submitting(part);
                self.is_uncertain = true;
                self.is_unsaved = true;
            }
            Gathered::Missing(why) => self.end(now, ErrorClass::ConfigurationError, &why),
        }
    }

    /// LAVA's server has answered, or not.
    pub fn handle_lava(&mut self, reply: &Reply, now: Now) {
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        let outcome = match asked {
            Asked::Nothing => Ok(()),
            Asked::Running => {
                protocol::understand(reply).map(|_: serde_json::Value| self.is_running = true)
            }
            Asked::Files => protocol::understand(reply).map(|files| self.handle_files(files, now)),
            Asked::Device => {
                self.handle_device(reply, now);
                Ok(())
            }
            Asked::Results(sent) => self.handle_result_count(reply, sent),
            Asked::Logs(sent) => self.handle_taken(reply, sent, now),
            Asked::End => {
                protocol::understand(reply).map(|_: serde_json::Value| self.is_gone = true)
            }
        };
        match outcome {
            Ok(()) => self.failures = 0,
            // The server knows no such job any more, or not by this token: there is nobody to tell.
            Err(Refusal::Never(_))
                if asked == Asked::End || !matches!(self.record.stage, Stage::Submitted(_)) =>
            {
                self.is_gone = true;
            }
            Err(Refusal::Never(_)) => {
                self.record.pending.clear();
                self.cancel();
                self.is_running = true;
            }
            Err(_) => self.back_off(now),
        }
    }

    /// The lab has answered; or why it has not, and whether it ever will.
    pub fn handle_lab(&mut self, answer: Result<LabAnswer, Refusal>, now: Now) {
        match answer {
            Ok(answer) => {
                self.failures = 0;
                self.away_since = None;
                self.handle_answer(answer, now);
            }
            Err(Refusal::Never(why)) => self.handle_refused(&why, now),
            Err(Refusal::Away(why) | Refusal::Odd(why)) => {
                // It may have taken what it did not say yes to.
                self.is_uncertain = true;
                if self.away_since.is_none() {
                    self.away_since = Some(now.instant);
                    self.say(now, "warning", &format!("{why}; it is asked again until it answers"));
                }
                self.back_off(now);
            }
            Err(Refusal::Version(_)) => self.back_off(now),
        }
    }

    fn ask(&mut self, asked: Asked, request: Request) -> Want {
        self.asked = asked;
        Want::Lava(request)
    }

    fn question(&self, run: &Run) -> LabRequest {
        if self.record.is_canceled && !self.is_cancel_sent {
            return LabRequest::Cancel(run.job);
        }
        let name = || run.run.clone().unwrap_or_default();
        match self.step {
            Step::Look => LabRequest::Look(run.job),
            Step::Timeline => LabRequest::File(name(), "timeline.ndjson", run.timeline),
            Step::Events => LabRequest::File(name(), "events.ndjson", run.events),
            Step::Summary => LabRequest::File(name(), "events.ndjson", self.summary.1),
        }
    }

    fn handle_files(&mut self, files: JobFiles, now: Now) {
        let board = convert::board_of(&files);
        self.files = Some(files);
        if let Some(board) = board {
            self.import(&board, now);
        }
    }

    fn handle_device(&mut self, reply: &Reply, now: Now) {
        let view: Result<serde_json::Value, Refusal> = protocol::understand(reply);
        match view.map(|view| view["actual_device"].as_str().map(str::to_owned)) {
            Ok(Some(device)) => self.import(&device, now),
            Err(Refusal::Away(_)) => self.back_off(now),
            _ => self.end(now, ErrorClass::ConfigurationError, NO_BOARD),
        }
    }

    fn import(&mut self, board: &str, now: Now) {
        let Some(files) = self.files.take() else { return };
        match convert::convert(&files, &self.record.order(), &self.worker, board) {
            Ok(Converted::Parts(mut parts)) => {
                parts.reverse();
                self.record.rest = parts;
                self.next_part();
            }
            Ok(Converted::Member(member)) => {
                self.is_uncertain = true;
                self.record.stage = Stage::Gathering(member);
                self.is_unsaved = true;
            }
            Err(sentences) => {
                for sentence in sentences.iter().skip(1) {
                    self.say(now, "error", sentence);
                }
                let first = sentences.first().map_or("", String::as_str);
                self.end(now, ErrorClass::JobError, first);
            }
        }
    }

    /// Gives the lab the next one; whether there is one.
    fn next_part(&mut self) -> bool {
        let Some(part) = self.record.rest.pop() else { return false };
        // A worker that has lost its records may have given it before.
        self.is_uncertain = true;
        self.record.stage = Stage::Submitting(part);
        self.step = Step::Look;
        self.is_unsaved = true;
        true
    }

    /// One that was taken is not sent again: its results would be there twice.
    fn handle_result_count(&mut self, reply: &Reply, sent: usize) -> Result<(), Refusal> {
        match protocol::result_count(reply) {
            Ok(count) => {
                let sent = sent.min(self.record.pending.len());
                if count >= self.record.results + results_in(&self.record.pending[..sent]) {
                    self.record.taken(sent);
                    self.is_unsaved = true;
                }
            }
            Err(Refusal::Away(why)) => return Err(Refusal::Away(why)),
            // It does not show the job to strangers: sent again, as LAVA's own worker does.
            Err(_) => {}
        }
        self.is_batch_uncertain = false;
        Ok(())
    }

    fn handle_taken(&mut self, reply: &Reply, sent: usize, now: Now) -> Result<(), Refusal> {
        match protocol::line_count(reply) {
            Ok(0) => Err(Refusal::Away("it took no line".into())),
            Ok(count) => {
                self.record.taken(count.min(sent));
                self.is_unsaved = true;
                self.is_batch_uncertain = false;
                (self.lines_max, self.stumbles) = (usize::MAX, 0);
                Ok(())
            }
            Err(Refusal::Odd(why)) => {
                self.stumbles += 1;
                if self.stumbles >= STUMBLES_MAX {
                    self.stumbles = 0;
                    // One of them, or all together, is what it stumbles over; in the end it is one alone.
                    self.lines_max = sent / 2;
                    if sent == 1 {
                        let text = format!("a line of the log is missing here: {why}");
                        self.record.pending[0] = lines::own(now.wall, "error", &text);
                        self.is_unsaved = true;
                    }
                }
                Err(Refusal::Odd(why))
            }
            Err(other) => {
                self.is_batch_uncertain = true;
                Err(other)
            }
        }
    }

    fn handle_answer(&mut self, answer: LabAnswer, now: Now) {
        match (&mut self.record.stage, answer) {
            (Stage::Submitting(_), LabAnswer::Found(None)) if self.record.is_given_by_another => {
                self.wait_for_another(now);
            }
            (Stage::Gathering(_) | Stage::Submitting(_), LabAnswer::Found(None)) => {
                self.is_uncertain = false;
            }
            (Stage::Gathering(_) | Stage::Submitting(_), LabAnswer::Found(Some(job))) => {
                self.submitted(job, now);
            }
            (Stage::Submitting(_), LabAnswer::Job(view)) => self.submitted(view.id, now),
            (Stage::Submitted(_), LabAnswer::Job(view)) => {
                if self.record.is_canceled {
                    self.is_cancel_sent = true;
                }
                self.handle_view(view, now);
            }
            (Stage::Submitted(_), LabAnswer::Bytes(bytes)) => self.handle_bytes(&bytes, now),
            _ => {}
        }
    }

    /// The lab does not have it yet.
    fn wait_for_another(&mut self, now: Now) {
        let since = *self.given_since.get_or_insert(now.instant);
        self.not_before = now.instant + self.every;
        if self.record.is_canceled {
            self.end(now, ErrorClass::Canceled, "canceled before the lab had it");
        } else if now.instant.since(since) >= GIVEN_PATIENCE {
            let why =
                "the lab was not given the job of this group: the log of its first job says why";
            self.end(now, ErrorClass::InfrastructureError, why);
        }
    }

    fn submitted(&mut self, job: JobId, now: Now) {
        self.say(now, "info", &format!("job {job} of the lab"));
        self.record.stage = Stage::Submitted(Run { job, ..Run::default() });
        self.step = Step::Look;
        self.is_unsaved = true;
    }

    fn handle_view(&mut self, view: Box<JobView>, now: Now) {
        let Stage::Submitted(run) = &mut self.record.stage else { return };
        let is_begun = view.state != JobState::Queued;
        if is_begun && view.run.is_some() && view.run != run.run {
            if run.run.is_some() {
                let text = format!("the lab tries it again: attempt {}", view.attempt);
                self.lines.push((now.wall, lines::own(now.wall, "warning", &text)));
            }
            *run = Run { job: run.job, run: view.run.clone(), told: run.told, ..Run::default() };
            self.is_unsaved = true;
        }
        let has_run = run.run.is_some() && is_begun;
        self.ended = (view.state == JobState::Ended).then_some(view);
        match (&self.ended, has_run) {
            (_, true) => {
                self.has_read = false;
                self.step = Step::Timeline;
            }
            (Some(_), false) => self.ended(false, now),
            (None, false) => self.not_before = now.instant + self.every,
        }
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Now) {
        let Stage::Submitted(run) = &mut self.record.stage else { return };
        if self.step == Step::Summary {
            self.handle_all_events(bytes, now);
            return;
        }
        if self.step == Step::Timeline {
            let read = lines::of_timeline(bytes, &mut self.told, run.is_second_reading);
            run.timeline += read.used;
            self.has_read |= read.used > 0;
            self.lines.extend(read.lines);
            self.step = Step::Events;
            return;
        }
        let read = lines::of_events(bytes);
        run.events += read.used;
        run.told = self.told.count();
        self.has_read |= read.used > 0;
        self.lines.extend(read.lines);
        self.step = match (self.has_read, &self.ended) {
            (true, _) => Step::Timeline,
            (false, Some(_)) if run.is_second_reading => Step::Summary,
            (false, Some(_)) => {
                (run.is_second_reading, run.timeline) = (true, 0);
                Step::Timeline
            }
            (false, None) => {
                self.not_before = now.instant + self.every;
                Step::Look
            }
        };
        self.has_read = false;
        self.is_unsaved |= read.used > 0 || self.step != Step::Look;
        let lines = std::mem::take(&mut self.lines);
        self.is_unsaved |= !lines.is_empty();
        self.record.add(lines);
    }

    /// The events once more, from the first on: what the run came to.
    fn handle_all_events(&mut self, bytes: &[u8], now: Now) {
        let used = lines::events(bytes, |event| self.summary.0.handle_event(event));
        self.summary.1 += used;
        if used > 0 {
            return;
        }
        let (summary, _) = std::mem::take(&mut self.summary);
        let end = lava_log::end(&summary);
        let mut lines: Vec<String> = end.split_inclusive('\n').map(str::to_owned).collect();
        // The last one is the result of the run itself; LAVA's job may have several.
        let has_run = lines.pop().is_some();
        self.record.pending.append(&mut lines);
        self.record.milliseconds += (summary.seconds.unwrap_or_default() * 1000.0) as u64;
        self.ended(has_run, now);
    }

    /// The lab is done with what it was given.
    fn ended(&mut self, has_run: bool, now: Now) {
        let Some(view) = self.ended.take() else { return };
        let class = match view.verdict {
            Some(Verdict::Passed | Verdict::Failed) if has_run => None,
            Some(Verdict::Error(class)) => Some(class),
            // What did not run has not passed.
            _ => Some(ErrorClass::InfrastructureError),
        };
        if let Some(class) = class {
            if !has_run {
                self.say(now, "error", &view.error);
            }
            self.record.failed.get_or_insert_with(|| failure(class, &view.error));
        }
        let goes_on = class != Some(ErrorClass::Canceled) && !self.record.is_canceled;
        if !goes_on || !self.next_part() {
            let end = self.record.failed.take().unwrap_or(COMPLETE);
            self.over(end, now);
        }
    }

    fn handle_refused(&mut self, why: &str, now: Now) {
        match (&self.record.stage, self.step) {
            (Stage::Submitting(_), _) => self.end(now, ErrorClass::JobError, why),
            // It has ended meanwhile.
            (Stage::Submitted(_), _) if self.record.is_canceled && !self.is_cancel_sent => {
                self.is_cancel_sent = true;
            }
            (Stage::Submitted(_), Step::Look) => {
                self.end(now, ErrorClass::InfrastructureError, why)
            }
            // A run that has just begun has no such file yet; one that was removed has none any more.
            (Stage::Submitted(_), _) => self.handle_bytes(&[], now),
            _ => {}
        }
    }

    /// Ends what need not be ended in the lab, or cannot be.
    fn end_canceled(&mut self, now: Now) {
        let is_away =
            self.away_since.is_some_and(|since| now.instant.since(since) >= CANCEL_PATIENCE);
        match &self.record.stage {
            Stage::Ordered => self.end(now, ErrorClass::Canceled, "canceled before the lab had it"),
            Stage::Gathering(_) | Stage::Submitting(_) if !self.is_uncertain => {
                self.end(now, ErrorClass::Canceled, "canceled before the lab had it");
            }
            Stage::Gathering(_) | Stage::Submitting(_) | Stage::Submitted(_) if is_away => {
                self.end(
                    now,
                    ErrorClass::Canceled,
                    "canceled, but the lab does not answer: it may go on there",
                );
            }
            _ => {}
        }
    }

    fn end(&mut self, now: Now, class: ErrorClass, why: &str) {
        self.say(now, "error", why);
        self.over(failure(class, why), now);
    }

    fn over(&mut self, end: End, now: Now) {
        self.record.pending.push(lines::job_result(now.wall, &end, self.record.milliseconds));
        self.record.stage = Stage::Over(end);
        self.record.rest.clear();
        self.is_unsaved = true;
        self.not_before = Instant::ZERO;
    }

    fn say(&mut self, now: Now, level: &str, text: &str) {
        self.record.pending.push(lines::own(now.wall, level, text));
        self.is_unsaved = true;
    }

    fn back_off(&mut self, now: Now) {
        let wait = RETRY_MIN.times(1 << self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.instant + if wait < RETRY_MAX { wait } else { RETRY_MAX };
    }
}

fn failure(class: ErrorClass, why: &str) -> End {
    let error_type = lava::error_type(class).to_owned();
    End { is_complete: false, error_type, errors: why.to_owned() }
}

const COMPLETE: End = End { is_complete: true, error_type: String::new(), errors: String::new() };
const NO_BOARD: &str = "which device the job was given cannot be told: LAVA shows the job to its owner alone, and the device \
    dictionary does not name a board: set connection_command to \"pumice console BOARD\" in it";
/// Twice as long each time, from this
const RETRY_MIN: Duration = Duration::from_secs(1);
/// to this.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often a server may stumble over the same lines before fewer of them are tried.
const STUMBLES_MAX: u32 = 3;
/// A lab that checks a job fetches its definitions first.
const GIVEN_PATIENCE: Duration = Duration::from_secs(300);
/// How long a lab that does not answer keeps a canceled job from its end; as long as LAVA's worker gives its own jobs.
const CANCEL_PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
