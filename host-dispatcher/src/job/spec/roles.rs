//! Jobs of several boards: `roles`, each with the keys of a job that concern one board.
//!
//! A role becomes a [`Job`] of its own, one for each of its boards, so everything behind this file knows jobs of one board.
//! What stands at the top holds for every role that does not say it itself.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{
    BoardForm, BoardWish, BootWith, DeployForm, EXAMPLES, Job, JobDeadlinesForm, JobForm,
    MetadataForm, NotifyForm, SecretsForm, size_of_file, size_within,
};
use crate::config::template::{InBootLoader, TextIn};
use crate::config::value::{Name, Period};
use crate::config::yaml::{self, FileError, Spanned, place};
use crate::definition::fence::Fence;
use crate::definition::variable::{Variable, VariablesForm};
use crate::job::boot_loader_test::BootLoaderTestForm;
use crate::job::test::TestForm;
use crate::kernel::policy::PolicyForm;

/// Boards of one job.
pub const NODES_MAX: usize = 16;

/// A job of several boards.
#[derive(Clone, Debug)]
pub struct Roles {
    /// The job's name.
    pub name: String,
    /// How long a test waits for what another one is to say.
    pub wait_timeout: Duration,
    /// One for each board, 2 to 16, in the order of the file.
    pub nodes: Vec<Node>,
}

/// What one of the boards does.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its role.
    pub role: String,
    /// The role, and where several boards have it, a number: `client-2`. No two nodes have the same.
    pub label: String,
    /// What to do there.
    pub job: Job,
}

impl Roles {
    /// The job in a text that stands for a file; `None` if it is for one board.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn of_text(path: &Path, text: &str) -> Result<Option<Self>, FileError> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::from_str(&path.display().to_string(), text, folder, &size_of_file, None)
    }

    /// The same of a text that somebody submitted from elsewhere: see [`Job::from_str_within`].
    ///
    /// # Errors
    /// As for [`Self::of_text`].
    pub fn from_str_within(
        file: &str,
        text: &str,
        folder: &Path,
        fence: &Fence,
    ) -> Result<Option<Self>, FileError> {
        Self::from_str(file, text, folder, &size_within(fence), Some(fence))
    }

    fn from_str(
        file: &str,
        text: &str,
        folder: &Path,
        size_of: &dyn Fn(&Path) -> io::Result<u64>,
        fence: Option<&Fence>,
    ) -> Result<Option<Self>, FileError> {
        if place_of_roles(file, text).is_none() {
            return Ok(None);
        }
        // Forms cannot be copied, and every role takes what it wants of the top.
        let form = || yaml::from_str::<RolesForm>(file, text, EXAMPLES);
        let first = form()?;
        let roles: Vec<Name> =
            first.roles.value.0.iter().map(|(name, _)| name.value.clone()).collect();
        let mut nodes = Vec::new();
        for (index, role) in roles.iter().enumerate() {
            let mut top = form()?;
            let at = place(&top.roles);
            let (name, mut role_form) = top.roles.value.0.swap_remove(index);
            let named = role_form.boards.take();
            let count = match &named {
                Some(named) => named_count(file, named, &role_form)?,
                None => count_of(file, role_form.count.as_ref())?,
            };
            if nodes.len() + count > NODES_MAX {
                let message = format!("a job has at most {NODES_MAX} boards");
                return Err(FileError::at(file, at, message).mend("lower count:"));
            }
            let form = top.job_of(file, &name, role_form)?;
            let job = Job::of_form(file, text, folder, size_of, fence, form)?;
            for number in 1..=count {
                let role = role.as_str().to_owned();
                let label = if count == 1 { role.clone() } else { format!("{role}-{number}") };
                let name = format!("{} ({label})", job.name);
                let named = named.as_ref().and_then(|named| named.value.get(number - 1));
                let board =
                    named.map_or_else(|| job.board.clone(), |name| BoardWish::named(name.as_str()));
                nodes.push(Node { role, label, job: Job { name, board, ..job.clone() } });
            }
        }
        if nodes.len() < 2 {
            let message = "a job of one board has no roles";
            return Err(FileError::at(file, place(&first.roles), message)
                .mend("name a second role, add \"count: 2\", or write its keys at the top"));
        }
        for (index, node) in nodes.iter().enumerate() {
            if nodes[..index].iter().any(|other| other.label == node.label) {
                let message =
                    format!("the board {} of one role is called like another", node.label);
                return Err(FileError::at(file, place(&first.roles), message)
                    .mend("name the roles differently"));
            }
        }
        let wait_timeout = first.wait_timeout.map_or(WAIT_TIMEOUT, Period::duration);
        Ok(Some(Self { name: first.name.value, wait_timeout, nodes }))
    }

    /// What the boards are asked to be, node by node.
    pub fn wishes(&self) -> Vec<BoardWish> {
        self.nodes.iter().map(|node| node.job.board.clone()).collect()
    }

    /// The boards are known, node by node: the tests learn who they are and who the others are, as LAVA's helpers ask it.
    pub fn introduce(&mut self, boards: &[String]) {
        let lines = self.nodes.iter().zip(boards);
        let lines: Vec<String> =
            lines.map(|(node, board)| format!("{board}\t{}", node.role)).collect();
        let group = lines.join("\n");
        for (node, board) in self.nodes.iter_mut().zip(boards) {
            let variables =
                [("LAVA_HOSTNAME", board), ("TARGET_ROLE", &node.role), ("LAVA_GROUP", &group)];
            let exports = variables.map(|(name, value)| {
                let variable = Variable { name: name.to_owned(), value: value.clone() };
                format!("export {}", variable.assignment())
            });
            for test in &mut node.job.tests {
                test.run.insert_str(0, &exports.concat());
            }
        }
    }
}

