//! How fast the host's time stamp counter counts, which an emulated guest sees as its own: what the guest's kernel need not measure
//! then. Knows nothing of machines.

use std::time::{Duration, Instant};

/// Long enough for four digits.
const MEASURE: Duration = Duration::from_millis(2);

/// Loops per jiffy of a guest kernel with `hz` ticks a second that delays by the counter, as `lpj=` takes them (Linux:
/// `calibrate_delay` in init/calibrate.c). Takes 2 ms. `None` when the host's counter is none to go by.
pub(super) fn loops_per_jiffy(hz: u32) -> Option<u64> {
    let (begin, first) = (Instant::now(), counter()?);
    std::thread::sleep(MEASURE);
    let (took, last) = (begin.elapsed(), counter()?);
    rate(last.checked_sub(first)?, took, hz)
}

/// In thousands: the last digits are noise, and a number that is the same each time is easier to compare.
fn rate(ticks: u64, took: Duration, hz: u32) -> Option<u64> {
    let a_second = u128::from(ticks) * 1_000_000_000 / took.as_nanos().max(1);
    let loops = u64::try_from(a_second / u128::from(hz.max(1))).ok()?;
    (loops >= 1000).then_some(loops / 1000 * 1000)
}

#[cfg(target_arch = "x86_64")]
fn counter() -> Option<u64> {
    // SAFETY: every x86_64 processor has the instruction, and Linux lets programs use it unless they ask not to.
    Some(unsafe { std::arch::x86_64::_rdtsc() })
}

/// qemu makes a counter out of the clock there.
#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_gives_loops_per_jiffy() {
        assert_eq!(rate(4_600_123, Duration::from_millis(2), 250), Some(9_200_000));
        assert_eq!(rate(4_600_123, Duration::from_millis(2), 1000), Some(2_300_000));
    }

    #[test]
    fn one_that_stands_still_is_none() {
        assert_eq!(rate(0, MEASURE, 250), None);
    }
}
