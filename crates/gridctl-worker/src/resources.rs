//! What this machine has for trials: processors, memory, GPUs.
//! Invariant: only looks; a limit of the container or cgroup that the worker is in counts as the
//! machine's.

use std::path::Path;
use std::{fs, thread};

use gridctl_core::protocol::Capacity;

/// Processors that this process may use.
#[must_use]
pub fn cpus() -> u32 {
    thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// MiB of memory: the machine's, or the limit of the cgroup that this process is in if that is
/// less.
#[must_use]
pub fn memory_mib(cgroup_limit: Option<u64>) -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    match (machine, cgroup_limit.map(|bytes| bytes >> 20)) {
        (Some(machine), Some(limit)) => machine.min(limit),
        (Some(known), None) | (None, Some(known)) => known,
        (None, None) => 0,
    }
}

/// MiB, by the text of `/proc/meminfo`.
fn mem_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? >> 10)
}

/// The GPUs of this machine, as `CUDA_VISIBLE_DEVICES` names them: those that NVIDIA's driver
/// shows, numbered from 0.
#[must_use]
pub fn gpus() -> Vec<String> {
    gpus_under(Path::new("/proc/driver/nvidia/gpus"))
}

fn gpus_under(driver: &Path) -> Vec<String> {
    let count = fs::read_dir(driver).map_or(0, |entries| entries.flatten().count());
    (0..count).map(|index| index.to_string()).collect()
}

/// What a worker offers: `slots` trials at once if it was told a number, otherwise as many as fit.
#[must_use]
pub fn capacity(slots: Option<u32>, gpus: &[String], cgroup_limit: Option<u64>) -> Capacity {
    let cpu_milli = slots.unwrap_or_else(cpus).saturating_mul(1000);
    let gpus = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
    Capacity { cpu_milli, mem_mib: memory_mib(cgroup_limit), gpus, slots: slots.unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_machines_or_the_cgroups_whichever_is_less() {
        assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:       8145200 kB\n"), Some(7954));
        assert_eq!(memory_mib(Some(64 << 20)), 64);
        assert!(memory_mib(Some(u64::MAX)) > 64);
    }

    #[test]
    fn gpus_are_counted_as_the_driver_shows_them_and_none_is_none() {
        let driver = tempfile::tempdir().unwrap();
        fs::create_dir(driver.path().join("0000:01:00.0")).unwrap();
        fs::create_dir(driver.path().join("0000:02:00.0")).unwrap();
        assert_eq!(gpus_under(driver.path()), ["0", "1"]);
        assert!(gpus_under(&driver.path().join("nothing")).is_empty());
    }

    #[test]
    fn a_stated_number_of_slots_is_exact() {
        let capacity = capacity(Some(3), &["0".to_owned()], None);
        assert_eq!((capacity.slots, capacity.cpu_milli, capacity.gpus), (3, 3000, 1));
    }
}
