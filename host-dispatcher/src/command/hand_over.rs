//! `pumice hand-over`: another agent in place of the one that runs.

use std::path::Path;

use super::hands_on::{deployer, fail, with_agent};
use crate::cli::Global;

/// Hands over, until the board's next boot, or for good.
pub fn hand_over(global: &Global, name: &str, program: &Path, persist: bool) -> u8 {
    let outcome = with_agent(global, name, async |bench, board| {
        let deployer = deployer(global, board);
        let work = async {
            if persist {
                let (handed, persisted) = bench.hand_over_for_good(&deployer, program).await?;
                return Ok((handed.deployed, Some(persisted)));
            }
            Ok((bench.hand_over(&deployer, program).await?.deployed, None))
        };
        bench.cancelable(bench.action("hand over", work)).await
    });
    let (handed, persisted) = match outcome {
        Ok(outcome) => outcome,
        Err(fault) => return fail(&fault),
    };
    if global.json {
        let mut told = serde_json::json!(handed);
        if let Some(persisted) = persisted {
            if told.is_null() {
                told = serde_json::json!({});
            }
            told["persisted"] = serde_json::json!(persisted);
        }
        println!("{told}");
        return 0;
    }
    match handed {
        Some(handed) => println!("{name} runs {}: {handed}", program.display()),
        None => println!("{name} runs {} already", program.display()),
    }
    if let Some(persisted) = persisted {
        println!("{persisted}");
    }
    0
}
