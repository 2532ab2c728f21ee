//! `test`: test definitions, and what stands in their place.

use super::super::output::{Map, Yaml};
use super::super::report::Report;
use super::super::tree::{Field, Keys, Value};
use super::deploy::common;
use super::round::{Round, TESTS_MAX};
use super::timeout::{Action, Timeouts};
use super::variables;
use super::watch::{self, Place};

/// Reads one into the round.
pub(super) fn read(field: Field, round: &mut Round, timeouts: &Timeouts, report: &mut Report) {
    let whole = Field { value: Value::Null, ..field.clone() };
    let mut keys = field.keys(report);
    let at = keys.at;
    let period = timeouts.of_action(&mut keys, Action::Test, report);
    common(&mut keys, round, report);
    let repeat = keys.take("repeat").and_then(|field| {
        let count = field.number(report)?;
        report.mapped(&field, "the tests, so many times");
        Some(count.clamp(1, REPEATS_MAX))
    });
    let (mut tests, mut of_boot_loader) = (Vec::new(), Vec::new());
    let mut is_any = false;
    if let Some(field) = keys.take("docker") {
        is_any = true;
        report.unsupported(
            &field,
            "no test runs in a container beside the board: run it there yourself, with pumice exec, or on the board",
        );
        let _ = (keys.take("definitions"), keys.take("downloads-namespace"));
    }
    if let Some(field) = keys.take("definitions") {
        is_any = true;
        needs_image(&field, round, report);
        for field in field.list(report) {
            tests.extend(definition(field, period.as_deref(), report));
        }
    }
    if let Some(field) = keys.take("monitors") {
        is_any = true;
        needs_image(&field, round, report);
        for field in field.list(report) {
            tests.extend(watch::monitor(field, period.as_deref(), report));
        }
    }
    if let Some(field) = keys.take("interactive") {
        is_any = true;
        for field in field.list(report) {
            let period = period.as_deref();
            if round.is_in_boot_loader {
                of_boot_loader.extend(watch::interactive(field, period, Place::BootLoader, report));
            } else {
                tests.extend(watch::interactive(field, period, Place::Shell, report));
            }
        }
    }
    if let Some(field) = keys.take("services") {
        is_any = true;
        report.unsupported(&field, "no services are started: start them before pumice run");
    }
    if !is_any {
        report.missing(at, &keys.path_of("definitions"), "definitions: [{repository: …}]");
    }
    keys.end(report);
    let mut has_room = true;
    for _ in 0..repeat.unwrap_or(1) {
        for (name, test) in &tests {
            has_room = has_room && round.add(name, test.clone());
        }
        for (name, test) in &of_boot_loader {
            has_room = has_room && round.add_of_boot_loader(name, test.clone());
        }
    }
    if !has_room {
        let mend = format!("a job has at most {TESTS_MAX} tests: make several jobs of it");
        report.unsupported(&whole, mend);
    }
}

/// A boot loader has no shell and no kernel's log.
fn needs_image(field: &Field, round: &Round, report: &mut Report) {
    if round.is_in_boot_loader {
        let field = Field { value: Value::Null, ..field.clone() };
        report.unsupported(
            &field,
            "at a boot loader's prompt only interactive runs: boot the image first",
        );
    }
}

/// One test definition, with its name.
fn definition(field: Field, period: Option<&str>, report: &mut Report) -> Option<(String, Map)> {
    let mut keys = field.keys(report);
    let at = keys.at;
    let mut test = Map::default();
    let name = keys.take("name").and_then(|field| {
        report.mapped(&field, "tests[].name");
        field.text(report)
    });
    let path = keys.take("path");
    let source = match keys.take("from") {
        Some(from) => match from.text(report).as_deref() {
            Some("git") => git(&from, &mut keys, path, report),
            Some("inline") => inline(&from, &mut keys, path, report),
            Some("url") => url(&from, &mut keys, path, report),
            Some("file") => {
                report.unsupported(&from, "name the file as definition: of a job of ours");
                let _ = keys.take("repository");
                None
            }
            _ => {
                report.mistake(&from, "one of git, url, inline is expected here");
                let _ = keys.take("repository");
                None
            }
        },
        None => {
            report.missing(at, &keys.path_of("from"), "from: git");
            None
        }
    };
    if let Some(field) = keys.take_any(&["parameters", "params"]) {
        report.mapped(&field, "tests[].parameters");
        test.set("parameters", variables(field, report));
    }
    if let Some(field) = keys.take("skip_install") {
        report.mapped(&field, "tests[].skip_install");
        let parts = field.texts(report);
        if parts.iter().any(|part| part == "all") {
            test.set("skip_install", true);
        } else {
            test.set("skip_install", parts);
        }
    }
    if let Some(field) = keys.take("expected") {
        report.mapped(&field, "tests[].expected");
        test.set("expected", field.texts(report));
    }
    if let Some(field) = keys.take("lava-signal") {
        report.ignored(&field, "results do not come as text on the console");
    }
    if let Some(field) = keys.take("compression") {
        report.ignored(&field, "what a file is packed with, its first bytes tell");
    }
    for key in ["history", "recursive", "shallow"] {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, "the files of one commit are sent, without their history");
        }
    }
    keys.end(report);
    if let Some(period) = period {
        test.set("timeout", period);
    }
    let mut whole = Map::default();
    whole.set("definition", source?);
    whole.append(test);
    Some((name.unwrap_or_else(|| "test".to_owned()), whole))
}

