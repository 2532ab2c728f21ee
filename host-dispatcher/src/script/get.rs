//! Files from a board: packed where the agent can, gone on with after a lost session, and whole by their digest.

use std::io::Write;

use agent_core::link::Priority;
use agent_core::time::Duration;
use agent_core::wire::response::{Got, Hash};
use agent_core::wire::{Method, request};
use sha2::{Digest, Sha256};

use super::ask::both;
use super::files::{READ_WINDOW, TRANSFER_DEADLINE, ending};
use super::unpack::Unpacker;
use super::{Bench, Fault};
use crate::board::client::Direction;

/// A board reads and hashes 10 MB a second or more: as much as a file of a run may have.
const HASH_DEADLINE: Duration = Duration::from_secs(600);

/// So often a transfer goes on after its session was lost.
const RESUMES_MAX: u32 = 5;

/// A file on its way home: where it goes, and what is there so far.
#[derive(Debug)]
pub struct Incoming<W> {
    writer: W,
    hash: Sha256,
    bytes: u64,
    line_bytes: u64,
    mode: u32,
}

impl<W: Write> Incoming<W> {
    /// Nothing yet.
    pub fn new(writer: W) -> Self {
        Self { writer, hash: Sha256::new(), bytes: 0, line_bytes: 0, mode: 0 }
    }

    /// The next bytes, from wherever they come.
    ///
    /// # Errors
    /// The writer's.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.writer
            .write_all(bytes)
            .map_err(|error| Fault::infrastructure(format!("failed to write: {error}")))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Where it went.
    pub fn into_writer(self) -> W {
        self.writer
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that came over the line for it, packed as they were.
    pub fn line_bytes(&self) -> u64 {
        self.line_bytes
    }

    /// Permission bits, once it has been fetched.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// The digest of what is there so far.
    pub fn sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

impl Bench {
    /// Gets what `file` does not have yet of a file of the board, from there to its end. When the session is lost and the
    /// same agent comes back, it goes on where it was. At the end the whole is known to be what the agent read, and if it
    /// was read in parts, what the board's file is then. `progress` is told the bytes that are there.
    ///
    /// # Errors
    /// The agent's, that of the writer, or a digest that differs: the file was changed meanwhile.
    pub async fn get<W: Write>(
        &self,
        path: &str,
        file: &mut Incoming<W>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), Fault> {
        let mut is_in_parts = file.bytes > 0;
        for attempt in 0.. {
            let sessions = self.sessions();
            let Err((fault, asked)) = self.get_rest(path, file, &mut progress).await else { break };
            let is_lost = self.sessions() != sessions || !self.board(|board, _| board.is_up());
            let Some(asked) = asked.filter(|_| is_lost && attempt < RESUMES_MAX) else {
                return Err(fault);
            };
            if !asked.is_agent_back().await {
                return Err(fault);
            }
            is_in_parts = true;
        }
        if !is_in_parts {
            return Ok(());
        }
        let why = match self.prefix(path, file.bytes, &file.sha256()).await? {
            Some(true) => return Ok(()),
            Some(false) => "it was changed while it was read",
            None => {
                "it came in parts, and this agent cannot tell whether it was changed meanwhile: get it again"
            }
        };
        Err(Fault::infrastructure(format!("{path}: {why}")))
    }

    /// Whether a file of the board begins with so many bytes of this digest; `false` also from an agent that cannot tell.
    ///
    /// # Errors
    /// The end of the session for good.
    pub async fn has_prefix(
        &self,
        path: &str,
        length: u64,
        sha256: &[u8; 32],
    ) -> Result<bool, Fault> {
        Ok(self.prefix(path, length, sha256).await?.unwrap_or(false))
    }

    /// The same; `None` from an agent that cannot tell.
    async fn prefix(
        &self,
        path: &str,
        length: u64,
        sha256: &[u8; 32],
    ) -> Result<Option<bool>, Fault> {
        let body = request::FileHash { path, offset: 0, length };
        match self.ask_if_known(Method::FILE_HASH, &body, HASH_DEADLINE).await {
            Ok(Some(answer)) => Ok(Some(answer.read::<Hash<'_>>()?.sha256 == sha256)),
            Ok(None) => Ok(None),
            // Shorter than that, or gone.
            Err(_) if self.board(|board, _| board.is_up()) => Ok(Some(false)),
            Err(fault) => Err(fault),
        }
    }

    async fn get_rest<W: Write>(
        &self,
        path: &str,
        file: &mut Incoming<W>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), (Fault, Option<super::ask::Asked>)> {
        for method in [Method::GET_PACKED, Method::GET] {
            if self.get_by(method, path, file, progress).await? {
                return Ok(());
            }
        }
        Err((Fault::infrastructure("the agent knows no way to send a file"), None))
    }

    /// Whether the agent knows the method.
    async fn get_by<W: Write>(
        &self,
        method: Method,
        path: &str,
        file: &mut Incoming<W>,
        progress: &mut impl FnMut(u64),
    ) -> Result<bool, (Fault, Option<super::ask::Asked>)> {
        let opened = self.stream(Priority::Bulk, Direction::FromBoard).await;
        let stream = opened.map_err(|fault| (fault, None))?;
        let body = request::Get { path, stream: stream.id, offset: file.bytes };
        let asked = self.start(method, &body, &[&stream], TRANSFER_DEADLINE);
        stream.widen(READ_WINDOW);
        let mut unpacker = (method == Method::GET_PACKED).then(Unpacker::new);
        let (mut hash, begun) = (Sha256::new(), file.bytes);
        let receive = async {
            while let Some(piece) = stream.read().await {
                file.line_bytes += piece.len() as u64;
                let mut take = |bytes: &[u8]| {
                    hash.update(bytes);
                    file.take(bytes)
                };
                let taken = match &mut unpacker {
                    Some(unpacker) => unpacker.push(&piece, &mut take),
                    None => take(&piece),
                };
                if let Err(fault) = taken {
                    stream.reset();
                    return Err(fault);
                }
                progress(file.bytes);
            }
            Ok(())
        };
        let answer = async {
            let answer = asked.answer_if_known().await;
            if matches!(answer, Ok(None)) {
                stream.end();
            }
            answer
        };
        let (received, answer) = both(receive, ending(&stream, answer)).await;
        let outcome = received.and_then(|()| {
            let Some(answer) = answer.map_err(|fault| fault.about(path))? else { return Ok(false) };
            let got: Got<'_> = answer.read()?;
            let bytes = file.bytes - begun;
            if got.bytes != bytes || got.sha256 != hash.finalize().as_slice() {
                let message =
                    format!("{path}: what arrived is not what the agent read ({bytes} bytes)");
                return Err(Fault::infrastructure(message));
            }
            file.mode = got.mode;
            Ok(true)
        });
        outcome.map_err(|fault| (fault, Some(asked)))
    }
}
