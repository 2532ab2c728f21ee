//! The files of a root file system, from a folder or a tar archive, with owners and times, for [`ext4`](super::ext4).
//!
//! An archive is hostile: names stay below the top, extension headers, files and bytes are bounded, and contents are
//! unpacked into files with names of our own.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use nix::unistd::{getegid, geteuid};
use tar::{Archive, EntryType, Header, PaxExtensions};

use super::error::{Cause, ImageError};
use super::source::IMAGE_BYTES_MAX;

/// Files by their path below the top, `a/b/c`. The top itself is the empty path.
pub(super) type Tree = BTreeMap<String, Node>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The lower twelve bits of `st_mode`.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970.
    pub(super) mtime: u64,
    pub(super) attributes: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    /// Its content lies in a file of this host.
    File {
        content: PathBuf,
        bytes: u64,
    },
    Link(String),
    /// Another name of the file at this path.
    Same(String),
    Device {
        is_block: bool,
        major: u64,
        minor: u64,
    },
    Pipe,
}

impl Node {
    pub(super) fn new(kind: Kind, mode: u32) -> Self {
        Self { kind, mode, uid: 0, gid: 0, mtime: 0, attributes: Vec::new() }
    }
}

/// The files of a folder. Who calls is root on the board; other owners stay who they are. Sockets are left out.
pub(super) fn of_folder(folder: &Path) -> Result<Tree, ImageError> {
    let mut walk = Walk { tree: Tree::new(), names: HashMap::new(), bytes: 0 };
    walk.add(folder, String::new())?;
    Ok(walk.tree)
}

struct Walk {
    tree: Tree,
    /// The first path of each file that has several.
    names: HashMap<(u64, u64), String>,
    bytes: u64,
}

impl Walk {
    fn add(&mut self, place: &Path, path: String) -> Result<(), ImageError> {
        let failed = |error| ImageError::new(place, Cause::Read(error));
        let refused = |cause| ImageError::new(place, cause);
        let metadata = fs::symlink_metadata(place).map_err(failed)?;
        let kind = metadata.file_type();
        let kind = if kind.is_dir() {
            Kind::Folder
        } else if kind.is_file() {
            let known = self.names.get(&(metadata.dev(), metadata.ino()));
            if let Some(first) = known.filter(|_| metadata.nlink() > 1) {
                Kind::Same(first.clone())
            } else {
                self.names.insert((metadata.dev(), metadata.ino()), path.clone());
                self.bytes = self.bytes.saturating_add(metadata.len());
                Kind::File { content: place.to_owned(), bytes: metadata.len() }
            }
        } else if kind.is_symlink() {
            let target = fs::read_link(place).map_err(failed)?;
            Kind::Link(checked_name(target.as_os_str().as_bytes(), LINK_MAX).map_err(refused)?)
        } else if kind.is_char_device() || kind.is_block_device() {
            let number = metadata.rdev();
            Kind::Device {
                is_block: kind.is_block_device(),
                major: major(number),
                minor: minor(number),
            }
        } else if kind.is_fifo() {
            Kind::Pipe
        } else {
            return Ok(());
        };
        let own = |id: u32, own: u32| if id == own { 0 } else { id };
        let is_folder = kind == Kind::Folder;
        let node = Node {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: own(metadata.uid(), geteuid().as_raw()),
            gid: own(metadata.gid(), getegid().as_raw()),
            mtime: u64::try_from(metadata.mtime()).unwrap_or(0),
            attributes: Vec::new(),
        };
        insert(&mut self.tree, path.clone(), node, self.bytes).map_err(refused)?;
        if !is_folder {
            return Ok(());
        }
        let mut entries = fs::read_dir(place)
            .and_then(|entries| {
                entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
            })
            .map_err(failed)?;
        entries.sort();
        for name in entries {
            let child = place.join(&name);
            let joined = join(&path, &name.to_string_lossy());
            if let Err(cause) = checked_name(name.as_bytes(), PATH_MAX)
                .and_then(|_| checked_name(joined.as_bytes(), PATH_MAX))
            {
                return Err(ImageError::new(&child, cause));
            }
            self.add(&child, joined)?;
        }
        Ok(())
    }
}

