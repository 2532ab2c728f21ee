//! The results of a run in the forms that people and other tools read; for `pumice results` and the HTTP interface.

use std::io;
use std::path::Path;

use super::summary::Summary;
use super::text::{self, Cases, Color};
use super::{junit, kcidb, lava, tap13};
use crate::store::results;

/// A form of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text(Color),
    /// One JSON object.
    Json,
    /// JUnit XML.
    Junit,
    /// TAP 13.
    Tap,
    /// CSV with LAVA's columns.
    Csv,
    /// LAVA's results in YAML.
    Lava,
    /// A submission to KCIDB, by this origin.
    Kcidb(String),
}

/// The results of the run in the directory `run`, of which `summary` is what it came to.
///
/// # Errors
/// They cannot stand in that form.
pub fn bytes(form: Form, summary: &Summary, run: &Path) -> io::Result<Vec<u8>> {
    Ok(match form {
        Form::Text(color) => text::results(summary, run, color, Cases::All).into_bytes(),
        Form::Json => json(summary)?,
        Form::Junit => {
            let mut output =
                |suite: &str, source, range| results::output(run, suite, source, range);
            junit::xml(summary, &mut output).map_err(io::Error::other)?.into_bytes()
        }
        Form::Tap => tap13::text(summary).into_bytes(),
        Form::Csv => lava::csv(summary).map_err(io::Error::other)?,
        Form::Lava => lava::results_yaml(summary).into_bytes(),
        Form::Kcidb(origin) => {
            let submission = kcidb::submission(summary, &origin).map_err(io::Error::other)?;
            let mut bytes = serde_json::to_vec_pretty(&submission)?;
            bytes.push(b'\n');
            bytes
        }
    })
}

/// The summary with the cases of its suites.
fn json(summary: &Summary) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(&summary.with_cases()?)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::tests::run_with_cases;

    #[test]
    fn json_has_the_cases() {
        let bytes = json(&Summary::of(&run_with_cases())).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["suites"][0]["cases"][0]["measurement"], 41.5);
        assert_eq!(value["suites"][0]["cases"][3]["result"], "unknown");
        assert_eq!(value["verdict"], "Timeout");
    }
}
