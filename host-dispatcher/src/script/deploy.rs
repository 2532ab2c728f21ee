//! Deploy: an image onto a partition of the board, a file into its file system or a new agent into its memory, and proof
//! that it is there.
//!
//! The board's hashes say what the partition holds, the plan sends what it cannot make itself, and what was written is
//! read back from the device: its root hash must be the image's. Nothing is written before the image is known to fit.
//! Whatever cuts it, the next try begins with what is there then; nothing has to be remembered but which images it may be
//! parts of ([`Held`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use agent_core::link::{Priority, Stats};
use agent_core::time::{Duration, Instant};
use agent_core::wire::response::{Partition, Written};
use agent_core::wire::steps::BLOCK;
use agent_core::wire::{Method, request};
use indicatif::HumanBytes;
use serde::Serialize;

use super::ask::{Asked, Stream};
use super::files::{SHORT_DEADLINE, TRANSFER_DEADLINE};
use super::sources::{self, Other, Sources};
use super::tree::{Compared, too_old};
use super::{Bench, Fault};
use crate::board::Direction;
use crate::config::lab::Board;
use crate::deploy::effort::Effort;
use crate::deploy::encode::Encoded;
use crate::deploy::plan::Blocks;
use crate::deploy::state::State;
use crate::deploy::worker::{PlanEvent, PlanPiece, PlanRequest, Planner, extents_bytes};
use crate::image::owners::FilePart;
use crate::image::stored::{StoredImage, TakeEvent, TakeRequest, Taker, Wanted};
use crate::job::event::{ActionOutcome, Event};
use crate::store::held::{Held, HeldImage};

/// Where images are kept, and what is known of which board.
#[derive(Clone, Debug)]
pub struct Deployer {
    /// The store.
    pub store: PathBuf,
    /// The board's name.
    pub board: String,
    /// How small plans are made.
    pub effort: Effort,
    /// What the line carries in a second, if that is known.
    pub line_speed: Option<u64>,
    /// The lab's agents, by what `uname -m` calls the machine.
    pub agents: BTreeMap<String, PathBuf>,
    /// They stay on the board's disk.
    pub persists_agents: bool,
    /// Files of the master image that a deploy may read from.
    pub image_files: Vec<String>,
}

impl Deployer {
    /// For a board of a lab.
    pub fn new(store: PathBuf, board: &Board) -> Self {
        // The session's own speed, where there is one; 8 bits, a start and a stop bit.
        let connection = board.agents_connection();
        let baud = connection.session_baud().or_else(|| connection.baud());
        let line = baud.map(|baud| u64::from(baud) / 10);
        Self {
            store,
            board: board.name.clone(),
            // A side lane may end, but that is seldom; to pack for the line would cost more than the lane needs.
            effort: Effort::for_line(line.filter(|_| board.side_lane.is_none())),
            line_speed: line,
            agents: board.agents.clone(),
            persists_agents: board.persists_agents,
            image_files: board.image_files.clone(),
        }
    }
}

/// Where an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Onto a partition, in place.
    Partition {
        /// Its label.
        label: String,
    },
    /// Beside a file, whose place it takes in the end.
    File {
        /// Absolute path.
        path: String,
        /// Permission bits of the new one.
        mode: u32,
        /// Bytes of the old one, 0 if there is none.
        old_bytes: u64,
    },
    /// A new agent in memory.
    Program {
        /// Bytes of the one that runs.
        old_bytes: u64,
    },
}

impl Place {
    /// The partition of a label.
    pub fn partition(label: &str) -> Self {
        Self::Partition { label: label.to_owned() }
    }

    /// What the agent calls it: the partition's label, the file's path, or for its own program nothing.
    pub fn name(&self) -> &str {
        match self {
            Self::Partition { label } => label,
            Self::File { path, .. } => path,
            Self::Program { .. } => "",
        }
    }

    /// What a person calls it.
    fn said(&self) -> &str {
        match self {
            Self::Program { .. } => "agent",
            other => other.name(),
        }
    }
}

