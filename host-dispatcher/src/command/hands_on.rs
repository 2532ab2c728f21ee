//! What every command that touches a board does first and last: find it in the lab, lock it, wire it, drive a script,
//! and let go.

use std::io::{IsTerminal, Write};

use super::lab_line;
use crate::board::{Board, BoardSpec, Goal};
use crate::cli::Global;
use crate::config::lab::{self, BoardWish, Lab};
use crate::config::template::{Placeholder, Values};
use crate::config::value::Name;
use crate::io::clock;
use crate::io::connection::Endpoint;
use crate::io::drive::{Wiring, drive};
use crate::io::emulator::{BoardFolder, Folders};
use crate::io::event_loop::Reactor;
use crate::report;
use crate::script::deploy::Deployer;
use crate::script::observer::{Narrator, Observer};
use crate::script::{Bench, Fault};

/// A board that nobody else has, and how it is reached.
pub(super) struct Claim {
    pub(super) board: lab::Board,
    wiring: Wiring,
    _folder: Option<BoardFolder>,
}

/// A board that this process has for itself.
pub(super) struct Claimed {
    pub(super) board: lab::Board,
    wiring: Wiring,
    reactor: Reactor,
    /// Nothing for a board of a lab elsewhere, which sees to that.
    _folder: Option<BoardFolder>,
}

/// The lab that was named, or the embedded one.
pub(super) fn lab(global: &Global) -> Result<Lab, Fault> {
    match &global.lab {
        Some(path) => Lab::load(path).map_err(|error| Fault::configuration(error.to_string())),
        None => Ok(Lab::embedded()),
    }
}

/// Finds a board in the lab and locks it.
pub(super) fn claim(global: &Global, wish: &BoardWish) -> Result<Claimed, Fault> {
    if global.server.is_some() {
        return claim_elsewhere(global, wish);
    }
    let lab = lab(global)?;
    let board = lab.find(wish).map_err(|error| Fault::configuration(error.to_string()))?.clone();
    Claimed::new(claim_board(&lab, board)?)
}

/// Finds a board for each wish, no two the same, and locks them all; or none.
pub(super) fn claim_all(global: &Global, wishes: &[BoardWish]) -> Result<Vec<Claim>, Fault> {
    if global.server.is_some() {
        return Err(Fault::configuration(
            "a job of several boards is not run on the boards of a lab elsewhere: run it on the lab's host",
        ));
    }
    let lab = lab(global)?;
    let boards = lab.find_all(wishes).map_err(|error| Fault::configuration(error.to_string()))?;
    boards.into_iter().map(|board| claim_board(&lab, board.clone())).collect()
}

fn claim_board(lab: &Lab, board: lab::Board) -> Result<Claim, Fault> {
    let mut folders = Folders::from_environment().map_err(Fault::configuration)?;
    if let Some(images) = &lab.images {
        folders.images.clone_from(images);
    }
    let name: Name = board.name.parse().map_err(|_| Fault::configuration("no name of a board"))?;
    let folder = BoardFolder::claim(&folders, &name).map_err(Fault::infrastructure)?;
    let values = folder
        .values(&folders, board.board_type.emulator.as_ref())
        .map_err(Fault::configuration)?;
    Claim::new(board, values, Some(folder))
}

/// A board of the lab that --server names, which must have been acquired there.
fn claim_elsewhere(global: &Global, wish: &BoardWish) -> Result<Claimed, Fault> {
    let name = wish.name.as_deref().ok_or_else(|| {
        Fault::configuration("which board of the lab? name it with --board, or submit the job")
    })?;
    let board = lab_line::board(global, name)?;
    let values = Values::new().with(Placeholder::Board, name);
    Claimed::new(Claim::new(board, values, None)?)
}

impl Claim {
    fn new(board: lab::Board, values: Values, folder: Option<BoardFolder>) -> Result<Self, Fault> {
        let wiring =
            Wiring::of(&board, values).map_err(|error| Fault::configuration(error.to_string()))?;
        Ok(Self { board, wiring, _folder: folder })
    }

