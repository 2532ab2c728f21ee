//! What is laid over the files of a root file system while its image is made of them: archives (kernel modules, a test
//! suite that was built elsewhere), and single files.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::cache::{CachedImage, IMAGE, Images};
use super::error::{Cause, ImageError};
use super::ext4::EPOCH;
use super::lay::{has_folder, lay, resolve};
use super::material::Material;
use super::take::OnProgress;
use super::tree::{Kind, Node, Tree, join, path_below_top};
use crate::store::hexadecimal;

/// An archive or a file, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The archive or the file.
    pub material: Material,
    /// Whether it is an archive.
    pub is_archive: bool,
    /// The folder that an archive is unpacked in; of a file its place, or with `/` at the end its folder.
    pub path: String,
}

/// Overlays that are in the store, as long as this value is there.
#[derive(Debug, Default)]
pub(super) struct Overlays {
    taken: Vec<Taken>,
    /// What stays the same as long as they do; empty without overlays.
    pub(super) key: String,
}

#[derive(Debug)]
struct Taken {
    overlay: Overlay,
    file: CachedImage,
    mode: u32,
    mtime: u64,
}

impl Overlays {
    /// Takes all of them into the store.
    pub(super) fn take(
        overlays: &[Overlay],
        images: &Images,
        progress: OnProgress<'_>,
    ) -> Result<Self, ImageError> {
        let (mut taken, mut text) = (Vec::new(), String::new());
        for overlay in overlays {
            let material = &overlay.material;
            let file = images.take_material(material, progress)?;
            // Of a server's file both are unknown.
            let (mut mode, mut mtime) = (0o644, EPOCH);
            if material.url().is_none() && !overlay.is_archive {
                let metadata = fs::metadata(&material.path)
                    .map_err(|error| ImageError::new(&material.path, Cause::Open(error)))?;
                mode = metadata.permissions().mode() & 0o7777;
                mtime = u64::try_from(metadata.mtime()).unwrap_or(0);
            }
            let (digest, path) = (hexadecimal(&file.sha256), &overlay.path);
            let name = overlay.name();
            let _ = writeln!(
                text,
                "{digest} {} {path:?} {name:?} {mode:o} {mtime}",
                overlay.is_archive
            );
            taken.push(Taken { overlay: overlay.clone(), file, mode, mtime });
        }
        let key = if text.is_empty() {
            text
        } else {
            format!(" over {}", hexadecimal(&Sha256::digest(text)))
        };
        Ok(Self { taken, key })
    }

    /// Lays them over a tree. `unpack` makes a tree of an archive in the store, called by its name.
    pub(super) fn lay(
        &self,
        tree: &mut Tree,
        mut unpack: impl FnMut(&Path, &Path) -> Result<Tree, ImageError>,
    ) -> Result<(), ImageError> {
        for taken in &self.taken {
            let name = taken.overlay.material.name();
            let failed = |cause| ImageError::new(&name, cause);
            let content = taken.file.dir.join(IMAGE);
            let at = path_below_top(taken.overlay.path.as_bytes()).map_err(failed)?;
            if taken.overlay.is_archive {
                let over = unpack(&content, &name)?;
                lay(tree, over, &at).map_err(failed)?;
                continue;
            }
            let kind = Kind::File { content, bytes: taken.file.bytes };
            let node = Node { mtime: taken.mtime, ..Node::new(kind, taken.mode) };
            let place = taken.overlay.place(tree, at).map_err(failed)?;
            lay(tree, Tree::from([(place, node)]), "").map_err(failed)?;
        }
        Ok(())
    }
}

impl Overlay {
    /// The file's own name.
    fn name(&self) -> String {
        let path = self.material.path.to_string_lossy();
        let path = match self.material.url() {
            Some(_) => path.split(['?', '#']).next().unwrap_or_default(),
            None => &path,
        };
        path.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Where a file lies: in a folder under its own name.
    fn place(&self, tree: &Tree, at: String) -> Result<String, Cause> {
        let behind = resolve(tree, &at)?;
        if !has_folder(tree, &behind) && !self.path.ends_with('/') {
            return Ok(at);
        }
        let name = path_below_top(self.name().as_bytes())?;
        if name.is_empty() {
            return Err(Cause::unusable(
                format!("{} is a folder, and the file has no name", self.path),
                "name the file's place as path:",
            ));
        }
        Ok(join(&at, &name))
    }
}
