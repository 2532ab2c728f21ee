//! `pumice deploy`: an image onto a partition of a board.

use std::path::Path;

use super::hands_on::{fail, with_agent};
use crate::cli::Global;
use crate::job::spec::Image;
use crate::script::Fault;

/// Deploys and verifies.
pub fn deploy(global: &Global, board: &str, path: &Path, partition: &str) -> u8 {
    let outcome = image(path).and_then(|image| {
        with_agent(global, board, async |bench, _| {
            let action = format!("deploy {partition}");
            let work = bench.deploy(&action, partition, &image);
            bench.cancelable(bench.action(&action, work)).await
        })
    });
    match outcome {
        Ok(deployed) => {
            if global.json {
                let sha256: String =
                    deployed.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
                println!(
                    "{}",
                    serde_json::json!({
                        "partition": partition,
                        "image_bytes": deployed.image_bytes,
                        "sent_bytes": deployed.sent_bytes,
                        "sha256": sha256,
                    })
                );
            } else {
                println!(
                    "{partition} holds {}: {} bytes, {} sent, read back and verified",
                    path.display(),
                    deployed.image_bytes,
                    deployed.sent_bytes
                );
            }
            0
        }
        Err(fault) => fail(&fault),
    }
}

fn image(path: &Path) -> Result<Image, Fault> {
    let failed = |error: std::io::Error| Fault::job(format!("{}: {error}", path.display()));
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Fault::job(format!("{}: not a file", path.display())));
    }
    Ok(Image { path: path.to_owned(), size_bytes: metadata.len(), sha256: None })
}
