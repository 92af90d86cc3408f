//! Limits of sites: how many there are, the history that is held for them, and dumps.

/// Sites of one dataset.
pub const SITES: usize = 256;
/// Longest reason that is kept with a state of a site; what is longer is cut.
pub const SITE_REASON_BYTES: usize = 2_048;
/// Time without a word of a site after which it is stale.
pub const SITE_STALE_MS: u64 = 30_000;
/// Bytes of the log that are read to find the oldest commit which a site has not confirmed.
pub const SITE_LAG_BYTES: usize = 256 * 1024;
/// Records of one commit that a site may leave out.
pub const SITE_SKIPS: usize = 16;
/// Names of tables, or of journals, that a site may list.
pub const SITE_NAMES: usize = 256;
/// A site is live while it is no more entries behind than this.
pub const SITE_LIVE_ENTRIES: u64 = 1_000;
/// A live site that is more entries behind than this catches up again.
pub const SITE_BEHIND_ENTRIES: u64 = 10_000;
/// Bytes of history that are held for sites beyond what is kept for all readers.
pub const SITE_HOLD_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Age of history that is held for sites, in hours.
pub const SITE_HOLD_HOURS: u64 = 14 * 24;
/// Largest chunk of a dump.
pub const DUMP_CHUNK_BYTES: usize = 1024 * 1024;
/// Chunks of a dump: what is remembered of each does not depend on its size.
pub const DUMP_CHUNKS: usize = 1_048_576;
/// Bytes of all dumps that are on their way.
pub const SPOOL_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Dumps that are on their way.
pub const DUMPS: usize = 16;
/// Time after which a dump whose source sends nothing has failed.
pub const DUMP_SILENT_MS: u64 = 25_000;
/// Time for which a dump is kept that no site reads.
pub const DUMP_UNREAD_MS: u64 = 10 * 60 * 1000;
/// Longest wait of a request for a chunk that is not there yet.
pub const DUMP_WAIT_MS: u64 = 20_000;
/// Largest body of an acknowledgement or a failure of a site.
pub const SITE_BODY_BYTES: usize = 64 * 1024;
