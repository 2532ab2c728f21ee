//! An ext4 image of a tree of files, the same bytes every time, made without root.
//!
//! `mke2fs` makes an empty file system with UUID, hash seed and times that depend on nothing; `debugfs` puts in one file
//! after the other, in the order of their names, with owners and times of our own. (`mke2fs -d` takes the order of the
//! host's folders and the times at which copies were made, and before 1.47.1 no tar archive.) `e2fsck` has the last word.
//!
//! The features are those that a kernel of 2014 and U-Boot know.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::error::Cause;
use super::tree::{Kind, Node, Tree};

/// What a file system is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ext4 {
    /// Its label; its UUID comes of it.
    pub label: String,
    /// Its size; without it what the files need, and room.
    pub bytes: Option<u64>,
    /// Whether it has a journal and room to grow: a root file system.
    pub is_root: bool,
    /// No time in it is later, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<u64>,
}

/// Makes the image at `place`; `work` is a folder for the script.
pub(super) fn make(tree: &Tree, options: &Ext4, place: &Path, work: &Path) -> Result<(), Cause> {
    let tree = &with_folders(tree)?;
    let bytes = options.bytes.unwrap_or_else(|| size_for(tree, options.is_root));
    let file = fs::File::create(place).map_err(Cause::from_write)?;
    file.set_len(bytes).map_err(Cause::from_write)?;
    drop(file);
    let epoch = options.epoch.unwrap_or(EPOCH).clamp(1, TIME_MAX).to_string();
    let id = uuid(&options.label);
    let inodes = if options.is_root { tree.len() * 2 + 4096 } else { tree.len() + 64 };
    let mut features = FEATURES.to_owned();
    if options.is_root {
        features.push_str(",has_journal");
    }
    let mut mke2fs = tool("mke2fs", &epoch);
    mke2fs.args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-o", "Linux"]);
    mke2fs.args(["-O", &features, "-U", &id, "-L", &options.label, "-N", &inodes.to_string()]);
    mke2fs.args(["-E", &format!("hash_seed={id},root_owner=0:0,lazy_itable_init=0,nodiscard")]);
    if options.is_root {
        mke2fs.args(["-J", "size=8"]);
    }
    mke2fs.arg(place).env("MKE2FS_CONFIG", "/dev/null");
    let output = run(&mut mke2fs)?;
    if !output.status.success() {
        return Err(failed("mke2fs", &last_line(&output.stderr)));
    }
    let script = work.join("script");
    fs::write(&script, script_of(tree, options, work)?).map_err(Cause::from_write)?;
    let output = run(tool("debugfs", &epoch).arg("-w").arg("-f").arg(&script).arg(place))?;
    // It has no exit status for what failed; the first line is its version.
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if let Some(error) =
        errors.lines().find(|line| !line.starts_with("debugfs 1.") && !line.is_empty())
    {
        let full = ["allocate block", "No free space", "allocate inode"];
        if full.iter().any(|text| errors.contains(text)) {
            return Err(Cause::unusable(
                format!("its files do not fit into a file system of {bytes} bytes"),
                "state a larger size, or leave the size out",
            ));
        }
        return Err(failed("debugfs", error));
    }
    let output = run(tool("e2fsck", &epoch).args(["-f", "-n"]).arg(place))?;
    if !output.status.success() {
        return Err(failed("e2fsck", &last_line(&output.stdout)));
    }
    Ok(())
}

/// Folders that an archive leaves out are there all the same.
pub(super) fn with_folders(tree: &Tree) -> Result<Tree, Cause> {
    let mut whole = tree.clone();
    whole.entry(String::new()).or_insert_with(|| Node::new(Kind::Folder, 0o755));
    for path in tree.keys() {
        let mut path = path.as_str();
        while let Some((folder, _)) = path.rsplit_once('/') {
            let node =
                whole.entry(folder.to_owned()).or_insert_with(|| Node::new(Kind::Folder, 0o755));
            if node.kind != Kind::Folder {
                let why = format!("its file {folder} is a folder too");
                return Err(Cause::unusable(why, "make the archive again"));
            }
            path = folder;
        }
    }
    Ok(whole)
}

/// What the files take, a quarter more, and room for a journal and logs; in whole MiB.
fn size_for(tree: &Tree, is_root: bool) -> u64 {
    let used: u64 = tree
        .values()
        .map(|node| match &node.kind {
            Kind::File { bytes, .. } => bytes.next_multiple_of(4096) + 512,
            Kind::Folder => 8192 + 512,
            _ => 4096 + 512,
        })
        .sum();
    let (share, more) = if is_root { (4, 64 << 20) } else { (16, 4 << 20) };
    (used + used / share + more).next_multiple_of(1 << 20)
}

