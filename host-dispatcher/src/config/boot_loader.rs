//! How a boot loader is talked to: the last place where text on the line is matched.
//!
//! Owns the texts to wait for and the commands to type, as a board type gives them. What is typed when is the board's
//! business.

use std::fmt;
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::boot_kind::{BootLoaderKind, Echo, Status};
use super::revive::{self, Part, ReviveStep};
use super::template::{InBootLoader, InKernelArgs, NoValue, Placeholder, Template, TextIn, Values};
use super::value::{Period, shorten};
use crate::job::event::Slot;

/// A boot loader's prompt and what to type there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootLoader {
    /// Which program it is.
    pub kind: BootLoaderKind,
    /// The text that shows that it began.
    pub banner: String,
    /// The text during which a key stops the automatic boot.
    pub autoboot: String,
    /// What to type then.
    pub interrupt: String,
    /// The text that shows that it waits for a command.
    pub prompt: String,
    /// A menu that stands between the automatic boot and the prompt, if there is one.
    pub menu: Option<Menu>,
    /// Texts that end the wait for a prompt or a kernel at once: the boot will not succeed.
    pub errors: Vec<String>,
    /// What ends a command.
    pub line_end: String,
    /// What throws away a command that was not ended, and brings a new prompt.
    pub cancel: String,
    /// How it is known whether a command succeeded.
    pub status: Status,
    /// Whether what is typed comes back.
    pub echo: Echo,
    /// The pause after each character typed, for boot loaders whose UART has no FIFO.
    pub character_delay: Option<Duration>,
    /// What to type to boot, by slot. The last command starts the kernel and has no prompt after it.
    pub commands: BySlot<Vec<Template>>,
    /// The same to boot what is sent over the line; empty where that is not known.
    pub revive: Vec<ReviveStep>,
    /// The rate to which the line is turned for what is sent, by a number behind the command that receives it.
    pub revive_baud: Option<u32>,
}

/// A menu, and how it is left for the prompt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Menu {
    /// The text that shows that it is there.
    pub text: String,
    /// What to type then.
    pub keys: String,
}

/// One value for the master image, one for the test image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BySlot<T> {
    /// For the master image.
    pub master: T,
    /// For the test image.
    pub test: T,
}

/// The partitions of a board's disk, by number, counted from 1 as boot loaders do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partitions {
    /// The master image.
    pub master: u32,
    /// Kernel and boot files of the test image, where they are not in `testrootfs`.
    pub testboot: u32,
    /// The root file system of the test image.
    pub testrootfs: u32,
}

/// Where the kernel is loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootFrom {
    /// `/boot` of the master image.
    Master,
    /// The top folder of the partition `testboot`.
    TestBoot,
    /// `/boot` of the partition `testrootfs`.
    TestRootfs,
}

impl<T> BySlot<T> {
    /// The value for a slot.
    pub fn get(&self, slot: Slot) -> &T {
        match slot {
            Slot::Master => &self.master,
            Slot::Test => &self.test,
        }
    }

    fn map<U>(self, mut change: impl FnMut(T) -> U) -> BySlot<U> {
        BySlot { master: change(self.master), test: change(self.test) }
    }
}

impl BootLoader {
    /// The commands that boot `slot`, ready to type, in order. `board` and `run` fill `{board}` and `{run}`.
    ///
    /// # Errors
    /// A place for which there is no value.
    pub fn script(
        &self,
        slot: Slot,
        from: BootFrom,
        context: &BootContext<'_>,
    ) -> Result<Vec<String>, NoValue> {
        let values = context.values(slot, from)?;
        self.commands.get(slot).iter().map(|command| command.expand(&values)).collect()
    }

    /// The commands that boot what is sent over the line, and what each receives.
    ///
    /// # Errors
    /// A place for which there is no value.
    pub fn revive_script(
        &self,
        context: &BootContext<'_>,
    ) -> Result<Vec<(String, Option<Part>)>, NoValue> {
        let values = context.values(Slot::Master, BootFrom::Master)?;
        let expand = |step: &ReviveStep| Ok((step.command.expand(&values)?, step.sends));
        self.revive.iter().map(expand).collect()
    }
}