/// Where a job's `roles` stand, if it has some.
fn place_of_roles(file: &str, text: &str) -> Option<yaml::Place> {
    let form: RolesOnly = yaml::from_str(file, text, &[]).ok()?;
    form.roles.as_ref().map(place)
}

/// The error of who wants a job of one board, as health checks are: of one with `roles`, that.
pub(super) fn explain(file: &str, text: &str, error: FileError) -> FileError {
    match place_of_roles(file, text) {
        Some(at) => FileError::at(file, at, "roles: a health check is a job of one board")
            .mend("write its keys at the top"),
        None => error,
    }
}

fn count_of(file: &str, form: Option<&Spanned<u32>>) -> Result<usize, FileError> {
    let Some(form) = form else { return Ok(1) };
    let count = usize::try_from(form.value).unwrap_or(usize::MAX);
    if (1..=NODES_MAX).contains(&count) {
        return Ok(count);
    }
    let message = format!("count is 1 to {NODES_MAX}");
    Err(FileError::at(file, place(form), message).mend("leave out a role that has no board"))
}

/// How many boards a role has that names them.
fn named_count(
    file: &str,
    named: &Spanned<Vec<Name>>,
    role: &RoleForm,
) -> Result<usize, FileError> {
    if role.count.is_some() || role.board.is_some() {
        return Err(FileError::at(file, place(named), "boards: says how many and which")
            .mend("remove count: and board: beside it"));
    }
    if !(1..=NODES_MAX).contains(&named.value.len()) {
        let message = format!("boards names 1 to {NODES_MAX}");
        return Err(FileError::at(file, place(named), message));
    }
    Ok(named.value.len())
}

impl RolesForm {
    /// The form of a role's job. A key of [`JobForm`] that is new must be given a place here.
    fn job_of(
        self,
        file: &str,
        name: &Spanned<Name>,
        role: RoleForm,
    ) -> Result<JobForm, FileError> {
        let tests = role.tests.or(self.tests).ok_or_else(|| {
            let message = format!("the role {} misses the key \"tests\"", name.value.as_str());
            FileError::at(file, place(name), message)
                .mend("add \"tests: [{name: uname, run: uname -a}]\" to it, or at the top for all")
        })?;
        Ok(JobForm {
            name: self.name,
            board: role.board.or(self.board),
            deploy: role.deploy.or(self.deploy),
            boot_with: role.boot_with.or(self.boot_with),
            kernel_args: role.kernel_args.or(self.kernel_args),
            preboot: role.preboot.or(self.preboot),
            boot_commands: role.boot_commands.or(self.boot_commands),
            deadlines: role.deadlines.or(self.deadlines),
            environment: role.environment.or(self.environment),
            boot_loader_tests: role.boot_loader_tests.or(self.boot_loader_tests),
            tests: Some(tests),
            kernel: role.kernel.or(self.kernel),
            watchdog: role.watchdog.or(self.watchdog),
            // Of the job as a whole.
            priority: self.priority,
            metadata: self.metadata,
            secrets: self.secrets,
            notify: self.notify,
            timeout: self.timeout,
        })
    }
}

