//! Descriptors of the process: their limit, and the parts of it that connections and files of
//! datasets leave to each other.
//!
//! ```text
//! 0                                                              limit
//! | connections and files                  | kept for files       |
//! |                                        |  and operators       |
//! | files of datasets, at most   | left to everything else         |
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use instep_model::disk::Shortage;
use instep_model::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Refusal of descriptors to the files of a dataset.
#[derive(Debug, thiserror::Error)]
pub enum NoDescriptors {
    /// The files of datasets have their part.
    #[error(
        "this process may have {limit} descriptors, of which datasets leave {beside} to \
         connections: raise the limit (`ulimit -n`, or `LimitNOFILE` of a unit of systemd)"
    )]
    Limit {
        /// Descriptors that the process may have.
        limit: u64,
        /// Part of them that datasets do not take.
        beside: u64,
    },
    /// Connections have almost all others.
    #[error("connections have the descriptors: {0}")]
    Taken(io::Error),
}

/// Raises the limit of this process's descriptors as far as the system lets it without rights, up
/// to [`limits::DESCRIPTORS_MOST`]. Many systems give a process 1,024 and allow it far more.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(before) = current else { return };
    let raised =
        maximum.map_or(limits::DESCRIPTORS_MOST, |most| most.min(limits::DESCRIPTORS_MOST));
    if raised <= before {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => tracing::info!(before, limit = raised, "the limit of descriptors is raised"),
        Err(error) => tracing::warn!(%error, before, "the limit of descriptors is not raised"),
    }
}

/// Warns when the process may have too few descriptors for as many datasets as are allowed.
pub fn warn_of_few_descriptors(max_datasets: usize) {
    let limit = most_descriptors();
    let of_datasets = max_datasets.saturating_mul(limits::DATASET_DESCRIPTORS) as u64;
    let needed = of_datasets + limits::DESCRIPTORS_BESIDE_DATASETS;
    if needed > limit {
        tracing::warn!(
            limit,
            needed,
            max_datasets,
            "the process may have too few descriptors for so many datasets: raise the limit \
             (`ulimit -n`, or `LimitNOFILE` of a unit of systemd), or lower `max_datasets`"
        );
    }
}

/// Growth of the process's table of descriptors, done at the start: Linux stops every thread that
/// opens something for 10 to 30 ms each time when it has to double the table, and a crowd that
/// connects would make it do so six times.
pub fn grow_descriptor_table() {
    let size = most_descriptors().min(limits::DESCRIPTOR_TABLE);
    let highest = RawFd::try_from(size).unwrap_or(RawFd::MAX) - 1;
    let grown = null().and_then(|file| Ok(rustix::io::fcntl_dupfd_cloexec(&file, highest)?));
    if let Err(error) = grown {
        tracing::debug!(%error, "the table of descriptors grows later");
    }
}

/// Checks that a dataset may be opened, while the files of datasets have so many descriptors or
/// are about to: they leave a part to connections.
///
/// # Errors
/// [`NoDescriptors::Limit`].
pub fn check_descriptors(of_files: usize) -> Result<(), NoDescriptors> {
    let limit = most_descriptors();
    let beside = beside_datasets(limit);
    let wanted = of_files.saturating_add(limits::DATASET_DESCRIPTORS) as u64;
    if wanted > limit - beside {
        return Err(NoDescriptors::Limit { limit, beside });
    }
    Ok(())
}

/// Checks that a new dataset needs none of the descriptors that connections leave to the files
/// that are there, to keys and to operators.
///
/// # Errors
/// [`NoDescriptors::Taken`].
pub fn check_free_descriptors() -> Result<(), NoDescriptors> {
    let next: io::Result<Vec<File>> = (0..limits::DATASET_DESCRIPTORS).map(|_| null()).collect();
    match next {
        Ok(next) if !next.iter().any(is_scarce) => Ok(()),
        Ok(_) => Err(NoDescriptors::Taken(Shortage::no_descriptors())),
        Err(error) => Err(NoDescriptors::Taken(error)),
    }
}

/// True when a connection that was just accepted has one of the last descriptors of the process,
/// which are kept for files, and for operators of the server. The system always gives the
/// lowest number that is free.
pub(crate) fn is_scarce(connection: &impl AsRawFd) -> bool {
    connection.as_raw_fd() >= reserve_begins()
}

/// The number of the first descriptor of the reserve: no connection of an ordinary client has it.
pub(crate) fn reserve_begins() -> RawFd {
    let most = most_descriptors();
    RawFd::try_from(most - reserve_of(most)).unwrap_or(RawFd::MAX)
}

/// Descriptors that are kept for files, and for operators of the server.
pub(crate) fn reserve() -> usize {
    usize::try_from(reserve_of(most_descriptors())).unwrap_or(usize::MAX)
}

/// Limit of the descriptors of this process.
fn most_descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn reserve_of(most: u64) -> u64 {
    // Where there are few, every one counts; logs keep theirs anyway.
    if most < limits::KEPT_DESCRIPTORS_FROM {
        return 0;
    }
    (most / limits::KEPT_DESCRIPTORS_PART).min(limits::KEPT_DESCRIPTORS)
}

fn beside_datasets(most: u64) -> u64 {
    (most / limits::DESCRIPTORS_BESIDE_DATASETS_PART).min(limits::DESCRIPTORS_BESIDE_DATASETS)
}

fn null() -> io::Result<File> {
    File::open("/dev/null")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_not_for_connections() {
        assert_eq!([64, 256, 20_000].map(reserve_of), [0, 32, limits::KEPT_DESCRIPTORS]);
    }

    #[test]
    fn datasets_leave_descriptors_to_connections() {
        let most = [64, 512, 20_000, u64::MAX];
        let beside = most.map(beside_datasets);

        assert_eq!(beside, [32, 256, 512, limits::DESCRIPTORS_BESIDE_DATASETS]);
        assert!(most.iter().zip(beside).all(|(most, beside)| beside > reserve_of(*most)));
    }
}
