//! Identities of new filesystems: made of a seed, so that the same seed gives the same.

use sha2::{Digest, Sha256};

/// A UUID of version 4 in its form, made of `seed` for one `purpose`.
pub(in crate::fs) fn seeded_uuid(purpose: &str, seed: &[u8]) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(purpose)
        .chain_update(b"\0")
        .chain_update(seed)
        .finalize();
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_depends_on_seed_and_purpose_and_has_the_form_of_version_4() {
        let uuid = seeded_uuid("one", b"a");
        assert_eq!(uuid, seeded_uuid("one", b"a"));
        assert_ne!(uuid, seeded_uuid("one", b"b"));
        assert_ne!(uuid, seeded_uuid("two", b"a"));
        assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (4, 2));
    }
}