#[derive(Deserialize)]
struct RolesOnly {
    roles: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolesForm {
    name: Spanned<String>,
    roles: Spanned<RoleMap>,
    wait_timeout: Option<Period>,
    board: Option<BoardForm>,
    deploy: Option<Spanned<DeployForm>>,
    boot_with: Option<Spanned<BootWith>>,
    kernel_args: Option<Spanned<String>>,
    preboot: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
    boot_commands: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
    deadlines: Option<JobDeadlinesForm>,
    priority: Option<Spanned<u8>>,
    environment: Option<VariablesForm>,
    boot_loader_tests: Option<Vec<BootLoaderTestForm>>,
    tests: Option<Spanned<Vec<TestForm>>>,
    kernel: Option<PolicyForm>,
    watchdog: Option<Spanned<Period>>,
    metadata: Option<MetadataForm>,
    secrets: Option<SecretsForm>,
    notify: Option<NotifyForm>,
    timeout: Option<Period>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleForm {
    count: Option<Spanned<u32>>,
    board: Option<BoardForm>,
    boards: Option<Spanned<Vec<Name>>>,
    deploy: Option<Spanned<DeployForm>>,
    boot_with: Option<Spanned<BootWith>>,
    kernel_args: Option<Spanned<String>>,
    preboot: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
    boot_commands: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
    deadlines: Option<JobDeadlinesForm>,
    environment: Option<VariablesForm>,
    boot_loader_tests: Option<Vec<BootLoaderTestForm>>,
    tests: Option<Spanned<Vec<TestForm>>>,
    kernel: Option<PolicyForm>,
    watchdog: Option<Spanned<Period>>,
}

/// Roles in the order of the file.
struct RoleMap(Vec<(Spanned<Name>, RoleForm)>);

impl<'de> Deserialize<'de> for RoleMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Roles;

        impl<'de> Visitor<'de> for Roles {
            type Value = RoleMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of roles, each with what its boards do")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RoleMap, M::Error> {
                let mut roles = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    roles.push(entry);
                }
                Ok(RoleMap(roles))
            }
        }

        deserializer.deserialize_map(Roles)
    }
}

/// As long as a test may take without a `timeout`.
const WAIT_TIMEOUT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Roles>, String> {
        Roles::from_str("job.yaml", text, Path::new("jobs"), &|_| Ok(7), None)
            .map_err(|error| error.to_string())
    }

    const IPERF: &str = "\
name: iperf
board: {type: qemu-virt-armv7}
boot_with: master
environment: {PORT: 5001}
roles:
  server:
    deploy: {rootfs: server.ext4}
    tests: [{name: serve, run: iperf -s}]
  client:
    count: 2
    board: {tags: [eth]}
    environment: {PORT: 5002}
    tests: [{name: ask, run: iperf -c}]
