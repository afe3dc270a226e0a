//! Compression of a pack on all processors, as far as the memory goes. Does not know what is in it.

use std::fs;
use std::io::{self, Write};
use std::num::NonZero;

const LEVEL: i32 = 12;

/// Bytes that a thread takes at that level: 48 MB of tables, a piece of 16 MB, and what comes of it.
const EACH: u64 = 70 << 20;

/// How many threads are started where the free memory is not known.
const FEW: u64 = 8;

/// Compresses in so many threads, at least one. The bytes are the same with any number of them (zstd.h, `ZSTD_c_nbWorkers`: what 0 gives is
/// another). zstd starts a thread's work with a piece of 16 MB, so a small pack keeps few of them busy, and takes the memory of few.
pub(super) fn encoder<W: Write>(to: W, threads: u32) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(to, LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.multithread(threads.max(1))?;
    Ok(encoder)
}

/// How many threads this machine has for it.
pub(super) fn here() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    // In a container /proc/meminfo is of the whole machine, and what it may take stands here; "max" is no limit.
    let most = read("/sys/fs/cgroup/memory.max").trim().parse().ok();
    let free = available(&read("/proc/meminfo"));
    fitting(cores, free.map(|free| most.map_or(free, |most| free.min(most))))
}

/// One for each core, unless they would take more than a quarter of the memory that programs can still get: builds and machines may run beside it.
fn fitting(cores: usize, available: Option<u64>) -> u32 {
    let most = available.map_or(FEW, |bytes| bytes / 4 / EACH);
    u32::try_from(most.min(cores as u64)).unwrap_or(u32::MAX).max(1)
}

/// Bytes that programs can still get, out of /proc/meminfo.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_work_as_long_as_a_quarter_of_the_free_memory_is_enough() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n"), Some(2 << 30));
        assert_eq!(available(""), None);
        assert_eq!(fitting(64, Some(16 << 30)), 58);
        assert_eq!(fitting(64, Some(128 << 30)), 64);
        assert_eq!(fitting(64, Some(2 << 30)), 7);
        assert_eq!(fitting(2, Some(0)), 1);
        assert_eq!((fitting(64, None), fitting(2, None)), (8, 2));
    }

    #[test]
    fn the_bytes_are_the_same_with_any_number_of_threads() {
        // More than two pieces.
        let line: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
        let packed = |threads| {
            let mut encoder = encoder(Vec::new(), threads).unwrap();
            (0..40_u8).for_each(|n| encoder.write_all(&[n]).and_then(|()| encoder.write_all(&line)).unwrap());
            encoder.finish().unwrap()
        };
        let one = packed(1);
        assert_eq!(one, packed(0), "none is one");
        assert!(one == packed(3) && one == packed(64));
    }
}
