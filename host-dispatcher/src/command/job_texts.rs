//! The jobs in a file: one of ours, or those that one of LAVA's becomes.

use std::io::Write;
use std::path::Path;

use crate::config::yaml;
use crate::lava::import::{import, is_lava_job};
use crate::lava::report::Outcome;
use crate::script::Fault;

/// The texts of the jobs in a file, to be done one after the other. On the error output stands what a LAVA job loses.
///
/// # Errors
/// A ConfigurationError: the file cannot be read, or it is a LAVA job that asks for what is not done here; then every such
/// key stands on a line of its own.
pub(super) fn job_texts(path: &Path) -> Result<Vec<String>, Fault> {
    let wrong = |error: yaml::FileError| Fault::configuration(error.to_string());
    let text = yaml::read(path).map_err(wrong)?;
    if !is_lava_job(&text) {
        return Ok(vec![text]);
    }
    let imported = import(&path.display().to_string(), &text).map_err(wrong)?;
    let report = &imported.report;
    if !report.is_clean() {
        return Err(Fault::configuration(report.obstacles().join("\npumice: ")));
    }
    let ignored = report.count(Outcome::Ignored);
    if ignored > 0 {
        let _ = writeln!(
            std::io::stderr(),
            "pumice: {}: a LAVA job, {ignored} of whose keys are not needed here: pumice import-lava tells which",
            report.file
        );
    }
    Ok(imported.jobs.into_iter().map(|job| job.text).collect())
}
