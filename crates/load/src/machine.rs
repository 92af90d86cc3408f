//! The machine that a run was made on.

use std::fs;

use serde::Serialize;

/// Facts about a machine that a reader of figures needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The model of its processors, or their architecture where the system does not tell.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Its memory; 0 where the system does not tell.
    pub memory_bytes: u64,
    /// The system and its release.
    pub system: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let model = field("/proc/cpuinfo", "model name");
        let kib = field("/proc/meminfo", "MemTotal");
        let kib = kib.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: model.unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: kib.unwrap_or_default() * 1024,
            system: format!("{} {}", std::env::consts::OS, release.trim()).trim().to_owned(),
        }
    }
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned())
}
