//! What libraries take from libc by themselves: the time and random bytes. On a thread that [`enter`]s, both follow the
//! simulation; on every other thread the kernel answers as always.
//!
//! `std::time`, `HashMap`, `tokio::select!`, `rand::rng` and whatever else asks libc's `clock_gettime` and `getrandom`
//! gets these: a program's own definition of a symbol comes before libc's. So the same seed gives the same order
//! everywhere, also in crates that have no seam for it. Known as what the crate `mad-turmoil` does. Only the binary
//! `simulate` and this crate's tests hold it, never the product.
//!
//! The safe twin is tokio's own clock: a test below compares the two.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_uint, c_void};

use tokio::time::Instant;

/// What the clock shows when a simulation begins: 2027-01-01T00:00:00Z, in seconds since 1970.
pub const BEGINNING: i64 = 1_798_761_600;
/// What `CLOCK_MONOTONIC` shows then. More than any duration that somebody may subtract from it.
const MONOTONIC: i64 = 1_000_000;
/// `CLOCK_REALTIME` and `CLOCK_REALTIME_COARSE` of Linux; all others are monotonic ones.
const REALTIME: [c_int; 2] = [0, 5];

#[cfg(target_arch = "x86_64")]
const SYSCALLS: (c_long, c_long) = (228, 318);
#[cfg(target_arch = "aarch64")]
const SYSCALLS: (c_long, c_long) = (113, 278);

#[derive(Clone, Copy)]
enum Time {
    /// The kernel's.
    Real,
    /// The beginning, until there is a runtime.
    Stopped,
    /// As far from the beginning as tokio's clock is from this.
    Since(Instant),
}

thread_local! {
    static TIME: Cell<Time> = const { Cell::new(Time::Real) };
    /// State of the generator; `None`: the kernel's bytes.
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
    /// Whether this thread is asking tokio for the time right now.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Ends the simulation on this thread when it is dropped.
pub struct Entered(());

/// From now on this thread's random bytes come from `seed`, and its clock stands at [`BEGINNING`].
pub fn enter(seed: u64) -> Entered {
    RANDOM.set(Some(seed));
    TIME.set(Time::Stopped);
    Entered(())
}

impl Entered {
    /// From now on this thread's clock is tokio's, which showed `start` at the beginning. To be called within the
    /// runtime.
    pub fn follow(&self, start: Instant) {
        TIME.set(Time::Since(start));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        TIME.set(Time::Real);
        RANDOM.set(None);
    }
}

/// The next number of this thread's generator, for another thread to begin with.
pub fn fork() -> u64 {
    let mut bytes = [0; 8];
    if !fill(&mut bytes) {
        return 0;
    }
    u64::from_ne_bytes(bytes)
}

/// SplitMix64: every seed gives a full period, and libraries only want bits that differ.
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (state, z ^ (z >> 31))
}

/// False: this thread is in no simulation.
fn fill(buffer: &mut [u8]) -> bool {
    let Some(mut state) = RANDOM.get() else {
        return false;
    };
    for chunk in buffer.chunks_mut(8) {
        let number;
        (state, number) = next(state);
        chunk.copy_from_slice(&number.to_ne_bytes()[..chunk.len()]);
    }
    RANDOM.set(Some(state));
    true
}

/// Seconds and nanoseconds since the beginning; `None`: real time.
fn elapsed() -> Option<(i64, i64)> {
    match TIME.get() {
        Time::Real => None,
        Time::Stopped => Some((0, 0)),
        Time::Since(_) if ASKING.get() => Some((0, 0)),
        Time::Since(start) => {
            ASKING.set(true);
            let passed = Instant::now().saturating_duration_since(start);
            ASKING.set(false);
            let seconds = i64::try_from(passed.as_secs()).unwrap_or(i64::MAX / 2);
            Some((seconds, i64::from(passed.subsec_nanos())))
        }
    }
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// libc's `clock_gettime(2)`.
///
/// # Safety
/// `time` points to a `struct timespec` that may be written, as the man page says.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let Some((seconds, nanos)) = elapsed() else {
        // SAFETY: the same arguments that the caller gave, to the system call that libc would make.
        let answer = unsafe { syscall(SYSCALLS.0, c_long::from(clock), time) };
        return c_int::try_from(answer).unwrap_or(-1);
    };
    let beginning = if REALTIME.contains(&clock) {
        BEGINNING
    } else {
        MONOTONIC
    };
    // SAFETY: the caller gives a pointer that may be written.
    unsafe {
        time.write(Timespec {
            seconds: beginning + seconds,
            nanos,
        });
    }
    0
}

/// libc's `getrandom(2)`.
///
/// # Safety
/// `buffer` points to `length` bytes that may be written, as the man page says.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if RANDOM.get().is_none() {
        // SAFETY: the same arguments that the caller gave, to the system call that libc would make.
        let answer = unsafe { syscall(SYSCALLS.1, buffer, length, c_long::from(flags)) };
        return isize::try_from(answer).unwrap_or(-1);
    }
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller gives that many bytes; they are set to zero before they become a slice.
    let bytes = unsafe {
        buffer.cast::<u8>().write_bytes(0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    fill(bytes);
    isize::try_from(length).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    fn in_simulation<T: Send + 'static>(seed: u64, work: impl FnOnce(&Entered) -> T + Send + 'static) -> T {
        std::thread::spawn(move || work(&enter(seed))).join().unwrap()
    }

    #[test]
    fn libraries_read_the_clock_that_tokio_has() {
        in_simulation(1, |entered| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let start = Instant::now();
                entered.follow(start);
                let before = std::time::Instant::now();
                tokio::time::sleep(Duration::from_millis(3_600_250)).await;
                assert_eq!(before.elapsed(), start.elapsed());
                let now = jiff::Timestamp::now();
                assert_eq!(now.as_second(), BEGINNING + 3600);
            });
        });
        // Elsewhere time goes on.
        assert!(jiff::Timestamp::now().as_second() < BEGINNING + 365 * 86_400 * 50);
        let before = std::time::Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(before.elapsed() >= Duration::from_millis(2));
    }

    #[test]
    fn randomness_of_libraries_repeats_with_the_seed() {
        let look = |_: &Entered| {
            let order: Vec<u32> = (0..50).collect::<HashSet<u32>>().into_iter().collect();
            (order, rand::random::<u64>())
        };
        assert_eq!(in_simulation(7, look), in_simulation(7, look));
        assert_ne!(in_simulation(7, look), in_simulation(8, look));
        assert_ne!(rand::random::<u64>(), rand::random::<u64>());
    }
}
