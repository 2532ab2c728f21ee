//! What a job says of the boot of its image, and how long its phases may take.

use std::time::Duration;

use serde::Deserialize;

use crate::config::boot_loader::COMMANDS_MAX;
use crate::config::template::{InBootLoader, Placeholder, Template, TextIn};
use crate::config::value::Period;
use crate::config::yaml::{FileError, Spanned, place};

/// How the image under test is booted, beside what the board type says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootWishes {
    /// What the kernel under test is told beside the board type's arguments; empty for nothing.
    pub kernel_args: String,
    /// What is typed to the boot loader before anything else, each checked as the board type's commands are.
    pub preboot: Vec<Template>,
    /// What is typed to the boot loader in place of the board type's commands.
    pub commands: Option<Vec<Template>>,
}

impl BootWishes {
    /// Whether only a boot loader can do it.
    pub fn needs_boot_loader(&self) -> bool {
        self.commands.is_some() || !self.preboot.is_empty()
    }
}

/// How long phases of a job may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobDeadlines {
    /// Writing all images, with their check.
    pub deploy: Option<Duration>,
    /// From the master image to an agent in the image under test.
    pub boot: Option<Duration>,
}

/// `deadlines` of a job file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobDeadlinesForm {
    deploy: Option<Period>,
    boot: Option<Period>,
}

impl JobDeadlinesForm {
    pub(super) fn deadlines(self) -> JobDeadlines {
        JobDeadlines {
            deploy: self.deploy.map(Period::duration),
            boot: self.boot.map(Period::duration),
        }
    }
}

/// Why a text cannot be `kernel_args`, and what to do.
pub fn kernel_args_problem(text: &str) -> Option<(String, &'static str)> {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"'\\$`;".contains(&byte);
    if text.len() > KERNEL_ARGS_BYTES_MAX || !text.bytes().all(is_plain) {
        let message = format!(
            "kernel_args has at most {KERNEL_ARGS_BYTES_MAX} printable characters, none of \" ' \\ $ ` ;"
        );
        return Some((message, "a boot loader would take them for its own"));
    }
    let is_agents = |word: &str| word == "--" || word.starts_with("init=");
    text.split_whitespace().any(is_agents).then(|| {
        let mend = "leave them out: the image's own init runs behind the agent";
        ("init= and -- start the agent".to_owned(), mend)
    })
}

/// Checks `kernel_args`, `preboot` and `boot_commands`.
pub(super) fn wishes_of(
    file: &str,
    kernel_args: Option<Spanned<String>>,
    preboot: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
    commands: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
) -> Result<BootWishes, FileError> {
    if let Some(args) = &kernel_args
        && let Some((message, mend)) = kernel_args_problem(&args.value)
    {
        return Err(FileError::at(file, place(args), message).mend(mend));
    }
    for (key, list) in [("preboot", &preboot), ("boot_commands", &commands)] {
        if let Some(list) = list
            && !(1..=COMMANDS_MAX).contains(&list.value.len())
        {
            let message = format!("{key} are 1 to {COMMANDS_MAX} commands");
            return Err(FileError::at(file, place(list), message)
                .mend("leave them out to boot as the board type says"));
        }
    }
    if let Some(commands) = &commands
        && !commands.value.iter().any(|text| text.template.uses(Placeholder::Bootargs))
    {
        return Err(FileError::at(
            file,
            place(commands),
            "no command has {bootargs}, which starts the agent",
        )
        .mend("write setenv bootargs \"{bootargs}\" before the last one"));
    }
    let templates = |list: Spanned<Vec<TextIn<InBootLoader>>>| {
        list.value.into_iter().map(|text| text.template).collect()
    };
    Ok(BootWishes {
        kernel_args: kernel_args.map(|args| args.value.trim().to_owned()).unwrap_or_default(),
        preboot: preboot.map(templates).unwrap_or_default(),
        commands: commands.map(templates),
    })
}

/// What ARM's kernels take in all is 1024 (COMMAND_LINE_SIZE in arch/arm/include/uapi/asm/setup.h), the board type's own
/// included.
const KERNEL_ARGS_BYTES_MAX: usize = 768;

#[cfg(test)]
mod tests {
    use super::super::event::Slot;
    use super::super::spec::Job;
    use crate::config::board_type::BoardType;
    use crate::config::boot_loader::BootFrom;

    fn read(keys: &str) -> Result<Job, String> {
        let text = format!("name: x\n{keys}\ntests: [{{name: a, run: b}}]\n");
        Job::from_str("j", &text, "/".as_ref(), |_| Ok(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_job_adds_to_what_the_board_type_types() {
        let job = read(
            "kernel_args: quiet audit=0\nboot_commands: ['setenv bootargs \"{bootargs}\"', 'run ${mine}']\npriority: 7\ndeadlines: {boot: 2m}",
        )
        .unwrap();
        assert_eq!((job.priority, job.deadlines.boot.unwrap().as_secs()), (Some(7), 120));
        let shipped = BoardType::shipped();
        let board_type =
            shipped.iter().find(|board_type| board_type.name == "qemu-virt-armv7").unwrap();
        let script = |board_type: &BoardType, slot| {
            board_type.boot_script(slot, BootFrom::TestRootfs, "b", "r").unwrap()
        };
        let wished = board_type.for_job(&job.boot);
        let test = script(&wished, Slot::Test);
        assert_eq!(test.len(), 2);
        assert!(test[0].contains(" quiet audit=0 -- --role test --run r\""), "{}", test[0]);
        assert_eq!(test[1], "run ${mine}");
        let before = read("preboot: [setenv fdtfile x.dtb]").unwrap();
        let more = script(&board_type.for_job(&before.boot), Slot::Test);
        assert_eq!(
            (more[0].as_str(), &more[1..]),
            ("setenv fdtfile x.dtb", &script(board_type, Slot::Test)[..])
        );
        // The master image boots as ever.
        assert_eq!(script(&wished, Slot::Master), script(board_type, Slot::Master));
    }

    #[test]
    fn what_cannot_be_meant() {
        for (keys, expected) in [
            ("kernel_args: 'a\"b'", "j:2: kernel_args has at most 768 printable characters"),
            ("kernel_args: a -- b", "j:2: init= and -- start the agent"),
            ("kernel_args: init=/x", "j:2: init= and -- start the agent"),
            ("boot_commands: []", "j:2: boot_commands are 1 to 64 commands"),
            ("preboot: []", "j:2: preboot are 1 to 64 commands"),
            ("boot_commands: [boot]", "j:2: no command has {bootargs}"),
            ("boot_commands: ['x {bootrags}']", "j:2: unknown placeholder"),
            ("priority: 101", "j:2: priority is 0 to 100"),
            ("deadlines: {kernel: 1m}", "j:2: unknown key \"kernel\""),
        ] {
            let error = read(keys).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
