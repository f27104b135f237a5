//! The sector in which FAT32 keeps what it knows of its free clusters (`FSInfo`).

use crate::bytes::structure;

const LEAD_SIG: [u8; 4] = *b"RRaA";
const STRUC_SIG: [u8; 4] = *b"rrAa";
const TRAIL_SIG: [u8; 4] = [0, 0, 0x55, 0xAA];

structure! {
    /// Both numbers are hints, which a reader checks or counts for itself.
    pub(super) struct Info: "FAT32 FSInfo sector", Little, 512 {
        /// `FSI_LeadSig`
        0 => lead_sig / set_lead_sig: [u8; 4],
        /// `FSI_StrucSig`
        484 => struc_sig / set_struc_sig: [u8; 4],
        /// `FSI_Free_Count`: free clusters, all ones where they are not counted.
        488 => free_count / set_free_count: u32,
        /// `FSI_Nxt_Free`: where a search for a free cluster begins.
        492 => nxt_free / set_nxt_free: u32,
        /// `FSI_TrailSig`
        508 => trail_sig / set_trail_sig: [u8; 4],
    }
}

impl<B: AsRef<[u8]>> Info<B> {
    /// Whether all three signatures are there.
    pub(super) fn is_valid(&self) -> bool {
        self.lead_sig() == LEAD_SIG
            && self.struc_sig() == STRUC_SIG
            && self.trail_sig() == TRAIL_SIG
    }
}

impl Info<Vec<u8>> {
    /// A new one.
    pub(super) fn new(free_count: u32, nxt_free: u32) -> Self {
        let mut info = Self::zeroed();
        info.set_lead_sig(LEAD_SIG);
        info.set_struc_sig(STRUC_SIG);
        info.set_free_count(free_count);
        info.set_nxt_free(nxt_free);
        info.set_trail_sig(TRAIL_SIG);
        info
    }
}
