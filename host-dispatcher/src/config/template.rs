//! Texts with places to fill in: `{disk}` in an emulator's words, `{boot_part}` in a boot loader's command.
//!
//! A place is a known word in braces. Every other brace is text, and so is all of `${…}`: that belongs to the boot
//! loader or a shell. A word in braces that is not known where it stands is an error when the file is read.

use std::fmt;
use std::marker::PhantomData;

use serde::de;
use serde::{Deserialize, Deserializer};

use super::value::shorten;
use super::yaml::did_you_mean;

/// A place that can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placeholder {
    /// The board's name in the lab.
    Board,
    /// The folder of the lab's images.
    Images,
    /// The folder of this board's own files, which outlives a run.
    State,
    /// The board's disk: an overlay on the emulator's `base`, in `{state}`.
    Disk,
    /// The number of the partition that the kernel is loaded from.
    BootPart,
    /// Where on that partition the kernel lies: `/boot/` or `/`.
    BootDir,
    /// The number of the partition with the root file system.
    RootfsPart,
    /// The kernel's arguments, from the board type's `kernel_args`.
    Bootargs,
    /// The run's name.
    Run,
}

/// A text with places, checked when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
}

/// What goes into the places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(Vec<(Placeholder, String)>);

/// Which places a text may have, by where in a file it stands.
pub trait Allowed {
    /// These.
    const ALLOWED: &'static [Placeholder];
}

/// In the words that start an emulator, and in its disk's base.
#[derive(Clone, Copy, Debug)]
pub enum OnHost {}
/// In a power command.
#[derive(Clone, Copy, Debug)]
pub enum InPower {}
/// In a boot loader's command.
#[derive(Clone, Copy, Debug)]
pub enum InBootLoader {}
/// In the kernel's arguments.
#[derive(Clone, Copy, Debug)]
pub enum InKernelArgs {}

/// A [`Template`] as it stands in a file at a place of kind `A`.
#[derive(Clone, Debug)]
pub struct TextIn<A> {
    /// The checked text.
    pub template: Template,
    place: PhantomData<A>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Placeholder),
}

impl Placeholder {
    /// Every place.
    pub const ALL: [Self; 9] = [
        Self::Board,
        Self::Images,
        Self::State,
        Self::Disk,
        Self::BootPart,
        Self::BootDir,
        Self::RootfsPart,
        Self::Bootargs,
        Self::Run,
    ];

    /// The word that stands between the braces.
    pub fn word(self) -> &'static str {
        match self {
            Self::Board => "board",
            Self::Images => "images",
            Self::State => "state",
            Self::Disk => "disk",
            Self::BootPart => "boot_part",
            Self::BootDir => "boot_dir",
            Self::RootfsPart => "rootfs_part",
            Self::Bootargs => "bootargs",
            Self::Run => "run",
        }
    }
}

/// The words in braces of a text, without those of `${…}`: letters, digits and `_`.
pub fn braced(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('{').filter_map(|(at, _)| {
        let (word, _) = text[at + 1..].split_once('}')?;
        let is_word = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_');
        (is_word && !text[..at].ends_with('$')).then_some(word)
    })
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// A lower-case word in braces that is not `allowed`, or more than 4 KiB.
    pub fn parse(source: &str, allowed: &[Placeholder]) -> Result<Self, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(open) = rest.find('{') {
            let (before, from_brace) = rest.split_at(open);
            let word =
                from_brace[1..].split_once('}').map(|(word, _)| word).filter(|word| is_word(word));
            text.push_str(before);
            match word {
                Some(word) if !before.ends_with('$') => {
                    let place = allowed.iter().find(|place| place.word() == word);
                    let place = *place.ok_or_else(|| TemplateError::unknown(word, allowed))?;
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    pieces.push(Piece::Place(place));
                    rest = &from_brace[word.len() + 2..];
                }
                _ => {
                    text.push('{');
                    rest = &from_brace[1..];
                }
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self { source: source.to_owned(), pieces })
    }

    /// The text as it stands in the file.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The same text with a word more: before `marker` where that stands in it, else at its end. In `text` nothing is a place.
    #[must_use]
    pub fn with_text(&self, marker: &str, text: &str) -> Self {
        let mut with = self.clone();
        let split = |piece: &mut Piece| match piece {
            Piece::Text(words) => {
                let at = words.find(marker)?;
                words.insert_str(at, &format!(" {text}"));
                Some(())
            }
            Piece::Place(_) => None,
        };
        if with.pieces.iter_mut().find_map(split).is_none() {
            with.pieces.push(Piece::Text(format!(" {text}")));
        }
        with
    }

    /// Whether the text has this place.
    pub fn uses(&self, place: Placeholder) -> bool {
        self.pieces.contains(&Piece::Place(place))
    }

    /// The text with its places filled in.
    ///
    /// # Errors
    /// The first place for which there is no value.
    pub fn expand(&self, values: &Values) -> Result<String, NoValue> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Place(place) => text.push_str(values.get(*place).ok_or(NoValue(*place))?),
            }
        }
        Ok(text)
    }
}

