//! The JSON schema of a vendor file, for editors.

use serde_json::Value;

use super::file::VendorFile;

/// The JSON schema (draft 2020-12) of a vendor file. Texts are only strings to it; what they may hold is checked when a
/// file is read.
pub fn schema() -> Value {
    schemars::schema_for!(VendorFile).to_value()
}
