//! `pumice check`: are these files in order? Touches no board.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::job_texts::{NotRun, job_texts};
use crate::config::board_type::BoardType;
use crate::config::kind::FileKind;
use crate::config::lab::Lab;
use crate::config::yaml::{self, FileError};
use crate::definition::form::Definition;
use crate::job::spec::{Job, Roles, Test};
use crate::job::verdict::ErrorClass;

/// Checks files; writes a line for each that is in order to `out`, and one for each that is not to `errors` (with
/// `json`: an object a line for every file, all to `out`). With a lab, jobs must find a board there.
/// Returns the exit status: 0, or 2 if anything is not in order.
///
/// # Errors
/// `out` or `errors` cannot be written to.
pub fn check(
    files: &[PathBuf],
    lab: Option<&Path>,
    json: bool,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<u8> {
    let mut status = 0;
    let lab = match lab.map(Lab::load).transpose() {
        Ok(lab) => lab,
        Err(error) => {
            report(&Err(error), json, out, errors)?;
            return Ok(ErrorClass::ConfigurationError.exit_status());
        }
    };
    for file in files {
        let result = check_file(file, lab.as_ref());
        if result.is_err() {
            status = ErrorClass::ConfigurationError.exit_status();
        }
        report(&result, json, out, errors)?;
    }
    Ok(status)
}

/// A file that is in order.
struct Good {
    file: String,
    kind: FileKind,
    says: String,
    /// A job's tests.
    tests: Vec<Test>,
}

fn check_file(path: &Path, lab: Option<&Lab>) -> Result<Good, FileError> {
    let file = path.display().to_string();
    let kind = FileKind::of(&file, &yaml::read(path)?)?;
    let mut tests = Vec::new();
    let says = match kind {
        FileKind::Job => {
            let text = yaml::read(path)?;
            match Roles::of_text(path, &text)? {
                Some(roles) => {
                    let boards = roles.nodes.len();
                    let name = roles.name.clone();
                    tests = check_roles(path, roles, lab)?;
                    format!("\"{name}\", {}", count(boards, "board"))
                }
                None => {
                    let job = check_job(path, &text, lab)?;
                    tests = job.tests;
                    format!("\"{}\", {}", job.name, count(tests.len(), "test"))
                }
            }
        }
        FileKind::LavaJob => {
            let jobs = job_texts(path).map_err(NotRun::error)?;
            for job in &jobs {
                let roles = Roles::of_text(path, &job.text).map_err(|error| job.explain(error))?;
                tests.extend(match roles {
                    Some(roles) => check_roles(path, roles, lab)?,
                    None => {
                        let checked = check_job(path, &job.text, lab);
                        checked.map_err(|error| job.explain(error))?.tests
                    }
                });
            }
            format!("becomes {}", count(jobs.len(), "job"))
        }
        FileKind::Lab => count(Lab::load(path)?.boards.len(), "board"),
        FileKind::BoardType => BoardType::load(path)?.name,
        FileKind::Definition => {
            let Definition { name, steps, notes, .. } =
                Definition::from_str(&file, &yaml::read(path)?)?;
            let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
            format!("\"{name}\", {}{notes}", count(steps.len(), "step"))
        }
    };
    Ok(Good { file, kind, says, tests })
}

fn check_job(path: &Path, text: &str, lab: Option<&Lab>) -> Result<Job, FileError> {
    let job = Job::of_text(path, text)?;
    if let Some(lab) = lab {
        let whole = |error: String| FileError::whole(&path.display().to_string(), error);
        lab.find(&job.board).map_err(|error| whole(error.to_string()))?;
    }
    Ok(job)
}

/// The tests of all boards, each with its board's label before its name.
fn check_roles(path: &Path, roles: Roles, lab: Option<&Lab>) -> Result<Vec<Test>, FileError> {
    if let Some(lab) = lab {
        let whole = |error: String| FileError::whole(&path.display().to_string(), error);
        lab.find_all(&roles.wishes()).map_err(|error| whole(error.to_string()))?;
    }
    let named = |label: &str, test: Test| Test { name: format!("{label}/{}", test.name), ..test };
    let nodes = roles.nodes.into_iter();
    let tests = nodes.flat_map(|node| {
        let label = node.label;
        node.job.tests.into_iter().map(move |test| named(&label, test))
    });
    Ok(tests.collect())
}

fn report(
    result: &Result<Good, FileError>,
    json: bool,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    match result {
        Ok(Good { file, kind, tests, .. }) if json => {
            let mut value = json!({"file": file, "ok": true, "kind": kind.to_string()});
            if *kind == FileKind::Job {
                value["tests"] = tests.iter().map(test_json).collect();
            }
            writeln!(out, "{value}")
        }
        Ok(Good { file, kind, says, tests }) => {
            writeln!(out, "{file}: {kind} in order: {says}")?;
            tests.iter().try_for_each(|test| writeln!(out, "  {}", test_text(test)))
        }
        Err(error) if json => {
            let FileError { file, line, column, message, mend } = error;
            let value = json!({"file": file, "ok": false, "line": line, "column": column, "message": message, "mend": mend});
            writeln!(out, "{value}")
        }
        Err(error) => writeln!(errors, "{error}"),
    }
}

fn test_text(test: &Test) -> String {
    let mut text = format!("{}: {}", test.name, count(test.steps, "step"));
    if test.install.is_some() {
        text.push_str(", install");
    }
    if test.overlay.count() > 0 {
        let files = count(test.overlay.files.len(), "file");
        text.push_str(&format!(", overlay of {files}, {}", count(test.overlay.bytes, "byte")));
    }
    if let Some(origin) = &test.definition {
        text.push_str(&format!(", definition {}", origin.name));
        origin.commits.iter().for_each(|commit| text.push_str(&format!("; {commit}")));
    }
    test.notes.iter().for_each(|note| text.push_str(&format!("; {note}")));
    text
}

fn test_json(test: &Test) -> serde_json::Value {
    let origin = test.definition.as_ref();
    json!({
        "name": test.name,
        "steps": test.steps,
        "overlay_files": test.overlay.files.len(),
        "overlay_bytes": test.overlay.bytes,
        "definition": origin.map(|origin| &origin.name),
        "commits": origin.map(|origin| &origin.commits),
        "notes": test.notes,
    })
}

fn count<N: fmt::Display>(number: N, word: &str) -> String {
    let number = number.to_string();
    let ending = if number == "1" { "" } else { "s" };
    format!("{number} {word}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(files: &[(&str, &str)], lab: Option<&str>, json: bool) -> (u8, String) {
        // A folder for each call: tests run side by side.
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("pumice-check-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        files.iter().for_each(|(name, text)| std::fs::write(path(name), text).unwrap());
        let paths: Vec<PathBuf> = files.iter().map(|(name, _)| path(name)).collect();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let lab = lab.map(path);
        let status = check(&paths, lab.as_deref(), json, &mut out, &mut errors).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        out.extend(errors);
        (status, String::from_utf8(out).unwrap().replace(&format!("{}/", folder.display()), ""))
    }

    const JOB: (&str, &str) =
        ("j.yaml", "name: x\nboard: {type: generic}\ntests: [{name: a, run: b}]");
    const LAB: (&str, &str) = ("l.yaml", "boards: [{name: a, type: qemu-virt-armv7}]");

    #[test]
    fn each_file_gets_a_line() {
        let board_type = ("t.yaml", "name: t\nline: {}");
        let wrong = ("w.yaml", "boards:\n - nam: a");
        let (status, text) = run(&[JOB, LAB, board_type, wrong], None, false);
        assert_eq!(status, 2);
        assert_eq!(
            text,
            "j.yaml: job in order: \"x\", 1 test\n  a: 1 step\nl.yaml: lab in order: 1 board\nt.yaml: board type in order: t\nw.yaml:2: unknown key \"nam\": did you mean \"name\"?\n"
        );
        assert_eq!(run(&[JOB, LAB], None, false).0, 0);
    }

    #[test]
    fn a_job_must_find_its_board_in_a_lab_that_is_given() {
        let (status, text) = run(&[LAB, JOB], Some("l.yaml"), false);
        assert_eq!(status, 2);
        assert!(
            text.ends_with(
                "j.yaml: the lab has no board of the type generic: it has a (qemu-virt-armv7)\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn json_lines() {
        let (_, text) = run(&[JOB, ("w.yaml", "boards: 3")], None, true);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["ok"], &lines[1]["line"]), (&true.into(), &1.into()));
    }
}
