//! Tables built by hand in memory: fallback, repair, growth, and tens of thousands of hostile ones.

use super::header::header_crc;
use super::*;
use crate::ErrorKind;
use crate::block::{BlockDevice, MemoryDevice};
use crate::bytes::random::Random;
use crate::bytes::{Guid, is_zero};
use crate::finding::{Code, Finding, code};

const TYPE: Guid = Guid::from_fields(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79_3d69_d847_7de4);

/// What a hand-made disk looks like.
#[derive(Clone, Copy)]
struct Shape {
    sector: usize,
    total: usize,
    entry_size: usize,
    count: usize,
}

const SHAPES: [Shape; 4] = [
    Shape {
        sector: 512,
        total: 256,
        entry_size: 128,
        count: 128,
    },
    Shape {
        sector: 4096,
        total: 40,
        entry_size: 128,
        count: 128,
    },
    Shape {
        sector: 512,
        total: 200,
        entry_size: 512,
        count: 9,
    },
    Shape {
        sector: 4096,
        total: 30,
        entry_size: 256,
        count: 5,
    },
];

impl Shape {
    fn array(self) -> usize {
        (self.count * self.entry_size).div_ceil(self.sector)
    }

    fn first(self) -> usize {
        2 + self.array()
    }

    fn last(self) -> usize {
        self.total - 2 - self.array()
    }

    fn headers(self) -> [usize; 2] {
        [1, self.total - 1]
    }

    fn arrays(self) -> [usize; 2] {
        [2, self.total - 1 - self.array()]
    }

