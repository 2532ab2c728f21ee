//! The tests of a job: shell texts of its own, and test definitions.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::deploy::sha256_of;
use super::watch::{self, CommandForm, MonitorForm, Watch};
use crate::config::value::{Name, Period, shorten};
use crate::config::yaml::{FileError, Place, Spanned, place};
use crate::definition::fetch::{Fetched, Fetcher};
use crate::definition::form::{self, DefinitionForm};
use crate::definition::git::Wanted;
use crate::definition::install::InstallPart;
use crate::definition::overlay::Overlay;
use crate::definition::script::{Frame, Steps};
use crate::definition::server::Served;
use crate::definition::variable::{Variable, VariablesForm};
use crate::image::fetch::is_url;

/// One test: a suite of the run. It passes with exit status 0, unless a case of it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Test {
    /// The suite's name; may stand in a path as it is.
    pub name: String,
    /// The text for `sh`: `run.sh`.
    pub run: String,
    /// What `run.sh` runs first, in a shell of its own: `install.sh`.
    pub install: Option<String>,
    /// The files that lie in the suite's overlay, where the steps begin.
    pub overlay: Overlay,
    /// Number of steps; 1 for a test that is a shell text.
    pub steps: usize,
    /// The definition that it was made from.
    pub definition: Option<Origin>,
    /// What the user should know of it; a sentence each.
    pub notes: Vec<String>,
    /// How long it may take before its process group is killed.
    pub timeout: Duration,
    /// How long each of its steps may take.
    pub step_timeout: Option<Duration>,
    /// It restarts the board, and the plan goes on behind it.
    pub expects_reboot: bool,
    /// Cases that must have a result; those without are unknown.
    pub expected: Vec<String>,
    /// Patterns of the job's own, which alone say what its cases are.
    pub watch: Option<Watch>,
}

/// Where a test's definition comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// For people: a path, or a repository and a path in it.
    pub name: String,
    /// The definition's text, to be kept with the run; empty for one that stands in the job.
    pub text: String,
    /// The commits that were checked out for it, a sentence each.
    pub commits: Vec<String>,
}

/// A test as a job has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestForm {
    name: Option<Spanned<Name>>,
    run: Option<Spanned<String>>,
    definition: Option<Spanned<SourceForm>>,
    monitor: Option<Spanned<MonitorForm>>,
    interactive: Option<Spanned<Vec<CommandForm>>>,
    parameters: Option<Spanned<VariablesForm>>,
    skip_install: Option<Spanned<SkipForm>>,
    timeout: Option<Period>,
    step_timeout: Option<Spanned<Period>>,
    expect: Option<ExpectForm>,
    expected: Option<Vec<Spanned<String>>>,
}

