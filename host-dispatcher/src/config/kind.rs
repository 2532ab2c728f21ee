//! What a YAML file is: a job of ours or of LAVA, a lab, a board type or a test definition, told apart by its keys.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::yaml::{self, FileError};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A job: it has `tests`.
    Job,
    /// A job of LAVA: it has `actions`.
    LavaJob,
    /// A lab: it has `boards`.
    Lab,
    /// A board type: it has a `line`.
    BoardType,
    /// A test definition: it has `metadata`.
    Definition,
}

impl FileKind {
    /// What the file is.
    ///
    /// # Errors
    /// It is no YAML map, or has keys of none of them.
    pub fn of(file: &str, text: &str) -> Result<Self, FileError> {
        let Keys(keys) = yaml::from_str(file, text, &[])?;
        let has = |names: &[&str]| names.iter().any(|name| keys.contains_key(*name));
        // The keys that only one of them has; a job may be recognised although its tests are forgotten.
        if has(&["boards", "board_types"]) {
            Ok(Self::Lab)
        } else if has(&["actions"]) {
            Ok(Self::LavaJob)
        } else if has(&["tests", "roles", "deploy", "board", "timeout"]) {
            Ok(Self::Job)
        } else if has(&["line", "boot_loader", "emulator", "partitions", "kernel_args"]) {
            Ok(Self::BoardType)
        } else if has(&["metadata", "run", "install"]) {
            Ok(Self::Definition)
        } else {
            Err(FileError::whole(file, "neither a job, a lab, a board type nor a test definition").mend(
                "a job has the key \"tests\", a lab \"boards\", a board type \"line\", a test definition \"metadata\"",
            ))
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Job => "job",
            Self::LavaJob => "LAVA job",
            Self::Lab => "lab",
            Self::BoardType => "board type",
            Self::Definition => "test definition",
        })
    }
}

#[derive(Deserialize)]
struct Keys(BTreeMap<String, IgnoredAny>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_apart() {
        for (text, expected) in [
            ("boards: []", Some(FileKind::Lab)),
            ("name: x\ntests: []", Some(FileKind::Job)),
            ("name: x\nroles: {}", Some(FileKind::Job)),
            ("job_name: x\nactions: []", Some(FileKind::LavaJob)),
            ("name: x\nline: {}", Some(FileKind::BoardType)),
            ("run: {steps: []}", Some(FileKind::Definition)),
            ("name: x", None),
            ("- a", None),
            ("", None),
        ] {
            assert_eq!(FileKind::of("f", text).ok(), expected, "{text}");
        }
    }
}
