//! Partition tables made by sgdisk, sfdisk, cgpt and fdisk, edited, and judged by all of them.
//!
//! The disks are sparse files with Flatcar's exact layouts, old and new, so only their ends take space.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::judges::gpt_clean;
use crate::common::programs::{ask, judge, said};
use crate::common::random::Random;
use crate::common::{longer, scratch_dir};
use flatbake::Result;
use flatbake::block::{BlockDevice, BlockDeviceMut, Extent, FileDevice};
use flatbake::bytes::Guid;
use flatbake::partition::{MbrKind, PartitionAttributes, PartitionTable};

const EFI: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const BIOS: &str = "21686148-6449-6E6F-744E-656564454649";
const USR: &str = "5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6";
const DATA: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const RESERVED: &str = "C95DC21A-DF0E-4340-8D7B-26CBFA9A03E0";
const RESIZE: &str = "3884DD41-8582-4404-B9A8-E9B84F2DF50E";
const FRESH: &str = "00000000-0000-0000-0000-000000000001";

type Edit = dyn Fn(&mut PartitionTable) -> Result<()>;

/// Number, start, sectors, type and label.
type Row = (u32, u64, u64, &'static str, &'static str);

/// The base layout since release 4487: 8064 MiB.
const NEW: (u64, [Row; 7]) = (
    16_515_072,
    [
        (1, 4096, 2_097_152, EFI, "EFI-SYSTEM"),
        (2, 2_101_248, 4096, BIOS, "BIOS-BOOT"),
        (3, 2_105_344, 4_194_304, USR, "USR-A"),
        (4, 6_299_648, 4_194_304, USR, "USR-B"),
        (6, 10_493_952, 2_097_152, DATA, "OEM"),
        (7, 12_591_104, 131_072, RESERVED, "OEM-CONFIG"),
        (9, 12_722_176, 3_653_632, RESIZE, "ROOT"),
    ],
);

/// The base layout before: 4536 MiB.
const OLD: (u64, [Row; 7]) = (
    9_289_728,
    [
        (1, 4096, 262_144, EFI, "EFI-SYSTEM"),
        (2, 266_240, 4096, BIOS, "BIOS-BOOT"),
        (3, 270_336, 2_097_152, USR, "USR-A"),
        (4, 2_367_488, 2_097_152, USR, "USR-B"),
        (6, 4_464_640, 262_144, DATA, "OEM"),
        (7, 4_726_784, 131_072, RESERVED, "OEM-CONFIG"),
        (9, 4_857_856, 4_427_776, RESIZE, "ROOT"),
    ],
);

/// A sparse file that can be written, counting the writes.
#[derive(Debug)]
struct Disk {
    dir: tempfile::TempDir,
    reader: FileDevice,
    file: File,
    writes: AtomicUsize,
}

impl Disk {
    fn new(size: u64) -> Self {
        let dir = scratch_dir();
        File::create(dir.path().join("disk.img"))
            .unwrap()
            .set_len(size)
            .unwrap();
        Self::open(dir)
    }

    fn open(dir: tempfile::TempDir) -> Self {
        let path = dir.path().join("disk.img");
        let file = File::options().read(true).write(true).open(&path).unwrap();
        Self {
            reader: FileDevice::open(&path).unwrap(),
            dir,
            file,
            writes: AtomicUsize::new(0),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    fn resized(self, size: u64) -> Self {
        self.file.set_len(size).unwrap();
        Self::open(self.dir)
    }

    fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read_at(offset, &mut bytes).unwrap();
        bytes
    }

    fn flip(&self, offset: u64) {
        self.write_at(offset, &[self.bytes(offset, 1)[0] ^ 1])
            .unwrap();
    }

    fn table(&self) -> PartitionTable {
        PartitionTable::read(self).unwrap()
    }
}

impl BlockDevice for Disk {
    fn size(&self) -> u64 {
        self.reader.size()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.reader.read_at(offset, buf)
    }
    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.reader.extent_at(offset)
    }
}

impl BlockDeviceMut for Disk {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        assert!(offset + buf.len() as u64 <= self.size());
        self.file.write_all_at(buf, offset).unwrap();
        Ok(())
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.write_at(offset, &vec![0; usize::try_from(len).unwrap()])
    }
}

