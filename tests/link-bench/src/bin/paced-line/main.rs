//! `paced-line`: a serial line in real time. `serial_sim::Line` carries the bytes, so speed and faults mean what they
//! mean in the simulations, and a seed strikes the same bytes.
//!
//! Without a program its ends are two pseudo-terminals. It prints `{"host": PATH, "board": PATH}`, carries until
//! standard input ends, and prints what happened. With a program the host's end is standard input and output, for
//! `connection: {exec: […]}`, and the board's end those of the program.

mod carrier;
mod clock;
mod ends;
mod options;

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

use carrier::Carrier;
use options::{HELP, Options};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("paced-line: {problem}; see --help");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paced-line: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> std::io::Result<()> {
    if let Some((program, words)) = options.program.split_first() {
        let (host, board, mut child) = ends::with_program(program, words)?;
        let outcome = Carrier::new(options, host, board)?.carry(None);
        // What is left of it would write to nobody.
        let _ = child.kill();
        let _ = child.wait();
        return outcome.map(drop);
    }
    let (host, host_path) = ends::terminal(options.baud)?;
    let (board, board_path) = ends::terminal(options.baud)?;
    println!("{}", serde_json::json!({ "host": host_path, "board": board_path }));
    std::io::stdout().flush()?;
    let carrier = Carrier::new(options, host, board)?;
    let (until, ended) = std::io::pipe()?;
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {}
        drop(ended);
    });
    let report = carrier.carry(Some(until.into()))?;
    println!("{report}");
    Ok(())
}
