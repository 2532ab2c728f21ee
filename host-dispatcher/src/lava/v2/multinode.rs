//! `protocols`: several boards in one job.

use super::super::output::Map;
use super::super::report::Report;
use super::super::tree::Field;
use super::timeout::{Timeouts, timeout};

/// A role, as the job has it.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: String,
    keys: super::super::tree::Keys,
}

/// The roles of a job; none if it is for one board.
pub(super) fn roles(field: Option<Field>, report: &mut Report) -> Option<Vec<Role>> {
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
        if timeout(field, report).is_some() {
            report.ignored(&whole, "the job's timeout holds for its boards together");
        }
    }
    let roles = keys.take("roles").map(|field| field.keys(report).rest()).unwrap_or_default();
    keys.end(report);
    Some(roles.into_iter().map(|(name, field)| Role { name, keys: field.keys(report) }).collect())
}

/// The one job with all roles.
pub(super) fn import(
    job: Map,
    roles: Vec<Role>,
    actions: Vec<Field>,
    _timeouts: &Timeouts,
    report: &mut Report,
) -> Vec<Map> {
    let _ = actions;
    for role in roles {
        let field = Field {
            path: role.keys.path_of("device_type"),
            at: role.keys.at,
            value: super::super::tree::Value::Null,
        };
        report.unsupported(
            &field,
            format!("the role {}: jobs for several boards are not run", role.name),
        );
    }
    vec![job]
}

/// `protocols` of an action.
pub(super) fn requests(field: Field, report: &mut Report) {
    report.unsupported(
        &field,
        "requests of an action are not made: send and wait in the tests (lava-send, lava-wait)",
    );
}
