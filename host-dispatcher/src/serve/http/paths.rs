//! Paths from what a client sends: runs, their files, uploaded files, files of a job. Nothing leaves its folder.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::error::ApiError;
use crate::store::names;

/// The run directories.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    folder: PathBuf,
}

impl Runs {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The directory of a run, with links followed.
    pub(super) fn directory(&self, run: &str) -> Result<PathBuf, ApiError> {
        let none = || ApiError::not_found(format!("there is no run \"{}\"", shorten(run)));
        // Only names that a writer of run directories could make.
        if run.len() > RUN_BYTES_MAX || names::component(run, RUN_BYTES_MAX) != run {
            return Err(none());
        }
        let folder = fs::canonicalize(&self.folder).map_err(|_| none())?;
        let place = fs::canonicalize(folder.join(run)).map_err(|_| none())?;
        let is_run = place.parent() == Some(&folder) && place.join("events.ndjson").is_file();
        if is_run { Ok(place) } else { Err(none()) }
    }
}

/// A file of a run directory, as [`listed`] has it.
pub(super) fn file_of(run: &Path, path: &str) -> Result<PathBuf, ApiError> {
    let none = || ApiError::not_found(format!("there is no file \"{}\"", shorten(path)));
    if !path.split('/').all(is_shown) || path.len() > PATH_BYTES_MAX {
        return Err(none());
    }
    let place = run.join(path);
    // A link would lead elsewhere: nobody of ours makes one.
    let real = fs::canonicalize(&place).map_err(|_| none())?;
    if real == place && real.starts_with(run) && real.is_file() { Ok(place) } else { Err(none()) }
}

/// The files of a run directory and how long they are, in the order of their names; at most [`FILES_MAX`], and none that
/// are being written.
pub(super) fn listed(run: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![(run.to_owned(), String::new())];
    while let Some((folder, shown)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Of the entry itself, not of what a link leads to.
            let Ok(metadata) = entry.metadata() else { continue };
            if !is_shown(&name) || found.len() >= FILES_MAX {
                continue;
            }
            let path = if shown.is_empty() { name } else { format!("{shown}/{name}") };
            if metadata.is_file() {
                found.push((path, metadata.len()));
            } else if metadata.is_dir() && path.matches('/').count() < DEPTH_MAX {
                folders.push((entry.path(), path));
            }
        }
    }
    found.sort();
    found
}

/// A SHA-256 as clients write it: 64 lower-case digits.
pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a file of a job may be called so: a plain relative path.
pub(super) fn is_job_file(path: &str) -> bool {
    let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let is_bounded = path.len() <= PATH_BYTES_MAX
        && path.split('/').count() <= DEPTH_MAX
        && path.split('/').all(|part| (1..=255).contains(&part.len()) && part != ".");
    is_plain && is_bounded && !path.chars().any(char::is_control)
}

/// For a message: what a client sent, not too long and without control characters.
pub(super) fn shorten(text: &str) -> String {
    crate::config::value::shorten(text)
}

fn is_shown(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('\0')
}

/// As long as names of files.
const RUN_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 2000;
const DEPTH_MAX: usize = 16;
/// A run has at most 1000 files of its board, and some of its own.
pub(super) const FILES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::io::test_folder::TestFolder;

    #[test]
    fn nothing_leaves_its_folder() {
        let folder = TestFolder::new();
        let runs = folder.path().join("runs");
        let run = runs.join("2012-03-01-smoke-abc234");
        fs::create_dir_all(run.join("tests/a")).unwrap();
        fs::create_dir_all(folder.path().join("outside")).unwrap();
        for file in
            ["runs/2012-03-01-smoke-abc234/events.ndjson", "outside/events.ndjson", "secret"]
        {
            fs::write(folder.path().join(file), "x").unwrap();
        }
        fs::write(run.join("tests/a/stdout.log"), "out").unwrap();
        fs::write(run.join(".x.part"), "x").unwrap();
        symlink(folder.path().join("outside"), runs.join("linked")).unwrap();
        symlink(folder.path().join("secret"), run.join("secret")).unwrap();
        symlink("/", run.join("root")).unwrap();
        let known = Runs::new(&runs);
        let found = known.directory("2012-03-01-smoke-abc234").unwrap();
        let long = "x".repeat(5000);
        for bad in [
            "",
            ".",
            "..",
            "linked",
            "../outside",
            "a/b",
            "/etc",
            "none",
            "2012-03-01-smoke-abc234/",
            "2012-03-01-smoke-abc234\0",
            "2012-03-01-smoke-abc234/../2012-03-01-smoke-abc234",
            &long,
        ] {
            assert!(known.directory(bad).is_err(), "{bad:?}");
        }
        assert!(file_of(&found, "tests/a/stdout.log").is_ok());
        for bad in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "tests",
            "tests/a/",
            "tests//a/stdout.log",
            "secret",
            "tests/../events.ndjson",
            "./events.ndjson",
            "root/etc/passwd",
            ".x.part",
            "none",
            "tests/a/stdout.log\0",
            &long,
        ] {
            assert!(file_of(&found, bad).is_err(), "{bad:?}");
        }
        let names: Vec<String> = listed(&found).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["events.ndjson", "tests/a/stdout.log"]);
    }

    #[test]
    fn names_of_clients() {
        assert!(is_job_file("images/root fs.ext4") && is_job_file("a"));
        for bad in
            ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\nb", "a/./b", &"x".repeat(256)]
        {
            assert!(!is_job_file(bad), "{bad:?}");
        }
        assert!(is_digest(&"0a".repeat(32)));
        for bad in ["", "..", &"0A".repeat(32), &"0g".repeat(32), &"0a".repeat(33)] {
            assert!(!is_digest(bad), "{bad:?}");
        }
    }
}
