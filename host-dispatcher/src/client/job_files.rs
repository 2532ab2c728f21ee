//! Which files a job file names that have to go with it to a lab elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::yaml::{self, FileError};

/// What goes with a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFiles {
    /// The folder of the job file among the files; empty unless it names some by `..`.
    pub folder: String,
    /// By their names: images, definitions, and everything in a definition's folder.
    pub files: BTreeMap<String, PathBuf>,
}

/// The files that a job names by relative paths. Absolute paths and URLs stay where they are: the lab has, or fetches,
/// them itself.
///
/// # Errors
/// A sentence: a file is missing, lies too far away, or there are too many.
pub fn of(file: &str, text: &str, folder: &Path) -> Result<JobFiles, JobFilesError> {
    let job: Value = yaml::from_str(file, text, &[]).map_err(JobFilesError::File)?;
    let names = named(&job);
    let up = names.iter().map(|name| levels_up(name)).max().unwrap_or(0);
    let folder = folder.canonicalize();
    let folder = folder.map_err(|error| JobFilesError::Missing(PathBuf::from(file), error))?;
    let base = folder.ancestors().nth(up).ok_or_else(|| JobFilesError::Outside(file.to_owned()))?;
    let below =
        folder.strip_prefix(base).unwrap_or_else(|_| Path::new("")).to_string_lossy().into_owned();
    let mut job_files = JobFiles { folder: below.clone(), files: BTreeMap::new() };
    for name in names {
        add(&mut job_files.files, base, &normal(&format!("{below}/{name}")))?;
    }
    Ok(job_files)
}

/// How far a path leads above where it begins.
fn levels_up(path: &str) -> usize {
    let (mut depth, mut up) = (0usize, 0usize);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => up += 1,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    up
}

/// The path without `.` and `..`, which lead nowhere above its beginning.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The relative paths in a job, and in what its roles say for themselves.
fn named(job: &Value) -> Vec<String> {
    let roles = job["roles"].as_object().into_iter().flatten().map(|(_, role)| role);
    std::iter::once(job).chain(roles).flat_map(named_by_one).collect()
}

fn named_by_one(job: &Value) -> Vec<String> {
    let deploy = job["deploy"].as_object().into_iter().flatten();
    let images = deploy.filter(|(key, _)| IMAGE_KEYS.contains(&key.as_str()));
    let images = images.filter_map(|(_, value)| value.as_str());
    let overlays = job["deploy"]["overlays"].as_array().into_iter().flatten();
    let overlays = overlays
        .flat_map(|overlay| [&overlay["archive"], &overlay["file"]])
        .filter_map(|value| value.as_str());
    let tests = job["tests"].as_array().into_iter().flatten();
    let definitions = tests.filter_map(|test| match &test["definition"] {
        Value::String(path) => Some(path.as_str()),
        Value::Object(source) if ["git", "url"].iter().any(|key| source.contains_key(*key)) => None,
        Value::Object(source) => source.get("directory").or_else(|| source.get("path"))?.as_str(),
        _ => None,
    });
    let is_relative = |path: &&str| !path.contains("://") && !path.starts_with('/');
    images.chain(overlays).chain(definitions).filter(is_relative).map(str::to_owned).collect()
}

fn add(
    files: &mut BTreeMap<String, PathBuf>,
    base: &Path,
    name: &str,
) -> Result<(), JobFilesError> {
    let place = base.join(name);
    let metadata =
        fs::metadata(&place).map_err(|error| JobFilesError::Missing(place.clone(), error))?;
    if !metadata.is_dir() {
        files.insert(name.to_owned(), place);
        return if files.len() > FILES_MAX { Err(JobFilesError::TooMany) } else { Ok(()) };
    }
    let entries = fs::read_dir(&place).map_err(|error| JobFilesError::Missing(place, error))?;
    for entry in entries.flatten() {
        let Some(entry) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if entry != ".git" {
            add(files, base, &normal(&format!("{name}/{entry}")))?;
        }
    }
    Ok(())
}

/// The keys of `deploy:` that name files.
const IMAGE_KEYS: [&str; 8] =
    ["rootfs", "boot", "kernel", "ramdisk", "dtb", "disk", "bmap", "modules"];
/// As many as a lab takes.
const FILES_MAX: usize = 1000;

/// Why a job's files cannot go with it.
#[derive(Debug)]
pub enum JobFilesError {
    /// The job file itself.
    File(FileError),
    /// It names files above the root of the file system.
    Outside(String),
    /// It cannot be read.
    Missing(PathBuf, std::io::Error),
    /// More than a lab takes.
    TooMany,
}

impl std::fmt::Display for JobFilesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => write!(f, "{error}"),
            Self::Outside(file) => write!(f, "{file} names files above /: mend its paths"),
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
deploy: {rootfs: images/a.ext4, kernel: /boot/vmlinuz, disk: 'http://x/y', rootfs_sha256: 00, modules: ./m.tar, overlays: [{archive: 'http://x/z'}, {file: o/tool, path: /}]}
tests:
  - definition: ./smoke.yaml
  - definition: {directory: suite, path: suite.yaml}
  - definition: {git: 'https://x/y', path: z.yaml}
  - definition: {url: 'https://x/y.tar', path: z.yaml}
  - {name: uname, run: uname}
";

    #[test]
    fn what_lies_beside_the_job_goes_with_it() {
        let folder = TestFolder::new();
        for file in [
            "images/a.ext4",
            "m.tar",
            "o/tool",
            "smoke.yaml",
            "suite/suite.yaml",
            "suite/b/c",
            "suite/.git/x",
        ] {
            let place = folder.path().join(file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, file).unwrap();
        }
        let job_files = of("job.yaml", JOB, folder.path()).unwrap();
        let names =
            |job_files: &JobFiles| job_files.files.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(
            names(&job_files),
            "images/a.ext4 m.tar o/tool smoke.yaml suite/b/c suite/suite.yaml"
        );
        assert_eq!(job_files.folder, "");
        let from_below = JOB
            .replace("./smoke.yaml", "../smoke.yaml")
            .replace("images/", "../images/")
            .replace("./m.tar", "../m.tar")
            .replace("o/tool", "../o/tool");
        let from_below = from_below.replace("directory: suite", "directory: .");
        let job_files = of("job.yaml", &from_below, &folder.path().join("suite")).unwrap();
        assert_eq!(
            names(&job_files),
            "images/a.ext4 m.tar o/tool smoke.yaml suite/b/c suite/suite.yaml"
        );
        assert_eq!(job_files.folder, "suite");
        // What a role says for itself goes with the job as well.
        let lines: Vec<&str> = JOB.trim_start().lines().collect();
        let indented =
            |lines: &[&str]| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
        let of_roles = format!(
            "name: x\nroles:\n  a:\n{}  b:\n{}",
            indented(&lines[1..2]),
            indented(&lines[2..])
        );
        let job_files = of("job.yaml", &of_roles, folder.path()).unwrap();
        assert_eq!(
            names(&job_files),
            "images/a.ext4 m.tar o/tool smoke.yaml suite/b/c suite/suite.yaml"
        );
        let missing = JOB.replace("images/a.ext4", "b.ext4");
        assert!(matches!(of("job.yaml", &missing, folder.path()), Err(JobFilesError::Missing(..))));
    }
}