/// What a deploy came to; `deploy.json` of a run directory is a list of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Deployed {
    /// The partition's label, or the file's path.
    pub target: String,
    /// SHA-256 of the raw image, in hexadecimal.
    pub sha256: String,
    /// Its size.
    pub image_bytes: u64,
    /// Plans that were carried out: 1, or more where something cut one or what was read back differed.
    pub plans: u32,
    /// Bytes of the last plan's stream.
    pub plan_bytes: u64,
    /// Bytes of the plan's bins in it.
    pub bin_bytes: u64,
    /// Bytes of the image that packing made hardly smaller, and the files with most of them.
    pub unpackable_bytes: u64,
    /// See `unpackable_bytes`.
    pub unpackable_files: Vec<FilePart>,
    /// Bytes of hashes that the board sent before the plan.
    pub hash_bytes: u64,
    /// All bytes that went to the board meanwhile, frames, requests and repeats included.
    pub line_bytes_out: u64,
    /// All bytes that came from it meanwhile, the console's included.
    pub line_bytes_in: u64,
    /// All bytes that went to the board over the side lane meanwhile; the line's do not count them.
    pub lane_bytes_out: u64,
    /// All bytes that came from it that way.
    pub lane_bytes_in: u64,
    /// What became of the image's bytes.
    pub bytes: ImageBytes,
    /// How long what took.
    pub seconds: Periods,
}

/// The bytes of an image by what became of them: the last plan's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageBytes {
    /// Stood there already.
    pub kept: u64,
    /// Zeros.
    pub zero: u64,
    /// Copied on the board.
    pub copied: u64,
    /// Sent, packed.
    pub sent: u64,
}

/// Periods in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Periods {
    /// Unpacking and hashing the image, where it was not in the store.
    pub image: f64,
    /// Finding out what the board has.
    pub compare: f64,
    /// Planning, before the first byte is packed.
    pub plan: f64,
    /// Sending and writing.
    pub write: f64,
    /// Reading it back.
    pub verify: f64,
}

