//! Finding out what a partition holds with few bytes: its hash tree is compared with the one that it is expected to have,
//! and with that of zeros, from the root down, only below nodes that differ.
//!
//! A clean partition costs the root. What is used costs 8 bytes for each child of a node that differs. Of a board that
//! nobody knows everything that is not zero is asked for, 8 bytes a block.

use std::collections::VecDeque;
use std::fmt;

use agent_core::tree::{FAN_OUT, HASH_LEN, root_level};

use super::state::{State, WIDTH_MIN};
use super::tree::{Tree, ZeroTree};

/// A question: a `block-tree` without its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Level of the nodes.
    pub level: u8,
    /// The first.
    pub first: u32,
    /// How many, not 0.
    pub count: u32,
    /// Bytes of each hash.
    pub width: u8,
}

impl Ask {
    /// Bytes of the answer, at most [`ANSWER_MAX`].
    pub fn answer_len(&self) -> usize {
        self.count as usize * usize::from(self.width)
    }
}

/// Most bytes of an answer: a second of a slow line, and what its owner has memory for.
pub const ANSWER_MAX: usize = 16 * 1024;

/// Compares. Ask what [`next`](Self::next) says, in any number at once, and give back each [`answer`](Self::answer);
/// when there is nothing left to ask and no answer is outstanding, it [is done](Self::is_done).
#[derive(Debug)]
pub struct Compare<'t> {
    expected: Option<&'t Tree>,
    zeros: ZeroTree,
    state: State,
    /// Levels still to be asked for, the highest last.
    levels: Vec<u8>,
    /// The level that is asked for now.
    level: u8,
    asks: VecDeque<Ask>,
    outstanding: Vec<Ask>,
    /// Blocks, as from and to, below nodes of this level that differ.
    differing: Vec<(u32, u32)>,
    received_bytes: u64,
}

impl<'t> Compare<'t> {
    /// Of the first `bytes` bytes (not 0, at most 2³² blocks) of a partition, which may be more or fewer than `expected`
    /// is over. It takes 17 bytes of memory a block, so `bytes` is for the host to choose, not for a board.
    pub fn new(bytes: u64, expected: Option<&'t Tree>) -> Self {
        let state = State::unknown(bytes);
        let root = root_level(state.blocks());
        let mut levels: Vec<u8> = (0..root)
            .filter(|level| match expected {
                Some(_) => nodes(state.blocks(), *level) > FAN_OUT as u64,
                // Of what nobody knows most is asked for anyway: two levels at once, and no question is lost.
                None => level % 2 == 0,
            })
            .collect();
        if root > 0 && levels.is_empty() {
            levels.push(0);
        }
        let asks = VecDeque::from([Ask { level: root, first: 0, count: 1, width: HASH_LEN as u8 }]);
        Self {
            expected,
            zeros: ZeroTree::new(bytes),
            state,
            levels,
            level: root,
            asks,
            outstanding: Vec::new(),
            differing: Vec::new(),
            received_bytes: 0,
        }
    }

    /// The next question. `None` when there is none before the outstanding ones are answered, or at all.
    #[expect(clippy::should_implement_trait, reason = "more may come after None")]
    pub fn next(&mut self) -> Option<Ask> {
        let ask = self.asks.pop_front()?;
        self.outstanding.push(ask);
        Some(ask)
    }

    /// The hashes that were asked for, one after the other.
    ///
    /// # Errors
    /// [`BadAnswer`] for another length than asked for, or for what was not asked. The question stays outstanding.
    pub fn answer(&mut self, ask: &Ask, hashes: &[u8]) -> Result<(), BadAnswer> {
        let at = self.outstanding.iter().position(|one| one == ask).ok_or(BadAnswer::NotAsked)?;
        if hashes.len() != ask.answer_len() {
            return Err(BadAnswer::Length { expected: ask.answer_len(), found: hashes.len() });
        }
        self.outstanding.swap_remove(at);
        self.received_bytes += hashes.len() as u64;
        for (hash, index) in hashes.chunks(ask.width.into()).zip(ask.first..) {
            self.take(ask.level, index, hash);
        }
        if self.asks.is_empty() && self.outstanding.is_empty() {
            self.go_down();
        }
        Ok(())
    }

    /// Whether everything is known that will be.
    pub fn is_done(&self) -> bool {
        self.asks.is_empty() && self.outstanding.is_empty()
    }

    /// Bytes of all answers so far.
    pub const fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// What is known, at any time.
    pub fn into_state(self) -> State {
        self.state
    }