impl Values {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same values and one more; the last value of a place counts.
    #[must_use]
    pub fn with(mut self, place: Placeholder, value: impl Into<String>) -> Self {
        self.0.retain(|(known, _)| *known != place);
        self.0.push((place, value.into()));
        self
    }

    /// The value of a place.
    pub fn get(&self, place: Placeholder) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == place).map(|(_, value)| value.as_str())
    }
}

impl Allowed for OnHost {
    const ALLOWED: &'static [Placeholder] =
        &[Placeholder::Board, Placeholder::Images, Placeholder::State, Placeholder::Disk];
}

impl Allowed for InPower {
    const ALLOWED: &'static [Placeholder] = &[Placeholder::Board];
}

impl Allowed for InBootLoader {
    const ALLOWED: &'static [Placeholder] = &[
        Placeholder::BootPart,
        Placeholder::BootDir,
        Placeholder::RootfsPart,
        Placeholder::Bootargs,
        Placeholder::Board,
        Placeholder::Run,
    ];
}

impl Allowed for InKernelArgs {
    const ALLOWED: &'static [Placeholder] =
        &[Placeholder::RootfsPart, Placeholder::Board, Placeholder::Run];
}

impl<'de, A: Allowed> Deserialize<'de> for TextIn<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let template = Template::parse(&text, A::ALLOWED).map_err(de::Error::custom)?;
        Ok(Self { template, place: PhantomData })
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// A command line of a boot loader is at most some hundred characters; words of an emulator are shorter still.
const TEMPLATE_BYTES_MAX: usize = 4096;

/// Why a text cannot be a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A word in braces that means nothing here, and what may have been meant.
    Unknown(String, String),
    /// More than 4 KiB.
    TooLong,
}

/// A place that was not given a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoValue(pub Placeholder);

impl TemplateError {
    fn unknown(word: &str, allowed: &[Placeholder]) -> Self {
        Self::Unknown(shorten(word), did_you_mean(word, allowed.iter().map(|place| place.word())))
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word, mend) => write!(f, "unknown placeholder {{{word}}}: {mend}"),
            Self::TooLong => write!(f, "a text of more than {TEMPLATE_BYTES_MAX} bytes"),
        }
    }
}

impl fmt::Display for NoValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no value for {{{}}} here", self.0.word())
    }
}

impl std::error::Error for TemplateError {}
impl std::error::Error for NoValue {}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let values = Values::new().with(Placeholder::BootPart, "2").with(Placeholder::BootDir, "/");
        let template = Template::parse(text, InBootLoader::ALLOWED).map_err(|e| e.to_string())?;
        template.expand(&values).map_err(|e| e.to_string())
    }

    #[test]
    fn places_and_other_braces() {
        for (text, expected) in [
            (
                "load virtio 0:{boot_part} ${kernel_addr_r} {boot_dir}vmlinuz",
                "load virtio 0:2 ${kernel_addr_r} /vmlinuz",
            ),
            ("${boot_part}", "${boot_part}"),
            ("{\"driver\": {}}{", "{\"driver\": {}}{"),
            ("{{boot_part}}", "{2}"),
            ("", ""),
            ("{ö}{Boot}", "{ö}{Boot}"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            expand("{bootpart}"),
            Err("unknown placeholder {bootpart}: did you mean \"boot_part\"?".into())
        );
        assert_eq!(
            expand("{disk}").unwrap_err().split(':').next(),
            Some("unknown placeholder {disk}")
        );
        assert_eq!(expand("{run}"), Err("no value for {run} here".into()));
    }
}
