//! From the text of a YAML file to a value, or to one line that says what is wrong, where, and how to mend it.
//!
//! The only file that names the YAML library. It guarantees that a file of any content costs bounded time and memory,
//! that every error has the line where the library knows it, and that a message is one line.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, Options};

use super::value::shorten;

/// A value that knows where in its file it stands; see [`place`].
pub type Spanned<T> = serde_saphyr::Spanned<T>;

/// What to write for a key that is missing: the key's name, and an example of a whole line.
pub type Examples = &'static [(&'static str, &'static str)];

/// What is wrong with a file. Its `Display` is one line: `lab.yaml:7: unknown key "conection": did you mean "connection"?`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<u32>,
    /// The column, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub mend: Option<String>,
}

/// A place in a file: line and column, from 1; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl FileError {
    /// An error about the file as a whole.
    pub fn whole(file: &str, message: impl Into<String>) -> Self {
        Self::at(file, Place::default(), message)
    }

    /// An error at a place.
    pub fn at(file: &str, place: Place, message: impl Into<String>) -> Self {
        let known = |number: u32| (number > 0).then_some(number);
        Self {
            file: file.to_owned(),
            line: known(place.line),
            column: known(place.column),
            message: message.into(),
            mend: None,
        }
    }

    /// The same error with what to do about it.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)?;
        self.mend.as_ref().map_or(Ok(()), |mend| write!(f, ": {mend}"))
    }
}

impl std::error::Error for FileError {}

/// Where a value stands in its file. For a YAML alias: where it is used.
pub fn place<T>(value: &Spanned<T>) -> Place {
    value.referenced.into()
}

/// The value of a YAML text. `file` is the name to show; `examples` are the mends for missing keys.
///
/// # Errors
/// The first thing that is wrong with the text.
pub fn from_str<T: DeserializeOwned>(
    file: &str,
    text: &str,
    examples: Examples,
) -> Result<T, FileError> {
    parse(file, text, examples, options())
}

/// The same of a text that a program made: of a key that stands twice the last one counts, as its reader had it.
///
/// # Errors
/// As for [`from_str`].
pub fn from_made_str<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, FileError> {
    let mut options = options();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    parse(file, text, &[], options)
}

fn parse<T: DeserializeOwned>(
    file: &str,
    text: &str,
    examples: Examples,
    options: Options,
) -> Result<T, FileError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(too_large(file));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| explain(file, &error, examples))
}

/// The text of a file.
///
/// # Errors
/// The file cannot be read, is larger than 1 MiB, or is not UTF-8.
pub fn read(path: &Path) -> Result<String, FileError> {
    let name = path.display().to_string();
    let fail = |error: std::io::Error| FileError::whole(&name, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fail)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(too_large(&name));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let place = Place { line: u32::try_from(line).unwrap_or(0), column: 0 };
        FileError::at(&name, place, "not UTF-8 text").mend("save the file as UTF-8")
    })
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

/// The nearest of `known` to a word that is none of them, if one is near enough to be meant.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let same = |c: char| if c == '-' || c == ' ' { '_' } else { c.to_ascii_lowercase() };
    let fold = |text: &str| text.chars().take(SUGGESTED_LENGTH_MAX).map(same).collect::<String>();
    let word = fold(word);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance <= candidate.len().max(3) / 3 && *distance < word.len()
        })
        .min_by(|(a, first), (b, second)| {
            // Of two at one distance the one that begins like the word: "of" means "off" more than "on".
            let likeness = |candidate: &str| strsim::jaro_winkler(&word, &fold(candidate));
            a.cmp(b).then_with(|| likeness(second).total_cmp(&likeness(first)))
        })
        .map(|(_, candidate)| candidate)
}

/// The mend for a word that is none of `known`.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match suggestion(word, known.clone()) {
        Some(candidate) => format!("did you mean \"{candidate}\"?"),
        None => {
            let mut list: Vec<&str> = known.into_iter().take(KNOWN_LISTED_MAX + 1).collect();
            if list.len() > KNOWN_LISTED_MAX {
                list[KNOWN_LISTED_MAX] = "…";
            }
            format!("known are {}", list.join(", "))
        }
    }
}

fn options() -> Options {
    // A lab of some thousand boards stays far below these; what is above is an accident or an attack.
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(FILE_BYTES_MAX),
            max_events: 400_000,
            max_nodes: 200_000,
            max_depth: 32,
            max_documents: 1,
            max_anchors: 1_000,
            max_aliases: 10_000,
            max_merge_keys: 1_000,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: FILE_BYTES_MAX,
            max_total_scalar_bytes: 4 * FILE_BYTES_MAX,
        },
        with_snippet: false,
        strict_booleans: true,
    }
}

