//! The corpus of LAVA jobs and devices in `tests/lava`: what each becomes, and what is said of its keys, stands beside it.
//!
//! `PUMICE_ACCEPT=1 cargo test -p host-dispatcher --test lava_corpus` writes the expected files again.

use std::fs;
use std::path::{Path, PathBuf};

use host_dispatcher::config::lab::Lab;
use host_dispatcher::job::spec::{Job, Roles};
use host_dispatcher::lava::device;
use host_dispatcher::lava::import::{self, Imported};

/// Files of a kind, and how many of them there are at least.
fn files(kind: &str, at_least: usize) -> Vec<PathBuf> {
    let folder = corpus().join(kind);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "{} files in {}", files.len(), folder.display());
    files
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lava")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Jobs and report as one text.
fn shown(imported: &Imported) -> String {
    let jobs: Vec<&str> = imported.jobs.iter().map(|job| job.text.as_str()).collect();
    format!("{}\n=== report\n{}", jobs.join("---\n"), imported.report)
}

fn compare(kind: &str, path: &Path, text: &str) {
    let expected = corpus().join("expected").join(kind).join(name(path) + ".txt");
    if std::env::var_os("PUMICE_ACCEPT").is_some() {
        fs::create_dir_all(expected.parent().unwrap()).unwrap();
        fs::write(&expected, text).unwrap();
    }
    let before = fs::read_to_string(&expected).unwrap_or_default();
    assert!(
        before == text,
        "{} became another: PUMICE_ACCEPT=1 accepts it\n{text}",
        path.display()
    );
}

/// What is wrong with a job of ours that was made: nothing but what this host lacks, files and repositories.
fn check(file: &str, text: &str) {
    // Repositories and definitions that cannot be there, instead of some that are asked for over the network.
    let text: String = text
        .lines()
        .map(|line| {
            let names = line.contains("git") || line.trim_start().starts_with("url: ");
            let schemes = ["https://", "http://", "ssh://", "git://"];
            let line = schemes
                .iter()
                .filter(|_| names)
                .fold(line.to_owned(), |line, scheme| line.replace(scheme, "/nowhere/"));
            line + "\n"
        })
        .collect();
    let read = match Roles::of_text(Path::new(file), &text) {
        Ok(None) => Job::from_str(file, &text, Path::new("/"), |_| Ok(1)).map(drop),
        roles => roles.map(drop),
    };
    if let Err(error) = read {
        let error = error.to_string();
        let lacks = ["/nowhere/"];
        assert!(lacks.iter().any(|what| error.contains(what)), "{error}\n{text}");
    }
}

#[test]
fn jobs_become_what_is_expected() {
    for (kind, at_least) in [("v2", 30), ("v1", 10)] {
        for path in files(kind, at_least) {
            let text = fs::read_to_string(&path).unwrap();
            let file = name(&path);
            assert!(import::is_lava_job(&text) || file.starts_with("bad-"), "{file}");
            let told = match import::import(&file, &text) {
                Ok(imported) => {
                    let is_clean = imported.report.is_clean();
                    assert!(!(is_clean && file.starts_with("bad-")), "{file} is taken for good");
                    if is_clean {
                        imported.jobs.iter().for_each(|job| check(&file, &job.text));
                    }
                    shown(&imported)
                }
                Err(error) => format!("{error}\n"),
            };
            compare(kind, &path, &told);
        }
    }
}

#[test]
fn devices_become_boards() {
    for path in files("devices", 6) {
        let text = fs::read_to_string(&path).unwrap();
        let file = name(&path);
        assert!(device::is_device(&text) && !import::is_lava_job(&text), "{file}");
        let stem = path.file_stem().unwrap().to_string_lossy();
        let imported = device::import(&file, &text, &stem).unwrap();
        let lab = &imported.jobs[0].text;
        if let Err(error) = Lab::from_str(&file, lab, |_| Ok(Vec::new())) {
            let error = error.to_string();
            assert!(!imported.report.is_clean(), "{error}\n{lab}");
        }
        compare("devices", &path, &shown(&imported));
    }
}

/// Every key of a job is told of: one that is added anywhere is found.
#[test]
fn no_key_is_lost() {
    for path in files("v2", 30) {
        let file = name(&path);
        let text = fs::read_to_string(&path).unwrap();
        let Ok(before) = import::import(&file, &text) else { continue };
        let mut told = 0;
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            // Behind a plain key of a block, one more with its indent.
            let indent = line.len() - line.trim_start().len();
            let is_key = line.trim_start().starts_with(|c: char| c.is_ascii_lowercase())
                && line.contains(": ")
                && !line.contains(['{', '[', '|', '>', '&', '*']);
            if !is_key {
                continue;
            }
            let mut with = lines.clone();
            let added = format!("{}unheard_of: 1", " ".repeat(indent));
            with.insert(number, &added);
            let Ok(after) = import::import(&file, &with.join("\n")) else { continue };
            let entry = after.report.entries().iter().find(|entry| {
                entry.key.contains("unheard_of") || entry.text.contains("unheard_of")
            });
            // In maps that everybody names as they like it is one of theirs.
            let is_free = after.report.entries().len() <= before.report.entries().len()
                || after.jobs != before.jobs;
            assert!(entry.is_some() || is_free, "{file}:{}: {line}", number + 1);
            told += usize::from(entry.is_some());
        }
        assert!(told > 2 || file.starts_with("bad-"), "{file}: {told}");
    }
}
