//! What can be typed: the words of the command line, their help, and nothing else.
//!
//! Parsing ends here; what the words do is in [`command`](crate::command). Exit statuses are decided in
//! [`verdict`](crate::job::verdict).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::Regex;

use crate::config::connection::PowerOperation;
use crate::config::value::Period;
use crate::job::event::Source;
use crate::lab::view::{Health, JobState};
use crate::report::log_filter::{self, Level, When};
use crate::store::tokens::Role;

/// The whole command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pumice",
    bin_name = "pumice",
    version,
    about = "Tests Linux images on boards over nothing but the serial line.",
    help_template = HELP,
    after_help = EXAMPLES,
    after_long_help = LONG_HELP,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that may stand before and after a command's words.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// The lab file; without it the lab is one emulated board, "qemu-01"
    #[arg(long, global = true, value_name = "LAB")]
    pub lab: Option<PathBuf>,
    /// The folder that keeps unpacked images; without it $PUMICE_STORE, or ~/.local/share/pumice
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// The lab that commands of a lab speak with; without it $PUMICE_SERVER, or http://127.0.0.1:8080. A command
    /// that works on a board works on one of this lab, acquired there
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Write JSON for programs instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run one job in the foreground
    #[command(after_help = "Examples:
  pumice run examples/smoke.yaml
  pumice --lab lab.yaml run job.yaml --board bbb-01 --out results
  pumice run job.yaml --json | jq -r 'select(.event == \"test_ended\") | .suite + \" \" + .result'

Exit status: 0 all passed, 1 a test failed, 2 usage, configuration or job error,
3 infrastructure error, 4 timeout, 130 cancelled. Errors in files are found before a board is touched.")]
    Run(RunArgs),
    /// Run a command on a board, as if it ran here: streams, exit status, Ctrl-C
    #[command(after_help = "Examples:
  pumice exec qemu-01 -- uname -a
  pumice exec qemu-01 --timeout 10s --env LANG=C -- sh -c 'dmesg | tail'")]
    Exec(ExecArgs),
    /// Copy a file to a board
    #[command(after_help = "Example:
  pumice push qemu-01 build/app /usr/local/bin/app

Of a file of 32 KiB and more only what the board lacks goes over the line: what the file on
the board has already is copied there, the rest is packed against it. What was pushed is kept in
the store (pumice images), so that the next version of it costs little.")]
    Push {
        /// The board's name
        board: String,
        /// The file here
        local: PathBuf,
        /// The path on the board
        remote: String,
    },
    /// Copy a file from a board
    #[command(after_help = "Example:
  pumice pull qemu-01 /var/log/messages .")]
    Pull {
        /// The board's name
        board: String,
        /// The path on the board
        remote: String,
        /// The file or folder here
        local: PathBuf,
    },
    /// Make a partition of a board an image, by sending what the board does not have, and verify it
    #[command(after_help = "Examples:
  pumice deploy qemu-01 images/rootfs.ext4
  pumice deploy bbb-01 images/rootfs.ext4.xz --dry-run