impl Bench {
    /// Does something as an action of the job: with its start, its end and its time on record.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn action<T>(
        &self,
        action: &str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let started = self.now();
        self.tell(Event::ActionStarted { action: action.to_owned() });
        let outcome = work.await;
        let outcome_word = match &outcome {
            Ok(_) => ActionOutcome::Done,
            Err(fault) => ActionOutcome::Failed { why: fault.message.clone() },
        };
        let seconds = seconds(self.now().since(started));
        self.tell(Event::ActionEnded { action: action.to_owned(), seconds, outcome: outcome_word });
        outcome
    }

    /// Tells the observer.
    pub fn tell(&self, event: Event) {
        let wall = self.wall();
        self.observer(|observer| observer.event(wall, event));
    }

    /// Deploys an image. Of a file there is the old one or the new one, never a part.
    ///
    /// # Errors
    /// The image cannot be read or does not fit, the agent fails, or what is read back differs again and again.
    pub async fn deploy(
        &self,
        deployer: &Deployer,
        action: &str,
        place: Place,
        image: &Wanted,
    ) -> Result<Deployed, Fault> {
        let before = self.carried();
        let work = self.begin_deploy(deployer, action, place, image).await?;
        self.carry_through(work, &before).await
    }

    /// Plans, sends and verifies until the place holds the image. `before` is what the line had carried before.
    pub(super) async fn carry_through(
        &self,
        mut work: Work,
        before: &Stats,
    ) -> Result<Deployed, Fault> {
        let name = work.name(self.wall());
        let mut last = None;
        for _ in 0..PLANS_MAX {
            let compared = self.compare_for(&mut work).await?;
            let others = self.other_sources(&mut work, &compared.state).await;
            // On record before the first byte: whatever happens, the partition may hold parts of it from now on.
            work.held.begin(name.clone());
            work.write_held()?;
            work.report.plans += 1;
            let sessions = self.sessions();
            let Err((fault, asked)) = self.carry_out(&mut work, compared, others).await else {
                let begun = self.now();
                let differing = match &work.place {
                    Place::Partition { label } => {
                        self.differences(label, &work.target.tree).await?
                    }
                    // The agent read it back before it took the old one's place.
                    Place::File { .. } | Place::Program { .. } => Vec::new(),
                };
                work.report.seconds.verify += seconds(self.now().since(begun));
                if differing.is_empty() {
                    let image = Some(HeldImage { at: self.wall(), ..name });
                    work.held = Held { image, begun: Vec::new() };
                    work.write_held()?;
                    work.report.count_carried(before, &self.carried());
                    return Ok(work.report);
                }
                let why = format!(
                    "what the partition {} holds now is not the image, {}: the storage of the board may be worn out",
                    work.place.said(),
                    places(&differing)
                );
                self.warn(&why);
                last = Some(Fault::infrastructure(why));
                continue;
            };
            let is_lost = self.sessions() != sessions || !self.board(|board, _| board.is_up());
            if !is_lost && !work.others.is_empty() {
                // One of them may be mounted by now, or cannot be read: it is done without.
                self.warn(&format!(
                    "{}: {}: planning again without other sources",
                    work.place.said(),
                    fault.message
                ));
                work.others.clear();
                last = Some(fault);
                continue;
            }
            let Some(asked) = asked.filter(|_| is_lost) else { return Err(fault) };
            if !asked.is_agent_back().await {
                return Err(fault);
            }
            let place = work.place.said();
            self.warn(&format!("{place}: {}: planning again from what is there", fault.message));
            last = Some(fault);
        }
        Err(last.unwrap_or_else(|| Fault::infrastructure("nothing was planned")))
    }

    /// Finds out what a deploy would send, and writes nothing. `seconds.write` is what the line at least needs for it, if
    /// its speed is known.
    ///
    /// # Errors
    /// As for [`Bench::deploy`].
    pub async fn forecast(
        &self,
        deployer: &Deployer,
        action: &str,
        place: Place,
        image: &Wanted,
    ) -> Result<Deployed, Fault> {
        let mut work = self.begin_deploy(deployer, action, place, image).await?;
        let compared = self.compare_for(&mut work).await?;
        let others = self.other_sources(&mut work, &compared.state).await;
        let mut planner = self.plan(&mut work, compared, others.states)?;
        while let Some(piece) = self.next_piece(&mut work, &mut planner).await? {
            work.tell_progress(self, 0, &piece);
        }
        if let Some(speed) = deployer.line_speed {
            work.report.seconds.write = work.report.plan_bytes as f64 / speed as f64;
        }
        Ok(work.report)
    }

    /// Everything before the board's hashes are asked for.
    pub(super) async fn begin_deploy(
        &self,
        deployer: &Deployer,
        action: &str,
        place: Place,
        image: &Wanted,
    ) -> Result<Work, Fault> {
        let partition = match &place {
            Place::Partition { label } => {
                let body = request::Partition { label };
                let answer = self.ask(Method::PARTITION, &body, SHORT_DEADLINE).await?;
                let partition: Partition<'_> = answer.read()?;
                let device = partition.device.to_owned();
                if partition.mounted {
                    return Err(Fault::infrastructure(format!(
                        "the partition {label} ({device}) is mounted on the board, and what is in use is not written: \
                         unmount it there, or let the board start its master image (pumice reboot)",
                    )));
                }
                Some((device, partition.size))
            }
            Place::File { .. } | Place::Program { .. } => None,
        };
        let begun = self.now();
        let held = Held::read(&deployer.store, &deployer.board, place.said());
        let others = sources::others(deployer, &place);
        let (target, library) = self.stored(deployer, action, image, &held, &others).await?;
        let image_bytes = target.tree.bytes();
        if let Some((device, size)) = partition
            && image_bytes > size
        {
            let label = place.said();
            return Err(Fault::job(format!(
                "{} has {image_bytes} bytes, and the partition {label} ({device}) has {size}: \
                 make the image smaller or the partition larger",
                image.name(label),
            )));
        }
        let report = Deployed {
            target: place.said().to_owned(),
            sha256: target.sha256.clone(),
            image_bytes,
            seconds: Periods { image: seconds(self.now().since(begun)), ..Periods::default() },
            ..Deployed::default()
        };
        Ok(Work {
            deployer: deployer.clone(),
            action: action.to_owned(),
            place,
            target,
            library,
            held,
            others,
            report,
            planning_since: self.now(),
        })
    }

    /// The image out of the store, into which it is taken first, and those that the partition may hold parts of.
    async fn stored(
        &self,
        deployer: &Deployer,
        action: &str,
        image: &Wanted,
        held: &Held,
        others: &[Other],
    ) -> Result<(Arc<StoredImage>, Vec<Arc<StoredImage>>), Fault> {
        let waker = self.waker();
        let request = TakeRequest {
            store: deployer.store.clone(),
            wanted: image.clone(),
            library: held.candidates().map(|image| image.sha256.clone()).collect(),
            others: others.iter().map(|other| other.sha256.clone()).collect(),
        };
        let mut taker = Taker::start(request, move || waker())
            .map_err(|error| Fault::infrastructure(format!("no thread for the image: {error}")))?;
        loop {
            match self.until(|| taker.poll()).await {
                TakeEvent::Progress(progress) => self.tell(Event::ActionProgress {
                    action: format!("{action}: {}", progress.phase),
                    done_bytes: progress.done,
                    total_bytes: progress.total,
                }),
                TakeEvent::Ready(target, library) => return Ok((target, library)),
                TakeEvent::Failed(error) => return Err(Fault::job(error.to_string())),
            }
        }
    }

    /// Writes the run's `deploy.json`.
    pub fn keep_deployed(&self, done: &[Deployed]) {
        if let Some(Err(error)) = self.run_dir(|dir| dir.keep_deployed(&done)) {
            self.warn(&error.to_string());
        }
    }

    async fn compare_for(&self, work: &mut Work) -> Result<Compared, Fault> {
        let begun = self.now();
        let expected = work.expected();
        let bytes = match work.place {
            Place::Partition { .. } => work.target.tree.bytes(),
            // There is nothing to ask for, and every agent has the memory of the standard.
            Place::File { old_bytes: 0, .. } | Place::Program { old_bytes: 0 } => {
                return Ok(Compared::nothing());
            }
            Place::File { old_bytes, .. } | Place::Program { old_bytes } => old_bytes,
        };
        let compared = self
            .compare_blocks(work.place.name(), bytes, expected.as_ref().map(|image| &image.tree))
            .await?;
        work.report.seconds.compare += seconds(self.now().since(begun));
        work.report.hash_bytes += compared.hash_bytes;
        Ok(compared)
    }

    fn plan(
        &self,
        work: &mut Work,
        compared: Compared,
        others: Vec<State>,
    ) -> Result<Planner, Fault> {
        work.planning_since = self.now();
        let waker = self.waker();
        let request = PlanRequest {
            target: work.target.clone(),
            library: work.library.clone(),
            sources: [vec![compared.state], others].concat(),
            is_in_place: matches!(work.place, Place::Partition { .. }),
            limits: compared.limits,
            effort: work.deployer.effort,
        };
        Planner::start(request, move || waker())
            .map_err(|error| Fault::infrastructure(format!("no thread for the plan: {error}")))
    }

    /// Carries a plan out. A fault comes with the request, if there was one: its agent may come back.
    async fn carry_out(
        &self,
        work: &mut Work,
        compared: Compared,
        others: Sources,
    ) -> Result<(), (Fault, Option<Asked>)> {
        let Sources { labels, states } = others;
        let mut planner = self.plan(work, compared, states).map_err(|fault| (fault, None))?;
        let stream =
            self.stream(Priority::Bulk, Direction::ToBoard).await.map_err(|fault| (fault, None))?;
        let mode = match work.place {
            Place::Partition { .. } | Place::Program { .. } => 0,
            Place::File { mode, .. } => mode,
        };
        let body = request::BlockPlan {
            target: work.place.name(),
            sources: &labels,
            stream: stream.id,
            image_bytes: work.target.tree.bytes(),
            mode,
            root: &work.target.tree.root(),
        };
        let asked = self.start(Method::BLOCK_PLAN, &body, &[&stream], TRANSFER_DEADLINE);
        match self.send_plan(work, &mut planner, &stream, &asked).await {
            Ok(()) => Ok(()),
            Err(fault) => {
                // A request that failed before it had its stream leaves bytes on it.
                stream.reset();
                Err((fault, Some(asked)))
            }
        }
    }

    async fn send_plan(
        &self,
        work: &mut Work,
        planner: &mut Planner,
        stream: &Stream,
        asked: &Asked,
    ) -> Result<(), Fault> {
        work.report.plan_bytes = 0;
        while let Some(piece) = self.next_piece(work, planner).await? {
            if !stream.write(&piece.bytes).await {
                // The agent gave up; its answer says why.
                asked.answer_if_known().await?.ok_or_else(too_old)?;
                let why = "the agent gave up the plan without a reason";
                return Err(Fault::infrastructure(why));
            }
            work.tell_progress(self, stream.unsent(), &piece);
        }
        stream.finish().await;
        let answer = asked.answer_if_known().await?.ok_or_else(too_old)?;
        let _: Written = answer.read()?;
        work.report.seconds.write += seconds(self.now().since(work.planning_since));
        Ok(())
    }

    /// The next bytes of a plan, `None` behind the last; what else its planner tells is on record then.
    async fn next_piece(
        &self,
        work: &mut Work,
        planner: &mut Planner,
    ) -> Result<Option<PlanPiece>, Fault> {
        loop {
            match self.until(|| planner.poll()).await {
                PlanEvent::Planned(blocks) => work.planned(blocks, self.now()),
                PlanEvent::Bytes(piece) => {
                    work.report.plan_bytes += piece.bytes.len() as u64;
                    return Ok(Some(piece));
                }
                PlanEvent::Ended(encoded, files) => {
                    work.packed(&encoded, files);
                    return Ok(None);
                }
                PlanEvent::Failed(error) => return Err(unreadable(&error)),
            }
        }
    }

    /// What the line and its lanes have carried so far.
    pub(super) fn carried(&self) -> Stats {
        self.board(|board, _| *board.stats())
    }
}

