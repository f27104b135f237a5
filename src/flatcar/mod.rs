//! What is known of Flatcar: layout, releases, sysexts.