The board's hashes say what the partition holds; what it has is kept or copied, the rest is packed against
what resembles it. --dry-run says what would be sent and how long that takes, and writes nothing.")]
    Deploy {
        /// The board's name
        board: String,
        /// The image
        image: PathBuf,
        /// The partition's label; of a board that was revived also revived (that of the master image) and card (the whole disk)
        #[arg(long = "to", alias = "partition", value_name = "LABEL", default_value = "testrootfs", value_parser = ["testrootfs", "testboot", "revived", "card"])]
        partition: String,
        /// Say what would be sent, and write nothing
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Let another agent take the place of the one that runs, in memory, until the next boot
    #[command(after_help = "Example:
  pumice hand-over bbb-01 target/agent/armv7-unknown-linux-musleabihf/pumice-agent

Only what the running agent lacks of it goes over the line. Nothing is written to the board's disk: the
next boot begins with the agent of the image. With agents: in the lab file every job does this first.

With --persist the new agent, once it runs and has a session, takes the place of the one on the disk, which is kept
beside it as NAME.previous and started again if the new one has no session in its first boots.")]
    HandOver {
        /// The board's name
        board: String,
        /// The agent's program file, built for the board
        program: PathBuf,
        /// Keep it on the board's disk, on trial until a later boot has a session
        #[arg(long)]
        persist: bool,
    },
    /// Put an agent on a board that has none, through the shell on its console
    #[command(after_help = "Examples:
  pumice bootstrap bbb-01 --agent target/agent/armv7-unknown-linux-musleabihf/pumice-agent
  pumice bootstrap bbb-01 --login root --password-file secrets/bbb-01

Logs in where that is asked for, sends the agent in checked lines, packed if the board can unpack it, and
executes it in the shell's place. It lies in memory (/tmp, /run or /dev/shm) until the next boot. What broke off
is gone on with. Without --agent it is that of agents: in the lab file for the board's machine. With shell: in the
board type or the lab every command and every job does this where no agent shows itself.")]
    Bootstrap(BootstrapArgs),
    /// Bring a board up whose disk holds nothing that boots: kernel and initramfs go over the line into memory
    #[command(after_help = "Examples:
  pumice revive qemu-01 --kernel vmlinuz --initrd revive.cpio.xz --master images/master.ext4
  pumice revive bbb-01 --kernel zImage --initrd revive.cpio.xz --dtb am335x-boneblack.dtb --card images/disk.img

The boot loader receives the files by YMODEM, as commands.revive in the board type says; how long that takes is
said before. An agent in the initramfs then has the session. It offers the partition of the master image as
\"revived\", which --master writes, and the whole disk as \"card\", which --card writes with its partition table;
the board boots from it then. Ctrl-C gives up, and the boot loader waits for commands again.")]
    Revive(ReviveArgs),
    /// Show what is known of a board: agent, kernel, memory, partitions, addresses
    Info {
        /// The board's name
        board: String,
    },
    /// Test a board's line: pushes and pulls random bytes, and counts what arrives, how fast and how well
    #[command(after_help = "Examples:
  pumice line-test bbb-01
  pumice line-test bbb-01 --seconds 60 --json | jq .to_board

What runs first on a new cable. Goodput is payload as the receiver got it. Ctrl-C ends the test and shows
what was measured so far.

Exit status: 0 every byte arrived as it was sent, however often the line had to be asked again;
1 wrong bytes arrived; 2 usage or configuration, 3 no agent, the session was lost, or the agent is too old;
4 the agent did not answer in time; 130 interrupted.")]
    LineTest(LineTestArgs),
    /// Switch a board's power
    #[command(after_help = "Example:
  pumice power bbb-01 cycle")]
    Power {
        /// The board's name
        board: String,
        /// What to do
        #[arg(value_parser = power_operation())]
        operation: PowerOperation,
    },
    /// Reboot a board through its agent
    Reboot {
        /// The board's name
        board: String,
    },
    /// Show a board's raw line, and type on it
    #[command(after_help = "Examples:
  pumice console bbb-01
  pumice --server http://lab:8080 console bbb-01      through the lab; who has acquired the board types

Ctrl-] ends it. Ctrl-^ sends a BREAK, where the line has one and is this host's own.")]
    Console {
        /// The board's name
        board: String,
    },
    /// Carry the line of a board of a lab elsewhere: what commands with --server start
    #[command(hide = true)]
    LabLine {
        /// The board's name
        board: String,
    },
    /// Switch the power of such a board
    #[command(hide = true)]
    LabSwitch {
        /// The board's name
        board: String,
        /// What to do
        #[arg(value_parser = power_operation())]
        operation: PowerOperation,
    },
    /// Send a BREAK on a board's line
    #[command(after_help = "Example:
  pumice break bbb-01

The line is held for a quarter of a second, by telnet:// as long as the server does. A kernel takes the next
byte for a SysRq command (pumice sysrq), a getty changes its speed. Lines by serial:, rfc2217:// and telnet://
have a BREAK; tcp://, unix: and exec carry bytes alone.")]
    Break {
        /// The board's name
        board: String,
    },
    /// Send a BREAK and a SysRq key, and show what the board's kernel says
    #[command(after_help = "Examples:
  pumice sysrq bbb-01 h                      which keys there are
  pumice sysrq bbb-01 t > tasks.txt          all tasks of a kernel that hangs
  pumice sysrq bbb-01 b                      reset, at once

