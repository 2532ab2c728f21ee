//! Definitions, and archives with them, from http and https servers.
//!
//! What comes lies in a temporary folder and has bounds in bytes and time. Nothing of it is run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;

use agent_core::time::Duration;
use sha2::{Digest, Sha256};

use super::overlay::Kept;
use crate::image::fetch;
use crate::image::unpack::unpack;
use crate::io::clock;
use crate::store::hexadecimal;

/// A file of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Served {
    /// Its URL.
    pub url: String,
    /// What its SHA-256 must be.
    pub sha256: Option<[u8; 32]>,
}

/// The file, here.
#[derive(Clone, Debug)]
pub struct Download {
    /// It lies in there, and what was unpacked of it.
    pub folder: Kept,
    /// Where it lies.
    pub file: PathBuf,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

impl Served {
    /// What people are shown: without a password.
    pub fn name(&self) -> String {
        fetch::shown(&self.url)
    }

    /// Downloads it.
    ///
    /// # Errors
    /// One line: what the server said, which bound was reached, or that its digest is another.
    pub fn download(&self) -> Result<Download, String> {
        let kept = tempfile::Builder::new()
            .prefix("pumice-url-")
            .tempdir()
            .map_err(|error| format!("no temporary folder for {}: {error}", self.name()))?;
        let deadline = clock::now() + TIME_MAX;
        let mut bound = None;
        let mut progress = |at: u64, total: Option<u64>| {
            if at.max(total.unwrap_or(0)) > BYTES_MAX {
                bound = Some(format!("has more than {} MiB", BYTES_MAX >> 20));
            } else if clock::now() > deadline {
                bound = Some(format!("took more than {} s", TIME_MAX.as_micros() / 1_000_000));
            }
            if bound.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let file = fetch::download(&self.url, kept.path(), &mut progress);
        if let Some(bound) = bound {
            return Err(format!("{} {bound}", self.name()));
        }
        let file = file.map_err(|error| error.to_string())?;
        let sha256 = digest(&file).map_err(|error| format!("{}: {error}", self.name()))?;
        if let Some(wanted) = self.sha256.map(|wanted| hexadecimal(&wanted))
            && wanted != sha256
        {
            let name = self.name();
            return Err(format!("{name} has the SHA-256 {sha256} and not {wanted}"));
        }
        Ok(Download { folder: Kept::new(kept), file, sha256 })
    }
}

impl Download {
    /// Unpacks an archive, unless that was done; where its files lie.
    ///
    /// # Errors
    /// One line: it is none, it is damaged or has too much in it.
    pub fn unpacked(&self, name: &str) -> Result<PathBuf, String> {
        let tree = self.folder.path().join("tree");
        if !tree.is_dir() {
            fs::create_dir(&tree).map_err(|error| format!("failed to unpack {name}: {error}"))?;
            if let Err(error) = unpack(&self.file, name, &tree, self.folder.path(), BYTES_MAX) {
                let _ = fs::remove_dir_all(&tree);
                return Err(error.to_string());
            }
        }
        Ok(tree)
    }
}

fn digest(file: &PathBuf) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(file)?, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

/// As much as an overlay may have, packed and unpacked.
const BYTES_MAX: u64 = 256 << 20;
/// As long as a clone may take.
const TIME_MAX: Duration = Duration::from_secs(600);
