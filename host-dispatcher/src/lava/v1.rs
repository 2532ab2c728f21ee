//! Jobs of 2012, JSON, as `lava_dispatcher/job.py` took them then.

use super::import::{job_name, name_of};
use super::output::{Map, Yaml};
use super::report::Report;
use super::tree::{Field, Keys};

/// The job that one becomes.
pub(super) fn import(mut keys: Keys, report: &mut Report) -> Vec<Map> {
    let at = keys.at;
    let mut job = Map::default();
    let name = keys.take("job_name").and_then(|field| {
        report.mapped(&field, "name");
        field.text(report)
    });
    job.set("name", job_name(name.as_deref().unwrap_or("job")));
    let mut board = Map::default();
    for (key, ours) in [("device_type", "type"), ("target", "name")] {
        if let Some(field) = keys.take(key)
            && let Some(text) = field.text(report)
        {
            report.mapped(&field, format!("board.{ours}"));
            board.set(ours, name_of(&text));
        }
    }
    if let Some(field) = keys.take("device_tags").or_else(|| keys.take("tags")) {
        report.mapped(&field, "board.tags");
        board.set("tags", field.texts(report));
    }
    if !board.is_empty() {
        job.set("board", board);
    }
    if let Some(field) = keys.take("priority")
        && let Some(text) = field.text(report)
    {
        match text.as_str() {
            "high" => job.set("priority", 100),
            "medium" => job.set("priority", 50),
            "low" => job.set("priority", 0),
            _ => report.mistake(&field, "high, medium or low is expected here"),
        }
        report.mapped(&field, "priority");
    }
    if let Some(field) = keys.take("device_group") {
        report.unsupported(
            &field,
            "write roles: of a job of ours, each with its board and its tests",
        );
    }
    for (key, why) in [
        ("logging_level", "everything is recorded"),
        ("health_check", "health_checks of the lab file names the jobs that are some"),
        ("user_name", "a lab knows its submitters by their tokens"),
    ] {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, why);
        }
    }
    match keys.take("timeout") {
        Some(field) => {
            if let Some(seconds) = field.number(report).filter(|seconds| *seconds > 0) {
                report.mapped(&field, "timeout");
                job.set("timeout", seconds);
            }
        }
        None => report.missing(at, "timeout", "\"timeout\": 18000"),
    }
    let actions = match keys.take("actions") {
        Some(field) => field.list(report),
        None => Vec::new(),
    };
    keys.end(report);
    let mut tests = Vec::new();
    for action in actions {
        read_action(action, &mut job, &mut tests, report);
    }
    if tests.is_empty() {
        tests.push(test("boot", "uname -a"));
    }
    job.set("tests", tests);
    vec![job]
}

fn read_action(action: Field, job: &mut Map, tests: &mut Vec<Yaml>, report: &mut Report) {
    let mut keys = action.keys(report);
    let at = keys.at;
    let Some(command) = keys.take("command") else {
        return report.missing(at, &keys.path_of("command"), "\"command\": \"boot_linaro_image\"");
    };
    if let Some(field) = keys.take("metadata") {
        report.ignored(&field, "the run has its own");
    }
    let parameters = keys.take("parameters");
    let path = keys.path_of("parameters");
    keys.end(report);
    let mut parameters = match parameters {
        Some(field) => field.keys(report),
        None => Field { path, at, value: super::tree::Value::Map(Vec::new()) }.keys(report),
    };
    let word = command.text(report).unwrap_or_default();
    match word.as_str() {
        "deploy_linaro_image" | "deploy_image" => {
            report.mapped(&command, "deploy");
            deploy(&mut parameters, job, report);
        }
        "boot_linaro_image" | "boot_image" => {
            report.ignored(&command, "the board type knows how its image under test is booted");
            if let Some(field) = parameters.take("options") {
                report.unsupported(
                    &field,
                    "write the commands that boot the image into the board type",
                );
            }
        }
        "boot_master_image" => {
            report.ignored(&command, "a job begins and ends with the master image");
        }
        "lava_test_shell" => {
            report.mapped(&command, "tests");
            test_shell(&mut parameters, tests, report);
        }
        "lava_command_run" | "lava_host_command_run" => {
            report.unsupported(&command, "run it before pumice run, or as a test on the board")
        }
        "lava_test_install" | "lava_test_run" | "lava_test_run_custom" => {
            report.unsupported(
                &command,
                "lava-test is not kept since 2014: name the test definition of that suite under tests:",
            );
            for key in [
                "tests",
                "test_name",
                "test_options",
                "install_python",
                "install_deb",
                "register",
                "timeout",
                "install_options",
            ] {
                let _ = parameters.take(key);
            }
        }
        "add_apt_repository" => {
            report.mapped(&command, "a test that adds the source");
            if let Some(field) = parameters.take("arg")
                && let Some(text) = field.text(report)
            {
                let source = crate::definition::variable::quote(&text);
                tests.push(test("apt-source", &format!("lava-add-sources {source}")));
            }
        }
        "submit_results" | "submit_results_on_host" => {
            report.ignored(
                &command,
                "results are in the run directory; callbacks of notify: tell others of them",
            );
            for key in ["server", "stream", "result_disk", "token"] {
                let _ = parameters.take(key);
            }
        }
        _ if word.contains("android") => {
            report.unsupported(
                &command,
                "images of Android are not deployed, and its tests need adb",
            );
            let _ = parameters.rest();
        }
        _ => {
            report.unsupported(&command, "no such action here: write what it does as a test");
            let _ = parameters.rest();
        }
    }
    if let Some(field) = parameters.take("timeout") {
        report.ignored(&field, "that phase has a deadline of its own");
    }
    parameters.end(report);
}

