//! The scripts that a board runs for a test: `run.sh`, and `install.sh` beside it.
//!
//! A board's agent runs `/bin/sh -e run.sh` in the suite's folder `/.pumice/runs/<run>/tests/<suite>/`. Of what LAVA writes there, the
//! order is kept: parameters with their defaults, the job's, the folder of the overlay, the steps.

use super::form::Definition;
use super::install::Install;
use super::variable::{Variable, quote};
use crate::config::value::shorten;

/// What makes a test's scripts.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The suite's name.
    pub suite: &'a str,
    /// Variables that every program of the test sees.
    pub environment: &'a [Variable],
    /// The agent is told of each step, to end one that takes too long.
    pub has_step_timeout: bool,
}

/// A definition with what a job says beside it.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    /// The definition.
    pub definition: &'a Definition,
    /// Where it comes from, for people.
    pub origin: &'a str,
    /// The job's parameters; they win.
    pub overrides: &'a [Variable],
    /// Folders of the overlay that are empty, and made on the board.
    pub empty_folders: &'a [String],
}

impl Frame<'_> {
    /// `run.sh` for a shell text of the job itself: as it is, unless there is something to put before it.
    pub fn plain(&self, text: &str) -> String {
        let mut script = self.exports();
        if self.has_step_timeout {
            script.push_str("pumice-step 1\n");
        }
        script.push_str(text);
        script
    }

    /// `run.sh` for a definition.
    pub fn run_sh(&self, steps: &Steps<'_>) -> String {
        let mut script = self.head("steps", steps);
        // Beside the folders of all runs: a collect need not walk through it.
        let overlay = quote(&format!("../../../../overlay/{}", self.suite));
        line(&mut script, &format!("mkdir -p {overlay}\ncd {overlay}"));
        for folder in steps.empty_folders {
            line(&mut script, &format!("mkdir -p {}", quote(&format!("./{folder}"))));
        }
        if !steps.definition.install.is_empty() {
            script.push_str(RUN_INSTALL);
        }
        for (number, step) in (1..).zip(&steps.definition.steps) {
            if self.has_step_timeout {
                line(&mut script, &format!("pumice-step {number}"));
            }
            line(&mut script, &late_words(step));
        }
        script
    }

    /// `install.sh` for a definition that has something to install on the board.
    ///
    /// A script of its own, as in LAVA: `run.sh` must see that it failed, and a shell that is asked for the status of a
    /// part of itself forgets `-e` in that part.
    pub fn install_sh(&self, steps: &Steps<'_>) -> Option<String> {
        let Install { keys, sources, deps, os_deps, steps: texts, .. } = &steps.definition.install;
        if steps.definition.install.is_empty() {
            return None;
        }
        let mut script = self.head("install part", steps);
        keys.iter().for_each(|key| line(&mut script, &format!("lava-add-keys {key}")));
        sources.iter().for_each(|source| line(&mut script, &format!("lava-add-sources {source}")));
        if !deps.is_empty() {
            line(&mut script, &format!("lava-install-packages {}", deps.join(" ")));
        }
        if !os_deps.is_empty() {
            script.push_str(FIND_OS);
        }
        for (os, deps) in os_deps.iter().filter(|(_, deps)| !deps.is_empty()) {
            let test = format!("if [ \"$os\" = {} ]; then", quote(os));
            line(&mut script, &format!("{test} lava-install-packages {}; fi", deps.join(" ")));
        }
        texts.iter().for_each(|step| line(&mut script, &late_words(step)));
        Some(script)
    }

    fn exports(&self) -> String {
        let export = |variable: &Variable| format!("export {}", variable.assignment());
        self.environment.iter().map(export).collect()
    }

    fn head(&self, part: &str, steps: &Steps<'_>) -> String {
        let Steps { definition, origin, overrides, .. } = steps;
        let mut script = format!("# The {part} of the test definition {}.\n", shorten(origin));
        line(&mut script, &format!("export TESTRUN_ID={}", quote(self.suite)));
        script.push_str(&self.exports());
        script.extend(definition.parameters.iter().map(Variable::assignment));
        if !overrides.is_empty() {
            script.push_str("# The job's own parameters.\n");
            script.extend(overrides.iter().map(Variable::assignment));
        }
        script
    }
}

fn line(script: &mut String, text: &str) {
    script.push_str(text);
    if !text.ends_with('\n') {
        script.push('\n');
    }
}

