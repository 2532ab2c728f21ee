//! The text of a test definition to a [`Definition`], or to one line that says what is wrong with it.
//!
//! Knows the format and nothing of where the text lay.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::variable::{Variable, VariablesForm};
use crate::config::value::shorten;
use crate::config::yaml::{self, Examples, FileError, Place, Spanned, did_you_mean, place};

/// A test definition, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// `metadata.name`, for people; a suite's name must come from elsewhere if it is no [`Name`].
    ///
    /// [`Name`]: crate::config::value::Name
    pub name: String,
    /// Parameters with their defaults, in the file's order.
    pub parameters: Vec<Variable>,
    /// What comes before the steps.
    pub install: Install,
    /// Shell texts, 1 to 1000.
    pub steps: Vec<String>,
    /// Cases that must have a result.
    pub expected: Vec<String>,
    /// What of the definition is not done; a sentence each.
    pub notes: Vec<String>,
}

/// What a definition needs before its steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Install {
    /// Keys of package sources, as shell words.
    pub keys: Vec<String>,
    /// Package sources, as shell words.
    pub sources: Vec<String>,
    /// Packages, as shell words.
    pub deps: Vec<String>,
    /// More packages where `/etc/os-release` has that `ID`.
    pub os_deps: Vec<(String, Vec<String>)>,
    /// Repositories to be there when the steps run.
    pub repositories: Vec<Repository>,
    /// Shell texts.
    pub steps: Vec<String>,
}

/// A git repository that a definition's steps use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Where it is; may be a parameter's name.
    pub url: String,
    /// Its branch or tag; may be a parameter's name.
    pub branch: Option<String>,
    /// The folder in the overlay; may be a parameter's name.
    pub destination: Option<String>,
    /// Where it stands in its file.
    pub place: Place,
}

impl Definition {
    /// The definition in a text. `file` is the name to show in errors.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn from_str(file: &str, text: &str) -> Result<Self, FileError> {
        yaml::from_str::<DefinitionForm>(file, text, EXAMPLES)?.check(file)
    }
}

/// A definition as it is written; also as a part of a job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefinitionForm {
    metadata: Spanned<MetadataForm>,
    install: Option<InstallForm>,
    parameters: Option<VariablesForm>,
    params: Option<Spanned<VariablesForm>>,
    parse: Option<IgnoredAny>,
    run: Spanned<RunForm>,
    expected: Option<Vec<Spanned<String>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataForm {
    format: Spanned<String>,
    name: Spanned<String>,
    #[serde(rename = "version")]
    _version: Option<String>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "environment")]
    _environment: Option<Words>,
    #[serde(rename = "devices")]
    _devices: Option<Words>,
    #[serde(rename = "maintainer")]
    _maintainer: Option<Words>,
    #[serde(rename = "scope")]
    _scope: Option<Words>,
    #[serde(rename = "os")]
    _os: Option<Words>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunForm {
    steps: Spanned<Vec<Spanned<Step>>>,
}

#[derive(Clone, Debug, Default)]
struct InstallForm {
    keys: Vec<Spanned<String>>,
    sources: Vec<Spanned<String>>,
    deps: Vec<Spanned<String>>,
    os_deps: Vec<(String, Vec<Spanned<String>>)>,
    repositories: Vec<Spanned<RepositoryForm>>,
    steps: Vec<Spanned<Step>>,
}

#[derive(Clone, Debug)]
struct RepositoryForm {
    url: String,
    branch: Option<String>,
    destination: Option<String>,
    is_skipped: bool,
}

/// A list of words, or one.
#[derive(Clone, Debug)]
struct Words;

/// A shell text.
#[derive(Clone, Debug)]
struct Step(String);

