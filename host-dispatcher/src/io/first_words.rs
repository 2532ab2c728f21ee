//! What a line said before it ended: a server that has another client already says so and hangs up.

/// The beginning of what a line said. A server that takes nobody else says so and hangs up.
#[derive(Debug, Default)]
pub(super) struct FirstWords {
    text: Vec<u8>,
    /// There was more than a sentence.
    is_more: bool,
}

impl FirstWords {
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.is_more |= self.text.len() + bytes.len() > SENTENCE_MAX;
        if !self.is_more {
            self.text.extend_from_slice(bytes);
        }
    }

    /// If that was a sentence and all.
    pub(super) fn sentence(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.text).ok().filter(|_| !self.is_more)?.trim();
        (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
    }
}

/// Longer than any server's "in use", shorter than what a board says first.
const SENTENCE_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_and_nothing_else() {
        for (pieces, sentence) in [
            (&[&b"Port already"[..], b" in use\r\n"][..], Some("Port already in use")),
            (&[b"\r\n"], None),
            (&[b"a\nb"], None),
            (&[b"\x1b[2Jgone"], None),
            (&[b"\xff\xfe"], None),
            (&[&[b'x'; 100], &[b'x'; 21]], None),
            (&[&[b'x'; 121], b"in use"], None),
            (&[], None),
        ] {
            let mut first = FirstWords::default();
            pieces.iter().for_each(|piece| first.hear(piece));
            assert_eq!(first.sentence(), sentence, "{pieces:?}");
        }
    }
}
