//! From one bake to the images of many vendors.

mod prepare;
mod sysexts;

pub use prepare::{Fanout, Key, Prepared, PreparedImage, VariantOptions, VendorChoice, prepare};
pub use sysexts::OemSysexts;