fn script_of(tree: &Tree, options: &Ext4, work: &Path) -> Result<String, Cause> {
    let latest = options.epoch.unwrap_or(TIME_MAX).min(TIME_MAX);
    let mut script = String::new();
    let mut here = "";
    let mut names = std::collections::BTreeMap::<&str, u32>::new();
    // Other names of a file come when it is there.
    let is_same = |node: &Node| matches!(node.kind, Kind::Same(_));
    let firsts = tree.iter().filter(|(_, node)| !is_same(node));
    let others = tree.iter().filter(|(_, node)| is_same(node));
    let mut attributes = 0;
    for (path, node) in firsts.chain(others) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if folder != here {
            let _ = writeln!(script, "cd {}", quoted(&format!("/{folder}")));
            here = folder;
        }
        let full = quoted(&format!("/{path}"));
        let name = quoted(name);
        let kind_bits = match &node.kind {
            Kind::Folder => {
                if !path.is_empty() && path != "lost+found" {
                    let _ = writeln!(script, "mkdir {name}");
                }
                0o040_000
            }
            Kind::File { content, .. } => {
                let Some(content) =
                    content.to_str().filter(|text| !text.chars().any(char::is_control))
                else {
                    return Err(failed("debugfs", "the path of a file is not UTF-8"));
                };
                let _ = writeln!(script, "write {} {name}", quoted(content));
                0o100_000
            }
            Kind::Link(target) => {
                let _ = writeln!(script, "symlink {name} {}", quoted(target));
                0o120_000
            }
            Kind::Device { is_block, major, minor } => {
                let letter = if *is_block { 'b' } else { 'c' };
                let _ = writeln!(script, "mknod {name} {letter} {major} {minor}");
                if *is_block { 0o060_000 } else { 0o020_000 }
            }
            Kind::Pipe => {
                let _ = writeln!(script, "mknod {name} p");
                0o010_000
            }
            Kind::Same(first) => {
                let is_file = |node: &&Node| matches!(node.kind, Kind::File { .. });
                if tree.get(first).filter(is_file).is_none() {
                    let why = format!("{path} is another name of {first}, which is no file of it");
                    return Err(Cause::unusable(why, "make the archive again"));
                }
                let count = names.entry(first).or_insert(1);
                *count += 1;
                let first = quoted(&format!("/{first}"));
                let _ = writeln!(script, "ln {first} {name}\nsif {first} links_count {count}");
                continue;
            }
        };
        let mode = if matches!(node.kind, Kind::Link(_)) { 0o777 } else { node.mode };
        let _ = writeln!(script, "sif {full} mode 0{:o}", kind_bits | mode);
        let _ = writeln!(script, "sif {full} mtime @{}", node.mtime.clamp(1, latest));
        for (field, id) in [("uid", node.uid), ("gid", node.gid)] {
            if id != 0 {
                let _ = writeln!(script, "sif {full} {field} {id}");
            }
        }
        for (key, value) in &node.attributes {
            attributes += 1;
            let place = work.join(format!("attribute-{attributes}"));
            fs::write(&place, value).map_err(Cause::from_write)?;
            let place = quoted(&place.to_string_lossy());
            let _ = writeln!(script, "ea_set -f {place} {full} {}", quoted(key));
        }
    }
    Ok(script)
}

/// As libss reads a word: a quote within quotes is two.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

/// A UUID of the version for values of one's own (RFC 9562 §5.8).
fn uuid(label: &str) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(format!("pumice ext4 {label}"))[..16]);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    let mut text = crate::store::hexadecimal(&id);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

pub(super) fn tool(name: &str, epoch: &str) -> Command {
    let mut command = Command::new(name);
    // Debian keeps them where a user's PATH does not reach.
    let mut path: OsString = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    command.env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC");
    command.env("E2FSPROGS_FAKE_TIME", epoch).env("SOURCE_DATE_EPOCH", epoch);
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<std::process::Output, Cause> {
    command.output().map_err(|error| {
        let name = command.get_program().to_string_lossy();
        Cause::Said(format!(
            "{name}: {error}: install the package e2fsprogs, which makes file systems of files"
        ))
    })
}

fn failed(tool: &str, why: &str) -> Cause {
    Cause::unusable(format!("{tool} failed: {why}"), "give an image instead")
}

fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("without a word").trim().to_owned()
}

