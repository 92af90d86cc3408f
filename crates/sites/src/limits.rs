//! Limits of an agent: queues, batches, waits.

use std::time::Duration;

/// Commits that wait for the store.
pub const QUEUE_COMMITS: usize = 16 * 1024;
/// Bytes of records that wait for the store; a larger commit waits alone.
pub const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Commits of one transaction of the store.
pub const BATCH_COMMITS: usize = 4 * 1024;
/// Bytes of records in one transaction of the store; a larger commit has one of its own.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that a record weighs beside its row or text.
pub const RECORD_BYTES: usize = 64;

/// Shortest time between two acknowledgements.
pub const ACK_INTERVAL: Duration = Duration::from_secs(1);
/// Waits before something that failed in passing is tried again.
pub const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest of them.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Time for which a site that is known is waited for until it gives the first dump.
pub const SOURCE_WAIT: Duration = Duration::from_secs(60);
/// Wait before a record that the store refused is tried again.
pub const RECORD_WAIT: Duration = Duration::from_secs(10);
/// Interval at which a site says that it is there, while nothing is new.
pub const WORD_INTERVAL: Duration = Duration::from_secs(10);
/// Interval at which a site that stands at a record asks for the decision of an operator.
pub const ORDER_INTERVAL: Duration = Duration::from_secs(1);
/// Time behind which trouble of a store that passes is told to the server, too.
pub const TROUBLE_WAIT: Duration = Duration::from_secs(10);
/// Timeout of connecting to a database.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which a database that does not confirm what it was sent is taken for gone.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Statements that are sent to a database before the first is answered.
pub const PIPELINED: usize = 256;
/// Commits of a command behind which its position is told.
pub const COMMAND_COMMITS: usize = 16;
/// Longest answer of a command that is read.
pub const ANSWER_BYTES: usize = 64 * 1024;
/// Commits of one request to a URL.
pub const HTTP_COMMITS: usize = 1024;
/// Time that an agent which is told to stop gives its store.
pub const STOP_WAIT: Duration = Duration::from_secs(5);
/// Time that a store waits for another process that has it locked.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Rows that a database is asked for at a time.
pub const ROWS_AT_A_TIME: usize = 1_000;
/// Rows that wait to be compared.
pub const ROWS_WAITING: usize = 1_024;
/// Keys of rows that may differ, which are remembered; behind them only a count is.
pub const DIFFERING_KEYS: usize = 10_000;

/// Bytes of a chunk of a dump; the last one is smaller.
pub const CHUNK_BYTES: usize = 1024 * 1024;
/// Chunks that wait between the connection and the store.
pub const CHUNKS_WAITING: usize = 4;
/// Bytes of one row in a dump of tables.
pub const DUMP_LINE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of rows in one transaction of a restore.
pub const RESTORE_BYTES: usize = 4 * 1024 * 1024;
/// Characters of the text of an error that are told.
pub const ERROR_CHARS: usize = 1_000;
