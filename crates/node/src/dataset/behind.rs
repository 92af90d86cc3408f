//! Backlog of a reader of the log: its bytes, and its oldest commit.

use instep_model::log::Piece;
use instep_model::log::following::{FollowedCommit, Following};
use instep_model::position::{Position, Revision};

use super::Dataset;

impl Dataset {
    /// Bytes of the log behind an entry, about: within a segment entries count the same.
    #[must_use]
    pub fn bytes_behind(&self, entry: Revision) -> u64 {
        let pieces = self.0.reader.pieces();
        let head = self.0.reader.bounds().head;
        let ends = pieces.iter().skip(1).map(|next| next.first).chain([head.next()]);
        let of = |(piece, end): (&Piece, Revision)| {
            let entries = end.0.saturating_sub(piece.first.0).max(1);
            let behind = end.0.saturating_sub(entry.0.saturating_add(1)).min(entries);
            let bytes = u128::from(piece.bytes) * u128::from(behind) / u128::from(entries);
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        pieces.iter().zip(ends).map(of).sum()
    }

    /// The first commit behind a position that `is_wanted`, among the next `bytes` of the log; the
    /// last of them, if none is. None: there are none, or they are not kept. Reads a file.
    pub fn first_behind(
        &self,
        position: Position,
        bytes: usize,
        mut is_wanted: impl FnMut(&FollowedCommit) -> bool,
    ) -> Option<FollowedCommit> {
        let reader = &self.0.reader;
        let head = self.position().place;
        let mut following = Following::new(reader.bounds(), head, Some(position)).ok()?;
        let mut last = None;
        for stored in reader.read(following.next(), bytes).ok()? {
            for commit in following.take(&stored).ok()? {
                if is_wanted(&commit) {
                    return Some(commit);
                }
                last = Some(commit);
            }
        }
        last
    }
}
