//! The boot loaders that are known, and what each says and wants when a board type does not say otherwise.

use serde::Deserialize;

/// Which program a boot loader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootLoaderKind {
    /// Das U-Boot.
    UBoot,
    /// barebox.
    Barebox,
    /// GNU GRUB, whose menu and command line are on the serial line.
    Grub,
    /// Any other: the board type says everything.
    Other,
}

/// How it is known whether a command succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// By `; echo …$?` behind it.
    Asked,
    /// By none of the error texts in its answer.
    NotAsked,
}

/// Whether what is typed comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Echo {
    /// It does: the line end follows when the whole command has come back as it was typed.
    Checked,
    /// It does not, or not so that it could be compared.
    None,
}

/// What is taken where the board type says nothing; `None` where it has to say something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) banner: Option<&'static str>,
    pub(super) autoboot: Option<&'static str>,
    pub(super) interrupt: Option<&'static str>,
    pub(super) prompt: Option<&'static str>,
    pub(super) errors: &'static [&'static str],
    pub(super) line_end: &'static str,
    pub(super) cancel: &'static str,
    pub(super) status: Status,
}

impl BootLoaderKind {
    /// What is taken where the board type says nothing.
    pub(super) fn defaults(self) -> Defaults {
        match self {
            // common/autoboot.c; CONFIG_SYS_PROMPT's default; common/cli_hush.c or cli_simple.c for an unknown command.
            Self::UBoot => Defaults {
                banner: Some("U-Boot "),
                autoboot: Some("Hit any key to stop autoboot"),
                interrupt: Some(" "),
                prompt: Some("=> "),
                errors: &["Unknown command"],
                line_end: "\n",
                cancel: CTRL_C,
                status: Status::Asked,
            },
            // common/startup.c: "Hit any to stop autoboot" and "Hit m for menu or any to stop autoboot", in older ones "Hit any
            // key to stop autoboot"; with global.autoboot_abort_key=ctrl-c only that key counts, and it counts always. The
            // prompt names the board. A command that does not exist or fails has a status.
            Self::Barebox => Defaults {
                banner: Some("barebox 20"),
                autoboot: Some("to stop autoboot"),
                interrupt: Some(CTRL_C),
                prompt: None,
                errors: &[],
                line_end: "\n",
                cancel: CTRL_C,
                status: Status::Asked,
            },
            // GRUB 2.06: normal/main.c, normal/menu_text.c. `$?` is set, but stays 0 for a command that does not exist.
            // Ctrl-U empties the line, and an empty line brings a new prompt.
            Self::Grub => Defaults {
                banner: Some("Welcome to GRUB!"),
                autoboot: Some("Press enter to boot the selected OS"),
                interrupt: Some("c"),
                prompt: Some("grub> "),
                errors: &["error: "],
                line_end: "\r",
                cancel: "\x15\r",
                status: Status::Asked,
            },
            Self::Other => Defaults {
                banner: None,
                autoboot: None,
                interrupt: None,
                prompt: None,
                errors: &[],
                line_end: "\n",
                cancel: CTRL_C,
                status: Status::NotAsked,
            },
        }
    }

    /// As it is written in a file.
    pub fn word(self) -> &'static str {
        match self {
            Self::UBoot => "u-boot",
            Self::Barebox => "barebox",
            Self::Grub => "grub",
            Self::Other => "other",
        }
    }
}

const CTRL_C: &str = "\x03";