The text of the line is shown until it was silent for a second. The kernel obeys as far as its kernel.sysrq
allows, and only on its console.")]
    Sysrq {
        /// The board's name
        board: String,
        /// The key: a digit or a letter
        #[arg(value_parser = sysrq_key)]
        key: u8,
    },
    /// Show the results of a run, or convert them for other tools
    #[command(after_help = "Examples:
  pumice results last
  pumice results smoke-x7k2 --format junit --output results.xml
  pumice results last --json | jq '.suites[].cases[] | select(.result != \"pass\")'
  pumice results last --format kcidb --origin ourlab | kcidb-submit …

RUN is a run directory, a part of a name below --out that only one has, or \"last\", the one that began last.
A run may still be going on, or have been cut off: what is known of it is shown.

Exit status: 0 the results could be read, whatever they are; 2 otherwise. That of the run stands in them.")]
    Results(ResultsArgs),
    /// Say which results of a run differ from those of another one, or of LAVA's
    #[command(after_help = "Examples:
  pumice compare last smoke-x7k2
  curl -s https://lava.example.org/api/v0.2/jobs/1234/csv/ | pumice compare last -
  lavacli results 1234 --yaml > 1234.yaml; pumice compare last 1234.yaml

RUN is a run directory, a part of a name below --out that only one has, or \"last\". The other is one, too, or a
file with the results that LAVA has of a job, YAML or CSV; \"-\" is the standard input. Cases are told by suite and
name; the numbers that LAVA puts before a suite, and its own suite \"lava\", do not count.

Exit status: 0 no result differs, 1 some do, 2 the results could not be read.")]
    Compare(CompareArgs),
    /// Write a run as one HTML file that a browser shows without a server
    #[command(after_help = "Examples:
  pumice report last
  pumice report smoke-x7k2 --output smoke.html
  pumice report last --output - > report.html

RUN is a run directory, a part of a name below --out that only one has, or \"last\", the one that began last.
The page is that of the lab: timeline, log with filters, results. Of a log of more than 200,000 lines the
middle is left out, and the page says so.

Exit status: 0 the page was written; 2 otherwise.")]
    Report(ReportArgs),
    /// Show the timeline of a run: every source, merged in the order of time
    #[command(after_help = "Examples:
  pumice log last
  pumice log last --source kernel --level warn
  pumice log last --test smoke/mount --since 12.5 --until 00:10:00
  pumice log last --follow --grep 'usb [0-9]'

RUN is a run directory, a part of a name below --out that only one has, or \"last\", the one that began last.
A line: seconds from the run's start, source, level, text. --json gives the lines of timeline.ndjson.

Exit status: 0 the log could be read; 2 otherwise.")]
    Log(LogArgs),
    /// Serve a lab: all its boards, a queue of jobs, an HTTP interface and a web page
    #[command(after_help = "Examples:
  pumice serve                                       one emulated board, http://127.0.0.1:8080
  pumice serve --lab lab.yaml --store /var/lib/pumice

Jobs come from `pumice submit`, the page, or the HTTP interface. What was accepted is never forgotten: after
an end of any kind the next start goes on, also with the runs of boards that went on by themselves. SIGTERM and
Ctrl-C end it at once, boards and their runs as they are; SIGHUP reads the lab file again.
One address that is not this host's own needs tokens: `pumice token --help`. docs/lab.md is the manual.

Exit status: 0 ended by a signal, 2 a lab file or option that cannot be meant so, 3 store or event loop.")]
    Serve(ServeArgs),
    /// Serve LAVA's server as one of its workers, with the boards of a lab
    #[command(after_help = "Examples:
  pumice lava-worker --server https://lava.example.org --name rack-3 --token-file /etc/pumice/lava-token
  pumice lava-worker --server https://lava.example.org --lab-server http://lab:8080

