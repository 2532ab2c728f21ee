//! A job as LAVA's server gives it out becomes one of the lab: imported, for the very board that the server chose, with a first
//! line by which it is found again.

use serde_json::{Map, Value};

use super::importer;
use super::protocol::{JobFiles, LavaId};
use crate::config::yaml::{self, FileError};

/// A job for the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Its name, as the lab lists it.
    pub name: String,
    /// Its file. The first line says which job of which worker it is: no two have the same text.
    pub text: String,
    /// What of LAVA's job is not done as LAVA would, a line each.
    pub notes: Vec<String>,
}

/// The board of the lab that a device dictionary names: by `pumice console BOARD` as the command that connects to it, or by
/// a `hostname`. Nothing where it does neither; then the board has the name of the device.
pub fn board_of(files: &JobFiles) -> Option<String> {
    let device: Value = yaml::from_str("device", files.device.as_deref()?, &[]).ok()?;
    let connect = device["commands"]["connect"].as_str().unwrap_or_default();
    let mut words = connect.split_whitespace();
    let is_ours = words.next().is_some_and(|program| program.rsplit('/').next() == Some("pumice"));
    let board = words
        .filter(|word| !word.starts_with('-'))
        .nth(1)
        .filter(|_| is_ours && connect.contains(" console "));
    board.or_else(|| device["hostname"].as_str()).map(str::to_owned)
}

/// The job for `board`.
///
/// # Errors
/// What of it cannot be done, where it stands, and what to do about it.
pub fn convert(
    files: &JobFiles,
    id: LavaId,
    worker: &str,
    board: &str,
) -> Result<Converted, FileError> {
    let file = file_name(id);
    let imported = importer::import(&file, &files.definition)?;
    let mut job: Map<String, Value> = yaml::from_str(&file, &imported.text, &[])?;
    job.insert("board".into(), serde_json::json!({ "name": board }));
    if let Some(variables) = variables(files)? {
        let environment = job.entry("environment").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(environment) = environment {
            // What the job says itself outweighs what the server says for all.
            for (name, value) in variables {
                environment.entry(name).or_insert(value);
            }
        }
    }
    let name = job.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let body = serde_json::to_string_pretty(&job)
        .map_err(|error| FileError::whole(&file, error.to_string()))?;
    let worker: String = worker.chars().filter(|c| !c.is_control()).collect();
    Ok(Converted {
        name,
        text: format!("# LAVA job {id}, by worker {worker}\n{body}\n"),
        notes: imported.notes,
    })
}

/// What a job is called in errors.
pub fn file_name(id: LavaId) -> String {
    format!("lava-job-{id}.yaml")
}

/// `overrides` of the server's `env-dut.yaml`.
fn variables(files: &JobFiles) -> Result<Option<Map<String, Value>>, FileError> {
    let Some(text) = files.env_dut.as_deref().filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let settings: Option<Value> = yaml::from_str("env-dut.yaml", text, &[])?;
    let Some(Value::Object(overrides)) =
        settings.and_then(|mut all| all.get_mut("overrides").map(Value::take))
    else {
        return Ok(None);
    };
    let texts = overrides.into_iter().map(|(name, value)| match value {
        Value::String(_) => (name, value),
        other => (name, Value::String(other.to_string())),
    });
    Ok(Some(texts.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "
job_name: smoke
device_type: qemu
timeouts: {job: {minutes: 5}}
visibility: public
actions:
- test:
    definitions:
    - from: inline
      name: t
      path: t.yaml
      repository: {metadata: {format: Lava-Test Test Definition 1.0, name: t}, run: {steps: ['true']}}
";

    fn files(device: &str) -> JobFiles {
        JobFiles { definition: JOB.into(), device: Some(device.into()), env_dut: None }
    }

    #[test]
    fn boards_of_dictionaries() {
        let cases = [
            ("commands: {connect: pumice console bbb-01}", Some("bbb-01")),
            ("commands: {connect: /usr/bin/pumice --json console bbb-01}", Some("bbb-01")),
            ("commands: {connect: telnet console 7001}\nhostname: h", Some("h")),
            ("commands: {connect: pumice}", None),
            ("commands: [x]", None),
            ("{", None),
            ("", None),
        ];
        for (device, board) in cases {
            assert_eq!(board_of(&files(device)).as_deref(), board, "{device}");
        }
    }

    #[test]
    fn a_job_for_one_board() {
        let mut files = files("");
        files.env_dut = Some("overrides: {A: b, N: 1}".into());
        let converted = convert(&files, 7, "w\n1", "bbb-01").unwrap();
        assert_eq!(converted.name, "smoke");
        assert!(converted.text.starts_with("# LAVA job 7, by worker w1\n{"), "{}", converted.text);
        let job: Value = yaml::from_str("job", &converted.text, &[]).unwrap();
        assert_eq!(job["board"], serde_json::json!({"name": "bbb-01"}));
        assert_eq!(job["environment"], serde_json::json!({"A": "b", "N": "1"}));
        files.env_dut = Some("overrides: [".into());
        assert_eq!(convert(&files, 7, "w", "b").unwrap_err().file, "env-dut.yaml");
        files.definition = "job_name: x".into();
        assert_eq!(convert(&files, 7, "w", "b").unwrap_err().file, "lava-job-7.yaml");
    }
}