/// What [`BootLoader::script`] needs to know beside the boot loader.
#[derive(Clone, Copy, Debug)]
pub struct BootContext<'a> {
    /// The board's name.
    pub board: &'a str,
    /// The run's name.
    pub run: &'a str,
    /// The board type's partitions.
    pub partitions: Partitions,
    /// The board type's kernel arguments.
    pub kernel_args: &'a BySlot<Template>,
}

impl BySlot<Template> {
    /// The same kernel arguments, with more for the test image: before `--`, behind which stand those of its init.
    pub(super) fn with_test_args(&self, args: &str) -> Self {
        if args.is_empty() {
            return self.clone();
        }
        Self { master: self.master.clone(), test: self.test.with_text(" -- ", args) }
    }
}

impl BootContext<'_> {
    /// What the places in commands that boot `slot` stand for.
    ///
    /// # Errors
    /// A place in the kernel's arguments for which there is no value.
    pub(super) fn values(&self, slot: Slot, from: BootFrom) -> Result<Values, NoValue> {
        let partitions = self.partitions;
        let (boot_part, boot_dir) = match from {
            BootFrom::Master => (partitions.master, "/boot/"),
            BootFrom::TestBoot => (partitions.testboot, "/"),
            BootFrom::TestRootfs => (partitions.testrootfs, "/boot/"),
        };
        let rootfs_part = match slot {
            Slot::Master => partitions.master,
            Slot::Test => partitions.testrootfs,
        };
        let values = Values::new()
            .with(Placeholder::RootfsPart, rootfs_part.to_string())
            .with(Placeholder::Board, self.board)
            .with(Placeholder::Run, self.run);
        let bootargs = self.kernel_args.get(slot).expand(&values)?;
        Ok(values
            .with(Placeholder::BootPart, boot_part.to_string())
            .with(Placeholder::BootDir, boot_dir)
            .with(Placeholder::Bootargs, bootargs))
    }
}

/// A boot loader as it stands in a board type file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BootLoaderForm {
    kind: BootLoaderKind,
    banner: Option<String>,
    autoboot: Option<String>,
    interrupt: Option<String>,
    prompt: Option<String>,
    menu: Option<Menu>,
    errors: Option<Vec<String>>,
    line_end: Option<String>,
    cancel: Option<String>,
    status: Option<Status>,
    echo: Option<Echo>,
    character_delay: Option<Period>,
    commands: CommandsForm,
    revive_baud: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandsForm {
    master: Vec<TextIn<InBootLoader>>,
    test: Vec<TextIn<InBootLoader>>,
    #[serde(default)]
    revive: Vec<ReviveStep>,
}

/// `none`, or a map.
pub(super) enum BootLoaderOrNone {
    None,
    Some(Box<BootLoaderForm>),
}

impl<'de> Deserialize<'de> for BootLoaderOrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BootLoaderVisitor;

        impl<'de> Visitor<'de> for BootLoaderVisitor {
            type Value = BootLoaderOrNone;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("boot_loader: none or {kind: u-boot, …}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BootLoaderOrNone, E> {
                if text == "none" {
                    return Ok(BootLoaderOrNone::None);
                }
                Err(E::custom(format_args!(
                    "\"{}\" is no boot loader: write none, or {{kind: u-boot, prompt: …, commands: …}}",
                    shorten(text)
                )))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<BootLoaderOrNone, M::Error> {
                let form = BootLoaderForm::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(BootLoaderOrNone::Some(Box::new(form)))
            }
        }

        deserializer.deserialize_any(BootLoaderVisitor)
    }
}

/// `kernel_args` as it stands in a board type file.
pub(super) type KernelArgsForm = BySlot<TextIn<InKernelArgs>>;

