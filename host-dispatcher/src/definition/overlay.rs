//! A folder of this host as it will lie on the board: which files, how long, with what digests.
//!
//! Reads the disk. What comes out of here has bounds, and no file of it lies outside of the folder, whatever links say.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::config::value::visible_path;

/// What is put on a board for a test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The files, in the order of their paths.
    pub files: Vec<OverlayFile>,
    /// Folders with nothing in them, which no file brings along; relative paths.
    pub empty_folders: Vec<String>,
    /// Length of all files.
    pub bytes: u64,
    /// Checkouts that the files lie in.
    pub kept: Vec<Kept>,
}

/// A file of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayFile {
    /// Where it goes, relative to the overlay: names with `/` between them, none of them `.` or `..`.
    pub path: String,
    /// Where it is.
    pub source: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest: a file that is changed later does not arrive as another.
    pub sha256: [u8; 32],
}

/// A temporary folder that is there as long as a value of this.
#[derive(Clone, Debug)]
pub struct Kept(Arc<TempDir>);

impl Kept {
    /// Takes a folder.
    pub fn new(folder: TempDir) -> Self {
        Self(Arc::new(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

impl Eq for Kept {}

impl Overlay {
    /// Adds what is in `folder`, without folders named `.git`, to the overlay, below `below` if it is not empty. With
    /// `include`, only these paths of it. Links within the folder are followed.
    ///
    /// # Errors
    /// See [`OverlayError`].
    pub fn add(
        &mut self,
        folder: &Path,
        below: &str,
        include: &[String],
    ) -> Result<(), OverlayError> {
        let failed = |error| OverlayError::at(folder, Wrong::Io(error));
        let root = fs::canonicalize(folder).map_err(failed)?;
        if !fs::metadata(&root).map_err(failed)?.is_dir() {
            return Err(OverlayError::at(folder, Wrong::NoFolder));
        }
        for path in include {
            if !is_relative(path) || fs::symlink_metadata(root.join(path)).is_err() {
                return Err(OverlayError::at(&folder.join(path), Wrong::NotThere));
            }
        }
        let taken = self.files.iter().map(|file| file.path.clone());
        let mut scan = Scan {
            taken: taken.chain(self.empty_folders.iter().cloned()).collect(),
            overlay: self,
            shown: folder,
            below,
            include,
            root: root.clone(),
            open: vec![root.clone()],
        };
        scan.folder(&root, "")
    }

    /// Files and empty folders.
    pub fn count(&self) -> usize {
        self.files.len() + self.empty_folders.len()
    }
}

/// Whether a path names something below a folder, without `.` and `..`.
pub fn is_relative(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|name| !matches!(name, "" | "." | ".." | ".git"))
}

struct Scan<'a> {
    overlay: &'a mut Overlay,
    /// What was there before: another folder may not bring the same.
    taken: HashSet<String>,
    shown: &'a Path,
    below: &'a str,
    include: &'a [String],
    root: PathBuf,
    /// The folders that lead to where the scan is, without links: a link to one of them would never end.
    open: Vec<PathBuf>,
}

impl Scan<'_> {
    /// Scans `folder`, which has no links in its path; `path` is where it goes, relative to the overlay's part.
    fn folder(&mut self, folder: &Path, path: &str) -> Result<(), OverlayError> {
        if self.open.len() > DEPTH_MAX {
            return Err(self.wrong(path, Wrong::TooDeep));
        }
        let failed = |error| OverlayError::at(&self.shown.join(path), Wrong::Io(error));
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
            if names.len() > ENTRIES_MAX {
                return Err(self.wrong(path, Wrong::TooMany));
            }
        }
        names.sort();
        let mut is_empty = true;
        for name in names {
            if name == ".git" {
                continue;
            }
            let Some(text) = name.to_str() else {
                let place = self.shown.join(path).join(&name);
                return Err(OverlayError::at(&place, Wrong::NotUtf8));
            };
            let path = if path.is_empty() { text.to_owned() } else { format!("{path}/{text}") };
            if self.is_wanted(&path) {
                is_empty = false;
                self.entry(&folder.join(&name), path)?;
            }
        }
        if is_empty && !path.is_empty() {
            let target = self.target(path)?;
            self.overlay.empty_folders.push(target);
        }
        Ok(())
    }

