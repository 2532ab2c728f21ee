//! Takes a secret out of text that comes in pieces.

/// Replaces every occurrence of a secret, and lets the rest through as early as it can be known.
#[derive(Clone, Default)]
pub struct Redactor {
    secret: Vec<u8>,
    /// How much of the secret has come: so many bytes are held back.
    matched: usize,
}

/// By hand, as a secret is no text to be shown.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("matched", &self.matched).finish_non_exhaustive()
    }
}

impl Redactor {
    /// For a secret; one that is empty is none.
    pub fn new(secret: &str) -> Self {
        Self { secret: secret.as_bytes().to_owned(), matched: 0 }
    }

    /// The next piece without the secret. An end that may be its beginning is held back.
    pub fn push(&mut self, text: &mut Vec<u8>) {
        if self.secret.is_empty() {
            return;
        }
        let mut out = Vec::with_capacity(text.len() + self.matched);
        for byte in text.iter() {
            while self.matched > 0 && self.secret[self.matched] != *byte {
                self.give_way(&mut out);
            }
            if self.secret[self.matched] != *byte {
                out.push(*byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.secret.len() {
                self.matched = 0;
                out.extend_from_slice(MASK);
            }
        }
        *text = out;
    }

    /// What is held back: it was no secret after all, as far as anybody will know.
    pub fn finish(&mut self) -> Vec<u8> {
        self.secret[..std::mem::take(&mut self.matched)].to_vec()
    }

    /// The secret does not begin where it seemed to; it may begin later in what is held back.
    fn give_way(&mut self, out: &mut Vec<u8>) {
        let held = &self.secret[..self.matched];
        let shift = (1..=self.matched)
            .find(|shift| self.secret.starts_with(&held[*shift..]))
            .unwrap_or(self.matched);
        out.extend_from_slice(&held[..shift]);
        self.matched -= shift;
    }
}

/// Of one length, whatever the secret's.
const MASK: &[u8] = b"******";

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(secret: &str, pieces: &[&str]) -> String {
        let mut redactor = Redactor::new(secret);
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
        let text = "Password: aabaabaab and aaabaabc, aab";
        for at in 0..text.len() {
            let (first, second) = text.split_at(at);
            assert_eq!(
                redacted("aabaabc", &[first, second]),
                "Password: aabaabaab and a******, aab"
            );
        }
        assert_eq!(redacted("", &["any", "thing"]), "anything");
        assert_eq!(redacted("aa", &["aaa", "aa"]), "************a");
    }
}