/// Runs a program that must succeed and returns its standard output.
fn run(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let output = ask(program, arguments, input.as_bytes())?;
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    // sgdisk prints names beyond the basic plane as broken UTF-8.
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn unique(number: u32) -> String {
    format!("7130C94A-213A-4E5A-8E26-6CCE9662F1{number:02X}")
}

const MAKERS: [&str; 3] = ["sgdisk", "sfdisk", "cgpt"];

/// A disk with one of Flatcar's layouts, made by `maker`.
fn flatcar(maker: &str, (total, rows): &(u64, [Row; 7])) -> Option<Disk> {
    let disk = Disk::new(total * 512);
    let path = disk.path().to_str().unwrap().to_owned();
    match maker {
        "sgdisk" => {
            let mut arguments = vec!["-a1".to_owned(), "-U".into(), FRESH.into()];
            for (number, start, sectors, kind, label) in rows {
                arguments.push(format!("-n{number}:{start}:{}", start + sectors - 1));
                arguments.push(format!("-t{number}:{kind}"));
                arguments.push(format!("-c{number}:{label}"));
                arguments.push(format!("-u{number}:{}", unique(*number)));
            }
            arguments.extend(["-A3:set:48", "-A3:set:56"].map(str::to_owned));
            arguments.push(path);
            run(
                "sgdisk",
                &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
                "",
            )?;
        }
        "sfdisk" => {
            let mut script =
                format!("label: gpt\nlabel-id: {FRESH}\nunit: sectors\nfirst-lba: 34\n");
            for (number, start, sectors, kind, label) in rows {
                let attributes = if *number == 3 {
                    ", attrs=\"GUID:48,56\""
                } else {
                    ""
                };
                script += &format!(
                    "{path}{number} : start={start}, size={sectors}, type={kind}, uuid={}, name=\"{label}\"{attributes}\n",
                    unique(*number)
                );
            }
            run("sfdisk", &["--no-reread", "--quiet", &path], &script)?;
        }
        _ => {
            run("cgpt", &["create", &path], "")?;
            run("cgpt", &["boot", "-p", &path], "")?;
            for (number, start, sectors, kind, label) in rows {
                let number = number.to_string();
                let start = start.to_string();
                let sectors = sectors.to_string();
                let unique = unique(number.parse().unwrap());
                let attributes = if number == "3" { "0x0101" } else { "0" };
                let arguments = [
                    "add", "-i", &number, "-b", &start, "-s", &sectors, "-t", kind, "-u", &unique,
                    "-l", label, "-A", attributes, &path,
                ];
                run("cgpt", &arguments, "")?;
            }
        }
    }
    Some(disk)
}

/// The MBR of releases before 4277: the ESP, bootable, then the shield in front of it. And GRUB's first stage.
fn make_hybrid(disk: &Disk) {
    let mut mbr = disk.bytes(0, 512);
    for (at, byte) in mbr[..440].iter_mut().enumerate() {
        *byte = u8::try_from(at % 251).unwrap();
    }
    mbr[440..446].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef, 0, 0]);
    mbr[446..462].copy_from_slice(&[0x80, 65, 2, 0, 0x0c, 146, 53, 16, 0, 0x10, 0, 0, 0, 0, 4, 0]);
    mbr[462..478].copy_from_slice(&[
        0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0x0f, 0, 0,
    ]);
    disk.write_at(0, &mbr).unwrap();
}

/// Every judge finds the disk sound and reads what we read.
fn judged(disk: &Disk) {
    let table = disk.table();
    assert_eq!(table.findings(), []);
    let path = disk.path();
    let path = path.to_str().unwrap();
    gpt_clean(&disk.path()).unwrap();
    if judge("sgdisk").is_some() {
        for partition in table.partitions() {
            let said = run("sgdisk", &["-i", &partition.number.to_string(), path], "").unwrap();
            assert!(
                said.contains(&format!("Attribute flags: {:016X}", partition.attributes.0)),
                "{said}"
            );
            assert!(
                said.contains(&format!("First sector: {} ", partition.starting_lba)),
                "{said}"
            );
            assert!(
                said.contains(&format!("Last sector: {} ", partition.ending_lba)),
                "{said}"
            );
            assert!(
                said.contains(&format!("unique GUID: {}", upper(partition.unique_guid))),
                "{said}"
            );
            let name = partition.name.to_string();
            assert!(
                !name.is_ascii() || said.contains(&format!("Partition name: '{name}'")),
                "{said}"
            );
        }
    }
    sfdisk_agrees(&table, path);
    cgpt_agrees(&table, path);
}

fn upper(guid: Guid) -> String {
    guid.to_string().to_uppercase()
}

