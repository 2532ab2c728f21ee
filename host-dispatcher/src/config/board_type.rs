//! Board types: what all boards of one make have in common.
//!
//! Owns the form of a board type file. Guarantees that a [`BoardType`] with a boot loader, or whose agent chooses the next
//! image, also has the partitions and kernel arguments that its commands need.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::boot_loader::{
    self, BootContext, BootFrom, BootLoader, BootLoaderOrNone, BySlot, KernelArgsForm, Partitions,
};
use super::connection::Connection;
use super::connection_error::BAUDS;
use super::next_slot::{NextSlot, NextSlotForm};
use super::power::Power;
use super::revive::Part;
use super::shell::{self, Shell, ShellForm};
use super::template::{NoValue, OnHost, Placeholder, Template, TextIn};
use super::value::{Name, Period};
use super::yaml::{self, Examples, FileError, Spanned, place};
use crate::job::boot::BootWishes;
use crate::job::event::Slot;

/// What all boards of one make have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardType {
    /// The name that labs and jobs use.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// How the line is reached, where that comes with the type (an emulator).
    pub connection: Option<Connection>,
    /// The same of the agent's own line, where it has one.
    pub agent_connection: Option<Connection>,
    /// How the power is switched, where that comes with the type.
    pub power: Power,
    /// The files of an emulated board.
    pub emulator: Option<Emulator>,
    /// The line as the board sees it.
    pub line: Line,
    /// How to boot; nothing where an agent is at the line's other end already.
    pub boot: Option<Boot>,
    /// How the agent chooses the image that boots next, where there is no boot loader to type at.
    pub next_slot: Option<NextSlot>,
    /// The shell through which an agent is put there when none shows itself.
    pub shell: Option<Shell>,
    /// The text that shows that a kernel began.
    pub kernel_banner: String,
    /// Texts that show that a kernel died.
    pub panics: Vec<String>,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// The text that this was read from, for a dispatcher elsewhere that drives such a board.
    pub source: Arc<str>,
}

/// How a board is brought from its boot loader to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The boot loader.
    pub loader: BootLoader,
    /// The partitions that its commands load from.
    pub partitions: Partitions,
    /// What the kernels are told.
    pub kernel_args: BySlot<Template>,
}

/// The files of an emulated board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// The disk image that `{disk}` is an overlay of; never written to.
    pub disk_base: Template,
}

/// The line as the board sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The line's device on the board.
    #[serde(default = "default_console")]
    pub console: String,
    /// Its rate.
    #[serde(default = "default_baud")]
    pub baud: u32,
    /// How frames from the board are coded.
    #[serde(default = "default_coding")]
    pub coding: Coding,
}

/// How frames from the board are coded; `docs/protocol.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// Between and inside console text.
    TextSafe,
    /// On a line that carries nothing else.
    Binary,
}

/// How long each phase may take before the board is held to be stuck in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From power on to the boot loader's first text.
    pub boot_loader: Duration,
    /// From a command typed at the boot loader to its prompt.
    pub command: Duration,
    /// From the last command to the kernel's first text.
    pub kernel: Duration,
    /// From the kernel's first text to the agent's beacon.
    pub beacon: Duration,
}

