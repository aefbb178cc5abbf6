//! Figures of the process, from `/proc`, under the names that Prometheus's own client libraries give them.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// What the system knows about the process. `None`: it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    /// Unix seconds.
    pub(super) started: Option<f64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) max_descriptors: Option<u64>,
}

impl Process {
    /// The figures now. Reads three files and a directory.
    pub(super) fn read() -> Self {
        let mut process = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|stat| Self::parse(&stat, clock_ticks_per_second(), page_size() as u64))
            .unwrap_or_default();
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|stat| booted(&stat));
        process.started = process.started.zip(booted).map(|(since, boot)| boot + since);
        // The directory is open itself while it is read.
        process.open_descriptors =
            fs::read_dir("/proc/self/fd").ok().map(|open| (open.count() as u64).saturating_sub(1));
        process.max_descriptors = getrlimit(Resource::Nofile).current;
        process
    }

    /// The figures in proc_pid_stat(5). `started` is seconds since boot.
    fn parse(stat: &str, ticks: u64, page_bytes: u64) -> Option<Self> {
        // The name, the second field, may contain anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<u64> =
            fields.split(' ').map(|field| field.trim_end().parse().unwrap_or_default()).collect();
        // Numbered from 1 in the manual, and here from the third.
        let field = |number: usize| fields.get(number - 3).copied();
        let seconds = |value: u64| value as f64 / ticks.max(1) as f64;
        Some(Self {
            cpu_seconds: Some(seconds(field(14)? + field(15)?)),
            started: Some(seconds(field(22)?)),
            virtual_bytes: Some(field(23)?),
            resident_bytes: Some(field(24)? * page_bytes),
            ..Self::default()
        })
    }
}

/// `btime` in proc_stat(5): when the system was booted, Unix seconds.
fn booted(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_may_contain_anything() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = format!("7 (a) 1 (b) R {}\n", numbers.join(" "));
        let process = Process::parse(&stat, 100, 4096).expect("figures");
        assert_eq!(process.cpu_seconds, Some(0.29));
        assert_eq!(process.started, Some(0.22));
        assert_eq!(process.virtual_bytes, Some(23));
        assert_eq!(process.resident_bytes, Some(24 * 4096));
        for broken in ["", "7 (a", "7 (a) R", "7 (a) R 1 2 3"] {
            assert_eq!(Process::parse(broken, 100, 4096), None, "{broken}");
        }
        assert_eq!(booted("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1.7e9));
        assert_eq!(booted("cpu 1 2\n"), None);
    }
}
