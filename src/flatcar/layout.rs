//! Flatcar's disk layout: which partition is which, and which release and vendor layout a disk has.
//!
//! ```text
//!  1 EFI-SYSTEM │ 2 BIOS-BOOT │ 3 USR-A │ 4 USR-B │ 6 OEM │ 7 OEM-CONFIG │ 9 ROOT ──▶ grows with the disk
//! ```
//!
//! Partitions are found by label and type as the boot does it, never by place; their numbers are a check. Sizes always
//! come from the table: the figures here only give a disk its name.
//! Source: flatcar/scripts `build_library/disk_layout.json`, type GUIDs from flatcar/seismograph `gpt.h`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::bytes::Guid;
use crate::error::{Error, Result};
use crate::finding::{Finding, code};
use crate::partition::{Partition, PartitionAttributes, PartitionTable};

/// Flatcar disks are a multiple of this many bytes long: 126 MiB.
pub const DISK_ALIGNMENT: u64 = 126 * MIB;
/// The disk GUID of an image that never booted; the first boot replaces exactly this one by a random one.
pub const FRESH_DISK_GUID: Guid = Guid::from_fields(0, 0, 0, 1);
/// USR-A's attributes in an image that never booted: priority 1, no tries, successful.
pub const FRESH_USR_ATTRIBUTES: PartitionAttributes = PartitionAttributes(0x0101_0000_0000_0000);

const MIB: u64 = 1 << 20;
const ESP_BEFORE_4487: u64 = 128 * MIB;
const ESP_SINCE_4487: u64 = 1024 * MIB;
const EFI: Guid = Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
const BIOS_BOOT: Guid = Guid::from_fields(0x2168_6148, 0x6449, 0x6e6f, 0x744e_6565_6445_4649);
const FLATCAR_RESERVED: Guid =
    Guid::from_fields(0xc95d_c21a, 0xdf0e, 0x4340, 0x8d7b_26cb_fa9a_03e0);
const FLATCAR_ROOT_RAID: Guid =
    Guid::from_fields(0xbe90_67b9, 0xea49, 0x4f15, 0xb4f6_f36f_8c9e_1818);
const LINUX_DATA: Guid = Guid::from_fields(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79_3d69_d847_7de4);
const FLATCAR_ROOTFS: Guid = Guid::from_fields(0x5dfb_f5f4, 0x2848, 0x4bac, 0xaa5e_0d9a_20b7_45a6);
const FLATCAR_RESIZE: Guid = Guid::from_fields(0x3884_dd41, 0x8582, 0x4404, 0xb9a8_e9b8_4f2d_f50e);

/// Types of partitions with the names that Flatcar's `cgpt` gives them.
const TYPE_NAMES: [(Guid, &str); 7] = [
    (EFI, "efi"),
    (BIOS_BOOT, "bios"),
    (FLATCAR_ROOTFS, "flatcar-rootfs"),
    (FLATCAR_RESIZE, "flatcar-resize"),
    (FLATCAR_RESERVED, "flatcar-reserved"),
    (FLATCAR_ROOT_RAID, "flatcar-root-raid"),
    (LINUX_DATA, "data"),
];

/// The name of a partition type in Flatcar's own tools; `None` for one that they do not know.
pub fn type_name(type_guid: Guid) -> Option<&'static str> {
    TYPE_NAMES
        .into_iter()
        .find(|(guid, _)| *guid == type_guid)
        .map(|(_, name)| name)
}

/// What a partition is to Flatcar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Designator {
    /// The EFI system partition with GRUB and the kernels: `EFI-SYSTEM`.
    Boot,
    /// Vendor files and `grub.cfg`: `OEM`.
    Oem,
    /// The root filesystem: `ROOT`.
    Root,
    /// The read-only operating system that boots next: `USR-A` or `USR-B`.
    Usr,
}

/// The label, type and usual number of a partition.
type Mark = (&'static str, Guid, u32);

impl Designator {
    /// All of them, in the order of the disk.
    pub const ALL: [Self; 4] = [Self::Boot, Self::Usr, Self::Oem, Self::Root];

    /// Its word on the command line: `boot`, `oem`, `root`, `usr`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Oem => "oem",
            Self::Root => "root",
            Self::Usr => "usr",
        }
    }

    /// The partition that is named by its word, by one of its labels, or by a number that it has in Flatcar's images.
    pub fn named(name: &str) -> Option<Self> {
        let number = number(name);
        let is_meant = |designator: &Self| {
            let by_mark = |(label, _, usual): &Mark| *label == name || number == Some(*usual);
            designator.word() == name || designator.marks().iter().any(by_mark)
        };
        Self::ALL.into_iter().find(is_meant)
    }

    /// Its labels: one, or both of USR.
    pub fn labels(self) -> impl Iterator<Item = &'static str> {
        self.marks().iter().map(|(label, ..)| *label)
    }

    /// The partitions that it can mean: one, or both of USR.
    fn marks(self) -> &'static [Mark] {
        match self {
            Self::Boot => &[("EFI-SYSTEM", EFI, 1)],
            Self::Oem => &[("OEM", LINUX_DATA, 6)],
            Self::Root => &[("ROOT", FLATCAR_RESIZE, 9)],
            Self::Usr => &[("USR-A", FLATCAR_ROOTFS, 3), ("USR-B", FLATCAR_ROOTFS, 4)],
        }
    }
}

