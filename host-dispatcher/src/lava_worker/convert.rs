//! A job as LAVA's server gives it out becomes one of the lab: imported, for the very board that the server chose, with a first
//! line by which it is found again.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::group::{self, Member};
use super::protocol::{JobFiles, LavaId, Order};
use crate::config::yaml::{self, FileError};
use crate::lava::import::import;
use crate::store::hexadecimal;

/// A job for the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name, as the lab lists it.
    pub name: String,
    /// Its file. The first line says which job of which worker it is: no two have the same text.
    pub text: String,
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

/// What a job of LAVA becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Converted {
    /// Jobs for one board, to be run one after the other; at least one.
    Parts(Vec<Part>),
    /// One of several boards that do a job together.
    Member(Box<Member>),
}

/// What a job becomes that is to run on `board`.
///
/// # Errors
/// Sentences: what of LAVA's job cannot be done, where it stands, and what to do about it.
pub fn convert(
    files: &JobFiles,
    order: &Order,
    worker: &str,
    board: &str,
) -> Result<Converted, Vec<String>> {
    let file = file_name(order.id);
    let sentence = |error: FileError| vec![error.to_string()];
    let definition = as_submitted(&files.definition);
    let submitted: Value = yaml::from_str(&file, &definition, &[]).map_err(sentence)?;
    if group::is_member(&submitted) {
        let member = Member::new(files, submitted, order, worker, board)?;
        return Ok(Converted::Member(Box::new(member)));
    }
    let imported = import(&file, &definition).map_err(sentence)?;
    let obstacles = imported.report.obstacles();
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let variables = variables(files).map_err(sentence)?;
    let count = imported.jobs.len();
    let parts = imported.jobs.into_iter().zip(1u32..).map(|(job, number)| {
        let mut map: Map<String, Value> = yaml::from_str(&file, &job.text, &[])?;
        map.insert("board".into(), serde_json::json!({ "name": board }));
        // The server itself tells whom it is to tell.
        map.remove("notify");
        add_variables(&mut map, &variables);
        let body = serde_json::to_string_pretty(&map)
            .map_err(|error| FileError::whole(&file, error.to_string()))?;
        let part = if count > 1 { format!(", part {number}") } else { String::new() };
        let text = format!("{}{part}\n{body}\n", first_line(order, worker));
        Ok(Part { name: job.name, text })
    });
    let parts: Vec<Part> = parts.collect::<Result<_, _>>().map_err(sentence)?;
    if parts.is_empty() {
        Err(vec![format!("{file}: there is nothing to do in it")])
    } else {
        Ok(Converted::Parts(parts))
    }
}

/// Whether the text of a job of the lab is this one. The lab shows secrets to nobody, so only what nobody else's job has is
/// compared: the first line.
pub fn is_same(text: &str, part: &Part) -> bool {
    text.lines().next() == part.text.lines().next()
}

/// Which job of LAVA it is. Another server may have one of this number for a worker of this name, but not of this token.
fn first_line(order: &Order, worker: &str) -> String {
    let worker: String = worker.chars().filter(|c| !c.is_control()).collect();
    let token = Sha256::digest(order.token.as_bytes());
    format!("# LAVA job {}, by worker {worker}, {}", order.id, hexadecimal(&token[..8]))
}

/// The definition without what the server adds to it, line for line.
fn as_submitted(definition: &str) -> String {
    let lines = definition.split_inclusive('\n');
    lines.map(|line| if line.starts_with("compatibility:") { "\n" } else { line }).collect()
}

/// What the server says for all jobs; what the job says itself outweighs it.
pub(super) fn add_variables(job: &mut Map<String, Value>, variables: &Map<String, Value>) {
    if variables.is_empty() {
        return;
    }
    let environment = job.entry("environment").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(environment) = environment {
        for (name, value) in variables {
            environment.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// What a job is called in errors.
pub fn file_name(id: LavaId) -> String {
    format!("lava-job-{id}.yaml")
}

/// `overrides` of the server's `env-dut.yaml`.
pub(super) fn variables(files: &JobFiles) -> Result<Map<String, Value>, FileError> {
    let text = files.env_dut.as_deref().unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let settings: Option<Value> = yaml::from_str("env-dut.yaml", text, &[])?;
    let overrides = settings.and_then(|mut all| all.get_mut("overrides").map(Value::take));
    let Some(Value::Object(overrides)) = overrides else { return Ok(Map::new()) };
    let texts = overrides.into_iter().map(|(name, value)| match value {
        Value::String(_) => (name, value),
        other => (name, Value::String(other.to_string())),
    });
    Ok(texts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "
job_name: smoke
compatibility: 1
device_type: beaglebone-black
timeouts: {job: {minutes: 5}}
visibility: public
actions:
- boot: {method: u-boot, commands: nfs, prompts: ['#']}
- test:
    definitions:
    - from: inline
      name: t
      path: t.yaml
      repository: {metadata: {format: Lava-Test Test Definition 1.0, name: t}, run: {steps: ['true']}}
";

    fn order() -> Order {
        Order { id: 7, token: "t".into() }
    }

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
        let convert = |files: &JobFiles, worker: &str, board: &str| {
            convert(files, &order(), worker, board).map(|converted| match converted {
                Converted::Parts(parts) => parts,
                Converted::Member(member) => panic!("{member:?}"),
            })
        };
        let parts = convert(&files, "w\n1", "bbb-01").unwrap();
        assert_eq!((parts.len(), parts[0].name.as_str()), (1, "smoke"));
        assert!(
            parts[0].text.starts_with("# LAVA job 7, by worker w1, e3b98a4da31a127d\n{"),
            "{}",
            parts[0].text
        );
        let job: Value = yaml::from_str("job", &parts[0].text, &[]).unwrap();
        assert_eq!(job["board"], serde_json::json!({"name": "bbb-01"}));
        assert_eq!(job["environment"], serde_json::json!({"A": "b", "N": "1"}));
        files.env_dut = Some("overrides: [".into());
        assert!(convert(&files, "w", "b").unwrap_err()[0].starts_with("env-dut.yaml"));
        files.env_dut = None;
        files.definition = JOB.replace("- boot:", "- deploy: {to: fvp}\n- boot:");
        let wrong = convert(&files, "w", "b").unwrap_err();
        assert!(wrong[0].starts_with("lava-job-7.yaml:8"), "{wrong:?}");
        files.definition = format!(
            "{JOB}notify: {{criteria: {{status: finished}}, callback: {{url: 'http://a/'}}}}\n"
        );
        let told_by_lava = convert(&files, "w", "b").unwrap();
        assert!(!told_by_lava[0].text.contains("http://a/"), "{}", told_by_lava[0].text);
        let hidden = parts[0].text.replace("smoke", "(secret:NAME)");
        assert!(is_same(&hidden, &parts[0]) && !is_same("# LAVA job 7, by worker w1", &parts[0]));
        for definition in ["", "{", "a: b"] {
            files.definition = definition.into();
            assert!(!convert(&files, "w", "b").unwrap_err().is_empty(), "{definition}");
        }
    }
}
