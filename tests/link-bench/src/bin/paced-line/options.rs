//! The words of the command line.

/// What `--help` prints.
pub(crate) const HELP: &str = "\
usage: paced-line [OPTIONS] [-- PROGRAM WORD...]

A serial line in real time between two pseudo-terminals, or between standard input and output and a PROGRAM.

  --baud N           bits a second; a byte takes ten [115200]
  --flip-one-in N    a bit is flipped in one byte of N, in both directions [never]
  --text-every MS    the kernel prints a line towards the host every MS ms, anywhere between the bytes [never]
  --text-from TEXT   ... from when the board has said TEXT, until it says that of
  --text-until TEXT  [always]
  --text-log FILE    gets what the kernel printed, as it comes out of the line
  --seed N           where chance begins [1]
  --help             print this
";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) baud: u32,
    pub(crate) flip_one_in: u64,
    pub(crate) text_every_ms: u64,
    pub(crate) text_from: String,
    pub(crate) text_until: String,
    pub(crate) text_log: Option<String>,
    pub(crate) seed: u64,
    pub(crate) program: Vec<String>,
}

impl Options {
    /// `None` for `--help`.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            baud: 115_200,
            flip_one_in: 0,
            text_every_ms: 0,
            text_from: String::new(),
            text_until: String::new(),
            text_log: None,
            seed: 1,
            program: Vec::new(),
        };
        while let Some(word) = words.next() {
            if word == "--help" || word == "-h" {
                return Ok(None);
            }
            if word == "--" {
                options.program = words.by_ref().collect();
                break;
            }
            let mut value = || words.next().ok_or_else(|| format!("no value behind {word}"));
            match word.as_str() {
                "--baud" => options.baud = number(&value()?)?,
                "--flip-one-in" => options.flip_one_in = number(&value()?)?,
                "--text-every" => options.text_every_ms = number(&value()?)?,
                "--text-from" => options.text_from = value()?,
                "--text-until" => options.text_until = value()?,
                "--text-log" => options.text_log = Some(value()?),
                "--seed" => options.seed = number(&value()?)?,
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if options.baud == 0 {
            return Err("a line without speed".into());
        }
        Ok(Some(options))
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}
