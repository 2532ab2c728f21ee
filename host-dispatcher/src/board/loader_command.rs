//! A command for a boot loader whose output somebody wants, beside those that boot.

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What it printed, at most 64 KiB, line by line.
    pub output: String,
    /// How it ended.
    pub end: RanEnd,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RanEnd {
    /// With the next prompt, and this status where the boot loader tells it.
    Prompt(Option<u32>),
    /// The boot loader was left before it gave a prompt; the sentence says how.
    Left(String),
}

/// One that is under way.
#[derive(Clone, Debug)]
pub(super) struct LoaderCommand {
    pub(super) text: String,
    output: String,
}

impl LoaderCommand {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.trim().to_owned(), output: String::new() }
    }

    /// It printed a line.
    pub(super) fn line(&mut self, line: &str) {
        if self.output.len() + line.len() < OUTPUT_BYTES_MAX {
            self.output.push_str(line);
            self.output.push('\n');
        }
    }

    pub(super) fn ended(self, end: RanEnd) -> Ran {
        Ran { output: self.output, end }
    }
}

const OUTPUT_BYTES_MAX: usize = 64 * 1024;
