//! From one bake to the images of many vendors.

mod sysexts;

pub use sysexts::OemSysexts;