fn sfdisk_agrees(table: &PartitionTable, path: &str) {
    let Some(said) = run("sfdisk", &["--json", path], "") else {
        return;
    };
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let said = &said["partitiontable"];
    assert_eq!(said["id"], upper(table.disk_guid()));
    assert_eq!((said["firstlba"].as_u64(), said["lastlba"].as_u64()), {
        let (first, last) = table.usable_sectors();
        (Some(first), Some(last))
    });
    let rows = said["partitions"].as_array().unwrap();
    assert_eq!(rows.len(), table.partitions().count());
    for (row, partition) in rows.iter().zip(table.partitions()) {
        assert_eq!(row["node"], format!("{path}{}", partition.number));
        assert_eq!(row["start"].as_u64(), Some(partition.starting_lba));
        assert_eq!(row["size"].as_u64(), Some(partition.sectors()));
        assert_eq!(row["type"], upper(partition.type_guid));
        assert_eq!(row["uuid"], upper(partition.unique_guid));
        assert_eq!(
            row["name"].as_str().unwrap_or_default(),
            partition.name.to_string()
        );
        assert_eq!(
            row["attrs"].as_str().unwrap_or_default(),
            sfdisk_attributes(partition.attributes)
        );
    }
}

fn sfdisk_attributes(attributes: PartitionAttributes) -> String {
    let set = |bit: &u32| attributes.0 >> bit & 1 != 0;
    let mut words = Vec::new();
    for (bit, word) in [
        (0, "RequiredPartition"),
        (1, "NoBlockIOProtocol"),
        (2, "LegacyBIOSBootable"),
    ] {
        words.extend(set(&bit).then(|| word.to_owned()));
    }
    let own: Vec<String> = (48..64)
        .filter(set)
        .map(|bit: u32| bit.to_string())
        .collect();
    words.extend((!own.is_empty()).then(|| format!("GUID:{}", own.join(","))));
    words.join(" ")
}

fn cgpt_agrees(table: &PartitionTable, path: &str) {
    let Some(output) = ask("cgpt", ["show", "-n", "-v", path], b"") else {
        return;
    };
    let said = said(&output);
    // It reports damage on stderr with exit status 0.
    assert!(
        !said.contains("WARNING") && !said.contains("INVALID") && !said.contains("ERROR"),
        "{said}"
    );
    let words: Vec<&str> = said.split_whitespace().collect();
    let words = words.join(" ");
    let (first, last) = table.usable_sectors();
    for part in [
        format!("Alternate LBA: {}", table.size() / 512 - 1),
        format!("First LBA: {first} Last LBA: {last}"),
        format!("Disk UUID: {}", upper(table.disk_guid())),
    ] {
        assert!(words.contains(&part), "{part} in {said}");
    }
    for partition in table.partitions() {
        let row = format!(
            "{} {} {} Label: \"{}\" Type: {} UUID: {} Attr: [{:x}]",
            partition.starting_lba,
            partition.sectors(),
            partition.number,
            partition.name,
            upper(partition.type_guid),
            upper(partition.unique_guid),
            partition.attributes.0 >> 48
        );
        assert!(words.contains(&row), "{row} in {said}");
    }
}

/// The disk's ends, where tables lie.
fn ends(disk: &Disk) -> (Vec<u8>, Vec<u8>) {
    (
        disk.bytes(0, 1 << 20),
        disk.bytes(disk.size() - (1 << 20), 1 << 20),
    )
}

#[test]
fn tables_of_every_maker_are_read_and_an_unchanged_one_is_not_written() {
    for maker in MAKERS {
        for layout in [&NEW, &OLD] {
            let Some(disk) = flatcar(maker, layout) else {
                continue;
            };
            judged(&disk);
            let table = disk.table();
            let rows: Vec<_> = table
                .partitions()
                .map(|partition| {
                    let start = partition.starting_lba;
                    let sectors = partition.sectors();
                    (
                        partition.number,
                        start,
                        sectors,
                        upper(partition.type_guid),
                        partition.name.to_string(),
                    )
                })
                .collect();
            let expected = layout.1.map(|(number, start, len, kind, label)| {
                (number, start, len, kind.into(), label.into())
            });
            assert_eq!(rows, expected);
            let usr = table.partition(3).unwrap();
            assert_eq!(
                (usr.attributes.0, upper(usr.unique_guid)),
                (0x0101_0000_0000_0000, unique(3))
            );
            assert_eq!(table.mbr().kind().unwrap(), MbrKind::Protective);
            table.write(&disk).unwrap();
            assert_eq!(disk.writes.load(Ordering::Relaxed), 0, "{maker}");
        }
    }
}

