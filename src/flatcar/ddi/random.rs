//! The randomness of the operating system.

use rsa::rand_core::{TryCryptoRng, TryRng};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// What `getrandom(2)` gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct OsRandom;

impl TryRng for OsRandom {
    type Error = Errno;

    fn try_next_u32(&mut self) -> Result<u32, Errno> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, mut bytes: &mut [u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match getrandom(&mut *bytes, GetRandomFlags::empty()) {
                Ok(filled) => bytes = &mut bytes[filled..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for OsRandom {}