impl DefinitionForm {
    /// The definition. `file` is the name to show in errors.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn check(self, file: &str) -> Result<Definition, FileError> {
        let metadata = self.metadata.value;
        if !FORMATS.contains(&metadata.format.value.as_str()) {
            let message =
                format!("the format \"{}\" is not known", shorten(&metadata.format.value));
            return Err(FileError::at(file, place(&metadata.format), message)
                .mend(format!("write \"format: {}\"", FORMATS[0])));
        }
        if metadata.name.value.trim().is_empty() {
            return Err(FileError::at(file, place(&metadata.name), "the definition has no name")
                .mend("add \"name: smoke\""));
        }
        if self.run.value.steps.value.is_empty() {
            let at = place(&self.run.value.steps);
            return Err(FileError::at(file, at, "run has no steps").mend("add \"- uname -a\""));
        }
        let mut parameters = Vec::new();
        // Both words mean the same; LAVA takes the newer one last.
        let params = self.params.map(|params| params.value);
        for form in params.into_iter().chain(self.parameters) {
            for (parameter, place) in form.check(file, "parameter")? {
                let name = &parameter.name;
                if parameters.iter().any(|known: &Variable| known.name == *name) {
                    let message = format!("the parameter {name} has a default already");
                    return Err(FileError::at(file, place, message).mend("remove one of them"));
                }
                parameters.push(parameter);
            }
        }
        let mut notes = Vec::new();
        if self.parse.is_some() {
            notes.push(
                "parse: is not applied: output becomes cases by lava-test-case, LAVA's signals and TAP"
                    .to_owned(),
            );
        }
        Ok(Definition {
            name: metadata.name.value,
            parameters,
            install: self.install.unwrap_or_default().check(file)?,
            steps: steps_of(file, self.run.value.steps.value)?,
            expected: expected_of(file, self.expected.unwrap_or_default())?,
            notes,
        })
    }
}

/// The cases of a list of those expected.
///
/// # Errors
/// A name that no case can have, or one that stands twice.
pub fn expected_of(file: &str, names: Vec<Spanned<String>>) -> Result<Vec<String>, FileError> {
    let mut known = HashSet::new();
    for name in &names {
        let wrong = |message| Err(FileError::at(file, place(name), message));
        let text = &name.value;
        if !(1..=CASE_NAME_MAX).contains(&text.len()) || text.chars().any(char::is_control) {
            return wrong(format!("the name of a case has 1 to {CASE_NAME_MAX} bytes on one line"));
        }
        if !known.insert(text) {
            return wrong(format!("the case \"{}\" is expected twice", shorten(text)));
        }
    }
    if names.len() > CASES_MAX {
        let message = format!("at most {CASES_MAX} cases can be expected");
        return Err(FileError::at(file, place(&names[CASES_MAX]), message));
    }
    Ok(names.into_iter().map(|name| name.value).collect())
}

impl InstallForm {
    fn check(self, file: &str) -> Result<Install, FileError> {
        let words = |what: &str, words: Vec<Spanned<String>>| {
            words
                .into_iter()
                .map(|word| {
                    let is_word = !word.value.trim().is_empty()
                        && word.value.len() <= WORD_BYTES_MAX
                        && !word.value.chars().any(char::is_control);
                    let message = format!("{what} has words of 1 to {WORD_BYTES_MAX} bytes");
                    let wrong = FileError::at(file, place(&word), message);
                    if is_word { Ok(word.value) } else { Err(wrong) }
                })
                .collect::<Result<Vec<String>, FileError>>()
        };
        let mut os_deps = Vec::new();
        for (os, deps) in self.os_deps {
            let deps = words(&format!("deps-{os}"), deps)?;
            os_deps.push((os, deps));
        }
        let mut repositories = Vec::new();
        for repository in self.repositories {
            let place = place(&repository);
            let RepositoryForm { url, branch, destination, is_skipped } = repository.value;
            if url.trim().is_empty() {
                return Err(FileError::at(file, place, "a repository has no address")
                    .mend("add \"url: https://…\""));
            }
            if !is_skipped {
                repositories.push(Repository { url, branch, destination, place });
            }
        }
        Ok(Install {
            keys: words("keys", self.keys)?,
            sources: words("sources", self.sources)?,
            deps: words("deps", self.deps)?,
            os_deps,
            repositories,
            steps: steps_of(file, self.steps)?,
        })
    }
}