const FEATURES: &str = "none,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,uninit_bg";
/// 2020-01-01: what has no time of its own.
pub(super) const EPOCH: u64 = 1_577_836_800;
/// Inodes hold it without their second word, which debugfs does not set.
const TIME_MAX: u64 = i32::MAX as u64;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::tree::{of_folder, of_tar};
    use super::*;
    use crate::io::test_folder::TestFolder;

    fn root() -> Ext4 {
        Ext4 { label: "testrootfs".into(), bytes: None, is_root: true, epoch: None }
    }

    fn build(tree: &Tree, options: &Ext4) -> Result<Vec<u8>, String> {
        let folder = TestFolder::new();
        let place = folder.path().join("image");
        make(tree, options, &place, folder.path()).map_err(shown)?;
        Ok(fs::read(&place).unwrap())
    }

    fn shown(cause: Cause) -> String {
        super::super::error::ImageError::new(Path::new("x"), cause).to_string()
    }

    fn debugfs(image: &[u8], command: &str) -> String {
        let folder = TestFolder::new();
        let place = folder.path().join("image");
        fs::write(&place, image).unwrap();
        let output = run(tool("debugfs", "1").args(["-R", command]).arg(&place)).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn a_folder_makes_the_same_image_twice() {
        let folder = TestFolder::new();
        let top = folder.path();
        fs::create_dir_all(top.join("usr/a \"b\"")).unwrap();
        fs::write(top.join("usr/a \"b\"/<12>"), vec![7; 100_000]).unwrap();
        fs::hard_link(top.join("usr/a \"b\"/<12>"), top.join("-second")).unwrap();
        symlink("usr/nowhere at all", top.join("link")).unwrap();
        fs::write(top.join("tool"), "#!").unwrap();
        fs::set_permissions(top.join("tool"), PermissionsExt::from_mode(0o4755)).unwrap();
        let tree = of_folder(top).unwrap();
        let image = build(&tree, &root()).unwrap();
        assert!(build(&of_folder(top).unwrap(), &root()).unwrap() == image, "two builds differ");
        assert_eq!(&image[1024 + 120..][..10], b"testrootfs");
        let listing = debugfs(&image, "ls -l /");
        assert!(listing.contains("104755 (1)      0      0       2"), "{listing}");
        let stat = debugfs(&image, "stat /-second");
        assert!(stat.contains("Size: 100000") && stat.contains("Links: 2"), "{stat}");
        assert!(debugfs(&image, "stat /link").contains("usr/nowhere at all"));
        let other = Ext4 { label: "other".into(), ..root() };
        assert!(build(&tree, &other).unwrap() != image);
        let tiny = Ext4 { bytes: Some(1 << 20), is_root: false, ..root() };
        let mut large = tree;
        let big = top.join("big");
        fs::write(&big, vec![1; 3 << 20]).unwrap();
        large.insert("big".into(), Node::new(Kind::File { content: big, bytes: 3 << 20 }, 0o644));
        let error = build(&large, &tiny).unwrap_err();
        assert!(error.contains("do not fit into a file system of 1048576 bytes"), "{error}");
    }

    fn tar(entries: &[(&str, tar::EntryType, &[u8], &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content, link) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o640);
            header.set_uid(70_000);
            header.set_gid(5);
            header.set_mtime(1_000_000_000);
            header.set_size(content.len() as u64);
            if *kind == tar::EntryType::Char {
                header.set_device_major(1).unwrap();
                header.set_device_minor(3).unwrap();
            }
            // As a hostile archive does, past the builder's own checks.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn tree_of(tar: &[u8], folder: &TestFolder) -> Result<Tree, String> {
        of_tar(tar, folder.path(), |_| Ok(())).map_err(shown)
    }

    #[test]
    fn a_tar_archive_keeps_its_owners_without_root() {
        use tar::EntryType;
        let folder = TestFolder::new();
        let archive = tar(&[
            ("./etc/deep/motd", EntryType::Regular, b"hello", ""),
            ("dev/null", EntryType::Char, b"", ""),
            ("motd", EntryType::Link, b"", "./etc/deep/motd"),
            ("run/pipe", EntryType::Fifo, b"", ""),
        ]);
        let image = build(&tree_of(&archive, &folder).unwrap(), &root()).unwrap();
        let stat = debugfs(&image, "stat /motd");
        for expected in
            ["User: 70000", "Group:     5", "Mode:  0640", "Links: 2", "mtime: 0x3b9aca00"]
        {
            assert!(stat.contains(expected), "{expected}: {stat}");
        }
        assert!(debugfs(&image, "stat /dev/null").contains("Type: character special"));
    }

    #[test]
    fn hostile_archives_are_errors() {
        use tar::EntryType;
        let folder = TestFolder::new();
        let large = vec![b'a'; 1100];
        for (archive, expected) in [
            (tar(&[("../x", EntryType::Regular, b"", "")]), "outside of the root file system"),
            (tar(&[("a\nb", EntryType::Regular, b"", "")]), "has control characters"),
            (tar(&[("l", EntryType::GNULongName, &large, "")]), "is empty"),
            (
                tar(&[
                    ("l", EntryType::GNULongName, &large, ""),
                    ("x", EntryType::Regular, b"", ""),
                ]),
                "more than 1024 bytes",
            ),
            (
                tar(&[("l", EntryType::XHeader, &vec![0; 2 << 20], "")]),
                "an extension header of more than 1 MiB",
            ),
            (tar(&[("s", EntryType::GNUSparse, b"", "")]), "an entry of the kind 0x53"),
        ] {
            let error = tree_of(&archive, &folder).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let whole = tar(&[("a", EntryType::Regular, &[1; 5000], "")]);
        let error = tree_of(&whole[..2000], &folder).unwrap_err();
        assert!(error.contains("damaged or cut short tar archive"), "{error}");
        let lost = tar(&[("a", EntryType::Link, b"", "none")]);
        let error = build(&tree_of(&lost, &folder).unwrap(), &root()).unwrap_err();
        assert!(error.contains("a is another name of none"), "{error}");
    }
}
