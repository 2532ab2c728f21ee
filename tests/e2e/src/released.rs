//! Agents as they were released: boards out there have them in their images, and today's dispatcher must drive them.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;

/// The released versions, the oldest first.
///
/// # Panics
/// There are none.
pub fn versions() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the released agents are in the repository");
    let names = entries.map(|entry| entry.expect("the folder is readable").file_name());
    let mut versions: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    versions.retain(|name| name.starts_with(|first: char| first.is_ascii_digit()));
    versions.sort_by_key(|version| numbers(version));
    assert!(!versions.is_empty(), "{} has none", folder().display());
    versions
}

/// The agent of a version for an architecture as the kernel names it: `x86_64` or `armv7l`.
///
/// # Panics
/// There is none.
pub fn agent(version: &str, machine: &str) -> Vec<u8> {
    let path = folder().join(version).join(format!("{machine}.xz"));
    let packed = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    XzReader::new(packed, false)
        .read_to_end(&mut bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("agents")
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').filter_map(|number| number.parse().ok()).collect()
}
