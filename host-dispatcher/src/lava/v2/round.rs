//! The actions of a job, as rounds of deploy, boot and test: each round is a job of ours.

use std::collections::{HashMap, HashSet};

use super::super::import::name_of;
use super::super::output::{Map, Yaml};
use super::super::report::Report;
use super::super::tree::Field;
use super::boot_commands::Typed;
use super::timeout::{Action, Timeouts};
use super::{boot, deploy, test};

/// The rounds of a job.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    done: Vec<Round>,
    now: Round,
    /// Files of a `deploy to: downloads`, by name, for `downloads://`.
    pub(super) downloads: HashMap<String, Map>,
}

/// One of them, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) deploy: Map,
    pub(super) deadlines: Map,
    /// What its boots type at the boot loader.
    pub(super) typed: Typed,
    /// The last boot ended at the boot loader's prompt.
    pub(super) is_in_boot_loader: bool,
    /// So often the image was booted.
    pub(super) boots: u32,
    tests: Vec<Yaml>,
    boot_loader_tests: Vec<Yaml>,
    names: HashSet<String>,
}

/// An action whose kind is known.
struct Step {
    kind: &'static str,
    field: Field,
    /// It only leads to a later deploy, which the master image does here.
    is_superseded: bool,
}

impl Rounds {
    /// Reads the actions. `before` is a test before all others, by its name.
    pub(super) fn read(
        actions: Vec<Field>,
        before: Option<(String, Map)>,
        timeouts: &Timeouts,
        report: &mut Report,
    ) -> Self {
        let mut rounds = Self::default();
        if let Some((name, test)) = before {
            rounds.now.add(&name, test);
        }
        for step in steps(actions, report) {
            if step.is_superseded {
                report.ignored(
                    &step.field,
                    "it only leads to the next deploy, which the master image does here",
                );
                continue;
            }
            match step.kind {
                "deploy" => rounds.deploy(step.field, timeouts, report),
                "boot" => rounds.boot(step.field, timeouts, report),
                "test" => test::read(step.field, &mut rounds.now, timeouts, report),
                _ => report.unsupported(
                    &step.field,
                    "a command of the device's users is none of the board type: run it around pumice run, or as a test on the board",
                ),
            }
        }
        rounds.end_round();
        rounds
    }

    /// The jobs: each is `base` with one round. `kernel_args` are those of all.
    pub(super) fn jobs(self, base: &Map, kernel_args: &str) -> Vec<Map> {
        let job = |round: Round| {
            let mut job = base.clone();
            round.write(kernel_args, &mut job);
            job
        };
        self.done.into_iter().map(job).collect()
    }

    fn deploy(&mut self, field: Field, timeouts: &Timeouts, report: &mut Report) {
        if self.now.boots > 0 {
            self.end_round();
        }
        deploy::read(field, self, timeouts, report);
    }

    /// The round that is read.
    pub(super) fn now(&mut self) -> &mut Round {
        &mut self.now
    }

    fn boot(&mut self, field: Field, timeouts: &Timeouts, report: &mut Report) {
        let repeats = boot::read(field, &mut self.now, timeouts, report);
        for _ in 0..repeats {
            self.now.restart();
        }
    }

    fn end_round(&mut self) {
        let mut round = std::mem::take(&mut self.now);
        if round.is_empty() {
            return;
        }
        let is_of_boot_loader = round.boots == 0 && !round.boot_loader_tests.is_empty();
        if round.tests.is_empty() && !is_of_boot_loader {
            // The boot itself is what was asked for: it passed when an agent answers.
            let mut test = Map::default();
            test.set("run", "uname -a");
            round.add("boot", test);
        }
        self.done.push(round);
    }
}

impl Round {
    /// Adds a test; its name is made one that this round does not have yet. Says whether there was room for it.
    pub(super) fn add(&mut self, name: &str, keys: Map) -> bool {
        if self.tests.len() == TESTS_MAX {
            return false;
        }
        let test = self.named(name, keys);
        self.tests.push(test);
        true
    }

