//! Lists of commands that a job types at a boot loader: of each, what it is for here.
//!
//! They load and start a kernel from where LAVA put it, which the board type's commands do here. What a job wants beside
//! that is worth keeping: arguments for the kernel, and settings before the boot.

use super::super::report::Report;
use super::super::tree::Field;
use crate::config::template::{Allowed, InBootLoader, Template, braced};
use crate::job::boot::kernel_args_problem;

/// What of a list matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    /// For the kernel under test.
    pub(super) kernel_args: Vec<String>,
    /// To be typed before the board type's commands.
    pub(super) before: Vec<String>,
}

/// What a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    /// It has these arguments for the kernel.
    KernelArgs(Vec<String>),
    /// It changes something before the boot.
    Setting(String),
    /// The board type does it, or nobody needs it.
    Ignored(&'static str),
    Unsupported(&'static str),
}

/// Reads a list.
pub(super) fn read(field: Field, report: &mut Report) -> Typed {
    let mut typed = Typed::default();
    if field.clone().items().is_empty() {
        report.ignored(&field, LOADS);
    }
    for item in field.list(report) {
        let Some(text) = item.text(report) else { continue };
        let mut purposes: Vec<Purpose> = parts(&text).into_iter().map(purpose).collect();
        if purposes.is_empty() {
            purposes.push(Purpose::Ignored("nothing is typed by it"));
        }
        tell(&item, &purposes, report);
        for purpose in purposes {
            match purpose {
                Purpose::KernelArgs(args) => typed.kernel_args.extend(args),
                Purpose::Setting(command) => typed.before.push(command),
                Purpose::Ignored(_) | Purpose::Unsupported(_) => {}
            }
        }
    }
    typed
}

/// One word on an item, of which each command may be for something else.
fn tell(item: &Field, purposes: &[Purpose], report: &mut Report) {
    let mut mapped: Vec<String> = Vec::new();
    let mut ignored = None;
    for purpose in purposes {
        match purpose {
            Purpose::Unsupported(mend) => return report.unsupported(item, *mend),
            Purpose::KernelArgs(args) if args.is_empty() => ignored = Some(ARGS),
            Purpose::KernelArgs(args) => mapped.push(format!("kernel_args: {}", args.join(" "))),
            Purpose::Setting(command) => mapped.push(format!("preboot: {command}")),
            Purpose::Ignored(why) => ignored = Some(*why),
        }
    }
    match ignored {
        Some(why) if mapped.is_empty() => report.ignored(item, why),
        _ => report.mapped(item, mapped.join("; ")),
    }
}

/// The commands of a line: between `;` that stand in no quotes.
fn parts(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut quote) = (0, None);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, ';') => {
                parts.push(&line[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[begin..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn purpose(command: &str) -> Purpose {
    let (word, rest) = split(command);
    let (second, behind_second) = split(rest);
    match word {
        "setenv" if second == "bootargs" => kernel_args(behind_second),
        "setenv" if is_of_loading(second) => Purpose::Ignored(LOADS),
        // GRUB's: a kernel, then its arguments.
        "linux" | "linux16" | "linuxefi" | "xen_hypervisor" => kernel_args(behind_second),
        // barebox has a variable for each part of them.
        _ if bootargs_of_barebox(command).is_some() => {
            kernel_args(bootargs_of_barebox(command).unwrap_or_default())
        }
        "global" if second.starts_with("bootm.") => Purpose::Ignored(LOADS),
        "run" if second.contains("boot") || second.starts_with("load") => Purpose::Ignored(LOADS),
        "fdt" => Purpose::Unsupported(
            "the device tree is not loaded yet when preboot is typed: write boot_commands into the job of ours",
        ),
        "usb" | "mmc" | "sata" | "scsi" | "nvme" | "ide" if is_of_disk(second) => {
            Purpose::Ignored(LOADS)
        }
        _ if LOADERS.contains(&word)
            || LOADERS_BEGIN.iter().any(|begin| word.starts_with(begin)) =>
        {
            Purpose::Ignored(LOADS)
        }
        _ if has_place(command) => Purpose::Unsupported(
            "nobody fills in places of LAVA's such as {SERVER_IP}: write what is meant as preboot into the job of ours",
        ),
        _ => match Template::parse(command, InBootLoader::ALLOWED) {
            Ok(_) => Purpose::Setting(command.to_owned()),
            Err(_) => {
                Purpose::Unsupported("a lower-case word in braces is a place to be filled in here")
            }
        },
    }
}

/// What of the kernel's arguments the board type does not say.
fn kernel_args(text: &str) -> Purpose {
    let text = text.trim().trim_matches(['"', '\'']);
    let own = |word: &&str| {
        let name = word.split('=').next().unwrap_or_default();
        !ARGS_OF_BOARD_TYPES.contains(&name) && !is_variable(word)
    };
    let args: Vec<String> = text.split_whitespace().filter(own).map(str::to_owned).collect();
    match kernel_args_problem(&args.join(" ")) {
        Some(_) => Purpose::Unsupported(
            "no boot loader takes them as they are: write kernel_args into the job of ours",
        ),
        None => Purpose::KernelArgs(args),
    }
}

/// `global.linux.bootargs.base="…"`, or `global linux.bootargs.base=…`.
fn bootargs_of_barebox(command: &str) -> Option<&str> {
    let rest = command.strip_prefix("global")?.trim_start_matches([' ', '.']);
    let (_, value) = rest.strip_prefix("linux.bootargs.")?.split_once('=')?;
    Some(value)
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A variable of the boot loader, or a place of LAVA's.
fn is_variable(word: &str) -> bool {
    word.contains('$') || has_place(word)
}

/// Whether there is `{NAME}` that is none of the boot loader's `${NAME}`.
fn has_place(text: &str) -> bool {
    braced(text).any(|name| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    })
}

/// Variables of U-Boot that say where a kernel comes from.
fn is_of_loading(variable: &str) -> bool {
    variable.starts_with("load")
        || variable.ends_with("_high")
        || variable.ends_with("_addr")
        || variable.ends_with("_addr_r")
        || VARIABLES.contains(&variable)
}

fn is_of_disk(word: &str) -> bool {
    ["start", "reset", "rescan", "scan", "init", "dev", "part", "info", "stop"].contains(&word)
}

const LOADS: &str = "the board type has the commands that load and start its kernel";
const ARGS: &str = "the board type says what its kernel needs";
const VARIABLES: [&str; 15] = [
    "autoload",
    "serverip",
    "ipaddr",
    "netmask",
    "gatewayip",
    "netretry",
    "bootfile",
    "bootcmd",
    "bootdelay",
    "fdtfile",
    "rootpath",
    "kernel",
    "initrd",
    "fdt",
    "console",
];
const LOADERS: [&str; 29] = [
    "dhcp",
    "bootp",
    "nfs",
    "load",
    "fatload",
    "sysboot",
    "pxe",
    "ping",
    "boot",
    "bootd",
    "go",
    "reset",
    "source",
    "iminfo",
    "ums",
    "fastboot",
    "ifup",
    "ifconfig",
    "mount",
    "cp",
    "insmod",
    "set",
    "initrd",
    "initrd16",
    "initrdefi",
    "devicetree",
    "search",
    "loadb",
    "loady",
];
const LOADERS_BEGIN: [&str; 7] = ["tftp", "bootm", "bootz", "booti", "ext2", "ext4", "net_"];
/// How the root file system is found and the console is reached, and who is init.
const ARGS_OF_BOARD_TYPES: [&str; 15] = [
    "console",
    "root",
    "rootfstype",
    "rootflags",
    "rootwait",
    "rootdelay",
    "rw",
    "ro",
    "ip",
    "nfsroot",
    "nfsrootdebug",
    "init",
    "initrd",
    "earlycon",
    "earlyprintk",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_purpose() {
        let args =
            |text: &str| Purpose::KernelArgs(text.split_whitespace().map(str::to_owned).collect());
        let setting = |text: &str| Purpose::Setting(text.to_owned());
        for (command, expected) in [
            (
                "setenv bootargs 'console=ttyS0,115200 root=/dev/nfs rw quiet ${extra} loglevel=7'",
                args("quiet loglevel=7"),
            ),
            (
                "linux (tftp,{SERVER_IP})/{KERNEL} root=/dev/sda2 ro mitigations=off",
                args("mitigations=off"),
            ),
            ("global.linux.bootargs.base=\"console=ttymxc1 ip=dhcp nohlt\"", args("nohlt")),
            ("global linux.bootargs.x=audit=0", args("audit=0")),
            ("setenv bootargs init=/bin/x", args("")),
            ("setenv bootargs 'a`b'", Purpose::Unsupported("")),
            ("setenv serverip {SERVER_IP}", Purpose::Ignored(LOADS)),
            ("setenv loadkernel 'tftp {KERNEL_ADDR} {KERNEL}'", Purpose::Ignored(LOADS)),
            ("tftpboot {KERNEL_ADDR} {KERNEL}", Purpose::Ignored(LOADS)),
            ("run loadkernel", Purpose::Ignored(LOADS)),
            ("mmc dev 1", Purpose::Ignored(LOADS)),
            ("bootz {KERNEL_ADDR} - {DTB_ADDR}", Purpose::Ignored(LOADS)),
            ("setenv ethaddr 00:11:22:33:44:55", setting("setenv ethaddr 00:11:22:33:44:55")),
            ("mw.l 0x44e10800 7", setting("mw.l 0x44e10800 7")),
            ("run findfdt", setting("run findfdt")),
            ("echo ${board} {run}", setting("echo ${board} {run}")),
            ("mmc partconf 1 1 1 0", setting("mmc partconf 1 1 1 0")),
            ("fdt set /leds status okay", Purpose::Unsupported("")),
            ("setenv tag {DEVICE_TYPE}", Purpose::Unsupported("")),
            ("echo {word}", Purpose::Unsupported("")),
        ] {
            let found = match purpose(command) {
                Purpose::Unsupported(_) => Purpose::Unsupported(""),
                found => found,
            };
            assert_eq!(found, expected, "{command}");
        }
    }

    #[test]
    fn a_line_may_have_several() {
        assert_eq!(parts("setenv a 'b;c'; dhcp;; boot"), ["setenv a 'b;c'", "dhcp", "boot"]);
        assert!(parts(" ; ").is_empty());
    }
}
