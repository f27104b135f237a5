//! The command line of flatbake.

fn main() {}
