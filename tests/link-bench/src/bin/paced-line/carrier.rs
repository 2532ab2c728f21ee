//! Carries bytes both ways at the line's pace.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use serde_json::{Value, json};
use serial_sim::{Line, Options as LineOptions, Rng, Text};

use crate::clock;
use crate::ends::End;
use crate::options::Options;

/// Two ends, and the line between them.
#[derive(Debug)]
pub(crate) struct Carrier {
    begun: Duration,
    host: End,
    board: End,
    down: Way,
    up: Way,
    kernel: Kernel,
    /// When the host first said something.
    host_began_at: Option<Duration>,
}

/// One direction.
#[derive(Debug)]
struct Way {
    line: Line,
    /// What has come through and nobody has read.
    arrived: VecDeque<u8>,
    overrun: u64,
    longest_queue: usize,
}

/// Who prints on the board's UART, and when.
#[derive(Debug)]
struct Kernel {
    text: Text,
    from: Vec<u8>,
    until: Vec<u8>,
    log: Option<File>,
    logged: usize,
    /// The end of what the board said.
    said: Vec<u8>,
}

impl Carrier {
    /// A line that has not carried anything.
    pub(crate) fn new(options: &Options, host: End, board: End) -> io::Result<Self> {
        let kernel = Kernel::new(options)?;
        let mut rng = Rng::new(options.seed);
        let clean = LineOptions::clean(options.baud);
        let down = LineOptions { flip_one_in: options.flip_one_in, ..clean };
        let text = if kernel.from.is_empty() { kernel.text } else { Text::None };
        let up = LineOptions { text, ..down.clone() };
        let (down, up) = (Way::new(down, rng.fork()), Way::new(up, rng.fork()));
        Ok(Self { begun: clock::now(), host, board, down, up, kernel, host_began_at: None })
    }

    /// Until `until` or one of the ends is closed. Returns what happened.
    pub(crate) fn carry(mut self, until: Option<OwnedFd>) -> io::Result<Value> {
        let mut piece = [0; PIECE];
        loop {
            let now = self.now();
            self.down.deliver(now, &mut self.board.writer)?;
            self.up.deliver(now, &mut self.host.writer)?;
            self.kernel.note(self.up.line.inserted())?;
            self.host.admit(now, self.down.queued(now))?;
            self.board.admit(now, self.up.queued(now))?;
            if self.wait(until.as_ref())? {
                return Ok(self.report());
            }
            let now = self.now();
            let Some(length) = self.host.read(&mut piece)? else { return Ok(self.report()) };
            if length > 0 {
                self.host_began_at.get_or_insert_with(clock::now);
                self.down.line.send(now, &piece[..length]);
            }
            let Some(length) = self.board.read(&mut piece)? else { return Ok(self.report()) };
            self.up.line.send(now, &piece[..length]);
            if let Some(text) = self.kernel.hear(&piece[..length]) {
                let options = LineOptions { text, ..self.up.line.options().clone() };
                self.up.line.set_options(now, options);
            }
        }
    }

    /// Until there is something to do; true when somebody wants the end.
    fn wait(&self, until: Option<&OwnedFd>) -> io::Result<bool> {
        let mut fds = Vec::with_capacity(5);
        for (end, way) in [(&self.host, &self.up), (&self.board, &self.down)] {
            let reading = if end.is_read() { PollFlags::POLLIN } else { PollFlags::empty() };
            let writing =
                if way.arrived.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            fds.push(PollFd::new(end.reader.as_fd(), reading));
            fds.push(PollFd::new(end.writer.as_fd(), writing));
        }
        fds.extend(until.map(|until| PollFd::new(until.as_fd(), PollFlags::POLLIN)));
        let due =
            [&self.down, &self.up].into_iter().filter_map(|way| way.line.next_arrival()).min();
        let timeout = due.map(|due| Duration::from_micros(due.saturating_sub(self.now())).into());
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(until.is_some() && fds.last().and_then(PollFd::any).unwrap_or(false))
    }

    fn now(&self) -> u64 {
        u64::try_from((clock::now() - self.begun).as_micros()).unwrap_or(u64::MAX)
    }

    fn report(&self) -> Value {
        json!({
            "host_began_at": self.host_began_at.map(|at| at.as_secs_f64()),
            "to_board": self.down.report(),
            "to_host": self.up.report(),
        })
    }
}

impl Way {
    fn new(options: LineOptions, rng: Rng) -> Self {
        Self {
            line: Line::new(options, rng),
            arrived: VecDeque::new(),
            overrun: 0,
            longest_queue: 0,
        }
    }

