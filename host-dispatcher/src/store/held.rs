//! What the partitions of a board hold, as far as this dispatcher knows: `<store>/boards/<board>/<label>.json`.
//!
//! A hint, never a proof: the board's own hashes decide. It says which images to compare them with, so that a partition
//! that nobody touched costs a root hash. A deploy is put on record before its first byte: cut at any moment, the next
//! one knows that the partition holds parts of two images.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::names::distinct_component;
use super::{StoreError, write_whole};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The image that was written last, read back and equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<HeldImage>,
    /// Those whose writing began after that, and of which nobody knows that it ended; the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<HeldImage>,
}

/// An image of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldImage {
    /// SHA-256 of the raw image in hexadecimal: its name in the store.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// When its writing began or ended.
    pub at: Timestamp,
}

impl Held {
    /// Reads what is known; nothing when there is no record, or none that can be read: it is a hint.
    pub fn read(store: &Path, board: &str, label: &str) -> Self {
        let bytes = fs::read(place(store, board, label)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Puts it on record.
    ///
    /// # Errors
    /// A folder or the file cannot be written.
    pub fn write(&self, store: &Path, board: &str, label: &str) -> Result<(), StoreError> {
        let place = place(store, board, label);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(StoreError::of("create", folder))?;
        }
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| StoreError::of("write", &place)(io::Error::other(error)))?;
        json.push(b'\n');
        write_whole(&place, &json)
    }

    /// The writing of an image begins.
    pub fn begin(&mut self, image: HeldImage) {
        self.begun.retain(|begun| begun.sha256 != image.sha256);
        self.begun.insert(0, image);
        self.begun.truncate(BEGUN_MAX);
    }

    /// The images whose parts the partition may hold, the likelier first.
    pub fn candidates(&self) -> impl Iterator<Item = &HeldImage> {
        self.begun.iter().chain(&self.image)
    }
}

/// More than these are cut one after the other on no board that works.
const BEGUN_MAX: usize = 4;

fn place(store: &Path, board: &str, label: &str) -> PathBuf {
    let component = |text| distinct_component(text, 100);
    store.join("boards").join(component(board)).join(component(label) + ".json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_broken_one_is_none() {
        let store = crate::io::test_folder::TestFolder::new();
        let image = |sha256: &str| HeldImage {
            sha256: sha256.into(),
            bytes: 4096,
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        let mut held = Held { image: Some(image("aa")), begun: Vec::new() };
        for sha256 in ["1", "2", "3", "4", "bb", "4"] {
            held.begin(image(sha256));
        }
        held.write(store.path(), "../b", "testrootfs").unwrap();
        assert_eq!(Held::read(store.path(), "../b", "testrootfs"), held);
        assert_eq!(Held::read(store.path(), "b", "testrootfs"), Held::default());
        let sha256s: Vec<&str> = held.candidates().map(|image| image.sha256.as_str()).collect();
        assert_eq!(sha256s, ["4", "bb", "3", "2", "aa"]);
        let place = place(store.path(), "../b", "testrootfs");
        assert!(place.starts_with(store.path().join("boards")));
        fs::write(place, "{").unwrap();
        assert_eq!(Held::read(store.path(), "../b", "testrootfs"), Held::default());
    }
}
