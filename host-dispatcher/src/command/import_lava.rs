//! `pumice import-lava`: files of LAVA become files of ours.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::STATUS_USAGE;
use crate::cli::ImportArgs;
use crate::config::yaml::{self, FileError};
use crate::lava::device;
use crate::lava::import::{self, Imported};
use crate::lava::report::{Outcome, Report};

/// Writes what the files become to `out` or into a folder, and what became of their keys to `errors`; with `json` an object
/// for each file to `out`. Returns the exit status: 0, or 2 if a file asks for what is not done here.
///
/// # Errors
/// `out` or `errors` cannot be written to.
pub fn import_lava(
    args: &ImportArgs,
    json: bool,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<u8> {
    let mut status = 0;
    let mut is_first = true;
    for file in &args.files {
        let Imported { jobs, report } = match read(file) {
            Ok(imported) => imported,
            Err(error) => {
                status = STATUS_USAGE;
                if json {
                    writeln!(out, "{}", json!({"file": error.file, "error": error.to_string()}))?;
                } else {
                    writeln!(errors, "{error}")?;
                }
                continue;
            }
        };
        if !report.is_clean() {
            status = STATUS_USAGE;
        }
        if json {
            let jobs: Vec<_> =
                jobs.iter().map(|job| json!({"name": job.name, "text": job.text})).collect();
            let entries = report.entries();
            writeln!(out, "{}", json!({"file": report.file, "jobs": jobs, "report": entries}))?;
            continue;
        }
        tell(&report, args.quiet, errors)?;
        for (number, job) in jobs.iter().enumerate() {
            match &args.out {
                Some(folder) => {
                    let place = place(folder, file, number);
                    match write(&place, &job.text, args.force) {
                        Ok(()) => writeln!(errors, "{}: written", place.display())?,
                        Err(error) => {
                            status = STATUS_USAGE;
                            let mend = if error.kind() == io::ErrorKind::AlreadyExists {
                                ": --force writes over it"
                            } else {
                                ""
                            };
                            writeln!(errors, "{}: {error}{mend}", place.display())?;
                        }
                    }
                }
                None => {
                    if !std::mem::take(&mut is_first) {
                        writeln!(out, "---")?;
                    }
                    write!(out, "{}", job.text)?;
                }
            }
        }
    }
    Ok(status)
}

fn read(path: &Path) -> Result<Imported, FileError> {
    let file = path.display().to_string();
    let text = yaml::read(path)?;
    if device::is_device(&text) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        return device::import(&file, &text, &stem);
    }
    if !import::is_lava_job(&text) {
        return Err(FileError::whole(&file, "neither a job of LAVA nor a device dictionary").mend(
            "a job has a list of actions; a dictionary is had, rendered, with GET /api/v0.2/devices/NAME/dictionary/?render=true",
        ));
    }
    import::import(&file, &text)
}

fn tell(report: &Report, is_quiet: bool, errors: &mut impl Write) -> io::Result<()> {
    if is_quiet {
        report.obstacles().iter().try_for_each(|line| writeln!(errors, "{line}"))?;
    } else {
        write!(errors, "{report}")?;
    }
    let count = |outcome| report.count(outcome);
    writeln!(
        errors,
        "{}: {} keys mapped, {} ignored, {} unsupported, {} wrong",
        report.file,
        count(Outcome::Mapped),
        count(Outcome::Ignored),
        count(Outcome::Unsupported),
        count(Outcome::Mistake)
    )
}

/// `DIR/smoke.yaml`, `DIR/smoke-2.yaml`.
fn place(folder: &Path, file: &Path, number: usize) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let suffix = if number == 0 { String::new() } else { format!("-{}", number + 1) };
    folder.join(format!("{stem}{suffix}.yaml"))
}

fn write(place: &Path, text: &str, is_forced: bool) -> io::Result<()> {
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(is_forced).create_new(!is_forced);
    options.open(place)?.write_all(text.as_bytes())
}
