//! Relations of limits: bounds that depend on each other.

use super::*;

const _: () = assert!(PRESENCE_META_BYTES + PRESENCE_KEY_BYTES < PRESENCE_PIECE_BYTES);
const _: () = assert!(ROW_BYTES < COMMIT_BYTES);
const _: () = assert!(NODE_DATASETS <= NODE_DATASETS_MOST);
const _: () = assert!(JOIN_INLINE_BYTES <= JOIN_BYTES && JOIN_INLINE_ROWS <= JOIN_ROWS);
const _: () = assert!(ENTRY_BYTES + COMMIT_STORED_BYTES + ROW_BYTES < LOG_FRAME_BYTES);
const _: () = assert!(COMMIT_BYTES < COMMIT_RESULT_BYTES);
const _: () = assert!(LIVE_HISTORY_BYTES <= LIVE_HISTORY_BYTES_MOST);
const _: () = assert!(LIVE_HISTORY_BYTES_MOST < LIVE_TOPICS_KEPT_BYTES);
const _: () = assert!(UNFINISHED_SPARED_BYTES < FRAME_BYTES && FRAME_BYTES < UNFINISHED_BYTES);
const _: () = assert!(ADDRESS_WAITING_BYTES < WAITING_BYTES && FRAME_BYTES < ADDRESS_WAITING_BYTES);
const _: () = assert!(OUTBOX_SPARED_BYTES < OUTBOX_BYTES && OUTBOX_BYTES < ADDRESS_WAITING_BYTES);
const _: () = assert!((EXTRA_CONNECTIONS as u64) < KEPT_DESCRIPTORS);
const _: () = assert!(ENTRY_COMMITS <= u16::MAX as usize);
