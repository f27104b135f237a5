//! Finding Flatcar's partitions and naming its layouts, on tables composed here.

use flatbake::block::{BlockDevice, Extent, ExtentKind};
use flatbake::bytes::Guid;
use flatbake::finding::code;
use flatbake::flatcar::{
    DISK_ALIGNMENT, Designator, FRESH_DISK_GUID, FRESH_USR_ATTRIBUTES, Generation, Layout,
    LayoutName, PartitionRef, active_usr, select,
};
use flatbake::partition::{PartitionAttributes, PartitionTable};
use flatbake::{ErrorKind, Finding, Result};

const EFI: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const BIOS: &str = "21686148-6449-6e6f-744e-656564454649";
const USR: &str = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";
const DATA: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const RESERVED: &str = "c95dc21a-df0e-4340-8d7b-26cbfa9a03e0";
const RESIZE: &str = "3884dd41-8582-4404-b9a8-e9b84f2df50e";

const MIB: u64 = 1 << 20;

/// Number, MiB, type and label, in the order of the disk.
type Row = (u32, u64, &'static str, &'static str);

fn rows(esp: u64, usr: u64, root: u64) -> Vec<Row> {
    vec![
        (1, esp, EFI, "EFI-SYSTEM"),
        (2, 2, BIOS, "BIOS-BOOT"),
        (3, usr, USR, "USR-A"),
        (4, usr, USR, "USR-B"),
        (6, esp, DATA, "OEM"),
        (7, 64, RESERVED, "OEM-CONFIG"),
        (9, root, RESIZE, "ROOT"),
    ]
}

/// A disk of which only the table at either end was ever written.
#[derive(Debug)]
struct Ends {
    size: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl BlockDevice for Ends {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let tail_start = self.size - self.tail.len() as u64;
        for (at, byte) in (offset..).zip(buf) {
            let index = |base: u64| usize::try_from(at - base).unwrap();
            *byte = if at >= tail_start {
                self.tail[index(tail_start)]
            } else {
                *self.head.get(index(0)).unwrap_or(&0)
            };
        }
        Ok(())
    }
    fn extent_at(&self, offset: u64) -> Result<Extent> {
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size - offset,
        })
    }
}

