//! `deploy`: which file goes to which partition.

use super::super::output::Map;
use super::super::report::Report;
use super::super::tree::{Field, Keys};
use super::artifact::{self, Artifact};
use super::round::{Round, Rounds};
use super::timeout::{Action, Timeouts};

/// Reads one into the round.
pub(super) fn read(field: Field, rounds: &mut Rounds, timeouts: &Timeouts, report: &mut Report) {
    let mut keys = field.keys(report);
    let at = keys.at;
    let period = timeouts.of_action(&mut keys, Action::Deploy, report);
    common(&mut keys, rounds.now(), report);
    let Some(to) = keys.take("to") else {
        report.missing(at, &keys.path_of("to"), "to: tftp");
        return;
    };
    let method = to.text(report).unwrap_or_default();
    match method.as_str() {
        "tftp" | "nbd" | "nfs" | "ssh" => network(&to, &mut keys, rounds, report),
        "sata" | "sd" | "usb" | "u-boot-ums" => medium(&to, &mut keys, rounds, report),
        "flasher" | "fastboot" | "uuu" | "tmpfs" => images(&to, &mut keys, rounds, report),
        "download" | "downloads" => downloads(&to, &mut keys, rounds, report),
        "overlay" => report.ignored(&to, "the agent brings the helpers along, into whatever runs"),
        _ => {
            report.unsupported(
                &to,
                format!(
                    "\"{}\" is no way to one of the partitions testboot and testrootfs: give the image as to: tftp, sd or flasher",
                    crate::config::value::shorten(&method)
                ),
            );
            return;
        }
    }
    keys.end(report);
    rounds.now().deadline(Action::Deploy, period);
}

/// Keys that every deploy, boot and test may have.
pub(super) fn common(keys: &mut Keys, round: &mut Round, report: &mut Report) {
    for key in ["namespace", "connection-namespace"] {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, "the actions run in their order on the one board");
        }
    }
    for (key, why) in [
        ("failure_retry", "what fails on the way to a test is tried again by itself"),
        ("failure_retry_interval", "what fails on the way to a test is tried again by itself"),
        ("os", "the image's own /etc/os-release is asked"),
        ("authorize", "nobody logs in"),
    ] {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, why);
        }
    }
    if let Some(field) = keys.take("protocols") {
        super::requests::of_action(field, round, report);
    }
    // Read where the roles are known.
    let _ = keys.take("role");
}

fn network(to: &Field, keys: &mut Keys, rounds: &mut Rounds, report: &mut Report) {
    report.mapped(to, "deploy onto the board's partitions, over the serial line");
    let mut has_rootfs = false;
    for (key, ours) in [
        ("kernel", "kernel"),
        ("dtb", "dtb"),
        ("nfsrootfs", "rootfs"),
        ("nbdroot", "rootfs"),
        ("rootfs", "rootfs"),
    ] {
        if let Some(field) = keys.take(key) {
            has_rootfs |= ours == "rootfs";
            put(field, ours, rounds, report);
        }
    }
    if let Some(field) = keys.take_any(&["ramdisk", "initrd"]) {
        // With a root file system beside it, it is what the kernel begins with; alone it is the root file system.
        put(field, if has_rootfs { "ramdisk" } else { "rootfs" }, rounds, report);
    }
    if let Some(field) = keys.take("persistent_nfs") {
        report.unsupported(&field, "no root file system comes by NFS: deploy it as nfsrootfs:");
    }
    if let Some(field) = keys.take("modules") {
        put(field, "modules", rounds, report);
    }
    if let Some(field) = keys.take("preseed") {
        report.unsupported(&field, "no installer runs: deploy what it installs as an image");
    }
    for key in ["tee", "dtbo", "firmware", "extra_files"] {
        if let Some(field) = keys.take(key) {
            report.unsupported(&field, BOOT_FILES);
        }
    }
    if let Some(field) = keys.take("images") {
        named(field, rounds, report);
    }
    let deploy = &rounds.now().deploy;
    if deploy.get("modules").is_some() && deploy.get("rootfs").is_none() {
        report.unsupported(
            to,
            "modules are laid over a root file system: deploy one as nfsrootfs or ramdisk",
        );
    }
}