impl BootLoaderForm {
    /// The checked boot loader, or the key that is wrong and why.
    pub(super) fn check(self) -> Result<BootLoader, (&'static str, String)> {
        let kind = self.kind;
        let defaults = kind.defaults();
        let given = |key, text: Option<String>, default: Option<&str>| {
            text.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
                (key, format!("missing, and kind: {} has none of its own", kind.word()))
            })
        };
        let banner = given("banner", self.banner, defaults.banner)?;
        let autoboot = given("autoboot", self.autoboot, defaults.autoboot)?;
        let interrupt = given("interrupt", self.interrupt, defaults.interrupt)?;
        let prompt = given("prompt", self.prompt, defaults.prompt)?;
        let menu_text = self.menu.as_ref().map(|menu| ("menu", &menu.text));
        let watched = [("banner", &banner), ("autoboot", &autoboot), ("prompt", &prompt)];
        for (key, text) in watched.into_iter().chain(menu_text) {
            if !(1..=WATCHED_BYTES_MAX).contains(&text.len()) {
                return Err((key, format!("a text of 1 to {WATCHED_BYTES_MAX} bytes is expected")));
            }
        }
        let line_end = self.line_end.unwrap_or_else(|| defaults.line_end.to_owned());
        if !["\n", "\r", "\r\n"].contains(&line_end.as_str()) {
            return Err(("line_end", r#""\n", "\r" or "\r\n" is expected"#.to_owned()));
        }
        let cancel = self.cancel.unwrap_or_else(|| defaults.cancel.to_owned());
        let menu_keys = self.menu.as_ref().map(|menu| ("menu", &menu.keys));
        for (key, keys) in
            [("interrupt", &interrupt), ("cancel", &cancel)].into_iter().chain(menu_keys)
        {
            if !(1..=KEYS_MAX).contains(&keys.len()) {
                return Err((key, format!("1 to {KEYS_MAX} keys are expected")));
            }
        }
        let errors = self
            .errors
            .unwrap_or_else(|| defaults.errors.iter().map(|text| (*text).to_owned()).collect());
        let few = errors.len() <= ERRORS_MAX;
        if !few || errors.iter().any(|text| !(1..=WATCHED_BYTES_MAX).contains(&text.len())) {
            return Err((
                "errors",
                format!(
                    "at most {ERRORS_MAX} texts of 1 to {WATCHED_BYTES_MAX} bytes are expected"
                ),
            ));
        }
        for commands in [&self.commands.master, &self.commands.test] {
            if !(1..=COMMANDS_MAX).contains(&commands.len()) {
                return Err((
                    "commands",
                    format!(
                        "1 to {COMMANDS_MAX} commands are expected for each of master and test"
                    ),
                ));
            }
        }
        revive::check(&self.commands.revive, self.revive_baud)?;
        let templates =
            |list: Vec<TextIn<InBootLoader>>| list.into_iter().map(|text| text.template).collect();
        Ok(BootLoader {
            kind,
            banner,
            autoboot,
            interrupt,
            prompt,
            menu: self.menu,
            errors,
            line_end,
            cancel,
            status: self.status.unwrap_or(defaults.status),
            echo: self.echo.unwrap_or(Echo::Checked),
            character_delay: self.character_delay.map(Period::duration),
            commands: BySlot {
                master: templates(self.commands.master),
                test: templates(self.commands.test),
            },
            revive: self.commands.revive,
            revive_baud: self.revive_baud,
        })
    }
}

pub(super) fn kernel_args(form: KernelArgsForm) -> BySlot<Template> {
    form.map(|text| text.template)
}

/// Texts to wait for are compared with the end of what has arrived; so much of it is kept.
pub const WATCHED_BYTES_MAX: usize = 128;
/// The longest way through a menu is some cursor keys of three bytes each; a word that stops an automatic boot is shorter.
const KEYS_MAX: usize = 64;
/// Each is searched in everything that arrives.
const ERRORS_MAX: usize = 32;
/// The longest boot scripts in LAVA's device types have about twenty.
pub const COMMANDS_MAX: usize = 64;
