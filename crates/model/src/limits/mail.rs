//! Limits of mail.

/// Largest body of a message, as JSON.
pub const MAIL_BODY_BYTES: usize = 256 * 1024;
/// Queues in one dataset.
pub const QUEUES: usize = 256;
/// Longest reason of a dead letter.
pub const MAIL_REASON_BYTES: usize = 1024;
/// Failures after which a message is a dead letter.
pub const MAIL_ATTEMPTS: u16 = 20;
/// Delay of the first retry of a message; each further one is twice as long.
pub const MAIL_RETRY_MS: u64 = 1_000;
/// Longest delay of a retry.
pub const MAIL_RETRY_MS_MOST: u64 = 10 * 60_000;
/// Messages that are tended by one commit, of each sort.
pub const MAIL_TENDED: usize = 1_000;
/// Interval at which the dataset looks for messages that are due.
pub const MAIL_TEND_MS: u64 = 100;
/// Lease: time for which a server may work on a message before it is asked.
pub const MAIL_LEASE_MS: u64 = 60_000;
/// Timeout of the first question to a server about its messages; each further one is longer.
pub const MAIL_ASK_MS: u64 = 5_000;
/// Questions that a server leaves unanswered before a message is given again.
pub const MAIL_ASKS: u32 = 4;
/// Messages that may be unconfirmed at a server, if it says nothing else.
pub const MAIL_CREDIT: usize = 64;
/// The most that it may say.
pub const MAIL_CREDIT_MOST: usize = 1_024;
/// Messages remembered as given on one connection, for its ranges; the oldest go first.
pub const MAIL_GIVEN: usize = 4 * MAIL_CREDIT_MOST;
/// Messages, or endpoints without any, that are looked at in one go for one server.
pub const MAIL_LOOKED_AT_ONCE: u64 = 4_096;
/// Bytes of messages that may be unconfirmed at a server, if it is more than one message.
pub const MAIL_WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// Messages of one endpoint that are given before another has its turn.
pub const MAIL_TURN: usize = 8;
/// Messages that are given together.
pub const MAIL_PUSH: usize = 64;
/// Finished messages that are remembered, so that their ids are stored once.
pub const MAIL_FINISHED: u64 = 1_000_000;
/// Retention of finished messages.
pub const MAIL_FINISHED_HOURS: u64 = 24;
/// Dead letters that are kept in one dataset; the oldest are given up first.
pub const MAIL_DEAD: u64 = 100_000;
/// A message that waits for longer is an alarm.
pub const MAIL_ALARM_AGE_S: u64 = 3_600;
/// A program that takes mail over HTTP and is silent for this long is taken for gone.
pub const MAIL_PULL_IDLE_MS: u64 = 60_000;
/// Longest wait of a pull for a message.
pub const MAIL_PULL_WAIT_MS: u64 = 20_000;
/// Changes of messages that wait between the owner and the delivery, by entries.
pub const MAIL_QUEUE_ENTRIES: usize = 1_024;
/// Events of one registration (a start, credit, a pull …) that wait for the delivery.
pub const MAIL_EVENTS_OF_ONE: usize = 2 * MAIL_CREDIT_MOST;
/// Bytes of such events.
pub const MAIL_EVENT_BYTES_OF_ONE: usize = 256 * 1024;
/// Events of all registrations of a dataset that wait for the delivery.
pub const MAIL_EVENTS: usize = 65_536;
/// Bytes of such events.
pub const MAIL_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// Registrations that wait for the delivery to begin.
pub const MAIL_REGISTRATIONS_WAITING: usize = 4_096;
/// Failures that wait to be counted, from which on no server may begin with more messages.
pub const MAIL_UNSETTLED: usize = 16_384;
/// Wait before something that the owner refused the dataset itself is proposed again …
pub const MAIL_REFUSED_MS: u64 = 1_000;
/// … and the longest one, when it is refused again and again.
pub const MAIL_REFUSED_MS_MOST: u64 = 30_000;
/// Messages of one page.
pub const MAIL_PAGE: usize = 1_000;
/// Messages that one request looks at for a page.
pub const MAIL_LOOKED_AT: usize = 200_000;
/// Bodies of messages of one dataset that are kept in memory while they are young.
pub const MAIL_YOUNG_BYTES: usize = 64 * 1024 * 1024;
/// Bodies that are written to the store together.
pub const MAIL_SPILL_BYTES: usize = 4 * 1024 * 1024;
/// Stored bodies whose messages have ended that wait to be removed.
pub const MAIL_ENDED_BODIES: usize = 16_384;
