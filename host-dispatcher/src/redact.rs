//! Takes secrets out of text, also where it comes in pieces.
//!
//! Pure. [`Patterns`] is what must not be seen, each with the mark that stands in its place; a [`Redactor`] is one stream
//! that they are taken out of. Of what may be the beginning of a secret a stream holds back no more than the longest one
//! has. Marks of a job's secrets have their length ([`mark`]), so that places in a file stay what they are.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::Value;

/// What must not be seen.
#[derive(Default)]
pub struct Patterns {
    /// By their first byte, the longer ones first.
    by_first: Vec<Vec<Pattern>>,
}

struct Pattern {
    bytes: Vec<u8>,
    mark: Vec<u8>,
}

/// A stream without its secrets.
#[derive(Clone, Default)]
pub struct Redactor {
    patterns: Arc<Patterns>,
    held: Vec<u8>,
}

/// The mark of a secret of so many bytes: its name, filled up with `*`, or only these where the name has no room. One word
/// without quotes or brackets, so that whoever reads the text for what it says finds in it what he found before.
pub fn mark(name: &str, length: usize) -> Vec<u8> {
    let mut mark = format!("(secret:{name})").into_bytes();
    if mark.len() > length {
        mark.clear();
    }
    mark.resize(length, b'*');
    mark
}

impl Patterns {
    /// Texts, each with its mark; one that is empty is none. Of several that begin at one place the longest counts.
    pub fn new(texts: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let mut by_first: Vec<Vec<Pattern>> = Vec::new();
        for (bytes, mark) in texts {
            let Some(first) = bytes.first() else { continue };
            by_first.resize_with(256, Vec::new);
            let same = &mut by_first[usize::from(*first)];
            if same.iter().all(|pattern| pattern.bytes != bytes) {
                same.push(Pattern { bytes, mark });
            }
        }
        for same in &mut by_first {
            same.sort_by_key(|pattern| std::cmp::Reverse(pattern.bytes.len()));
        }
        Self { by_first }
    }

    /// Whether there is nothing to be hidden.
    pub fn is_empty(&self) -> bool {
        self.by_first.is_empty()
    }

    /// A text without them; `None` where none is in it. Of a text that may have been cut (`CUT_BYTES_MIN`) what may be the
    /// end of a secret at its beginning goes too, and what may be the beginning of one at its end.
    pub fn redacted(&self, text: &str) -> Option<String> {
        let redacted = self.redacted_bytes(text.as_bytes())?;
        Some(String::from_utf8_lossy(&redacted).into_owned())
    }

    /// [`Self::redacted`] of text that may be none.
    pub fn redacted_bytes(&self, text: &[u8]) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let is_cut = text.len() >= CUT_BYTES_MIN;
        let mut bytes = text.to_vec();
        if is_cut {
            let end = self.end_at_the_beginning(&bytes);
            bytes[..end].fill(b'*');
        }
        let mut out = Vec::with_capacity(bytes.len());
        self.scan(&bytes, if is_cut { End::Cut } else { End::Whole }, &mut out);
        (out != text).then_some(out)
    }

    /// A text that is certainly whole without them.
    pub fn redact_whole(&self, text: &str) -> String {
        let mut out = Vec::with_capacity(text.len());
        self.scan(text.as_bytes(), End::Whole, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The same for all texts of a document, keys among them; whether there was something to be hidden.
    pub fn redact_strings(&self, value: &mut Value) -> bool {
        if self.is_empty() {
            return false;
        }
        match value {
            Value::String(text) => {
                let redacted = self.redact_whole(text);
                let is_other = redacted != *text;
                *text = redacted;
                is_other
            }
            Value::Array(all) => {
                all.iter_mut().fold(false, |any, one| self.redact_strings(one) | any)
            }
            Value::Object(all) => {
                let mut any = false;
                let old = std::mem::take(all);
                all.extend(old.into_iter().map(|(key, mut value)| {
                    any |= self.redact_strings(&mut value);
                    let shown = self.redact_whole(&key);
                    any |= shown != key;
                    (shown, value)
                }));
                any
            }
            _ => false,
        }
    }

    /// [`Self::redacted`] in its place.
    pub fn redact(&self, text: &mut String) {
        if let Some(redacted) = self.redacted(text) {
            *text = redacted;
        }
    }

    /// What of `bytes` is certain goes to `out`, without secrets; returns how many bytes those were.
    fn scan(&self, bytes: &[u8], end: End, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while let Some(first) = bytes.get(at) {
            let rest = &bytes[at..];
            let same = self.by_first.get(usize::from(*first)).map_or(&[][..], Vec::as_slice);
            let may_begin = || same.iter().any(|pattern| pattern.begins_with_all_of(rest));
            if end == End::Open && may_begin() {
                break;
            }
            if let Some(whole) = same.iter().find(|pattern| rest.starts_with(&pattern.bytes)) {
                out.extend_from_slice(&whole.mark);
                at += whole.bytes.len();
            } else if end == End::Cut && rest.len() >= PART_BYTES_MIN && may_begin() {
                out.resize(out.len() + rest.len(), b'*');
                at = bytes.len();
            } else {
                out.push(*first);
                at += 1;
            }
        }
        at
    }

    /// How many bytes at the beginning may be the end of a secret that was cut.
    fn end_at_the_beginning(&self, bytes: &[u8]) -> usize {
        let ends =
            self.by_first.iter().flatten().filter_map(|Pattern { bytes: secret, .. }| {
                let longest = (secret.len() - 1).min(bytes.len());
                (PART_BYTES_MIN..=longest)
                    .rev()
                    .find(|length| bytes.starts_with(&secret[secret.len() - length..]))
            });
        ends.max().unwrap_or(0)
    }
}

impl Pattern {
    /// Whether all of `rest` is a beginning of it, and not the whole.
    fn begins_with_all_of(&self, rest: &[u8]) -> bool {
        self.bytes.len() > rest.len() && self.bytes.starts_with(rest)
    }
}

impl Redactor {
    /// A stream that these are taken out of.
    pub fn new(patterns: Arc<Patterns>) -> Self {
        Self { patterns, held: Vec::new() }
    }

    /// From here on these. What is held back waits on.
    pub fn hide(&mut self, patterns: &Arc<Patterns>) {
        self.patterns = Arc::clone(patterns);
    }

    /// The next piece without secrets. An end that may be the beginning of one is held back.
    pub fn push(&mut self, text: &mut Vec<u8>) {
        if self.patterns.is_empty() && self.held.is_empty() {
            return;
        }
        self.held.append(text);
        let used = self.patterns.scan(&self.held, End::Open, text);
        self.held.drain(..used);
    }

    /// [`Self::push`] into a writer.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_to(&mut self, writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        if self.patterns.is_empty() && self.held.is_empty() {
            return writer.write_all(bytes);
        }
        let mut text = bytes.to_vec();
        self.push(&mut text);
        writer.write_all(&text)
    }

    /// What is held back, at the end of the stream: what may be a secret that was cut is hidden too.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.patterns.scan(&std::mem::take(&mut self.held), End::Cut, &mut out);
        out
    }
}

