//! `lava-test-case-attach` and `lava-test-run-attach`: files that are kept with the run.
//!
//! They are copied to `$LAVA_RESULT_DIR/attachments/<case>/`, under names that are fit for a path, synced, and told to the
//! agent one by one. Nothing is overwritten: a second file of a name gets a number.

use super::tell::{problem, tell};
use super::{End, case, say, variable};
use crate::files::{file_name, split_name, sync_directory};
use crate::sys::directory::{Directory, make_all};
use crate::sys::errno::{Errno, OsResult};
use crate::sys::file::{self, File};
use crate::sys::path as paths;
use crate::text;
use agent_core::wire::test_signal::TestSignal;

/// `CASE FILE|DIRECTORY [TYPE]`.
pub(super) fn to_case(words: &[&str], raw: &[&[u8]]) -> Result<(), End> {
    match words {
        [name, _] | [name, _, _] => keep(name, &raw[1..2]),
        _ => Err(End::Usage("CASE FILE [TYPE]")),
    }
}

/// `FILE [TYPE]`.
pub(super) fn to_run(words: &[&str], raw: &[&[u8]]) -> Result<(), End> {
    match words {
        [_] | [_, _] => keep("", &raw[..1]),
        _ => Err(End::Usage("FILE [TYPE]")),
    }
}

/// Keeps files and directories for a case, or (empty) for the suite.
pub(super) fn keep(case: &str, paths: &[&[u8]]) -> Result<(), End> {
    let Some(results) = variable("LAVA_RESULT_DIR=") else {
        say(&["not in a run: nothing was attached"]);
        return Ok(());
    };
    let folder = if case.is_empty() { "_".to_owned() } else { plain(case) };
    let mut keeper = Keeper { case, top: [&results, "/attachments"].concat(), results, files: 0 };
    for path in paths {
        keeper.keep(path, &folder, &own_name(path), 0)?;
    }
    Ok(())
}

struct Keeper<'a> {
    case: &'a str,
    results: String,
    top: String,
    files: u32,
}

impl Keeper<'_> {
    fn keep(&mut self, from: &[u8], folder: &str, name: &str, depth: u32) -> Result<(), End> {
        let shown = text::lossy(from);
        let os = |error: Errno| case::about(&shown, error);
        // What the caller names may be a link; what is found below it is not followed.
        let kind = if depth == 0 { paths::stat(from) } else { paths::link_stat(from) };
        let kind = kind.map_err(os)?;
        let place = [folder, "/", &plain(name)].concat();
        if kind.is_directory() {
            if depth == DEPTH_MAX {
                return Err(problem("more than 8 directories deep"));
            }
            let mut entries = Directory::open(from).map_err(os)?;
            while let Some(name) = entries.next().map_err(os)? {
                let below = [from, b"/", name].concat();
                self.keep(&below, &place, &text::lossy(name), depth + 1)?;
            }
            return Ok(());
        }
        if !kind.is_file() {
            say(&["not a file, left out: ", &shown]);
            return Ok(());
        }
        self.files += 1;
        if self.files > FILES_MAX {
            return Err(problem("more than 1000 files"));
        }
        let source = file::open(from, file::READ_ANYTHING).map_err(os)?;
        make_all(&[&self.top, "/", folder].concat()).map_err(os)?;
        let (place, copy) = self.fresh(&place).map_err(os)?;
        let copied = copy_all(&source, &copy);
        let synced = copied.and_then(|()| copy.sync_all()).and_then(|()| self.sync(folder));
        if let Err(error) = synced {
            // Half a file must not look like a whole one.
            let _ = paths::remove_file([&self.top, "/", &place].concat());
            return Err(os(error));
        }
        let kind = TestSignal::ATTACHMENT;
        tell(&TestSignal { kind, name: self.case, text: &place, ..TestSignal::default() })
    }

    /// A new file at `place`, or at the first number behind it that is free.
    fn fresh(&self, place: &str) -> OsResult<(String, File)> {
        for number in 1_u32.. {
            let place = match number {
                1 => place.to_owned(),
                _ => [place, ".", &text::number(number)].concat(),
            };
            match file::open([&self.top, "/", &place].concat(), file::NEW) {
                Err(Errno::EEXIST) if number < SAME_MAX => {}
                opened => return opened.map(|file| (place, file)),
            }
        }
        Err(Errno::EEXIST)
    }

    /// Makes the names of everything from the file up to the suite's directory durable.
    fn sync(&self, folder: &str) -> OsResult<()> {
        let mut folder = folder;
        loop {
            sync_directory(&[&self.top, "/", folder].concat())?;
            let (above, _) = split_name(folder);
            let Some(above) = above.strip_suffix("/") else { break };
            folder = above;
        }
        sync_directory(&self.top)?;
        sync_directory(&self.results)
    }
}

/// The last name of a path, `_` when that is none.
fn own_name(path: &[u8]) -> String {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    match file_name(&path[..end]) {
        b"" | b"." | b".." => "_".to_owned(),
        name => text::lossy(name),
    }
}

/// The name as one that is fit for a path: at most 64 letters, digits, `.`, `_` and `-`, the first no dot.
pub(super) fn plain(name: &str) -> String {
    // Not `contains`, whose search for letters of several bytes costs 800.
    let is_fit =
        |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let fit = |letter| if is_fit(&letter) { letter } else { '_' };
    let mut plain: String = name.chars().map(fit).take(64).collect();
    if plain.is_empty() || plain.starts_with('.') {
        plain.insert(0, '_');
    }
    plain
}

fn copy_all(from: &File, to: &File) -> OsResult<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
    }
}

/// Directories below the one that was named.
const DEPTH_MAX: u32 = 8;

/// Files of one call.
const FILES_MAX: u32 = 1000;

/// Files of one name.
const SAME_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_a_path() {
        for (path, expected) in [
            ("boot.log", "boot.log"),
            ("/var/log/boot.log", "boot.log"),
            ("logs/", "logs"),
            ("logs//", "logs"),
            ("/", "_"),
            ("", "_"),
            ("..", "_"),
            ("a/.", "_"),
        ] {
            assert_eq!(own_name(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn names_become_fit_for_a_path() {
        for (name, expected) in [
            ("boot.log", "boot.log"),
            ("", "_"),
            ("..", "_.."),
            ("../../etc/passwd", "_.._.._etc_passwd"),
            ("zwei Wörter", "zwei_W_rter"),
        ] {
            assert_eq!(plain(name), expected);
        }
        assert_eq!(plain(&"x".repeat(300)).len(), 64);
    }
}
