//! `pumice bootstrap`: an agent on a board that has none, through the shell on its console.

use super::hands_on::{claim, fail, narrator};
use crate::cli::{BootstrapArgs, Global};
use crate::config::lab::BoardWish;
use crate::script::Fault;

/// Puts it there, unless one answers already, and leaves it running.
pub fn bootstrap(global: &Global, args: &BootstrapArgs) -> u8 {
    match try_bootstrap(global, args) {
        Ok(text) => {
            if global.json {
                println!("{}", serde_json::json!({"board": args.board, "bootstrap": text}));
            } else {
                println!("{}: {}", args.board, text.as_deref().unwrap_or("an agent runs already"));
            }
            0
        }
        Err(fault) => fail(&fault),
    }
}

fn try_bootstrap(global: &Global, args: &BootstrapArgs) -> Result<Option<String>, Fault> {
    let mut claimed = claim(global, &BoardWish::named(&args.board))?;
    let mut shell = claimed.board.shell.clone().unwrap_or_default();
    shell.agent = args.agent.clone().or(shell.agent);
    shell.login = args.login.clone().or(shell.login);
    shell.password_file = args.password_file.clone().or(shell.password_file);
    claimed.board.shell = Some(shell);
    let goal = claimed.agent_goal();
    claimed.drive(narrator(), async |bench| {
        bench.cancelable(bench.reach(goal)).await?;
        Ok(bench.bootstrapped())
    })?
}
