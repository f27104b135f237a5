//! UEFI variables as firmware of EDK II keeps them (`VariableFormat.h` of MdeModulePkg): what is enrolled for Secure Boot.
//!
//! ```text
//!   volume header '_FVH' │ store header │ [header │ name │ data] [header │ name │ data] … │ 0xff …
//! ```

use crate::bytes::{Fields, Guid, to_u64};
use crate::error::{Error, Result};

/// Largest variables image; those of OVMF have 528 KiB, those for Arm 64 MiB.
pub const NVRAM_MAX: u64 = 64 << 20;
/// `gEfiAuthenticatedVariableGuid`: a store whose variables have a time.
const AUTHENTICATED: Guid = Guid::from_fields(0xaaf3_2c78, 0x947b, 0x439a, 0xa180_2e14_4ec3_7792);
/// Bytes of the headers of a store and of a variable in it.
const STORE_HEADER: usize = 28;
const VARIABLE_HEADER: usize = 60;
/// How a variable begins, and the state of one that counts.
const START: u16 = 0x55aa;
const ADDED: u8 = 0x3f;
/// Without these, Secure Boot stays off: the platform's key, and what may be started.
const NEEDED: [&str; 2] = ["PK", "db"];

/// Those of `PK` and `db` that are missing in an image of UEFI variables; Secure Boot is off unless both are there.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] for what is no such image.
pub fn missing_keys(nvram: &[u8]) -> Result<Vec<&'static str>> {
    let fields = Fields::new("UEFI variables", nvram);
    if fields.array(40)? != *b"_FVH" {
        return Err(Error::corrupt(
            "this is no image of UEFI variables: it has no firmware volume",
        ));
    }
    let store = usize::from(fields.le16(48)?);
    if Guid::from_disk(fields.array(store)?) != AUTHENTICATED {
        return Err(Error::corrupt(
            "this is no image of UEFI variables: it has no store of authenticated ones",
        ));
    }
    let mut missing = NEEDED.to_vec();
    let mut at = store + STORE_HEADER;
    while to_u64(at) + to_u64(VARIABLE_HEADER) <= to_u64(nvram.len()) && fields.le16(at)? == START {
        let state = fields.u8(at + 2)?;
        let name_len = fields.le32(at + 36)?;
        let data_len = fields.le32(at + 40)?;
        let name_len = usize::try_from(name_len);
        let data_len = usize::try_from(data_len);
        let (Ok(name_len), Ok(data_len)) = (name_len, data_len) else {
            break;
        };
        if state == ADDED && data_len > 0 {
            let name = fields.slice(at + VARIABLE_HEADER, name_len)?;
            missing.retain(|needed| !is_called(name, needed));
        }
        let Some(end) = (at + VARIABLE_HEADER)
            .checked_add(name_len)
            .and_then(|end| end.checked_add(data_len))
        else {
            break;
        };
        at = end.next_multiple_of(4);
    }
    Ok(missing)
}

/// Whether a name of 16-bit letters with a zero behind them is this one.
fn is_called(name: &[u8], wanted: &str) -> bool {
    let wanted: Vec<u8> = wanted
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    name == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nvram(variables: &[(&str, u8, usize)]) -> Vec<u8> {
        let mut bytes = vec![0; 72];
        bytes[40..44].copy_from_slice(b"_FVH");
        bytes[48] = 72;
        bytes.extend_from_slice(&[
            0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3,
            0x77, 0x92,
        ]);
        bytes.extend_from_slice(&[0; 12]);
        for (name, state, len) in variables {
            let name: Vec<u8> = name
                .encode_utf16()
                .chain([0])
                .flat_map(u16::to_le_bytes)
                .collect();
            let mut header = vec![0; VARIABLE_HEADER];
            header[..2].copy_from_slice(&START.to_le_bytes());
            header[2] = *state;
            header[36..40].copy_from_slice(&u32::try_from(name.len()).unwrap().to_le_bytes());
            header[40..44].copy_from_slice(&u32::try_from(*len).unwrap().to_le_bytes());
            bytes.extend(header.into_iter().chain(name).chain(vec![7; *len]));
            bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        }
        bytes.resize(4096, 0xff);
        bytes
    }

    #[test]
    fn keys_count_where_they_are_valid() {
        assert_eq!(missing_keys(&nvram(&[])).unwrap(), ["PK", "db"]);
        let enrolled = [
            ("MTC", ADDED, 4),
            ("db", ADDED, 3143),
            ("KEK", ADDED, 1),
            ("PK", ADDED, 1005),
        ];
        assert_eq!(missing_keys(&nvram(&enrolled)[..]).unwrap(), [""; 0]);
        // Deleted, empty, and of another name.
        assert_eq!(
            missing_keys(&nvram(&[
                ("PK", 0x3c, 9),
                ("db", ADDED, 0),
                ("dbx", ADDED, 5)
            ]))
            .unwrap(),
            ["PK", "db"]
        );
        assert_eq!(
            missing_keys(&nvram(&[("PK", 0x3c, 9), ("PK", ADDED, 9)])).unwrap(),
            ["db"]
        );
    }

    #[test]
    fn whatever_it_is_nothing_breaks() {
        let good = nvram(&[("PK", ADDED, 9), ("db", ADDED, 9)]);
        for at in 0..400 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = good.clone();
                changed[at] = value;
                let _ = missing_keys(&changed);
            }
            let _ = missing_keys(&good[..at]);
        }
        assert!(missing_keys(b"").is_err() && missing_keys(&[0; 4096]).is_err());
    }

    /// Those of the host's OVMF, where it is installed.
    #[test]
    fn firmware_of_the_host_is_understood() {
        for (name, missing) in [
            ("OVMF_VARS_4M.fd", 2),
            ("OVMF_VARS_4M.ms.fd", 0),
            ("OVMF_VARS_4M.snakeoil.fd", 0),
        ] {
            let Ok(bytes) = std::fs::read(format!("/usr/share/OVMF/{name}")) else {
                continue;
            };
            assert_eq!(missing_keys(&bytes).unwrap().len(), missing, "{name}");
        }
    }
}
