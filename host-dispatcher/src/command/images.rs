//! `pumice images`: what the store keeps of images; and where the store is.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use crate::cli::{Global, ImagesAction};
use crate::image::cache::{Images, LIMIT_BYTES};
use crate::image::error::ImageError;
use crate::job::verdict::ErrorClass;

/// Lists or removes. Returns the exit status.
///
/// # Errors
/// `out` or `errors` cannot be written to.
pub fn images(
    global: &Global,
    action: Option<ImagesAction>,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<u8> {
    let outcome = open(global).and_then(|images| match action {
        None => list(&images, global.json),
        Some(ImagesAction::Prune) => prune(&images, global.json),
    });
    match outcome {
        Ok(text) => {
            out.write_all(text.as_bytes())?;
            Ok(0)
        }
        Err(error) => {
            writeln!(errors, "pumice: {error}")?;
            Ok(ErrorClass::InfrastructureError.exit_status())
        }
    }
}

/// Its images.
pub(super) fn open(global: &Global) -> Result<Images, ImageError> {
    Images::open(&store(global), LIMIT_BYTES)
}

/// The store that the options and the environment name.
pub(super) fn store(global: &Global) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    global
        .store
        .clone()
        .or_else(|| variable("PUMICE_STORE").map(PathBuf::from))
        .or_else(|| variable("XDG_DATA_HOME").map(|data| PathBuf::from(data).join("pumice")))
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/share/pumice")))
        .unwrap_or_else(|| std::env::temp_dir().join("pumice-store"))
}

fn list(images: &Images, as_json: bool) -> Result<String, ImageError> {
    let mut text = String::new();
    for entry in images.list()? {
        if as_json {
            text += &format!("{}\n", json!(entry));
            continue;
        }
        let used = i64::try_from(entry.used).ok();
        let used = used.and_then(|used| jiff::Timestamp::from_second(used).ok());
        text += &format!(
            "{:.12}  {:>12} of {:>12}  used {}  {}\n",
            entry.sha256,
            mebibytes(entry.disk_bytes),
            mebibytes(entry.bytes),
            used.map_or_else(String::new, |used| used.to_string()),
            entry.sources.join(", ")
        );
    }
    Ok(text)
}

fn prune(images: &Images, as_json: bool) -> Result<String, ImageError> {
    let removed = images.prune()?;
    Ok(if as_json {
        format!("{}\n", json!({"removed": removed.images, "disk_bytes": removed.disk_bytes}))
    } else {
        format!("removed {} images, {}\n", removed.images, mebibytes(removed.disk_bytes))
    })
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