    /// A disk with partitions 1, 2 and 4, junk in every place that no specification defines, and data in between.
    fn disk(self) -> Vec<u8> {
        let mut disk: Vec<u8> = (0..self.total * self.sector)
            .map(|at| (at % 251).to_le_bytes()[0])
            .collect();
        disk[446..510].fill(0);
        disk[446..462]
            .copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
        disk[458..462].copy_from_slice(&u32::try_from(self.total - 1).unwrap().to_le_bytes());
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let first = self.first();
        let mut entries = vec![0; self.count * self.entry_size];
        for (number, start, end) in [
            (1, first, first + 2),
            (2, first + 3, first + 3),
            (4, first + 6, self.last() - 2),
        ] {
            let entry = &mut entries[(number - 1) * self.entry_size..number * self.entry_size];
            entry[..16].copy_from_slice(&TYPE.to_disk());
            entry[16..32].fill(u8::try_from(number).unwrap());
            entry[32..40].copy_from_slice(&(start as u64).to_le_bytes());
            entry[40..48].copy_from_slice(&(end as u64).to_le_bytes());
            entry[48..56].copy_from_slice(&0x0101_0000_0000_0004u64.to_le_bytes());
            entry[56..60].copy_from_slice(&[b'P', 0, b'0' + u8::try_from(number).unwrap(), 0]);
            entry[128..].fill(0x77);
        }
        for (copy, (header, array)) in self.headers().into_iter().zip(self.arrays()).enumerate() {
            disk[array * self.sector..][..entries.len()].copy_from_slice(&entries);
            let sector = &mut disk[header * self.sector..][..self.sector];
            // A header of 100 bytes with junk at its end and behind it.
            sector[..8].copy_from_slice(b"EFI PART");
            sector[8..12].copy_from_slice(&[0, 0, 1, 0]);
            sector[12..16].copy_from_slice(&100u32.to_le_bytes());
            sector[56..72].fill(0xd1);
            for (at, value) in [
                (24, header),
                (32, self.headers()[1 - copy]),
                (40, first),
                (48, self.last()),
                (72, array),
            ] {
                sector[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
            }
            sector[80..84].copy_from_slice(&u32::try_from(self.count).unwrap().to_le_bytes());
            sector[84..88].copy_from_slice(&u32::try_from(self.entry_size).unwrap().to_le_bytes());
        }
        self.seal(&mut disk);
        disk
    }

    /// Repairs the CRCs of both copies as far as the fields allow.
    fn seal(self, disk: &mut [u8]) {
        for header in self.headers() {
            let at = header * self.sector;
            let le = |disk: &[u8], offset: usize, len: usize| {
                disk[at + offset..][..len]
                    .iter()
                    .rev()
                    .fold(0u64, |all, &byte| all << 8 | u64::from(byte))
            };
            let start = usize::try_from(le(disk, 72, 8))
                .unwrap()
                .checked_mul(self.sector);
            let len = usize::try_from(le(disk, 80, 4) * le(disk, 84, 4)).unwrap();
            let end = start
                .and_then(|start| start.checked_add(len))
                .filter(|&end| end <= disk.len());
            if let Some((start, end)) = start.zip(end) {
                let crc = crc32fast::hash(&disk[start..end]);
                disk[at + 88..at + 92].copy_from_slice(&crc.to_le_bytes());
            }
            let size = usize::try_from(le(disk, 12, 4)).unwrap();
            if (92..=self.sector).contains(&size) {
                let crc = header_crc(&disk[at..at + size]).unwrap();
                disk[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
}

fn read(disk: &[u8]) -> crate::Result<PartitionTable> {
    PartitionTable::read(&MemoryDevice::new(disk.to_vec()))
}

fn written(table: &PartitionTable, disk: &[u8]) -> Vec<u8> {
    let mut bytes = disk.to_vec();
    bytes.resize(usize::try_from(table.size()).unwrap(), 0);
    let device = MemoryDevice::new(bytes);
    table.write(&device).unwrap();
    device.into_bytes()
}

/// Everything a table says, without how it was found.
fn said(table: &PartitionTable) -> impl PartialEq + std::fmt::Debug + use<> {
    let partitions: Vec<Partition> = table.partitions().collect();
    (
        table.disk_guid(),
        table.usable_sectors(),
        table.size(),
        table.mbr().clone(),
        partitions,
    )
}

/// What was found about a table.
fn codes(table: &PartitionTable) -> Vec<&'static Code> {
    table.findings().iter().map(Finding::code).collect()
}

#[test]
fn an_unchanged_table_changes_no_byte() {
    for shape in SHAPES {
        let disk = shape.disk();
        let table = read(&disk).unwrap();
        assert_eq!(table.findings(), []);
        assert_eq!(usize::try_from(table.sector_size()).unwrap(), shape.sector);
        assert_eq!(
            table
                .partitions()
                .map(|partition| partition.number)
                .collect::<Vec<_>>(),
            [1, 2, 4]
        );
        assert_eq!(table.partition(3).unwrap_err().kind(), ErrorKind::NotFound);
        for number in [0, 5000, u32::MAX] {
            assert!(table.partition(number).is_err());
        }
        let fourth = table.partition(4).unwrap();
        assert_eq!(fourth.to_string(), "partition 4 'P4'");
        assert_eq!(fourth.offset(), ((shape.first() + 6) * shape.sector) as u64);
        assert_eq!(
            fourth.size(),
            ((shape.last() - shape.first() - 7) * shape.sector) as u64
        );
        assert!(written(&table, &disk) == disk);
    }
}

#[test]
fn either_copy_serves_and_repairs_the_other() {
    for shape in SHAPES {
        let whole = shape.disk();
        for (places, code) in [
            (
                [shape.headers()[0], shape.arrays()[0]],
                code::TABLE_PRIMARY_DAMAGED,
            ),
            (
                [shape.headers()[1], shape.arrays()[1]],
                code::TABLE_BACKUP_DAMAGED,
            ),
        ] {
            for (place, reason) in places.into_iter().zip(["header CRC", "the entries' CRC"]) {
                let mut disk = whole.clone();
                disk[place * shape.sector + 60] ^= 1;
                let table = read(&disk).unwrap();
                let [finding] = table.findings() else {
                    panic!("{:?}", table.findings())
                };
                assert_eq!(finding.code(), code);
                assert!(finding.value("why").unwrap().contains(reason), "{finding}");
                let repaired = written(&table, &disk);
                assert_eq!(said(&read(&repaired).unwrap()), said(&table));
                assert_eq!(read(&repaired).unwrap().findings(), []);
                for array in shape.arrays() {
                    let place =
                        array * shape.sector..array * shape.sector + shape.count * shape.entry_size;
                    assert!(
                        repaired[place.clone()] == whole[place],
                        "damaged entries come back exactly"
                    );
                }
            }
        }
        let mut disk = whole.clone();
        disk[shape.headers()[0] * shape.sector + 60] ^= 1;
        disk[shape.arrays()[1] * shape.sector + 60] ^= 1;
        let error = read(&disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.to_string().contains("header CRC")
                && error.to_string().contains("the entries' CRC"),
            "{error}"
        );
    }
}

#[test]
fn copies_that_disagree_are_told_and_the_primary_wins() {
    for shape in SHAPES {
        for (place, field) in [
            (shape.headers()[1], "DiskGUID"),
            (shape.arrays()[1], "PartitionEntryArrayCRC32"),
        ] {
            let mut disk = shape.disk();
            disk[place * shape.sector + 56] ^= 3;
            shape.seal(&mut disk);
            let table = read(&disk).unwrap();
            assert_eq!(
                table.findings(),
                [Finding::new(code::TABLE_COPIES_DIFFER).with("field", field)]
            );
            assert_eq!(said(&table), said(&read(&shape.disk()).unwrap()));
            assert_eq!(read(&written(&table, &disk)).unwrap().findings(), []);
        }
    }
}

#[test]
fn growth_moves_the_backup_and_clears_the_old_one() {
    for shape in SHAPES {
        for extra in [1, 3, 40, 500] {
            let disk = shape.disk();
            let mut table = read(&disk).unwrap();
            let size = disk.len() + extra * shape.sector;
            table.grow(size as u64).unwrap();
            assert_eq!(
                table.usable_sectors(),
                (shape.first() as u64, (shape.last() + extra) as u64)
            );
            table.resize(4, table.max_size(4).unwrap()).unwrap();
            let grown = written(&table, &disk);
            let again = read(&grown).unwrap();
            assert_eq!(said(&again), said(&table));
            assert_eq!(again.findings(), []);
            assert_eq!(
                again.partition(4).unwrap().ending_lba,
                (shape.last() + extra) as u64
            );
            assert_eq!(
                u64::from(again.mbr().records().unwrap()[0].size_in_lba),
                (shape.total + extra - 1) as u64
            );
            // Partition data is untouched, and where the old backup lay there are zeroes up to the new one.
            let first = shape.first() * shape.sector;
            let old_array = (shape.last() + 1) * shape.sector;
            assert!(grown[first..old_array] == disk[first..old_array]);
            if extra > shape.array() {
                let old_header = (shape.total - 1) * shape.sector;
                assert!(is_zero(&grown[old_header..old_header + shape.sector]));
                assert!(is_zero(
                    &grown[old_array..old_array + shape.count * shape.entry_size]
                ));
            }
            assert!(
                written(&table, &grown) == grown,
                "a second write changes nothing"
            );
        }
        let mut table = read(&shape.disk()).unwrap();
        for size in [
            0,
            table.size() - 1,
            table.size() - shape.sector as u64,
            table.size() + 1,
        ] {
            assert_eq!(
                table.grow(size).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
        }
    }
}

#[test]
fn data_in_the_place_of_the_old_backup_survives() {
    let shape = SHAPES[0];
    let mut disk = shape.disk();
    let mut table = read(&disk).unwrap();
    table.grow(disk.len() as u64 * 2).unwrap();
    disk[shape.arrays()[1] * 512..shape.total * 512].fill(0x5a);
    let grown = written(&table, &disk);
    assert!(
        grown[shape.arrays()[1] * 512..shape.total * 512]
            .iter()
            .all(|&byte| byte == 0x5a)
    );
}

#[test]
fn an_enlarged_or_shortened_disk_is_told() {
    for shape in SHAPES {
        let whole = shape.disk();
        let mut disk = whole.clone();
        disk.resize(disk.len() + 7 * shape.sector, 0);
        let mut table = read(&disk).unwrap();
        assert_eq!(codes(&table), [code::DISK_ENLARGED]);
        assert!(
            written(&table, &disk) == disk,
            "an unchanged table stays where it is"
        );
        table.grow(table.size()).unwrap();
        assert_eq!(read(&written(&table, &disk)).unwrap().findings(), []);

        // The enlarged disk with a damaged primary: the damaged header still tells where the backup is.
        disk[shape.sector + 60] ^= 1;
        let table = read(&disk).unwrap();
        assert_eq!(
            codes(&table),
            [code::TABLE_PRIMARY_DAMAGED, code::DISK_ENLARGED]
        );
        assert_eq!(
            codes(&read(&written(&table, &disk)).unwrap()),
            [code::DISK_ENLARGED]
        );

        let cut = read(&whole[..whole.len() - shape.sector]).unwrap();
        assert!(
            codes(&cut).contains(&code::DISK_CUT_SHORT),
            "{:?}",
            cut.findings()
        );
        assert!(
            codes(&cut).contains(&code::TABLE_NOT_EDITABLE),
            "{:?}",
            cut.findings()
        );
        assert!(cut.defect().unwrap().contains("no room"));
        let error = read(&whole[..whole.len() - (shape.array() + 2) * shape.sector]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("usable sectors"), "{error}");
    }
}

#[test]
fn overlapping_partitions_can_be_read_but_not_edited() {
    let shape = SHAPES[0];
    let mut disk = shape.disk();
    for array in shape.arrays() {
        disk[array * 512 + 128 + 32] -= 1;
    }
    shape.seal(&mut disk);
    let mut table = read(&disk).unwrap();
    assert_eq!(
        table.defect(),
        Some("partition 1 'P1' and partition 2 'P2' overlap at sector 36")
    );
    assert_eq!(table.partitions().count(), 3);
    let device = MemoryDevice::new(disk.clone());
    for result in [
        table.set_disk_guid(TYPE),
        table.set_attributes(1, PartitionAttributes(0)),
        table.set_name(1, "x".parse().unwrap()),
        table.resize(4, 512),
        table.grow(1 << 20),
        table.write(&device),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert!(device.into_bytes() == disk);
}

#[test]
fn edits_are_checked() {
    let shape = SHAPES[0];
    let disk = shape.disk();
    let mut table = read(&disk).unwrap();
    assert_eq!(table.max_size(1).unwrap(), 3 * 512);
    assert_eq!(
        table.max_size(2).unwrap(),
        3 * 512,
        "up to the start of partition 4"
    );
    assert_eq!(
        table.resize(2, 4 * 512).unwrap_err().kind(),
        ErrorKind::NoSpace
    );
    assert_eq!(
        table.resize(2, 3 * 512 - 1).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        table.resize(2, 0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        table.resize(3, 512).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        table.set_type_guid(1, Guid::ZERO).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let taken = table.partition(2).unwrap().unique_guid;
    assert_eq!(
        table.set_unique_guid(1, taken).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    table.set_unique_guid(2, taken).unwrap();
    assert_eq!(
        said(&table),
        said(&read(&disk).unwrap()),
        "refused edits leave no trace"
    );
    assert_eq!(
        table
            .write(&MemoryDevice::new(vec![0; 512]))
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );

    table.resize(2, 3 * 512).unwrap();
    table.set_name(2, "USR-A".parse().unwrap()).unwrap();
    table.set_type_guid(4, taken).unwrap();
    table
        .set_attributes(4, PartitionAttributes(u64::MAX))
        .unwrap();
    table.set_disk_guid(TYPE).unwrap();
    let edited = written(&table, &disk);
    assert_eq!(said(&read(&edited).unwrap()), said(&table));
    assert_eq!(table.partition(2).unwrap().name.to_string(), "USR-A");
    assert_eq!(edited[446..512], disk[446..512]);
}

#[test]
fn other_files_are_no_disk_images() {
    let mut dos = vec![0; 1 << 16];
    dos[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
    dos[510..512].copy_from_slice(&[0x55, 0xaa]);
    for (bytes, word) in [
        (vec![], "no GPT"),
        (vec![7; 513], "no GPT"),
        (vec![0; 1 << 20], "no GPT"),
        (dos, "DOS"),
    ] {
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(
            error.to_string().contains(word) && error.hint().is_some(),
            "{error}"
        );
    }
}

/// Where to damage a disk: mostly fields of the structures, with values that hurt.
fn mutate(shape: Shape, disk: &mut [u8], random: &mut Random) {
    const FIELDS: [(usize, usize); 11] = [
        (8, 4),
        (12, 4),
        (16, 4),
        (24, 8),
        (32, 8),
        (40, 8),
        (48, 8),
        (72, 8),
        (80, 4),
        (84, 4),
        (88, 4),
    ];
    let near = [
        0,
        1,
        2,
        shape.first(),
        shape.last(),
        shape.total - 1,
        shape.total,
        128,
        4096,
        usize::MAX >> 1,
        usize::MAX,
    ];
    let both = random.below(2) == 0;
    let index = random.below(2);
    let value = near[random.below(near.len())]
        .wrapping_add(random.below(5))
        .wrapping_sub(2) as u64;
    let (offset, len) = if random.below(2) == 0 {
        FIELDS[random.below(FIELDS.len())]
    } else {
        let entry = [0, 1, 3][random.below(3)] * shape.entry_size;
        (entry + [0, 16, 32, 40, 48, 56][random.below(6)], 8)
    };
    let in_header = random.below(2) == 0;
    for copy in [index, 1 - index].into_iter().take(1 + usize::from(both)) {
        let base = if in_header {
            shape.headers()[copy]
        } else {
            shape.arrays()[copy]
        } * shape.sector;
        if base + offset + len <= disk.len() {
            disk[base + offset..][..len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
    }
    if random.below(4) == 0 {
        disk[random.below(shape.first() * shape.sector)] ^= 1 << random.below(8);
    }
}

/// Any edit on any accepted table works or is refused, and what it says survives writing and reading.
fn exercise(table: &mut PartitionTable, disk: &[u8], random: &mut Random) {
    let numbers: Vec<u32> = table
        .partitions()
        .map(|partition| partition.number)
        .collect();
    for number in numbers {
        let size = [0, 512, 8192, u64::MAX, table.max_size(number).unwrap()][random.below(5)];
        let _ = table.resize(number, size);
        let _ = table.set_unique_guid(
            number,
            Guid::from_disk([u8::try_from(random.below(9)).unwrap(); 16]),
        );
    }
    if random.below(2) == 0 {
        let size = table.size() + (random.below(60) * 4096) as u64;
        let _ = table.grow(size);
    }
    if table.defect().is_none() {
        let written = written(table, disk);
        let again = read(&written).unwrap();
        assert_eq!(said(&again), said(table));
        assert_eq!(again.defect(), None);
        let repaired = [
            code::TABLE_PRIMARY_DAMAGED,
            code::TABLE_BACKUP_DAMAGED,
            code::TABLE_COPIES_DIFFER,
        ];
        assert!(
            repaired.iter().all(|code| !codes(&again).contains(code)),
            "{:?}",
            again.findings()
        );
        assert!(
            self::written(&again, &written) == written,
            "writing twice changes nothing"
        );
    }
}

#[test]
fn hostile_tables_give_a_result_or_an_error() {
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    let mut defective = 0;
    let mut refused = 0;
    for shape in SHAPES {
        let whole = shape.disk();
        for round in 0..10_000 {
            let mut disk = whole.clone();
            for _ in 0..=random.below(3) {
                mutate(shape, &mut disk, &mut random);
            }
            if round % 8 != 0 {
                shape.seal(&mut disk);
            }
            let size =
                [disk.len(), disk.len(), disk.len(), random.below(disk.len())][random.below(4)];
            match read(&disk[..size]) {
                Ok(mut table) => {
                    *(if table.defect().is_some() {
                        &mut defective
                    } else {
                        &mut accepted
                    }) += 1;
                    exercise(&mut table, &disk[..size], &mut random);
                }
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidInput),
                        "{error}"
                    );
                    refused += 1;
                }
            }
        }
    }
    eprintln!("{accepted} tables accepted, {defective} with a defect, {refused} refused");
    assert!(
        accepted > 2000 && defective > 500 && refused > 2000,
        "the mutations must reach every answer"
    );
}

#[test]
fn hostile_sizes_reserve_no_memory() {
    #[derive(Debug)]
    struct Huge(MemoryDevice);
    impl BlockDevice for Huge {
        fn size(&self) -> u64 {
            1 << 50
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> crate::Result<()> {
            assert!(buf.len() <= 4 << 20, "read of {} bytes", buf.len());
            if offset + buf.len() as u64 <= self.0.size() {
                return self.0.read_at(offset, buf);
            }
            buf.fill(0);
            Ok(())
        }
        fn extent_at(&self, offset: u64) -> crate::Result<crate::block::Extent> {
            self.0.extent_at(offset)
        }
    }
    let shape = SHAPES[0];
    for (count, size) in [
        (u32::MAX, 128),
        (32769, 128),
        (128, 1 << 31),
        (u32::MAX, u32::MAX),
        (0, 128),
        (128, 129),
    ] {
        let mut disk = shape.disk();
        disk[255 * 512..].fill(0);
        disk[512 + 40..512 + 48].copy_from_slice(&(1u64 << 40).to_le_bytes());
        disk[512 + 48..512 + 56].copy_from_slice(&(1u64 << 40).to_le_bytes());
        disk[512 + 80..512 + 84].copy_from_slice(&u32::to_le_bytes(count));
        disk[512 + 84..512 + 88].copy_from_slice(&u32::to_le_bytes(size));
        let crc = header_crc(&disk[512..612]).unwrap();
        disk[528..532].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(
            PartitionTable::read(&Huge(MemoryDevice::new(disk)))
                .unwrap_err()
                .kind(),
            ErrorKind::Corrupt
        );
    }
}