impl Deployed {
    /// What was carried between two readings of [`Bench::carried`].
    pub(super) fn count_carried(&mut self, before: &Stats, after: &Stats) {
        let carried = after.since(before);
        (self.line_bytes_out, self.line_bytes_in) = (carried.bytes_out, carried.bytes_in);
        (self.lane_bytes_out, self.lane_bytes_in) = (carried.lane_bytes_out, carried.lane_bytes_in);
    }
}

impl fmt::Display for Deployed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |bytes: u64| bytes as f64 / self.image_bytes.max(1) as f64 * 100.0;
        write!(
            f,
            "{} of {} sent ({:.1} % was there, {:.1} % copied on the board), {} of hashes back",
            HumanBytes(self.plan_bytes),
            HumanBytes(self.image_bytes),
            percent(self.bytes.kept + self.bytes.zero),
            percent(self.bytes.copied),
            HumanBytes(self.hash_bytes),
        )?;
        if self.lane_bytes_out + self.lane_bytes_in > 0 {
            write!(
                f,
                "; {} over the side lane and {} over the line",
                HumanBytes(self.lane_bytes_out + self.lane_bytes_in),
                HumanBytes(self.line_bytes_out + self.line_bytes_in)
            )?;
        }
        // Worth a word only where it is much of what was sent.
        if self.unpackable_bytes * 4 >= self.plan_bytes
            && let Some(file) = self.unpackable_files.first()
        {
            write!(
                f,
                "; {} of it cannot be packed, as {}, which costs that much whenever it changes: have it unpacked in the image",
                HumanBytes(self.unpackable_bytes),
                file.path
            )?;
        }
        match self.plans {
            0 => write!(f, "; about {:.0} s on the line", self.seconds.write),
            1 => f.write_str("; read back and verified"),
            plans => write!(f, "; read back and verified, with plan {plans}"),
        }
    }
}