    fn take(&mut self, level: u8, index: u32, hash: &[u8]) {
        let span = span(level, self.state.blocks());
        let start = u64::from(index) * span;
        let end = (start + span).min(self.state.blocks().into());
        let (start, end) = (start as u32, end as u32);
        let is_expected = self.expected(level, index).is_some_and(|node| node.starts_with(hash));
        if is_expected || self.zeros.is_zero(level, index, hash) {
            for block in start..end {
                let leaf = if is_expected {
                    self.expected.and_then(|tree| tree.leaves().get(block as usize))
                } else {
                    self.zeros.node(0, block)
                };
                if let Some(leaf) = leaf {
                    self.state.set(block, leaf);
                }
            }
        } else if level == 0 {
            self.state.set(index, hash);
        } else {
            match self.differing.last_mut() {
                Some((_, last)) if *last == start => *last = end,
                _ => self.differing.push((start, end)),
            }
        }
    }

    /// The expected hash of a node that stands for the same blocks in both trees.
    fn expected(&self, level: u8, index: u32) -> Option<&'t [u8]> {
        let tree = self.expected?;
        let whole = (u64::from(index) + 1) * span(level, u32::MAX) * super::content::offset(1);
        let is_same =
            tree.bytes() == self.state.bytes() || whole <= tree.bytes().min(self.state.bytes());
        tree.nodes(level).get(index as usize).filter(|_| is_same).map(<[u8; HASH_LEN]>::as_slice)
    }

    fn go_down(&mut self) {
        let mut differing = std::mem::take(&mut self.differing);
        differing.sort_unstable();
        let Some(level) = self.levels.pop() else { return };
        self.level = level;
        let span = span(level, self.state.blocks());
        let mut range: Option<(u32, u32)> = None;
        for (start, end) in differing {
            let first = (u64::from(start) / span) as u32;
            let after = u64::from(end).div_ceil(span) as u32;
            match &mut range {
                // A gap is at least 16 nodes: their hashes cost more than one more question.
                Some((_, last)) if first <= *last => *last = after,
                _ => {
                    self.ask(range.replace((first, after)));
                }
            }
        }
        self.ask(range);
    }

    fn ask(&mut self, range: Option<(u32, u32)>) {
        let Some((mut first, after)) = range else { return };
        while first < after {
            let count = (after - first).min((ANSWER_MAX / WIDTH_MIN) as u32);
            self.asks.push_back(Ask { level: self.level, first, count, width: WIDTH_MIN as u8 });
            first += count;
        }
    }
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// Nobody asked.
    NotAsked,
    /// More or fewer bytes than were asked for.
    Length {
        /// Asked for.
        expected: usize,
        /// Given.
        found: usize,
    },
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("hashes that nobody asked for"),
            Self::Length { expected, found } => {
                write!(f, "{found} bytes of hashes where {expected} were asked for")
            }
        }
    }
}

impl std::error::Error for BadAnswer {}

/// Blocks below a node, not more than there are.
fn span(level: u8, blocks: u32) -> u64 {
    (FAN_OUT as u64)
        .pow(level.into())
        .min(u64::from(blocks).next_multiple_of(FAN_OUT as u64))
        .max(1)
}

fn nodes(blocks: u32, level: u8) -> u64 {
    u64::from(blocks).div_ceil((FAN_OUT as u64).pow(level.into()))
}

#[cfg(test)]
mod tests {
    use agent_core::tree::{Hash, leaf, node};
    use agent_core::wire::steps::BLOCK;

    use super::super::content::offset;
    use super::*;

    /// A board's tree over blocks that are numbers, and what it is asked for.
    struct Board {
        levels: Vec<Vec<Hash>>,
        asks: Vec<Ask>,
    }

    impl Board {
        fn new(blocks: &[u32]) -> Self {
            let zero = leaf(&[0; BLOCK]);
            let hash = |block: &u32| if *block == 0 { zero } else { leaf(&block.to_le_bytes()) };
            let mut levels: Vec<Vec<Hash>> = vec![blocks.iter().map(hash).collect()];
            while let Some(below) = levels.last().filter(|below| below.len() > 1) {
                let level = below.chunks(FAN_OUT).map(node).collect();
                levels.push(level);
            }
            Self { levels, asks: Vec::new() }
        }

        /// The tree that a host has of the same blocks.
        fn tree(&self) -> Tree {
            let mut stored = Tree::of(&vec![1]).unwrap().to_bytes();
            stored.truncate(stored.len() - 2 * HASH_LEN - 8);
            stored.extend(offset(self.levels[0].len() as u32).to_le_bytes());
            stored.extend(self.levels.last().unwrap()[0]);
            stored.extend(self.levels[0].as_flattened());
            Tree::from_bytes(&stored).unwrap()
        }

