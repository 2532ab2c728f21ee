//! In place of the C library's on 32-bit ARM: system calls as they are.
//!
//! musl's own know what old kernels lacked and what threads need, and have two layouts of every time; together with its
//! start, which prepares threads, they take 6 KiB. What is not here comes from the C library as ever. A function with a
//! variable number of arguments there has those that it can have here: they are passed alike.
//!
//! Layouts are those of the `libc` crate for musl, with times of 32 bits, and of the kernel (arch/arm/tools/syscall.tbl,
//! include/uapi/asm-generic/stat.h); where both are the same nothing is copied.

#![allow(unsafe_code, reason = "every function here has a name and a promise of the C library's")]

use nix::libc::{self, c_char, c_int, c_uint, c_ulong, c_void, off_t, size_t, ssize_t, syscall};
use std::ptr;

// The program's first instructions, in place of the compiler's and the C library's: nothing is to be set up. They are
// ARM's, whatever the rest is compiled to, and leave the address of the kernel's words to `begin`.
std::arch::global_asm!(
    ".arm",
    ".globl _start",
    ".type _start, %function",
    "_start:",
    "mov r0, sp",
    "bl begin",
);

/// `words`: how many the program was started with, then these. No thread is prepared, as there is none, and nothing has
/// thread-local variables: cross/build-agent looks. `environ` stays empty; the agent reads its own from /proc.
///
/// # Safety
/// Called once, by `_start`.
#[unsafe(no_mangle)]
unsafe extern "C" fn begin(words: *const *const c_char) -> ! {
    // SAFETY: the kernel's layout of a new process.
    unsafe { libc::_exit(super::start::main(words.cast::<c_int>().read(), words.add(1))) }
}

// What is laid out below has times of 32 bits; and see `statfs`.
const _: () = assert!(size_of::<libc::timespec>() == 8 && size_of::<libc::statfs>() == 88);

static mut ERRNO: c_int = 0;

/// The one thread's, which needs no place of its own. By both names that the C library has for it.
#[unsafe(no_mangle)]
extern "C" fn __errno_location() -> *mut c_int {
    &raw mut ERRNO
}

#[unsafe(no_mangle)]
extern "C" fn ___errno_location() -> *mut c_int {
    &raw mut ERRNO
}

/// Defines functions that are one system call, whose arguments are theirs.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) -> $result:ty = $number:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The C library's of this name has the same.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
            // SAFETY: the caller's promise.
            unsafe { syscall($number, $($argument),*) as $result }
        }
    )*};
}