    /// The same for a test of the boot loader.
    pub(super) fn add_of_boot_loader(&mut self, name: &str, keys: Map) -> bool {
        if self.boot_loader_tests.len() == LOADER_TESTS_MAX {
            return false;
        }
        let test = self.named(name, keys);
        self.boot_loader_tests.push(test);
        true
    }

    fn named(&mut self, name: &str, keys: Map) -> Yaml {
        let plain = name_of(name);
        let mut name = plain.clone();
        let mut number = 2;
        while !self.names.insert(name.to_ascii_lowercase()) {
            let suffix = format!("-{number}");
            let kept: String = plain.chars().take(64 - suffix.len()).collect();
            name = format!("{kept}{suffix}");
            number += 1;
        }
        let mut test = Map::default();
        test.set("name", name.as_str());
        test.append(keys);
        test.into()
    }

    /// A boot behind the first one: the board restarts, and finds its image again.
    fn restart(&mut self) {
        let mut test = Map::default();
        test.set("run", "reboot -f");
        test.set("expect", "reboot");
        self.add("restart", test);
    }

    fn is_empty(&self) -> bool {
        self.boots == 0
            && self.tests.is_empty()
            && self.boot_loader_tests.is_empty()
            && self.deploy.is_empty()
    }

    fn write(self, kernel_args: &str, job: &mut Map) {
        let mut args: Vec<&str> = kernel_args.split_whitespace().collect();
        args.extend(self.typed.kernel_args.iter().map(String::as_str));
        if !args.is_empty() {
            job.set("kernel_args", args.join(" "));
        }
        if !self.typed.before.is_empty() {
            job.set("preboot", self.typed.before);
        }
        if !self.deploy.is_empty() {
            job.set("deploy", self.deploy);
        }
        if !self.deadlines.is_empty() {
            job.set("deadlines", self.deadlines);
        }
        if !self.boot_loader_tests.is_empty() {
            job.set("boot_loader_tests", self.boot_loader_tests);
        }
        if !self.tests.is_empty() {
            job.set("tests", self.tests);
        }
    }

    /// How long a phase may take; of several the longest counts, since a deadline is one for the job.
    pub(super) fn deadline(&mut self, kind: Action, period: Option<String>) {
        let key = if kind == Action::Deploy { "deploy" } else { "boot" };
        if let Some(period) = period {
            self.deadlines.set(key, period);
        }
    }
}

/// The actions with their kinds. One that is followed by a deploy onto a medium with no test in between only led there:
/// LAVA boots a system over the network to write the medium.
fn steps(actions: Vec<Field>, report: &mut Report) -> Vec<Step> {
    let mut steps = Vec::with_capacity(actions.len());
    for action in actions {
        let whole = action.clone();
        let mut keys = action.keys(report);
        let found: Vec<_> =
            KINDS.iter().filter_map(|kind| Some((*kind, keys.take(kind)?))).collect();
        keys.end(report);
        match <[_; 1]>::try_from(found) {
            Ok([(kind, field)]) => steps.push(Step { kind, field, is_superseded: false }),
            Err(_) => report.mistake(&whole, "an action is one of deploy, boot, test, command"),
        }
    }
    let mut leads_to_medium = false;
    for step in steps.iter_mut().rev() {
        match step.kind {
            "test" => leads_to_medium = false,
            "deploy" if to(&step.field).is_some_and(|to| MEDIA.contains(&to.as_str())) => {
                // Itself may lead to another; the last one counts.
                step.is_superseded = leads_to_medium;
                leads_to_medium = true;
            }
            "deploy" if to(&step.field).is_some_and(|to| to.starts_with("download")) => {}
            "deploy" | "boot" => step.is_superseded = leads_to_medium,
            _ => {}
        }
    }
    steps
}

fn to(deploy: &Field) -> Option<String> {
    let mut unread = Report::new("");
    deploy.clone().keys(&mut unread).take("to")?.text(&mut unread)
}

/// As many as a job of ours has.
pub(super) const TESTS_MAX: usize = 128;
const LOADER_TESTS_MAX: usize = 64;
const KINDS: [&str; 4] = ["deploy", "boot", "test", "command"];
const MEDIA: [&str; 4] = ["sata", "sd", "usb", "flasher"];