    /// How the board is reached, and a bench for it, for a loop that has others too.
    pub(super) fn bench(&self, observer: Box<dyn Observer>) -> Result<(Wiring, Bench), Fault> {
        Ok((self.wiring.clone(), bench_of(&self.board, observer)?))
    }
}

fn bench_of(board: &lab::Board, observer: Box<dyn Observer>) -> Result<Bench, Fault> {
    let spec =
        BoardSpec::from_lab(board).map_err(|error| Fault::configuration(error.to_string()))?;
    let (now, wall) = (clock::now(), clock::wall());
    Ok(Bench::new(Board::new(spec, clock::seed(wall)), observer, now, wall))
}

impl Claimed {
    fn new(claim: Claim) -> Result<Self, Fault> {
        let reactor = Reactor::new().map_err(|error| {
            Fault::infrastructure(format!("the event loop cannot start: {error}"))
        })?;
        let Claim { board, wiring, _folder } = claim;
        Ok(Self { board, wiring, reactor, _folder })
    }

    /// Drives a script on the board and ends what was started for it.
    pub(super) fn drive<T>(
        &mut self,
        observer: Box<dyn Observer>,
        script: impl AsyncFnOnce(&Bench) -> T,
    ) -> Result<T, Fault> {
        let bench = bench_of(&self.board, observer)?;
        let outcome = drive(&mut self.reactor, self.wiring.clone(), &bench, script(&bench));
        let closed = self.reactor.close();
        outcome
            .and_then(|outcome| closed.map(|()| outcome))
            .map_err(|error| Fault::infrastructure(format!("the event loop failed: {error}")))
    }

    /// Its number and its console line, for a loop without a board.
    pub(super) fn line(&self) -> (usize, Endpoint) {
        (0, self.wiring.endpoint.clone())
    }

    /// The loop.
    pub(super) fn reactor(&mut self) -> &mut Reactor {
        &mut self.reactor
    }

    /// Whether standard input is listened to.
    pub(super) fn listen_to_stdin(&mut self, listen: bool) -> std::io::Result<()> {
        self.reactor.listen_to_stdin(listen)
    }

    /// The way to its agent.
    pub(super) fn agent_goal(&self) -> Goal {
        Goal::agent(self.board.board_type.boot.is_some())
    }

    /// Whether the board was started by this process alone, and ends with it.
    pub(super) fn is_ours(&self) -> bool {
        self.board.power.ends_with_us()
    }
}

/// Runs a hands-on script in a session with an agent, and tells its outcome.
pub(super) fn with_agent<T>(
    global: &Global,
    name: &str,
    script: impl AsyncFnOnce(&Bench, &lab::Board) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut claimed = claim(global, &BoardWish::named(name))?;
    let board = claimed.board.clone();
    let (goal, is_ours) = (claimed.agent_goal(), claimed.is_ours());
    let observer = narrator();
    claimed.drive(observer, async |bench| {
        bench.cancelable(bench.reach(goal)).await?;
        let outcome = script(bench, &board).await;
        if is_ours {
            bench.shut_down().await;
        }
        outcome
    })?
}

/// Where its images are kept, and how small they are made for its line.
pub(super) fn deployer(global: &Global, board: &lab::Board) -> Deployer {
    Deployer::new(super::images::store(global), board)
}

/// Who tells a person what a command waits for.
pub(super) fn narrator() -> Box<Narrator> {
    Box::new(Narrator::new(report::for_process(false), std::io::stderr().is_terminal()))
}

/// Says what went wrong and returns the exit status.
pub(super) fn fail(fault: &Fault) -> u8 {
    let _ = writeln!(std::io::stderr(), "pumice: {}: {}", fault.class.as_str(), fault.message);
    fault.class.exit_status()
}
