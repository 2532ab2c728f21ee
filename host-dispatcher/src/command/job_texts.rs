//! The jobs in a file: one of ours, or those that one of LAVA's becomes.

use std::io::Write;
use std::path::Path;

use crate::config::yaml::{self, FileError};
use crate::lava::import::{import, is_lava_job};
use crate::lava::report::{Outcome, Report};
use crate::script::Fault;

/// The text of a job of ours.
#[derive(Clone, Debug)]
pub(super) struct JobText {
    pub(super) text: String,
    /// It was made of a LAVA job.
    is_imported: bool,
}

impl JobText {
    /// An error of the job. Of one that was made its line is not the file's.
    pub(super) fn explain(&self, error: FileError) -> FileError {
        if !self.is_imported {
            return error;
        }
        let message = format!("as pumice import-lava makes it: {}", error.message);
        FileError { message, ..error }
    }
}

/// Why a file has no job that can be run.
#[derive(Debug)]
pub(super) enum NotRun {
    /// It is no such file.
    File(FileError),
    /// A LAVA job asks for what is not done here.
    Report(Report),
}

impl NotRun {
    /// As a ConfigurationError: every key that stands in the way is on a line of its own.
    pub(super) fn fault(&self) -> Fault {
        Fault::configuration(match self {
            Self::File(error) => error.to_string(),
            Self::Report(report) => report.obstacles().join("\npumice: "),
        })
    }

    /// As one line: the first such key, and how many there are.
    pub(super) fn error(self) -> FileError {
        match self {
            Self::File(error) => error,
            Self::Report(report) => report.first_obstacle(),
        }
    }
}

/// The texts of the jobs in a file, to be done one after the other. On the error output stands what a LAVA job loses.
///
/// # Errors
/// The file cannot be read, or it is a LAVA job that asks for what is not done here.
pub(super) fn job_texts(path: &Path) -> Result<Vec<JobText>, NotRun> {
    let text = yaml::read(path).map_err(NotRun::File)?;
    if !is_lava_job(&text) {
        return Ok(vec![JobText { text, is_imported: false }]);
    }
    let imported = import(&path.display().to_string(), &text).map_err(NotRun::File)?;
    let report = &imported.report;
    if !report.is_clean() {
        return Err(NotRun::Report(imported.report));
    }
    let ignored = report.count(Outcome::Ignored);
    if ignored > 0 {
        let _ = writeln!(
            std::io::stderr(),
            "pumice: {}: a LAVA job, {ignored} of whose keys are not needed here: pumice import-lava tells which",
            report.file
        );
    }
    let made = |text| JobText { text, is_imported: true };
    Ok(imported.jobs.into_iter().map(|job| made(job.text)).collect())
}
