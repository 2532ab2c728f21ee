//! The pages of `pumice report` and `pumice serve` in a real browser: Chromium, headless, driven by `tests/e2e/browser/report.py`
//! and `lab.py`, which name what they check. What a person may want to look at is in `target/report-page`.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::LabServer;
use e2e::program::{Running, built};

/// As in `synthetic_run.py`.
const RUN: &str = "2026-03-01-smoke-abc234";
/// As in ci/setup.
const AXE: &str = "pumice/axe-core-4.14.1/axe.min.js";

#[test]
fn a_run_is_shown_searched_and_reached_by_links() {
    check("small", 0);
}

#[test]
fn of_a_million_lines_any_place_is_near() {
    check("large", 1_000_000);
}

#[test]
fn the_page_of_a_lab_that_is_served() {
    let server = LabServer::with_pty_boards(&["b1"]);
    let run = server.runs().join(RUN).display().to_string();
    let folder = server.lab().folder();
    python(folder, &[&script("synthetic_run.py"), &run]);
    let address = format!("http://{}", server.address());
    let (axe, shots) = (axe().display().to_string(), shots().display().to_string());
    let told = python(folder, &[&script("lab.py"), &address, "b1", RUN, &axe, &shots]);
    println!("{told}");
}

/// Makes a run with so many lines more, writes its page, and looks at it.
fn check(kind: &str, lines: u32) {
    let folder = tempfile::Builder::new().prefix("pumice-e2e-").tempdir().expect("a folder");
    let lines = lines.to_string();
    python(folder.path(), &[&script("synthetic_run.py"), "runs/the-run", &lines]);
    let report = start(&built("pumice"), &["report", "last", "--output", "report.html"], &folder);
    assert_eq!(report, "report.html\n");
    let shots = shots();
    let shots = shots.display().to_string();
    let axe = axe().display().to_string();
    let told = python(folder.path(), &[&script("report.py"), kind, "report.html", &axe, &shots]);
    println!("{told}");
}

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(name).display().to_string()
}

fn python(folder: &Path, words: &[&str]) -> String {
    // Debian's own, as python3-selenium belongs to that. Nothing is to be written beside the scripts.
    let words: Vec<&str> = ["-B"].iter().chain(words).copied().collect();
    start(Path::new("/usr/bin/python3"), &words, folder)
}

/// Runs a program to its end, and returns what it wrote.
fn start(program: &Path, words: &[&str], folder: impl AsRef<Path>) -> String {
    Running::start(program, words, folder.as_ref(), &[], None).wait().exits_with(0).out()
}

fn shots() -> PathBuf {
    let program = built("pumice");
    let target = program.ancestors().nth(2).expect("programs lie in target/PROFILE");
    let folder = target.join("report-page");
    fs::create_dir_all(&folder).expect("target is ours");
    folder
}

fn axe() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let axe = cache.map_or_else(home, PathBuf::from).join(AXE);
    assert!(axe.is_file(), "{} is missing: run ci/setup", axe.display());
    axe
}