fn deploy(parameters: &mut Keys, job: &mut Map, report: &mut Report) {
    let at = parameters.at;
    let mut deploy = Map::default();
    if let Some(field) = parameters.take("image")
        && let Some(text) = field.text(report)
    {
        report.mapped(&field, "deploy.disk");
        deploy.set("disk", text.strip_prefix("file://").unwrap_or(&text));
    }
    if let Some(field) = parameters.take("hwpack") {
        report.unsupported(
            &field,
            "a hardware pack is not joined with a root file system: do that (linaro-media-create), and name the image as deploy.disk",
        );
        let _ = parameters.take("rootfs");
    } else if let Some(field) = parameters.take("rootfs")
        && let Some(text) = field.text(report)
    {
        report.mapped(&field, "deploy.rootfs");
        deploy.set("rootfs", text);
    } else if deploy.is_empty() {
        report.missing(at, &parameters.path_of("image"), "\"image\": \"http://…\"");
    }
    for (key, why) in [
        ("rootfstype", "the image says what it is"),
        ("bootloader", "the board type has its boot loader"),
        ("kernel_matrix", "one kernel is deployed"),
        ("use_cache", "images are kept in the store by their digests"),
    ] {
        if let Some(field) = parameters.take(key) {
            report.ignored(&field, why);
        }
    }
    if !deploy.is_empty() {
        job.set("deploy", deploy);
    }
}

fn test_shell(parameters: &mut Keys, tests: &mut Vec<Yaml>, report: &mut Report) {
    let timeout = parameters.take("timeout").and_then(|field| {
        let seconds = field.number(report)?;
        report.mapped(&field, "tests[].timeout");
        Some(seconds)
    });
    if let Some(field) = parameters.take("role") {
        report.ignored(&field, "the job is for one board");
    }
    for field in parameters.take("testdef_urls").map(|field| field.list(report)).unwrap_or_default()
    {
        if let Some(url) = field.text(report) {
            report.mapped(&field, "tests[].definition.url");
            let mut test = Map::default();
            test.set("name", unique(stem(&url), tests));
            let mut source = Map::default();
            source.set("url", url);
            test.set("definition", source);
            if let Some(timeout) = timeout {
                test.set("timeout", timeout);
            }
            tests.push(test.into());
        }
    }
    let repositories = parameters.take("testdef_repos").map(|field| field.list(report));
    for field in repositories.unwrap_or_default() {
        let mut keys = field.keys(report);
        let mut source = Map::default();
        if let Some(field) = keys.take("git-repo")
            && let Some(text) = field.text(report)
        {
            report.mapped(&field, "tests[].definition.git");
            source.set("git", text);
        }
        if let Some(field) = keys.take("bzr-repo") {
            report.unsupported(&field, "repositories of Bazaar are not fetched: convert it to git");
        }
        let path = keys.take("testdef").and_then(|field| {
            report.mapped(&field, "tests[].definition.path");
            field.text(report)
        });
        let path = path.unwrap_or_else(|| "lavatest.yaml".to_owned());
        if let Some(field) = keys.take("revision")
            && let Some(text) = field.text(report)
        {
            report.mapped(&field, "tests[].definition.revision");
            source.set("revision", text);
        }
        let parameters = keys.take("parameters").map(|field| {
            report.mapped(&field, "tests[].parameters");
            let mut map = Map::default();
            for (name, field) in field.keys(report).rest() {
                if let Some(text) = field.text(report) {
                    map.set(&name, text);
                }
            }
            map
        });
        keys.end(report);
        if source.get("git").is_none() {
            continue;
        }
        source.set("path", path.as_str());
        let mut test = Map::default();
        test.set("name", unique(stem(&path), tests));
        test.set("definition", source);
        if let Some(parameters) = parameters {
            test.set("parameters", parameters);
        }
        if let Some(timeout) = timeout {
            test.set("timeout", timeout);
        }
        tests.push(test.into());
    }
}

/// The name of a file, without its folders and its ending.
fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

fn unique(stem: &str, tests: &[Yaml]) -> String {
    let name = name_of(stem);
    let has = |name: &str| {
        tests
            .iter()
            .any(|test| matches!(test, Yaml::Map(map) if map.get("name") == Some(&name.into())))
    };
    if !has(&name) {
        return name;
    }
    let numbered =
        |number: usize| format!("{}-{number}", name.chars().take(58).collect::<String>());
    (2..).map(numbered).find(|name| !has(name)).unwrap_or(name)
}

fn test(name: &str, run: &str) -> Yaml {
    let mut test = Map::default();
    test.set("name", name);
    test.set("run", run);
    test.into()
}
