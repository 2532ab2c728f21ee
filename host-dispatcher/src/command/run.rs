//! `pumice run`: one job on one board, in the foreground.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::rc::Rc;

use super::callbacks;
use super::hands_on::{claim, deployer, fail};
use super::job_texts::{JobText, job_texts};
use super::run_roles;
use crate::cli::{Global, RunArgs};
use crate::config::lab::BoardWish;
use crate::io::clock;
use crate::job::event::Event;
use crate::job::spec::{Job, Roles};
use crate::report;
use crate::script::deploy::seconds;
use crate::script::job::{self, Begin, JobRun};
use crate::script::observer::{Observer, Recorder};
use crate::script::prepare::take_images;
use crate::script::{Bench, Fault};
use crate::store::run_dir::RunDir;

/// Runs the job; the exit status is the verdict's. Of a LAVA job that is several, the next one is run when the one before
/// came to its end, and the exit status is the first that is not 0.
pub fn run(global: &Global, args: &RunArgs) -> u8 {
    let texts = match job_texts(&args.job) {
        Ok(texts) => texts,
        Err(error) => return fail(&error.fault()),
    };
    let mut first = 0;
    for text in &texts {
        let status = match run_text(global, args, text) {
            Ok(status) => status,
            Err(fault) => fail(&fault),
        };
        first = if first == 0 { status } else { first };
        if status > TEST_FAILED {
            break;
        }
    }
    first
}

fn run_text(global: &Global, args: &RunArgs, text: &JobText) -> Result<u8, Fault> {
    let wrong = |error| Fault::configuration(text.explain(error).to_string());
    if let Some(roles) = Roles::of_text(&args.job, &text.text).map_err(wrong)? {
        return run_roles::run(global, args, roles);
    }
    let mut job = Job::of_text(&args.job, &text.text).map_err(wrong)?;
    let wish = args.board.as_ref().map_or_else(|| job.board.clone(), BoardWish::named);
    let mut claimed = claim(global, &wish)?;
    let board_type = claimed.board.board_type.clone();
    let is_told = !global.json && std::io::stderr().is_terminal();
    let mut tell = |what| {
        if is_told {
            let _ = writeln!(std::io::stderr(), "{what}");
        }
        ControlFlow::Continue(())
    };
    let store = super::images::store(global);
    let images = take_images(&store, &mut job, &board_type, &mut tell)?;
    let started = clock::now();
    let wall = clock::wall();
    let dir = RunDir::create(&args.out, &job.name, wall, clock::seed(wall)).map_err(stored)?;
    dir.keep_job(&job.shown_source()).map_err(stored)?;
    let run = dir.name().to_owned();
    let recorder = Recorder::new(dir, report::for_process(global.json));
    let recorder = Rc::new(RefCell::new(recorder));
    recorder
        .borrow_mut()
        .event(wall, Event::run_started(&run, &job.name, &claimed.board.name, &board_type.name));
    let board = claimed.board.name.clone();
    let job_run = JobRun {
        job: &job,
        run: &run,
        board: &board,
        board_type: &board_type.for_job(&job.boot),
        deployer: deployer(global, &claimed.board),
        boot_image: images.boot.clone(),
        begin: Begin::AtMaster,
        seat: None,
    };
    let driven = claimed.drive(Box::new(recorder.clone()), async |bench: &Bench| {
        job::run(bench, &job_run).await;
        bench.line_report().to_json().clone()
    });
    let mut recorder = recorder.borrow_mut();
    let wall = clock::wall();
    let link = match driven {
        Ok(link) => link,
        Err(Fault { class, message }) => {
            recorder.event(wall, Event::Error { class, message, console_tail: String::new() });
            serde_json::Value::Null
        }
    };
    let seconds = seconds(clock::now().since(started));
    let finished = recorder.finish(wall, seconds, &link);
    callbacks::tell(&job, &super::lab_client::user(), recorder.dir().path());
    finished
}

/// The exit status of a run whose tests ended, and not all well.
const TEST_FAILED: u8 = 1;

pub(super) fn stored(error: crate::store::StoreError) -> Fault {
    Fault::infrastructure(error.to_string())
}
