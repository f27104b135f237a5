//! Disk image formats: what is detected, opened and written.
