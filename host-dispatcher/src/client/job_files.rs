//! Which files a job file names that have to go with it to a lab elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::yaml::{self, FileError};

/// The files by their names relative to the job file: images, definitions, and everything in a definition's folder.
/// Absolute paths and URLs stay where they are: the lab has, or fetches, them itself.
///
/// # Errors
/// A sentence: a file lies outside the job file's folder, is missing, or there are too many.
pub fn of(
    file: &str,
    text: &str,
    folder: &Path,
) -> Result<BTreeMap<String, PathBuf>, JobFilesError> {
    let job: Value = yaml::from_str(file, text, &[]).map_err(JobFilesError::File)?;
    let mut files = BTreeMap::new();
    for name in named(&job) {
        add(&mut files, folder, &name)?;
    }
    Ok(files)
}

/// The relative paths in a job.
fn named(job: &Value) -> Vec<String> {
    let deploy = job["deploy"].as_object().into_iter().flatten();
    let images = deploy.filter(|(key, _)| IMAGE_KEYS.contains(&key.as_str()));
    let images = images.filter_map(|(_, value)| value.as_str());
    let tests = job["tests"].as_array().into_iter().flatten();
    let definitions = tests.filter_map(|test| match &test["definition"] {
        Value::String(path) => Some(path.as_str()),
        Value::Object(source) if source.contains_key("git") => None,
        Value::Object(source) => source.get("directory").or(source.get("path"))?.as_str(),
        _ => None,
    });
    let is_relative = |path: &&str| !path.contains("://") && !path.starts_with('/');
    images.chain(definitions).filter(is_relative).map(str::to_owned).collect()
}

fn add(
    files: &mut BTreeMap<String, PathBuf>,
    folder: &Path,
    name: &str,
) -> Result<(), JobFilesError> {
    let parts = || name.split('/').filter(|part| !matches!(*part, "" | "."));
    if parts().any(|part| part == "..") {
        return Err(JobFilesError::Outside(name.to_owned()));
    }
    let clean: Vec<&str> = parts().collect();
    let (clean, place) = (clean.join("/"), folder.join(name));
    let metadata =
        fs::metadata(&place).map_err(|error| JobFilesError::Missing(place.clone(), error))?;
    if !metadata.is_dir() {
        files.insert(clean, place);
        return if files.len() > FILES_MAX { Err(JobFilesError::TooMany) } else { Ok(()) };
    }
    let entries = fs::read_dir(&place).map_err(|error| JobFilesError::Missing(place, error))?;
    for entry in entries.flatten() {
        let Some(entry) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if entry != ".git" {
            add(files, folder, &if clean.is_empty() { entry } else { format!("{clean}/{entry}") })?;
        }
    }
    Ok(())
}

/// The keys of `deploy:` that name files.
const IMAGE_KEYS: [&str; 7] = ["rootfs", "boot", "kernel", "ramdisk", "dtb", "disk", "bmap"];
/// As many as a lab takes.
const FILES_MAX: usize = 1000;

/// Why a job's files cannot go with it.
#[derive(Debug)]
pub enum JobFilesError {
    /// The job file itself.
    File(FileError),
    /// It does not lie below the job file's folder.
    Outside(String),
    /// It cannot be read.
    Missing(PathBuf, std::io::Error),
    /// More than [`FILES_MAX`].
    TooMany,
}

impl std::fmt::Display for JobFilesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => write!(f, "{error}"),
            Self::Outside(name) => write!(
                f,
                "{name} lies outside the job file's folder, and only what lies in it goes to a lab: move it \
                 there, or name it by a URL or by its absolute path on the lab's host"
            ),
            Self::Missing(path, error) => write!(f, "failed to read {}: {error}", path.display()),
            Self::TooMany => {
                write!(
                    f,
                    "the job brings more than {FILES_MAX} files: put its tests into a repository"
                )
            }
        }
    }
}

impl std::error::Error for JobFilesError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::test_folder::TestFolder;

    const JOB: &str = "
name: smoke
deploy: {rootfs: images/a.ext4, kernel: /boot/vmlinuz, disk: 'http://x/y', rootfs_sha256: 00}
tests:
  - definition: ./smoke.yaml
  - definition: {directory: suite, path: suite.yaml}
  - definition: {git: 'https://x/y', path: z.yaml}
  - {name: uname, run: uname}
";

    #[test]
    fn what_lies_beside_the_job_goes_with_it() {
        let folder = TestFolder::new();
        for file in ["images/a.ext4", "smoke.yaml", "suite/suite.yaml", "suite/b/c", "suite/.git/x"]
        {
            let place = folder.path().join(file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, file).unwrap();
        }
        let files = of("job.yaml", JOB, folder.path()).unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["images/a.ext4", "smoke.yaml", "suite/b/c", "suite/suite.yaml"]);
        let outside = JOB.replace("images/a.ext4", "../a.ext4");
        assert!(
            of("job.yaml", &outside, folder.path())
                .unwrap_err()
                .to_string()
                .starts_with("../a.ext4 lies outside the job file's folder")
        );
        let missing = JOB.replace("images/a.ext4", "b.ext4");
        assert!(matches!(of("job.yaml", &missing, folder.path()), Err(JobFilesError::Missing(..))));
    }
}