Here --server is LAVA's server; --lab-server is the lab (pumice serve), else $PUMICE_SERVER or
http://127.0.0.1:8080, and $PUMICE_TOKEN its token. LAVA schedules, shows and stores; jobs, devices and users stay as
they are there. A job runs on the board that has the name of its device, or that the device dictionary
connects to: connection_command \"pumice console BOARD\". It may be killed at any time: jobs go on in the lab, and the
next start goes on telling. docs/lava-worker.md is the manual.")]
    LavaWorker(LavaWorkerArgs),
    /// Submit jobs to a lab's queue, with the files that they name
    #[command(after_help = "Examples:
  pumice submit examples/smoke.yaml
  pumice submit --watch --priority 80 job.yaml
  pumice --server http://lab:8080 submit a.yaml b.yaml

Files that a job names by paths relative to it go with it, each only if the lab does not have it yet. Absolute
paths are files of the lab's host, below the job_folders: of its lab file. $PUMICE_TOKEN is the token.

Exit status: 0 accepted, and with --watch passed; else as for `pumice run`.")]
    Submit(SubmitArgs),
    /// List a lab's jobs, the newest first
    #[command(after_help = "Example:
  pumice jobs --state queued")]
    Jobs(JobsArgs),
    /// Watch a job of a lab to its end: progress, or its log
    #[command(after_help = "Examples:
  pumice watch 12
  pumice watch 12 --log

Ctrl-C ends the watching, not the job. Exit status: as for `pumice run`.")]
    Watch(WatchArgs),
    /// End a job of a lab, queued or running
    Cancel {
        /// The job's number
        job: u64,
    },
    /// List a lab's boards, or show one
    Boards {
        /// Only this one
        board: Option<String>,
    },
    /// Take a board of a lab for yourself: no job is given to it
    #[command(after_help = "Example, on the lab's host:
  pumice acquire bbb-01 --for 2h --reason 'new kernel'
  pumice --lab lab.yaml exec bbb-01 -- uname -a
  pumice release bbb-01

