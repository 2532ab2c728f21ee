//! `pumice power` and `pumice reboot`.

use super::hands_on::{claim, fail, narrator, with_agent};
use crate::board::{Goal, Phase};
use crate::cli::Global;
use crate::config::connection::PowerOperation;
use crate::config::lab::BoardWish;
use crate::script::{Bench, Fault};

/// Switches a board's power, and waits for the board to show it where its type says how.
pub fn power(global: &Global, board: &str, operation: PowerOperation) -> u8 {
    match try_power(global, board, operation) {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

fn try_power(global: &Global, name: &str, operation: PowerOperation) -> Result<(), Fault> {
    let mut claimed = claim(global, &BoardWish::named(name))?;
    if claimed.is_ours() && operation == PowerOperation::On {
        return Err(Fault::job(format!(
            "the power of {name} ends with this program; every command that needs it switches it on"
        )));
    }
    let goal = claimed.agent_goal();
    let observer = narrator();
    claimed.drive(observer, async |bench| bench.switch_power(operation, goal).await)?
}

/// Reboots a board through its agent, and waits until an agent is back.
pub fn reboot(global: &Global, board: &str) -> u8 {
    let outcome = with_agent(global, board, async |bench, lab| {
        let goal = match lab.board_type.boot {
            Some(_) => Goal::BootLoader,
            None => Goal::AnyUp,
        };
        let work = async {
            if goal == Goal::AnyUp {
                return restart_without_boot_loader(bench).await;
            }
            let up = bench.board(|board, _| board.goal()).unwrap_or(Goal::AnyUp);
            bench.reach(goal).await?;
            bench.reach(up).await
        };
        bench.cancelable(bench.action("reboot", work)).await
    });
    match outcome {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

async fn restart_without_boot_loader(bench: &Bench) -> Result<(), Fault> {
    use agent_core::wire::{Method, request};
    let sessions = bench.sessions();
    let body = request::Reboot { how: request::Reboot::RESTART };
    bench.ask(Method::REBOOT, &body, crate::script::files::SHORT_DEADLINE).await?;
    bench
        .until(|| {
            let phase = bench.board(|board, _| board.phase());
            match phase {
                Phase::Broken(cause) => Some(Err(Fault::infrastructure(cause.to_string()))),
                Phase::Up(_) if bench.sessions() > sessions => Some(Ok(())),
                _ => None,
            }
        })
        .await
}