impl BoardType {
    /// The board type in a text. `file` is the name to show in errors.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn from_str(file: &str, text: &str) -> Result<Self, FileError> {
        let form: Spanned<BoardTypeForm> = yaml::from_str(file, text, EXAMPLES)?;
        let whole = place(&form);
        let form = form.value;
        let layout = Layout {
            file,
            whole,
            partitions: form.partitions.map(|given| check_partitions(file, &given)).transpose()?,
            kernel_args: form.kernel_args.map(boot_loader::kernel_args),
        };
        let boot = boot_of(&layout, form.boot_loader)?;
        let next_slot = next_slot_of(&layout, form.next_slot, boot.is_some())?;
        if !BAUDS.contains(&form.line.value.baud) {
            let message = format!("{} is no rate of a line", form.line.value.baud);
            return Err(FileError::at(file, place(&form.line), message).mend("write baud: 115200"));
        }
        for text in form.panics.iter().flatten().chain(&form.kernel_banner) {
            if !(1..=boot_loader::WATCHED_BYTES_MAX).contains(&text.value.len()) {
                let message =
                    format!("a text of 1 to {} bytes is expected", boot_loader::WATCHED_BYTES_MAX);
                return Err(FileError::at(file, place(text), message));
            }
        }
        check_power(
            file,
            form.power.as_ref(),
            form.connection.as_ref().map(|connection| &connection.value),
        )?;
        check_disk(file, form.connection.as_ref(), form.emulator.is_some())?;
        if let Some(agents) = &form.agent_connection {
            let console = form.connection.as_ref().map(|connection| &connection.value);
            check_agent_connection(file, agents, console)?;
            check_disk(file, Some(agents), form.emulator.is_some())?;
        }
        let deadline =
            |given: Option<Period>, default: Duration| given.map_or(default, Period::duration);
        Ok(Self {
            name: form.name.as_str().to_owned(),
            description: form.description,
            connection: form.connection.map(|connection| connection.value),
            agent_connection: form.agent_connection.map(|connection| connection.value),
            power: form.power.map_or(Power::None, |power| power.value),
            emulator: form
                .emulator
                .map(|emulator| Emulator { disk_base: emulator.disk.base.template }),
            line: form.line.value,
            boot,
            next_slot,
            shell: form.shell.map(|form| shell::shell(file, form)).transpose()?,
            kernel_banner: form
                .kernel_banner
                .map_or_else(|| KERNEL_BANNER.into(), |banner| banner.value),
            panics: form.panics.map_or_else(
                || vec![KERNEL_PANIC.into()],
                |list| list.into_iter().map(|text| text.value).collect(),
            ),
            deadlines: Deadlines {
                boot_loader: deadline(form.deadlines.boot_loader, Deadlines::default().boot_loader),
                command: deadline(form.deadlines.command, Deadlines::default().command),
                kernel: deadline(form.deadlines.kernel, Deadlines::default().kernel),
                beacon: deadline(form.deadlines.beacon, Deadlines::default().beacon),
            },
            source: text.into(),
        })
    }

    /// The board type in a file.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let board_type = Self::from_str(&path.display().to_string(), &yaml::read(path)?)?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        Ok(Self { shell: board_type.shell.map(|shell| shell.within(base)), ..board_type })
    }

    /// The same board type, for a job with wishes of its own for the image under test.
    pub fn for_job(&self, wishes: &BootWishes) -> Self {
        let mut board_type = self.clone();
        if let Some(boot) = &mut board_type.boot {
            boot.kernel_args = boot.kernel_args.with_test_args(&wishes.kernel_args);
            if let Some(commands) = &wishes.commands {
                boot.loader.commands.test.clone_from(commands);
            }
            boot.loader.commands.test.splice(..0, wishes.preboot.iter().cloned());
        }
        if let Some(next_slot) = &mut board_type.next_slot {
            next_slot.kernel_args = next_slot.kernel_args.with_test_args(&wishes.kernel_args);
        }
        board_type
    }

    /// What to type at the boot loader, in order; nothing where there is none.
    ///
    /// # Errors
    /// A place in a command for which there is no value.
    pub fn boot_script(
        &self,
        slot: Slot,
        from: BootFrom,
        board: &str,
        run: &str,
    ) -> Result<Vec<String>, NoValue> {
        let Some(boot) = &self.boot else { return Ok(Vec::new()) };
        let context =
            BootContext { board, run, partitions: boot.partitions, kernel_args: &boot.kernel_args };
        boot.loader.script(slot, from, &context)
    }

    /// The commands that boot what is sent over the line, and what each receives; none where that is not known.
    ///
    /// # Errors
    /// A place in a command for which there is no value.
    pub fn revive_script(&self, board: &str) -> Result<Vec<(String, Option<Part>)>, NoValue> {
        let Some(boot) = &self.boot else { return Ok(Vec::new()) };
        let (partitions, kernel_args) = (boot.partitions, &boot.kernel_args);
        let context = BootContext { board, run: "", partitions, kernel_args };
        boot.loader.revive_script(&context)
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            boot_loader: Duration::from_secs(30),
            command: Duration::from_secs(60),
            kernel: Duration::from_secs(30),
            beacon: Duration::from_secs(90),
        }
    }
}

/// Refuses power that goes with a connection which has no child.
pub(super) fn check_power(
    file: &str,
    power: Option<&Spanned<Power>>,
    connection: Option<&Connection>,
) -> Result<(), FileError> {
    match power {
        Some(power)
            if power.value == Power::WithConnection
                && !matches!(connection, Some(Connection::Exec { .. })) =>
        {
            let message = "power: with-connection needs a connection that starts a child";
            Err(FileError::at(file, place(power), message)
                .mend("write connection: {exec: […]}, or power: {on: …, off: …}"))
        }
        _ => Ok(()),
    }
}