/// The files of a tar archive; contents are unpacked into `work`. `check` is called now and then with the bytes so far.
pub(super) fn of_tar(
    archive: impl Read,
    work: &Path,
    mut check: impl FnMut(u64) -> Result<(), Cause>,
) -> Result<Tree, Cause> {
    let damaged = |error: io::Error| Cause::Damaged("tar archive", error.to_string());
    let mut archive = Archive::new(archive);
    let mut tree = Tree::new();
    let mut next = Extensions::default();
    let mut total = 0;
    let mut count = 0_u32;
    // Raw: the crate would read extension headers of any size into memory.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let header = entry.header().clone();
        let kind = header.entry_type();
        let bytes = header.entry_size().map_err(damaged)?;
        if let EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader = kind {
            if bytes > EXTENSION_MAX {
                return Err(tar_damaged("an extension header of more than 1 MiB"));
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(damaged)?;
            next.add(kind, content)?;
            continue;
        }
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let extensions = std::mem::take(&mut next);
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = path_below_top(&path)?;
        let link = || match (&extensions.link, header.link_name_bytes()) {
            (Some(link), _) => Ok(link.clone()),
            (None, Some(link)) => Ok(link.into_owned()),
            (None, None) => Err(tar_damaged("a link to nothing")),
        };
        let kind = match kind {
            EntryType::Directory => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => {
                if extensions.size.is_some_and(|size| size != bytes) {
                    return Err(Cause::unusable(
                        format!("{path} has 8 GiB or more"),
                        "leave it out of the archive, or give an image",
                    ));
                }
                total += bytes;
                count += 1;
                check(total)?;
                let content = work.join(format!("{count}"));
                stage(&path, &mut entry, bytes, &content, "tar archive")?;
                Kind::File { content, bytes }
            }
            EntryType::Symlink => Kind::Link(checked_name(&link()?, LINK_MAX)?),
            EntryType::Link => Kind::Same(path_below_top(&link()?)?),
            EntryType::Char | EntryType::Block => {
                let number =
                    |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or(0).into();
                Kind::Device {
                    is_block: kind == EntryType::Block,
                    major: number(header.device_major()),
                    minor: number(header.device_minor()),
                }
            }
            EntryType::Fifo => Kind::Pipe,
            other => {
                return Err(Cause::unusable(
                    format!("{path} is an entry of the kind {:#04x}", other.as_byte()),
                    "make the archive with tar --format=pax without --sparse",
                ));
            }
        };
        let id = |value: io::Result<u64>, extended: Option<u64>| {
            let id = extended.or_else(|| value.ok()).unwrap_or(0);
            u32::try_from(id).map_err(|_| tar_damaged("an owner's number is too large"))
        };
        let node = Node {
            kind,
            mode: mode_of(&header)?,
            uid: id(header.uid(), extensions.uid)?,
            gid: id(header.gid(), extensions.gid)?,
            mtime: extensions.mtime.unwrap_or_else(|| header.mtime().unwrap_or(0)),
            attributes: extensions.attributes,
        };
        insert(&mut tree, path, node, total)?;
    }
    if tree.is_empty() {
        return Err(Cause::Empty);
    }
    Ok(tree)
}

/// Unpacks the content of an archive's file to `place`; `what` is the kind of the archive.
pub(super) fn stage(
    path: &str,
    entry: &mut impl Read,
    bytes: u64,
    place: &Path,
    what: &'static str,
) -> Result<(), Cause> {
    if bytes > IMAGE_BYTES_MAX {
        return Err(Cause::TooLarge(bytes));
    }
    let mut file = File::create(place).map_err(Cause::from_write)?;
    let copied = copy(entry, &mut file, what)?;
    if copied != bytes {
        return Err(Cause::Damaged(what, format!("it ends within {path}")));
    }
    Ok(())
}