fn git(from: &Field, keys: &mut Keys, path: Option<Field>, report: &mut Report) -> Option<Yaml> {
    let mut source = Map::default();
    let Some(repository) = keys.take("repository") else {
        report.missing(from.at, &keys.path_of("repository"), "repository: https://…");
        return None;
    };
    report.mapped(&repository, "tests[].definition.git");
    source.set("git", repository.text(report)?);
    match path {
        Some(path) => {
            report.mapped(&path, "tests[].definition.path");
            source.set("path", path.text(report)?);
        }
        None => {
            report.missing(from.at, &keys.path_of("path"), "path: automated/linux/smoke/smoke.yaml")
        }
    }
    // A revision says more than the branch that it is on.
    let branch = keys.take("branch");
    if let Some(revision) = keys.take("revision") {
        report.mapped(&revision, "tests[].definition.revision");
        source.set("revision", revision.text(report)?);
        if let Some(branch) = branch {
            report.ignored(&branch, "the revision says which commit is meant");
        }
    } else if let Some(branch) = branch {
        report.mapped(&branch, "tests[].definition.branch");
        source.set("branch", branch.text(report)?);
    }
    Some(source.into())
}

fn url(from: &Field, keys: &mut Keys, path: Option<Field>, report: &mut Report) -> Option<Yaml> {
    let Some(repository) = keys.take("repository") else {
        report.missing(from.at, &keys.path_of("repository"), "repository: https://…");
        return None;
    };
    report.mapped(&repository, "tests[].definition.url");
    let mut source = Map::default();
    source.set("url", repository.text(report)?);
    if let Some(path) = path {
        report.mapped(&path, "tests[].definition.path");
        source.set("path", path.text(report)?);
    }
    if let Some(field) = keys.take("sha256sum") {
        report.mapped(&field, "tests[].definition.sha256");
        source.set("sha256", field.text(report)?);
    }
    Some(source.into())
}

/// A definition that stands in the job: the same keys as in a file of its own.
fn inline(from: &Field, keys: &mut Keys, path: Option<Field>, report: &mut Report) -> Option<Yaml> {
    if let Some(path) = path {
        report.ignored(&path, "the definition stands here");
    }
    let Some(repository) = keys.take("repository") else {
        report.missing(from.at, &keys.path_of("repository"), "repository: {metadata: …, run: …}");
        return None;
    };
    if !repository.is_map() {
        report.mistake(&repository, "a test definition is expected here");
        return None;
    }
    let mut definition = Map::default();
    let mut known = repository.clone().keys(report);
    for key in DEFINITION {
        if let Some(field) = known.take(key) {
            if key == "parse" {
                report
                    .ignored(&field, "patterns are not applied: report cases with lava-test-case");
                continue;
            }
            definition.set(key, written(field.value));
        }
    }
    if definition.get("run").is_none() {
        report.missing(repository.at, &format!("{}.run", repository.path), "run: {steps: [true]}");
    }
    known.end(report);
    report.mapped(&repository, "tests[].definition.inline");
    let mut source = Map::default();
    source.set("inline", definition);
    Some(source.into())
}

/// The same value, truth values as LAVA gives them to scripts.
fn written(value: Value) -> Yaml {
    match value {
        Value::Bool(_) => Yaml::Text(value.scalar().unwrap_or_default()),
        Value::List(items) => {
            items.into_iter().map(|node| written(node.value)).collect::<Vec<_>>().into()
        }
        Value::Map(entries) => {
            let mut map = Map::default();
            for (key, node) in entries {
                map.set(&key.value, written(node.value));
            }
            map.into()
        }
        value => value.into(),
    }
}

const DEFINITION: [&str; 7] =
    ["metadata", "install", "parameters", "params", "parse", "run", "expected"];
/// More is no job that somebody meant; a job of ours has at most 128 tests.
const REPEATS_MAX: u64 = 128;
