//! How the program starts: called by the C library, without the standard library's own start, whose handler for
//! overflowing stacks, names of threads and guards it has no use for. What the agent needs of it is done here.

use super::child;
use super::memory::Memory;
use nix::libc::{self, c_char, c_int};
use std::ffi::CStr;

#[global_allocator]
static MEMORY: Memory = Memory::new();

/// The C library's entry.
///
/// # Safety
/// Called once, with `count` strings in `words`.
#[allow(unsafe_code)]
// SAFETY: the name is what the C library looks for, and nothing else in the program has it.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    // SAFETY: nobody has a handler yet. Writing to a pipe that nobody reads is an error then, and no death.
    unsafe { child::set_handler(libc::SIGPIPE, libc::SIG_IGN) };
    // Nor may a file of the agent's own be taken for one of the first three.
    loop {
        // SAFETY: a constant text; what is closed is nobody else's.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if fd > libc::STDERR_FILENO {
            // SAFETY: see above.
            unsafe { libc::close(fd) };
        }
        if !(0..=libc::STDERR_FILENO).contains(&fd) {
            break;
        }
    }
    let mut words = (0..usize::try_from(count).unwrap_or(0)).map(|index| {
        // SAFETY: the C library gives as many strings, which live as long as the process.
        unsafe { CStr::from_ptr(*words.add(index)) }.to_bytes()
    });
    let name = words.next().unwrap_or_default();
    let words: Vec<&[u8]> = words.collect();
    crate::run_program(name, &words).into()
}