/// The word: `boot`, `oem`, `root`, `usr`.
impl fmt::Display for Designator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Designator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|designator| designator.word() == text)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "'{}' is none of Flatcar's partitions",
                    text.escape_debug()
                ))
                .with_hint("name it boot, oem, root or usr")
            })
    }
}

/// A partition by one of its names: `root`, `9` or `ROOT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PartitionRef {
    /// By what it is to Flatcar.
    Designator(Designator),
    /// By its number in the table.
    Number(u32),
    /// By its label, letter by letter.
    Label(String),
}

/// The most UTF-16 units that a partition table has room for in a label.
const LABEL_MAX: usize = 36;

/// A number written in digits alone.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl From<Designator> for PartitionRef {
    fn from(designator: Designator) -> Self {
        Self::Designator(designator)
    }
}

impl FromStr for PartitionRef {
    type Err = Error;

    /// A word of [`Designator`], a number in digits, or else a label, which is not changed in any way.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(designator) = text.parse() {
            return Ok(Self::Designator(designator));
        }
        let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_label = (1..=LABEL_MAX).contains(&text.encode_utf16().count())
            && !text.contains(char::is_control);
        match number(text) {
            Some(number) if number > 0 => Ok(Self::Number(number)),
            None if is_label && !all_digits => Ok(Self::Label(text.to_owned())),
            _ => Err(Error::invalid(format!("'{}' is no partition", text.escape_debug()))
                .with_hint("name it boot, oem, root, usr, or by its number or label in the partition table")),
        }
    }
}

impl fmt::Display for PartitionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Designator(designator) => designator.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Label(label) => f.pad(label),
        }
    }
}

/// A partition that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The partition.
    pub partition: Partition,
    /// What is odd about it.
    pub findings: Vec<Finding>,
}

/// Finds the partition that `wanted` names.
///
/// Designators go by label and type GUID, labels by themselves. A missing partition is
/// [`crate::ErrorKind::NotFound`]; a label that several partitions have, or one of a designator with another type, is
/// [`crate::ErrorKind::InvalidInput`]; a number other than Flatcar's is a finding.
pub fn select(table: &PartitionTable, wanted: PartitionRef) -> Result<Selected> {
    match wanted {
        PartitionRef::Number(number) => Ok(Selected {
            partition: table.partition(number)?,
            findings: Vec::new(),
        }),
        PartitionRef::Label(label) => {
            let found = by_label(table, &label, "nothing tells which one is meant")?;
            let partition = found.ok_or_else(|| {
                Error::not_found(format!(
                    "the disk has no partition with the label '{}'",
                    label.escape_debug()
                ))
                .with_hint(format!(
                    "it has {}; boot, oem, root and usr are understood, too",
                    labels(table)
                ))
            })?;
            Ok(Selected {
                partition,
                findings: Vec::new(),
            })
        }
        PartitionRef::Designator(Designator::Usr) => active_usr(table),
        PartitionRef::Designator(designator) => {
            let mark = &designator.marks()[0];
            by_mark(table, mark)?.ok_or_else(|| missing(table, designator, mark.0))
        }
    }
}

/// The USR partition that GRUB boots: the highest priority above 0 among those with tries left or a successful boot.
/// When none is bootable it is the first, with a finding.
pub fn active_usr(table: &PartitionTable) -> Result<Selected> {
    let mut found = Vec::new();
    for mark in Designator::Usr.marks() {
        found.extend(by_mark(table, mark)?);
    }
    let rank = |selected: &Selected| {
        let attributes = selected.partition.attributes;
        let bootable = attributes.successful() || attributes.tries() > 0;
        if bootable { attributes.priority() } else { 0 }
    };
    let best = found
        .iter()
        .map(rank)
        .max()
        .ok_or_else(|| missing(table, Designator::Usr, "USR-A"))?;
    let mut first = found.into_iter().find(|selected| rank(selected) == best);
    if let (0, Some(selected)) = (best, &mut first) {
        let found = Finding::new(code::USR_NOT_BOOTABLE).with("partition", selected.partition);
        selected.findings.push(found);
    }
    first.ok_or_else(|| Error::internal("the best of the USR partitions is one of them"))
}