fn explain(file: &str, error: &Error, examples: Examples) -> FileError {
    let error = error.without_snippet();
    let place = error.location().map_or_else(Place::default, Place::from);
    let at = |message: String| FileError::at(file, place, message);
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let mend = did_you_mean(field, expected.iter().copied());
            at(format!("unknown key \"{}\"", shorten(field))).mend(mend)
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let mend = did_you_mean(variant, expected.iter().copied());
            at(format!("unknown word \"{}\"", shorten(variant))).mend(mend)
        }
        Error::SerdeMissingField { field, .. } => {
            let example =
                examples.iter().find(|(key, _)| key == field).map(|(_, example)| *example);
            let mend =
                example.map_or_else(|| format!("add \"{field}: …\""), |e| format!("add \"{e}\""));
            at(format!("missing key \"{field}\"")).mend(mend)
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key =
                key.as_deref().map_or_else(String::new, |key| format!(" \"{}\"", shorten(key)));
            at(format!("the key{key} stands twice")).mend("remove one of them")
        }
        Error::Eof { .. } => at("the file says nothing".into()),
        Error::MultipleDocuments { .. } => at("a second document begins".into())
            .mend("one file holds one document; remove the line \"---\""),
        Error::Unexpected { expected, .. } => at(format!("{} is expected here", shape(expected))),
        Error::NullIntoString { .. } => at("a value is missing after the colon".into()),
        Error::InvalidScalar { ty, .. } => at(format!("{} is expected here", scalar(ty))),
        Error::InvalidBooleanStrict { .. } => at("true or false is expected here".into()),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            at("larger or deeper than such a file may be".into())
        }
        Error::UnknownAnchor { .. } => {
            at("a word that begins with * stands for an anchor, and there is none".into())
                .mend("put it in quotes")
        }
        // Of an error inside an alias the cause is what a person needs; where it is used is the place already.
        Error::AliasError { error, .. } => FileError { ..explain(file, error, examples) },
        other => at(one_line(&other.to_string())),
    }
}

/// The library's message without its own "at line 3, column 4", which stands before it already.
fn one_line(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(text, place)| {
        if place.bytes().all(|b| b.is_ascii_digit() || b" ,column".contains(&b)) {
            text
        } else {
            message
        }
    });
    message.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn shape(expected: &str) -> &str {
    match expected {
        "sequence start" => "a list",
        "mapping start" => "a map of keys and values",
        "string scalar" | "scalar" => "one word or number",
        other => other,
    }
}

fn scalar(name: &str) -> &str {
    match name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more,",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" => "true or false",
        other => other,
    }
}

fn too_large(file: &str) -> FileError {
    FileError::whole(file, "larger than 1 MiB").mend("is it the file that you mean?")
}

/// Lab, board type and job files are written by people; the largest thinkable lab stays below this.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Edit distance costs the product of the lengths; no key is longer.
const SUGGESTED_LENGTH_MAX: usize = 64;
/// More than these do not fit on one line.
const KNOWN_LISTED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Lab {
        #[allow(dead_code)]
        boards: Vec<Board>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Board {
        name: String,
        connection: Option<String>,
        coding: Option<Coding>,
        baud: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Coding {
        TextSafe,
        Binary,
    }

    fn message(text: &str) -> String {
        let examples = &[("boards", "boards: [{name: bbb-01, type: generic}]")];
        from_str::<Lab>("lab.yaml", text, examples).unwrap_err().to_string()
    }

    #[test]
    fn messages() {
        let table = [
            (
                "boards:\n - name: a\n   conection: x\n",
                "lab.yaml:3: unknown key \"conection\": did you mean \"connection\"?",
            ),
            (
                "boards:\n - name: a\n   zzz: x\n",
                "lab.yaml:3: unknown key \"zzz\": known are name, connection, coding, baud",
            ),
            (
                "boards:\n - name: a\n   coding: textsafe\n",
                "lab.yaml:3: unknown word \"textsafe\": did you mean \"text-safe\"?",
            ),
            ("boards:\n - baud: 1\n", "lab.yaml:2: missing key \"name\": add \"name: …\""),
            (
                "boards:\n - name: a\n   name: b\n",
                "lab.yaml:3: the key \"name\" stands twice: remove one of them",
            ),
            ("boards: 3\n", "lab.yaml:1: a list is expected here"),
            (
                "boards:\n - name: a\n   baud: fast\n",
                "lab.yaml:3: a whole number, 0 or more, is expected here",
            ),
            ("boards:\n - name: [a]\n", "lab.yaml:2: one word or number is expected here"),
            ("boards:\n - name:\n", "lab.yaml:2: a value is missing after the colon"),
            ("", "lab.yaml:1: the file says nothing"),
            ("boards: []\n---\na: 1\n", ""),
            ("boards:\n - name: \"a\n", "lab.yaml:2: unclosed quote"),
            ("boards: [a\n", "lab.yaml:1: unclosed bracket '['"),
            (
                "boards:\n - name: *x\n",
                "lab.yaml:2: a word that begins with * stands for an anchor, and there is none: put it in quotes",
            ),
        ];
        for (text, expected) in table {
            let message = message(text);
            assert!(!message.contains('\n'), "{message}");
            if !expected.is_empty() {
                assert_eq!(message, expected, "{text}");
            }
        }
        let missing =
            from_str::<Lab>("l", "{}", &[("boards", "boards: […]")]).unwrap_err().to_string();
        assert_eq!(missing, "l:1: missing key \"boards\": add \"boards: […]\"");
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
        for (from, to) in
            ["a", "b", "c", "d", "e", "f", "g"].iter().zip(["b", "c", "d", "e", "f", "g", "h"])
        {
            let aliases = vec![format!("*{from}"); 10].join(",");
            laughs.push_str(&format!("{to}: &{to} [{aliases}]\n"));
        }
        assert!(from_str::<serde_json::Value>("f", &laughs, &[]).is_err());
        assert!(from_str::<serde_json::Value>("f", &"[".repeat(100_000), &[]).is_err());
        assert!(from_str::<serde_json::Value>("f", &" ".repeat(FILE_BYTES_MAX + 1), &[]).is_err());
    }

    #[test]
    fn suggestions_are_near() {
        assert_eq!(suggestion("bord", ["board", "power"]), Some("board"));
        assert_eq!(suggestion("Board-Types", ["boards", "board_types"]), Some("board_types"));
        assert_eq!(suggestion("x", ["board", "power"]), None);
    }
}