/// Where the definition is.
enum SourceForm {
    File(String),
    Elsewhere(Box<ElsewhereForm>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ElsewhereForm {
    path: Option<Spanned<String>>,
    directory: Option<Spanned<String>>,
    git: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    branch: Option<Spanned<String>>,
    revision: Option<Spanned<String>>,
    include: Option<Spanned<Vec<String>>>,
    inline: Option<Spanned<DefinitionForm>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ExpectForm {
    Reboot,
}

struct SkipForm(Vec<InstallPart>);

/// The tests of a job. `environment` is what every program of theirs sees.
///
/// # Errors
/// What is wrong, where, and how to mend it.
pub(super) fn tests_of(
    file: &str,
    forms: Spanned<Vec<TestForm>>,
    environment: &[Variable],
    fetcher: &mut Fetcher<'_>,
) -> Result<Vec<Test>, FileError> {
    if !(1..=TESTS_MAX).contains(&forms.value.len()) {
        let message = format!("a job has 1 to {TESTS_MAX} tests");
        return Err(FileError::at(file, place(&forms), message)
            .mend("add \"- {name: uname, run: uname -a}\""));
    }
    let mut lines: HashMap<String, u32> = HashMap::new();
    let mut tests = Vec::with_capacity(forms.value.len());
    for form in forms.value {
        let (test, at) = form.check(file, environment, fetcher)?;
        // Names that differ in case only would share a folder on some file systems.
        if let Some(line) = lines.insert(test.name.to_ascii_lowercase(), at.line) {
            let message = format!("the test {} stands in line {line} already", test.name);
            return Err(FileError::at(file, at, message).mend("give each test a name of its own"));
        }
        tests.push(test);
    }
    Ok(tests)
}

fn both(file: &str, at: Place, one: &str, other: &str) -> FileError {
    FileError::at(file, at, format!("a test has {one}, or {other}"))
        .mend("make two tests of it, each with a name")
}

impl TestForm {
    /// The test, and where its name stands.
    fn check(
        mut self,
        file: &str,
        environment: &[Variable],
        fetcher: &mut Fetcher<'_>,
    ) -> Result<(Test, Place), FileError> {
        let timeout = self.timeout.map_or(TEST_TIMEOUT, Period::duration);
        if let Some(step) = &self.step_timeout
            && step.value.duration() > timeout
        {
            let message = "a step's time is longer than that of the whole test";
            return Err(FileError::at(file, place(step), message).mend("raise timeout:"));
        }
        let mut test = Test {
            timeout,
            step_timeout: self.step_timeout.as_ref().map(|period| period.value.duration()),
            expects_reboot: matches!(self.expect, Some(ExpectForm::Reboot)),
            ..Test::default()
        };
        let expected = self.expected.take();
        let expected = expected.map(|names| form::expected_of(file, names)).transpose()?;
        let at = match (self.run_of_watch(file, &mut test)?, self.definition.take()) {
            (Some(run), None) => self.check_run(file, &run, environment, &mut test)?,
            (None, Some(source)) => {
                self.check_definition(file, source, environment, fetcher, &mut test)?
            }
            (Some(run), Some(_)) => {
                let message = "a test has a shell text or a definition, not both";
                return Err(FileError::at(file, place(&run), message)
                    .mend("keep one of run: and definition:"));
            }
            (None, None) => return Err(self.missing(file, "run", "run: uname -a", None)),
        };
        test.expected = expected.unwrap_or(test.expected);
        Ok((test, at))
    }

    /// `run`, or the text that stands for a monitor or commands; of these there is one.
    fn run_of_watch(
        &mut self,
        file: &str,
        test: &mut Test,
    ) -> Result<Option<Spanned<String>>, FileError> {
        let (value, watch, (referenced, defined)) =
            match (self.monitor.take(), self.interactive.take()) {
                (None, None) => return Ok(self.run.take()),
                (Some(form), None) => {
                    let at = (form.referenced, form.defined);
                    let (text, watch) = watch::monitor(file, form.value)?;
                    (text, watch, at)
                }
                (None, Some(forms)) => {
                    let at = (forms.referenced, forms.defined);
                    let (text, watch) = watch::interactive(file, forms)?;
                    (text, watch, at)
                }
                (Some(form), Some(_)) => {
                    return Err(both(file, place(&form), "monitor", "interactive"));
                }
            };
        if self.run.is_some() || self.definition.is_some() {
            return Err(both(
                file,
                referenced.into(),
                "monitor or interactive",
                "run or definition",
            ));
        }
        test.watch = Some(watch);
        Ok(Some(Spanned { value, referenced, defined }))
    }

    fn check_run(
        &self,
        file: &str,
        run: &Spanned<String>,
        environment: &[Variable],
        test: &mut Test,
    ) -> Result<Place, FileError> {
        let name = self
            .name
            .as_ref()
            .ok_or_else(|| self.missing(file, "name", "name: uname", Some(place(run))))?;
        if run.value.trim().is_empty()
            || run.value.len() > RUN_BYTES_MAX
            || run.value.contains('\0')
        {
            let message = format!("run is a shell text of 1 to {RUN_BYTES_MAX} bytes");
            return Err(FileError::at(file, place(run), message));
        }
        let misplaced = [
            ("parameters", self.parameters.as_ref().map(place), "use environment: of the job"),
            ("skip_install", self.skip_install.as_ref().map(place), "remove it"),
        ];
        for (key, at, mend) in misplaced {
            if let Some(at) = at {
                let message = format!("{key}: goes with a definition");
                return Err(FileError::at(file, at, message).mend(mend));
            }
        }
        test.name = name.value.as_str().to_owned();
        let has_step_timeout = test.step_timeout.is_some();
        let frame = Frame { suite: &test.name, environment, has_step_timeout };
        test.run = frame.plain(&run.value);
        test.steps = 1;
        Ok(place(name))
    }

    fn check_definition(
        &mut self,
        file: &str,
        source: Spanned<SourceForm>,
        environment: &[Variable],
        fetcher: &mut Fetcher<'_>,
        test: &mut Test,
    ) -> Result<Place, FileError> {
        let at = place(&source);
        let mut fetched = source.value.fetch(file, at, fetcher)?;
        let overrides = match self.parameters.take() {
            Some(form) => form.value.check(file, "parameter")?,
            None => Vec::new(),
        };
        let overrides: Vec<Variable> =
            overrides.into_iter().map(|(variable, _)| variable).collect();
        for part in self.skip_install.iter().flat_map(|skip| &skip.value.0) {
            fetched.definition.install.skip(*part);
        }
        fetcher.repositories(&mut fetched, &overrides)?;
        let Fetched { definition, text, origin, commits, overlay } = fetched;
        let (name, at) = match &self.name {
            Some(name) => (name.value.as_str().to_owned(), place(name)),
            None => (suite_name(file, &definition.name, at)?, at),
        };
        test.name = name;
        let has_step_timeout = test.step_timeout.is_some();
        let frame = Frame { suite: &test.name, environment, has_step_timeout };
        let steps = Steps {
            definition: &definition,
            origin: &origin,
            overrides: &overrides,
            empty_folders: &overlay.empty_folders,
        };
        test.run = frame.run_sh(&steps);
        test.install = frame.install_sh(&steps);
        test.steps = definition.steps.len();
        let unknown = |variable: &Variable| form::unknown_parameter(&definition, &variable.name);
        test.notes = overrides.iter().filter_map(unknown).collect();
        test.notes.extend(definition.notes);
        test.expected = definition.expected;
        test.overlay = overlay;
        test.definition = Some(Origin { name: origin, text, commits });
        Ok(at)
    }

    fn missing(&self, file: &str, key: &str, example: &str, at: Option<Place>) -> FileError {
        let at = self.name.as_ref().map(place).or(at).unwrap_or_default();
        FileError::at(file, at, format!("a test misses the key \"{key}\""))
            .mend(format!("add \"{example}\""))
    }
}

impl SourceForm {
    fn fetch(self, file: &str, at: Place, fetcher: &mut Fetcher<'_>) -> Result<Fetched, FileError> {
        let form = match self {
            Self::File(path) => {
                if path.contains("://") {
                    let served = served(file, path, None, at)?;
                    return fetcher.url(served, None, &[], at);
                }
                return fetcher.file(&path, at);
            }
            Self::Elsewhere(form) => *form,
        };
        let ElsewhereForm { path, directory, git, url, sha256, branch, revision, include, inline } =
            form;
        let wrong = |at: Place, message: &str| FileError::at(file, at, message);
        let sources = [directory.is_some(), git.is_some(), url.is_some(), inline.is_some()];
        if sources.iter().filter(|is_there| **is_there).count() > 1 {
            return Err(wrong(at, "a definition comes from one place")
                .mend("keep one of directory:, git:, url: and inline:"));
        }
        let only = |key: &str, other: Option<Place>, place: &str| match other {
            Some(at) => Err(wrong(at, &format!("{key}: goes with {place}")).mend("remove it")),
            None => Ok(()),
        };
        if git.is_none() {
            only("branch", branch.as_ref().map(place), "git:")?;
            only("revision", revision.as_ref().map(place), "git:")?;
        }
        if url.is_none() {
            only("sha256", sha256.as_ref().map(place), "url:")?;
        }
        let is_alone = url.is_some() && path.is_none();
        if is_alone || (directory.is_none() && git.is_none() && url.is_none()) {
            let whole = "directory:, git: or url: with path:";
            only("include", include.as_ref().map(place), whole)?;
        }
        if let Some(inline) = inline {
            only("path", path.as_ref().map(place), "directory:, git: or url:")?;
            return Ok(Fetched {
                definition: inline.value.check(file)?,
                text: String::new(),
                origin: "in the job".to_owned(),
                commits: Vec::new(),
                overlay: Overlay::default(),
            });
        }
        let include = include.map(|include| include.value).unwrap_or_default();
        if let Some(url) = url {
            let at = place(&url);
            let sha256 = sha256.map(|digest| sha256_of(file, &digest)).transpose()?;
            let served = served(file, url.value, sha256, at)?;
            let at = path.as_ref().map_or(at, place);
            return fetcher.url(served, path.as_ref().map(|path| &*path.value), &include, at);
        }
        let Some(path) = path else {
            let message = "a definition misses the key \"path\"";
            return Err(wrong(at, message).mend("add \"path: smoke.yaml\""));
        };
        let at = place(&path);
        match (directory, git) {
            (Some(directory), _) => fetcher.directory(&directory.value, &path.value, &include, at),
            (None, Some(git)) => {
                if let (Some(branch), Some(_)) = (&branch, &revision) {
                    return Err(wrong(place(branch), "a repository has one revision")
                        .mend("keep one of branch: and revision:"));
                }
                let wanted = Wanted {
                    repository: git.value,
                    branch: branch.map(|branch| branch.value),
                    revision: revision.map(|revision| revision.value),
                };
                fetcher.git(&wanted, &path.value, &include, at)
            }
            (None, None) => fetcher.file(&path.value, at),
        }
    }
}

fn served(
    file: &str,
    url: String,
    sha256: Option<[u8; 32]>,
    at: Place,
) -> Result<Served, FileError> {
    if is_url(&url) && !url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(Served { url, sha256 });
    }
    let message = format!("\"{}\" is no URL that is fetched", shorten(&url));
    Err(FileError::at(file, at, message)
        .mend("http and https are; name a repository with git:, a file of this host as path:"))
}

/// The suite's name where the job gives none.
fn suite_name(file: &str, name: &str, at: Place) -> Result<String, FileError> {
    if name.parse::<Name>().is_ok() {
        return Ok(name.to_owned());
    }
    let fit = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let example: String = name.trim().chars().map(fit).take(64).collect();
    let example = example.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let example = if example.is_empty() { "smoke" } else { example };
    let message =
        format!("the definition's name \"{}\" cannot be the name of a suite", shorten(name));
    Err(FileError::at(file, at, message).mend(format!("add \"name: {example}\" to the test")))
}

impl<'de> Deserialize<'de> for SourceForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;

        impl<'de> Visitor<'de> for SourceVisitor {
            type Value = SourceForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a file's path, a URL, or a map with directory:, git:, url: or inline:")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SourceForm, E> {
                Ok(SourceForm::File(text.to_owned()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<SourceForm, M::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                ElsewhereForm::deserialize(map).map(|form| SourceForm::Elsewhere(Box::new(form)))
            }
        }

        deserializer.deserialize_any(SourceVisitor)
    }
}

impl<'de> Deserialize<'de> for SkipForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SkipVisitor;

