//! The agent's memory, in place of the C library's, much of which is for threads and large programs.
//!
//! Small pieces have the sizes of powers of two; one that is freed waits for the next of its size. Others have pages of
//! their own, which go back to the kernel. So the small ones take at most twice what there ever was of each size at a
//! time, and the rest what there is now, rounded up to pages.

#![allow(unsafe_code, reason = "memory for all else is made of raw pieces")]

use nix::libc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;

/// See the module. Only for a program with a single thread.
pub(crate) struct Memory {
    state: UnsafeCell<State>,
}

struct State {
    /// The first free piece of each size; each begins with the address of the next.
    free: [*mut Free; SIZES],
    /// What was taken from the kernel and not yet cut into pieces.
    rest: *mut u8,
    rest_length: usize,
}

struct Free {
    next: *mut Self,
}

// SAFETY: the agent has a single thread, and no signal handler.
unsafe impl Sync for Memory {}

impl Memory {
    /// With nothing taken yet.
    pub(crate) const fn new() -> Self {
        let state = State { free: [ptr::null_mut(); SIZES], rest: ptr::null_mut(), rest_length: 0 };
        Self { state: UnsafeCell::new(state) }
    }

    /// # Safety
    /// As of [`GlobalAlloc::alloc`].
    #[inline(never)]
    unsafe fn take(&self, size: usize) -> *mut u8 {
        let Some(index) = index_of(size) else { return take_pages(size) };
        // SAFETY: nobody else has the state now, as there is a single thread and nothing below comes back here; what
        // is in a list of free pieces is nobody's, and long enough for an address.
        unsafe {
            let state = &mut *self.state.get();
            let first = state.free[index];
            if !first.is_null() {
                state.free[index] = (*first).next;
                return first.cast();
            }
            let length = 1 << (index + SMALLEST_BITS);
            if state.rest_length < length {
                // What is left of the last is too short for this, and lost: less than the largest of the small.
                let more = take_pages(MORE);
                if more.is_null() {
                    return more;
                }
                (state.rest, state.rest_length) = (more, MORE);
            }
            let piece = state.rest;
            state.rest = piece.add(length);
            state.rest_length -= length;
            piece
        }
    }

    /// # Safety
    /// As of [`GlobalAlloc::dealloc`].
    #[inline(never)]
    unsafe fn give_back(&self, piece: *mut u8, size: usize) {
        // SAFETY: it came from `take` with this size, and nobody uses it any more.
        unsafe {
            let Some(index) = index_of(size) else {
                libc::munmap(piece.cast(), size);
                return;
            };
            let state = &mut *self.state.get();
            let piece: *mut Free = piece.cast();
            (*piece).next = state.free[index];
            state.free[index] = piece;
        }
    }
}

// SAFETY: pieces are long enough, aligned (see `size_of`), and nobody else's until they are given back.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.take(size_of(layout)) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.give_back(piece, size_of(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let size = size_of(layout);
        // SAFETY: the caller's promise; the piece has this size.
        unsafe {
            let piece = self.take(size);
            // Pages are zeros already, and of those that nobody writes to there are none.
            if !piece.is_null() && index_of(size).is_some() {
                piece.write_bytes(0, size);
            }
            piece
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (old, align) = (size_of(layout), layout.align());
        // SAFETY: the caller's promise: `size` rounded up to `align` is no more than isize::MAX, and `piece` came
        // from here with `layout`.
        unsafe {
            let new = size_of(Layout::from_size_align_unchecked(size, align));
            // Growing by little by little costs a copy only when the piece is too short, and pages are moved by the
            // kernel.
            match (index_of(old), index_of(new)) {
                (Some(one), Some(other)) if one == other => return piece,
                (None, None) => {
                    let moved = libc::mremap(piece.cast(), old, new, libc::MREMAP_MAYMOVE);
                    return if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() };
                }
                _ => {}
            }
            let copy = self.take(new);
            if !copy.is_null() {
                ptr::copy_nonoverlapping(piece, copy, layout.size().min(size));
                self.give_back(piece, old);
            }
            copy
        }
    }
}

/// Bytes that a piece must have to be aligned as well: small ones are to 16 bytes, others to pages, and nothing to more.
fn size_of(layout: Layout) -> usize {
    let align = layout.align();
    let least = if align <= SMALLEST {
        0
    } else if align <= PAGE {
        PAGE
    } else {
        usize::MAX
    };
    layout.size().max(least)
}

