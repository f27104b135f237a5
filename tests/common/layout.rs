//! Flatcar's partition layouts: numbers, places, names, types and identities as in its own `disk_layout.json`.
//!
//! Partitions 5 and 8 do not exist; every partition starts at a multiple of 4096 sectors (2 MiB) and the disk ends at a
//! multiple of 258048 (126 MiB).

pub const SECTOR: u64 = 512;

/// One row of the partition table. Sectors of 512 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub number: u32,
    pub label: &'static str,
    pub type_guid: &'static str,
    pub unique_guid: &'static str,
    pub start: u64,
    pub sectors: u64,
}

/// Sizes and places, and what depends on them.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub disk_sectors: u64,
    pub slots: [Slot; 7],
    /// Bytes of the USR filesystem; the hash tree of dm-verity follows.
    pub usr_fs_bytes: u64,
    /// Legacy-boot bit on the ESP and a hybrid MBR, as until 4459.
    pub hybrid: bool,
}

const EFI: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const BIOS: &str = "21686148-6449-6e6f-744e-656564454649";
const FLATCAR_ROOTFS: &str = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";
const DATA: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const RESERVED: &str = "c95dc21a-df0e-4340-8d7b-26cbfa9a03e0";
const RESIZE: &str = "3884dd41-8582-4404-b9a8-e9b84f2df50e";
pub const USR_A_GUID: &str = "7130c94a-213a-4e5a-8e26-6cce9662f132";
pub const USR_B_GUID: &str = "e03dd35c-7c2d-4a47-b3fe-27f15780a57c";
pub const DISK_GUID: &str = "00000000-0000-0000-0000-000000000001";
const fn layout(
    places: [(u64, u64); 7],
    disk_sectors: u64,
    usr_fs_bytes: u64,
    hybrid: bool,
) -> Layout {
    const fn slot(
        number: u32,
        label: &'static str,
        guids: [&'static str; 2],
        place: (u64, u64),
    ) -> Slot {
        Slot {
            number,
            label,
            type_guid: guids[0],
            unique_guid: guids[1],
            start: place.0,
            sectors: place.1,
        }
    }
    let slots = [
        slot(
            1,
            "EFI-SYSTEM",
            [EFI, "f1a7ba4e-0000-4000-8000-000000000001"],
            places[0],
        ),
        slot(
            2,
            "BIOS-BOOT",
            [BIOS, "f1a7ba4e-0000-4000-8000-000000000002"],
            places[1],
        ),
        slot(3, "USR-A", [FLATCAR_ROOTFS, USR_A_GUID], places[2]),
        slot(4, "USR-B", [FLATCAR_ROOTFS, USR_B_GUID], places[3]),
        slot(
            6,
            "OEM",
            [DATA, "f1a7ba4e-0000-4000-8000-000000000006"],
            places[4],
        ),
        slot(
            7,
            "OEM-CONFIG",
            [RESERVED, "f1a7ba4e-0000-4000-8000-000000000007"],
            places[5],
        ),
        slot(
            9,
            "ROOT",
            [RESIZE, "f1a7ba4e-0000-4000-8000-000000000009"],
            places[6],
        ),
    ];
    Layout {
        disk_sectors,
        slots,
        usr_fs_bytes,
        hybrid,
    }
}

/// Since 4487 (alpha) and 4593.2 (stable): 8,455,716,864 bytes.
pub const NEW: Layout = layout(
    [
        (4096, 2_097_152),
        (2_101_248, 4096),
        (2_105_344, 4_194_304),
        (6_299_648, 4_194_304),
        (10_493_952, 2_097_152),
        (12_591_104, 131_072),
        (12_722_176, 3_653_632),
    ],
    16_515_072,
    1_065_345_024,
    false,
);

/// To 4459.2 and in lts-4081: 4,756,340,736 bytes.
pub const OLD: Layout = layout(
    [
        (4096, 262_144),
        (266_240, 4096),
        (270_336, 2_097_152),
        (2_367_488, 2_097_152),
        (4_464_640, 262_144),
        (4_726_784, 131_072),
        (4_857_856, 4_427_776),
    ],
    9_289_728,
    1_065_345_024,
    true,
);

/// Flatcar's rules at the size of a fixture: 396,361,728 bytes (378 MiB), almost all of them holes.
pub const SMALL: Layout = layout(
    [
        (4096, 73_728),
        (77_824, 4096),
        (81_920, 131_072),
        (212_992, 131_072),
        (344_064, 131_072),
        (475_136, 4096),
        (479_232, 290_816),
    ],
    774_144,
    60 << 20,
    false,
);