        impl<'de> Visitor<'de> for SkipVisitor {
            type Value = SkipForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a list of keys, sources, deps, steps, git-repos")
            }

            fn visit_bool<E: de::Error>(self, is_whole: bool) -> Result<SkipForm, E> {
                Ok(SkipForm(if is_whole { vec![InstallPart::All] } else { Vec::new() }))
            }

            fn visit_seq<S: de::SeqAccess<'de>>(self, mut seq: S) -> Result<SkipForm, S::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(SkipForm(parts))
            }
        }

        deserializer.deserialize_any(SkipVisitor)
    }
}

pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(600);
/// What an agent takes in one plan.
const TESTS_MAX: usize = agent_core::wire::plan::TESTS_MAX;
/// A longer text is a program: it belongs into the image, or into a definition's folder.
const RUN_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::definition::git::tests::Repository;
    use crate::image::fetch::tests::{answer, server};
    use crate::io::test_folder::TestFolder;
    use crate::job::spec::Job;

    const HEAD: &str = "metadata: {format: Lava-Test Test Definition 1.0, name: from metadata}\n";
    const INLINE: &str =
        "inline: {metadata: {format: Lava-Test Test Definition 1.0, name: in}, run: {steps: [a]}}";

    fn parse_in(folder: &Path, tests: &str) -> Result<Vec<Test>, String> {
        let text = format!("name: x\ntests:\n{tests}");
        let size_of = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
        Job::from_str("job.yaml", &text, folder, size_of)
            .map(|job| job.tests)
            .map_err(|error| error.to_string().replace(&folder.display().to_string(), "ROOT"))
    }

    fn put(folder: &Path, path: &str, text: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn definitions_from_everywhere() {
        let folder = TestFolder::new();
        let definition =
            format!("{HEAD}parameters: {{A: 1}}\nrun: {{steps: [echo $A, b]}}\nexpected: [x]\n");
        put(folder.path(), "suite/sub/smoke.yaml", &definition);
        put(folder.path(), "suite/lib.sh", "true\n");
        let repository = Repository::new();
        repository.commit("smoke/s.yaml", &definition);
        let git = repository.folder.path().display();
        let tests = parse_in(
            folder.path(),
            &format!(
                "  - {{name: file, definition: suite/sub/smoke.yaml, parameters: {{A: 2}}, step_timeout: 30s, timeout: 1m}}\n\
                 \x20 - {{name: directory, definition: {{directory: suite, path: sub/smoke.yaml}}, expected: [y, z]}}\n\
                 \x20 - {{name: some, definition: {{directory: suite, path: sub/smoke.yaml, include: [lib.sh]}}}}\n\
                 \x20 - {{name: git, definition: {{git: {git}, path: smoke/s.yaml}}, expect: reboot}}\n\
                 \x20 - {{name: again, definition: {{git: 'file://{git}', branch: main, path: smoke/s.yaml}}}}\n\
                 \x20 - definition: {{{INLINE}}}\n"
            ),
        )
        .unwrap();
        let [file, directory, some, git, again, inline] = &tests[..] else { panic!("{tests:?}") };
        assert_eq!(
            (file.overlay.count(), file.steps, &file.expected[..]),
            (0, 2, &["x".to_owned()][..])
        );
        assert!(file.run.contains("\nA='1'\n# The job's own parameters.\nA='2'\n"), "{}", file.run);
        assert!(file.run.ends_with("pumice-step 1\necho $A\npumice-step 2\nb\n"), "{}", file.run);
        assert_eq!(file.definition.as_ref().unwrap().text, definition);
        let paths = |test: &Test| -> Vec<String> {
            test.overlay.files.iter().map(|file| file.path.clone()).collect()
        };
        assert_eq!(paths(directory), ["lib.sh", "sub/smoke.yaml"]);
        assert_eq!(directory.expected, ["y", "z"]);
        assert_eq!(paths(some), ["lib.sh"]);
        assert_eq!(paths(git), ["file", "smoke/s.yaml"]);
        assert!(git.expects_reboot && !file.expects_reboot);
        let commit = repository.git(&["rev-parse", "HEAD"]);
        for test in [git, again] {
            let commits = &test.definition.as_ref().unwrap().commits;
            assert!(commits[0].ends_with(&format!(" at commit {commit}")), "{commits:?}");
            // It is there until the board has it.
            assert!(test.overlay.files[0].source.is_file());
        }
        assert_eq!((inline.name.as_str(), inline.overlay.count()), ("in", 0));
    }

    #[test]
    fn definitions_from_servers() {
        let definition = format!("{HEAD}run: {{steps: [a]}}\n");
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in [("t/smoke.yaml", &definition[..]), ("t/lib.sh", "true\n")] {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o755);
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let archive = builder.into_inner().unwrap();
        let digest = crate::store::hexadecimal(&Sha256::digest(&archive));
        let whole =
            |body: &[u8]| answer("200 OK", &format!("Content-Length: {}\r\n", body.len()), body);
        let (url, requests) =
            server(vec![whole(&archive), whole(definition.as_bytes()), whole(&archive)]);
        let folder = TestFolder::new();
        // Two tests of one archive ask for it once.
        let tests = parse_in(
            folder.path(),
            &format!(
                "  - {{name: one, definition: {{url: '{url}', path: t/smoke.yaml, sha256: '{digest}'}}}}\n\
                 \x20 - {{name: two, definition: {{url: '{url}', path: t/smoke.yaml, include: [t/lib.sh], sha256: '{digest}'}}}}\n\
                 \x20 - {{name: alone, definition: '{url}'}}\n"
            ),
        )
        .unwrap();
        let paths = |test: &Test| -> Vec<String> {
            test.overlay.files.iter().map(|file| file.path.clone()).collect()
        };
        assert_eq!(paths(&tests[0]), ["t/lib.sh", "t/smoke.yaml"]);
        assert_eq!((paths(&tests[1]), paths(&tests[2])), (vec!["t/lib.sh".to_owned()], vec![]));
        for test in &tests {
            assert!(test.run.ends_with("\na\n"), "{}", test.run);
        }
        let origin = tests[0].definition.as_ref().unwrap();
        assert_eq!(origin.name, format!("{url}:t/smoke.yaml"));
        assert!(origin.commits[0].ends_with(&digest), "{:?}", origin.commits);
        // It is there until the board has it.
        assert_eq!(fs::read_to_string(&tests[0].overlay.files[0].source).unwrap(), "true\n");
        let wrong = format!("  - {{name: a, definition: {{url: '{url}', path: t/none.yaml}}}}\n");
        let error = parse_in(folder.path(), &wrong).unwrap_err();
        let expected = format!("job.yaml:3: the definition {url}/t/none.yaml cannot be read");
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(requests.iter().count(), 3);
        let (url, _requests) = server(vec![
            whole(definition.as_bytes()),
            whole(definition.as_bytes()),
            answer("200 OK", "Content-Length: 268435457\r\n", b""),
            answer("404 Not Found", "Content-Length: 0\r\n", b""),
        ]);
        for (rest, expected) in [
            (format!(", sha256: '{digest}'"), format!("and not {digest}")),
            (", path: a".to_owned(), "it is no tar or cpio archive".to_owned()),
            (String::new(), "has more than 256 MiB".to_owned()),
            (String::new(), "the server answers 404".to_owned()),
        ] {
            let test = format!("  - {{name: a, definition: {{url: '{url}'{rest}}}}}\n");
            let error = parse_in(folder.path(), &test).unwrap_err();
            assert!(error.starts_with("job.yaml:3: ") && error.contains(&expected), "{error}");
        }
    }

    /// What the helpers of an agent do, as far as the examples need it.
    const HELPER: &str = r#"#!/bin/sh
case $0 in */lava-test-set) echo "set $1 $2" >&2; exit;; esac
name=$1; shift
case $1 in
--shell) shift; if sh -c "$*" > /dev/null 2>&1; then echo "$name pass" >&2; else echo "$name fail" >&2; fi;;
--result) echo "$name $2" >&2;;
esac
"#;

    #[test]
    fn the_examples_run() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let text = fs::read_to_string(examples.join("definitions.yaml")).unwrap();
        let job = Job::from_str("definitions.yaml", &text, &examples, |_| Ok(1)).unwrap();
        let board = TestFolder::new();
        for helper in ["lava-test-case", "lava-test-set", "pumice-step"] {
            let text = if helper == "pumice-step" { "#!/bin/sh\n" } else { HELPER };
            put(board.path(), &format!("bin/{helper}"), text);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(board.path().join("bin").join(helper), mode).unwrap();
        }
        let path = format!("{}/bin:{}", board.path().display(), std::env::var("PATH").unwrap());
        let mut results = Vec::new();
        for test in &job.tests {
            assert_eq!((&test.install, &test.notes[..]), (&None, &[][..]));
            let folder = format!("runs/run/tests/{}", test.name);
            put(board.path(), &format!("{folder}/run.sh"), &test.run);
            for file in &test.overlay.files {
                let text = fs::read_to_string(&file.source).unwrap();
                put(board.path(), &format!("overlay/{}/{}", test.name, file.path), &text);
            }
            let output = std::process::Command::new("/bin/sh")
                .args(["-e", "run.sh"])
                .env("PATH", &path)
                .current_dir(board.path().join(&folder))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}: {output:?}", test.name);
            results.push((test.name.as_str(), String::from_utf8(output.stderr).unwrap()));
        }
        let results: Vec<_> = results.iter().map(|(name, text)| (*name, text.as_str())).collect();
        assert_eq!(
            results,
            [
                ("storage", "write pass\nsize pass\nremove pass\n"),
                (
                    "kernel-suite",
                    "set start identity\nrelease pass\nmachine pass\nset stop identity\nset start modules\nset stop modules\n"
                ),
                ("inline", "environment pass\nskipped skip\n"),
                ("plain", ""),
            ]
        );
    }

    #[test]
    fn repositories_of_an_install_lie_in_the_overlay() {
        let folder = TestFolder::new();
        let repository = Repository::new();
        let git = repository.folder.path().display();
        let definition = |repositories: &str| {
            format!(
                "{HEAD}parameters: {{URL: '{git}', TO: lib}}\ninstall:\n  git-repos: {repositories}\n  steps: [a]\nrun: {{steps: [b]}}\n"
            )
        };
        let test = |repositories: &str, rest: &str| {
            put(folder.path(), "d.yaml", &definition(repositories));
            let test = format!("  - {{name: a, definition: d.yaml{rest}}}\n");
            parse_in(folder.path(), &test).map(|mut tests| tests.remove(0))
        };
        let both = format!("[{{url: URL, branch: old, destination: TO}}, 'file://{git}/.git']");
        let error = test(&both, "").unwrap_err();
        assert!(
            error.ends_with("\"\" cannot be a folder of the overlay: add \"destination: NAME\""),
            "{error}"
        );
        let one = "[{url: URL, branch: old, destination: TO}]";
        let whole = test(one, ", parameters: {TO: other}").unwrap();
        assert_eq!(whole.overlay.files[0].path, "other/file");
        assert_eq!(fs::read_to_string(&whole.overlay.files[0].source).unwrap(), "one");
        let commits = &whole.definition.as_ref().unwrap().commits;
        assert!(commits[0].ends_with(&repository.first), "{commits:?}");
        assert!(whole.install.unwrap().ends_with("\na\n"));
        let less = test(one, ", skip_install: [git-repos, steps]").unwrap();
        assert_eq!((less.overlay.count(), less.install), (0, None));
        let none = test(one, ", skip_install: true").unwrap();
        assert_eq!((none.overlay.count(), none.install), (0, None));
        for destination in ["../x", "a/b", ".git", "."] {
            let error = test(&format!("[{{url: URL, destination: '{destination}'}}]"), "");
            let expected = format!(
                "ROOT/d.yaml:4: \"{destination}\" cannot be a folder of the overlay: add \"destination: NAME\""
            );
            assert_eq!(error.unwrap_err(), expected);
        }
        let twice = "[{url: URL, destination: TO}, {url: URL, branch: old, destination: TO}]";
        let expected =
            "ROOT/d.yaml:4: lib/file: another repository of the test has a file of that place";
        assert_eq!(test(twice, "").unwrap_err(), expected);
    }

    #[test]
    fn mistakes() {
        let folder = TestFolder::new();
        put(folder.path(), "good.yaml", &format!("{HEAD}run: {{steps: [a]}}\n"));
        put(folder.path(), "bad.yaml", &format!("{HEAD}run:\n  steps:\n    - a: b\n"));
        put(folder.path(), "suite/s.yaml", &format!("{HEAD}run: {{steps: [a]}}\n"));
        std::os::unix::fs::symlink("../good.yaml", folder.path().join("suite/link.yaml")).unwrap();
        for (test, expected) in [
            (
                "definition: none.yaml",
                "job.yaml:3: the definition ROOT/none.yaml cannot be read: No such file or directory (os error 2): paths are relative to the job file",
            ),
            (
                "definition: suite",
                "job.yaml:3: the definition ROOT/suite cannot be read: not a file: paths are relative to the job file",
            ),
            (
                "definition: 'ftp://x/a.yaml'",
                "job.yaml:3: \"ftp://x/a.yaml\" is no URL that is fetched: http and https are; name a repository with git:, a file of this host as path:",
            ),
            (
                "definition: {url: suite.tar, path: a}",
                "job.yaml:3: \"suite.tar\" is no URL that is fetched: http and https are; name a repository with git:, a file of this host as path:",
            ),
            (
                "{name: a, definition: {path: good.yaml, sha256: '00'}}",
                "job.yaml:3: sha256: goes with url:: remove it",
            ),
            (
                "{name: a, definition: {url: 'http://x/y', include: [a]}}",
                "job.yaml:3: include: goes with directory:, git: or url: with path:: remove it",
            ),
            (
                "{name: a, definition: {url: 'http://x/y', sha256: '00'}}",
                "job.yaml:3: a SHA-256 has 64 hexadecimal digits: write what sha256sum prints, in quotes",
            ),
            (
                "definition: bad.yaml",
                "ROOT/bad.yaml:4: a step is a text, and \"a: …\" is a map: put the step in quotes, or write it behind \"- |\"",
            ),
            (
                "definition: good.yaml",
                "job.yaml:3: the definition's name \"from metadata\" cannot be the name of a suite: add \"name: from-metadata\" to the test",
            ),
            (
                "{name: a, run: b, definition: good.yaml}",
                "job.yaml:3: a test has a shell text or a definition, not both: keep one of run: and definition:",
            ),
            (
                "{name: a, run: b, parameters: {A: 1}}",
                "job.yaml:3: parameters: goes with a definition: use environment: of the job",
            ),
            (
                "{name: a, run: b, skip_install: true}",
                "job.yaml:3: skip_install: goes with a definition: remove it",
            ),
            (
                "{name: a, run: b, expect: panic}",
                "job.yaml:3: unknown word \"panic\": known are reboot",
            ),
            ("{name: a, run: b, expected: [c, c]}", "job.yaml:3: the case \"c\" is expected twice"),
            (
                "{name: a, run: b, timeout: 5s, step_timeout: 6s}",
                "job.yaml:3: a step's time is longer than that of the whole test: raise timeout:",
            ),
            (
                "{name: a, definition: good.yaml, parameters: {B-C: 1}}",
                "job.yaml:3: \"B-C\" cannot be the name of a shell variable: use 1 to 64 letters, digits and _, no digit first",
            ),
            (
                "{name: a, definition: good.yaml, parameters: {B: [1]}}",
                "job.yaml:3: one word or number is expected here",
            ),
            (
                "{name: a, definition: good.yaml, skip_install: [dep]}",
                "job.yaml:3: unknown word \"dep\": did you mean \"deps\"?",
            ),
            (
                "{name: a, definition: {pat: good.yaml}}",
                "job.yaml:3: unknown key \"pat\": did you mean \"path\"?",
            ),
            (
                "{name: a, definition: {directory: suite}}",
                "job.yaml:3: a definition misses the key \"path\": add \"path: smoke.yaml\"",
            ),
            (
                "{name: a, definition: {directory: suite, git: x, path: y}}",
                "job.yaml:3: a definition comes from one place: keep one of directory:, git:, url: and inline:",
            ),
            (
                "{name: a, definition: {directory: suite, path: s.yaml, branch: main}}",
                "job.yaml:3: branch: goes with git:: remove it",
            ),
            (
                "{name: a, definition: {path: good.yaml, include: [a]}}",
                "job.yaml:3: include: goes with directory:, git: or url: with path:: remove it",
            ),
            (
                "{name: a, definition: {git: x, branch: a, revision: b, path: y}}",
                "job.yaml:3: a repository has one revision: keep one of branch: and revision:",
            ),
            (
                "{name: a, definition: {directory: suite, path: ../good.yaml}}",
                "job.yaml:3: \"../good.yaml\" is no path within the overlay: name the definition relative to its folder, without ..",
            ),
            (
                "{name: a, definition: {directory: suite, path: /etc/passwd}}",
                "job.yaml:3: \"/etc/passwd\" is no path within the overlay: name the definition relative to its folder, without ..",
            ),
            (
                "{name: a, definition: {directory: suite, path: link.yaml}}",
                "job.yaml:3: the definition ROOT/suite/link.yaml leaves the overlay",
            ),
            (
                "{name: a, definition: {directory: suite, path: s.yaml}}",
                "job.yaml:3: ROOT/suite/link.yaml: the link leaves the overlay: it leads to ../good.yaml: copy what it leads to into the folder",
            ),
            (
                "{name: a, definition: {directory: none, path: s.yaml}}",
                "job.yaml:3: the definition ROOT/none/s.yaml cannot be read: No such file or directory (os error 2): paths are relative to the job file",
            ),
            (
                "{name: a, definition: {inline: {run: {steps: [a]}}}}",
                "job.yaml:3: missing key \"metadata\": add \"metadata: {format: Lava-Test Test Definition 1.0, name: smoke}\"",
            ),
            (
                "{name: a, definition: [x]}",
                "job.yaml:3: invalid type: sequence, expected a file's path, a URL, or a map with directory:, git:, url: or inline:",
            ),
        ] {
            let error = parse_in(folder.path(), &format!("  - {test}\n"));
            let test = format!("{test}: {error:?}");
            assert_eq!(error.unwrap_err(), expected, "{test}");
        }
        let two = format!("  - definition: {{{INLINE}}}\n  - definition: {{{INLINE}}}\n");
        let expected =
            "job.yaml:4: the test in stands in line 3 already: give each test a name of its own";
        assert_eq!(parse_in(folder.path(), &two).unwrap_err(), expected);
        let error =
            parse_in(folder.path(), "  - {name: a, definition: {git: suite, path: s.yaml}}\n");
        let error = error.unwrap_err();
        assert!(error.starts_with("job.yaml:3: git cannot clone suite: fatal: "), "{error}");
    }
}