#[test]
fn every_edit_is_what_the_judges_read() {
    for maker in MAKERS {
        let Some(disk) = flatcar(maker, &NEW) else {
            continue;
        };
        let mut table = disk.table();
        let edits: [&Edit; 7] = [
            &|table| table.set_disk_guid(unique(77).parse()?),
            &|table| table.set_attributes(4, PartitionAttributes(0x01ff_0000_0000_0004)),
            &|table| {
                table.set_attributes(
                    3,
                    PartitionAttributes::default()
                        .with_priority(2)?
                        .with_tries(1)?,
                )
            },
            &|table| table.set_type_guid(7, DATA.parse()?),
            &|table| table.set_unique_guid(6, unique(78).parse()?),
            &|table| table.set_name(7, "größer 🐧 config-2".parse()?),
            &|table| table.resize(9, table.max_size(9)?),
        ];
        for edit in edits {
            let before = table.clone();
            edit(&mut table).unwrap();
            assert_ne!(table, before);
            table.write(&disk).unwrap();
            assert_eq!(format!("{:?}", disk.table()), format!("{table:?}"));
            judged(&disk);
        }
    }
}

#[test]
fn growth_keeps_boot_code_and_the_hybrid_mbr() {
    for maker in MAKERS {
        let Some(disk) = flatcar(maker, &OLD) else {
            continue;
        };
        make_hybrid(&disk);
        disk.table().write(&disk).unwrap();
        judged(&disk);
        let mbr = disk.bytes(0, 512);
        let mut table = disk.table();
        assert_eq!(table.mbr().kind().unwrap(), MbrKind::Hybrid);
        assert_eq!(
            (
                table.mbr().boot_code(),
                table.mbr().disk_signature().unwrap()
            ),
            (&mbr[..440], 0xefbe_adde)
        );
        assert_eq!(
            table.resize(1, 1 << 20).unwrap_err().kind(),
            flatbake::ErrorKind::Unsupported
        );
        let vm = 17_805_312 * 512;
        let old_end = disk.size();
        table.grow(vm).unwrap();
        table.resize(9, 12_943_360 * 512).unwrap();
        let disk = disk.resized(vm);
        table.write(&disk).unwrap();
        judged(&disk);
        assert_eq!(disk.bytes(0, 512), mbr, "a hybrid MBR stays bit for bit");
        assert!(
            flatbake::bytes::is_zero(&disk.bytes(old_end - 33 * 512, 33 * 512)),
            "the old backup is gone"
        );
    }
}

#[test]
fn a_protective_mbr_covers_the_grown_disk() {
    // Beyond 2 TiB the record cannot say the size any more.
    for size in [12_600 << 20, 3 << 40] {
        let Some(disk) = flatcar("cgpt", &NEW) else {
            return;
        };
        let mut table = disk.table();
        table.grow(size).unwrap();
        let disk = disk.resized(size);
        table.write(&disk).unwrap();
        judged(&disk);
        let record = disk.table().mbr().records().unwrap()[0];
        assert_eq!(
            record.size_in_lba,
            u32::try_from(size / 512 - 1).unwrap_or(u32::MAX)
        );
    }
}

#[test]
fn random_edits_keep_all_judges_agreeing() {
    let mut random = Random::new(7);
    let mut next = |bound: u64| random.below_u64(bound);
    for (round, maker) in MAKERS
        .into_iter()
        .cycle()
        .take(usize::try_from(longer(6)).unwrap())
        .enumerate()
    {
        let Some(mut disk) = flatcar(maker, if round % 2 == 0 { &OLD } else { &NEW }) else {
            continue;
        };
        if round % 4 == 0 {
            make_hybrid(&disk);
        }
        for _ in 0..3 {
            let mut table = disk.table();
            for _ in 0..=next(5) {
                let number = [2, 3, 4, 6, 7, 9][usize::try_from(next(6)).unwrap()];
                let guid =
                    Guid::from_fields(u32::try_from(next(1 << 31)).unwrap(), 1, 2, next(1 << 31));
                match next(7) {
                    0 => table.set_disk_guid(guid).unwrap(),
                    1 => table.set_unique_guid(number, guid).unwrap(),
                    2 => table.set_type_guid(number, guid).unwrap(),
                    // Bits 3 to 47 have no word in sfdisk's and cgpt's output.
                    3 => table
                        .set_attributes(number, PartitionAttributes(next(1 << 16) << 48 | next(8)))
                        .unwrap(),
                    4 => table
                        .set_name(number, format!("Name {}", next(1 << 40)).parse().unwrap())
                        .unwrap(),
                    5 => {
                        let sectors = 1 + next(table.max_size(number).unwrap() / 512);
                        table.resize(number, sectors * 512).unwrap();
                    }
                    _ => table.grow(table.size() + next(1 << 22) * 512).unwrap(),
                }
            }
            disk = disk.resized(table.size());
            table.write(&disk).unwrap();
            assert_eq!(format!("{:?}", disk.table()), format!("{table:?}"));
            judged(&disk);
        }
    }
}

