//! A job of LAVA becomes jobs of ours.

use super::output::Map;
use super::report::Report;
use super::tree::{Field, Keys, Node};
use super::{v1, v2};
use crate::config::value::{Name, shorten};
use crate::config::yaml::{self, FileError};

/// What a LAVA job became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The jobs, to be run one after the other; none if there is no sense in the file. Where the report is not
    /// [clean](Report::is_clean) they lack what is not done here.
    pub jobs: Vec<ImportedJob>,
    /// What became of each key.
    pub report: Report,
}

/// A job of ours that came of one of LAVA's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedJob {
    /// Its name, for people.
    pub name: String,
    /// The file's text.
    pub text: String,
}

/// Whether a text is meant as a job of LAVA: its root has `actions`, which no file of ours has, and a device only as a map.
pub fn is_lava_job(text: &str) -> bool {
    yaml::from_str::<Node>("", text, &[]).is_ok_and(|node| {
        let actions = Field::root(node).keys(&mut Report::new("")).take("actions");
        actions.is_some_and(|actions| !actions.is_map())
    })
}

/// The jobs that a LAVA job becomes; of version 2 (YAML) or of 2012 (JSON), told by its actions. `file` is the name to
/// show.
///
/// # Errors
/// The text is no YAML or no map, or holds too much. What is wrong with a job is told in the report.
pub fn import(file: &str, text: &str) -> Result<Imported, FileError> {
    let root = Field::root(yaml::from_str(file, text, &[])?);
    if !root.is_map() {
        return Err(FileError::at(file, root.at, "a job of LAVA is a map of keys and values"));
    }
    let mut report = Report::new(file);
    let keys = root.keys(&mut report);
    let maps = if is_of_2012(&keys) {
        v1::import(keys, &mut report)
    } else {
        v2::import(keys, &mut report)
    };
    report.sort();
    let comment = format!("# Made of the LAVA job {}.\n", shorten(file));
    let mut jobs = Vec::with_capacity(maps.len());
    for map in maps {
        let text =
            map.to_text(&comment).map_err(|error| FileError::whole(file, error.to_string()))?;
        let name = map.get("name").map_or_else(String::new, super::output::Yaml::shown);
        jobs.push(ImportedJob { name, text });
    }
    Ok(Imported { jobs, report })
}

/// In 2012 an action was `{command: …, parameters: …}`.
fn is_of_2012(keys: &Keys) -> bool {
    let mut keys = keys.clone();
    let mut unread = Report::new("");
    let actions = keys.take("actions").map(Field::items).unwrap_or_default();
    actions.into_iter().next().is_some_and(|action| {
        action.is_map()
            && action
                .keys(&mut unread)
                .take("command")
                .is_some_and(|command| !command.is_map() && command.text(&mut unread).is_some())
    })
}

/// A job's name as ours takes it: one line of 1 to 200 characters.
pub(super) fn job_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(NAME_CHARACTERS_MAX)
        .collect();
    if name.trim().is_empty() { "job".to_owned() } else { name }
}

/// A text as a [`Name`]: what may not stand in one becomes `-`.
pub(super) fn name_of(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(NAME_LENGTH_MAX)
        .collect();
    if name.parse::<Name>().is_ok() { name } else { "test".to_owned() }
}

/// The jobs of a file's rounds: several get numbers.
pub(super) fn numbered(mut jobs: Vec<Map>, name: &str) -> Vec<Map> {
    let count = jobs.len();
    if count > 1 {
        for (number, job) in jobs.iter_mut().enumerate() {
            let suffix = format!(" ({} of {count})", number + 1);
            let kept: String = name.chars().take(NAME_CHARACTERS_MAX - suffix.len()).collect();
            job.set("name", format!("{kept}{suffix}"));
        }
    }
    jobs
}

/// As for jobs of ours.
const NAME_CHARACTERS_MAX: usize = 200;
const NAME_LENGTH_MAX: usize = 64;