/// As `io::copy`, which does not tell a failed read from a failed write.
fn copy(from: &mut impl Read, to: &mut impl io::Write, what: &'static str) -> Result<u64, Cause> {
    let (mut buffer, mut copied) = (vec![0; 128 * 1024], 0);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(bytes) => {
                to.write_all(&buffer[..bytes]).map_err(Cause::from_write)?;
                copied += bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Cause::Damaged(what, error.to_string())),
        }
    }
}

/// What extension headers say of the entry that follows.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<u64>,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Extensions {
    fn add(&mut self, kind: EntryType, mut content: Vec<u8>) -> Result<(), Cause> {
        if kind != EntryType::XHeader {
            content.truncate(content.iter().position(|byte| *byte == 0).unwrap_or(content.len()));
            let place =
                if kind == EntryType::GNULongName { &mut self.path } else { &mut self.link };
            *place = Some(content);
            return Ok(());
        }
        for extension in PaxExtensions::new(&content) {
            let extension = extension.map_err(|error| tar_damaged(&error.to_string()))?;
            let Ok(key) = extension.key() else { continue };
            let value = extension.value_bytes();
            let number = || {
                let text = std::str::from_utf8(value).ok()?;
                text.split('.').next()?.parse::<u64>().ok()
            };
            match key {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "size" => self.size = number(),
                "uid" => self.uid = number(),
                "gid" => self.gid = number(),
                "mtime" => self.mtime = number(),
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        let name = checked_name(name.as_bytes(), 255)?;
                        self.attributes.push((name, value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn insert(tree: &mut Tree, path: String, node: Node, bytes: u64) -> Result<(), Cause> {
    if bytes > IMAGE_BYTES_MAX {
        return Err(Cause::TooLarge(bytes));
    }
    if tree.len() >= FILES_MAX {
        return Err(too_many());
    }
    tree.insert(path, node);
    Ok(())
}

pub(super) fn too_many() -> Cause {
    Cause::unusable(format!("it has more than {FILES_MAX} files"), "give an image")
}

fn mode_of(header: &Header) -> Result<u32, Cause> {
    header.mode().map(|mode| mode & 0o7777).map_err(|error| tar_damaged(&error.to_string()))
}

/// A path as [`Tree`] has it.
pub(super) fn path_below_top(path: &[u8]) -> Result<String, Cause> {
    let path = checked_name(path, PATH_MAX)?;
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                return Err(Cause::unusable(
                    format!("its file {path} would lie outside of the root file system"),
                    "make the archive from the top of the root file system",
                ));
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// A name that a line of text can hold.
pub(super) fn checked_name(name: &[u8], bytes_max: usize) -> Result<String, Cause> {
    let shown = String::from_utf8_lossy(&name[..name.len().min(80)]).escape_debug().to_string();
    let refused = |why: &str| {
        Err(Cause::unusable(
            format!("the name \"{shown}\" {why}"),
            "rename the file, or give an image",
        ))
    };
    if name.len() > bytes_max {
        return refused(&format!("has more than {bytes_max} bytes"));
    }
    match std::str::from_utf8(name) {
        Err(_) => refused("is not UTF-8"),
        Ok(text) if text.chars().any(char::is_control) => refused("has control characters"),
        Ok(text) => Ok(text.to_owned()),
    }
}

pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn tar_damaged(why: &str) -> Cause {
    Cause::Damaged("tar archive", why.to_owned())
}

pub(super) const FILES_MAX: usize = 500_000;
pub(super) const PATH_MAX: usize = 1024;
pub(super) const LINK_MAX: usize = 2048;
const EXTENSION_MAX: u64 = 1 << 20;
