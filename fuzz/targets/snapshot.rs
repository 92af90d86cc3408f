//! Snapshots: cut anywhere they read the same, and written again they are the same state.
#![no_main]

use instep_fuzz::allowance::within;
use instep_fuzz::pieces::Cut;
use instep_model::snapshot::{self, Reader, SnapshotError};
use instep_model::state::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    within(8 * 1024 * 1024, 1024, input.len(), || {
        let cut = Cut::of(input);
        let whole = read([cut.stream]);
        let in_pieces = read(cut.pieces());
        assert_eq!(whole.is_ok(), in_pieces.is_ok());
        let (Ok(state), Ok(again)) = (whole, in_pieces) else { return };
        assert_eq!(state, again);
        let mut written = Vec::new();
        let Ok(()) = snapshot::write(&state, &mut |bytes| {
            written.extend_from_slice(bytes);
            Ok::<_, std::convert::Infallible>(())
        });
        assert_eq!(read([&written[..]]).as_ref(), Ok(&state));
    });
});

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<State, SnapshotError> {
    let mut reader = Reader::default();
    for piece in pieces {
        reader.push(piece)?;
    }
    reader.finish()
}
