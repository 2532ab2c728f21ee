//! The text of a test definition to a [`Definition`], or to one line that says what is wrong with it.
//!
//! Knows the format and nothing of where the text lay.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

use super::install::{Install, InstallForm};
use super::step::{Step, steps_of};
use super::variable::{Variable, VariablesForm};
use crate::config::value::shorten;
use crate::config::yaml::{self, Examples, FileError, Spanned, did_you_mean, place};

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

/// A list of words, or one.
#[derive(Clone, Debug)]
struct Words;

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