    /// Hands over what has come through, as far as it is taken.
    fn deliver(&mut self, now: u64, writer: &mut File) -> io::Result<()> {
        self.arrived.extend(self.line.receive(now));
        while !self.arrived.is_empty() {
            match writer.write(self.arrived.as_slices().0) {
                Ok(length) => drop(self.arrived.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        // A UART does not wait for its reader.
        let lost = self.arrived.len().saturating_sub(UNREAD_MAX);
        self.arrived.truncate(UNREAD_MAX);
        self.overrun += lost as u64;
        Ok(())
    }

    fn queued(&mut self, now: u64) -> usize {
        let queued = self.line.queued_bytes(now);
        self.longest_queue = self.longest_queue.max(queued);
        queued
    }

    fn report(&self) -> Value {
        let counts = self.line.counts();
        json!({
            "sent": counts.sent,
            "flipped": counts.flipped,
            "inserted": counts.inserted,
            "overrun": self.overrun,
            "longest_queue": self.longest_queue,
        })
    }
}

impl Kernel {
    fn new(options: &Options) -> io::Result<Self> {
        let text = match options.text_every_ms {
            0 => Text::None,
            ms => Text::Every { interval_us: ms.saturating_mul(1000) },
        };
        Ok(Self {
            text,
            from: options.text_from.clone().into_bytes(),
            until: options.text_until.clone().into_bytes(),
            log: options.text_log.as_ref().map(File::create).transpose()?,
            logged: 0,
            said: Vec::new(),
        })
    }

    /// The board says this. Whether the kernel begins or ends to print.
    fn hear(&mut self, bytes: &[u8]) -> Option<Text> {
        let mut change = None;
        for byte in bytes {
            self.said.push(*byte);
            if !self.from.is_empty() && self.said.ends_with(&self.from) {
                change = Some(self.text);
            }
            if !self.until.is_empty() && self.said.ends_with(&self.until) {
                change = Some(Text::None);
            }
        }
        let longest = self.from.len().max(self.until.len());
        self.said.drain(..self.said.len().saturating_sub(longest));
        change
    }

    fn note(&mut self, printed: &[u8]) -> io::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        log.write_all(&printed[self.logged..])?;
        self.logged = printed.len();
        Ok(())
    }
}

/// Bytes that wait for their reader: what a terminal holds, a few times over.
const UNREAD_MAX: usize = 1 << 16;

/// Bytes of one read.
const PIECE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ends::terminal;
    use std::io::pipe;

    fn options(words: &[&str]) -> Options {
        let words = words.iter().map(ToString::to_string);
        Options::parse(words).expect("the words are right").expect("not --help")
    }

    #[test]
    fn a_kernel_prints_from_one_text_to_the_other_however_they_are_cut() {
        let words = ["--text-every", "50", "--text-from", "Linux", "--text-until", "U-Boot"];
        let mut kernel = Kernel::new(&options(&words)).unwrap();
        let every = Text::Every { interval_us: 50_000 };
        assert_eq!(kernel.hear(b"Lin"), None);
        assert_eq!(kernel.hear(b"ux version"), Some(every));
        assert_eq!(kernel.hear(b" U-Boo"), None);
        assert_eq!(kernel.hear(b"t"), Some(Text::None));
        assert_eq!(kernel.hear(b"U-Boot Linux"), Some(every));
    }

    #[test]
    fn bytes_go_from_one_terminal_to_the_other_and_a_full_queue_stops_their_writer() {
        let baud = 3_000_000;
        let (host, host_path) = terminal(baud).unwrap();
        let (board, board_path) = terminal(baud).unwrap();
        let open = |path| File::options().read(true).write(true).open(path).unwrap();
        let (mut writer, mut reader): (File, File) = (open(host_path), open(board_path));
        let (until, ended) = pipe().unwrap();
        let options = options(&["--baud", "3000000"]);
        let carrier = Carrier::new(&options, host, board).unwrap();
        let carrying = std::thread::spawn(move || carrier.carry(Some(until.into())).unwrap());
        let sent = Rng::new(1).bytes(200_000);
        let copy = sent.clone();
        let writing = std::thread::spawn(move || writer.write_all(&copy).map(|()| writer).unwrap());
        let mut received = vec![0; sent.len()];
        io::Read::read_exact(&mut reader, &mut received).unwrap();
        assert!(received == sent, "what is sent comes");
        drop(ended);
        let report = carrying.join().unwrap();
        drop(writing.join().unwrap());
        assert_eq!(report["to_board"]["sent"], 200_000);
        assert_eq!(report["to_board"]["overrun"], 0);
        // All that a terminal takes at once, and a piece of it that was read before.
        assert!(report["to_board"]["longest_queue"].as_u64().unwrap() < 40_000, "{report}");
    }
}
