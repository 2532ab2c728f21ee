//! A file that a deploy names: its place, its packing, its digests.

use super::super::output::{Map, Yaml};
use super::super::report::Report;
use super::super::tree::{Field, Keys, Value};
use super::round::Rounds;

/// What a job of ours says of it: `url`, and where it has them `sha256`, `sha512`, `md5` and `overlays`.
pub(super) type Artifact = Map;

/// Reads one. `to` is the key of `deploy` that it becomes; files of a `deploy to: downloads` are found by their names.
pub(super) fn read(
    field: Field,
    to: &str,
    rounds: &Rounds,
    report: &mut Report,
) -> Option<Artifact> {
    let mut keys = field.keys(report);
    let at = keys.at;
    let mut artifact = Map::default();
    let Some(url) = keys.take("url") else {
        report.missing(at, &keys.path_of("url"), "url: https://…");
        keys.end(report);
        return None;
    };
    let text = url.text(report)?;
    match text.split_once("://") {
        Some(("http" | "https", _)) => {
            report.mapped(&url, to);
            artifact.set("url", text.as_str());
        }
        Some(("file", path)) => {
            report.mapped(&url, format!("{to}: a file of this host"));
            artifact.set("url", path);
        }
        Some(("downloads", name)) => match rounds.downloads.get(name) {
            Some(download) => {
                report.mapped(&url, to);
                artifact = download.clone();
            }
            None => report.mistake(&url, "no deploy before this one downloads a file of that name"),
        },
        Some((scheme, _)) => report.unsupported(
            &url,
            format!("{scheme}: is not fetched: name a http(s) URL or a file of this host"),
        ),
        None => report.mistake(&url, "a URL is expected here: https://…, file://…"),
    }
    packing(&mut keys, report);
    digests(&mut keys, &mut artifact, report);
    if let Some(field) = keys.take("headers") {
        report
            .unsupported(&field, "no headers are sent: download the file and name it as file://…");
    }
    for (key, why) in IGNORED {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, why);
        }
    }
    if let Some(field) = keys.take("type") {
        match field.text(report).as_deref() {
            Some("image" | "zimage") => report.ignored(&field, "the board type loads it as it is"),
            Some("uimage") => report.ignored(&field, UIMAGE),
            _ => report.mistake(&field, "one of image, uimage, zimage is expected here"),
        }
    }
    if let Some(field) = keys.take("header") {
        report.ignored(&field, UIMAGE);
    }
    overlays(&mut keys, &mut artifact, rounds, report);
    keys.end(report);
    (!artifact.is_empty()).then_some(artifact)
}

fn packing(keys: &mut Keys, report: &mut Report) {
    if let Some(field) = keys.take("compression")
        && field.value != Value::Null
    {
        match field.text(report).as_deref() {
            Some("bz2" | "gz" | "xz" | "zip" | "zstd") => {
                report.ignored(&field, "what a file is packed with, its first bytes tell");
            }
            _ => report.mistake(&field, "one of bz2, gz, xz, zip, zstd is expected here"),
        }
    }
    if let Some(field) = keys.take("archive") {
        report.ignored(&field, "an archive is known by its first bytes, and becomes a file system");
    }
}

fn digests(keys: &mut Keys, artifact: &mut Artifact, report: &mut Report) {
    for (key, ours, digits) in
        [("sha256sum", "sha256", 64), ("sha512sum", "sha512", 128), ("md5sum", "md5", 32)]
    {
        let Some(field) = keys.take(key) else { continue };
        let text = field.text(report).unwrap_or_default();
        let is_digest = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digest {
            report.mapped(&field, "its digest");
            artifact.set(ours, text.to_ascii_lowercase());
        } else {
            report.mistake(&field, format!("{digits} hexadecimal digits are expected here"));
        }
    }
}

/// `overlays`: what is laid over a root file system.
fn overlays(keys: &mut Keys, artifact: &mut Artifact, rounds: &Rounds, report: &mut Report) {
    let mut overlays: Vec<Yaml> = Vec::new();
    if let Some(field) = keys.take("overlays") {
        for (name, field) in field.keys(report).rest() {
            if name == "lava" {
                report.ignored(&field, "the agent brings the helpers along");
                continue;
            }
            overlays.extend(overlay(field, rounds, report));
        }
    }
    if !overlays.is_empty() {
        artifact.set("overlays", overlays);
    }
    for key in ["format", "partition", "sparse"] {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, "an image tells itself what it is, and which partitions it has");
        }
    }
}

fn overlay(field: Field, rounds: &Rounds, report: &mut Report) -> Option<Yaml> {
    // Its own two keys first; the rest is a file as any other.
    let Field { path, at, value } = field;
    let Value::Map(entries) = value else {
        report.mistake(&Field { path, at, value }, "a map of keys and values is expected here");
        return None;
    };
    let (own, rest): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| ["format", "path"].contains(&key.value.as_str()));
    let mut own = Field { path: path.clone(), at, value: Value::Map(own) }.keys(report);
    let format = own.take("format").and_then(|field| field.text(report));
    let place = own.take("path").and_then(|field| {
        report.mapped(&field, "deploy.overlays[].path");
        field.text(report)
    });
    let Some(place) = place else {
        report.missing(at, &own.path_of("path"), "path: /opt");
        return None;
    };
    let rest = Field { path, at, value: Value::Map(rest) };
    let artifact = read(rest, "deploy.overlays", rounds, report)?;
    let mut overlay = Map::default();
    let kind = if format.as_deref() == Some("file") { "file" } else { "archive" };
    overlay.set(kind, artifact.get("url")?.clone());
    overlay.set("path", format!("/{}", place.trim_start_matches('/')));
    for digest in ["sha256", "sha512", "md5"] {
        if let Some(value) = artifact.get(digest) {
            overlay.set(digest, value.clone());
        }
    }
    Some(overlay.into())
}

const UIMAGE: &str = "what is in an image of U-Boot's old form is taken out of it";
const IGNORED: [(&str, &str); 9] = [
    ("apply-overlay", "the agent brings the helpers along"),
    ("reboot", "the board is restarted when everything is written"),
    ("root_partition", "partitions of a disk image are told by their names"),
    ("use_cache", "images are kept in the store by their digests"),
    ("image_arg", "the emulator's words stand in the board type (connection.exec)"),
    ("install_modules", "modules belong into the root file system's image"),
    ("install_overlay", "the agent brings the helpers along"),
    ("prefix", "an archive is taken from its root"),
    ("uniquify", "images do not share names here"),
];
