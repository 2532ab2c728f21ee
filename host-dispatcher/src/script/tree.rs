//! What a partition of the board holds, by the hashes of its tree.

use agent_core::link::Priority;
use agent_core::wire::response::BlockTree;
use agent_core::wire::{Method, request};

use super::ask::both;
use super::files::{READ_WINDOW, TRANSFER_DEADLINE};
use super::{Bench, Fault};
use crate::board::client::Direction;
use crate::deploy::compare::{Ask, Compare};
use crate::deploy::plan::Limits;
use crate::deploy::state::State;
use crate::deploy::tree::Tree;

/// What was found out.
#[derive(Debug)]
pub struct Compared {
    /// The hashes of its blocks.
    pub state: State,
    /// Bytes of hashes that the board sent.
    pub hash_bytes: u64,
    /// What the agent has memory for.
    pub limits: Limits,
}

impl Compared {
    /// Of what is not there.
    pub fn nothing() -> Self {
        Self { state: State::unknown(0), hash_bytes: 0, limits: Limits::default() }
    }
}

impl Bench {
    /// Compares the first `bytes` bytes of the partition `label` with what is expected there, or finds out all of it.
    ///
    /// # Errors
    /// The agent's; hashes that are none.
    pub async fn compare_blocks(
        &self,
        label: &str,
        bytes: u64,
        expected: Option<&Tree>,
    ) -> Result<Compared, Fault> {
        let mut compare = Compare::new(bytes, expected);
        let mut limits = Limits::default();
        while let Some(ask) = compare.next() {
            let (hashes, tree) =
                self.hashes(label, bytes, ask, false).await?.ok_or_else(too_old)?;
            limits.bin_max = limits.bin_max.max(tree.bin_max as usize);
            limits.dictionary_max = limits.dictionary_max.max(tree.dictionary_max as usize);
            compare
                .answer(&ask, &hashes)
                .map_err(|error| Fault::infrastructure(format!("the agent's hashes: {error}")))?;
        }
        let hash_bytes = compare.received_bytes();
        Ok(Compared { state: compare.into_state(), hash_bytes, limits })
    }

    /// Reads the partition back from the device and returns the blocks that differ from the image, as first block and
    /// number; none when the root of its tree is the image's.
    ///
    /// # Errors
    /// As for [`Bench::compare_blocks`].
    pub async fn differences(&self, label: &str, image: &Tree) -> Result<Vec<(u32, u32)>, Fault> {
        if self.has_root(label, image).await? {
            return Ok(Vec::new());
        }
        let found = self.compare_blocks(label, image.bytes(), Some(image)).await?;
        let mut differing: Vec<(u32, u32)> = Vec::new();
        for (block, leaf) in (0..).zip(image.leaves()) {
            if leaf.starts_with(found.state.hash(block)) {
                continue;
            }
            match differing.last_mut() {
                Some((first, count)) if *first + *count == block => *count += 1,
                _ => differing.push((block, 1)),
            }
        }
        // The root is of other bytes, and no block is: one changed between two readings.
        if differing.is_empty() {
            differing.push((0, image.blocks()));
        }
        Ok(differing)
    }

    /// Whether what is read from the device has the root of the image's tree.
    ///
    /// # Errors
    /// As for [`Bench::compare_blocks`].
    pub async fn has_root(&self, target: &str, image: &Tree) -> Result<bool, Fault> {
        let level = agent_core::tree::root_level(image.blocks());
        let ask = Ask { level, first: 0, count: 1, width: agent_core::tree::HASH_LEN as u8 };
        let found = self.hashes(target, image.bytes(), ask, true).await?;
        let (root, _) = found.ok_or_else(too_old)?;
        Ok(root == image.root())
    }

    /// Bytes of the file at a path of the board, 0 if there is none that can be read; `None` from an agent that knows no
    /// deploy plans.
    pub async fn plannable_bytes(&self, path: &str) -> Option<u64> {
        let ask = Ask { level: 0, first: 0, count: 1, width: agent_core::tree::HASH_LEN as u8 };
        match self.hashes(path, 0, ask, false).await {
            Ok(found) => found.map(|(_, tree)| tree.size),
            Err(_) => Some(0),
        }
    }

    /// `None` from an agent that does not know the method.
    async fn hashes(
        &self,
        target: &str,
        bytes: u64,
        ask: Ask,
        is_fresh: bool,
    ) -> Result<Option<(Vec<u8>, BlockTree)>, Fault> {
        let stream = self.stream(Priority::Bulk, Direction::FromBoard).await?;
        let Ask { level, first, count, width } = ask;
        let stream_id = stream.id;
        let body = request::BlockTree {
            target,
            stream: stream_id,
            bytes,
            level,
            first,
            count,
            width,
            is_fresh,
        };
        let asked = self.start(Method::BLOCK_TREE, &body, &[&stream], TRANSFER_DEADLINE);
        stream.widen(READ_WINDOW);
        let mut hashes = Vec::new();
        let receive = async {
            while let Some(piece) = stream.read().await {
                hashes.extend_from_slice(&piece);
                if hashes.len() > ask.answer_len() {
                    return stream.reset();
                }
            }
        };
        let answer = async {
            let answer = asked.answer_if_known().await;
            // Without an answer that goes with it the stream has no end.
            if !matches!(answer, Ok(Some(_))) {
                stream.end();
            }
            answer
        };
        let ((), answer) = both(receive, answer).await;
        let Some(answer) = answer.map_err(|fault| fault.about(target))? else { return Ok(None) };
        let tree: BlockTree = answer.read()?;
        Ok(Some((hashes, tree)))
    }
}

/// Of an agent that knows no deploy plans.
pub(super) fn too_old() -> Fault {
    Fault::infrastructure(
        "the agent of the master image is too old to deploy: bake the master image anew with the current agent",
    )
}
