//! Whether the disk of the store has room.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Why no job may be begun, if the disk is nearly full.
pub(super) fn shortage(store: &Path) -> Option<String> {
    shortage_below(store, FREE_BYTES_MIN)
}

/// How much of the disk at a path is free for this process.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = statvfs(path)?;
    #[allow(clippy::useless_conversion, reason = "32-bit hosts have smaller numbers there")]
    Ok(u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size())))
}

fn shortage_below(store: &Path, bytes_min: u64) -> Option<String> {
    let free = free_bytes(store).ok()?;
    (free < bytes_min).then(|| {
        format!(
            "the disk of {} has {} MiB left, less than {}: remove runs or images",
            store.display(),
            free >> 20,
            bytes_min >> 20
        )
    })
}

/// A run's logs and a job's images find room for a while.
const FREE_BYTES_MIN: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_the_mend() {
        let here = Path::new("/");
        let why = shortage_below(here, u64::MAX).unwrap();
        assert!(why.starts_with("the disk of / has ") && why.ends_with(": remove runs or images"));
        assert_eq!(shortage_below(here, 0), None);
    }
}
