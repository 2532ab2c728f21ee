//! Which files of an ext2, ext3 or ext4 image blocks belong to, as `debugfs` says. For people: a plan needs no files.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use agent_core::wire::steps::{BLOCK, Extent};
use serde::Serialize;

use super::ext4::{EPOCH, tool};

/// So many bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilePart {
    /// Its path in the image.
    pub path: String,
    /// Bytes of it that are meant, in whole blocks, about.
    pub bytes: u64,
}

/// The files that most of the blocks are of, at most [`FILES_MAX`], those with most bytes first. None of what is no such
/// file system, of blocks of no file, and on a host without `debugfs`.
pub fn of_blocks(image: &Path, extents: &[Extent]) -> Vec<FilePart> {
    find(image, extents).unwrap_or_default()
}

/// Most files that are told.
pub const FILES_MAX: usize = 8;

fn find(image: &Path, extents: &[Extent]) -> Option<Vec<FilePart>> {
    // Blocks of the file system may be smaller than ours.
    let scale = BLOCK as u64 / block_bytes(&File::open(image).ok()?)?;
    let samples = samples(extents);
    let blocks = samples.iter().map(|(block, _)| (u64::from(*block) * scale).to_string());
    let found = ask(image, "icheck", blocks)?;
    let inodes: HashMap<u64, u64> = pairs(&found)
        .filter_map(|(block, inode)| Some((block.parse().ok()?, inode.parse().ok()?)))
        .collect();
    let mut bytes: HashMap<u64, u64> = HashMap::new();
    for (block, blocks) in samples {
        if let Some(inode) = inodes.get(&(u64::from(block) * scale)) {
            *bytes.entry(*inode).or_default() += u64::from(blocks) * BLOCK as u64;
        }
    }
    let names = ask(image, "ncheck", bytes.keys().map(u64::to_string))?;
    let mut files: Vec<FilePart> = pairs(&names)
        .filter_map(|(inode, path)| {
            let bytes = *bytes.get(&inode.parse().ok()?)?;
            // The top's are told with two slashes.
            Some(FilePart { path: format!("/{}", path.trim_start_matches('/')), bytes })
        })
        .collect();
    files.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.path.cmp(&other.path)));
    files.truncate(FILES_MAX);
    Some(files)
}

/// Bytes of a block, from the superblock (`Documentation/filesystems/ext4/super.rst`).
fn block_bytes(image: &File) -> Option<u64> {
    let mut superblock = [0; 60];
    image.read_exact_at(&mut superblock, 1024).ok()?;
    let [.., low, high, _, _] = superblock;
    let log = u32::from_le_bytes(*superblock[24..].first_chunk()?);
    (u16::from_le_bytes([low, high]) == 0xEF53 && log <= 2).then(|| 1024 << log)
}

/// Blocks here and there, and how many each stands for.
fn samples(extents: &[Extent]) -> Vec<(u32, u32)> {
    let all: u64 = extents.iter().map(|extent| u64::from(extent.count)).sum();
    let step = u32::try_from(all.div_ceil(SAMPLES_MAX)).unwrap_or(u32::MAX).max(1);
    let (mut samples, mut due) = (Vec::new(), 0);
    for Extent { first, count } in extents {
        while due < *count {
            samples.push((first + due, step));
            due += step;
        }
        due -= count;
    }
    samples
}

fn ask(image: &Path, what: &str, numbers: impl Iterator<Item = String>) -> Option<String> {
    let numbers: Vec<String> = numbers.collect();
    if numbers.is_empty() {
        return None;
    }
    let request = format!("{what} {}", numbers.join(" "));
    let output = tool("debugfs", &EPOCH.to_string()).arg("-R").arg(request).arg(image).output();
    Some(String::from_utf8_lossy(&output.ok()?.stdout).into_owned())
}

/// The rows of its tables; the heading is one without numbers.
fn pairs(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table.lines().filter_map(|line| line.split_once('\t'))
}

/// Each is a word of a command.
const SAMPLES_MAX: u64 = 512;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::ext4::{Ext4, make};
    use super::super::tree::of_folder;
    use super::*;

    #[test]
    fn files_are_named_by_their_blocks() {
        let folder = crate::io::test_folder::TestFolder::new();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("boot")).unwrap();
        let noise = |seed: u32, length: u32| -> Vec<u8> {
            (0..length).flat_map(|n| n.wrapping_mul(seed).rotate_left(9).to_le_bytes()).collect()
        };
        fs::write(top.join("boot/a kernel"), noise(2_654_435_761, 500_000)).unwrap();
        fs::write(top.join("small"), noise(40_503, 50_000)).unwrap();
        let image = folder.path().join("image");
        let options = Ext4 { label: "x".into(), bytes: Some(8 << 20), is_root: false, epoch: None };
        make(&of_folder(&top).unwrap(), &options, &image, folder.path()).unwrap();
        let files = of_blocks(&image, &[Extent { first: 0, count: 2048 }]);
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths[..2], ["/boot/a kernel", "/small"], "{files:?}");
        assert!(files[0].bytes.abs_diff(2_000_000) < 50_000, "{files:?}");
        assert_eq!(of_blocks(&image, &[]), []);
        fs::write(&image, vec![0; 100_000]).unwrap();
        assert_eq!(of_blocks(&image, &[Extent { first: 0, count: 10 }]), []);
        assert_eq!(of_blocks(Path::new("/nowhere"), &[Extent { first: 0, count: 10 }]), []);
    }

    #[test]
    fn samples_stand_for_all_blocks() {
        let extents = [(0, 1), (10, 5000), (9000, 3)].map(|(first, count)| Extent { first, count });
        let samples = samples(&extents);
        assert!(samples.len() <= SAMPLES_MAX as usize);
        assert_eq!(samples[..3], [(0, 10), (19, 10), (29, 10)]);
        assert!(samples.iter().map(|(_, count)| count).sum::<u32>().abs_diff(5004) < 10);
    }
}
