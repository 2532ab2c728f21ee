//! Mounting partitions below the agent's own directory, and copying the agent into one.

use crate::files;
use crate::options::is_plain_name;
use crate::partitions::{Kind, Partitions, is_mount_point, mount_table};
use crate::problem::{Outcome, Problem, about};
use crate::sys::path as paths;
use crate::sys::{directory, disk, file, program};
use agent_core::wire::{FailureKind, request};

/// Mounts a partition, or changes whether its mount is read-only, and returns where.
pub(crate) fn mount(
    root: &str,
    partitions: &Partitions,
    wanted: &request::Mount<'_>,
) -> Outcome<String> {
    let partition = partitions.find(wanted.label)?;
    match partition.kind {
        Kind::Directory => return Ok(partition.path),
        Kind::File => {
            return Err(Problem::refused("a partition given as a file cannot be mounted"));
        }
        Kind::Device => {}
    }
    let place = place(root, wanted.label)?;
    let device = partition.path.as_str();
    if is_mount_point(&mount_table(), &place) {
        let again = disk::mount(device, &place, "", wanted.read_only, true, "");
        return again.map(|()| place).map_err(about(device));
    }
    directory::make_all(&place).map_err(about(&place))?;
    let mut problem = Problem::refused("no file system that the kernel knows");
    let only = [wanted.fs_type];
    let kinds = if wanted.fs_type.is_empty() { &FILE_SYSTEMS[..] } else { &only };
    for kind in kinds {
        let data = if wanted.no_replay { no_replay(kind) } else { "" };
        match disk::mount(device, &place, kind, wanted.read_only, false, data) {
            Ok(()) => return Ok(place),
            Err(error) => {
                problem = Problem::os(error, device);
                if !disk::is_other_kind(error) {
                    break;
                }
            }
        }
    }
    // The directory is of no use without a mount.
    let _ = paths::remove_directory(&place);
    Err(problem)
}

/// The option by which a file system leaves its journal alone (the kernel's Documentation/filesystems and
/// admin-guide/xfs.rst).
fn no_replay(kind: &str) -> &'static str {
    match kind {
        "ext4" | "ext3" => "noload",
        "xfs" => "norecovery",
        "btrfs" => "rescue=nologreplay",
        _ => "",
    }
}

/// Writes out and unmounts what [`mount`] mounted; done is done.
pub(crate) fn unmount(root: &str, partitions: &Partitions, label: &str) -> Outcome<()> {
    let Some(place) = mounted_at(root, partitions, label)? else { return Ok(()) };
    let synced = file::open(&place.path, file::READ).and_then(|file| disk::sync_file_system(&file));
    synced.map_err(about(&place.path))?;
    if place.is_ours {
        disk::unmount(&place.path).map_err(about(&place.path))?;
        // A directory that stays is used by the next mount.
        let _ = paths::remove_directory(&place.path);
    }
    Ok(())
}

/// Copies this program into a mounted partition and returns its size.
pub(crate) fn inject(
    root: &str,
    partitions: &Partitions,
    wanted: &request::Inject<'_>,
    buffer: &mut [u8],
) -> Outcome<u64> {
    let Some(place) = mounted_at(root, partitions, wanted.label)? else {
        return Err(Problem { text: wanted.label.to_owned(), ..not_mounted() });
    };
    let path = below(&place.path, wanted.path)?;
    let (own, size) = program::own().map_err(about(program::OWN))?;
    // 255 is no operation's number.
    let mut put = files::Put::open(&path, 0o755, size, 255)?;
    let mut copied = 0;
    loop {
        let length = own.read(buffer).map_err(about(program::OWN))?;
        if length == 0 {
            break;
        }
        put.write(&buffer[..length])?;
        copied += length as u64;
    }
    put.commit()?;
    Ok(copied)
}

/// Where a partition is mounted.
struct Place {
    path: String,
    /// Mounted by [`mount`], not a directory of somebody else's.
    is_ours: bool,
}

