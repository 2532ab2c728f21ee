//! Jobs of LAVA's version 2.

mod artifact;
mod boot;
mod boot_commands;
mod context;
mod deploy;
mod multinode;
mod notify;
mod requests;
mod round;
mod test;
mod timeout;
mod watch;

use super::import::{job_name, numbered};
use super::output::{Map, Yaml};
use super::report::Report;
use super::tree::{Field, Keys, Value};
use crate::job::secret::VALUE_BYTES_MIN;
use round::Rounds;
use timeout::Timeouts;

/// The jobs that one becomes: one for each round of deploy, boot and test.
pub(super) fn import(mut keys: Keys, report: &mut Report) -> Vec<Map> {
    let at = keys.at;
    let name = match keys.take("job_name") {
        Some(field) => field.text(report).map(|text| {
            report.mapped(&field, "name");
            job_name(&text)
        }),
        None => {
            report.missing(at, "job_name", "job_name: smoke");
            None
        }
    };
    let name = name.unwrap_or_else(|| "job".to_owned());
    let timeouts = Timeouts::read(keys.take("timeouts"), at, report);
    let mut job = Map::default();
    job.set("name", name.as_str());
    let roles = multinode::roles(keys.take("protocols"), &mut job, report);
    let context = context::read(keys.take("context"), report);
    board(&mut keys, &mut job, &context, roles.is_some(), report);
    visibility(&mut keys, report);
    priority(&mut keys, &mut job, report);
    metadata(&mut keys, &mut job, report);
    if let Some(field) = keys.take("secrets") {
        report.mapped(&field, "secrets");
        job.set("secrets", secrets(field, report));
    }
    notify::read(&mut keys, &mut job, report);
    let environment = keys.take("environment").map(|field| {
        report.mapped(&field, "environment");
        variables(field, report)
    });
    if let Some(field) = keys.take("reboot_to_fastboot") {
        report.ignored(&field, "no board is used by fastboot here");
    }
    if let Some(field) = keys.take("worker") {
        report.ignored(&field, "a lab has one dispatcher");
    }
    let actions = match keys.take("actions") {
        Some(field) => field.list(report),
        None => {
            report.missing(at, "actions", "actions: [{boot: …}, {test: …}]");
            Vec::new()
        }
    };
    keys.end(report);
    if let Some(job_timeout) = &timeouts.job {
        job.set("timeout", job_timeout.as_str());
    }
    if let Some(roles) = roles {
        return multinode::import(job, roles, actions, &timeouts, report);
    }
    if let Some(environment) = environment {
        job.set("environment", environment);
    }
    let rounds = Rounds::read(actions, None, &timeouts, report);
    numbered(rounds.jobs(&job, &context.kernel_args), &name)
}

/// `device_type`, `device` and `tags`.
fn board(
    keys: &mut Keys,
    job: &mut Map,
    context: &context::Context,
    has_roles: bool,
    report: &mut Report,
) {
    let at = keys.at;
    let mut board = Map::default();
    match keys.take("device_type") {
        Some(field) => {
            if let Some(text) = field.text(report) {
                let board_type = context.board_type(&text);
                report.mapped(&field, format!("board.type: {board_type}"));
                board.set("type", board_type);
            }
        }
        None if has_roles => {}
        None => report.missing(at, "device_type", "device_type: beaglebone-black"),
    }
    if let Some(field) = keys.take("device")
        && let Some(name) = field.text(report)
    {
        report.mapped(&field, "board.name");
        board.set("name", name);
    }
    if let Some(field) = keys.take("tags") {
        report.mapped(&field, "board.tags");
        board.set("tags", field.texts(report));
    }
    if !board.is_empty() {
        job.set("board", board);
    }
}

fn visibility(keys: &mut Keys, report: &mut Report) {
    let at = keys.at;
    let Some(field) = keys.take("visibility") else {
        return report.missing(at, "visibility", "visibility: public");
    };
    match &field.value {
        Value::Text(word) if word == "public" => {
            report.ignored(&field, "every viewer of a lab sees its runs anyway");
        }
        Value::Text(word) if word == "personal" => report.ignored(&field, VISIBILITY),
        Value::Map(_) => report.ignored(&field, VISIBILITY),
        _ => report.mistake(&field, "public, personal or {group: […]} is expected here"),
    }
}

fn priority(keys: &mut Keys, job: &mut Map, report: &mut Report) {
    let Some(field) = keys.take("priority") else { return };
    let priority = match &field.value {
        Value::Text(word) => match word.as_str() {
            "high" => Some(100),
            "medium" => Some(50),
            "low" => Some(0),
            _ => None,
        },
        Value::Integer(number @ 0..=100) => u64::try_from(*number).ok(),
        _ => None,
    };
    match priority {
        Some(priority) => {
            report.mapped(&field, format!("priority: {priority}"));
            job.set("priority", priority);
        }
        None => report.mistake(&field, "high, medium, low or 0 to 100 is expected here"),
    }
}

fn metadata(keys: &mut Keys, job: &mut Map, report: &mut Report) {
    let Some(field) = keys.take("metadata") else { return };
    if !field.is_map() {
        return report.mistake(&field, "a map of keys and values is expected here");
    }
    let mut metadata = Map::default();
    for (name, field) in field.keys(report).rest() {
        let is_word = |value: &Value| value.scalar().is_some();
        let fits = match &field.value {
            Value::List(items) => items.iter().all(|item| is_word(&item.value)),
            value => is_word(value),
        };
        if fits {
            report.mapped(&field, "metadata");
            metadata.set(&name, field.value);
        } else {
            report.ignored(&field, "metadata are words, numbers, and lists of them");
        }
    }
    if !metadata.is_empty() {
        job.set("metadata", metadata);
    }
}

/// Names and values that nobody may see.
fn secrets(field: Field, report: &mut Report) -> Yaml {
    let mut secrets = Map::default();
    for (name, field) in field.keys(report).rest() {
        let Some(value) = field.text(report) else { continue };
        if !value.lines().any(|line| line.trim().len() >= VALUE_BYTES_MIN) {
            report.unsupported(
                &field,
                format!("shorter than {VALUE_BYTES_MIN} bytes it cannot be told from other text: make it longer, or give it as environment"),
            );
        }
        secrets.set(&name, value);
    }
    secrets.into()
}

/// Names and values, as a program sees them.
fn variables(field: Field, report: &mut Report) -> Yaml {
    let mut variables = Map::default();
    for (name, field) in field.keys(report).rest() {
        match &field.value {
            // As LAVA does it: what is false in Python is empty.
            Value::Null | Value::Bool(false) | Value::Integer(0) => variables.set(&name, ""),
            Value::List(_) | Value::Map(_) => {
                report.unsupported(&field, "a script gets texts: write one text");
            }
            _ => {
                if let Some(text) = field.text(report) {
                    variables.set(&name, text);
                }
            }
        }
    }
    variables.into()
}

const VISIBILITY: &str =
    "whoever may see the lab sees its runs: give another lab to those who may not";