calls! {
    /// Without the layouts that sound cards and cameras had before 64-bit times.
    ioctl(fd: c_int, what: c_int, argument: *mut c_void) -> c_int = libc::SYS_ioctl;
    /// Without commands that old kernels lacked.
    fcntl(fd: c_int, what: c_int, argument: c_ulong) -> c_int = libc::SYS_fcntl64;
    /// Of a descriptor that was opened as such; O_PATH makes others.
    fchmod(fd: c_int, mode: c_uint) -> c_int = libc::SYS_fchmod;
    /// The kernel has had the flags since 2.6.27.
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int = libc::SYS_socket;
    /// Since 2.6.36.
    accept4(fd: c_int, who: *mut c_void, length: *mut c_uint, flags: c_int) -> c_int = libc::SYS_accept4;
    /// Since 2.6.27.
    pipe2(ends: *mut c_int, flags: c_int) -> c_int = libc::SYS_pipe2;
    /// With what may be up to four numbers.
    prctl(what: c_int, one: c_ulong, two: c_ulong, three: c_ulong, four: c_ulong) -> c_int = libc::SYS_prctl;
    /// Of no address of the caller's choice.
    mremap(old: *mut c_void, before: size_t, length: size_t, flags: c_int) -> *mut c_void = libc::SYS_mremap;
    /// From here on: without points at which a thread can be canceled.
    close(fd: c_int) -> c_int = libc::SYS_close;
    /// See `close`.
    read(fd: c_int, to: *mut c_void, length: size_t) -> ssize_t = libc::SYS_read;
    /// See `close`.
    write(fd: c_int, from: *const c_void, length: size_t) -> ssize_t = libc::SYS_write;
    /// See `close`.
    fsync(fd: c_int) -> c_int = libc::SYS_fsync;
    /// See `close`.
    fdatasync(fd: c_int) -> c_int = libc::SYS_fdatasync;
    /// See `close`.
    poll(fds: *mut libc::pollfd, count: libc::nfds_t, ms: c_int) -> c_int = libc::SYS_poll;
    /// See `close`. Not by the one call for all that has to do with sockets (`socketcall`), which ARM never had.
    connect(fd: c_int, who: *const c_void, length: c_uint) -> c_int = libc::SYS_connect;
    /// See `connect`.
    bind(fd: c_int, who: *const c_void, length: c_uint) -> c_int = libc::SYS_bind;
    /// See `connect`.
    listen(fd: c_int, backlog: c_int) -> c_int = libc::SYS_listen;
    /// See `connect`.
    send(fd: c_int, from: *const c_void, length: size_t, flags: c_int) -> ssize_t = libc::SYS_send;
    /// See `connect`.
    recv(fd: c_int, to: *mut c_void, length: size_t, flags: c_int) -> ssize_t = libc::SYS_recv;
    /// See `connect`. Of options that have no times.
    setsockopt(fd: c_int, level: c_int, what: c_int, from: *const c_void, length: c_uint) -> c_int = libc::SYS_setsockopt;
    /// See `setsockopt`.
    getsockopt(fd: c_int, level: c_int, what: c_int, to: *mut c_void, length: *mut c_uint) -> c_int = libc::SYS_getsockopt;
}

/// # Safety
/// As of open(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { openat(libc::AT_FDCWD, path, flags, mode) }
}

/// # Safety
/// As of openat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn openat(at: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let flags = flags | libc::O_LARGEFILE;
    // SAFETY: the caller's promise.
    unsafe { syscall(libc::SYS_openat, at, path, flags, mode) as c_int }
}

/// # Safety
/// As of mmap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    at: *mut c_void,
    length: size_t,
    access: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // Whatever the size of a page is, the kernel counts offsets in 4096 bytes.
    let offset = (offset >> 12) as c_ulong;
    // SAFETY: the caller's promise.
    unsafe { syscall(libc::SYS_mmap2, at, length, access, flags, fd, offset) as *mut c_void }
}

/// # Safety
/// As of pread(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pread(fd: c_int, to: *mut c_void, length: size_t, at: off_t) -> ssize_t {
    // A number of 64 bits is in an even register and the next one.
    let (even, low, high) = (0_usize, at as c_ulong, (at >> 32) as c_ulong);
    // SAFETY: the caller's promise.
    unsafe { syscall(libc::SYS_pread64, fd, to, length, even, low, high) as ssize_t }
}

/// # Safety
/// As of pwrite(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, from: *const c_void, length: size_t, at: off_t) -> ssize_t {
    let (even, low, high) = (0_usize, at as c_ulong, (at >> 32) as c_ulong);
    // SAFETY: the caller's promise.
    unsafe { syscall(libc::SYS_pwrite64, fd, from, length, even, low, high) as ssize_t }
}

/// The layout is the kernel's `struct statfs64`; ARM's takes one that is 4 bytes longer, as here, for the same.
///
/// # Safety
/// As of statfs(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn statfs(path: *const c_char, found: *mut libc::statfs) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { syscall(libc::SYS_statfs64, path, size_of::<libc::statfs>(), found) as c_int }
}

/// Nobody's usage of resources is asked for.
///
/// # Safety
/// As of waitid(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn waitid(
    kind: c_int,
    id: c_uint,
    found: *mut libc::siginfo_t,
    how: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { syscall(libc::SYS_waitid, kind, id, found, how, ptr::null::<u8>()) as c_int }
}

