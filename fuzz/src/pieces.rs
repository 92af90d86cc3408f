//! A stream that comes in pieces, as a network cuts it.

/// An input read as a stream and the lengths of its pieces: a count, the lengths, the stream.
/// The lengths are used over and over; without any the stream comes whole.
pub struct Cut<'a> {
    /// The stream.
    pub stream: &'a [u8],
    lengths: &'a [u8],
}

impl<'a> Cut<'a> {
    /// Reads an input.
    pub fn of(input: &'a [u8]) -> Self {
        let Some((count, rest)) = input.split_first() else {
            return Self { stream: input, lengths: input };
        };
        let (lengths, stream) = rest.split_at(usize::from(*count % 16).min(rest.len()));
        Self { stream, lengths }
    }

    /// The pieces in order. None is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.stream;
        let mut lengths = self.lengths.iter().map(|length| usize::from(*length).max(1)).cycle();
        std::iter::from_fn(move || {
            let length = lengths.next().unwrap_or(usize::MAX).min(rest.len());
            let (piece, after) = rest.split_at(length);
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }
}
