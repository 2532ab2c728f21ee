//! Who may speak with the lab: `<store>/tokens.json`.
//!
//! A token is 256 random bits, shown once. Only its SHA-256 is kept: a token cannot be guessed from that, so nothing slower
//! is needed. The file is for its owner's eyes, and is there whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{StoreError, hexadecimal, write_json};

/// What somebody may do; each may do what those before may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Submit jobs and cancel one's own, acquire boards and work on them.
    Submitter,
    /// Say how healthy boards are, and take from others what they hold.
    Admin,
}

/// A token, without itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Whose it is.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// Since when.
    pub created: Timestamp,
    /// SHA-256 of the token, in hexadecimal digits.
    sha256: String,
}

/// The tokens of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    tokens: Vec<Token>,
}

/// A token could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdded {
    /// There is one of this name.
    Taken,
    /// The name is no name.
    Name,
    /// There are very many.
    Many,
}

impl Tokens {
    /// Those of a store; none where there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or is none of ours.
    pub fn load(store: &Path) -> Result<Self, StoreError> {
        let path = path(store);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(StoreError::of("read", &path)(error)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| StoreError::of("read", &path)(error.into())),
        }
    }

    /// Keeps them, so that only the owner of the file can read it.
    ///
    /// # Errors
    /// A failed write.
    pub fn save(&self, store: &Path) -> Result<(), StoreError> {
        let path = path(store);
        fs::create_dir_all(store).map_err(StoreError::of("create", store))?;
        write_json(&path, self)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(StoreError::of("protect", &path))
    }

    /// Makes a token, and returns it: nobody can read it later.
    ///
    /// # Errors
    /// See [`NotAdded`].
    pub fn add(
        &mut self,
        name: &str,
        role: Role,
        now: Timestamp,
        random: [u8; 32],
    ) -> Result<String, NotAdded> {
        if !is_name(name) {
            return Err(NotAdded::Name);
        }
        if self.tokens.iter().any(|token| token.name == name) {
            return Err(NotAdded::Taken);
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(NotAdded::Many);
        }
        let token = format!("{PREFIX}{}", hexadecimal(&random));
        let sha256 = hexadecimal(&Sha256::digest(&token));
        self.tokens.push(Token { name: name.to_owned(), role, created: now, sha256 });
        Ok(token)
    }

    /// Takes a token back. Whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let count = self.tokens.len();
        self.tokens.retain(|token| token.name != name);
        self.tokens.len() < count
    }

    /// All of them.
    pub fn all(&self) -> &[Token] {
        &self.tokens
    }

    /// Whose a token is. How long that takes says nothing of any token.
    pub fn find(&self, token: &str) -> Option<&Token> {
        let sha256 = hexadecimal(&Sha256::digest(token));
        let mut found = None;
        for known in &self.tokens {
            if is_same(known.sha256.as_bytes(), sha256.as_bytes()) {
                found = Some(known);
            }
        }
        found
    }
}

/// Whether somebody can be called so: 1 to 64 letters, digits and `. _ @ + -`.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte))
}

/// 256 bits from the system's generator.
///
/// # Errors
/// The system has none.
pub fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// When the tokens changed last, cheaply; nothing where there are none.
pub fn changed(store: &Path) -> Option<std::time::SystemTime> {
    File::open(path(store)).ok()?.metadata().ok()?.modified().ok()
}

fn path(store: &Path) -> PathBuf {
    store.join("tokens.json")
}

/// Looks at every byte, whichever differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(difference) == 0
}

/// So that a token is known as one where it was left lying about.
const PREFIX: &str = "pumice_";
/// More than any lab has people and machines.
const TOKENS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::test_folder::TestFolder;

    #[test]
    fn tokens_are_kept_and_found() {
        let folder = TestFolder::new();
        let mut tokens = Tokens::load(folder.path()).unwrap();
        assert_eq!((tokens.all().len(), changed(folder.path())), (0, None));
        let mut add = |name, role| tokens.add(name, role, Timestamp::UNIX_EPOCH, random().unwrap());
        let ci = add("ci", Role::Submitter).unwrap();
        let anna = add("anna@example.org", Role::Admin).unwrap();
        assert_eq!(add("ci", Role::Viewer), Err(NotAdded::Taken));
        for bad in ["", "a b", "ä", &"x".repeat(65), "a\n"] {
            assert_eq!(add(bad, Role::Viewer), Err(NotAdded::Name), "{bad:?}");
        }
        tokens.save(folder.path()).unwrap();
        let file = path(folder.path());
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&ci) && !text.contains(&ci[PREFIX.len()..]));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let mut tokens = Tokens::load(folder.path()).unwrap();
        let whose =
            |tokens: &Tokens, token: &str| tokens.find(token).map(|token| token.name.clone());
        assert_eq!(whose(&tokens, &ci).as_deref(), Some("ci"));
        assert_eq!(whose(&tokens, &anna).as_deref(), Some("anna@example.org"));
        for wrong in ["", "pumice_", &ci[..ci.len() - 1], &ci.to_uppercase()] {
            assert_eq!(whose(&tokens, wrong), None);
        }
        assert!(tokens.remove("ci") && !tokens.remove("ci"));
        assert_eq!(whose(&tokens, &ci), None);
        fs::write(&file, "{").unwrap();
        assert!(Tokens::load(folder.path()).is_err());
    }

    #[test]
    fn roles_are_in_order() {
        assert!(Role::Viewer < Role::Submitter && Role::Submitter < Role::Admin);
    }
}
