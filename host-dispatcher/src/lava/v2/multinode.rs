//! `protocols`: several boards in one job. Their roles become `roles` of a job of ours.

use super::super::output::Map;
use super::super::report::Report;
use super::super::tree::{Field, Keys};
use super::context::{self, Context};
use super::requests;
use super::round::Rounds;
use super::timeout::{Timeouts, timeout};
use super::variables;

/// A role, as the job has it.
#[derive(Debug)]
pub(super) struct Role {
    name: String,
    keys: Keys,
}

/// The roles of a job, and how long their tests may wait for each other; nothing if it is for one board.
pub(super) fn roles(field: Option<Field>, job: &mut Map, report: &mut Report) -> Option<Vec<Role>> {
    let mut keys = field?.keys(report);
    for (key, mend) in [
        ("lava-lxc", "no containers beside the board: run on the board what ran there"),
        ("lava-xnbd", "no block device comes over the network: deploy the image"),
        ("lava-vland", "no switch is driven: connect the boards before"),
    ] {
        if let Some(field) = keys.take(key) {
            report.unsupported(&field, mend);
        }
    }
    let multinode = keys.take("lava-multinode");
    keys.end(report);
    let mut keys = multinode?.keys(report);
    if let Some(field) = keys.take("timeout") {
        let whole = field.clone();
        if let Some(period) = timeout(field, report) {
            report.mapped(&whole, format!("wait_timeout: {period}"));
            job.set("wait_timeout", period);
        }
    }
    let roles = keys.take("roles").map(|field| field.keys(report).rest()).unwrap_or_default();
    keys.end(report);
    Some(roles.into_iter().map(|(name, field)| Role { name, keys: field.keys(report) }).collect())
}

/// The one job with all roles.
pub(super) fn import(
    mut job: Map,
    roles: Vec<Role>,
    actions: Vec<Field>,
    timeouts: &Timeouts,
    report: &mut Report,
) -> Vec<Map> {
    let mut ours = Map::default();
    for Role { name, mut keys } in roles {
        let own: Vec<Field> =
            actions.iter().filter(|action| is_of(action, &name, report)).cloned().collect();
        let mut map = Map::default();
        let (context, before) = board(&mut keys, &mut map, report);
        keys.end(report);
        let second = own.last().cloned();
        let mut rounds =
            Rounds::read(own, before, timeouts, report).jobs(&map, &context.kernel_args);
        if rounds.len() > 1
            && let Some(action) = second
        {
            report.unsupported(
                &action,
                format!("the role {name} deploys twice: make a job of each deploy with its tests"),
            );
        }
        if !rounds.is_empty() {
            ours.set(&name, rounds.swap_remove(0));
        }
    }
    job.set("roles", ours);
    vec![job]
}

/// What a role says of its boards, and the test before all others, if it begins later.
fn board(keys: &mut Keys, map: &mut Map, report: &mut Report) -> (Context, Option<(String, Map)>) {
    let context = context::read(keys.take("context"), report);
    if let Some(field) = keys.take("count")
        && let Some(count) = field.number(report)
    {
        report.mapped(&field, "roles.*.count");
        map.set("count", count);
    }
    let mut board = Map::default();
    match keys.take("device_type") {
        Some(field) => {
            if let Some(text) = field.text(report) {
                let board_type = context.board_type(&text);
                report.mapped(&field, format!("roles.*.board.type: {board_type}"));
                board.set("type", board_type);
            }
        }
        None if keys.clone().take("connection").is_some() => {}
        None => {
            let key = keys.path_of("device_type");
            report.missing(keys.at, &key, "device_type: beaglebone-black");
        }
    }
    if let Some(field) = keys.take("tags") {
        report.mapped(&field, "roles.*.board.tags");
        board.set("tags", field.texts(report));
    }
    map.set("board", board);
    if let Some(field) = keys.take("environment") {
        report.mapped(&field, "roles.*.environment");
        map.set("environment", variables(field, report));
    }
    if let Some(field) = keys.take("essential") {
        report.ignored(&field, "a board that fails ends the job of all");
    }
    if let Some(field) = keys.take("timeout") {
        let whole = field.clone();
        if timeout(field, report).is_some() {
            report.ignored(&whole, "the job's timeout holds for its boards together");
        }
    }
    if let Some(field) = keys.take("connection") {
        report.unsupported(&field, "guests of a board are no boards: run on it what ran there");
        for key in ["expect_role", "host_role", "request"] {
            let _ = keys.take(key);
        }
    }
    (context, requests::of_role(keys, report))
}

/// Whether an action is one of a role's.
fn is_of(action: &Field, role: &str, report: &mut Report) -> bool {
    let mut unread = Report::new("");
    let kinds = action.clone().keys(&mut unread).rest();
    kinds.into_iter().any(|(_, field)| match field.clone().keys(&mut unread).take("role") {
        Some(roles) => roles.texts(&mut unread).iter().any(|name| name == role),
        None => {
            report.missing(field.at, &format!("{}.role", field.path), "role: [server]");
            false
        }
    })
}
