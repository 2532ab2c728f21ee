//! `fake-board`: plays a fake board on standard input and output in real time, as a connection of the real
//! dispatcher: `connection: {exec: [fake-board]}`. Its power comes with the process.
//!
//! ```text
//! --generic                no boot loader: the agent runs at once
//! --no-boot-text           boot loader and kernel print nothing but the prompt
//! --role test|master       what is booted when nobody stops the countdown
//! --run NAME               the run of a test image that boots so
//! --binary                 a line without console
//! --seed N                 makes boot ids
//! --boot-ms N              from the kernel's start to the agent's
//! --partition LABEL=BYTES  instead of the three usual ones
//! --command 'LINE=TEXT'    a program that prints TEXT and ends with 0
//! ```
#![forbid(unsafe_code)]

use agent_core::agent::Role;
use agent_core::link::Coding;
use agent_core::time::{Duration, Instant};
use fake_board::{FakeBoard, Options, Program};
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};

fn main() -> ExitCode {
    match board() {
        Ok(board) => play(board),
        Err(problem) => {
            eprintln!("fake-board: {problem}");
            ExitCode::from(2)
        }
    }
}

fn board() -> Result<FakeBoard, String> {
    let mut options = Options::default();
    let (mut partitions, mut commands) = (Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number =
            |text: String| text.parse::<u64>().map_err(|_| format!("not a number: {text}"));
        match argument.as_str() {
            "--generic" => options.has_boot_loader = false,
            "--no-boot-text" => options.has_boot_text = false,
            "--binary" => options.coding = Coding::Binary,
            "--run" => options.run = Some(value()?),
            "--seed" => options.seed = number(value()?)?,
            "--boot-ms" => options.boot_time = Duration::from_millis(number(value()?)?),
            "--role" => {
                options.slot = match value()?.as_str() {
                    "master" => Role::Master,
                    "test" => Role::Test,
                    other => return Err(format!("no such role: {other}")),
                }
            }
            "--partition" => {
                let value = value()?;
                let (label, size) = value.split_once('=').ok_or("--partition LABEL=BYTES")?;
                partitions.push((label.to_owned(), number(size.to_owned())? as usize));
            }
            "--command" => {
                let value = value()?;
                let (line, text) = value.split_once('=').ok_or("--command LINE=TEXT")?;
                commands.push((line.to_owned(), Program::new().out(format!("{text}\n"))));
            }
            _ => return Err(format!("no such option: {argument}")),
        }
    }
    if !partitions.is_empty() {
        options.partitions = partitions;
    }
    let mut board = FakeBoard::new(options);
    for (line, program) in commands {
        board.script().command(&line, program);
    }
    Ok(board)
}

#[expect(clippy::disallowed_methods, reason = "this is the shell that gives the board its time")]
fn play(mut board: FakeBoard) -> ExitCode {
    let epoch = std::time::Instant::now();
    let now = || Instant::from_micros(epoch.elapsed().as_micros() as u64);
    let (sender, input) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = std::io::stdin().read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut line = std::io::stdout();
    board.power_on(now());
    loop {
        while let Some(bytes) = board.poll_transmit(now()) {
            if line.write_all(&bytes).and_then(|()| line.flush()).is_err() {
                return ExitCode::SUCCESS;
            }
        }
        let wait = board.poll_timeout().map_or(IDLE_WAIT, |at| at.since(now()));
        match input.recv_timeout(std::time::Duration::from_micros(wait.as_micros())) {
            Ok(bytes) => board.handle_line(now(), &bytes),
            Err(RecvTimeoutError::Timeout) => board.handle_timeout(now()),
            Err(RecvTimeoutError::Disconnected) => return ExitCode::SUCCESS,
        }
    }
}

/// With nothing to do but to listen.
const IDLE_WAIT: Duration = Duration::from_secs(60);
