//! Files to a board, each with its digest, and listings. Files from a board: [`get`](super::get).

use std::io::Read;

use agent_core::link::Priority;
use agent_core::time::Duration;
use agent_core::wire::record::split_counted;
use agent_core::wire::response::{Entry, Listed, Stat};
use agent_core::wire::{Method, codec, request};
use sha2::{Digest, Sha256};

use super::ask::{Stream, both};
use super::{Bench, Fault};
use crate::board::client::Direction;

/// A transfer may take so long: at 1200 bytes a second that is 50 MB. The job's own timeout is the real bound.
pub const TRANSFER_DEADLINE: Duration = Duration::from_secs(12 * 3600);

/// A request that the agent answers at once.
pub const SHORT_DEADLINE: Duration = Duration::from_secs(30);

/// Credit of a stream that brings a file or a listing, beyond the first: two frames in flight more than a line needs.
pub const READ_WINDOW: usize = 64 * 1024;

/// Bytes of a local file that are read at once.
const PIECE: usize = 16 * 1024;

/// Entries of one listing that are taken: of more, a run directory is not to be brought home over a serial line.
pub const ENTRIES_MAX: usize = 20_000;

/// An entry of a listing; its path is what the board says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Path relative to the listed directory.
    pub path: String,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Size in bytes.
    pub size: u64,
}

/// A file that goes to a board.
#[derive(Debug)]
pub struct Outgoing<R> {
    /// The bytes.
    pub reader: R,
    /// How many.
    pub size: u64,
    /// Their digest.
    pub sha256: [u8; 32],
    /// Permission bits.
    pub mode: u32,
}

impl Bench {
    /// Puts a file on the board: there is the old one or the new one, never a part. `progress` is told the bytes sent.
    ///
    /// # Errors
    /// The agent's, or that of the local file.
    pub async fn put<R: Read>(
        &self,
        path: &str,
        mut file: Outgoing<R>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), Fault> {
        let stream = self.stream(Priority::Bulk, Direction::ToBoard).await?;
        let Outgoing { size, sha256, mode, .. } = file;
        let body = request::Put { path, stream: stream.id, mode, size, sha256: &sha256 };
        let asked = self.start(Method::PUT, &body, &[&stream], TRANSFER_DEADLINE);
        let mut buffer = vec![0; PIECE];
        let mut sent = 0;
        loop {
            let count = file.reader.read(&mut buffer).map_err(|error| {
                stream.reset();
                Fault::job(format!("the file cannot be read: {error}"))
            })?;
            if count == 0 || !stream.write(&buffer[..count]).await {
                break;
            }
            sent += count as u64;
            progress(sent);
        }
        stream.finish().await;
        asked.answer().await.map_err(|fault| fault.about(path))?;
        Ok(())
    }

    /// Puts a small file that is in memory.
    ///
    /// # Errors
    /// The agent's.
    pub async fn put_bytes(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), Fault> {
        let sha256 = Sha256::digest(bytes).into();
        let file = Outgoing { reader: bytes, size: bytes.len() as u64, sha256, mode };
        self.put(path, file, |_| {}).await
    }

    /// Lists a directory of the board, with what is in its directories: at most [`ENTRIES_MAX`] entries, and whether there
    /// are more.
    ///
    /// # Errors
    /// The agent's, or a listing that cannot be one.
    pub async fn list(&self, path: &str) -> Result<(Vec<Listing>, bool), Fault> {
        let stream = self.stream(Priority::Bulk, Direction::FromBoard).await?;
        let body = request::List { path, stream: stream.id, recursive: true };
        let asked = self.start(Method::LIST, &body, &[&stream], TRANSFER_DEADLINE);
        stream.widen(READ_WINDOW);
        let (mut listing, mut is_cut) = (Vec::new(), false);
        let mut rest = Vec::new();
        let receive = async {
            while let Some(piece) = stream.read().await {
                rest.extend_from_slice(&piece);
                let mut used = 0;
                while let Some(item) = split_counted(&rest[used..]) {
                    used += item.len() + 2;
                    let entry: Entry<'_> = codec::decode(item)
                        .map_err(|_| Fault::infrastructure("the agent's listing cannot be read"))?;
                    if listing.len() >= ENTRIES_MAX {
                        stream.reset();
                        is_cut = true;
                        return Ok(());
                    }
                    listing.push(Listing {
                        path: String::from_utf8_lossy(entry.path).into_owned(),
                        is_file: entry.kind == Stat::FILE,
                        is_directory: entry.kind == Stat::DIRECTORY,
                        size: entry.size,
                    });
                }
                rest.drain(..used);
            }
            Ok(())
        };
        let (received, answer) = both(receive, ending(&stream, asked.answer())).await;
        received?;
        if !is_cut {
            let answer = answer.map_err(|fault| fault.about(path))?;
            let _: Listed = answer.read()?;
        }
        Ok((listing, is_cut))
    }
}

/// An answer that is a failure comes without the stream's end: the stream is ended with it.
///
/// # Errors
/// The failure.
pub async fn ending<T>(
    stream: &Stream,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let answer = answer.await;
    if answer.is_err() {
        stream.end();
    }
    answer
}
