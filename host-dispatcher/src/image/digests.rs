//! What the MD5 and the SHA-512 of a file must be, as it lies there: other than the SHA-256, nothing is found by them.

use std::fmt::Write;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha512};

use super::error::{Cause, ImageError};
use super::take::READ_BYTES;

/// The digests that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileDigests {
    /// MD5, which tells damage, and nothing that somebody did on purpose.
    pub md5: Option<[u8; 16]>,
    /// SHA-512.
    pub sha512: Option<[u8; 64]>,
}

impl FileDigests {
    /// Whether none is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.md5.is_none() && self.sha512.is_none()
    }

    /// Reads the file at `place`, which people know as `name`, and compares.
    pub(super) fn check(&self, place: &Path, name: &Path) -> Result<(), ImageError> {
        if self.is_empty() {
            return Ok(());
        }
        let failed = |cause| ImageError::new(name, cause);
        let mut file = File::open(place).map_err(|error| failed(Cause::Open(error)))?;
        let (mut md5, mut sha512) = (Md5::new(), Sha512::new());
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(bytes) => {
                    if self.md5.is_some() {
                        md5.update(&buffer[..bytes]);
                    }
                    if self.sha512.is_some() {
                        sha512.update(&buffer[..bytes]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(Cause::Read(error))),
            }
        }
        let (md5, sha512) = (md5.finalize(), sha512.finalize());
        for (what, key, wanted, found) in [
            ("MD5", "md5", self.md5.as_ref().map(|digest| &digest[..]), &md5[..]),
            ("SHA-512", "sha512", self.sha512.as_ref().map(|digest| &digest[..]), &sha512[..]),
        ] {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                let why = format!("it has the {what} {} and not {}", digits(found), digits(wanted));
                return Err(failed(Cause::unusable(
                    why,
                    format!("correct {key}, or get it again"),
                )));
            }
        }
        Ok(())
    }
}

fn digits(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::io::test_folder::TestFolder;

    #[test]
    fn each_digest_is_compared() {
        let folder = TestFolder::new();
        let place = folder.path().join("file");
        std::fs::write(&place, "abc").unwrap();
        // RFC 1321 §A.5; FIPS 180, SHA-512 example of one block.
        let md5 = 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72_u128.to_be_bytes();
        let mut sha512: [u8; 64] = Sha512::digest("abc").into();
        assert_eq!(sha512[..4], [0xdd, 0xaf, 0x35, 0xa1]);
        let name = PathBuf::from("http://x/file");
        let check = |digests: FileDigests| digests.check(&place, &name).map_err(|e| e.to_string());
        let good = FileDigests { md5: Some(md5), sha512: Some(sha512) };
        assert_eq!(check(good), Ok(()));
        let error = check(FileDigests { md5: Some([0; 16]), ..good }).unwrap_err();
        assert!(error.contains("http://x/file") && error.contains("the MD5 900150983c"), "{error}");
        sha512[0] ^= 1;
        let error = check(FileDigests { sha512: Some(sha512), md5: None }).unwrap_err();
        assert!(
            error.contains("the SHA-512 ddaf35a1") && error.contains("not dcaf35a1"),
            "{error}"
        );
    }
}
