//! Every limit of Instep, in one file (law 6), those of tokens, mail, sites and many datasets
//! beside it. Units are in the names; sizes are bytes.
//!
//! A limit that an operator may change is the default of a configuration key with the same name.

mod datasets;
mod mail;
mod sites;
mod tokens;

pub use self::datasets::*;
pub use self::mail::*;
pub use self::sites::*;
pub use self::tokens::*;

/// Longest name of a dataset, table, journal or view.
pub const NAME_BYTES: usize = 64;
/// Longest key of a row.
pub const KEY_BYTES: usize = 256;
/// Largest row, as canonical JSON.
pub const ROW_BYTES: usize = 256 * 1024;
/// Lists and objects within one another, at most: in a row, a payload, a meta, a body of a message.
pub const VALUE_DEPTH: usize = 32;
/// The same in what carries one of them: parameters of a join, a push, an operation.
pub const CARRIED_DEPTH: usize = VALUE_DEPTH + 8;
/// Largest record of a journal.
pub const JOURNAL_RECORD_BYTES: usize = 256 * 1024;
/// Longest prefix of the paths of a relay.
pub const RELAY_PREFIX_BYTES: usize = 256;
/// Most proposals in one commit.
pub const COMMIT_PROPOSALS: usize = 1_000;
/// Largest body of a commit as it arrives.
pub const COMMIT_BYTES: usize = 1024 * 1024;
/// Largest result of a commit: bytes of its records.
pub const COMMIT_RESULT_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of a commit in an entry: its records with what stands around them.
pub const COMMIT_STORED_BYTES: usize = 2 * COMMIT_RESULT_BYTES;
/// Largest proposal or answer that is read as bytes.
pub const MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Messages and endpoints that moves of one commit may look at, besides [`COMMIT_MOVES_OF_ALL`]
/// times as many as there are.
pub const COMMIT_MOVES: u64 = 100_000;
/// Each of a dataset's unfinished messages may be moved so often by one commit.
pub const COMMIT_MOVES_OF_ALL: u64 = 2;
/// Bytes of rows that a commit may read and write on the way there.
pub const COMMIT_WORK_BYTES: usize = 64 * 1024 * 1024;
/// Most commits flushed together in one entry of the log.
pub const ENTRY_COMMITS: usize = 4_096;
/// The owner ends a batch here, or where its entry would be larger than the log takes.
pub const ENTRY_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of memory for entries that an owner keeps from one to the next.
pub const ENTRY_KEPT_BYTES: usize = 256 * 1024;
/// Largest frame that the embedded log accepts: a full entry and one more commit of records.
pub const LOG_FRAME_BYTES: usize = 64 * 1024 * 1024;
/// A snapshot above this is written again only after as much log as it is large.
pub const LARGE_SNAPSHOT_BYTES: u64 = 64 * 1024 * 1024;
/// Tables and journals in one dataset.
pub const DATASET_TABLES: usize = 1_024;
/// Proposals waiting for the owner of one dataset; beyond it a door answers `overloaded`.
pub const OWNER_QUEUE_COMMITS: usize = 16_384;
/// Bytes of proposals waiting for the owner of one dataset.
pub const OWNER_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// While appends take no longer, a caller may wait for its own: on a slower disk it would hold up
/// other work, and waking the owner's thread is nothing beside the append.
pub const BRISK_APPEND_US: u64 = 1_000;
/// An append that takes longer shows in `/readyz`: the disk does not answer.
pub const STALLED_APPEND_MS: u64 = 2_000;
/// Time for datasets to close once the time to drain is over, also if a disk does not answer.
pub const CLOSING_MS: u64 = 5_000;
/// While subscribers are told in so short a time, a caller tells what it has committed by itself.
pub const BRISK_TELLING_US: u64 = 25;
/// A clock that goes back by less is as good as one that did not: deadlines stay as they are.
pub const CLOCK_BACK_MS: u64 = 1_000;
/// Step forward of the clock beyond which history is not aged at once.
pub const HISTORY_STEP_MS: u64 = 10 * 60 * 1000;
/// Time after which such a step is believed, and history aged by it.
pub const HISTORY_DOUBT_MS: u64 = 60 * 60 * 1000;
/// Retention of a commit id.
pub const ID_MEMORY_MS: u64 = 24 * 60 * 60 * 1000;
/// Tolerance for the time inside a commit id to lie in the future.
pub const ID_AHEAD_MS: u64 = 10 * 60 * 1000;
/// Commit ids remembered per principal; the oldest go first, and ids older than them are refused.
pub const ID_MEMORY_PER_PRINCIPAL: usize = 1_000_000;
/// Bytes of commit ids and their replies of one principal; the oldest go first.
pub const ID_MEMORY_BYTES_PER_PRINCIPAL: usize = 128 * 1024 * 1024;
/// Bytes of commit ids and their replies in one dataset; those of the principal with most go first.
pub const ID_MEMORY_BYTES: usize = 512 * 1024 * 1024;
/// Principals whose commit ids are remembered in one dataset.
pub const ID_MEMORY_PRINCIPALS: usize = 65_536;
/// One whose newest commit id is older than this gives way to a new one when there are so many.
pub const ID_PRINCIPAL_MS: u64 = 10 * 60 * 1000;
/// Longest name of a principal.
pub const PRINCIPAL_BYTES: usize = 128;
/// Shortest admin key.
pub const ADMIN_KEY_BYTES: usize = 16;
/// Rights in the configuration.
pub const RIGHTS: usize = 1_024;
/// Patterns of one right.
pub const RIGHT_PATTERNS: usize = 64;
/// Longest pattern of a right.
pub const PATTERN_BYTES: usize = 255;
/// Roles of one principal.
pub const ROLES: usize = 64;
/// Origins that may open sockets besides the server's own.
pub const ORIGINS: usize = 256;
/// Keys for programs.
pub const PROGRAM_KEYS: usize = 1_024;
/// Longest CEL expression.
pub const EXPRESSION_BYTES: usize = 4 * 1024;
/// Levels of a CEL expression's tree; a chain of operators has one for each.
pub const EXPRESSION_DEPTH: usize = 256;
/// Signs that could nest up to which an expression is read where it arrives; one with more, on a
/// thread with a stack of its own.
pub const EXPRESSION_FLAT: usize = 64;
/// Most levels of a tree that is run where it is asked for; a deeper one runs on such a thread too.
pub const EXPRESSION_SHALLOW: usize = 32;
/// Stack of that thread: enough for what [`EXPRESSION_BYTES`] can nest.
pub const EXPRESSION_STACK_BYTES: usize = 64 * 1024 * 1024;
/// Steps of an expression, and of all the conditions of one commit.
pub const EXPRESSION_STEPS: u64 = 500_000;
/// Largest compiled form of a pattern of `matches`.
pub const REGEX_BYTES: usize = 256 * 1024;
/// Largest cache of such a pattern, for each thread that uses it.
pub const REGEX_CACHE_BYTES: usize = 64 * 1024;
/// Looking for a pattern takes a step for each byte of the text, and one more for each time so many
/// bytes that it was compiled to.
pub const REGEX_STEP_BYTES: usize = 1024;
/// Patterns that a thread keeps compiled.
pub const REGEXES_COMPILED: usize = 32;
/// Largest result of an expression, its values counted as one byte each and its texts in full.
pub const EXPRESSION_RESULT_BYTES: usize = ROW_BYTES;
/// Views declared on one dataset.
pub const DATASET_VIEWS: usize = 256;
/// Patterns of topics whose views were changed that a dataset knows apart; beyond, all count as
/// changed at the latest of these times.
pub const DEFINITION_FLOORS: usize = 256;
/// Longest topic name.
pub const TOPIC_BYTES: usize = 255;
/// Longest event name.
pub const EVENT_BYTES: usize = 255;
/// View topics without rows whose last changes are remembered, per dataset.
pub const EMPTY_VIEW_TOPICS: usize = 100_000;
/// Visible changes remembered per topic, for `since`.
pub const TOPIC_RECENT_CHANGES: usize = 1_024;
/// Time that a start takes to evaluate views over the entries of a log, so that older positions
/// can be resumed on their topics.
pub const REPLAY_VIEWS_MS: u64 = 2_000;
/// Entries at the end of the log over which it evaluates them even when that took too long …
pub const REPLAY_VIEWS_ENTRIES: usize = 64;
/// … as far as they have no more bytes than this.
pub const REPLAY_VIEWS_BYTES: usize = 1024 * 1024;
/// Frames kept in a topic's ring.
pub const RING_FRAMES: usize = 1_024;
/// Bytes kept in a topic's ring.
pub const RING_BYTES: usize = 4 * 1024 * 1024;
/// Age of a frame in a topic's ring.
pub const RING_MS: u64 = 60_000;

