//! What else of the board a deploy may read from: another partition, or a file of the master image that the lab names for
//! this, if it holds an image which this dispatcher brought there, and that has enough of what is wanted. Its hashes are
//! compared with that image, which costs a root where nobody touched it.

use std::collections::HashSet;

use agent_core::tree::Hash;

use super::Bench;
use super::deploy::{Deployer, Place, Work};
use super::inject::TEST_ROOTFS;
use crate::deploy::state::{State, WIDTH_MIN};
use crate::image::stored::StoredImage;
use crate::store::held::Held;

/// A partition or a file, and the image that it held last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// Its label, or its path.
    pub label: String,
    /// SHA-256 of the raw image in hexadecimal.
    pub sha256: String,
}

/// Sources of a plan from number 1 on.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Their labels, each ended by a NUL.
    pub(super) labels: Vec<u8>,
    /// What they hold.
    pub(super) states: Vec<State>,
}

/// The partitions that a deploy writes. The master image is mounted, and no source while it is.
const PARTITIONS: [&str; 2] = [TEST_ROOTFS, "testboot"];

/// So many blocks must be there and nowhere nearer: the board reads all of the partition to tell its root, if it has not
/// done that already.
const BLOCKS_MIN: usize = 256;

/// Partitions and files beside this place whose images are known. Of files only those that hold images are worth it: what a
/// partition holds is copied there on the board.
pub(super) fn others(deployer: &Deployer, place: &Place) -> Vec<Other> {
    let files = &deployer.image_files;
    match place {
        Place::Partition { .. } => {}
        Place::File { path, .. } if files.contains(path) => {}
        Place::File { .. } | Place::Program { .. } => return Vec::new(),
    }
    let held = |label: &str| {
        let image = Held::read(&deployer.store, &deployer.board, label).image?;
        Some(Other { label: label.to_owned(), sha256: image.sha256 })
    };
    let all = PARTITIONS.into_iter().chain(files.iter().map(String::as_str));
    all.filter(|label| *label != place.name()).filter_map(held).collect()
}

impl Bench {
    /// Compares those that are worth it, beside what is `here`.
    pub(super) async fn other_sources(&self, work: &mut Work, here: &State) -> Sources {
        let mut sources = Sources::default();
        for other in work.others.clone() {
            let Some(image) = work.image(&other.sha256) else { continue };
            if blocks_of(&image, &work.target, here) < BLOCKS_MIN {
                continue;
            }
            // One that is not there, or cannot be read, is none.
            let bytes = image.tree.bytes();
            if let Ok(found) = self.compare_blocks(&other.label, bytes, Some(&image.tree)).await {
                work.report.hash_bytes += found.hash_bytes;
                sources.labels.extend_from_slice(other.label.as_bytes());
                sources.labels.push(0);
                sources.states.push(found.state);
            }
        }
        sources
    }
}

/// Blocks of the target that the image has, and that are not here.
fn blocks_of(image: &StoredImage, target: &StoredImage, here: &State) -> usize {
    let near: HashSet<&[u8]> =
        (0..here.blocks()).filter_map(|block| here.hash(block).get(..WIDTH_MIN)).collect();
    let far: HashSet<&Hash> = image.tree.leaves().iter().collect();
    (0..)
        .zip(target.tree.leaves())
        .filter(|(block, leaf)| !target.tree.is_zero(*block) && far.contains(leaf))
        .filter(|(_, leaf)| !near.contains(&leaf[..WIDTH_MIN]))
        .count()
}
