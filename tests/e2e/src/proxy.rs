//! A network between a board and `pumice`'s side lane: it carries, breaks, stops or spoils the connection behind so many
//! bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What becomes of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Everything is carried.
    Carried,
    /// It is closed at both ends behind so many bytes towards the board.
    CutAfter(u64),
    /// Behind so many bytes towards the board nothing is carried any more, and nothing is closed.
    StoppedAfter(u64),
    /// The byte behind so many towards the board has a bit turned.
    SpoiltAfter(u64),
}

/// One such network.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    target: u16,
    carried: Arc<AtomicU64>,
}

impl Proxy {
    /// Between a port of its own and a free one, where `pumice` is to listen.
    ///
    /// # Panics
    /// No port is free.
    pub fn new(fate: Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let target = free_port();
        let carried = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&carried);
        thread::spawn(move || {
            for board in listener.incoming().map_while(Result::ok) {
                let Ok(host) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let _ = (board.set_nodelay(true), host.set_nodelay(true));
                carry(&board, &host, Fate::Carried, Arc::new(AtomicU64::new(0)));
                carry(&host, &board, fate, Arc::clone(&counter));
            }
        });
        Self { port, target, carried }
    }

    /// `side_lane:` of a lab file.
    pub fn side_lane(&self) -> String {
        let Self { port, target, .. } = self;
        format!("{{address: '127.0.0.1:{port}', listen: '127.0.0.1:{target}'}}")
    }

    /// Bytes towards the board so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

/// In a thread, one direction.
fn carry(from: &TcpStream, to: &TcpStream, fate: Fate, carried: Arc<AtomicU64>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let before = carried.load(Ordering::Relaxed);
            let mut count = length;
            match fate {
                Fate::Carried => {}
                Fate::CutAfter(limit) | Fate::StoppedAfter(limit) => {
                    count = length.min(usize::try_from(limit.saturating_sub(before)).unwrap_or(0));
                }
                Fate::SpoiltAfter(limit) => {
                    let at = limit.wrapping_sub(before);
                    if let Some(byte) =
                        usize::try_from(at).ok().and_then(|at| piece[..length].get_mut(at))
                    {
                        *byte ^= 4;
                    }
                }
            }
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
            carried.fetch_add(count as u64, Ordering::Relaxed);
            match fate {
                Fate::CutAfter(_) if count < length => break,
                // Read on, so that nobody is told.
                _ => {}
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
