//! The words of the command line. Owns the grammar, the help text and the defaults; looks at nothing but the words.

use crate::text;
use agent_core::agent::Role;
use agent_core::link::Coding;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Usage: pumice-agent [OPTIONS]

Pumice's agent: serves the dispatcher at the other end of a serial line.

  --line DEVICE           serial line, or a pseudo-terminal [the console: /sys/class/tty/console/active]
  --baud N                set the line's rate [left as it is]
  --coding CODING         what the agent sends: text-safe, for a line that is also a console, or binary
                          [text-safe]
  --role ROLE             master or test [test with --run, otherwise master]
  --run NAME              run the plan in /.pumice/runs/NAME
  --partition LABEL=PATH  PATH (device or file) has this label; a directory counts as mounted; repeatable
  --root DIR              look for /.pumice and /run below DIR, never restart the board (for tests)
  --version               print the version
  --help                  print this

As the kernel's init= it starts the real init as process 1 and stays beside it; give its options behind '--' on
the kernel's command line.
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Serve.
    Run(Options),
    /// `--version`.
    Version,
    /// `--help`.
    Help,
}

/// The options of a serving agent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `--line`; `None` for the console.
    pub(crate) line: Option<String>,
    /// `--baud`.
    pub(crate) baud: Option<u32>,
    /// `--coding`.
    pub(crate) coding: Coding,
    /// `--role`.
    pub(crate) role: Role,
    /// `--run`.
    pub(crate) run: Option<String>,
    /// `--partition`, label and path.
    pub(crate) partitions: Vec<(String, String)>,
    /// `--root` without a slash at its end; empty for `/`.
    pub(crate) root: String,
    /// Whether `--root` was given: then this is not a board to be restarted.
    pub(crate) is_test_bench: bool,
}

/// Reads the words behind the program's name. A `tolerant` reader skips what it does not understand, because the
/// kernel passes its `init=` the words that were meant for others (`splash`).
pub(crate) fn parse(words: &[&[u8]], tolerant: bool) -> Result<Command, BadWord> {
    let mut options = Options {
        line: None,
        baud: None,
        coding: Coding::TextSafe,
        role: Role::Master,
        run: None,
        partitions: Vec::new(),
        root: String::new(),
        is_test_bench: false,
    };
    let mut role = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let word = text::lossy(word);
        // Both `--line X` and `--line=X`, as everywhere.
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (word.as_str(), None),
        };
        if !OPTIONS.contains(&name) {
            match name {
                "--version" => return Ok(Command::Version),
                "--help" | "-h" => return Ok(Command::Help),
                _ if tolerant => continue,
                _ => return Err(BadWord::new("unknown option", name)),
            }
        }
        let value = match joined {
            Some(value) => value.to_owned(),
            None => match words.next() {
                Some(value) => text::lossy(value),
                None if tolerant => continue,
                None => return Err(BadWord::new("no value behind", name)),
            },
        };
        let bad = |what| Err(BadWord::new(what, &value));
        match name {
            "--line" => options.line = Some(value),
            "--baud" => match text::parse(&value) {
                Some(baud) => options.baud = Some(baud),
                None => return bad("not a number of bits a second:"),
            },
            "--coding" => match value.as_str() {
                "text-safe" => options.coding = Coding::TextSafe,
                "binary" => options.coding = Coding::Binary,
                _ => return bad("neither text-safe nor binary:"),
            },
            "--role" => match value.as_str() {
                "master" => role = Some(Role::Master),
                "test" => role = Some(Role::Test),
                _ => return bad("neither master nor test:"),
            },
            "--run" if is_plain_name(&value) => options.run = Some(value),
            "--run" => return bad("not the name of a run:"),
            "--partition" => match value.split_once('=') {
                Some((label, path)) if is_plain_name(label) && !path.is_empty() => {
                    options.partitions.push((label.to_owned(), path.to_owned()));
                }
                _ => return bad("not LABEL=PATH:"),
            },
            _ => {
                options.is_test_bench = true;
                options.root = match value.strip_suffix('/') {
                    Some(root) => root.to_owned(),
                    None => value,
                };
            }
        }
    }
    let by_run = if options.run.is_some() { Role::Test } else { Role::Master };
    options.role = role.unwrap_or(by_run);
    Ok(Command::Run(options))
}

/// Whether `name` can be one component of a path: a run's name, a label. Bytes of `[A-Za-z0-9._-]`, no dot first.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 96
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// All that take a value.
const OPTIONS: [&str; 7] =
    ["--line", "--baud", "--coding", "--role", "--run", "--partition", "--root"];

/// A word that cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadWord {
    /// What is wrong with it.
    pub(crate) what: &'static str,
    /// The word.
    pub(crate) word: String,
}

impl BadWord {
    fn new(what: &'static str, word: &str) -> Self {
        Self { what, word: word.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, tolerant: bool) -> Result<Command, BadWord> {
        let words: Vec<_> = line.split_whitespace().map(str::as_bytes).collect();
        parse(&words, tolerant)
    }

    fn options(line: &str) -> Options {
        match read(line, false) {
            Ok(Command::Run(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_option_is_understood() {
        let all = options(
            "--line /dev/ttyAMA0 --baud=115200 --coding binary --run r-1 --partition master=/dev/vda1 \
             --partition testrootfs=/tmp/a=b --root /tmp/x/",
        );
        assert_eq!(all.line.as_deref(), Some("/dev/ttyAMA0"));
        assert_eq!((all.baud, all.coding, all.role), (Some(115_200), Coding::Binary, Role::Test));
        assert_eq!((all.run.as_deref(), all.root.as_str()), (Some("r-1"), "/tmp/x"));
        assert_eq!(all.partitions[1], ("testrootfs".to_owned(), "/tmp/a=b".to_owned()));
        assert!(all.is_test_bench);
    }

    #[test]
    fn the_defaults_are_those_of_a_master_agent_on_the_console() {
        let none = options("");
        assert_eq!((none.line, none.baud, none.run), (None, None, None));
        assert_eq!((none.role, none.coding), (Role::Master, Coding::TextSafe));
        assert!(!none.is_test_bench);
        assert_eq!(options("--role test").role, Role::Test);
        assert_eq!(options("--run r --role master").role, Role::Master);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, word) in [
            ("splash", "splash"),
            ("--lime x", "--lime"),
            ("--line", "--line"),
            ("--baud fast", "fast"),
            ("--role slave", "slave"),
            ("--run ../x", "../x"),
            ("--partition /dev/vda1", "/dev/vda1"),
        ] {
            assert_eq!(read(line, false).unwrap_err().word, word, "{line}");
        }
    }

    #[test]
    fn as_init_the_words_of_others_are_skipped() {
        let Ok(Command::Run(options)) = read("splash --verbose single --run r-1 --line", true)
        else {
            panic!("refused");
        };
        assert_eq!(options.run.as_deref(), Some("r-1"));
    }
}