While a board is acquired the lab lets go of its line, so pumice's other commands can use it. From another
host they reach it through the lab:
  export PUMICE_SERVER=http://lab:8080
  pumice acquire bbb-01
  pumice --server $PUMICE_SERVER exec bbb-01 -- uname -a")]
    Acquire {
        /// The board's name
        board: String,
        /// For so long
        #[arg(long = "for", value_name = "PERIOD", value_parser = period, default_value = "1h")]
        period: Duration,
        /// What for; others see it
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Give a board back to its lab
    Release {
        /// The board's name
        board: String,
    },
    /// Say how healthy a board of a lab is
    #[command(after_help = "Examples:
  pumice health bbb-01 maintenance --reason 'SD card is being changed'
  pumice health bbb-01 unknown                        gets a health check next, where its type has one

Only a health check that failed says that a board is bad; this ends it.")]
    Health {
        /// The board's name
        board: String,
        /// How healthy it is
        health: HealthWord,
        /// Why; others see it
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Check files without touching a board: jobs, test definitions, labs, board types
    #[command(after_help = "Examples:
  pumice check job.yaml lab.yaml
  pumice check --lab lab.yaml job.yaml        also: does the lab have such a board?

Exit status: 0 all are in order, 2 otherwise.")]
    Check {
        /// The files; what each is is told by its keys
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Turn jobs of LAVA into jobs of ours, and device dictionaries into boards of a lab file
    #[command(after_help = "Examples:
  pumice import-lava smoke.yaml > job.yaml            the job; what became of each key stands on stderr
  pumice import-lava --quiet --out jobs lava/*.yaml   a file for each; only what stands in the way is told
  pumice import-lava bbb-01.yaml > lab.yaml           a dictionary as LAVA's API renders it

Jobs of version 2 (YAML) and of 2012 (JSON), told by what they hold. Each key is mapped, ignored with the
reason, or unsupported with what to do. What is unsupported is missing in the job; `pumice run` takes a LAVA
job as it is, and refuses it then. A job with several rounds of deploy and test becomes several.

Exit status: 0 everything that the files ask for is done here, 2 otherwise.")]
    ImportLava(ImportArgs),
    /// List the board types that ship in this program, or show the file of one
    #[command(after_help = "Examples:
  pumice board-types
  pumice board-types show qemu-virt-armv7 > board-types/my-board.yaml
  pumice --lab lab.yaml board-types          with those of the lab's own folder, which win")]
    BoardTypes {
        /// Without it: list
        #[command(subcommand)]
        action: Option<BoardTypesAction>,
    },
    /// List the images of the store, or remove them
    #[command(after_help = "Examples:
  pumice images
  pumice images prune                        all that no pumice uses at this moment")]
    Images {
        /// Without it: list
        #[command(subcommand)]
        action: Option<ImagesAction>,
    },
    /// Make the tokens by which people and programs are known to the lab, list them, or take them back
    #[command(after_help = "Examples:
  pumice token add anna --role admin
  pumice token add ci --role submitter | install -m 600 /dev/stdin ci.token
  pumice token remove ci

A token is shown once: the store (--store) keeps only what it is known by. A lab that others can reach takes
nobody without one; it takes note of changes within a second.

Roles: viewer looks at everything; submitter submits jobs, and works on boards that he has acquired;
admin says how healthy boards are, and may take from others what they hold.")]
    Token {
        /// What to do
        #[command(subcommand)]
        action: TokenAction,
    },
    /// Print a script that completes pumice's words in a shell
    #[command(after_help = "Example:
  pumice completions bash > ~/.local/share/bash-completion/completions/pumice")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `pumice run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The job file; also one of LAVA
    pub job: PathBuf,
    /// The board to run on, instead of the one that the job asks for
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,
    /// The folder that gets the run directory
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
}

/// `pumice import-lava`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// Jobs, or rendered device dictionaries
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write a file for each into this folder, instead of to the standard output
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write over files that are there
    #[arg(long, requires = "out")]
    pub force: bool,
    /// Tell only what stands in the way
    #[arg(long, short)]
    pub quiet: bool,
}

/// `pumice revive`.
#[derive(Args, Clone, Debug)]
pub struct ReviveArgs {
    /// The board's name
    pub board: String,
    /// The kernel, as its boot loader boots it
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The initramfs with the agent
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The device tree
    #[arg(long, value_name = "FILE")]
    pub dtb: Option<PathBuf>,
    /// An image for the partition of the master image, file or URL; of a disk image that partition
    #[arg(long, value_name = "IMAGE")]
    pub master: Option<String>,
    /// A disk image for the whole card, file or URL
    #[arg(long, value_name = "IMAGE", conflicts_with = "master")]
    pub card: Option<String>,
}

/// `pumice results`.
#[derive(Args, Clone, Debug)]
pub struct ResultsArgs {
    /// The run
    pub run: String,
    /// The folder with run directories
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// text for people, json and junit, tap (TAP 13), csv and lava (its REST interface's CSV and YAML), kcidb for other tools
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: ResultsFormat,
    /// Who submits to KCIDB: small letters, digits and _
    #[arg(long, value_name = "NAME", value_parser = origin, required_if_eq("format", "kcidb"))]
    pub origin: Option<String>,
    /// Write to this file, which is then there whole or not at all
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `pumice compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// The run
    pub run: String,
    /// The other run, or a file with LAVA's results
    #[arg(value_name = "OTHER")]
    pub other: PathBuf,
    /// The folder with run directories
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
}

/// The forms of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResultsFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// JUnit XML.
    Junit,
    /// TAP 13.
    Tap,
    /// CSV with LAVA's columns.
    Csv,
    /// LAVA's results in YAML.
    Lava,
    /// A submission to KCIDB.
    Kcidb,
}

/// `pumice report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// The run
    pub run: String,
    /// The folder with run directories
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// Write to this file, which is then there whole or not at all, or to standard output (-); without it
    /// to report.html in the run directory
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `pumice log`.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// The run
    pub run: String,
    /// The folder with run directories
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// Only these: kernel, stdout, stderr, user_console, console, agent, dispatcher, boot_loader
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', value_parser = log_filter::source)]
    pub source: Vec<Source>,
    /// Only lines with this syslog level or a graver one: 0 to 7, or emerg to debug
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<Level>,
    /// Only what this suite, or this case of it, printed
    #[arg(long, value_name = "SUITE[/CASE]")]
    pub test: Option<String>,
    /// Not before: seconds from the run's start, HH:MM:SS (UTC), or a time with a date (RFC 3339)
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub since: Option<When>,
    /// Not after; as --since
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub until: Option<When>,
    /// Only lines that this regular expression matches
    #[arg(long, value_name = "REGEX", value_parser = log_filter::regex)]
    pub grep: Option<Regex>,
    /// Go on while the run does; Ctrl-C ends it. Status 3: its dispatcher died
    #[arg(long, short)]
    pub follow: bool,
    /// text, or lava: LAVA's job log in YAML, with the results in it
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        conflicts_with = "json"
    )]
    pub format: LogFormat,
}

/// The forms of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; with `--json` for programs.
    Text,
    /// LAVA's job log.
    Lava,
}

/// `pumice serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// A name by which browsers reach the lab, beside this host's own; may be given several times
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Want tokens on a loopback address too: a reverse proxy stands in front
    #[arg(long)]
    pub tokens: bool,
}

/// `pumice lava-worker`.
#[derive(Args, Clone, Debug)]
pub struct LavaWorkerArgs {
    /// The worker's name in LAVA; without it this host's
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The worker's token; others see it among the processes: rather --token-file
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["token_file", "username"])]
    pub token: Option<String>,
    /// A file with the worker's token; without any, the one in the worker's folder, or the server is asked for one
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    pub token_file: Option<PathBuf>,
    /// Who asks the server for a token, where it gives none to strangers
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,
    /// A file with his password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    /// The lab whose boards these are
    #[arg(long, value_name = "URL")]
    pub lab_server: Option<String>,
    /// The folder of jobs that are not over; without it lava-worker/NAME in the store
    #[arg(long, value_name = "DIR")]
    pub worker_dir: Option<PathBuf>,
    /// The version of LAVA to say; without it the server's own
    #[arg(long, value_name = "VERSION")]
    pub lava_version: Option<String>,
    /// How often the server is asked for jobs
    #[arg(long, value_name = "PERIOD", value_parser = period, default_value = "20s")]
    pub ping_interval: Duration,
    /// How often what a job wrote is sent
    #[arg(long, value_name = "PERIOD", value_parser = period, default_value = "2s")]
    pub job_log_interval: Duration,
}

/// `pumice submit`.
#[derive(Args, Clone, Debug)]
pub struct SubmitArgs {
    /// The job files
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<PathBuf>,
    /// 0 to 100; a larger one is begun earlier. Without it the job's own, or 50
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub priority: Option<u8>,
    /// Watch them to their end
    #[arg(long, short)]
    pub watch: bool,
}

/// `pumice jobs`.
#[derive(Args, Clone, Debug)]
pub struct JobsArgs {
    /// Only these
    #[arg(long, value_name = "STATE")]
    pub state: Option<JobState>,
    /// Only those whose last run was on this board
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,
    /// Only your own
    #[arg(long)]
    pub mine: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
}

/// `pumice watch`.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// The job's number
    pub job: u64,
    /// Show the log as it comes, instead of progress; --json gives its lines as in timeline.ndjson
    #[arg(long)]
    pub log: bool,
}

/// What a person may say of a board's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HealthWord {
    /// It works: it gets jobs.
    Good,
    /// Nobody knows: it gets jobs, after a health check where its type has one.
    Unknown,
    /// Its health check runs again and again; no jobs.
    Looping,
    /// A person works on it: no jobs, no health checks.
    Maintenance,
    /// It will not come back.
    Retired,
}

impl HealthWord {
    /// As the lab knows it.
    pub fn health(self) -> Health {
        match self {
            Self::Good => Health::Good,
            Self::Unknown => Health::Unknown,
            Self::Looping => Health::Looping,
            Self::Maintenance => Health::Maintenance,
            Self::Retired => Health::Retired,
        }
    }
}

/// `pumice exec`.
#[derive(Args, Clone, Debug)]
pub struct ExecArgs {
    /// The board's name
    pub board: String,
    /// Kill the command after this time: 500ms, 30s, 5m, 1h
    #[arg(long, value_name = "PERIOD", value_parser = period)]
    pub timeout: Option<Duration>,
    /// The folder to run in, on the board
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// A variable of the command's environment; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `pumice bootstrap`.
#[derive(Args, Clone, Debug)]
pub struct BootstrapArgs {
    /// The board's name
    pub board: String,
    /// The agent's program file, built for the board
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// Whom to log in, where the board asks
    #[arg(long, value_name = "USER")]
    pub login: Option<String>,
    /// A file whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// `pumice line-test`.
#[derive(Args, Clone, Debug)]
pub struct LineTestArgs {
    /// The board's name
    pub board: String,
    /// How long bytes are sent, half of it in each direction: 2 to 3600
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=3600))]
    pub seconds: u32,
}

/// `pumice board-types …`.
#[derive(Clone, Debug, Subcommand)]
pub enum BoardTypesAction {
    /// Show the file of a board type, ready to be copied and changed
    Show {
        /// The board type's name
        name: String,
    },
}

/// `pumice images …`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ImagesAction {
    /// Remove every image that is not in use
    Prune,
}

/// `pumice token …`.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenAction {
    /// Make a token and print it
    Add {
        /// Whose it is: 1 to 64 letters, digits and . _ @ + -
        name: String,
        /// What he may do
        #[arg(long, value_name = "ROLE", value_enum, default_value = "submitter")]
        role: Role,
    },
    /// List the tokens, without themselves
    List,
    /// Take a token back
    Remove {
        /// Whose it is
        name: String,
    },
}

fn power_operation() -> impl TypedValueParser<Value = PowerOperation> {
    let words = PossibleValuesParser::new(PowerOperation::ALL.map(PowerOperation::as_str));
    words.map(|word| {
        PowerOperation::ALL
            .into_iter()
            .find(|known| known.as_str() == word)
            .unwrap_or(PowerOperation::Off)
    })
}

fn period(text: &str) -> Result<Duration, String> {
    text.parse::<Period>().map(Period::duration).map_err(|error| error.to_string())
}

fn origin(text: &str) -> Result<String, String> {
    if !crate::report::kcidb::is_origin(text) {
        return Err("an origin has small letters, digits and _ only".to_owned());
    }
    Ok(text.to_owned())
}

fn sysrq_key(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [key] if key.is_ascii_alphanumeric() => Ok(*key),
        _ => Err("write one digit or letter, such as h for help".into()),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// The groups stand here because clap lists all commands as one; a test sees that none is forgotten.
const HELP: &str = "\
{about}

{usage-heading} {usage}

Jobs:
  run          Run one job in the foreground
  check        Check jobs, test definitions, labs and board types without touching a board
  import-lava  Turn jobs and devices of LAVA into files of ours
  results      Show the results of a run, or convert them: JUnit, TAP, CSV, LAVA's
  compare      Say which results of two runs differ, or of a run and LAVA's
  log          Show the timeline of a run, filtered, live if it still goes on
  report       Write a run as one HTML file: timeline, log, results

A lab of many boards:
  serve        Serve a lab: its boards, a queue of jobs, an HTTP interface and a web page
  submit       Submit jobs to its queue, with the files that they name
  jobs         List its jobs
  watch        Watch a job to its end: progress, or its log
  cancel       End a job
  boards       List its boards
  acquire      Take a board for yourself;  release gives it back
  release      Give a board back
  health       Say how healthy a board is
  lava-worker  Serve LAVA's server as one of its workers, with the boards of a lab

Hands on a board, through its agent:
  exec         Run a command, as if it ran here
  push, pull   Copy a file to the board, from the board
  deploy       Write an image to a partition, and verify it
  info         Show agent, kernel, memory, partitions, addresses
  bootstrap    Put an agent there through the shell on the console
  hand-over    Let another agent take the place of the one that runs
  line-test    Measure the line: goodput, errors, round trip
  reboot       Reboot

Hands on a board, without an agent:
  power        Switch the power: on, off, cycle
  revive       Bring up a board whose disk holds nothing that boots, over the line
  console      Show the raw line, and type on it
  break        Send a BREAK on the line
  sysrq        Send a BREAK and a SysRq key, and show what the kernel says

This program:
  board-types  List the board types that ship in it, or show one
  images       List the unpacked images of the store, or remove them
  token        Make, list and take back the tokens of a lab's people
  completions  Print a script that completes its words in a shell

Options:
{options}{after-help}
";

const EXAMPLES: &str = "\
Examples:
  pumice run examples/smoke.yaml             one job on the emulated board
  pumice --lab lab.yaml run job.yaml         the same in your lab
  pumice exec qemu-01 -- uname -a            one command on a board
  pumice serve                               the lab, on http://127.0.0.1:8080

`pumice COMMAND --help` teaches a command, `pumice --help` the exit statuses.";

const LONG_HELP: &str = "\
Examples:
  pumice run examples/smoke.yaml             one job on the emulated board
  pumice --lab lab.yaml run job.yaml         the same in your lab
  pumice exec qemu-01 -- uname -a            one command on a board

The lab: without --lab, pumice knows one board, \"qemu-01\" of the type qemu-virt-armv7. It is emulated: the
dispatcher starts qemu-system-arm with real U-Boot. `pumice board-types show qemu-virt-armv7` shows how.

Exit status:
    0   all tests passed
    1   a test failed, or the image under test did (TestError)
    2   wrong usage, a file that cannot be meant so, or a job that cannot be done
        (ConfigurationError, JobError)
    3   power, line, board or disk of the lab (InfrastructureError)
    4   something took longer than it may (Timeout)
  130   cancelled

Colours are left out when NO_COLOR is set or the output is no terminal.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("pumice").chain(words.split_whitespace()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_before_and_after() {
        for words in [
            "--lab x --json run job.yaml",
            "run job.yaml --json --lab x",
            "--json run --lab x job.yaml",
        ] {
            let cli = parse(words).unwrap();
            assert!(cli.global.json && cli.global.lab == Some("x".into()), "{words}");
        }
    }

    #[test]
    fn help_names_every_command_and_status() {
        let mut command = Cli::command();
        // What pumice starts for itself is hidden.
        let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        let names: Vec<String> = shown.map(|sub| sub.get_name().to_owned()).collect();
        let long = command.render_long_help().to_string();
        let short = command.render_help().to_string();
        for name in names {
            assert!(short.contains(&name) && long.contains(&name), "{name} is missing in the help");
        }
        for status in ["    0   ", "    1   ", "    2   ", "    3   ", "    4   ", "  130   "] {
            assert!(long.contains(status), "{status}");
        }
    }

    #[test]
    fn words() {
        let Command::Exec(exec) =
            parse("exec qemu-01 --timeout 10s --env A=b=c -- ls -l --json").unwrap().command
        else {
            panic!("exec is expected");
        };
        assert_eq!(exec.command, ["ls", "-l", "--json"]);
        assert_eq!(
            (exec.timeout, exec.env),
            (Some(Duration::from_secs(10)), vec![("A".into(), "b=c".into())])
        );
        assert!(matches!(
            parse("power b cycle").unwrap().command,
            Command::Power { operation: PowerOperation::Cycle, .. }
        ));
        let Command::Run(run) = parse("run j").unwrap().command else { panic!("run is expected") };
        assert_eq!((run.out, run.board), ("runs".into(), None));
        let Command::Log(log) =
            parse("log last --source kernel,boot-loader --level warn --since -1 --until 10s")
                .unwrap()
                .command
        else {
            panic!("log is expected")
        };
        assert_eq!(log.source, [Source::Kernel, Source::BootLoader]);
        assert_eq!((log.level, log.since), (Some(Level(4)), Some(When::AfterStart(-1.0))));
        assert!(matches!(
            parse("board-types").unwrap().command,
            Command::BoardTypes { action: None }
        ));
    }

    #[test]
    fn wrong_words_exit_with_2() {
        for words in [
            "frobnicate",
            "run",
            "exec b ls",
            "power b up",
            "sysrq b hb",
            "sysrq b -",
            "exec b --timeout never -- ls",
            "deploy b i --partition master",
            "line-test b --seconds 1",
            "line-test b --seconds 3601",
            "log last --source radio",
            "log last --level loud",
            "log last --since noon",
            "log last --grep (",
            "log last --json --format lava",
            "results last --format pdf",
            "results last --format kcidb",
            "results last --format kcidb --origin Our-Lab",
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }
}
