//! `boot`: how the image under test is booted, of which the board type knows most.

use super::super::report::Report;
use super::super::tree::{Field, Keys, Value};
use super::boot_commands;
use super::deploy::common;
use super::round::Round;
use super::timeout::{Action, Timeouts};

/// Reads one into the round. Returns how often the board is to be restarted for it.
pub(super) fn read(
    field: Field,
    round: &mut Round,
    timeouts: &Timeouts,
    report: &mut Report,
) -> u64 {
    let is_again = round.boots > 0;
    let mut keys = field.keys(report);
    let at = keys.at;
    let period = timeouts.of_action(&mut keys, Action::Boot, report);
    common(&mut keys, round, report);
    let named = match keys.take("method") {
        Some(field) => method(&field, is_again, report),
        None => {
            report.missing(at, &keys.path_of("method"), "method: u-boot");
            None
        }
    };
    let named = named.as_deref().unwrap_or_default();
    round.is_in_boot_loader = named == "bootloader";
    round.boots += u32::from(!round.is_in_boot_loader);
    let has_prompt = !["fastboot", "uuu"].contains(&named);
    commands(&mut keys, round, has_prompt, is_again, report);
    for (key, why) in IGNORED {
        if let Some(field) = keys.take(key) {
            report.ignored(&field, why);
        }
    }
    if let Some(field) = keys.take("auto_login") {
        auto_login(field, report);
    }
    if let Some(field) = keys.take("docker") {
        report.ignored(&field, "the emulator runs on the dispatcher's host");
    }
    let repeat = keys.take("repeat").and_then(|field| {
        let count = field.number(report)?;
        report.mapped(&field, "a test restart for each time behind the first");
        Some(count)
    });
    keys.end(report);
    round.deadline(Action::Boot, period);
    if round.is_in_boot_loader {
        return 0;
    }
    let boots = repeat.unwrap_or(1).clamp(1, REPEATS_MAX);
    if is_again { boots } else { boots - 1 }
}

fn method(field: &Field, is_again: bool, report: &mut Report) -> Option<String> {
    let method = field.text(report)?;
    match method.as_str() {
        "bootloader" if is_again => report.unsupported(
            field,
            "a boot loader is tested before its image boots: move this boot and its test before the first one",
        ),
        "bootloader" => report.mapped(field, "boot_loader_tests: the board waits at the prompt"),
        _ if is_again && KNOWN.contains(&method.as_str()) => {
            report.mapped(field, "a test that restarts the board (reboot -f, expect: reboot)");
        }
        "minimal" | "qemu" | "qemu-nfs" | "u-boot" | "barebox" | "grub" | "grub-efi" | "ipxe"
        | "depthcharge" | "uefi" | "uefi-menu" | "fastboot" | "uuu" => {
            report.ignored(field, "the board type knows how its image under test is booted");
        }
        _ => report.unsupported(
            field,
            format!(
                "{} boots no image of the partition testrootfs: leave the action out",
                crate::config::value::shorten(&method)
            ),
        ),
    }
    Some(method)
}

/// Names of LAVA's templates, or commands to be typed.
fn commands(
    keys: &mut Keys,
    round: &mut Round,
    has_prompt: bool,
    is_again: bool,
    report: &mut Report,
) {
    let Some(field) = keys.take("commands") else { return };
    if !has_prompt || !matches!(field.value, Value::List(_)) {
        return report.ignored(&field, "the board type has the commands that boot its partitions");
    }
    let whole = Field { value: Value::Null, ..field.clone() };
    let typed = boot_commands::read(field, report);
    if !is_again {
        round.typed = typed;
    } else if typed != round.typed {
        report.unsupported(
            &whole,
            "a second boot types what the first one did: make a job of it with a deploy of its own",
        );
    }
}

fn auto_login(field: Field, report: &mut Report) {
    let mut keys = field.clone().keys(report);
    for key in ["login_prompt", "username", "password_prompt", "password"] {
        let _ = keys.take(key);
    }
    if let Some(field) = keys.take("login_commands") {
        report.ignored(
            &field,
            "tests run as root; what else they need belongs into a step of a test",
        );
    }
    keys.end(report);
    report.ignored(&field, "nobody logs in: the agent runs the tests");
}

const IGNORED: [(&str, &str); 14] = [
    ("bootloader", "the board type has its boot loader"),
    ("prompts", "no prompt is waited for"),
    ("transfer_overlay", "the agent carries what tests need over the line"),
    ("parameters", "the board type has the texts of its boot"),
    ("soft_reboot", "the board is power cycled, or its agent restarts it"),
    ("reset", "a job begins with the board off"),
    ("use_bootscript", "the commands are typed, checked by their echo"),
    ("media", "the image lies on testrootfs"),
    ("connection", "the lab has the board's connection"),
    (
        "ignore_kernel_messages",
        "the kernel's reports are recorded: kernel: says which of them matter",
    ),
    ("boot_finished", "the boot is over when the agent answers"),
    ("expect_shell", "no shell is needed"),
    ("pre_power_command", "the lab's power: says how the board is switched"),
    ("pre_os_command", "the lab's power: says how the board is switched"),
];
const KNOWN: [&str; 7] =
    ["minimal", "qemu", "u-boot", "barebox", "grub", "grub-efi", "depthcharge"];
/// A list of restarts beyond that is no job that somebody meant.
const REPEATS_MAX: u64 = 100;
