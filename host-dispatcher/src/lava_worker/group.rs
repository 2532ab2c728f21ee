//! The jobs that LAVA's server makes of one job of several boards: brought together again, for one job of the lab.
//!
//! Each comes by itself, with an order of its own, and knows the numbers and roles of all (`split_multinode_yaml` in
//! `lava_scheduler_app/utils.py`, `transition_multinode_jobs` in its `scheduler.py`, 2023.01). When all are here, the first of
//! them gives the lab the job; the others find their parts in the lab by the group's first line and their own names, which
//! they know without each other: so a worker that has died finds them as well.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::time::{Duration, Instant};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::convert::{self, Part};
use super::protocol::{JobFiles, LavaId, Order};
use crate::config::yaml;
use crate::job::spec::NODES_MAX;
use crate::lava::import::import;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub id: LavaId,
    /// LAVA's name for the group.
    pub group: String,
    /// The roles of all by their numbers.
    pub roles: BTreeMap<LavaId, String>,
    /// The board that the server chose.
    pub board: String,
    /// A job of ours, JSON, with this role alone.
    job: String,
    /// By which its part in the lab is found: the name, and the first line.
    pub part: Part,
}

/// What comes of a member that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// The others are not here yet.
    Wait,
    /// All are here: the text of the lab's job.
    Whole(String),
    /// They did not come in time: a sentence.
    Missing(String),
}

/// The members that are here.
#[derive(Debug, Default)]
pub struct Groups {
    gathering: BTreeMap<String, Gathering>,
}

#[derive(Debug)]
struct Gathering {
    since: Instant,
    members: BTreeMap<LavaId, Member>,
    /// Those that know the whole.
    told: BTreeSet<LavaId>,
}

/// Whether a definition is for one of several boards.
pub(super) fn is_member(definition: &Value) -> bool {
    definition["protocols"].get(PROTOCOL).is_some()
}

impl Member {
    /// The member that a job's files make.
    ///
    /// # Errors
    /// Sentences: what of it cannot be done, and what to do about it.
    pub(super) fn new(
        files: &JobFiles,
        mut definition: Value,
        order: &Order,
        worker: &str,
        board: &str,
    ) -> Result<Self, Vec<String>> {
        let file = convert::file_name(order.id);
        let wrong = |what: &str| vec![format!("{file}: protocols.{PROTOCOL}: {what}")];
        let params = definition["protocols"][PROTOCOL].take();
        let Value::Object(mut params) = params else { return Err(wrong("a map is expected")) };
        let text = |params: &mut Map<String, Value>, key| match params.remove(key) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(wrong(&format!("{key} is missing, which LAVA's server writes"))),
        };
        let (group, role) = (text(&mut params, "target_group")?, text(&mut params, "role")?);
        let roles: Option<BTreeMap<LavaId, String>> =
            params.remove("roles").and_then(|roles| serde_json::from_value(roles).ok());
        let roles = roles.unwrap_or_default();
        if roles.get(&order.id) != Some(&role) {
            return Err(wrong("a guest of a board is no board: run on it what ran there"));
        }
        if !(2..=NODES_MAX).contains(&roles.len()) {
            return Err(wrong(&format!("a job has 2 to {NODES_MAX} boards")));
        }
        // As it was submitted, but for the other roles: the server took it apart so.
        let mut own = json!({ "count": 1 });
        for key in ["device_type", "context"] {
            if let Some(value) = definition.as_object_mut().and_then(|all| all.remove(key)) {
                own[key] = value;
            }
        }
        for key in ["tags", "environment", "expect_role", "request"] {
            if let Some(value) = params.remove(key) {
                own[key] = value;
            }
        }
        for key in ["group_size", "sub_id", "essential"] {
            params.remove(key);
        }
        params.insert("roles".into(), json!({ role.as_str(): own }));
        definition["protocols"][PROTOCOL] = Value::Object(params);
        let definition = serde_json::to_string_pretty(&definition)
            .map_err(|error| vec![format!("{file}: {error}")])?;
        let imported = import(&file, &definition).map_err(|error| vec![error.to_string()])?;
        let obstacles = imported.report.obstacles();
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
        let [job] = &imported.jobs[..] else { return Err(wrong("there is nothing to do in it")) };
        let sentence = |error: yaml::FileError| vec![error.to_string()];
        let mut map: Map<String, Value> =
            yaml::from_str(&file, &job.text, &[]).map_err(sentence)?;
        map.remove("notify");
        let variables = convert::variables(files).map_err(sentence)?;
        let Some(Value::Object(own)) = map.get_mut("roles").and_then(|all| all.get_mut(&role))
        else {
            return Err(wrong(&format!("the role {role} has nothing to do")));
        };
        own.remove("board");
        own.remove("count");
        convert::add_variables(own, &variables);
        let node = node(&roles, order.id, &role);
        let part = Part { name: format!("{} ({node})", job.name), text: head(&group, worker) };
        let (board, job) = (board.to_owned(), Value::Object(map).to_string());
        Ok(Self { id: order.id, group, roles, board, job, part })
    }

    /// Whether it is the one that gives the lab the job: the lab's answer is about the first board.
    pub fn is_first(&self) -> bool {
        in_order(&self.roles).next() == Some(self.id)
    }
}

