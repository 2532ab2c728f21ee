//! `pumice push` and `pumice pull`: files to a board and from it.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agent_core::wire::response::Stat;
use agent_core::wire::{Method, request};
use sha2::{Digest, Sha256};

use super::hands_on::{fail, with_agent};
use crate::cli::Global;
use crate::job::event::Event;
use crate::script::files::{Outgoing, SHORT_DEADLINE};
use crate::script::get::Incoming;
use crate::script::{Bench, Fault};
use crate::store::WholeFile;

/// Copies a file to a board.
pub fn push(global: &Global, board: &str, local: &Path, remote: &str) -> u8 {
    let outcome = open(local).and_then(|outgoing| {
        let total = outgoing.size;
        // As cp does: into a folder means under the same name.
        let remote = match (remote.ends_with('/'), local.file_name()) {
            (true, Some(name)) => format!("{remote}{}", name.to_string_lossy()),
            _ => remote.to_owned(),
        };
        with_agent(global, board, async |bench, _| {
            let progress = |done| tell_progress(bench, "push", done, total);
            let work = bench.put(&remote, outgoing, progress);
            bench.cancelable(bench.action("push", work)).await
        })
    });
    finish(outcome)
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

/// The file, with its size and digest. It is read twice; one that changes meanwhile is found by the digest.
fn open(path: &Path) -> Result<Outgoing<File>, Fault> {
    let failed = |error: std::io::Error| Fault::job(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Fault::job(format!("{}: not a regular file", path.display())));
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        hash.update(&buffer[..count]);
    }
    file.rewind().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    Ok(Outgoing { reader: file, size, sha256: hash.finalize().into(), mode })
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
