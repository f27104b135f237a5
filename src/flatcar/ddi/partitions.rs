//! The partitions of a disk image, told apart by their types.

use std::sync::Arc;

use crate::block::{BlockDevice, Window};
use crate::bytes::Guid;
use crate::machine::Arch;
use crate::partition::{Partition, PartitionTable};
use crate::{Error, Result};

/// What a GPT header begins with, in the second sector.
const GPT_SIGNATURE: &[u8] = b"EFI PART";

/// Three types of partitions that belong together.
#[derive(Debug)]
pub struct Kind {
    /// `root-x86-64`
    pub name: &'static str,
    /// Its filesystem is mounted on `/usr`, not on `/`.
    pub is_usr: bool,
    /// The type of the filesystem's partition.
    pub files: Guid,
    /// That of its dm-verity tree.
    pub(super) verity: Guid,
    /// That of the signature of the tree's root hash.
    pub(super) signature: Guid,
}

impl Kind {
    /// The one with a root partition for an architecture, as systemd-repart makes extensions.
    pub(super) fn root_of(architecture: Arch) -> Result<&'static Self> {
        let name = match architecture {
            Arch::Amd64 => "root-x86-64",
            Arch::Arm64 => "root-arm64",
        };
        let kind = KINDS.iter().find(|kind| kind.name == name);
        kind.ok_or_else(|| Error::internal("an architecture without a type of partition"))
    }

    /// What is put behind the name for a partition of one of its types.
    pub(super) fn part_of(&self, type_guid: Guid) -> Option<&'static str> {
        let types = [
            (self.files, ""),
            (self.verity, "-verity"),
            (self.signature, "-verity-sig"),
        ];
        let found = types.iter().find(|(known, _)| *known == type_guid);
        found.map(|(_, suffix)| *suffix)
    }
}

/// All kinds, root partitions first.
pub const KINDS: [Kind; 4] = [
    Kind {
        name: "root-x86-64",
        is_usr: false,
        files: Guid::from_fields(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7_fbca_f984_b709),
        verity: Guid::from_fields(0x2c73_57ed, 0xebd2, 0x46d9, 0xaec1_23d4_37ec_2bf5),
        signature: Guid::from_fields(0x4109_2b05, 0x9fc8, 0x4523, 0x994f_2def_0408_b176),
    },
    Kind {
        name: "root-arm64",
        is_usr: false,
        files: Guid::from_fields(0xb921_b045, 0x1df0, 0x41c3, 0xaf44_4c6f_280d_3fae),
        verity: Guid::from_fields(0xdf33_00ce, 0xd69f, 0x4c92, 0x978c_9bfb_0f38_d820),
        signature: Guid::from_fields(0x6db6_9de6, 0x29f4, 0x4758, 0xa7a5_9621_90f0_0ce3),
    },
    Kind {
        name: "usr-x86-64",
        is_usr: true,
        files: Guid::from_fields(0x8484_680c, 0x9521, 0x48c6, 0x9c11_b072_0656_f69e),
        verity: Guid::from_fields(0x77ff_5f63, 0xe7b6, 0x4633, 0xacf4_1565_b864_c0e6),
        signature: Guid::from_fields(0xe7bb_33fb, 0x06cf, 0x4e81, 0x8273_e543_b413_e2e2),
    },
    Kind {
        name: "usr-arm64",
        is_usr: true,
        files: Guid::from_fields(0xb0e0_1050, 0xee5f, 0x4390, 0x949a_9101_b171_04e9),
        verity: Guid::from_fields(0x6e11_a4e7, 0xfbca, 0x4ded, 0xb9e9_e1a5_12bb_664e),
        signature: Guid::from_fields(0xc23c_e4ff, 0x44bd, 0x4b00, 0xb2d4_b41b_3419_e02a),
    },
];

/// A partition of a disk image.
pub(super) type Part = Window<Arc<dyn BlockDevice>>;

/// The partitions that belong to one filesystem.
#[derive(Debug)]
pub(super) struct Partitions {
    pub kind: &'static Kind,
    pub files: Part,
    pub verity: Option<Part>,
    pub signature: Option<Part>,
}

impl Partitions {
    /// Those of the first kind of which there is a filesystem; `None` where `device` is not a disk image, or has none.
    ///
    /// # Errors
    /// The table cannot be read, or there are several partitions of one type.
    pub fn find(device: Arc<dyn BlockDevice>) -> Result<Option<Self>> {
        if !has_gpt(&*device)? {
            return Ok(None);
        }
        let table = PartitionTable::read(&device)?;
        for kind in &KINDS {
            let part = |of: Guid| only(&table, of, &device);
            if let Some(files) = part(kind.files)? {
                return Ok(Some(Self {
                    kind,
                    files,
                    verity: part(kind.verity)?,
                    signature: part(kind.signature)?,
                }));
            }
        }
        Ok(None)
    }
}

/// The only partition of a type.
fn only(
    table: &PartitionTable,
    type_guid: Guid,
    device: &Arc<dyn BlockDevice>,
) -> Result<Option<Part>> {
    let found: Vec<Partition> = table
        .partitions()
        .filter(|partition| partition.type_guid == type_guid)
        .collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Window::new(device.clone(), one.offset(), one.size()).map(Some),
        several => Err(Error::unsupported(format!(
            "a disk image with {} partitions of the type {type_guid}",
            several.len()
        ))
        .with_hint("a signed disk image has one of each")),
    }
}

/// Whether a GPT begins in the second sector, of 512 or 4096 bytes.
pub(in crate::flatcar) fn has_gpt(device: &dyn BlockDevice) -> Result<bool> {
    let mut signature = [0; 8];
    for offset in [512, 4096] {
        if device.size() >= offset + 8 {
            device.read_at(offset, &mut signature)?;
            if signature == GPT_SIGNATURE {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