/// A deploy under way.
pub(super) struct Work {
    deployer: Deployer,
    action: String,
    place: Place,
    pub(super) target: Arc<StoredImage>,
    library: Vec<Arc<StoredImage>>,
    held: Held,
    /// Other partitions, and files, that may be sources.
    pub(super) others: Vec<Other>,
    pub(super) report: Deployed,
    planning_since: Instant,
}

impl Work {
    fn name(&self, at: jiff::Timestamp) -> HeldImage {
        HeldImage { sha256: self.target.sha256.clone(), bytes: self.target.tree.bytes(), at }
    }

    /// The image that the partition most likely holds, of those that the host has.
    fn expected(&self) -> Option<Arc<StoredImage>> {
        self.held.candidates().find_map(|image| self.image(&image.sha256))
    }

    /// The image of this digest, if the host has it.
    pub(super) fn image(&self, sha256: &str) -> Option<Arc<StoredImage>> {
        let mut images = self.library.iter().chain([&self.target]);
        images.find(|stored| stored.sha256 == sha256).cloned()
    }

    fn write_held(&self) -> Result<(), Fault> {
        self.held
            .write(&self.deployer.store, &self.deployer.board, self.place.said())
            .map_err(|error| Fault::infrastructure(error.to_string()))
    }

    /// What of the plan has gone over the line, of so many bytes: all that there are of it so far but the `unsent`.
    fn tell_progress(&self, bench: &Bench, unsent: usize, piece: &PlanPiece) {
        bench.tell(Event::ActionProgress {
            action: format!("{}, {} written", self.action, HumanBytes(piece.written_bytes)),
            done_bytes: self.report.plan_bytes.saturating_sub(unsent as u64),
            total_bytes: Some(piece.stream_bytes.max(self.report.plan_bytes)),
        });
    }