fn mounted_at(root: &str, partitions: &Partitions, label: &str) -> Outcome<Option<Place>> {
    let partition = partitions.find(label)?;
    if partition.kind == Kind::Directory {
        return Ok(Some(Place { path: partition.path, is_ours: false }));
    }
    let path = place(root, label)?;
    Ok(is_mount_point(&mount_table(), &path).then_some(Place { path, is_ours: true }))
}

fn place(root: &str, label: &str) -> Outcome<String> {
    if !is_plain_name(label) {
        return Err(Problem::refused("label"));
    }
    Ok([root, "/run/pumice/mnt/", label].concat())
}

/// `path` inside the directory `top`. The image there is not trusted: a link in it could lead out of it.
fn below(top: &str, path: &str) -> Outcome<String> {
    let mut whole = top.strip_suffix('/').unwrap_or(top).to_owned();
    let mut is_empty = true;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        is_empty = false;
        whole.push('/');
        whole.push_str(part);
        let is_link = paths::link_stat(&whole).is_ok_and(|found| found.is_link());
        if part == ".." || is_link {
            return Err(Problem { text: whole, ..Problem::refused("") });
        }
    }
    if is_empty { Err(Problem::refused("path")) } else { Ok(whole) }
}

fn not_mounted() -> Problem {
    Problem::new(FailureKind::NOT_FOUND, "")
}

/// Tried in this order when nobody says which: the file systems of test images.
const FILE_SYSTEMS: [&str; 7] = ["ext4", "ext3", "ext2", "vfat", "squashfs", "btrfs", "xfs"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_agent_is_copied_into_a_directory_that_stands_for_a_mount() {
        let top = files::tests::directory("inject");
        let tree = top.join("tree").to_str().unwrap().to_owned();
        fs::create_dir(&tree).unwrap();
        let partitions = Partitions::new(vec![("rootfs".to_owned(), tree.clone())]);
        let wanted =
            request::Mount { label: "rootfs", fs_type: "", read_only: false, no_replay: false };
        assert_eq!(mount("", &partitions, &wanted), Ok(tree.clone()));
        let wanted = request::Inject { label: "rootfs", path: "/.pumice/agent" };
        let bytes = inject("", &partitions, &wanted, &mut [0; 4096]).unwrap();
        let found = fs::metadata([&tree, "/.pumice/agent"].concat()).unwrap();
        assert_eq!((found.len(), found.permissions().mode() & 0o777), (bytes, 0o755));
        assert_eq!(unmount("", &partitions, "rootfs"), Ok(()));
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn nothing_leads_out_of_the_partition() {
        let top = files::tests::directory("below");
        std::os::unix::fs::symlink("/tmp", top.join("link")).unwrap();
        let top_text = top.to_str().unwrap();
        for path in ["/link/agent", "/../x", "a/../../x", "", "///"] {
            assert_eq!(below(top_text, path).unwrap_err().kind, FailureKind::REFUSED, "{path}");
        }
        assert_eq!(below(top_text, "/a//b"), Ok([top_text, "/a/b"].concat()));
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_file_cannot_be_mounted_and_unmounting_nothing_is_done() {
        let top = files::tests::directory("mount-file");
        let file = top.join("disk");
        fs::write(&file, "x").unwrap();
        let given = vec![("rootfs".to_owned(), file.to_str().unwrap().to_owned())];
        let partitions = Partitions::new(given);
        let wanted =
            request::Mount { label: "rootfs", fs_type: "ext4", read_only: true, no_replay: false };
        assert_eq!(mount("", &partitions, &wanted).unwrap_err().kind, FailureKind::REFUSED);
        assert_eq!(unmount("", &partitions, "rootfs"), Ok(()));
        let wanted = request::Inject { label: "rootfs", path: "/agent" };
        let problem = inject("", &partitions, &wanted, &mut [0; 16]).unwrap_err();
        assert_eq!(problem.kind, FailureKind::NOT_FOUND);
        fs::remove_dir_all(top).unwrap();
    }
}