fn steps_of(file: &str, steps: Vec<Spanned<Step>>) -> Result<Vec<String>, FileError> {
    if let Some(step) = steps.get(STEPS_MAX) {
        let message = format!("a definition has at most {STEPS_MAX} steps");
        return Err(FileError::at(file, place(step), message));
    }
    for step in &steps {
        let text = &step.value.0;
        if text.trim().is_empty() {
            return Err(FileError::at(file, place(step), "a step has no text")
                .mend("write one, or remove the dash"));
        }
        if text.len() > STEP_BYTES_MAX || text.contains('\0') {
            let message = format!("a step is a shell text of 1 to {STEP_BYTES_MAX} bytes");
            return Err(FileError::at(file, place(step), message));
        }
    }
    Ok(steps.into_iter().map(|step| step.value.0).collect())
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StepVisitor;

        impl<'de> Visitor<'de> for StepVisitor {
            type Value = Step;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shell text: put it in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Step, E> {
                Ok(Step(text.to_owned()))
            }

            // "steps without text" is one mistake, whether YAML takes them for null or for "".
            fn visit_unit<E: de::Error>(self) -> Result<Step, E> {
                Ok(Step(String::new()))
            }

            fn visit_none<E: de::Error>(self) -> Result<Step, E> {
                self.visit_unit()
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Step, E> {
                Err(E::custom(not_a_text(value)))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Step, E> {
                Err(E::custom(not_a_text(value)))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Step, E> {
                Err(E::custom(not_a_text(value)))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Step, E> {
                Err(E::custom(not_a_text(value)))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Step, M::Error> {
                // The colon and the space in `- echo a: b` make a map of what looks like a text.
                let key: Option<String> = map.next_key().unwrap_or_default();
                let key = shorten(&key.unwrap_or_default());
                Err(de::Error::custom(format!(
                    "a step is a text, and \"{key}: …\" is a map: put the step in quotes, or write it behind \"- |\""
                )))
            }

            fn visit_seq<S: de::SeqAccess<'de>>(self, _: S) -> Result<Step, S::Error> {
                Err(de::Error::custom("a step is a text, and this is a list: put it in quotes"))
            }
        }

        fn not_a_text(value: impl fmt::Display) -> String {
            format!("a step is a text, and {value} is none: put it in quotes")
        }

        deserializer.deserialize_any(StepVisitor)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordsVisitor;

        impl<'de> Visitor<'de> for WordsVisitor {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of words")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Words, E> {
                Ok(Words)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Words, E> {
                Ok(Words)
            }

            fn visit_none<E: de::Error>(self) -> Result<Words, E> {
                Ok(Words)
            }

            fn visit_seq<S: de::SeqAccess<'de>>(self, mut seq: S) -> Result<Words, S::Error> {
                while seq.next_element::<Option<String>>()?.is_some() {}
                Ok(Words)
            }
        }

        deserializer.deserialize_any(WordsVisitor)
    }
}

impl<'de> Deserialize<'de> for InstallForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InstallVisitor;

        impl<'de> Visitor<'de> for InstallVisitor {
            type Value = InstallForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of keys and values")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<InstallForm, M::Error> {
                let mut form = InstallForm::default();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    match key.value.as_str() {
                        "keys" => form.keys = list(&mut map)?,
                        "sources" => form.sources = list(&mut map)?,
                        "deps" => form.deps = list(&mut map)?,
                        "git-repos" => form.repositories = list(&mut map)?,
                        "steps" => form.steps = list(&mut map)?,
                        other => match other.strip_prefix("deps-") {
                            Some(os) if is_os(os) => {
                                form.os_deps.push((os.to_owned(), list(&mut map)?));
                            }
                            _ => return Err(de::Error::unknown_field(other, INSTALL_KEYS)),
                        },
                    }
                }
                Ok(form)
            }
        }

        /// A key without a value is an empty list.
        fn list<'de, T: Deserialize<'de>, M: MapAccess<'de>>(
            map: &mut M,
        ) -> Result<Vec<T>, M::Error> {
            map.next_value::<Option<Vec<T>>>().map(Option::unwrap_or_default)
        }

        deserializer.deserialize_map(InstallVisitor)
    }
}

