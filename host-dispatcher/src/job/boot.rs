//! What a job says of the boot of its image, and how long its phases may take.

use std::time::Duration;

use serde::Deserialize;

use crate::config::boot_loader::COMMANDS_MAX;
use crate::config::template::{InBootLoader, Template, TextIn};
use crate::config::value::Period;
use crate::config::yaml::{FileError, Spanned, place};

/// How the image under test is booted, beside what the board type says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootWishes {
    /// What the kernel under test is told beside the board type's arguments; empty for nothing.
    pub kernel_args: String,
    /// What is typed to the boot loader in place of the board type's commands.
    pub commands: Option<Vec<Template>>,
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

/// Checks `kernel_args` and `boot_commands`.
pub(super) fn wishes_of(
    file: &str,
    kernel_args: Option<Spanned<String>>,
    commands: Option<Spanned<Vec<TextIn<InBootLoader>>>>,
) -> Result<BootWishes, FileError> {
    if let Some(args) = &kernel_args {
        let text = &args.value;
        let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"'\\$`;".contains(&byte);
        if text.len() > KERNEL_ARGS_BYTES_MAX || !text.bytes().all(is_plain) {
            let message = format!(
                "kernel_args has at most {KERNEL_ARGS_BYTES_MAX} printable characters, none of \" ' \\ $ ` ;"
            );
            return Err(FileError::at(file, place(args), message)
                .mend("a boot loader would take them for its own"));
        }
        if text.split_whitespace().any(|word| word == "--" || word.starts_with("init=")) {
            return Err(FileError::at(file, place(args), "init= and -- start the agent")
                .mend("leave them out: the image's own init runs behind the agent"));
        }
    }
    if let Some(commands) = &commands
        && !(1..=COMMANDS_MAX).contains(&commands.value.len())
    {
        let message = format!("boot_commands are 1 to {COMMANDS_MAX} commands");
        return Err(FileError::at(file, place(commands), message)
            .mend("leave them out to boot as the board type says"));
    }
    Ok(BootWishes {
        kernel_args: kernel_args.map(|args| args.value.trim().to_owned()).unwrap_or_default(),
        commands: commands.map(|list| list.value.into_iter().map(|text| text.template).collect()),
    })
}

/// What ARM's kernels take in all is 1024 (COMMAND_LINE_SIZE in arch/arm/include/uapi/asm/setup.h), the board type's own
/// included.
const KERNEL_ARGS_BYTES_MAX: usize = 768;
