//! The pieces of a snapshot are stored as they always were.

use super::*;
use crate::golden::hold_enum;
use crate::position::Revision;

#[test]
fn every_piece_of_a_snapshot_is_stored_as_it_always_was() {
    let name = |text: &str| Name::new(text).unwrap();
    let place = Place { revision: Revision(300), index: 2 };
    let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let row = Row::from_canonical(br#"{"n":1}"#);
    let remembered =
        Remembered { digest: u64::MAX, place, results: vec![None, Some(-7)].into_boxed_slice() };
    let header =
        |format| Piece::Header { format, applied: place, history: u64::MAX, time_ms: 1_700 };
    let pieces = [
        ("1", header(FORMAT)),
        ("4", header(FORMAT_WITH_FORGOTTEN)),
        ("", Piece::Table { name: name("items"), options: TableOptions { public: true } }),
        ("", Piece::Rows { rows: vec![(Key::new("a").unwrap(), place, row)] }),
        ("", Piece::Journal { name: name("trail"), journal: Journal { last: 300 } }),
        ("", Piece::Principal { name: "shop".into(), horizon: Some(id) }),
        ("", Piece::Ids { ids: vec![(id, remembered)] }),
        ("", Piece::End { rows: 300, ids: 1 }),
        ("", Piece::Mail { parts: vec![MailPart::Last(Seq(300)), MailPart::VacantServer] }),
        ("", Piece::Forgotten { spans: vec![(Uuid::nil(), id)] }),
        ("", Piece::Unknown { spans: vec![(Uuid::nil(), id)] }),
    ];

    hold_enum("snapshot_pieces.txt", &pieces);
}
