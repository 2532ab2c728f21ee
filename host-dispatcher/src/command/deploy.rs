//! `pumice deploy`: an image onto a partition of a board.

use std::path::Path;

use super::hands_on::{deployer, fail, with_agent};
use crate::cli::Global;
use crate::image::stored::Wanted;
use crate::image::take::ImageSource;
use crate::script::deploy::Place;

/// Deploys and verifies; or says what it would send.
pub fn deploy(global: &Global, board: &str, path: &Path, partition: &str, is_dry: bool) -> u8 {
    let source = ImageSource::of_text(&path.to_string_lossy(), partition);
    let wanted = Wanted::Source(Box::new(source));
    let outcome = with_agent(global, board, async |bench, board| {
        let (action, deployer) = (format!("deploy {partition}"), deployer(global, board));
        let place = Place::partition(partition);
        if is_dry {
            let work = bench.forecast(&deployer, &action, place, &wanted);
            return bench.cancelable(bench.action(&action, work)).await;
        }
        let work = bench.deploy(&deployer, &action, place, &wanted);
        bench.cancelable(bench.action(&action, work)).await
    });
    match outcome {
        Ok(deployed) if global.json => println!("{}", serde_json::json!(deployed)),
        Ok(deployed) if is_dry => {
            println!("{partition} would become {}: {deployed}", path.display())
        }
        Ok(deployed) => println!("{partition} holds {}: {deployed}", path.display()),
        Err(fault) => return fail(&fault),
    }
    0
}
