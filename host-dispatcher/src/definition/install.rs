//! The install part of a test definition: what comes before its steps.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::step::{Step, steps_of};
use crate::config::yaml::{FileError, Place, Spanned, place};

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

/// An install part as it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct InstallForm {
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

impl InstallForm {
    /// The install part. `file` is the name to show in errors.
    pub(super) fn check(self, file: &str) -> Result<Install, FileError> {
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

const INSTALL_KEYS: &[&str] = &["keys", "sources", "deps", "deps-<os>", "git-repos", "steps"];

/// A package's name, a URL.
const WORD_BYTES_MAX: usize = 1024;