/// Refuses an agent's line that is the console's.
pub(super) fn check_agent_connection(
    file: &str,
    agents: &Spanned<Connection>,
    console: Option<&Connection>,
) -> Result<(), FileError> {
    if console.is_some_and(|console| console.is_same_line(&agents.value)) {
        let message = "agent_connection is the line of connection";
        return Err(FileError::at(file, place(agents), message)
            .mend("take it out, if the agent shares the console's line"));
    }
    Ok(())
}

fn check_disk(
    file: &str,
    connection: Option<&Spanned<Connection>>,
    has_disk: bool,
) -> Result<(), FileError> {
    let Some(connection) = connection else { return Ok(()) };
    let Connection::Exec { argv, .. } = &connection.value else { return Ok(()) };
    if !has_disk && argv.iter().any(|word| word.uses(Placeholder::Disk)) {
        return Err(FileError::at(
            file,
            place(connection),
            "{disk} is used, and the type has no disk",
        )
        .mend("add emulator: {disk: {base: \"{images}/…\"}}"));
    }
    Ok(())
}

/// What commands for booting refer to, and where it stands.
struct Layout<'f> {
    file: &'f str,
    whole: yaml::Place,
    partitions: Option<Partitions>,
    kernel_args: Option<BySlot<Template>>,
}

impl Layout<'_> {
    /// Both, for `user`.
    fn needed_by(&self, user: &str) -> Result<(Partitions, BySlot<Template>), FileError> {
        let missing = |key: &str, mend: &str| {
            let message = format!("missing key \"{key}\", which {user} needs");
            FileError::at(self.file, self.whole, message).mend(mend)
        };
        let partitions = self.partitions.ok_or_else(|| {
            missing("partitions", "add \"partitions: {master: 1, testboot: 2, testrootfs: 3}\"")
        })?;
        let kernel_args = self.kernel_args.clone().ok_or_else(|| {
            missing("kernel_args", "add \"kernel_args: {master: console=…, test: console=…}\"")
        })?;
        Ok((partitions, kernel_args))
    }
}

fn check_partitions(file: &str, given: &Spanned<Partitions>) -> Result<Partitions, FileError> {
    let Partitions { master, testboot, testrootfs } = given.value;
    let different = master != testboot && master != testrootfs && testboot != testrootfs;
    let numbers = [master, testboot, testrootfs];
    if !different || numbers.iter().any(|number| !(1..=PARTITIONS_MAX).contains(number)) {
        let message = format!("partitions are three different numbers from 1 to {PARTITIONS_MAX}");
        return Err(FileError::at(file, place(given), message));
    }
    Ok(given.value)
}

fn boot_of(
    layout: &Layout<'_>,
    loader: Option<Spanned<BootLoaderOrNone>>,
) -> Result<Option<Boot>, FileError> {
    let Some(loader) = loader else { return Ok(None) };
    let at_loader = place(&loader);
    let BootLoaderOrNone::Some(loader) = loader.value else { return Ok(None) };
    let (partitions, kernel_args) = layout.needed_by("a boot loader")?;
    let loader = loader.check().map_err(|(key, message)| {
        FileError::at(layout.file, at_loader, format!("boot_loader: {key}: {message}"))
    })?;
    Ok(Some(Boot { loader, partitions, kernel_args }))
}