/// What stands behind a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// Nothing.
    Whole,
    /// Something that nobody will see.
    Cut,
}

/// By hand, as a secret is no text to be shown.
impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patterns").finish_non_exhaustive()
    }
}

/// As for [`Patterns`].
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

/// Whoever cuts texts leaves at least this much of them: names are cut at 512 bytes, all else later.
const CUT_BYTES_MIN: usize = 512;
/// Less of a secret at the edge of a text is chance more often than not, and of no use to anybody.
const PART_BYTES_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(secrets: &[&str]) -> Arc<Patterns> {
        let text = |secret: &&str| (secret.as_bytes().to_vec(), mark("A", secret.len()));
        Arc::new(Patterns::new(secrets.iter().map(text)))
    }

    fn redacted(secrets: &[&str], pieces: &[&str]) -> String {
        let mut redactor = Redactor::new(patterns(secrets));
        let mut all = Vec::new();
        for piece in pieces {
            let mut text = piece.as_bytes().to_vec();
            redactor.push(&mut text);
            all.extend(text);
        }
        all.extend(redactor.finish());
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_secret_goes_wherever_the_pieces_are_cut() {
        let secrets = ["aabaabc", "aabaab-and-longer", "zz"];
        let text = "x aabaabaab and aaabaabc, zzzaabaab-and-longer aab";
        let expected = "x aabaabaab and a*******, **z(secret:A)******* aab";
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(redacted(&secrets, &pieces), expected, "{pieces:?}");
            }
        }
        assert_eq!(redacted(&[""], &["any", "thing"]), "anything");
        assert_eq!(redacted(&["aa"], &["aaa", "aa"]), "****a");
    }

    #[test]
    fn a_secret_that_the_end_of_a_stream_cuts_is_hidden_too() {
        assert_eq!(redacted(&["hunter2-hunter2"], &["is hun"]), "is hun");
        assert_eq!(redacted(&["hunter2-hunter2"], &["is hunter2-hu"]), "is **********");
        assert_eq!(redacted(&["hunter2"], &["hunter2"]), "*******");
    }

    #[test]
    fn texts_that_were_cut_show_no_part_of_it() {
        let secret = "0123456789";
        let patterns = patterns(&[secret]);
        assert_eq!(patterns.redacted("nothing of it"), None);
        assert_eq!(patterns.redacted("56789 short texts are whole 01234"), None);
        assert_eq!(patterns.redacted("a 0123456789 b").unwrap(), "a (secret:A) b");
        let middle = "ä".repeat(300);
        let cut = format!("456789{middle}{secret}012345");
        let hidden = format!("******{middle}(secret:A)******");
        assert_eq!(patterns.redacted(&cut).unwrap(), hidden);
        // Whatever is cut off on both sides of a text that is mostly the secret.
        let long = format!("{}{secret}{}", "x".repeat(600), "y".repeat(600));
        for from in 590..612 {
            for to in [from + 512, from + 590] {
                let shown = patterns.redacted(&long[from..to]);
                let shown = shown.as_deref().unwrap_or_else(|| &long[from..to]);
                assert!(
                    !shown.contains("3456") && !shown.contains("6789"),
                    "{from}..{to}: {shown}"
                );
            }
        }
    }

    #[test]
    fn a_mark_has_the_length_of_what_it_hides() {
        assert_eq!(mark("TOKEN", 20), b"(secret:TOKEN)******");
        assert_eq!(mark("TOKEN", 14), b"(secret:TOKEN)");
        assert_eq!(mark("TOKEN", 13), b"*************");
    }
}
