//! A program that was put in the place of another one on the board's disk is on trial until a dispatcher has had a session
//! with it. Each of its starts, as process 1 or as the agent, takes a byte from the mark beside it; with none left the
//! program that it replaced goes on in its place.
//!
//! | file | |
//! |---|---|
//! | `PROGRAM` | the one that is started |
//! | `PROGRAM.trial` | the mark: as many bytes as starts are left; nothing without a trial |
//! | `PROGRAM.previous` | the one before it |
//!
//! The dispatcher makes all three (`pumice hand-over --persist`); here they are only counted down.

use crate::files::{split_name, sync_directory};
use crate::sys::errno::Errno;
use crate::sys::path as paths;
use crate::sys::{file, program};

/// Counts this start. Returns when this program is to go on; else the one before it has taken over.
pub(crate) fn begin() {
    let path = own_path();
    if count(&path) {
        return;
    }
    if let Ok(previous) = file::open([&path, ".previous"].concat(), file::READ) {
        program::become_it(&previous);
    }
}

/// A dispatcher has a session: the trial is over.
pub(crate) fn confirm() {
    let path = own_path();
    if paths::remove_file([&path, MARK].concat()).is_ok() {
        let _ = sync_directory(split_name(&path).0);
    }
}

/// Whether a start is left. One that cannot be counted is none: else a program that dies early would be started for ever.
fn count(path: &str) -> bool {
    let mark = match file::open([path, MARK].concat(), file::READ_WRITE) {
        Ok(mark) => mark,
        Err(error) => return error == Errno::ENOENT,
    };
    let left = mark.found().map_or(0, |found| found.size);
    left > 0 && mark.cut(left - 1).and_then(|()| mark.sync_all()).is_ok()
}

/// Where this program lies. One that runs from memory has a name there that no file has.
fn own_path() -> String {
    String::from_utf8(paths::read_link(program::OWN).unwrap_or_default()).unwrap_or_default()
}

const MARK: &str = ".trial";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::directory;
    use std::fs;

    #[test]
    fn starts_are_counted_down_and_none_is_left() {
        let folder = directory("trial");
        let path = folder.join("agent").display().to_string();
        let mark = [&path, MARK].concat();
        assert!(count(&path), "without a mark there is no trial");
        fs::write(&mark, "12").unwrap();
        assert_eq!([count(&path), count(&path), count(&path)], [true, true, false]);
        assert!(!count(&path), "and it stays so");
        assert_eq!(fs::read(&mark).unwrap(), b"");
        fs::remove_file(&mark).unwrap();
        fs::create_dir(&mark).unwrap();
        assert!(!count(&path), "what cannot be counted is not started");
        fs::remove_dir_all(folder).unwrap();
    }
}
