//! `pumice revive`: an agent on a board whose disk holds nothing that boots, and an image for that disk.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;

use super::hands_on::{claim, deployer, fail, narrator};
use crate::board::{Goal, Slot, Upload};
use crate::cli::{Global, ReviveArgs};
use crate::config::boot_loader::BootFrom;
use crate::config::lab::{self, BoardWish};
use crate::config::revive::Part;
use crate::config::value::visible_path;
use crate::image::stored::Wanted;
use crate::image::take::ImageSource;
use crate::script::deploy::Place;
use crate::script::revive::Revival;
use crate::script::{Bench, Fault};
use agent_core::time::Duration;

/// Revives a board; with an image its disk is mended, and the board boots from it again.
pub fn revive(global: &Global, args: &ReviveArgs) -> u8 {
    match try_revive(global, args) {
        Ok(()) => 0,
        Err(fault) => fail(&fault),
    }
}

fn try_revive(global: &Global, args: &ReviveArgs) -> Result<(), Fault> {
    let mut claimed = claim(global, &BoardWish::named(&args.board))?;
    let board = claimed.board.clone();
    let image = image(args);
    let is_ours = claimed.is_ours();
    if is_ours && image.is_none() {
        return Err(Fault::job(format!(
            "the power of {} ends with this program, and what was revived with it: add --master IMAGE or --card IMAGE",
            board.name
        )));
    }
    let revival = revival(&board, args)?;
    let deployer = deployer(global, &board);
    tell_what_it_takes(&board, &revival);
    claimed.drive(narrator(), async |bench| {
        let action = "revive";
        bench.action(action, bench.revive(action, revival)).await?;
        if let Some((place, wanted)) = image {
            let action = format!("deploy {place}");
            let work = bench.deploy(&deployer, &action, Place::partition(place), &wanted);
            bench.cancelable(bench.action(&action, work)).await?;
            bench.cancelable(bench.action("boot master", boot_master(bench, &board))).await?;
        }
        if is_ours {
            bench.shut_down().await;
        }
        Ok(())
    })?
}

/// The image for the disk, and what the agent in memory calls its place.
fn image(args: &ReviveArgs) -> Option<(&'static str, Wanted)> {
    let source = |text: &str| ImageSource::of_text(text, "master");
    let (place, source) = match (&args.master, &args.card) {
        (Some(image), _) => (REVIVED, source(image)),
        (None, Some(image)) => (CARD, ImageSource { is_whole: true, ..source(image) }),
        (None, None) => return None,
    };
    Some((place, Wanted::Source(Box::new(source))))
}

/// Boots what the disk holds now.
async fn boot_master(bench: &Bench, board: &lab::Board) -> Result<(), Fault> {
    let script = board.board_type.boot_script(Slot::Master, BootFrom::Master, &board.name, "");
    let script = script.map_err(|error| Fault::configuration(error.to_string()))?;
    bench.board(|board, _| board.set_boot_script(Slot::Master, script));
    bench.reach(Goal::BootLoader).await?;
    bench.reach(Goal::Up(Slot::Master)).await
}

/// What the board type says, with the files that were named.
fn revival(board: &lab::Board, args: &ReviveArgs) -> Result<Revival, Fault> {
    let board_type = &board.board_type;
    let script = board_type.revive_script(&board.name);
    let script = script.map_err(|error| Fault::configuration(error.to_string()))?;
    if script.is_empty() {
        return Err(Fault::configuration(format!(
            "the board type {} does not say how its boards are revived: add revive to the commands of its boot_loader, \
             as `pumice board-types show u-boot` has it",
            board_type.name
        )));
    }
    let given =
        [(Part::Kernel, &args.kernel), (Part::Initrd, &args.initrd), (Part::Dtb, &args.dtb)];
    let mut uploads = Vec::new();
    for (command, (_, part)) in script.iter().enumerate() {
        let Some(part) = part else { continue };
        let path = given.iter().find(|(is, _)| is == part).and_then(|(_, path)| path.as_ref());
        let path = path.ok_or_else(|| {
            let (name, word) = (&board_type.name, part.word());
            Fault::job(format!("the board type {name} sends its {word}: add --{word} FILE"))
        })?;
        uploads.push(Upload { command, name: part.word().to_owned(), content: read(path)? });
    }
    for (part, _) in given.iter().filter(|(_, path)| path.is_some()) {
        if !uploads.iter().any(|upload| upload.name == part.word()) {
            let (name, word) = (&board_type.name, part.word());
            return Err(Fault::job(format!(
                "the board type {name} sends no {word}: take --{word} out"
            )));
        }
    }
    let baud = board.connection.baud().unwrap_or(board_type.line.baud);
    let wanted = board_type.boot.as_ref().and_then(|boot| boot.loader.revive_baud);
    // Of two lines the agent's is the one whose speed changes.
    let can_change = board.connection.can_change_baud() && board.agent_connection.is_none();
    let fast_baud = wanted.filter(|wanted| can_change && *wanted != baud);
    let commands = script.into_iter().map(|(command, _)| command).collect();
    Ok(Revival { commands, uploads, baud, fast_baud })
}

/// For whoever waits: it may be long.
fn tell_what_it_takes(board: &lab::Board, revival: &Revival) {
    let mut err = std::io::stderr().lock();
    for upload in &revival.uploads {
        let bytes = upload.content.len() as u64;
        let (name, takes) = (&upload.name, in_words(revival.takes(bytes)));
        let _ = writeln!(err, "{name}: {}, about {takes}", HumanBytes(bytes));
    }
    let total = revival.bytes();
    let (bytes, takes) = (HumanBytes(total), in_words(revival.takes(total)));
    let baud = revival.fast_baud.unwrap_or(revival.baud);
    let _ = writeln!(err, "in all {bytes} go over the line: about {takes} at {baud} baud");
    let wanted = board.board_type.boot.as_ref().and_then(|boot| boot.loader.revive_baud);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != baud) {
        let _ = writeln!(
            err,
            "revive_baud: {wanted} of the board type is not used: the speed of a serial: or rfc2217: connection can be changed, \
             where the agent has none of its own"
        );
    }
}

fn in_words(period: Duration) -> String {
    let seconds = period.as_millis_ceil().div_ceil(1000);
    if seconds < 100 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

fn read(path: &Path) -> Result<Arc<[u8]>, Fault> {
    let shown = visible_path(path);
    let bytes = std::fs::metadata(path).map(|metadata| metadata.len());
    if bytes.is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        let limit = FILE_BYTES_MAX >> 20;
        return Err(Fault::job(format!(
            "{shown} is too large for a serial line: {limit} MiB at most"
        )));
    }
    let content = std::fs::read(path)
        .map_err(|error| Fault::job(format!("{shown} cannot be read: {error}")))?;
    if content.is_empty() {
        return Err(Fault::job(format!("{shown} is empty")));
    }
    Ok(content.into())
}

/// An hour and a half at 115200 baud; whoever needs more has not a small kernel.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// What an agent in a revived board's memory calls the partition of the master image: no agent ever writes `master`,
/// which may be its own.
const REVIVED: &str = "revived";
/// ... and the whole disk.
const CARD: &str = "card";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wait_is_in_their_words() {
        for (seconds, words) in [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
