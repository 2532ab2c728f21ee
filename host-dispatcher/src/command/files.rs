//! `pumice push` and `pumice pull`: files to a board and from it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agent_core::wire::response::Stat;
use agent_core::wire::{Method, request};

use super::hands_on::{deployer, fail, with_agent};
use crate::cli::Global;
use crate::job::event::Event;
use crate::script::files::SHORT_DEADLINE;
use crate::script::get::Incoming;
use crate::script::{Bench, Fault};
use crate::store::WholeFile;

/// Copies a file to a board: of a large one what the board lacks.
pub fn push(global: &Global, board: &str, local: &Path, remote: &str) -> u8 {
    // As cp does: into a folder means under the same name.
    let remote = match (remote.ends_with('/'), local.file_name()) {
        (true, Some(name)) => format!("{remote}{}", name.to_string_lossy()),
        _ => remote.to_owned(),
    };
    let outcome = with_agent(global, board, async |bench, board| {
        let deployer = deployer(global, board);
        let work = bench.push(&deployer, local, &remote);
        bench.cancelable(bench.action("push", work)).await
    });
    match outcome {
        Ok(pushed) if global.json => println!("{}", serde_json::json!(pushed)),
        Ok(pushed) => println!("{remote} is {}: {pushed}", local.display()),
        Err(fault) => return fail(&fault),
    }
    0
}

/// Copies a file from a board.
pub fn pull(global: &Global, board: &str, remote: &str, local: &Path) -> u8 {
    let place = place_of(remote, local);
    let outcome = with_agent(global, board, async |bench, _| {
        let work = async {
            let body = request::Path { path: remote };
            let answer = bench.ask(Method::STAT, &body, SHORT_DEADLINE).await;
            let stat: Stat = answer.map_err(|fault| fault.about(remote))?.read()?;
            if stat.kind != Stat::FILE {
                return Err(Fault::job(format!("{remote}: not a regular file")));
            }
            let stored = |error: crate::store::StoreError| Fault::job(error.to_string());
            let mut file = Incoming::new(WholeFile::begin(&place).map_err(stored)?);
            let progress = |done| tell_progress(bench, "pull", done, stat.size);
            bench.get(remote, &mut file, progress).await?;
            let mode = file.mode();
            let place = file.into_writer().commit().map_err(stored)?;
            // Only what the owner may do: a board does not hand out set-user-id programs.
            let permissions = fs::Permissions::from_mode(mode & 0o755);
            fs::set_permissions(&place, permissions)
                .map_err(|error| Fault::job(format!("{}: {error}", place.display())))
        };
        bench.cancelable(bench.action("pull", work)).await
    });
    finish(outcome)
}

fn tell_progress(bench: &Bench, action: &str, done_bytes: u64, total: u64) {
    let action = action.to_owned();
    bench.tell(Event::ActionProgress { action, done_bytes, total_bytes: Some(total) });
}

/// Into a folder means under the same name.
fn place_of(remote: &str, local: &Path) -> PathBuf {
    let name = remote.rsplit('/').next().unwrap_or("file");
    if local.is_dir() { local.join(name) } else { local.to_owned() }
}

fn finish(outcome: Result<(), Fault>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}