    fn entry(&mut self, place: &Path, path: String) -> Result<(), OverlayError> {
        let failed = |error| OverlayError::at(&self.shown.join(&path), Wrong::Io(error));
        let place = if fs::symlink_metadata(place).map_err(failed)?.is_symlink() {
            let target = fs::canonicalize(place).map_err(failed)?;
            let is_git = || target.components().any(|part| part.as_os_str() == ".git");
            if !target.starts_with(&self.root) || (is_git() && !self.is_below_git()) {
                let leads_to = fs::read_link(place).map_err(failed)?;
                return Err(self.wrong(&path, Wrong::Leaves(leads_to)));
            }
            if self.open.contains(&target) {
                return Err(self.wrong(&path, Wrong::Circle));
            }
            target
        } else {
            place.to_owned()
        };
        let metadata = fs::metadata(&place).map_err(failed)?;
        if metadata.is_dir() {
            self.open.push(place.clone());
            self.folder(&place, &path)?;
            self.open.pop();
            return Ok(());
        }
        // Not opened before it is known to be one: the open of a FIFO waits.
        if !metadata.is_file() {
            return Err(self.wrong(&path, Wrong::NoFile));
        }
        let left = BYTES_MAX - self.overlay.bytes;
        // One that grows meanwhile ends here.
        let file = File::open(&place).map_err(failed)?.take(left + 1);
        let (size, sha256) = digest(file).map_err(failed)?;
        if size > left {
            return Err(self.wrong(&path, Wrong::TooLarge));
        }
        let target = self.target(&path)?;
        let mode = metadata.permissions().mode() & 0o7777;
        self.overlay.bytes += size;
        self.overlay.files.push(OverlayFile { path: target, source: place, mode, size, sha256 });
        Ok(())
    }

    fn is_wanted(&self, path: &str) -> bool {
        let holds = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.include.is_empty()
            || self.include.iter().any(|include| holds(include, path) || holds(path, include))
    }

    /// Whether the whole folder lies in one named `.git`, so that the name says nothing.
    fn is_below_git(&self) -> bool {
        self.root.components().any(|part| part.as_os_str() == ".git")
    }

    fn target(&mut self, path: &str) -> Result<String, OverlayError> {
        let target = match self.below {
            "" => path.to_owned(),
            below => format!("{below}/{path}"),
        };
        if target.len() > PATH_BYTES_MAX {
            return Err(self.wrong(path, Wrong::TooLong));
        }
        if self.overlay.count() >= ENTRIES_MAX {
            return Err(self.wrong(path, Wrong::TooMany));
        }
        if !self.taken.insert(target.clone()) {
            return Err(self.wrong(path, Wrong::Twice));
        }
        Ok(target)
    }

    fn wrong(&self, path: &str, wrong: Wrong) -> OverlayError {
        OverlayError::at(&self.shown.join(path), wrong)
    }
}

/// Length and digest of all that can be read.
///
/// # Errors
/// Those of reading.
pub fn digest(mut file: impl Read) -> io::Result<(u64, [u8; 32])> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((size, hash.finalize().into()));
        }
        size += count as u64;
        hash.update(&buffer[..count]);
    }
}

/// What a serial line can carry in a night; more belongs into the image.
pub const BYTES_MAX: u64 = 256 << 20;
/// Each costs the board a sync.
pub const ENTRIES_MAX: usize = 10_000;
/// Deeper is a circle, or an accident.
const DEPTH_MAX: usize = 32;
/// With the run's folder before it, far below the 4096 of Linux and of a message.
const PATH_BYTES_MAX: usize = 1024;

