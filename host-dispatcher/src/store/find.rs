//! Which run directory a person means.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

/// A run could not be told.
#[derive(Debug)]
pub enum NotFound {
    /// The folder with runs cannot be read.
    Folder(PathBuf, io::Error),
    /// No run there is called so.
    None(PathBuf, String),
    /// Several are: some of their names.
    Several(String, Vec<String>),
}

/// The run directory that `word` means: a run directory's path, `last` for the one in `out` that began last, or a part of
/// a name there that only one has.
///
/// # Errors
/// None, or several.
pub fn run_directory(out: &Path, word: &str) -> Result<PathBuf, NotFound> {
    let path = PathBuf::from(word);
    if is_run(&path) {
        return Ok(path);
    }
    let folder = fs::read_dir(out).map_err(|error| NotFound::Folder(out.to_owned(), error))?;
    let runs = folder.flatten().map(|entry| entry.path()).filter(|path| is_run(path));
    if word == "last" {
        let newest = runs.max_by_key(|path| began(path));
        return newest.ok_or_else(|| NotFound::None(out.to_owned(), word.to_owned()));
    }
    let name = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let mut matching: Vec<PathBuf> = runs.filter(|path| name(path).contains(word)).collect();
    if let Some(exact) = matching.iter().find(|path| name(path) == word) {
        return Ok(exact.clone());
    }
    match matching.len() {
        0 => Err(NotFound::None(out.to_owned(), word.to_owned())),
        1 => Ok(matching.remove(0)),
        _ => {
            matching.sort();
            let names = matching.iter().map(|path| name(path)).collect();
            Err(NotFound::Several(word.to_owned(), names))
        }
    }
}

fn is_run(path: &Path) -> bool {
    path.join("events.ndjson").is_file()
}

/// When a run began: its first event; `None`, which is before all others, where there is none.
fn began(run: &Path) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Timed {
        time: Timestamp,
    }
    let mut line = Vec::new();
    let file = fs::File::open(run.join("events.ndjson")).ok()?;
    BufReader::new(file.take(1 << 16)).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice::<Timed>(&line).ok().map(|timed| timed.time)
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, error) => {
                write!(f, "failed to read the folder of runs {}: {error}", path.display())
            }
            Self::None(out, word) => {
                write!(
                    f,
                    "no run \"{word}\" in {}: name a run directory, a part of its name, or \"last\"",
                    out.display()
                )
            }
            Self::Several(word, names) => {
                write!(f, "\"{word}\" stands in the names of {} runs: ", names.len())?;
                f.write_str(&names[..names.len().min(5)].join(", "))?;
                if names.len() > 5 { f.write_str(", …") } else { Ok(()) }
            }
        }
    }
}

impl std::error::Error for NotFound {}

#[cfg(test)]
mod tests {
    use super::super::run_dir::RunDir;
    use super::super::run_dir::tests::Scratch;
    use super::*;
    use crate::report::summary::tests::panicked_run;

    #[test]
    fn runs_are_found() {
        let scratch = Scratch::new();
        let make = |name: &str, second: i64| {
            let now = Timestamp::from_second(1_330_560_000).unwrap();
            let mut run = RunDir::create(&scratch.0, name, now, second as u64).unwrap();
            let mut first = panicked_run().remove(0);
            first.time = Timestamp::from_second(second).unwrap();
            run.event(&first).unwrap();
            run.path().to_owned()
        };
        let late = make("zebra", 2_000);
        let early = make("zebra-crossing", 1_000);
        fs::create_dir(scratch.0.join("2012-03-01-not-a-run")).unwrap();
        let find = |word: &str| run_directory(&scratch.0, word);
        assert_eq!(find("last").unwrap(), late);
        assert_eq!(find("crossing").unwrap(), early);
        assert_eq!(find(early.to_str().unwrap()).unwrap(), early);
        assert_eq!(find(late.file_name().unwrap().to_str().unwrap()).unwrap(), late);
        assert!(
            find("zebra")
                .unwrap_err()
                .to_string()
                .starts_with("\"zebra\" stands in the names of 2 runs: 2012-")
        );
        assert!(find("not-a-run").unwrap_err().to_string().starts_with("no run \"not-a-run\""));
        assert!(matches!(
            run_directory(Path::new("/nonexistent"), "last"),
            Err(NotFound::Folder(..))
        ));
    }
}