/// # Safety
/// As of lseek(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t {
    let mut result = 0;
    let (high, low) = ((offset >> 32) as c_ulong, offset as c_ulong);
    // SAFETY: the kernel writes 8 bytes.
    let done = unsafe { syscall(libc::SYS__llseek, fd, high, low, &raw mut result, whence) };
    if done < 0 { -1 } else { result }
}

/// # Safety
/// As of clock_gettime(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut libc::timespec) -> c_int {
    let mut wide = WideTime { seconds: 0, nanoseconds: 0 };
    // SAFETY: the kernel fills what has its layout; the caller's promise.
    unsafe {
        let done = syscall(SYS_CLOCK_GETTIME64, clock, &raw mut wide);
        if done < 0 && is_unknown() {
            return syscall(libc::SYS_clock_gettime, clock, time) as c_int;
        }
        (*time).tv_sec = wide.seconds as _;
        (*time).tv_nsec = wide.nanoseconds as _;
        done as c_int
    }
}

/// # Safety
/// As of ppoll(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn ppoll(
    fds: *mut libc::pollfd,
    count: libc::nfds_t,
    time: *const libc::timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    // SAFETY: the caller's promise; a mask has 8 bytes.
    unsafe {
        let wide = time
            .as_ref()
            .map(|time| WideTime { seconds: time.tv_sec.into(), nanoseconds: time.tv_nsec.into() });
        let wide = wide.as_ref().map_or(ptr::null(), ptr::from_ref);
        let done = syscall(SYS_PPOLL_TIME64, fds, count, wide, mask, 8_usize);
        if done < 0 && is_unknown() {
            return syscall(libc::SYS_ppoll, fds, count, time, mask, 8_usize) as c_int;
        }
        done as c_int
    }
}

/// Whether the kernel does not know a call: one before 5.1, of those with 64-bit times. A later one may lack the others.
fn is_unknown() -> bool {
    // SAFETY: the one thread's.
    unsafe { ERRNO == libc::ENOSYS }
}

/// The kernel's `struct __kernel_timespec`.
#[repr(C)]
struct WideTime {
    seconds: i64,
    nanoseconds: i64,
}

/// arch/arm/tools/syscall.tbl.
const SYS_CLOCK_GETTIME64: libc::c_long = 403;
const SYS_PPOLL_TIME64: libc::c_long = 414;

// Memory is moved by words where that is easy, and by bytes; the C library's do all that a processor can, in 1.2 KiB.
// Volatile: of a loop that moves bytes the compiler would make a call of these very functions.

/// # Safety
/// As of memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: size_t) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { memmove(to, from, length) }
}

/// # Safety
/// As of memmove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: size_t) -> *mut u8 {
    // SAFETY: the caller's promise: both have so many bytes. What lies ahead and is still to be moved is not overwritten.
    unsafe {
        if (to.addr()).wrapping_sub(from.addr()) < length {
            for at in (0..length).rev() {
                to.add(at).write_volatile(from.add(at).read_volatile());
            }
            return to;
        }
        let mut at = 0;
        if (to.addr() | from.addr()) % 4 == 0 {
            while at + 4 <= length {
                to.add(at).cast::<u32>().write_volatile(from.add(at).cast::<u32>().read_volatile());
                at += 4;
            }
        }
        while at < length {
            to.add(at).write_volatile(from.add(at).read_volatile());
            at += 1;
        }
    }
    to
}

/// # Safety
/// As of memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: c_int, length: size_t) -> *mut u8 {
    let mut at = 0;
    // SAFETY: the caller's promise: there are so many bytes.
    unsafe {
        if to.addr() % 4 == 0 {
            while at + 4 <= length {
                let word = u32::from_ne_bytes([value as u8; 4]);
                to.add(at).cast::<u32>().write_volatile(word);
                at += 4;
            }
        }
        while at < length {
            to.add(at).write_volatile(value as u8);
            at += 1;
        }
    }
    to
}

/// # Safety
/// As of strlen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> size_t {
    let mut length = 0;
    // SAFETY: the caller's promise: there is a NUL.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