/// The disk that Flatcar's placement rule makes of the rows: starts aligned to 2 MiB, the end to 126 MiB.
fn disk(rows: &[Row]) -> Ends {
    let mut entries = vec![0; 128 * 128];
    let mut start = 4096;
    for &(number, mib, kind, label) in rows {
        let sectors = mib * 2048;
        let entry = &mut entries[(usize::try_from(number).unwrap() - 1) * 128..][..128];
        entry[..16].copy_from_slice(&kind.parse::<Guid>().unwrap().to_disk());
        entry[16..32].fill(u8::try_from(number).unwrap());
        entry[32..40].copy_from_slice(&u64::to_le_bytes(start));
        entry[40..48].copy_from_slice(&(start + sectors - 1).to_le_bytes());
        if number == 3 {
            entry[48..56].copy_from_slice(&FRESH_USR_ATTRIBUTES.0.to_le_bytes());
        }
        for (unit, place) in label.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        start = (start + sectors).next_multiple_of(4096);
    }
    let total = (start * 512 + 34 * 512).next_multiple_of(DISK_ALIGNMENT) / 512;
    let header = |my_lba: u64, alternate: u64, array: u64| {
        let mut sector = vec![0; 512];
        sector[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (at, value) in [
            (24, my_lba),
            (32, alternate),
            (40, 34),
            (48, total - 34),
            (72, array),
        ] {
            sector[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        sector[56..72].copy_from_slice(&FRESH_DISK_GUID.to_disk());
        sector[80..88].copy_from_slice(&[128, 0, 0, 0, 128, 0, 0, 0]);
        sector[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let crc = crc32fast::hash(&sector[..92]);
        sector[16..20].copy_from_slice(&crc.to_le_bytes());
        sector
    };
    let mut mbr = vec![0; 512];
    mbr[446..462].copy_from_slice(&[
        0, 0, 2, 0, 0xee, 255, 255, 255, 1, 0, 0, 0, 255, 255, 255, 255,
    ]);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    let head = [mbr, header(1, total - 1, 2), entries.clone()].concat();
    let tail = [entries.clone(), header(total - 1, 1, total - 33)].concat();
    Ends {
        size: total * 512,
        head,
        tail,
    }
}

fn table(rows: &[Row]) -> PartitionTable {
    let table = PartitionTable::read(&disk(rows)).unwrap();
    assert_eq!(table.findings(), []);
    table
}

fn new() -> Vec<Row> {
    rows(1024, 2048, 1784)
}

fn find(table: &PartitionTable, word: &str) -> Result<(u32, Vec<Finding>)> {
    select(table, word.parse()?).map(|selected| (selected.partition.number, selected.findings))
}

#[test]
fn released_layouts_are_named() {
    for layout in Layout::ALL {
        let (esp, usr) = match layout.generation {
            Generation::Before4487 => (128, 1024),
            Generation::Since4487 => (1024, 2048),
        };
        let table = table(&rows(esp, usr, layout.root_size / MIB));
        assert_eq!(Layout::of(&table), Some(layout));
        assert_eq!(Generation::of(&table), Some(layout.generation));
        // The placement rule gives the sizes of the released disks.
        assert_eq!(table.size(), layout.disk_size, "{layout:?}");
        assert_eq!(table.size() % DISK_ALIGNMENT, 0);
        assert_eq!(
            table.disk_guid().to_string(),
            "00000000-0000-0000-0000-000000000001"
        );
    }
    let names: Vec<String> = Layout::ALL[..4]
        .iter()
        .map(|layout| layout.name.to_string())
        .collect();
    assert_eq!(names, ["base", "vm", "azure", "vagrant"]);
    let resized = table(&rows(1024, 2048, 1785));
    assert_eq!(
        (Layout::of(&resized), Generation::of(&resized)),
        (None, Some(Generation::Since4487))
    );
    let foreign = table(&rows(512, 2048, 1784));
    assert_eq!(
        (Layout::of(&foreign), Generation::of(&foreign)),
        (None, None)
    );
    assert_eq!(
        Layout::of(&table(&new())).map(|layout| layout.name),
        Some(LayoutName::Base)
    );
}

#[test]
fn partitions_are_found_by_label_and_type() {
    let table = table(&new());
    for (word, number) in [
        ("boot", 1),
        ("usr", 3),
        ("oem", 6),
        ("root", 9),
        ("7", 7),
        ("04", 4),
    ] {
        assert_eq!(find(&table, word).unwrap(), (number, vec![]), "{word}");
    }
    for designator in Designator::ALL {
        assert_eq!(
            designator.to_string().parse::<PartitionRef>().unwrap(),
            PartitionRef::Designator(designator)
        );
    }
    for (label, number) in [
        ("EFI-SYSTEM", 1),
        ("USR-B", 4),
        ("OEM-CONFIG", 7),
        ("ROOT", 9),
    ] {
        assert_eq!(
            find(&table, label).unwrap(),
            (number, Vec::new()),
            "{label}"
        );
    }
    for missing in ["5", "-1", "+1", "oem ", "Root", "1.0", "BOOT"] {
        assert_eq!(
            find(&table, missing).unwrap_err().kind(),
            ErrorKind::NotFound,
            "{missing}"
        );
    }
    assert!(
        find(&table, "rot")
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("USR-A")
    );
    let too_long = "x".repeat(37);
    for word in ["", "0", "000", "99999999999", "\u{1b}[2J", &too_long] {
        let error = word.parse::<PartitionRef>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{word:?}");
        assert!(!error.to_string().contains('\u{1b}') && error.hint().is_some());
    }
}

#[test]
fn unusual_tables_are_told() {
    let mut moved = new();
    moved[4].0 = 12;
    let (number, findings) = find(&table(&moved), "oem").unwrap();
    let moved = Finding::new(code::PARTITION_NUMBER)
        .with("partition", "partition 12 'OEM'")
        .with("number", 6);
    assert_eq!((number, findings), (12, vec![moved]));

    let mut doubled = new();
    doubled[5].3 = "OEM";
    let error = find(&table(&doubled), "oem").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error
            .to_string()
            .contains("6 and 7 both have the label OEM"),
        "{error}"
    );
    let error = find(&table(&doubled), "OEM").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.hint().unwrap().contains("by its number"), "{error:?}");
    assert_eq!(find(&table(&doubled), "7").unwrap().0, 7);

    let mut other_type = new();
    other_type[6].2 = DATA;
    let error = find(&table(&other_type), "root").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains(DATA) && error.to_string().contains(RESIZE),
        "{error}"
    );

    let mut missing = new();
    missing.remove(0);
    missing.retain(|row| !row.3.starts_with("USR"));
    for word in ["boot", "usr"] {
        let error = find(&table(&missing), word).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint().unwrap().contains("OEM-CONFIG"), "{error:?}");
    }
    assert_eq!(Layout::of(&table(&missing)), None);
}

#[test]
fn the_usr_partition_that_boots_next_is_found() {
    let bits = |priority, tries, successful| {
        let bits = PartitionAttributes::default().with_successful(successful);
        bits.with_priority(priority)
            .unwrap()
            .with_tries(tries)
            .unwrap()
    };
    for (a, b, active, odd) in [
        (bits(1, 0, true), bits(0, 0, false), 3, false),
        (bits(1, 0, true), bits(2, 1, false), 4, false),
        (bits(1, 0, true), bits(2, 0, false), 3, false),
        (bits(2, 0, true), bits(2, 0, true), 3, false),
        (bits(0, 0, false), bits(1, 0, true), 4, false),
        (bits(0, 0, true), bits(0, 1, false), 3, true),
        (bits(3, 0, false), bits(2, 0, false), 3, true),
    ] {
        let mut table = table(&new());
        table.set_attributes(3, a).unwrap();
        table.set_attributes(4, b).unwrap();
        let selected = active_usr(&table).unwrap();
        assert_eq!(
            (selected.partition.number, !selected.findings.is_empty()),
            (active, odd),
            "{a} {b}"
        );
    }
    let mut only_b = new();
    only_b.remove(2);
    let selected = active_usr(&table(&only_b)).unwrap();
    assert_eq!(selected.partition.number, 4);
    let codes: Vec<_> = selected.findings.iter().map(Finding::code).collect();
    assert_eq!(codes, [code::USR_NOT_BOOTABLE]);
}
