//! Push: a file to the board. A large one by what the board lacks of it, as a deploy plan does it; a small one, or one for
//! an agent that knows no plans, as it is.

use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::deploy::{Deployed, Deployer, Place};
use super::files::Outgoing;
use super::{Bench, Fault};
use crate::definition::overlay::digest;
use crate::image::stored::Wanted;
use crate::job::event::Event;
use crate::store::hexadecimal;

/// From so many bytes on it pays to ask what the board has: the questions cost three round trips and some hundred bytes.
pub const PLAN_MIN_BYTES: u64 = 32 * 1024;

/// What it is called on record.
const PUSH: &str = "push";

impl Bench {
    /// Brings a local file to the path `remote`: there is the old one or the new one, never a part.
    ///
    /// # Errors
    /// The file cannot be read, or the agent's.
    pub async fn push(
        &self,
        deployer: &Deployer,
        local: &Path,
        remote: &str,
    ) -> Result<Deployed, Fault> {
        let (file, bytes, mode) = open(local)?;
        if bytes >= PLAN_MIN_BYTES
            && let Some(old_bytes) = self.plannable_bytes(remote).await
        {
            let place = Place::File { path: remote.to_owned(), mode, old_bytes };
            return self.deploy(deployer, PUSH, place, &Wanted::File(local.to_owned())).await;
        }
        let outgoing = outgoing(file, mode).map_err(|error| unreadable(local, &error))?;
        let (before, total, sha256) = (self.carried(), outgoing.size, outgoing.sha256);
        let progress = |done_bytes| {
            let (action, total_bytes) = (PUSH.to_owned(), Some(total));
            self.tell(Event::ActionProgress { action, done_bytes, total_bytes });
        };
        self.put(remote, outgoing, progress).await?;
        let mut report = Deployed {
            target: remote.to_owned(),
            sha256: hexadecimal(&sha256),
            image_bytes: total,
            plan_bytes: total,
            plans: 1,
            ..Deployed::default()
        };
        report.bytes.sent = total;
        report.count_carried(&before, &self.carried());
        Ok(report)
    }
}

/// The file, its size and its permission bits.
fn open(path: &Path) -> Result<(File, u64, u32), Fault> {
    let failed = |error| unreadable(path, &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Fault::job(format!("{}: not a regular file", path.display())));
    }
    Ok((file, metadata.len(), metadata.permissions().mode() & 0o7777))
}

/// It is read twice; one that changes meanwhile is found by the digest.
fn outgoing(mut file: File, mode: u32) -> io::Result<Outgoing<File>> {
    let (size, sha256) = digest(&mut file)?;
    file.rewind()?;
    Ok(Outgoing { reader: file, size, sha256, mode })
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    Fault::job(format!("{}: {error}", path.display()))
}