fn medium(to: &Field, keys: &mut Keys, rounds: &mut Rounds, report: &mut Report) {
    report.mapped(to, "deploy: partitions of the disk image onto testboot and testrootfs");
    if let Some(field) = keys.take("image") {
        put(field, "disk", rounds, report);
    }
    if let Some(field) = keys.take("images") {
        named(field, rounds, report);
    }
    for key in ["download", "writer", "tool"] {
        if let Some(field) = keys.take(key) {
            report.ignored(
                &field,
                "the master agent writes, and sends only what the partition lacks",
            );
        }
    }
    if let Some(field) = keys.take("device") {
        report.ignored(
            &field,
            "the board's partitions testboot and testrootfs are the only ones written",
        );
    }
    if let Some(field) = keys.take("uniquify") {
        report.ignored(&field, "images do not share names here");
    }
}

fn images(to: &Field, keys: &mut Keys, rounds: &mut Rounds, report: &mut Report) {
    report.mapped(to, "deploy onto the board's partitions, over the serial line");
    match keys.take("images") {
        Some(field) => named(field, rounds, report),
        None => report.missing(keys.at, &keys.path_of("images"), "images: {rootfs: {url: …}}"),
    }
    for key in ["connect", "connection", "docker"] {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, "no program of another host is needed");
        }
    }
    for key in ["uefi", "type"] {
        if let Some(field) = keys.take(key) {
            report.unsupported(&field, "firmware stands in the board type (connection.exec)");
        }
    }
}

/// Images by names, of which each device type has its own; those that say what they are.
fn named(field: Field, rounds: &mut Rounds, report: &mut Report) {
    for (name, field) in field.keys(report).rest() {
        let ours = match name.as_str() {
            "image" | "disk" | "disk1" | "emmc" | "wic" | "sdcard" => "disk",
            "rootfs" | "nfsrootfs" | "system" => "rootfs",
            "kernel" => "kernel",
            "dtb" => "dtb",
            "ramdisk" | "initrd" => "ramdisk",
            "boot" if field.is_map() => "boot",
            "bmap" => {
                report.ignored(&field, "only what the partition lacks is sent; without the map, what it leaves out is zeros");
                continue;
            }
            _ => {
                report.unsupported(
                    &field,
                    "nobody knows which partition that is for: call it rootfs, boot, image, kernel, ramdisk or dtb, or leave it out",
                );
                continue;
            }
        };
        put(field, ours, rounds, report);
    }
}

fn downloads(to: &Field, keys: &mut Keys, rounds: &mut Rounds, report: &mut Report) {
    report.mapped(to, "files for the deploys behind it (downloads://)");
    if let Some(field) = keys.take("images") {
        for (name, field) in field.keys(report).rest() {
            if let Some(artifact) = artifact::read(field, "its deploy", rounds, report)
                && rounds.downloads.len() < DOWNLOADS_MAX
            {
                rounds.downloads.insert(name, artifact);
            }
        }
    }
    if let Some(field) = keys.take("postprocess") {
        report.unsupported(
            &field,
            "nothing is made of images: make it before, and name what came of it",
        );
    }
}

/// Reads a file and puts it into the round's deploy.
fn put(field: Field, ours: &'static str, rounds: &mut Rounds, report: &mut Report) {
    let whole = field.clone();
    let Some(artifact) = artifact::read(field, &format!("deploy.{ours}"), rounds, report) else {
        return;
    };
    let deploy = &mut rounds.now().deploy;
    if deploy.get(ours).is_some() {
        return report.unsupported(
            &whole,
            format!("deploy.{ours} has an image already: leave one of them out"),
        );
    }
    for (one, other) in EITHER {
        let rival = if ours == one { other } else { one };
        if (ours == one || ours == other) && deploy.get(rival).is_some() {
            let mend =
                format!("deploy has {rival} already, which is in its place: leave one of them out");
            return report.unsupported(&whole, mend);
        }
    }
    write(deploy, ours, &artifact);
}

fn write(deploy: &mut Map, ours: &str, artifact: &Artifact) {
    if let Some(url) = artifact.get("url") {
        deploy.set(ours, url.clone());
    }
    for digest in ["sha256", "sha512", "md5"] {
        if let Some(value) = artifact.get(digest) {
            deploy.set(&format!("{ours}_{digest}"), value.clone());
        }
    }
    if let Some(overlays) = artifact.get("overlays") {
        deploy.set("overlays", overlays.clone());
    }
}

const BOOT_FILES: &str =
    "testboot gets a kernel, a ramdisk and a device tree: give an image of the partition as boot:";
/// Images of which a job of ours has one or the other.
const EITHER: [(&str, &str); 3] = [("boot", "kernel"), ("disk", "rootfs"), ("disk", "boot")];
const DOWNLOADS_MAX: usize = 64;