#[test]
fn one_broken_byte_is_seen_by_the_judges_and_repaired() {
    for maker in MAKERS {
        let Some(disk) = flatcar(maker, &NEW) else {
            continue;
        };
        let path = disk.path();
        let path = path.to_str().unwrap();
        let whole = ends(&disk);
        let end = disk.size();
        for place in [512 + 60, 1024 + 60, end - 512 + 60, end - 33 * 512 + 60] {
            disk.flip(place);
            assert!(judge("sgdisk").is_none() || gpt_clean(&disk.path()).is_err());
            if let Some(output) = ask("cgpt", ["show", path], b"") {
                assert!(
                    String::from_utf8(output.stderr)
                        .unwrap()
                        .contains("WARNING")
                );
            }
            let table = disk.table();
            assert_eq!(table.findings().len(), 1, "{:?}", table.findings());
            table.write(&disk).unwrap();
            assert!(ends(&disk) == whole, "{maker}: byte {place} comes back");
            judged(&disk);
        }
    }
}

/// fdisk's word on a disk with sectors of 4096 bytes, which sgdisk and cgpt cannot see in a file.
fn fdisk_agrees(disk: &Disk) {
    let path = disk.path();
    let path = path.to_str().unwrap();
    let table = disk.table();
    assert_eq!((table.sector_size(), table.findings()), (4096, &[][..]));
    let verified = run("fdisk", &["-b4096", path], "v\nq\n").unwrap();
    assert!(verified.contains("No errors detected"), "{verified}");
    let columns = "Device,Start,End,Type-UUID,UUID,Attrs,Name";
    let output = ask("fdisk", ["-b4096", "-l", "-o", columns, path], b"").unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(&upper(table.disk_guid())), "{said}");
    let words: Vec<&str> = said.split_whitespace().collect();
    let words = words.join(" ");
    for partition in table.partitions() {
        let row = [
            format!(
                "{path}{} {} {}",
                partition.number, partition.starting_lba, partition.ending_lba
            ),
            format!(
                "{} {}",
                upper(partition.type_guid),
                upper(partition.unique_guid)
            ),
            sfdisk_attributes(partition.attributes),
            partition.name.to_string(),
        ];
        let row: Vec<String> = row.into_iter().filter(|word| !word.is_empty()).collect();
        assert!(words.contains(&row.join(" ")), "{row:?} in {said}");
    }
}

#[test]
fn disks_with_4096_byte_sectors() {
    let disk = Disk::new(64 << 20);
    let path = disk.path();
    let script = "g\nn\n1\n256\n2815\nn\n3\n4096\n5000\nn\n9\n5120\n16000\nx\nn\n9\nROOT\nr\nw\n";
    if run("fdisk", &["-b4096", path.to_str().unwrap()], script).is_none() {
        return;
    }
    fdisk_agrees(&disk);
    let mut table = disk.table();
    table.write(&disk).unwrap();
    assert_eq!(disk.writes.load(Ordering::Relaxed), 0);
    assert_eq!(table.partition(1).unwrap().offset(), 1 << 20);
    assert_eq!(table.partition(1).unwrap().size(), 10 << 20);

    let size = 200 << 20;
    table.grow(size).unwrap();
    table.resize(9, table.max_size(9).unwrap()).unwrap();
    table.set_name(3, "USR-A".parse().unwrap()).unwrap();
    table
        .set_attributes(3, PartitionAttributes(0x0101_0000_0000_0004))
        .unwrap();
    table.set_disk_guid(FRESH.parse().unwrap()).unwrap();
    let disk = disk.resized(size);
    table.write(&disk).unwrap();
    fdisk_agrees(&disk);

    for place in [4096 + 60, 8192 + 60, size - 4096 + 60, size - 5 * 4096 + 60] {
        disk.flip(place);
        let output = ask("fdisk", ["-b4096", "-l", path.to_str().unwrap()], b"").unwrap();
        assert!(!output.stderr.is_empty(), "fdisk sees byte {place}");
        disk.table().write(&disk).unwrap();
        fdisk_agrees(&disk);
    }
}
