//! What the targets share: volumes in memory, patches over them, and a model of what edits do.
//!
//! ```text
//!   fixture or own writer ──▶ Base ──▶ Layer ◀── patches of the input, checksums made good again
//!                                        └──▶ a reader, or an editor beside a model
//! ```

pub mod device;
pub mod edits;
pub mod images;
pub mod patches;
pub mod reading;
pub mod volumes;

use flatbake::ErrorKind;

/// An error that damage may lead to: it blames the input, not the program.
pub fn blames_the_input<T>(result: &flatbake::Result<T>) {
    if let Err(error) = result {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error:?}");
    }
}
