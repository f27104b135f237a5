//! What the kernels of Flatcar's releases can mount, and what an extension needs of them.

use std::sync::Arc;

use super::disk::open_content;
use crate::block::BlockDevice;
use crate::error::{Error, Result};
use crate::finding::{Finding, code};
use crate::flatcar::OsRelease;
use crate::fs::{self, FileSystem, FsKind, erofs};

/// Compressors of squashfs by the numbers that its superblock has for them, from 1 on.
const SQUASHFS_COMPRESSORS: [&str; 6] = ["gzip", "lzma", "lzo", "xz", "lz4", "zstd"];
/// Where the superblock of squashfs has the bytes of a data block (`block_size`, 32 bits).
const SQUASHFS_BLOCK_SIZE: u64 = 12;
/// Where the superblock of squashfs has that number (`compression`, 16 bits).
const SQUASHFS_COMPRESSION: u64 = 20;
/// Where it has the bytes it takes (`bytes_used`, 64 bits). It alone may end within a sector.
const SQUASHFS_BYTES_USED: u64 = 40;
/// Sectors of loop devices.
const SECTOR: u64 = 512;

/// What a kernel can mount of a filesystem.
struct Ability {
    filesystem: FsKind,
    /// The first release of whose kernel this is known.
    since: (u64, u64, u64),
    compressors: &'static [&'static str],
    /// Incompatible features that it knows.
    features: u32,
}

/// Every filesystem that extensions have, by release. Before the first row of a filesystem, no kernel has it; a filesystem
/// without compressors of its own has no row, and all kernels have it.
const ABILITIES: [Ability; 2] = [
    Ability {
        filesystem: FsKind::Squashfs,
        since: (0, 0, 0),
        compressors: &["gzip", "lzo", "xz", "lz4", "zstd"],
        features: 0,
    },
    Ability {
        filesystem: FsKind::Erofs,
        since: (4152, 2, 2),
        compressors: &["lz4"],
        features: 0x7f,
    },
];

/// What a kernel must be able to do to mount an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The filesystem.
    pub filesystem: FsKind,
    /// The compressors that its superblock names.
    pub compressors: Vec<&'static str>,
    /// Bits of features without which it cannot be read, where the filesystem has such.
    pub features: u32,
    /// Bytes of the filesystem that lie behind the last whole sector of the extension: loop devices have whole ones only.
    pub beyond_sectors: u64,
}

impl Needs {
    /// Reads what the superblocks of an extension say.
    ///
    /// # Errors
    /// As of [`open_extension`](super::open_extension).
    pub fn of(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let content = open_content(device)?;
        let filesystem = fs::probe(&*content)?.ok_or_else(|| {
            Error::unsupported("no filesystem that is known begins where the extension's should")
        })?;
        let mut needs = Self {
            filesystem,
            compressors: Vec::new(),
            features: 0,
            beyond_sectors: 0,
        };
        match filesystem {
            FsKind::Squashfs => needs.squashfs(&*content)?,
            FsKind::Erofs => needs.erofs(&*content)?,
            _ => {}
        }
        Ok(needs)
    }

    fn squashfs(&mut self, content: &dyn BlockDevice) -> Result<()> {
        let mut bytes = [0; 2];
        content.read_at(SQUASHFS_COMPRESSION, &mut bytes)?;
        let number = usize::from(u16::from_le_bytes(bytes));
        self.compressors.extend(
            number
                .checked_sub(1)
                .and_then(|at| SQUASHFS_COMPRESSORS.get(at)),
        );
        let mut bytes = [0; 8];
        content.read_at(SQUASHFS_BYTES_USED, &mut bytes)?;
        let used = u64::from_le_bytes(bytes).min(content.size());
        self.beyond_sectors = used.saturating_sub(content.size() / SECTOR * SECTOR);
        Ok(())
    }

    fn erofs(&mut self, content: &dyn BlockDevice) -> Result<()> {
        let requirements = erofs::requirements(content)?;
        self.features = requirements.features;
        self.compressors = requirements.compressors;
        Ok(())
    }
}