/// Threads that serve sockets, at most: more are of no use on any machine.
pub const SHARDS_MOST: usize = 256;

/// Bytes of the rings of all topics of a node; beyond them each keeps its equal part.
pub const RINGS_BYTES: usize = 256 * 1024 * 1024;

/// Bytes of rows after which a page of them ends.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// Rows that a join reply carries inline.
pub const JOIN_INLINE_ROWS: usize = 256;
/// Bytes of rows that a join reply carries inline.
pub const JOIN_INLINE_BYTES: usize = 64 * 1024;
/// Rows of one snapshot chunk pushed after a join reply.
pub const JOIN_CHUNK_ROWS: usize = 256;
/// Bytes of one snapshot chunk.
pub const JOIN_CHUNK_BYTES: usize = 64 * 1024;
/// Rows that a join may bring at all; beyond it: `too_large`, take the HTTP snapshot.
pub const JOIN_ROWS: usize = 100_000;
/// Bytes of rows that a join may bring at all.
pub const JOIN_BYTES: usize = 16 * 1024 * 1024;
/// Times that a join finds its dataset busy with an entry and waits for it, before it holds up the
/// thread that serves it.
pub const JOIN_TRIES: u8 = 16;
/// Rows of one page over HTTP.
pub const PAGE_ROWS: usize = 1_000;
/// Channels joined on one socket.
pub const SOCKET_CHANNELS: usize = 100;
/// Longest `ref` and `join_ref` of a message.
pub const REF_BYTES: usize = 255;
/// Pushes of one session that may wait for their replies; beyond it: `overloaded`.
pub const UNANSWERED_PUSHES: usize = 256;
/// Messages of one session that may wait for the answers to its joins.
pub const HELD_MESSAGES: usize = 256;
/// Malformed frames in a row that end a session.
pub const MALFORMED_IN_A_ROW: u32 = 16;
/// Largest frame from a client.
pub const FRAME_BYTES: usize = 1024 * 1024;
/// Least that the largest frame may be configured to be.
pub const FRAME_BYTES_LEAST: usize = 1024;
/// Most that the largest frame may be configured to be.
pub const FRAME_BYTES_MOST: usize = 16 * 1024 * 1024;
/// Bytes of unfinished frames that all connections of a shard may keep together.
pub const UNFINISHED_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of an unfinished frame that any connection may keep, however much others do.
pub const UNFINISHED_SPARED_BYTES: usize = 4 * 1024;
/// Largest payload published to a live topic.
pub const PUBLISH_BYTES: usize = 64 * 1024;
/// Messages published by one request.
pub const PUBLISH_MESSAGES: usize = 1_000;
/// Longest id of a published message.
pub const PUBLISH_ID_BYTES: usize = 128;
/// Ids of published messages that are remembered on one node; the oldest go first.
pub const PUBLISH_IDS: usize = 65_536;
/// Retention of such an id.
pub const PUBLISH_ID_MS: u64 = 5 * 60_000;
/// Messages that a live topic may be told to keep as its history.
pub const LIVE_HISTORY_MESSAGES: usize = 10_000;
/// Bytes of messages that a live topic keeps as its history.
pub const LIVE_HISTORY_BYTES: usize = 1024 * 1024;
/// Bytes of messages that a live topic may be told to keep.
pub const LIVE_HISTORY_BYTES_MOST: usize = 16 * 1024 * 1024;
/// Retention of a live topic's history.
pub const LIVE_HISTORY_MS: u64 = 5 * 60_000;
/// Live topics with a history that are kept on one node without subscribers.
pub const LIVE_TOPICS_KEPT: usize = 100_000;
/// Bytes of these topics.
pub const LIVE_TOPICS_KEPT_BYTES: usize = 256 * 1024 * 1024;
/// Longest presence key.
pub const PRESENCE_KEY_BYTES: usize = 128;
/// Largest meta of a presence, as JSON.
pub const PRESENCE_META_BYTES: usize = 4 * 1024;
/// Metas under one presence key: the same user on several screens.
pub const PRESENCE_METAS_PER_KEY: usize = 64;
/// Largest piece of a presence list, as JSON.
pub const PRESENCE_PIECE_BYTES: usize = 64 * 1024;
/// Metas on one topic that are listed; beyond it only their count is told.
pub const PRESENCE_LISTED: usize = 1_000;
/// Interval of presence diffs on a topic.
pub const PRESENCE_MS: u64 = 250;
/// Interval at which live topics drop messages that are too old.
pub const LIVE_HOUSE_MS: u64 = 1_000;
/// A reader of events without news gets a sign of life this often.
pub const EVENTS_BEAT_MS: u64 = 15_000;
/// A reader of events comes back after this long.
pub const EVENTS_RETRY_MS: u64 = 1_000;
/// Sockets on one node.
pub const NODE_SOCKETS: usize = 19_000;
/// Sockets of one address: behind one there may be a whole office, but not the whole node.
pub const ADDRESS_SOCKETS: usize = 2_000;
/// Bytes that may wait on all connections together, or are not complete: answers that a socket does
/// not take, rows of joins, unfinished messages, bodies.
pub const WAITING_BYTES: usize = 512 * 1024 * 1024;
/// Waiting bytes of one address. Beyond either limit, each connection keeps what it is spared.
pub const ADDRESS_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that a connection may have waiting while its address has more than it may.
pub const OUTBOX_SPARED_BYTES: usize = 16 * 1024;
/// Pulls that wait for mail are at most one for so many sockets that may be.
pub const PULLS_PART: usize = 2;
/// Presences on topics are at most so many for each socket that may be.
pub const PRESENCES_PER_SOCKET: usize = 8;
/// Bytes counted for a presence, besides its key and meta.
pub const PRESENCE_SPARED_BYTES: usize = 512;
/// Connections that may be there for a moment while every socket has its own.
pub const REQUESTS_BESIDE: usize = 16;
/// Connections of HTTP beyond all places, for refusals and for operators.
pub const EXTRA_CONNECTIONS: usize = 128;
/// One address has at most one in so many of them.
pub const EXTRA_OF_ADDRESS_PART: usize = 2;
/// Timeout for the request of such a connection.
pub const EXTRA_MS: u64 = 2_000;
/// Descriptors that no connection of ordinary clients is given: for files, and for operators.
pub const KEPT_DESCRIPTORS: u64 = 256;
/// Descriptors of a process below which there is no such reserve.
pub const KEPT_DESCRIPTORS_FROM: u64 = 128;
/// Largest reserve, as one part in so many of the descriptors of a process.
pub const KEPT_DESCRIPTORS_PART: u64 = 8;
/// Descriptors that a server raises its own limit to, where the system allows so many.
pub const DESCRIPTORS_MOST: u64 = 1_048_576;
/// Descriptors that the table of a server's process has room for from the start.
pub const DESCRIPTOR_TABLE: u64 = 65_536;
/// Largest file of keys or of public keys that is read.
pub const PRIVATE_FILE_BYTES: u64 = 1024 * 1024;
/// Largest head of a request of HTTP.
pub const HEAD_BYTES: usize = 32 * 1024;
/// Longest id of a request that a client may choose.
pub const REQUEST_ID_BYTES: usize = 128;
/// Bytes of a body that any request may bring, however much others do.
pub const BODY_SPARED_BYTES: usize = 16 * 1024;
/// A body comes at least this fast, in the long run.
pub const BODY_BYTES_PER_S: u64 = 16 * 1024;
/// Timeout of an unfinished message, besides what its bytes take at that speed.
pub const UNFINISHED_MS: u64 = 20_000;
/// A read that brings less than this and completes no message counts as one.
pub const TRICKLE_BYTES: usize = 256;
/// A connection on which nothing is under way is asked after so long whether it is there …
pub const KEEPALIVE_AFTER_MS: u64 = 30_000;
/// … and so often …
pub const KEEPALIVE_EVERY_MS: u64 = 10_000;
/// … and is gone when it has not answered this many times.
pub const KEEPALIVE_PROBES: u32 = 3;
/// A reader of a stream that acknowledges nothing for so long has vanished.
pub const VANISHED_MS: u64 = 50_000;
/// Addresses and networks of trusted proxies.
pub const PROXIES: usize = 256;
/// Largest header of the PROXY protocol, with whatever a proxy adds.
pub const PROXY_HEADER_BYTES: usize = 1024;
/// Delay before such a header that came in parts is read further.
pub const PROXY_HEADER_AGAIN_MS: u64 = 5;
/// Connections of one address each second.
pub const RATE_CONNECTIONS: u32 = 200;
/// Connections of one address at once: a whole office comes back after a restart.
pub const RATE_CONNECTIONS_BURST: u32 = 2_000;
/// Messages of one connection each second.
pub const RATE_MESSAGES: u32 = 200;
/// Messages of one connection at once.
pub const RATE_MESSAGES_BURST: u32 = 1_000;
/// Requests on one connection of HTTP each second.
pub const RATE_REQUESTS: u32 = 1_000;
/// Requests on one connection of HTTP at once.
pub const RATE_REQUESTS_BURST: u32 = 2_000;
/// Keys and tokens of one address that are no good, each minute.
pub const RATE_FAILURES: u32 = 30;
/// Keys and tokens of one address that are no good, at once.
pub const RATE_FAILURES_BURST: u32 = 60;
/// Refused messages in a row that end a connection.
pub const RATE_REFUSALS: u32 = 1_000;
/// Addresses with a rate of their own; further ones share no limit, and are not refused.
pub const RATE_ADDRESSES: usize = 65_536;
/// Committed batches between the owner and the views of one dataset.
pub const VIEWS_QUEUE_ENTRIES: usize = 256;
/// Bytes read from one socket before the next one has its turn.
pub const READ_BYTES: usize = 64 * 1024;
/// Bytes read from all sockets of a shard before it does anything else.
pub const READ_BYTES_PER_TURN: u64 = 1024 * 1024;
/// Events that a shard takes from the system at once.
pub const EVENTS_PER_POLL: usize = 1_024;
/// Polls of a shard in a row before it does anything else.
pub const POLLS_PER_TURN: usize = 16;
/// Age up to which a connection counts as one that has just come.
pub const NEWCOMER_MS: u64 = 2_000;
/// Time that a shard gives in each turn to the connections that have been there for a while.
pub const READ_US_PER_TURN: u64 = 2_000;
/// Time that it gives to connections that come and go. Others wait so long.
pub const CROWD_US_PER_TURN: u64 = 500;
/// Time for commands: sockets from handshakes, answers of applications.
pub const MAIL_US_PER_TURN: u64 = 300;
/// Time for one listener.
pub const ACCEPT_US_PER_TURN: u64 = 300;
/// Time for deadlines that have passed.
pub const DEADLINES_US_PER_TURN: u64 = 500;
/// Subscribers given new frames before a shard writes to them: few, for the cache of a core.
pub const GIVEN_AT_ONCE: usize = 32;
/// Subscribers that a shard gives new frames in a turn.
pub const GIVEN_PER_TURN: usize = 256;
/// Sockets that a shard writes to before it does anything else.
pub const WRITES_PER_TURN: usize = 1_024;
/// Time for reading topics one socket at a time: of those behind, and of servers with mail.
pub const CATCH_UP_US_PER_TURN: u64 = 500;
/// Connections that may wait to be taken in; the system may allow fewer.
pub const LISTEN_BACKLOG: i32 = 65_535;
/// Connections accepted for HTTP in a row before other threads that want the core go first.
pub const ARRIVALS_IN_A_ROW: usize = 8;
/// Newcomers that begin to speak on one HTTP thread in a row before the same.
pub const NEWCOMERS_IN_A_ROW: usize = 8;
/// Time for which other threads go first, if there are any.
pub const NEWCOMERS_REST_MS: u64 = 2;
/// TLS handshakes of one thread that serves HTTP, and of the TCP door. The next ones wait.
pub const TLS_PLACES: usize = 64;
/// Time for which a TLS handshake keeps its place: a slow one makes others wait no longer.
pub const TLS_PLACE_MS: u64 = 20;
/// Connections that a shard takes from one listener before it does anything else.
pub const ACCEPTS_PER_TURN: usize = 8;
/// Rest of the listener after that, if more wait.
pub const ACCEPT_REST_MS: u64 = 1;
/// Connections and joined topics that a shard looks at for people, before it does anything else.
pub const SURVEY_PER_TURN: usize = 1_024;
/// Connections whose rights a shard looks at again before it does anything else.
pub const REVIEWS_PER_TURN: usize = 256;
/// Questions of people that wait for a shard.
pub const SURVEYS: usize = 64;
/// Connections that one answer lists.
pub const CONNECTIONS_LISTED: usize = 1_000;
/// Different names that clients call themselves, kept on one node.
pub const AGENTS: usize = 1_024;
/// Longest part of such a name that is kept.
pub const AGENT_BYTES: usize = 200;
/// Time for requests in flight and for sockets to end when the server stops.
pub const DRAIN_MS: u64 = 15_000;
/// Timeout of a client that was told that the server stops: to close its side, and to complete the
/// head of a request that has begun.
pub const DRAIN_LINGER_MS: u64 = 1_000;
/// Connections that are sent away at once when the server stops; more of them one by one.
pub const DRAIN_AT_ONCE: usize = 100;
/// Time over which more connections than that are sent away.
pub const DRAIN_SPREAD_MS: u64 = 5_000;
/// Connections that wait for one thread of HTTP: as many as a process may have.
pub const WAITING_CONNECTIONS: usize = 16 * 1024;
/// Pause of a listener when the system has no descriptor left.
pub const ACCEPT_AGAIN_MS: u64 = 50;
/// Frames of one topic that are laid out together for all of its subscribers.
pub const BATCH_FRAMES: usize = 1_024;
/// Bytes of one topic that are laid out together, by whole frames.
pub const BATCH_BYTES: usize = 64 * 1024;
/// Bytes waiting for one socket above which it is not read, and gets nothing from its topics.
pub const OUTBOX_BYTES: usize = 256 * 1024;
/// Answers of applications that one client may wait for; beyond it the client is not read.
pub const AWAITED_ANSWERS: u32 = 512;
/// Timeout of a TLS handshake, and after it of the first request.
pub const HANDSHAKE_MS: u64 = 10_000;
/// Bytes that wait, encrypted, for one socket.
pub const TLS_BUFFER_BYTES: usize = 64 * 1024;
/// Pieces handed to the system in one write.
pub const WRITE_PIECES: usize = 64;
/// A reader that takes nothing for this long is closed; it can resume.
pub const SLOW_READER_MS: u64 = 120_000;
/// Timeout of a connection that is closed: to write the rest, and for the client to close.
pub const LINGER_MS: u64 = 5_000;
/// A socket from which nothing arrives for this long is closed.
pub const SOCKET_IDLE_MS: u64 = 60_000;
/// A long-poll request waits this long for messages.
pub const LONGPOLL_WINDOW_MS: u64 = 10_000;
/// A long-poll session without a poll dies after this long.
pub const LONGPOLL_IDLE_MS: u64 = 30_000;
/// Frames waiting in one long-poll session.
pub const LONGPOLL_FRAMES: usize = 1_024;
/// Bytes waiting in one long-poll session; beyond it the session ends.
pub const LONGPOLL_BYTES: usize = 2 * 1024 * 1024;
/// Largest body of one long-poll request.
pub const LONGPOLL_BODY_BYTES: usize = 2 * 1024 * 1024;
/// Lines of one long-poll request; the rest is ignored.
pub const LONGPOLL_LINES: usize = 100;
/// A Janus client is asked whether it is there this often, and dropped if it does not say so.
pub const JANUS_PING_MS: u64 = 30_000;
/// A Janus session that has subscribed outlives its connection for this long.
pub const JANUS_DETACHED_MS: u64 = 10_000;
/// Frames that wait in a detached Janus session; beyond it the session ends.
pub const JANUS_OWED_FRAMES: usize = 1_024;
/// Bytes that wait in a detached Janus session.
pub const JANUS_OWED_BYTES: usize = 1024 * 1024;
/// Janus sessions of a shard that wait for another connection; beyond it they end.
pub const JANUS_DETACHED_SESSIONS: usize = 16_384;
/// Longest key that a Janus client shows.
pub const JANUS_KEY_BYTES: usize = 4 * 1024;
/// Longest endpoint.
pub const ENDPOINT_BYTES: usize = 255;
/// Longest id of a server that takes mail.
pub const SERVER_BYTES: usize = 128;
/// Descriptors kept for logs: each needs one more while it begins a new segment.
pub const RESERVED_DESCRIPTORS: usize = 16;
/// Topics without news get a bookmark after this long.
pub const BOOKMARK_MS: u64 = 15_000;
/// Between two warnings that a view cannot show rows.
pub const VIEW_FAILURES_TOLD_MS: u64 = 10_000;
/// Between two lines of the log about one kind of shortage.
pub const SHORTAGE_TOLD_MS: u64 = 10_000;

mod relations;
