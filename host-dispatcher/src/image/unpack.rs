//! An archive as files of this host, in a folder that nothing of it leaves: for definitions.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::cpio;
use super::error::{Cause, ImageError};
use super::ext4::with_folders;
use super::source::{Archive, Source};
use super::tree::{self, Kind, Tree};

/// Unpacks the archive `file`, which people know as `name`, into the empty folder `to`. `work` is a folder of the same file
/// system. Owners, times and attributes are left out.
///
/// # Errors
/// It is no tar or cpio archive, it is damaged, it has devices or more than `bytes_max`, or nothing can be written.
pub fn unpack(
    file: &Path,
    name: &str,
    to: &Path,
    work: &Path,
    bytes_max: u64,
) -> Result<(), ImageError> {
    let failed = |cause| ImageError::new(Path::new(name), cause);
    let source = Source::open(file).map_err(|error| error.at(name))?;
    let Some(archive) = source.archive() else {
        let mend = "give a tar archive, packed or not; of a definition alone leave path: out";
        return Err(failed(Cause::unusable("it is no tar or cpio archive", mend)));
    };
    let unpacked = source.into_archive().map_err(|error| error.at(name))?;
    let staged = tempfile::Builder::new().prefix("staged-").tempdir_in(work);
    let staged = staged.map_err(|error| failed(Cause::from_write(error)))?;
    let check = |bytes| {
        if bytes > bytes_max {
            let why = format!("it holds more than {} MiB", bytes_max >> 20);
            return Err(Cause::unusable(why, "leave out what the tests do not need"));
        }
        Ok(())
    };
    let tree = match archive {
        Archive::Tar => tree::of_tar(unpacked, staged.path(), check),
        Archive::Cpio => cpio::of_cpio(unpacked, staged.path(), check),
    };
    let tree = tree.and_then(|tree| with_folders(&tree)).map_err(failed)?;
    write(&tree, to).map_err(failed)
}

/// Every parent is a folder of the tree, so no path leads through a link; links come last all the same.
fn write(tree: &Tree, to: &Path) -> Result<(), Cause> {
    let wrote = |result: io::Result<()>| result.map_err(Cause::from_write);
    for (path, node) in tree {
        let place = to.join(path);
        match &node.kind {
            Kind::Folder if path.is_empty() => {}
            Kind::Folder => wrote(fs::create_dir(&place))?,
            Kind::File { content, .. } => {
                wrote(fs::rename(content, &place))?;
                let mode = Permissions::from_mode(node.mode & 0o777 | 0o600);
                wrote(fs::set_permissions(&place, mode))?;
            }
            Kind::Link(_) | Kind::Same(_) => {}
            Kind::Device { .. } | Kind::Pipe => {
                let why = format!("its file {path} is a device or a pipe");
                return Err(Cause::unusable(why, "leave it out of the archive"));
            }
        }
    }
    for (path, node) in tree {
        if let Kind::Same(first) = &node.kind {
            let is_file = matches!(tree.get(first).map(|node| &node.kind), Some(Kind::File { .. }));
            if !is_file {
                let why = format!("{path} is another name of {first}, which is no file of it");
                return Err(Cause::unusable(why, "make the archive again"));
            }
            wrote(fs::hard_link(to.join(first), to.join(path)))?;
        }
    }
    for (path, node) in tree {
        if let Kind::Link(target) = &node.kind {
            let made = symlink(target, to.join(path));
            // A link to nothing cannot be made; the overlay would refuse it.
            wrote(made.or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::gzip;
    use super::*;
    use crate::io::test_folder::TestFolder;

    fn tar(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let content = if *kind == tar::EntryType::Regular { text } else { &"" };
            header.set_size(content.len() as u64);
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if content.is_empty() {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(folder: &TestFolder, bytes: &[u8], bytes_max: u64) -> Result<(), String> {
        let (file, to) = (folder.path().join("file"), folder.path().join("to"));
        fs::write(&file, bytes).unwrap();
        let _ = fs::remove_dir_all(&to);
        fs::create_dir(&to).unwrap();
        unpack(&file, "http://x/a.tgz", &to, folder.path(), bytes_max).map_err(|e| e.to_string())
    }

    #[test]
    fn files_folders_and_links() {
        use tar::EntryType;
        let folder = TestFolder::new();
        let archive = gzip(&tar(&[
            ("a/again", EntryType::Link, "a/tool"),
            ("a/tool", EntryType::Regular, "#!"),
            ("b", EntryType::Directory, ""),
            ("b/link", EntryType::Symlink, "../a/tool"),
        ]));
        unpacked(&folder, &archive, 1000).unwrap();
        let to = folder.path().join("to");
        for path in ["a/tool", "a/again", "b/link"] {
            assert_eq!(fs::read_to_string(to.join(path)).unwrap(), "#!", "{path}");
        }
        assert_eq!(fs::metadata(to.join("a/tool")).unwrap().permissions().mode() & 0o777, 0o755);
        // Nothing but the file and what came out of it is left.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn nothing_leaves_the_folder() {
        use tar::EntryType;
        let folder = TestFolder::new();
        let outside = folder.path().join("outside").display().to_string();
        fs::create_dir(&outside).unwrap();
        for (entries, bytes_max, expected) in [
            (
                &[("a", EntryType::Symlink, &outside[..]), ("a/b", EntryType::Regular, "x")][..],
                1000,
                "its file a is a folder too",
            ),
            (&[("../b", EntryType::Regular, "x")], 1000, "outside of the root file system"),
            (&[("a", EntryType::Link, "/etc/passwd")], 1000, "which is no file of it"),
            (&[("a", EntryType::Fifo, "")], 1000, "its file a is a device or a pipe"),
            (&[("a", EntryType::Regular, "12345")], 4, "it holds more than 0 MiB"),
        ] {
            let error = unpacked(&folder, &tar(entries), bytes_max).unwrap_err();
            assert!(error.contains(expected) && error.contains("http://x/a.tgz"), "{error}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        let error = unpacked(&folder, b"metadata: {}", 1000).unwrap_err();
        assert!(error.contains("it is no tar or cpio archive"), "{error}");
    }
}
