//! Waiting for what has no descriptor to wait for (a file that grows), and noticing meanwhile that nobody reads any more.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits for `period`, at most a minute. Returns early, with `true`, when the other end of `output` is closed.
pub fn wait_or_hangup(output: impl AsFd, period: Duration) -> bool {
    let millis = u16::try_from(period.as_millis()).unwrap_or(u16::MAX).min(60_000);
    // Nothing is asked for: an error and a hangup are told all the same.
    let mut fds = [PollFd::new(output.as_fd(), PollFlags::empty())];
    let told = poll(&mut fds, PollTimeout::from(millis));
    told.is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        assert!(!wait_or_hangup(&writer, Duration::from_millis(1)));
        drop(reader);
        assert!(wait_or_hangup(&writer, Duration::from_secs(60)));
    }
}