/// `$1` of a step with `--shell` is meant for the command, which a shell reads a second time: LAVA writes `\$1`.
fn late_words(step: &str) -> String {
    if !step.contains("--shell") && !step.contains("--cmd") {
        return step.to_owned();
    }
    let mut late = String::with_capacity(step.len());
    let mut rest = step;
    while let Some(at) = rest.find('$') {
        let digits = rest[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let behind = rest[at + 1 + digits..].chars().next();
        let ends = behind.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
        late.push_str(&rest[..at]);
        late.push_str(if digits > 0 && ends { "\\$" } else { "$" });
        rest = &rest[at + 1..];
    }
    late.push_str(rest);
    late
}

const RUN_INSTALL: &str = r#"/bin/sh -e "$OLDPWD/install.sh" || {
  status=$?
  echo "the install part of the definition failed with status $status: its steps are not run" >&2
  lava-test-case install --result fail || :
  exit "$status"
}
"#;

const FIND_OS: &str = "os=$({ . /etc/os-release && echo \"$ID\"; } 2>/dev/null) || os=\n";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Output};

    use proptest::prelude::*;

    use super::*;
    use crate::io::test_folder::TestFolder;

    const HEAD: &str = "metadata: {format: Lava-Test Test Definition 1.0, name: x}\n";

    /// A suite's folder as on a board, with helpers that write their words down.
    struct Suite {
        folder: TestFolder,
    }

    impl Suite {
        fn new() -> Self {
            let suite = Self { folder: TestFolder::new() };
            for name in [
                "lava-test-case",
                "lava-test-set",
                "lava-install-packages",
                "lava-add-keys",
                "lava-add-sources",
                "pumice-step",
            ] {
                let log = suite.folder.path().join("helpers.log");
                let text = format!("#!/bin/sh\necho \"{name} $*\" >> {}\n", log.display());
                suite.put(&format!("bin/{name}"), &text);
            }
            suite
        }

        fn put(&self, name: &str, text: &str) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        /// Runs a definition as an agent does.
        fn run(&self, frame: &Frame<'_>, text: &str, overrides: &[Variable]) -> Output {
            let definition = Definition::from_str("d.yaml", text).unwrap();
            let empty_folders = &["a folder/it's".to_owned()][..];
            let steps =
                Steps { definition: &definition, origin: "d.yaml", overrides, empty_folders };
            self.put("runs/run/tests/smoke/run.sh", &frame.run_sh(&steps));
            if let Some(install) = frame.install_sh(&steps) {
                self.put("runs/run/tests/smoke/install.sh", &install);
            }
            let path = format!(
                "{}:{}",
                self.folder.path().join("bin").display(),
                std::env::var("PATH").unwrap()
            );
            Command::new("/bin/sh")
                .args(["-e", "run.sh"])
                .current_dir(self.folder.path().join("runs/run/tests/smoke"))
                .env("PATH", path)
                .output()
                .unwrap()
        }

        fn helpers(&self) -> String {
            fs::read_to_string(self.folder.path().join("helpers.log")).unwrap_or_default()
        }
    }

    fn variable(name: &str, value: &str) -> Variable {
        Variable { name: name.into(), value: value.into() }
    }

    fn frame(environment: &[Variable]) -> Frame<'_> {
        Frame { suite: "smoke", environment, has_step_timeout: false }
    }

    #[test]
    fn a_definition_as_people_write_them() {
        let suite = Suite::new();
        suite.put("overlay/smoke/lib/report.sh", "report() { echo \"$1=$2\"; }\n");
        let text = format!(
            "{HEAD}parameters:\n  COUNT: 2\n  WORDS: \"it's $HOME\"\n\
             run:\n  steps:\n    - cd lib\n    - . ./report.sh\n    - if [ \"$COUNT\" -gt 2 ]; then\n    - '  report count \"$COUNT\"'\n    - fi\n\
             \x20   - report words \"$WORDS\"\n    - lava-test-case first --result pass --measurement 1.5 --units s\n\
             \x20   - |\n      for i in 1 2; do\n        lava-test-case \"loop-$i\" --result skip\n      done\n\
             \x20   - printenv LEVEL TESTRUN_ID\n    - test -d \"../a folder/it's\"\n"
        );
        let environment = [variable("LEVEL", "high 'n low")];
        let output = suite.run(&frame(&environment), &text, &[variable("COUNT", "3")]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "count=3\nwords=it's $HOME\nhigh 'n low\nsmoke\n"
        );
        assert_eq!(
            suite.helpers(),
            "lava-test-case first --result pass --measurement 1.5 --units s\nlava-test-case loop-1 --result skip\nlava-test-case loop-2 --result skip\n"
        );
    }

    #[test]
    fn steps_stop_at_the_first_that_fails_and_are_counted_where_asked() {
        let suite = Suite::new();
        let text = format!("{HEAD}run: {{steps: ['true', 'false', echo unreached]}}\n");
        let stepped = Frame { has_step_timeout: true, ..frame(&[]) };
        let output = suite.run(&stepped, &text, &[]);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
        assert_eq!(suite.helpers(), "pumice-step 1\npumice-step 2\n");
    }

    #[test]
    fn an_install_that_fails_is_a_case_and_no_step_runs() {
        let suite = Suite::new();
        let text = format!(
            "{HEAD}install:\n  keys: [key.asc]\n  sources: ['deb x y']\n  deps: [curl, $MORE]\n  deps-no-such-os: [z]\n  steps: [echo installing, 'false', echo unreached]\n\
             parameters: {{MORE: wget}}\nrun: {{steps: [echo unreached]}}\n"
        );
        let output = suite.run(&frame(&[]), &text, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(output.stdout, b"installing\n");
        let message =
            "the install part of the definition failed with status 1: its steps are not run\n";
        assert_eq!(String::from_utf8(output.stderr).unwrap(), message);
        assert_eq!(
            suite.helpers(),
            "lava-add-keys key.asc\nlava-add-sources deb x y\nlava-install-packages curl wget\nlava-test-case install --result fail\n"
        );
    }

    #[test]
    fn packages_of_an_operating_system_are_chosen_on_the_board() {
        let release = fs::read_to_string("/etc/os-release").unwrap();
        let id = release.lines().find_map(|line| line.strip_prefix("ID=")).unwrap();
        let id = id.trim_matches('"');
        let suite = Suite::new();
        let text = format!(
            "{HEAD}install: {{deps-{id}: [here], deps-no-such-os: [there]}}\nrun: {{steps: ['true']}}\n"
        );
        assert!(suite.run(&frame(&[]), &text, &[]).status.success());
        assert_eq!(suite.helpers(), "lava-install-packages here\n");
    }

    #[test]
    fn a_plain_text_stays_as_it_is() {
        assert_eq!(frame(&[]).plain("uname -a"), "uname -a");
        let environment = [variable("A", "b c")];
        let stepped = Frame { has_step_timeout: true, ..frame(&environment) };
        assert_eq!(stepped.plain("uname -a"), "export A='b c'\npumice-step 1\nuname -a");
    }

    #[test]
    fn words_that_a_second_shell_reads_are_kept_for_it() {
        for (step, expected) in [
            ("awk '{print $1}'", "awk '{print $1}'"),
            (
                "lava-test-case a --shell awk '{print $1}' f",
                "lava-test-case a --shell awk '{print \\$1}' f",
            ),
            ("x --cmd \"$12 $1a $A $\"", "x --cmd \"\\$12 $1a $A $\""),
            ("x --shell $1", "x --shell \\$1"),
            ("x --shell ä$1ä", "x --shell ä$1ä"),
        ] {
            assert_eq!(late_words(step), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn parameters_arrive_as_they_were_written(
            default in "(?s)[^\0]{0,30}",
            own in "(?s)[^\0]{0,30}|['\"$`\\\\\n#~]{0,12}",
            environment in "(?s)[^\0]{0,30}",
            origin in "(?s).{0,20}",
        ) {
            let definition = Definition {
                parameters: vec![variable("A", &default), variable("B", &own)],
                steps: vec!["printf '%s\\0' \"$A\" \"$B\" \"$C\"".into()],
                ..Definition::default()
            };
            let environment = [variable("C", &environment)];
            let overrides = [variable("B", &own)];
            let empty_folders = &[];
            let steps = Steps { definition: &definition, origin: &origin, overrides: &overrides, empty_folders };
            let folder = TestFolder::new();
            let cwd = folder.path().join("runs/run/tests/smoke");
            fs::create_dir_all(&cwd).unwrap();
            let script = frame(&environment).run_sh(&steps);
            let output = Command::new("/bin/sh")
                .args(["-e", "-c", &script])
                .current_dir(&cwd)
                .output()
                .unwrap();
            prop_assert!(output.status.success(), "{:?}", output);
            let expected = format!("{default}\0{own}\0{}\0", environment[0].value);
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
    }
}