/// `ID` of os-release(5): lower-case letters, digits and `. _ -`.
fn is_os(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}

impl<'de> Deserialize<'de> for RepositoryForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            url: String,
            branch: Option<String>,
            destination: Option<String>,
            #[serde(default)]
            skip_by_default: Skip,
        }

        /// Python's truth values are common here.
        #[derive(Default, Deserialize)]
        enum Skip {
            #[serde(rename = "true", alias = "True")]
            Yes,
            #[default]
            #[serde(rename = "false", alias = "False")]
            No,
        }

        struct RepositoryVisitor;

        impl<'de> Visitor<'de> for RepositoryVisitor {
            type Value = RepositoryForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the address of a repository, or a map with the key \"url\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RepositoryForm, E> {
                let url = text.to_owned();
                Ok(RepositoryForm { url, branch: None, destination: None, is_skipped: false })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<RepositoryForm, M::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                let Fields { url, branch, destination, skip_by_default } =
                    Fields::deserialize(map)?;
                let is_skipped = matches!(skip_by_default, Skip::Yes);
                Ok(RepositoryForm { url, branch, destination, is_skipped })
            }
        }

        deserializer.deserialize_any(RepositoryVisitor)
    }
}

/// What of `install` a job leaves out, as LAVA names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstallPart {
    /// `keys`.
    Keys,
    /// `sources`.
    Sources,
    /// `deps` and `deps-<os>`.
    Deps,
    /// `steps`.
    Steps,
    /// `git-repos`.
    GitRepos,
    /// Everything.
    All,
}

impl Install {
    /// Whether there is nothing to do on the board.
    pub fn is_empty(&self) -> bool {
        let Self { keys, sources, deps, os_deps, repositories: _, steps } = self;
        keys.is_empty()
            && sources.is_empty()
            && deps.is_empty()
            && os_deps.is_empty()
            && steps.is_empty()
    }

    /// Leaves a part out.
    pub fn skip(&mut self, part: InstallPart) {
        match part {
            InstallPart::Keys => self.keys.clear(),
            InstallPart::Sources => self.sources.clear(),
            InstallPart::Deps => {
                self.deps.clear();
                self.os_deps.clear();
            }
            InstallPart::Steps => self.steps.clear(),
            InstallPart::GitRepos => self.repositories.clear(),
            InstallPart::All => *self = Self::default(),
        }
    }
}

/// A note for a parameter that the job sets and the definition does not know, if the text does not have the word at all:
/// parameters are no environment, so it would do nothing.
pub fn unknown_parameter(definition: &Definition, name: &str) -> Option<String> {
    let has_word = |text: &String| text.contains(name);
    let install = &definition.install;
    let lists = [&install.keys, &install.sources, &install.deps, &install.steps];
    let is_known = definition.parameters.iter().any(|parameter| parameter.name == name)
        || definition.steps.iter().any(has_word)
        || lists.into_iter().flatten().any(has_word)
        || install.os_deps.iter().flat_map(|(_, deps)| deps).any(has_word)
        || install.repositories.iter().any(|repository| {
            let fields = [Some(&repository.url), repository.branch.as_ref()];
            fields.into_iter().chain([repository.destination.as_ref()]).flatten().any(has_word)
        });
    if is_known {
        return None;
    }
    let known: Vec<&str> = definition.parameters.iter().map(|known| known.name.as_str()).collect();
    let mend = if known.is_empty() { "it has none".to_owned() } else { did_you_mean(name, known) };
    Some(format!("the definition does not use the parameter {name}: {mend}"))
}