/// The one partition with this label, when its type is right too.
fn by_mark(table: &PartitionTable, &(label, type_guid, number): &Mark) -> Result<Option<Selected>> {
    let Some(partition) = by_label(table, label, "Flatcar would take either")? else {
        return Ok(None);
    };
    if partition.type_guid != type_guid {
        return Err(Error::invalid(format!(
            "{partition} has the type {}: Flatcar's {label} has {type_guid}",
            partition.type_guid
        ))
        .with_hint("is this a Flatcar image? A partition can also be named by its number"));
    }
    let mut findings = Vec::new();
    if partition.number != number {
        let found = Finding::new(code::PARTITION_NUMBER);
        findings.push(found.with("partition", partition).with("number", number));
    }
    Ok(Some(Selected {
        partition,
        findings,
    }))
}

/// The one partition with this label; `why` says what is bad about several.
fn by_label(table: &PartitionTable, label: &str, why: &str) -> Result<Option<Partition>> {
    let mut labelled = table
        .partitions()
        .filter(|partition| partition.name.to_string() == label);
    let Some(partition) = labelled.next() else {
        return Ok(None);
    };
    match labelled.next() {
        None => Ok(Some(partition)),
        Some(other) => Err(Error::invalid(format!(
            "partitions {} and {} both have the label {}: {why}",
            partition.number,
            other.number,
            label.escape_debug()
        ))
        .with_hint("rename one of them, or name the partition by its number")),
    }
}

fn missing(table: &PartitionTable, designator: Designator, label: &str) -> Error {
    Error::not_found(format!(
        "the disk has no {designator} partition: none has the label {label}"
    ))
    .with_hint(format!(
        "it has {}; is this a Flatcar image?",
        labels(table)
    ))
}

/// The first labels of a table, for people.
fn labels(table: &PartitionTable) -> String {
    let labels: Vec<String> = table
        .partitions()
        .take(20)
        .map(|partition| partition.name.to_string())
        .collect();
    labels.join(", ")
}

/// The two sizes that Flatcar's system partitions have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// Before 4487 (stable: up to 4459): ESP and OEM 128 MiB, USR 1 GiB.
    Before4487,
    /// Since 4487 (stable: since 4593): ESP and OEM 1 GiB, USR 2 GiB.
    Since4487,
}

impl Generation {
    /// The generation of a disk by the size of its ESP; `None` for any other size, or without a Flatcar ESP.
    pub fn of(table: &PartitionTable) -> Option<Self> {
        match select(table, PartitionRef::Designator(Designator::Boot))
            .ok()?
            .partition
            .size()
        {
            ESP_BEFORE_4487 => Some(Self::Before4487),
            ESP_SINCE_4487 => Some(Self::Since4487),
            _ => None,
        }
    }
}

/// The name of one of Flatcar's disk layouts; they differ in the size of ROOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayoutName {
    /// The generic image, `flatcar_production_image.bin`.
    Base,
    /// Most virtual machine images.
    Vm,
    /// Azure images.
    Azure,
    /// Vagrant images.
    Vagrant,
}

/// `base`, `vm`, `azure` or `vagrant`.
impl fmt::Display for LayoutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Base => "base",
            Self::Vm => "vm",
            Self::Azure => "azure",
            Self::Vagrant => "vagrant",
        })
    }
}

/// A layout as released, sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Whose layout it is.
    pub name: LayoutName,
    /// Since when.
    pub generation: Generation,
    /// The size of ROOT.
    pub root_size: u64,
    /// The size of the disk; a larger one was enlarged since.
    pub disk_size: u64,
}

impl Layout {
    /// All released layouts.
    pub const ALL: [Self; 8] = [
        Self::new(LayoutName::Base, Generation::Since4487, 1784, 8064),
        Self::new(LayoutName::Vm, Generation::Since4487, 6320, 12_600),
        Self::new(LayoutName::Azure, Generation::Since4487, 24_842, 31_122),
        Self::new(LayoutName::Vagrant, Generation::Since4487, 16_526, 22_806),
        Self::new(LayoutName::Base, Generation::Before4487, 2162, 4536),
        Self::new(LayoutName::Vm, Generation::Before4487, 6320, 8694),
        Self::new(LayoutName::Azure, Generation::Before4487, 28_748, 31_122),
        Self::new(LayoutName::Vagrant, Generation::Before4487, 16_526, 18_900),
    ];

    const fn new(name: LayoutName, generation: Generation, root_mib: u64, disk_mib: u64) -> Self {
        Self {
            name,
            generation,
            root_size: root_mib * MIB,
            disk_size: disk_mib * MIB,
        }
    }

    /// The layout that a disk was released with, told by the sizes of its ESP and ROOT; `None` where ROOT was resized.
    pub fn of(table: &PartitionTable) -> Option<Self> {
        let generation = Generation::of(table)?;
        let root = select(table, PartitionRef::Designator(Designator::Root))
            .ok()?
            .partition;
        Self::ALL
            .into_iter()
            .find(|layout| layout.generation == generation && layout.root_size == root.size())
    }
}