impl Groups {
    /// A member is here. It is asked again until it is told something else than to wait.
    pub fn join(&mut self, member: &Member, now: Instant) -> Gathered {
        // Of groups whose last ones were canceled nobody asks any more.
        self.gathering.retain(|group, gathering| {
            *group == member.group || now.since(gathering.since) < PATIENCE.times(2)
        });
        let gathering = self.gathering.entry(member.group.clone()).or_insert_with(|| Gathering {
            since: now,
            members: BTreeMap::new(),
            told: BTreeSet::new(),
        });
        gathering.members.insert(member.id, member.clone());
        if gathering.members.keys().eq(member.roles.keys()) {
            let text = whole(&gathering.members);
            gathering.told.insert(member.id);
            if gathering.told.len() == gathering.members.len() {
                self.gathering.remove(&member.group);
            }
            return Gathered::Whole(text);
        }
        if now.since(gathering.since) < PATIENCE {
            return Gathered::Wait;
        }
        let missing = member.roles.keys().filter(|id| !gathering.members.contains_key(id));
        let missing: Vec<String> = missing.map(LavaId::to_string).collect();
        Gathered::Missing(format!(
            "of the {} jobs for the boards of this one, {} did not come to this worker within {} s: give it all their devices",
            member.roles.len(),
            missing.join(", "),
            PATIENCE.as_micros() / 1_000_000
        ))
    }

    /// A member is canceled, or has waited for too long.
    pub fn leave(&mut self, member: &Member) {
        if let Some(gathering) = self.gathering.get_mut(&member.group) {
            gathering.members.remove(&member.id);
            if gathering.members.is_empty() {
                self.gathering.remove(&member.group);
            }
        }
    }
}

/// Their numbers in the order that the lab's jobs have: by their roles' names, which JSON sorts, and those of a role by
/// number.
fn in_order(roles: &BTreeMap<LavaId, String>) -> impl Iterator<Item = LavaId> + use<> {
    let mut all: Vec<(String, LavaId)> =
        roles.iter().map(|(id, role)| (role.clone(), *id)).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, id)| id)
}

/// The one job of all.
fn whole(members: &BTreeMap<LavaId, Member>) -> String {
    let mut job = Map::new();
    let mut roles = Map::new();
    let all = members.values().next().map(|member| in_order(&member.roles));
    for member in all.into_iter().flatten().filter_map(|id| members.get(&id)) {
        let mut own: Map<String, Value> = serde_json::from_str(&member.job).unwrap_or_default();
        let role = member.roles.get(&member.id).cloned().unwrap_or_default();
        let does = own.get_mut("roles").and_then(|all| all.get_mut(&role)).map(Value::take);
        let does = roles.entry(role).or_insert_with(|| does.unwrap_or_default());
        if let Some(Value::Array(boards)) = does.get_mut("boards") {
            boards.push(json!(member.board));
        } else if let Value::Object(does) = does {
            does.insert("boards".into(), json!([member.board]));
        }
        if job.is_empty() {
            job = own;
        }
    }
    job.insert("roles".into(), Value::Object(roles));
    let head = members.values().next().map_or("", |member| member.part.text.as_str());
    format!("{head}\n{:#}\n", Value::Object(job))
}

/// What the lab calls the board, as [`Roles`](crate::job::spec::Roles) does.
fn node(roles: &BTreeMap<LavaId, String>, id: LavaId, role: &str) -> String {
    let same: Vec<&LavaId> =
        roles.iter().filter(|(_, other)| *other == role).map(|(id, _)| id).collect();
    match same.iter().position(|other| **other == id) {
        Some(place) if same.len() > 1 => format!("{role}-{}", place + 1),
        _ => role.to_owned(),
    }
}

/// No two groups have the same.
fn head(group: &str, worker: &str) -> String {
    let clean = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).collect() };
    format!("# LAVA group {}, by worker {}", clean(group), clean(worker))
}

const PROTOCOL: &str = "lava-multinode";
/// The server schedules all jobs of a group at once, and a worker asks it every 20 s.
const PATIENCE: Duration = Duration::from_secs(180);

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