    fn packed(&mut self, encoded: &Encoded, files: Vec<FilePart>) {
        self.report.bin_bytes = encoded.packed_bytes;
        self.report.unpackable_bytes = extents_bytes(&encoded.unpackable);
        self.report.unpackable_files = files;
    }

    fn planned(&mut self, blocks: Blocks, now: Instant) {
        let bytes = |count: u32| u64::from(count) * BLOCK as u64;
        self.report.bytes = ImageBytes {
            kept: bytes(blocks.kept),
            zero: bytes(blocks.zero),
            copied: bytes(blocks.copied),
            sent: bytes(blocks.literal),
        };
        self.report.seconds.plan += seconds(now.since(self.planning_since));
        self.planning_since = now;
    }
}

/// A period as people count.
pub fn seconds(period: Duration) -> f64 {
    period.as_micros() as f64 / 1e6
}

fn unreadable(error: &std::io::Error) -> Fault {
    Fault::infrastructure(format!("an image of the store cannot be read: {error}"))
}

/// Where something differs: the first places by their offsets.
fn places(differing: &[(u32, u32)]) -> String {
    let blocks: u64 = differing.iter().map(|(_, count)| u64::from(*count)).sum();
    let offset = |block: u32| u64::from(block) * BLOCK as u64;
    let first: Vec<String> = differing
        .iter()
        .take(4)
        .map(|(first, count)| format!("{:#x}..{:#x}", offset(*first), offset(first + count)))
        .collect();
    let more = if differing.len() > first.len() { ", ..." } else { "" };
    format!("{blocks} blocks of {BLOCK} bytes at {}{more}", first.join(", "))
}

/// A plan that did not do it is followed by one from what is there then; more often is no accident.
const PLANS_MAX: u32 = 3;