/// The first is the present one; the second stands in older definitions of the same form.
const FORMATS: [&str; 2] = ["Lava-Test Test Definition 1.0", "Lava-Test-Shell Test Definition 1.0"];

const INSTALL_KEYS: &[&str] = &["keys", "sources", "deps", "deps-<os>", "git-repos", "steps"];

/// More is generated, and belongs into a script of the overlay.
const STEPS_MAX: usize = 1000;
/// A longer text is a program: it belongs into the overlay.
const STEP_BYTES_MAX: usize = 64 * 1024;
/// A package's name, a URL.
const WORD_BYTES_MAX: usize = 1024;
/// What an agent takes.
const CASE_NAME_MAX: usize = agent_core::wire::test_signal::NAME_MAX;
/// As many as anybody will write down.
const CASES_MAX: usize = 10_000;

const EXAMPLES: Examples = &[
    ("metadata", "metadata: {format: Lava-Test Test Definition 1.0, name: smoke}"),
    ("format", "format: Lava-Test Test Definition 1.0"),
    ("name", "name: smoke"),
    ("run", "run: {steps: [uname -a]}"),
    ("steps", "steps: [uname -a]"),
    ("url", "url: https://…"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "metadata: {format: Lava-Test Test Definition 1.0, name: x}\n";
    const RUN: &str = "run: {steps: [uname -a]}\n";

    fn parse(text: &str) -> Result<Definition, String> {
        Definition::from_str("d.yaml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_definition() {
        let definition = parse(
            r#"
metadata:
  name: smoke-tests
  format: "Lava-Test Test Definition 1.0"
  description: "What a board must be able to do at all."
  version: 1.0
  maintainer:
    - somebody@localhost
  os: [debian, ubuntu]
  scope: functional
  devices:
    - bbb
  environment: [lava-test-shell]
params:
  OLD: 1
parameters:
  SKIP_INSTALL: True
  TESTS: "pwd, lsb_release"
  EMPTY:
install:
  deps:
    - curl
  deps-debian: [procps, lsb-release]
  deps-opensuse-leap: [lsb]
  git-repos:
    - https://example.com/a.git
    - {url: URL, branch: main, destination: lib}
    - url: b
      skip_by_default: True
  keys: [key]
  sources: ["deb http://example.com sid main"]
  steps:
    - ./prepare.sh
parse: {pattern: "(?P<test_case_id>.*)", fixupdict: {PASS: pass}}
run:
  steps:
    - cd ./linux
    - |
      for i in 1 2; do
        echo $i
      done
    - "lava-test-case a: --result pass"
expected: [pwd, "lsb release"]
"#,
        )
        .unwrap();
        assert_eq!((definition.name.as_str(), definition.steps.len()), ("smoke-tests", 3));
        assert_eq!(definition.steps[1], "for i in 1 2; do\n  echo $i\ndone\n");
        let parameters: Vec<String> =
            definition.parameters.iter().map(Variable::assignment).collect();
        assert_eq!(
            parameters.concat(),
            "OLD='1'\nSKIP_INSTALL='True'\nTESTS='pwd, lsb_release'\nEMPTY=''\n"
        );
        assert_eq!(definition.expected, ["pwd", "lsb release"]);
        let install = &definition.install;
        assert_eq!(
            (&install.deps[..], &install.steps[..]),
            (&["curl".into()][..], &["./prepare.sh".into()][..])
        );
        assert_eq!(install.os_deps[1], ("opensuse-leap".into(), vec!["lsb".into()]));
        let urls: Vec<&str> = install.repositories.iter().map(|r| r.url.as_str()).collect();
        assert_eq!(urls, ["https://example.com/a.git", "URL"]);
        assert!(definition.notes[0].starts_with("parse: is not applied"), "{:?}", definition.notes);
        let name = |name| unknown_parameter(&definition, name);
        assert_eq!((name("TESTS"), name("URL"), name("i")), (None, None, None));
        assert_eq!(
            name("TEST_S").unwrap(),
            "the definition does not use the parameter TEST_S: did you mean \"TESTS\"?"
        );
    }

    #[test]
    fn mistakes() {
        let map = |key: &str, line: u32| {
            format!(
                "d.yaml:{line}: a step is a text, and \"{key}: …\" is a map: put the step in quotes, or write it behind \"- |\""
            )
        };
        let none = |what: &str, line: u32| {
            format!("d.yaml:{line}: a step is a text, and {what} is none: put it in quotes")
        };
        for (text, expected) in [
            (RUN.to_owned(), "d.yaml:1: missing key \"metadata\": add \"metadata: {format: Lava-Test Test Definition 1.0, name: smoke}\"".to_owned()),
            (HEAD.to_owned(), "d.yaml:1: missing key \"run\": add \"run: {steps: [uname -a]}\"".into()),
            (format!("metadata: {{name: x}}\n{RUN}"), "d.yaml:1: missing key \"format\": add \"format: Lava-Test Test Definition 1.0\"".into()),
            (format!("metadata:\n  name: x\n  format: 2.0\n{RUN}"), "d.yaml:3: the format \"2.0\" is not known: write \"format: Lava-Test Test Definition 1.0\"".into()),
            (format!("metadata:\n  format: Lava-Test Test Definition 1.0\n  name: ' '\n{RUN}"), "d.yaml:3: the definition has no name: add \"name: smoke\"".into()),
            (format!("{HEAD}runs: {{}}\n{RUN}"), "d.yaml:2: unknown key \"runs\": did you mean \"run\"?".into()),
            (format!("{HEAD}run: {{step: [a]}}\n"), "d.yaml:2: unknown key \"step\": did you mean \"steps\"?".into()),
            (format!("metadata: {{format: Lava-Test Test Definition 1.0, name: x, maintainers: [a]}}\n{RUN}"), "d.yaml:1: unknown key \"maintainers\": did you mean \"maintainer\"?".into()),
            (format!("{HEAD}run: {{}}\n"), "d.yaml:2: missing key \"steps\": add \"steps: [uname -a]\"".into()),
            (format!("{HEAD}run: {{steps: []}}\n"), "d.yaml:2: run has no steps: add \"- uname -a\"".into()),
            (format!("{HEAD}run:\n  steps: uname\n"), "d.yaml:3: a list is expected here".into()),
            (format!("{HEAD}run:\n  steps:\n    - uname -a\n    -\n"), "d.yaml:5: a step has no text: write one, or remove the dash".into()),
            (format!("{HEAD}run:\n  steps:\n    - ''\n"), "d.yaml:4: a step has no text: write one, or remove the dash".into()),
            (format!("{HEAD}run:\n  steps:\n    - a\n    - echo result: 1\n"), map("echo result", 5)),
            (format!("{HEAD}run:\n  steps:\n    - true\n"), none("true", 4)),
            (format!("{HEAD}run:\n  steps:\n    - 5\n"), none("5", 4)),
            (format!("{HEAD}run:\n  steps:\n    - -5.5\n"), none("-5.5", 4)),
            (format!("{HEAD}run:\n  steps:\n    - [a, b]\n"), "d.yaml:4: a step is a text, and this is a list: put it in quotes".into()),
            (format!("{HEAD}run:\n  steps:\n    - \"a\\0b\"\n"), "d.yaml:4: a step is a shell text of 1 to 65536 bytes".into()),
            (format!("{HEAD}run:\n  steps: [{}a]\n", "a,".repeat(1000)), "d.yaml:3: a definition has at most 1000 steps".into()),
            (format!("{HEAD}install:\n  dep: [a]\n{RUN}"), "d.yaml:3: unknown key \"dep\": did you mean \"deps\"?".into()),
            (format!("{HEAD}install:\n  deps-: [a]\n{RUN}"), "d.yaml:3: unknown key \"deps-\": did you mean \"deps\"?".into()),
            (format!("{HEAD}install:\n  deps: a\n{RUN}"), "d.yaml:3: a list is expected here".into()),
            (format!("{HEAD}install:\n  deps:\n    - a\n    - ' '\n{RUN}"), "d.yaml:5: deps has words of 1 to 1024 bytes".into()),
            (format!("{HEAD}install:\n  deps: [\"a\\nb\"]\n{RUN}"), "d.yaml:3: deps has words of 1 to 1024 bytes".into()),
            (format!("{HEAD}install:\n  steps: [a, {{b: c}}]\n{RUN}"), map("b", 3)),
            (format!("{HEAD}install:\n  git-repos:\n    - branch: x\n{RUN}"), "d.yaml:4: missing key \"url\": add \"url: https://…\"".into()),
            (format!("{HEAD}install:\n  git-repos:\n    - {{url: '', branch: x}}\n{RUN}"), "d.yaml:4: a repository has no address: add \"url: https://…\"".into()),
            (format!("{HEAD}install:\n  git-repos:\n    - {{url: a, brunch: x}}\n{RUN}"), "d.yaml:4: unknown key \"brunch\": did you mean \"branch\"?".into()),
            (format!("{HEAD}parameters:\n  A: [1]\n{RUN}"), "d.yaml:3: one word or number is expected here".into()),
            (format!("{HEAD}parameters:\n  A-B: 1\n{RUN}"), "d.yaml:3: \"A-B\" cannot be the name of a shell variable: use 1 to 64 letters, digits and _, no digit first".into()),
            (format!("{HEAD}params: {{A: 1}}\nparameters:\n  A: 2\n{RUN}"), "d.yaml:4: the parameter A has a default already: remove one of them".into()),
            (format!("{HEAD}{RUN}expected: [a, b, a]\n"), "d.yaml:3: the case \"a\" is expected twice".into()),
            (format!("{HEAD}{RUN}expected: [\"a\\nb\"]\n"), "d.yaml:3: the name of a case has 1 to 128 bytes on one line".into()),
            ("- a\n".into(), "d.yaml:1: a map of keys and values is expected here".into()),
        ] {
            assert_eq!(parse(&text).unwrap_err(), expected, "{text}");
        }
    }

    /// Pieces of definitions, right and wrong.
    const PIECES: &[&str] = &[
        "metadata:",
        "run:",
        "install:",
        "parameters:",
        "params:",
        "parse:",
        "expected:",
        "steps:",
        "deps:",
        "deps-debian:",
        "git-repos:",
        "keys:",
        "format: Lava-Test Test Definition 1.0",
        "name: x",
        "url: a",
        "- ",
        "- a",
        "- true",
        "- {a: b}",
        "- [",
        "]",
        "{",
        "}",
        ": ",
        "A: 1",
        "|",
        ">-",
        "&a",
        "*a",
        "<<: *a",
        "!!str 1",
        "? ",
        "\"",
        "'",
        "#",
        "---",
        "\\",
        "\0",
        "ä",
        "\u{feff}",
        "~",
        "null",
        "1e999",
        "0x",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_text_is_a_definition_or_one_line(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..60),
            is_begun in any::<bool>(),
        ) {
            let head = if is_begun { HEAD } else { "" };
            let text = format!("{head}{}", pieces.concat());
            match parse(&text) {
                Ok(definition) => {
                    prop_assert!(!definition.steps.is_empty());
                    prop_assert!(definition.steps.iter().all(|step| !step.trim().is_empty()));
                }
                Err(message) => prop_assert!(!message.contains('\n'), "{}", message),
            }
        }
    }
}