        fn compare(&mut self, expected: Option<&Tree>) -> (State, u64) {
            let mut compare = Compare::new(offset(self.levels[0].len() as u32), expected);
            while !compare.is_done() {
                let asks: Vec<Ask> = std::iter::from_fn(|| compare.next()).collect();
                assert!(!asks.is_empty());
                // Answers may come in any order.
                for ask in asks.iter().rev() {
                    let nodes = &self.levels[usize::from(ask.level)];
                    let hashes: Vec<u8> = nodes[ask.first as usize..][..ask.count as usize]
                        .iter()
                        .flat_map(|hash| &hash[..usize::from(ask.width)])
                        .copied()
                        .collect();
                    assert!(hashes.len() <= ANSWER_MAX);
                    compare.answer(ask, &hashes).unwrap();
                }
                self.asks.extend(asks);
            }
            let bytes = compare.received_bytes();
            (compare.into_state(), bytes)
        }

        fn is_known(&self, state: &State) -> bool {
            self.levels[0].iter().zip(0..).all(|(hash, block)| {
                let known = state.hash(block);
                known.len() >= WIDTH_MIN && hash.starts_with(known)
            })
        }
    }

    fn image(blocks: u32) -> Vec<u32> {
        (0..blocks).map(|block| if block % 1000 > 800 { 0 } else { block + 1 }).collect()
    }

    const PARTITION: u32 = 131_072;

    #[test]
    fn a_clean_partition_costs_its_root() {
        for blocks in [1, 2, 16, 17, 300, PARTITION] {
            let mut board = Board::new(&image(blocks));
            let tree = board.tree();
            let (state, bytes) = board.compare(Some(&tree));
            assert_eq!((bytes, board.asks.len()), (HASH_LEN as u64, 1), "{blocks}");
            assert_eq!(state, State::of(&tree));
        }
    }

    #[test]
    fn an_empty_partition_costs_its_root() {
        let mut board = Board::new(&vec![0; PARTITION as usize]);
        let other = Board::new(&image(PARTITION)).tree();
        for expected in [None, Some(&other)] {
            let (state, bytes) = board.compare(expected);
            assert_eq!(bytes, HASH_LEN as u64);
            assert!(board.is_known(&state));
        }
    }

    /// As many blocks as were changed on a file system that was booted and written to: in clusters.
    #[test]
    fn a_used_partition_costs_little() {
        let mut blocks = image(PARTITION);
        let tree = Board::new(&blocks).tree();
        let (mut changed, mut at) = (0, 77);
        for length in [2050, 600, 300, 110].into_iter().chain([6; 30]).chain([3]) {
            blocks[at..at + length].iter_mut().for_each(|block| *block += PARTITION);
            changed += length;
            at += length + 2501;
        }
        assert_eq!(changed, 3243);
        let mut board = Board::new(&blocks);
        let (state, bytes) = board.compare(Some(&tree));
        assert!(board.is_known(&state));
        assert!(bytes <= 43_000, "{bytes}");
        assert!(board.asks.len() <= 2 + 4 * 50, "{}", board.asks.len());
    }

    #[test]
    fn what_nobody_knows_is_asked_for_where_it_is_not_zero() {
        let mut blocks = vec![0; PARTITION as usize];
        blocks[5000..9000].iter_mut().zip(1..).for_each(|(block, number)| *block = number);
        let mut board = Board::new(&blocks);
        let (state, bytes) = board.compare(None);
        assert!(board.is_known(&state));
        assert!(bytes <= 16 + 512 * 8 + (4000 + 2 * 256) * 8, "{bytes}");
    }

    #[test]
    fn another_size_than_expected_is_compared_as_far_as_it_goes() {
        let all = image(5000);
        for (there, expected) in [(5000, 4321), (4321, 5000), (5000, 3), (3, 5000), (256, 4096)] {
            let mut board = Board::new(&all[..there]);
            let tree = Board::new(&all[..expected]).tree();
            let (state, bytes) = board.compare(Some(&tree));
            assert!(board.is_known(&state), "{there} {expected}");
            let beyond = there.saturating_sub(expected) as u64;
            assert!(bytes <= 16 + 8 * (beyond + beyond / 8 + 6 * 32), "{there} {expected} {bytes}");
        }
    }

    #[test]
    fn wrong_answers_are_refused() {
        let mut compare = Compare::new(offset(100), None);
        let ask = compare.next().unwrap();
        assert_eq!(compare.next(), None);
        let wrong = BadAnswer::Length { expected: 16, found: 15 };
        assert_eq!(compare.answer(&ask, &[0; 15]), Err(wrong));
        assert_eq!(compare.answer(&Ask { first: 1, ..ask }, &[0; 16]), Err(BadAnswer::NotAsked));
        compare.answer(&ask, &[0; 16]).unwrap();
        assert_eq!(compare.answer(&ask, &[0; 16]), Err(BadAnswer::NotAsked));
        assert!(!compare.is_done());
    }
}
