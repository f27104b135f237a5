//! JSON as registries write it.

use serde::de::{DeserializeOwned, Error as _};

/// Reads an object. A list is none, though serde would take its values for fields in their order.
pub(super) fn object<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(serde_json::Error::custom("it is a list"));
    }
    serde_json::from_slice(bytes)
}
