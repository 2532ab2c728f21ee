//! What the operating system says when it does not do something: a number (`man 3 errno`), and nothing else. The standard
//! library's error is one of five things, some of which must be freed, and takes a whole register more wherever it goes;
//! nix's is a list of all that there are, through which each number goes.

use nix::libc::{self, c_long};
use std::num::NonZeroI32;

/// An error's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(NonZeroI32);

/// Result of what only the operating system can say no to.
pub(crate) type OsResult<T> = Result<T, Errno>;

impl Errno {
    pub(crate) const ENOENT: Self = Self::new(libc::ENOENT);
    pub(crate) const EINTR: Self = Self::new(libc::EINTR);
    pub(crate) const EIO: Self = Self(INPUT_OUTPUT);
    pub(crate) const EAGAIN: Self = Self::new(libc::EAGAIN);
    pub(crate) const EBUSY: Self = Self::new(libc::EBUSY);
    pub(crate) const EEXIST: Self = Self::new(libc::EEXIST);
    pub(crate) const ENODEV: Self = Self::new(libc::ENODEV);
    pub(crate) const EISDIR: Self = Self::new(libc::EISDIR);
    pub(crate) const EINVAL: Self = Self::new(libc::EINVAL);
    pub(crate) const EFBIG: Self = Self::new(libc::EFBIG);
    pub(crate) const ENOSPC: Self = Self::new(libc::ENOSPC);
    pub(crate) const EROFS: Self = Self::new(libc::EROFS);
    pub(crate) const EPIPE: Self = Self::new(libc::EPIPE);
    pub(crate) const EUCLEAN: Self = Self::new(libc::EUCLEAN);
    pub(crate) const ENAMETOOLONG: Self = Self::new(libc::ENAMETOOLONG);
    pub(crate) const EOPNOTSUPP: Self = Self::new(libc::EOPNOTSUPP);
    pub(crate) const ECONNRESET: Self = Self::new(libc::ECONNRESET);
    pub(crate) const ENOTCONN: Self = Self::new(libc::ENOTCONN);
    pub(crate) const ETIMEDOUT: Self = Self::new(libc::ETIMEDOUT);
    pub(crate) const EINPROGRESS: Self = Self::new(libc::EINPROGRESS);

    /// With that number; 0, which is no error's, counts as EIO.
    pub(crate) const fn new(number: i32) -> Self {
        match NonZeroI32::new(number) {
            Some(number) => Self(number),
            None => Self(INPUT_OUTPUT),
        }
    }

    /// Of the system call that has just failed.
    #[inline(never)]
    pub(crate) fn last() -> Self {
        Self::new(nix::errno::Errno::last_raw())
    }

    /// Its number.
    pub(crate) const fn number(self) -> i32 {
        self.0.get()
    }

    /// Whether it is only a matter of time.
    pub(crate) fn is_for_later(self) -> bool {
        matches!(self, Self::EAGAIN | Self::EINTR)
    }
}

/// What a system call returned: below 0 it has failed.
#[inline(never)]
pub(super) fn done(returned: c_long) -> OsResult<usize> {
    usize::try_from(returned).map_err(|_| Errno::last())
}

const INPUT_OUTPUT: NonZeroI32 = NonZeroI32::new(libc::EIO).unwrap();