fn next_slot_of(
    layout: &Layout<'_>,
    form: Option<Spanned<NextSlotForm>>,
    has_boot_loader: bool,
) -> Result<Option<NextSlot>, FileError> {
    let Some(form) = form else { return Ok(None) };
    let at = place(&form);
    if has_boot_loader {
        let message = "next_slot is for boards at whose boot loader nothing is typed";
        return Err(FileError::at(layout.file, at, message)
            .mend("write boot_loader: none, or take next_slot out"));
    }
    let (partitions, kernel_args) = layout.needed_by("next_slot")?;
    let next_slot = form.value.with(partitions, kernel_args);
    let next_slot = next_slot.map_err(|(key, message)| {
        FileError::at(layout.file, at, format!("next_slot: {key}: {message}"))
    })?;
    Ok(Some(next_slot))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardTypeForm {
    name: Name,
    #[serde(default)]
    description: String,
    connection: Option<Spanned<Connection>>,
    agent_connection: Option<Spanned<Connection>>,
    power: Option<Spanned<Power>>,
    emulator: Option<EmulatorForm>,
    line: Spanned<Line>,
    partitions: Option<Spanned<Partitions>>,
    boot_loader: Option<Spanned<BootLoaderOrNone>>,
    next_slot: Option<Spanned<NextSlotForm>>,
    shell: Option<Spanned<ShellForm>>,
    kernel_banner: Option<Spanned<String>>,
    panics: Option<Vec<Spanned<String>>>,
    kernel_args: Option<KernelArgsForm>,
    #[serde(default)]
    deadlines: DeadlinesForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmulatorForm {
    disk: DiskForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskForm {
    base: TextIn<OnHost>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadlinesForm {
    boot_loader: Option<Period>,
    command: Option<Period>,
    kernel: Option<Period>,
    beacon: Option<Period>,
}

fn default_console() -> String {
    "/dev/console".into()
}

fn default_baud() -> u32 {
    115_200
}

fn default_coding() -> Coding {
    Coding::TextSafe
}

/// GPT has room for 128.
const PARTITIONS_MAX: u32 = 128;
/// The first text of every Linux kernel on ARM; arch/arm/kernel/setup.c and arch/arm64/kernel/setup.c.
const KERNEL_BANNER: &str = "Booting Linux on physical CPU";
/// kernel/panic.c, `vpanic`.
const KERNEL_PANIC: &str = "Kernel panic - not syncing";

pub(super) const EXAMPLES: Examples = &[
    ("name", "name: beaglebone-black"),
    ("line", "line: {console: /dev/ttyS0, baud: 115200}"),
    ("kind", "kind: u-boot"),
    ("prompt", "prompt: \"=> \""),
    ("commands", "commands: {master: [COMMAND, …], test: [COMMAND, …]}"),
    ("disk", "disk: {base: \"{images}/…\"}"),
    ("base", "base: \"{images}/…\""),
    ("on", "on: COMMAND"),
    ("off", "off: COMMAND"),
    ("exec", "exec: [PROGRAM, ARGUMENT, …]"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulated_board_boots_each_slot() {
        let board_type = BoardType::by_name("qemu-virt-armv7").unwrap();
        let master =
            board_type.boot_script(Slot::Master, BootFrom::Master, "qemu-01", "r").unwrap();
        assert_eq!(
            master,
            [
                "virtio scan",
                "load virtio 0:1 ${kernel_addr_r} /boot/vmlinuz",
                "load virtio 0:1 ${ramdisk_addr_r} /boot/initrd.img",
                "setenv bootargs \"console=ttyAMA0 root=PARTLABEL=master rw init=/sbin/pumice-agent -- --role master\"",
                "bootz ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}",
            ]
        );
        let test = board_type
            .boot_script(Slot::Test, BootFrom::TestBoot, "qemu-01", "2012-smoke-abc")
            .unwrap();
        assert_eq!(test[1], "load virtio 0:2 ${kernel_addr_r} /vmlinuz");
        assert!(
            test[3].ends_with("init=/.pumice/agent -- --role test --run 2012-smoke-abc\""),
            "{}",
            test[3]
        );
    }

    /// A whole board type with a boot loader, in which one text is another.
    fn mended(boot: &str, from: &str, to: &str) -> String {
        let boot = boot.replacen(from, to, 1);
        let rest = "partitions: {master: 1, testboot: 2, testrootfs: 3}\nkernel_args: {master: a, test: b}";
        format!("name: a\nline: {{}}\n{boot}{rest}\n")
    }

    #[test]
    fn the_agent_chooses_the_next_image() {
        let text = "name: a\nline: {}\nboot_loader: none\npartitions: {master: 1, testboot: 2, testrootfs: 3}\n\
            kernel_args: {master: m, test: \"root=/dev/mmcblk0p{rootfs_part} --run {run}\"}\n\
            next_slot: {master: 'set ${x} 1', test: 'set {boot_part} \"{bootargs}\"', undo: 'unset {board}'}\n";
        let board_type = BoardType::from_str("t.yaml", text).unwrap();
        let next_slot = board_type.next_slot.unwrap();
        let command = |slot, from| next_slot.command(slot, from, "b", "r").unwrap();
        assert_eq!(command(Slot::Master, BootFrom::Master), "set ${x} 1");
        let test = command(Slot::Test, BootFrom::TestBoot);
        assert_eq!(test, "set 2 \"root=/dev/mmcblk0p3 --run r\"");
        assert_eq!(next_slot.undo_command("b", "r").unwrap().as_deref(), Some("unset b"));
    }

    #[test]
    fn mistakes() {
        let boot = "boot_loader: {kind: u-boot, prompt: x, commands: {master: [a], test: [a]}}\n";
        for (text, expected) in [
            (
                "name: a\n",
                "t.yaml:1: missing key \"line\": add \"line: {console: /dev/ttyS0, baud: 115200}\"",
            ),
            (
                "name: a/b\nline: {}\n",
                "t.yaml:1: \"a/b\" cannot be a name: use 1 to 64 letters, digits and . _ -, a letter or digit first",
            ),
            (
                "name: a\nline: {coding: ascii}\n",
                "t.yaml:2: unknown word \"ascii\": known are text-safe, binary",
            ),
            ("name: a\nline: {baud: 5}\n", "t.yaml:2: 5 is no rate of a line: write baud: 115200"),
            (
                "name: a\nline: {}\nboot_loader: grub\n",
                "t.yaml:3: \"grub\" is no boot loader: write none, or {kind: u-boot, prompt: …, commands: …}",
            ),
            (
                "name: a\nline: {}\nboot_loader: {kind: grup}\n",
                "t.yaml:3: unknown word \"grup\": did you mean \"grub\"?",
            ),
            (
                "name: a\nline: {}\nboot_loader:\n  kind: u-boot\n  prompt: x\n  commands:\n    master: [a]\n    test: [\"load {boot_prt}\"]\n",
                "t.yaml:8: unknown placeholder {boot_prt}: did you mean \"boot_part\"?",
            ),
            (
                "name: a\nline: {}\nboot_loader:\n  kind: u-boot\n  interupt: x\n",
                "t.yaml:5: unknown key \"interupt\": did you mean \"interrupt\"?",
            ),
            (
                "name: a\nline: {}\nboot_loader:\n  kind: u-boot\n  menu: {txt: a, keys: b}\n",
                "t.yaml:5: unknown key \"txt\": did you mean \"text\"?",
            ),
            (
                "name: a\nline: {}\nboot_loader:\n  kind: u-boot\n  status: aksed\n",
                "t.yaml:5: unknown word \"aksed\": did you mean \"asked\"?",
            ),
            (
                &mended(boot, "kind: u-boot", "kind: u-boot, line_end: x"),
                "t.yaml:3: boot_loader: line_end: \"\\n\", \"\\r\" or \"\\r\\n\" is expected",
            ),
            (
                &mended(boot, "kind: u-boot", "kind: u-boot, menu: {text: '', keys: a}"),
                "t.yaml:3: boot_loader: menu: a text of 1 to 128 bytes is expected",
            ),
            (
                &mended(boot, "kind: u-boot, prompt: x", "kind: barebox"),
                "t.yaml:3: boot_loader: prompt: missing, and kind: barebox has none of its own",
            ),
            (
                "name: a\nline: {}\nnext_slot: {master: a, tset: b}\n",
                "t.yaml:3: unknown key \"tset\": did you mean \"test\"?",
            ),
            (
                "name: a\nline: {}\nnext_slot:\n  master: a\n  test: \"{bootrags}\"\n",
                "t.yaml:5: unknown placeholder {bootrags}: did you mean \"bootargs\"?",
            ),
            (
                "name: a\nline: {}\nnext_slot: {master: a, test: b}\n",
                "t.yaml:1: missing key \"partitions\", which next_slot needs: add \"partitions: {master: 1, testboot: 2, testrootfs: 3}\"",
            ),
            (
                &format!("{}next_slot: {{master: a, test: b}}\n", mended(boot, "a", "a")),
                "t.yaml:6: next_slot is for boards at whose boot loader nothing is typed: write boot_loader: none, or take next_slot out",
            ),
            (
                &format!("name: a\nline: {{}}\n{boot}"),
                "t.yaml:1: missing key \"partitions\", which a boot loader needs: add \"partitions: {master: 1, testboot: 2, testrootfs: 3}\"",
            ),
            (
                &format!(
                    "name: a\nline: {{}}\npartitions: {{master: 1, testboot: 1, testrootfs: 3}}\n{boot}"
                ),
                "t.yaml:3: partitions are three different numbers from 1 to 128",
            ),
            (
                "name: a\nline: {}\npower: with-connection\n",
                "t.yaml:3: power: with-connection needs a connection that starts a child: write connection: {exec: […]}, or power: {on: …, off: …}",
            ),
            (
                "name: a\nline: {}\nconnection: {exec: [qemu, \"{disk}\"]}\n",
                "t.yaml:3: {disk} is used, and the type has no disk: add emulator: {disk: {base: \"{images}/…\"}}",
            ),
            (
                "name: a\nline: {}\ndeadlines: {beacon: 0s}\n",
                "t.yaml:3: a period of time must be more than 0 and at most 7 days",
            ),
        ] {
            let error = BoardType::from_str("t.yaml", text).unwrap_err().to_string();
            assert_eq!(error, expected, "{text}");
        }
    }
}
