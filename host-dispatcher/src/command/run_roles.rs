//! `pumice run` of a job with roles: several boards in one loop, a run directory each, and one exit status.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::rc::Rc;

use super::callbacks;
use super::hands_on::{Claim, claim_all, deployer};
use super::run::stored;
use crate::cli::{Global, RunArgs};
use crate::config::board_type::BoardType;
use crate::io::clock;
use crate::io::drive::drive_all;
use crate::io::event_loop::Reactor;
use crate::job::event::Event;
use crate::job::spec::{Node, Roles};
use crate::job::verdict::worse_exit_status;
use crate::multinode::group::Group;
use crate::report;
use crate::script::deploy::seconds;
use crate::script::job::{self, Begin, JobRun};
use crate::script::nodes::Seat;
use crate::script::observer::{Observer, Recorder};
use crate::script::prepare::{JobImages, take_images};
use crate::script::{Bench, Fault, Script};
use crate::store::names;
use crate::store::run_dir::RunDir;

/// One of the job's boards, with all that its run needs.
struct Place {
    claimed: Claim,
    node: Node,
    images: JobImages,
    board_type: BoardType,
    /// The run's name.
    run: String,
    recorder: Rc<RefCell<Recorder>>,
    seat: Seat,
}

/// Runs the job; the exit status is that of the worst of its runs.
pub(super) fn run(global: &Global, args: &RunArgs, mut roles: Roles) -> Result<u8, Fault> {
    if args.board.is_some() {
        let message = "--board names one board, and the job has several: name them in its roles";
        return Err(Fault::configuration(message));
    }
    let claimed = claim_all(global, &roles.wishes())?;
    let boards: Vec<String> = claimed.iter().map(|claimed| claimed.board.name.clone()).collect();
    roles.introduce(&boards);
    let nodes =
        boards.into_iter().zip(&roles.nodes).map(|(board, node)| (board, node.role.clone()));
    let group = Group::new(nodes.collect(), job::duration(roles.wait_timeout));
    let group = Rc::new(RefCell::new(group));
    let started = clock::now();
    let places = open(global, args, roles, claimed, &group)?;
    let driven = drive(global, &places, &group);
    let (wall, seconds) = (clock::wall(), seconds(clock::now().since(started)));
    let mut worst = 0;
    for (index, place) in places.iter().enumerate() {
        let mut recorder = place.recorder.borrow_mut();
        let link = match &driven {
            Ok(links) => links.get(index).cloned().unwrap_or_default(),
            Err(Fault { class, message }) => {
                let (class, message) = (*class, message.clone());
                recorder.event(wall, Event::Error { class, message, console_tail: String::new() });
                serde_json::Value::Null
            }
        };
        let status = recorder.finish(wall, seconds, &link)?;
        worst = worse_exit_status(worst, status);
    }
    // When all records are complete: a receiver that is slow keeps none of them open. As in LAVA each board's job is told.
    let user = super::lab_client::user();
    for place in &places {
        callbacks::tell(&place.node.job, &user, place.recorder.borrow().dir().path());
    }
    Ok(worst)
}

/// Takes the images, and makes the run directories: of one time and one id, so that they stand together.
fn open(
    global: &Global,
    args: &RunArgs,
    roles: Roles,
    claimed: Vec<Claim>,
    group: &Rc<RefCell<Group>>,
) -> Result<Vec<Place>, Fault> {
    let store = super::images::store(global);
    let is_told = !global.json && std::io::stderr().is_terminal();
    let mut taken = Vec::new();
    for (claimed, mut node) in claimed.into_iter().zip(roles.nodes) {
        let board_type = claimed.board.board_type.for_job(&node.job.boot);
        let mut tell = |what| {
            if is_told {
                let _ = writeln!(std::io::stderr(), "{}: {what}", node.label);
            }
            ControlFlow::Continue(())
        };
        let images = take_images(&store, &mut node.job, &claimed.board.board_type, &mut tell)?;
        taken.push((claimed, node, images, board_type));
    }
    let wall = clock::wall();
    let random = clock::seed(wall);
    let mut places = Vec::new();
    for (index, (claimed, node, images, board_type)) in taken.into_iter().enumerate() {
        // The job's name is cut, so that what tells the runs apart is not.
        let name = format!("{} {}", names::component(&roles.name, JOB_BYTES), node.label);
        let dir = RunDir::create(&args.out, &name, wall, random).map_err(stored)?;
        dir.keep_job(&node.job.shown_source()).map_err(stored)?;
        let run = dir.name().to_owned();
        let recorder = Recorder::new(dir, report::for_node(global.json, &node.label));
        let seat = Seat::new(group.clone(), index);
        let recorder = Rc::new(RefCell::new(recorder));
        places.push(Place { claimed, node, images, board_type, run, recorder, seat });
    }
    let runs: Vec<String> = places.iter().map(|place| place.run.clone()).collect();
    for place in &places {
        let Place { claimed, node, run, .. } = place;
        let board = &claimed.board;
        let mut recorder = place.recorder.borrow_mut();
        let started = Event::run_started(run, &node.job.name, &board.name, &board.board_type.name);
        recorder.event(wall, started);
        let others: Vec<&str> =
            runs.iter().filter(|other| *other != run).map(String::as_str).collect();
        let text = format!("role {}; the other boards' runs: {}", node.role, others.join(", "));
        recorder.event(wall, Event::Note { text });
    }
    Ok(places)
}

/// Drives all boards, and returns what is known of their lines.
fn drive(
    global: &Global,
    places: &[Place],
    group: &Rc<RefCell<Group>>,
) -> Result<Vec<serde_json::Value>, Fault> {
    let failed = |error| Fault::infrastructure(format!("the event loop failed: {error}"));
    let mut job_runs = Vec::new();
    for place in places {
        job_runs.push(JobRun {
            job: &place.node.job,
            run: &place.run,
            board: &place.claimed.board.name,
            board_type: &place.board_type,
            deployer: deployer(global, &place.claimed.board),
            boot_image: place.images.boot.clone(),
            begin: Begin::AtMaster,
            seat: Some(place.seat.clone()),
        });
    }
    let mut reactor = Reactor::new().map_err(failed)?;
    let mut boards = Vec::new();
    for (place, job_run) in places.iter().zip(&job_runs) {
        let (wiring, bench) = place.claimed.bench(Box::new(place.recorder.clone()))?;
        let script_bench: Bench = bench.clone();
        let script = Script::new(async move {
            job::run(&script_bench, job_run).await;
            script_bench.line_report().to_json().clone()
        });
        boards.push((wiring, bench, script));
    }
    let version = || group.borrow().version();
    let driven = drive_all(&mut reactor, boards, &version);
    let closed = reactor.close();
    driven.and_then(|links| closed.map(|()| links)).map_err(failed)
}

/// Bytes of a job's name in a run's, which has 40 for it and a role.
const JOB_BYTES: usize = 20;
