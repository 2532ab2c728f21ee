//! The socket on which a test's helpers tell the agent what happens (docs/protocol.md, "Test signals").
//!
//! At most [`CLIENTS_MAX`] clients are connected. One more takes the place of one of them, in turn, but of none that waits
//! for an answer: a helper whose packet was not read yet is told so (ECONNRESET) and comes again.

use crate::sys::errno::Errno;
use crate::sys::path as paths;
use crate::sys::socket;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Clients at a time.
pub(crate) const CLIENTS_MAX: usize = 8;

/// The socket's name in the run's directory.
const NAME: &str = "socket";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct TestSocket {
    listener: Option<OwnedFd>,
    clients: [Option<OwnedFd>; CLIENTS_MAX],
    /// Who was heard and not answered.
    owed: [bool; CLIENTS_MAX],
    /// Who makes room for the next one when all places are taken.
    next: usize,
}

/// What a client had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing now.
    Nothing,
    /// A packet of so many bytes.
    Packet(usize),
    /// It has closed its end, and is forgotten.
    Goodbye,
}

impl TestSocket {
    /// Opens the socket in the run's directory, for every user of the board, and returns its path. Where that is not
    /// possible there is none, and helpers print their signals as text.
    pub(crate) fn open(&mut self, directory: &str) -> Option<String> {
        let path = [directory, "/", NAME].concat();
        let _ = paths::remove_file(&path);
        let listener = socket::serve(directory, NAME).ok()?;
        paths::set_mode(&path, 0o666).ok()?;
        self.listener = Some(listener);
        Some(path)
    }

    /// The socket, for those who come.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(|fd| fd.as_fd())
    }

    /// The clients with their numbers.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (u8, BorrowedFd<'_>)> {
        let numbered = (0..).zip(&self.clients);
        numbered.filter_map(|(index, client)| client.as_ref().map(|fd| (index, fd.as_fd())))
    }

    /// Lets one in.
    pub(crate) fn accept(&mut self) {
        let Some(client) = self.listener.as_ref().and_then(|fd| socket::accept(fd).ok()) else {
            return;
        };
        let mut place = self.clients.iter().position(Option::is_none);
        for _ in 0..CLIENTS_MAX {
            if place.is_none() {
                place = Some(self.next).filter(|next| !self.owed[*next]);
                self.next = (self.next + 1) % CLIENTS_MAX;
            }
        }
        // Without a place it is told so.
        if let Some(place) = place {
            self.clients[place] = Some(client);
        }
    }

    /// Reads a client's packet, if there is one; forgets a client that has closed its end.
    pub(crate) fn read(&mut self, client: u8, buffer: &mut [u8]) -> Said {
        let index = usize::from(client);
        let Some(Some(fd)) = self.clients.get(index) else { return Said::Nothing };
        match socket::receive(fd, buffer) {
            Ok(length) if length > 0 => {
                self.owed[index] = true;
                Said::Packet(length)
            }
            Err(Errno::EAGAIN) => Said::Nothing,
            Ok(_) | Err(_) => {
                (self.clients[index], self.owed[index]) = (None, false);
                Said::Goodbye
            }
        }
    }

    /// Answers a client. One that does not read its answers, or is gone, is forgotten.
    pub(crate) fn answer(&mut self, client: u8, packet: &[u8]) {
        let index = usize::from(client);
        let Some(place) = self.clients.get_mut(index) else { return };
        self.owed[index] = false;
        if place.as_ref().is_none_or(|fd| socket::tell(fd, packet).is_err()) {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::directory;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn receive(fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
        let mut buffer = [0; 8];
        let length = socket::receive(fd, &mut buffer)?;
        Ok(buffer[..length].to_vec())
    }

    #[test]
    fn whoever_comes_is_heard_and_answered() {
        let folder = directory(&"long-".repeat(24));
        let path = folder.to_str().unwrap();
        let mut socket = TestSocket::default();
        fs::write(folder.join(NAME), "an old one").unwrap();
        let whole = socket.open(path).unwrap();
        assert!(whole.len() > 107, "longer than an address");
        assert_eq!(fs::metadata(&whole).unwrap().permissions().mode() & 0o777, 0o666);
        let helpers = [0, 1].map(|_| socket::call(path, NAME).unwrap());
        socket.accept();
        socket.accept();
        assert_eq!(socket.clients().map(|(client, _)| client).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(socket.read(1, &mut [0; 8]), Said::Nothing, "nothing yet");
        socket::tell(&helpers[1], b"hello you").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(socket.read(1, &mut buffer), Said::Packet(8), "cut");
        assert_eq!(&buffer, b"hello yo");
        assert_eq!(socket.read(1, &mut buffer), Said::Nothing);
        socket.answer(1, &[22, 1]);
        assert_eq!(receive(&helpers[1]), Ok(vec![22, 1]));
        drop(helpers);
        for client in 0..2 {
            assert_eq!(socket.read(client, &mut buffer), Said::Goodbye);
        }
        assert_eq!(socket.clients().count(), 0);
        socket.answer(1, &[0]);
        assert_eq!(socket.read(200, &mut buffer), Said::Nothing);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_too_many_takes_a_place_and_who_lost_it_knows_whether_it_was_heard() {
        let folder = directory("full-socket");
        let path = folder.to_str().unwrap();
        let mut socket = TestSocket::default();
        socket.open(path).unwrap();
        let helpers: Vec<_> = (0..CLIENTS_MAX + 2)
            .map(|index| {
                let helper = socket::call(path, NAME).unwrap();
                if index == 1 {
                    socket::tell(&helper, b"unheard").unwrap();
                }
                socket.accept();
                helper
            })
            .collect();
        assert_eq!(socket.clients().count(), CLIENTS_MAX);
        assert_eq!(receive(&helpers[0]), Ok(vec![]), "it had said nothing");
        assert_eq!(receive(&helpers[1]), Err(Errno::ECONNRESET));
        for (helper, client) in
            helpers.iter().zip([0, 1].into_iter().chain(2..8).chain([0, 1])).skip(2)
        {
            socket::tell(helper, b"x").unwrap();
            assert_eq!(socket.read(client, &mut [0; 4]), Said::Packet(1), "{client}");
        }
        // All are owed an answer now; one of them gets it, and its place is the next one's.
        let newcomer = socket::call(path, NAME).unwrap();
        socket.accept();
        assert!(receive(&newcomer).map_or(true, |bytes| bytes.is_empty()), "there is no place");
        socket.answer(6, &[0]);
        let newcomer = socket::call(path, NAME).unwrap();
        socket.accept();
        socket::tell(&newcomer, b"y").unwrap();
        assert_eq!(socket.read(6, &mut [0; 4]), Said::Packet(1));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_takes_no_socket_means_none() {
        let mut socket = TestSocket::default();
        assert!(socket.open("/proc/self").is_none() && socket.listener().is_none());
        socket.accept();
        assert_eq!(socket.clients().count(), 0);
    }
}
