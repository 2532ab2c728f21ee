//! `pumice hand-over`: another agent in place of the one that runs.

use std::path::Path;

use super::hands_on::{deployer, fail, with_agent};
use crate::cli::Global;

/// Hands over, until the board's next boot.
pub fn hand_over(global: &Global, name: &str, program: &Path) -> u8 {
    let outcome = with_agent(global, name, async |bench, board| {
        let deployer = deployer(global, board);
        let work = bench.hand_over(&deployer, program);
        bench.cancelable(bench.action("hand over", work)).await
    });
    match outcome {
        Ok(handed) if global.json => println!("{}", serde_json::json!(handed)),
        Ok(Some(handed)) => println!("{name} runs {}: {handed}", program.display()),
        Ok(None) => println!("{name} runs {} already", program.display()),
        Err(fault) => return fail(&fault),
    }
    0
}