wait_timeout: 2m
timeout: 30m
";

    #[test]
    fn a_role_has_its_own_keys_and_those_of_the_top() {
        let mut roles = parse(IPERF).unwrap().unwrap();
        assert_eq!((roles.name.as_str(), roles.wait_timeout), ("iperf", Duration::from_secs(120)));
        let labels: Vec<_> = roles.nodes.iter().map(|node| node.label.as_str()).collect();
        assert_eq!(labels, ["server", "client-1", "client-2"]);
        let wishes = roles.wishes();
        assert_eq!(wishes[0].board_type.as_deref(), Some("qemu-virt-armv7"));
        assert_eq!((&wishes[1], &wishes[2].tags), (&wishes[2], &vec!["eth".to_owned()]));
        assert_eq!(wishes[1].board_type, None, "a key is the role's or the top's, whole");
        let [server, client, _] = &roles.nodes[..] else { panic!() };
        assert_eq!(server.job.name, "iperf (server)");
        assert!(server.job.deploy.is_some() && client.job.deploy.is_none());
        assert_eq!([server.job.boot_with, client.job.boot_with], [BootWith::Master; 2]);
        assert!(server.job.tests[0].run.contains("PORT='5001'"), "{}", server.job.tests[0].run);
        assert!(client.job.tests[0].run.contains("PORT='5002'"));
        assert_eq!(client.job.timeout, Duration::from_secs(1800));
        roles.introduce(&["a", "b", "c"].map(str::to_owned));
        let head = "export LAVA_HOSTNAME='b'\nexport TARGET_ROLE='client'\nexport LAVA_GROUP='a\tserver\nb\tclient\nc\tclient'\n";
        assert!(roles.nodes[1].job.tests[0].run.starts_with(head));
    }

    #[test]
    fn a_role_may_name_its_boards() {
        let roles = parse(
            "name: x\ntests: [{name: a, run: b}]\nboard: {type: t}\nroles:\n  peer: {boards: [b, a]}\n  other: {}\n",
        );
        let roles = roles.unwrap().unwrap();
        let boards: Vec<_> = roles
            .nodes
            .iter()
            .map(|node| (node.label.as_str(), node.job.board.describe()))
            .collect();
        let expected = [("peer-1", "named b"), ("peer-2", "named a"), ("other", "of the type t")];
        assert_eq!(boards, expected.map(|(label, board)| (label, board.to_owned())));
    }

    #[test]
    fn one_test_for_all_roles_stands_at_the_top() {
        let roles = parse("name: x\ntests: [{name: a, run: b}]\nroles:\n  peer: {count: 3}\n");
        assert_eq!(roles.unwrap().unwrap().nodes.len(), 3);
        assert!(parse("name: x\ntests: [{name: a, run: b}]\n").unwrap().is_none());
    }

    #[test]
    fn mistakes() {
        let tests = "tests: [{name: a, run: b}]\n";
        for (text, expected) in [
            (
                "name: x\nroles:\n  a: {}\n  b: {}\n",
                "job.yaml:3: the role a misses the key \"tests\": add \"tests: [{name: uname, run: uname -a}]\" to it, or at the top for all",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a: {{}}\n"),
                "job.yaml:4: a job of one board has no roles: name a second role, add \"count: 2\", or write its keys at the top",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a: {{count: 0}}\n  b: {{}}\n"),
                "job.yaml:4: count is 1 to 16: leave out a role that has no board",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a: {{count: 9}}\n  b: {{count: 8}}\n"),
                "job.yaml:4: a job has at most 16 boards: lower count:",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a: {{count: 2}}\n  a-1: {{}}\n"),
                "job.yaml:4: the board a-1 of one role is called like another: name the roles differently",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a: {{bord: {{}}}}\n  b: {{}}\n"),
                "job.yaml:4: unknown key \"bord\": did you mean \"board\"?",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a: {{timeout: 5m}}\n  b: {{}}\n"),
                "job.yaml:4: unknown key \"timeout\": known are count, board, boards, deploy, boot_with, kernel_args, preboot, boot_commands, deadlines, environment, boot_loader_tests, tests, kernel, watchdog",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a: {{boards: [c], count: 1}}\n  b: {{}}\n"),
                "job.yaml:4: boards: says how many and which: remove count: and board: beside it",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a: {{boards: []}}\n  b: {{}}\n"),
                "job.yaml:4: boards names 1 to 16",
            ),
            (
                &format!("name: x\n{tests}roles:\n  a b: {{}}\n  b: {{}}\n"),
                "job.yaml:4: \"a b\" cannot be a name: use 1 to 64 letters, digits and . _ -, a letter or digit first",
            ),
            (&format!("name: x\n{tests}role:\n  a: {{}}\n"), "none"),
        ] {
            let error = parse(text).map(|roles| roles.map_or("none", |_| "some"));
            assert_eq!(error.unwrap_or_else(|error| error.leak()), expected, "{text}");
        }
    }

    #[test]
    fn who_knows_jobs_of_one_board_only_says_so() {
        let error = Job::from_str("job.yaml", IPERF, Path::new("jobs"), |_| Ok(7)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "job.yaml:6: roles: a health check is a job of one board: write its keys at the top"
        );
    }
}
