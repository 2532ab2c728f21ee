//! A job of the queue, as a script on a board.

use std::path::PathBuf;

use serde_json::Value;

use super::groups::Place;
use crate::board::Goal;
use crate::config::connection::PowerOperation;
use crate::config::lab::Board;
use crate::definition::fence::Fence;
use crate::job::event::Event;
use crate::lab::view::JobId;
use crate::script::deploy::Deployer;
use crate::script::job::{self, Begin, JobRun};
use crate::script::nodes::Seat;
use crate::script::prepare::NodeWanted;
use crate::script::{Bench, Fault};

/// What is to be run, and where.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) id: JobId,
    pub(super) attempt: u32,
    pub(super) submitter: String,
    /// The job's file.
    pub(super) file: PathBuf,
    /// What it may name of this host, if it came from elsewhere.
    pub(super) fence: Option<Fence>,
    /// Where it is one of several boards.
    pub(super) place: Option<Place>,
    pub(super) board: Board,
    pub(super) store: PathBuf,
    /// The run's name.
    pub(super) run: String,
    pub(super) begin: Begin,
}

/// Runs the job. What comes of it is on record; the line's counters are returned.
pub(super) async fn run(bench: Bench, work: Assignment) -> Result<Value, Fault> {
    let seat = work.place.as_ref().map(|place| Seat::new(place.group.clone(), place.node));
    if work.begin == Begin::AtMaster {
        let (id, attempt, submitter) = (work.id, work.attempt, work.submitter.clone());
        bench.tell(Event::Job { id, attempt, submitter });
    } else {
        bench.warn("the dispatcher died during this run; another one goes on with it");
    }
    let node = work.place.as_ref().map(|place| {
        let (index, boards) = (place.node, place.boards.clone());
        bench.tell(Event::Note { text: format!("the boards of the job: {}", boards.join(", ")) });
        NodeWanted { index, boards }
    });
    let board_type = work.board.board_type.clone();
    let (file, fence) = (work.file.clone(), work.fence.clone());
    let preparing = bench.prepare(file, fence, node, work.store.clone(), board_type);
    let prepared = match bench.action("prepare", bench.cancelable(preparing)).await {
        Ok(prepared) => prepared,
        Err(fault) => {
            if let Some(seat) = &seat {
                seat.end(Some(&fault));
            }
            bench.record_fault(&fault);
            return Err(fault);
        }
    };
    if let (Some(place), Some(wait)) = (&work.place, prepared.wait_timeout) {
        place.group.borrow_mut().set_wait_timeout(job::duration(wait));
    }
    if let Some(Err(error)) = bench.run_dir(|dir| dir.keep_job(&prepared.job.shown_source())) {
        bench.warn(&error.to_string());
    }
    let job_run = JobRun {
        seat,
        job: &prepared.job,
        run: &work.run,
        board: &work.board.name,
        board_type: &work.board.board_type.for_job(&prepared.job.boot),
        deployer: Deployer::new(work.store.clone(), &work.board),
        boot_image: prepared.images.boot.clone(),
        begin: work.begin,
    };
    job::run(&bench, &job_run).await;
    Ok(bench.line_report().to_json().clone())
}

/// Switches a board's power for a person.
pub(super) async fn power(
    bench: Bench,
    operation: PowerOperation,
    goal: Goal,
) -> Result<Value, Fault> {
    bench.switch_power(operation, goal).await.map(|()| Value::Null)
}
