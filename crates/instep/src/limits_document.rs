//! The numbers of `docs/reference/limits.md` are those of the code.

use instep_model::limits;

#[test]
fn what_a_stranger_can_cost_is_what_the_document_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/limits.md");
    let document = std::fs::read_to_string(path).unwrap();
    let thousands = |number: usize| match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{},{:03}", number / 1_000, number % 1_000),
        _ => {
            let (millions, rest) = (number / 1_000_000, number % 1_000_000);
            format!("{millions},{:03},{:03}", rest / 1_000, rest % 1_000)
        }
    };
    for part in [
        format!("| one in {} of `sockets_per_address` |", limits::PULLS_PART),
        format!("| {} for each of `sockets_per_address` |", limits::PRESENCES_PER_SOCKET),
        format!("and {} bytes for as long as it lasts", limits::PRESENCE_SPARED_BYTES),
    ] {
        assert!(document.contains(&part), "docs/reference/limits.md does not say {part}");
    }
    let stated: Vec<(&str, String)> = vec![
        ("max_datasets", thousands(limits::NODE_DATASETS)),
        ("NODE_DATASETS_MOST", thousands(limits::NODE_DATASETS_MOST)),
        ("DATASET_DESCRIPTORS", limits::DATASET_DESCRIPTORS.to_string()),
        ("DESCRIPTORS_BESIDE_DATASETS", limits::DESCRIPTORS_BESIDE_DATASETS.to_string()),
        ("OWNER_THREADS", limits::OWNER_THREADS.to_string()),
        ("DELIVERY_THREADS", limits::DELIVERY_THREADS.to_string()),
        ("STORAGE_THREADS", limits::STORAGE_THREADS.to_string()),
        ("OPENINGS", limits::OPENINGS.to_string()),
        ("sockets", thousands(limits::NODE_SOCKETS)),
        ("sockets_per_address", thousands(limits::ADDRESS_SOCKETS)),
        ("waiting_bytes", mib(limits::WAITING_BYTES)),
        ("waiting_bytes_per_address", mib(limits::ADDRESS_WAITING_BYTES)),
        ("OUTBOX_SPARED_BYTES", kib(limits::OUTBOX_SPARED_BYTES)),
        ("OUTBOX_BYTES", kib(limits::OUTBOX_BYTES)),
        ("PRESENCE_METAS_PER_KEY", limits::PRESENCE_METAS_PER_KEY.to_string()),
        ("PRESENCE_META_BYTES", kib(limits::PRESENCE_META_BYTES)),
        ("PRESENCE_LISTED", thousands(limits::PRESENCE_LISTED)),
        ("PRESENCE_PIECE_BYTES", kib(limits::PRESENCE_PIECE_BYTES)),
        ("EXTRA_CONNECTIONS", limits::EXTRA_CONNECTIONS.to_string()),
        ("EXTRA_MS", seconds(limits::EXTRA_MS)),
        ("KEPT_DESCRIPTORS", limits::KEPT_DESCRIPTORS.to_string()),
        ("DESCRIPTORS_MOST", thousands(usize::try_from(limits::DESCRIPTORS_MOST).unwrap())),
        ("DESCRIPTOR_TABLE", thousands(usize::try_from(limits::DESCRIPTOR_TABLE).unwrap())),
        ("ACCEPTS_PER_TURN", limits::ACCEPTS_PER_TURN.to_string()),
        ("ACCEPT_REST_MS", format!("{} ms", limits::ACCEPT_REST_MS)),
        ("PRIVATE_FILE_BYTES", mib(usize::try_from(limits::PRIVATE_FILE_BYTES).unwrap())),
        ("HEAD_BYTES", kib(limits::HEAD_BYTES)),
        ("REQUEST_ID_BYTES", limits::REQUEST_ID_BYTES.to_string()),
        ("BODY_SPARED_BYTES", kib(limits::BODY_SPARED_BYTES)),
        ("BODY_BYTES_PER_S", kib(usize::try_from(limits::BODY_BYTES_PER_S).unwrap())),
        ("UNFINISHED_SPARED_BYTES", kib(limits::UNFINISHED_SPARED_BYTES)),
        ("UNFINISHED_BYTES", mib(limits::UNFINISHED_BYTES)),
        ("UNFINISHED_MS", seconds(limits::UNFINISHED_MS)),
        ("TRICKLE_BYTES", limits::TRICKLE_BYTES.to_string()),
        ("LONGPOLL_BYTES", mib(limits::LONGPOLL_BYTES)),
        ("LONGPOLL_BODY_BYTES", mib(limits::LONGPOLL_BODY_BYTES)),
        ("VANISHED_MS", seconds(limits::VANISHED_MS)),
        ("handshake_ms", seconds(limits::HANDSHAKE_MS)),
        ("socket_idle_ms", seconds(limits::SOCKET_IDLE_MS)),
        ("slow_reader_ms", seconds(limits::SLOW_READER_MS)),
        ("rate.connections", limits::RATE_CONNECTIONS.to_string()),
        ("rate.messages", limits::RATE_MESSAGES.to_string()),
        ("rate.requests", thousands(limits::RATE_REQUESTS as usize)),
    ];

    for (name, value) in stated.iter().chain(&of_mail()).chain(&of_sites()) {
        let row = format!("| `{name}` | {value} |");
        assert!(document.contains(&row), "docs/reference/limits.md has no row {row}");
    }
}

fn of_mail() -> Vec<(&'static str, String)> {
    vec![
        ("MAIL_EVENTS_OF_ONE", thousands(limits::MAIL_EVENTS_OF_ONE)),
        ("MAIL_EVENT_BYTES_OF_ONE", kib(limits::MAIL_EVENT_BYTES_OF_ONE)),
        ("MAIL_EVENTS", thousands(limits::MAIL_EVENTS)),
        ("MAIL_EVENT_BYTES", mib(limits::MAIL_EVENT_BYTES)),
        ("MAIL_REGISTRATIONS_WAITING", thousands(limits::MAIL_REGISTRATIONS_WAITING)),
        ("MAIL_UNSETTLED", thousands(limits::MAIL_UNSETTLED)),
    ]
}

fn of_sites() -> Vec<(&'static str, String)> {
    vec![
        ("SITES", limits::SITES.to_string()),
        ("SITE_NAMES", limits::SITE_NAMES.to_string()),
        ("SITE_REASON_BYTES", kib(limits::SITE_REASON_BYTES)),
        ("SITE_STALE_MS", seconds(limits::SITE_STALE_MS)),
        ("SITE_LAG_BYTES", kib(limits::SITE_LAG_BYTES)),
        ("SITE_SKIPS", limits::SITE_SKIPS.to_string()),
        ("DUMPS", limits::DUMPS.to_string()),
        ("DUMP_CHUNK_BYTES", mib(limits::DUMP_CHUNK_BYTES)),
        ("DUMP_CHUNKS", thousands(limits::DUMP_CHUNKS)),
        ("DUMP_SILENT_MS", seconds(limits::DUMP_SILENT_MS)),
    ]
}

fn mib(bytes: usize) -> String {
    format!("{} MiB", bytes / 1024 / 1024)
}

fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes / 1024)
}

fn seconds(ms: u64) -> String {
    format!("{} s", ms / 1_000)
}

fn thousands(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}
