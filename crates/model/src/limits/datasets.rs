//! Limits of many datasets: how many there are, the threads that they share, and their opening.

/// Datasets on one node.
pub const NODE_DATASETS: usize = 1_024;
/// The most that an operator may allow: each has [`DATASET_DESCRIPTORS`] and a directory.
pub const NODE_DATASETS_MOST: usize = 4_096;
/// Descriptors of an idle dataset: its directory, its lock, its newest segment.
pub const DATASET_DESCRIPTORS: usize = 3;
/// Descriptors of the process that files of datasets leave to everything else when one is opened.
pub const DESCRIPTORS_BESIDE_DATASETS: u64 = 512;
/// They are at most one in so many.
pub const DESCRIPTORS_BESIDE_DATASETS_PART: u64 = 2;
/// Threads of a node for owners of datasets: so many logs are written to at the same time.
pub const OWNER_THREADS: usize = 128;
/// Threads of a node for views and mail.
pub const DELIVERY_THREADS: usize = 64;
/// Threads of a node for snapshots, segments that are prepared, and bodies of messages.
pub const STORAGE_THREADS: usize = 64;
/// A thread of a pool that is idle for this long ends, unless it is the last one.
pub const POOL_IDLE_MS: u64 = 5_000;
/// Datasets that are opened at a time: each waits for its disk several times.
pub const OPENINGS: usize = 16;
/// Time after which the others have their turn and are served; a slow one comes up when it is done.
pub const OPENING_MS: u64 = 10_000;
/// A dataset that could not be opened, and is not damaged, is tried again this often.
pub const UNOPENED_RETRY_MS: u64 = 5_000;