/// Bytes of a block of the filesystem of `kind` on `content`, which `fs` reads.
///
/// # Errors
/// Those of reading.
pub(super) fn block_bytes(
    content: &dyn BlockDevice,
    kind: FsKind,
    fs: &dyn FileSystem,
) -> Result<u64> {
    if kind != FsKind::Squashfs {
        return Ok(fs.capacity()?.block_bytes);
    }
    let mut bytes = [0; 4];
    content.read_at(SQUASHFS_BLOCK_SIZE, &mut bytes)?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

/// What the kernel of `release` cannot mount of an extension that needs `needs`; nothing where the release is not known.
pub fn check_kernel(needs: &Needs, release: &OsRelease) -> Vec<Finding> {
    let Some((text, version)) = release
        .version_id()
        .and_then(|text| Some((text, numbers(text)?)))
    else {
        return Vec::new();
    };
    let finding = |what: String| {
        Finding::new(code::SYSEXT_KERNEL)
            .with("release", text)
            .with("what", what)
    };
    if needs.beyond_sectors > 0 {
        let kind = needs.filesystem;
        let beyond = needs.beyond_sectors;
        return vec![finding(format!(
            "{kind} of which {beyond} bytes lie behind the last whole sector of the file"
        ))];
    }
    let mut own = ABILITIES
        .iter()
        .filter(|ability| ability.filesystem == needs.filesystem);
    if own.clone().next().is_none() {
        return Vec::new();
    }
    let Some(ability) = own.rfind(|ability| ability.since <= version) else {
        return vec![finding(needs.filesystem.to_string())];
    };
    let unknown = needs
        .compressors
        .iter()
        .filter(|compressor| !ability.compressors.contains(compressor));
    let mut findings: Vec<Finding> = unknown
        .map(|compressor| finding(format!("{} with {compressor}", needs.filesystem)))
        .collect();
    let features = needs.features & !ability.features;
    if features != 0 {
        findings.push(finding(format!(
            "{} with the features {features:#x}",
            needs.filesystem
        )));
    }
    findings
}

/// The three numbers of a version; what follows behind `+` or `-` does not count.
fn numbers(version: &str) -> Option<(u64, u64, u64)> {
    let plain = version.split(['+', '-']).next()?;
    let mut parts = plain.split('.').map(|part| part.parse().ok());
    let numbers = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(needs: &Needs, version: &str) -> Vec<String> {
        let release =
            OsRelease::parse(format!("ID=flatcar\nVERSION_ID={version}\n").as_bytes()).unwrap();
        let findings = check_kernel(needs, &release);
        findings
            .iter()
            .map(|finding| finding.value("what").unwrap().to_owned())
            .collect()
    }

    fn needs(filesystem: FsKind, compressors: &[&'static str], features: u32) -> Needs {
        Needs {
            filesystem,
            compressors: compressors.to_vec(),
            features,
            beyond_sectors: 0,
        }
    }

    #[test]
    fn what_each_release_can_mount() {
        for version in [
            "3033.3.0",
            "4081.3.10",
            "4593.2.5",
            "4757.2.1",
            "4593.2.5+nightly-1",
        ] {
            assert_eq!(
                told(&needs(FsKind::Squashfs, &["zstd"], 0), version),
                [""; 0],
                "{version}"
            );
            assert_eq!(
                told(&needs(FsKind::Squashfs, &["lzma"], 0), version),
                ["squashfs with lzma"],
                "{version}"
            );
            assert_eq!(
                told(&needs(FsKind::Ext4, &[], 0), version),
                [""; 0],
                "{version}"
            );
            assert_eq!(
                told(&needs(FsKind::Btrfs, &[], 0), version),
                [""; 0],
                "{version}"
            );
        }
        let erofs = needs(FsKind::Erofs, &["lz4"], 0x33);
        for (version, expected) in [
            ("4081.3.10", vec!["erofs"]),
            ("4152.2.1", vec!["erofs"]),
            ("4152.2.2", vec![]),
            ("4459.2.0", vec![]),
            ("4757.2.1", vec![]),
        ] {
            assert_eq!(told(&erofs, version), expected, "{version}");
        }
        let newer = needs(FsKind::Erofs, &["lz4", "lzma", "zstd"], 0x83);
        assert_eq!(
            told(&newer, "4593.2.5"),
            [
                "erofs with lzma",
                "erofs with zstd",
                "erofs with the features 0x80"
            ]
        );
    }

    /// mksquashfs fills its files up to 4096 bytes; with `-nopad`, and from other writers, they end anywhere.
    #[test]
    fn what_ends_within_a_sector_is_cut_by_the_loop_device() {
        let squashfs = |used: u64, len: usize| {
            let mut bytes = vec![0; len];
            bytes[..4].copy_from_slice(b"hsqs");
            bytes[20] = 1;
            bytes[40..48].copy_from_slice(&used.to_le_bytes());
            Needs::of(Arc::new(crate::block::MemoryDevice::new(bytes)))
                .unwrap()
                .beyond_sectors
        };
        assert_eq!(
            (
                squashfs(1500, 4096),
                squashfs(1500, 1536),
                squashfs(1536, 1600)
            ),
            (0, 0, 0)
        );
        assert_eq!(
            (
                squashfs(1500, 1500),
                squashfs(300, 318),
                squashfs(1537, 1600)
            ),
            (476, 300, 1)
        );
        let needs = Needs {
            beyond_sectors: 300,
            ..needs(FsKind::Squashfs, &["gzip"], 0)
        };
        let expected = "squashfs of which 300 bytes lie behind the last whole sector of the file";
        assert_eq!(told(&needs, "4593.2.5"), [expected]);
    }

    #[test]
    fn a_version_that_is_none_decides_nothing() {
        for version in ["", "x", "4593", "4593.2", "4593.2.x", "1.2.3.4"] {
            assert_eq!(
                told(&needs(FsKind::Erofs, &["lzma"], 0), version),
                [""; 0],
                "{version}"
            );
        }
    }
}