/// Why a folder cannot be an overlay.
#[derive(Debug)]
pub struct OverlayError {
    path: PathBuf,
    wrong: Wrong,
}

#[derive(Debug)]
enum Wrong {
    Io(io::Error),
    NoFolder,
    NotThere,
    NoFile,
    NotUtf8,
    Leaves(PathBuf),
    Circle,
    Twice,
    TooMany,
    TooLarge,
    TooDeep,
    TooLong,
}

impl OverlayError {
    fn at(path: &Path, wrong: Wrong) -> Self {
        // Without the `./` that joining leaves.
        Self { path: path.components().collect(), wrong }
    }

    /// What to do about it, where that is not plain.
    pub fn mend(&self) -> Option<&'static str> {
        match self.wrong {
            Wrong::Leaves(_) => Some("copy what it leads to into the folder"),
            Wrong::TooMany | Wrong::TooLarge => {
                Some("name what the test needs with include:, or put it into the image")
            }
            Wrong::NoFile => Some("make it in an install step"),
            _ => None,
        }
    }
}

impl fmt::Display for OverlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", visible_path(&self.path))?;
        match &self.wrong {
            Wrong::Io(error) => write!(f, "{error}"),
            Wrong::NoFolder => f.write_str("not a folder"),
            Wrong::NotThere => f.write_str("there is nothing of that name in the overlay"),
            Wrong::NoFile => f.write_str("neither a file nor a folder"),
            Wrong::NotUtf8 => f.write_str("the name is not UTF-8"),
            Wrong::Leaves(target) => {
                let target = visible_path(target);
                write!(f, "the link leaves the overlay: it leads to {target}")
            }
            Wrong::Circle => f.write_str("the link leads in a circle"),
            Wrong::Twice => f.write_str("another repository of the test has a file of that place"),
            Wrong::TooMany => write!(f, "with it the overlay has more than {ENTRIES_MAX} files"),
            Wrong::TooLarge => {
                write!(f, "with it the overlay has more than {} MiB", BYTES_MAX >> 20)
            }
            Wrong::TooDeep => write!(f, "more than {DEPTH_MAX} folders deep"),
            Wrong::TooLong => write!(f, "the path has more than {PATH_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for OverlayError {}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::io::test_folder::TestFolder;

    fn put(folder: &TestFolder, path: &str, bytes: &[u8], mode: u32) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn scan(folder: &TestFolder, include: &[&str]) -> Result<Overlay, String> {
        let mut overlay = Overlay::default();
        let include: Vec<String> = include.iter().map(|path| (*path).to_owned()).collect();
        let root = folder.path().display().to_string();
        overlay
            .add(folder.path(), "", &include)
            .map(|()| overlay)
            .map_err(|error| error.to_string().replace(&root, "ROOT"))
    }

    fn paths(overlay: &Overlay) -> Vec<(&str, u32, u64)> {
        overlay.files.iter().map(|file| (file.path.as_str(), file.mode, file.size)).collect()
    }

    #[test]
    fn files_modes_links_and_empty_folders() {
        let folder = TestFolder::new();
        put(&folder, "b/run.sh", b"true\n", 0o755);
        put(&folder, "a.txt", b"a", 0o640);
        put(&folder, ".git/config", b"x", 0o644);
        put(&folder, "b/.git/config", b"x", 0o644);
        fs::create_dir_all(folder.path().join("empty/er")).unwrap();
        symlink("../a.txt", folder.path().join("b/link")).unwrap();
        symlink("b", folder.path().join("c")).unwrap();
        let overlay = scan(&folder, &[]).unwrap();
        let expected = [
            ("a.txt", 0o640, 1),
            ("b/link", 0o640, 1),
            ("b/run.sh", 0o755, 5),
            ("c/link", 0o640, 1),
            ("c/run.sh", 0o755, 5),
        ];
        assert_eq!(paths(&overlay), expected);
        assert_eq!((&overlay.empty_folders[..], overlay.bytes), (&["empty/er".to_owned()][..], 13));
        assert_eq!(overlay.files[0].sha256, <[u8; 32]>::from(Sha256::digest(b"a")));

        let some = scan(&folder, &["b/run.sh", "empty"]).unwrap();
        assert_eq!(paths(&some), [("b/run.sh", 0o755, 5)]);
        assert_eq!(some.empty_folders, ["empty/er"]);
        for path in ["none", "../x", "/etc", "b//link", ".git"] {
            let error = scan(&folder, &[path]).unwrap_err();
            assert!(error.ends_with(": there is nothing of that name in the overlay"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let link = |target: &str| {
            let folder = TestFolder::new();
            put(&folder, "a/b.txt", b"x", 0o644);
            symlink(target, folder.path().join("a/link")).unwrap();
            scan(&folder, &[])
        };
        let leaves =
            |to: &str| Err(format!("ROOT/a/link: the link leaves the overlay: it leads to {to}"));
        assert_eq!(link("/etc/passwd"), leaves("/etc/passwd"));
        assert_eq!(link("../.."), leaves("../.."));
        assert_eq!(link(".."), Err("ROOT/a/link: the link leads in a circle".into()));
        assert_eq!(link("."), Err("ROOT/a/link: the link leads in a circle".into()));
        let dangling = "ROOT/a/link: No such file or directory (os error 2)";
        assert_eq!(link("none"), Err(dangling.into()));
        let error = link("link").unwrap_err();
        assert!(error.contains("Too many levels of symbolic links"), "{error}");

        let folder = TestFolder::new();
        nix::unistd::mkfifo(&folder.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(scan(&folder, &[]), Err("ROOT/fifo: neither a file nor a folder".into()));

        let folder = TestFolder::new();
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"a\xff")), "x").unwrap();
        assert_eq!(scan(&folder, &[]), Err("ROOT/a\u{fffd}: the name is not UTF-8".into()));

        let folder = TestFolder::new();
        let file = File::create(folder.path().join("sparse")).unwrap();
        file.set_len(BYTES_MAX + 1).unwrap();
        let error = "ROOT/sparse: with it the overlay has more than 256 MiB";
        assert_eq!(scan(&folder, &[]), Err(error.into()));

        let folder = TestFolder::new();
        fs::create_dir_all(folder.path().join("x/".repeat(40))).unwrap();
        let error = scan(&folder, &[]).unwrap_err();
        assert!(error.ends_with("more than 32 folders deep"), "{error}");
    }

    #[test]
    fn links_that_multiply_are_bounded() {
        let folder = TestFolder::new();
        fs::create_dir(folder.path().join("d0")).unwrap();
        put(&folder, "d0/file", b"x", 0o644);
        for level in 1..20 {
            let below = folder.path().join(format!("d{level}"));
            fs::create_dir(&below).unwrap();
            for name in ["a", "b", "c"] {
                symlink(format!("../d{}", level - 1), below.join(name)).unwrap();
            }
        }
        let error = scan(&folder, &[]).unwrap_err();
        assert!(error.ends_with("with it the overlay has more than 10000 files"), "{error}");
    }

    #[test]
    fn two_folders_share_an_overlay_but_no_file() {
        let (first, second) = (TestFolder::new(), TestFolder::new());
        put(&first, "lib/x", b"x", 0o644);
        put(&second, "x", b"x", 0o644);
        let mut overlay = Overlay::default();
        overlay.add(first.path(), "", &[]).unwrap();
        overlay.add(second.path(), "other", &[]).unwrap();
        assert_eq!(
            paths(&overlay).iter().map(|(path, ..)| *path).collect::<Vec<_>>(),
            ["lib/x", "other/x"]
        );
        let error = overlay.add(second.path(), "lib", &[]).unwrap_err();
        assert!(error.to_string().ends_with("has a file of that place"), "{error}");
    }
}