/// Which list has pieces of that size; `None` for pages.
fn index_of(size: usize) -> Option<usize> {
    let bits = usize::BITS - (size.max(SMALLEST) - 1).leading_zeros();
    let index = bits as usize - SMALLEST_BITS;
    (index < SIZES).then_some(index)
}

/// Fresh pages, all zeros; null when there are none.
fn take_pages(size: usize) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory, which is nobody's.
    let pages = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
    if pages == libc::MAP_FAILED { ptr::null_mut() } else { pages.cast() }
}

/// The smallest piece has 16 bytes, and all have multiples of it.
const SMALLEST_BITS: usize = 4;
const SMALLEST: usize = 1 << SMALLEST_BITS;

/// The smallest page that Linux has.
const PAGE: usize = 4096;

/// Sizes of small pieces: 16 bytes to 2 KiB.
const SIZES: usize = 8;

/// What is taken from the kernel at a time for small ones.
const MORE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::xorshift::Xorshift32;
    use std::collections::BTreeSet;

    struct Piece {
        start: *mut u8,
        layout: Layout,
        mark: u8,
    }

    impl Piece {
        fn bytes(&mut self) -> &mut [u8] {
            // SAFETY: the piece is this long, and the test's.
            unsafe { std::slice::from_raw_parts_mut(self.start, self.layout.size()) }
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn pieces_are_nobody_elses_and_keep_what_is_in_them() {
        let memory = Memory::new();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut random = Xorshift32::new(std::num::NonZeroU32::MIN);
        for round in 0..4_000_u32 {
            let number = random.next() as usize;
            let size = 1 + (number >> 8) % [40, 600, 9000, 100_000][number % 4];
            match number >> 4 & 3 {
                0 | 1 if pieces.len() < 60 => {
                    let layout = layout(size, 1 << (number >> 6 & 4));
                    // SAFETY: sizes are not 0.
                    let start = unsafe { memory.alloc_zeroed(layout) };
                    let mut piece = Piece { start, layout, mark: round as u8 };
                    assert!(!start.is_null() && start.addr() % layout.align() == 0);
                    assert!(piece.bytes().iter().all(|byte| *byte == 0), "zeros");
                    piece.bytes().fill(round as u8);
                    pieces.push(piece);
                }
                2 if !pieces.is_empty() => {
                    let index = number % pieces.len();
                    let piece = &mut pieces[index];
                    let kept = size.min(piece.layout.size());
                    // SAFETY: it came from there with this layout.
                    piece.start = unsafe { memory.realloc(piece.start, piece.layout, size) };
                    piece.layout = layout(size, piece.layout.align());
                    let mark = piece.mark;
                    assert!(piece.bytes()[..kept].iter().all(|byte| *byte == mark));
                    piece.bytes().fill(mark);
                }
                _ if !pieces.is_empty() => {
                    let mut piece = pieces.swap_remove(number % pieces.len());
                    let mark = piece.mark;
                    assert!(piece.bytes().iter().all(|byte| *byte == mark));
                    // SAFETY: see above.
                    unsafe { memory.dealloc(piece.start, piece.layout) };
                }
                _ => {}
            }
        }
    }

    #[test]
    fn what_was_freed_is_used_again() {
        let memory = Memory::new();
        let mut places = BTreeSet::new();
        for round in 0..100 {
            let layouts = (0..200_usize).map(|number| layout(1 + number * 10, 8));
            // SAFETY: sizes are not 0, and each goes back with its layout.
            unsafe {
                let pieces: Vec<_> = layouts.map(|one| (memory.alloc(one), one)).collect();
                for (start, layout) in pieces {
                    memory.dealloc(start, layout);
                    assert!(places.insert(start.addr()) == (round == 0));
                }
            }
        }
    }

    #[test]
    fn alignments_and_sizes_at_the_bounds() {
        for (size, index) in [(0, 0), (16, 0), (17, 1), (1024, 6), (2048, 7)] {
            assert_eq!(index_of(size), Some(index));
        }
        assert_eq!((index_of(2049), index_of(usize::MAX)), (None, None));
        let memory = Memory::new();
        // SAFETY: sizes are not 0; what is given comes back.
        unsafe {
            for align in [1, 16, 32, 4096] {
                let start = memory.alloc(layout(24, align));
                assert!(!start.is_null() && start.addr() % align == 0);
                memory.dealloc(start, layout(24, align));
            }
            assert!(memory.alloc(layout(24, 8192)).is_null(), "more than pages are aligned to");
            assert!(memory.alloc(layout(isize::MAX as usize - 15, 16)).is_null());
        }
    }
}
