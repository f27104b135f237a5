//! The judges. Each says `Ok(())` or tells in `Err` what it found; a judge that is not installed says `Ok(())` after
//! [`judge`] has reported it, so tests of the judges themselves ask [`judge`] first.

use super::programs::{ask, said};
use super::region::Region;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// A judge's word.
pub type Verdict = Result<(), String>;

/// Exit status 0 is yes.
fn exit_status<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Verdict {
    match ask(program, arguments, b"") {
        Some(output) if !output.status.success() => Err(format!(
            "{program} ended with {}:\n{}",
            output.status,
            said(&output)
        )),
        _ => Ok(()),
    }
}

/// What `sgdisk` says of a damaged table before it takes the other copy and finds no problem there. Partitions that
/// are not aligned get a "Caution:" too, but no exclamation mark.
const GPT_DAMAGE: &[&str] = &[
    "corrupt", "damage", "invalid", "caution!", "warning", "error", "mismatch",
];

/// `sgdisk -v` finds no problem. It does not see renumbered or renamed partitions: compare [`partitions`] as well.
pub fn gpt_clean(image: &Path) -> Verdict {
    let Some(output) = ask("sgdisk", [OsStr::new("-v"), image.as_os_str()], b"") else {
        return Ok(());
    };
    let text = said(&output).replace(&*image.to_string_lossy(), "IMAGE");
    let sound = output.status.success() && text.contains("No problems found");
    let lower = text.to_lowercase();
    if sound && !GPT_DAMAGE.iter().any(|word| lower.contains(word)) {
        return Ok(());
    }
    Err(format!("sgdisk -v ended with {}:\n{text}", output.status))
}

/// The partition table as `sfdisk --json` tells it.
pub fn gpt_json(image: &Path) -> Option<serde_json::Value> {
    let output = ask("sfdisk", [OsStr::new("--json"), image.as_os_str()], b"")?;
    assert!(
        output.status.success(),
        "sfdisk --json {}: {}",
        image.display(),
        said(&output)
    );
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    Some(value["partitiontable"].clone())
}

/// One entry of the partition table, by `sfdisk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    /// First sector and length, in sectors of 512 bytes.
    pub start: u64,
    pub sectors: u64,
    /// GUIDs in capital letters, as `sfdisk` prints them.
    pub type_guid: String,
    pub unique_guid: String,
    pub label: String,
    /// Attribute bits in words, for example `GUID:48,56`.
    pub attributes: String,
}

/// All partitions in the order of the table, by `sfdisk`.
pub fn partitions(image: &Path) -> Option<Vec<Partition>> {
    let table = gpt_json(image)?;
    let text =
        |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let device = text(&table, "device");
    let entries = table["partitions"].as_array().cloned().unwrap_or_default();
    let partition = |entry: &serde_json::Value| {
        // Between the device and the number stands a "p" when the device's name ends in a digit.
        let number = text(entry, "node")[device.len()..]
            .trim_start_matches('p')
            .parse()
            .unwrap();
        Partition {
            number,
            start: entry["start"].as_u64().unwrap(),
            sectors: entry["size"].as_u64().unwrap(),
            type_guid: text(entry, "type"),
            unique_guid: text(entry, "uuid"),
            label: text(entry, "name"),
            attributes: text(entry, "attrs"),
        }
    };
    Some(entries.iter().map(partition).collect())
}

/// What `cgpt show` prints, for a comparison before and after.
pub fn cgpt_show(image: &Path) -> Option<String> {
    let output = ask("cgpt", [OsStr::new("show"), image.as_os_str()], b"")?;
    assert!(
        output.status.success(),
        "cgpt show {}: {}",
        image.display(),
        said(&output)
    );
    // A damaged table is mentioned on stderr with exit status 0: it belongs to what is compared.
    Some(said(&output))
}

/// `fsck.vfat -n`.
pub fn fat_clean(region: &Region) -> Verdict {
    region.with_file(|file| exit_status("fsck.vfat", &[OsStr::new("-n"), file.as_os_str()]))
}

/// `e2fsck -fn` would repair nothing. Of a filesystem with a dirty journal it ends with 0 whatever it finds, so no
/// question that it answers with "no" is allowed either.
pub fn ext4_clean(region: &Region) -> Verdict {
    region.with_file(
        |file| match ask("e2fsck", [OsStr::new("-fn"), file.as_os_str()], b"") {
            Some(output) if !output.status.success() || would_repair(&said(&output)) => {
                Err(format!(
                    "e2fsck -fn ended with {}:\n{}",
                    output.status,
                    said(&output)
                ))
            }
            _ => Ok(()),
        },
    )
}

/// Whether `e2fsck -fn` answered a question with "no". Of times after 2310 it only wonders.
fn would_repair(words: &str) -> bool {
    let words = words.replace("likely pre-1970.\nFix? no", "");
    words.lines().any(|line| line.trim_end().ends_with("? no"))
}

/// `btrfs check --readonly --check-data-csum`.
pub fn btrfs_clean(region: &Region) -> Verdict {
    let check = ["check", "--readonly", "--check-data-csum"].map(OsStr::new);
    region.with_file(|file| {
        let arguments = [check.as_slice(), &[file.as_os_str()]].concat();
        match ask("btrfs", arguments, b"") {
            // Warnings about what it would repair do not always reach the exit status.
            Some(output)
                if !output.status.success() || !said(&output).contains("no error found") =>
            {
                Err(format!(
                    "btrfs check ended with {}:\n{}",
                    output.status,
                    said(&output)
                ))
            }
            _ => Ok(()),
        }
    })
}

/// `qemu-img check`: no errors and no leaked clusters. For formats that have a check: qcow2, vmdk, vhdx, vdi, parallels.
pub fn qemu_check(image: &Path) -> Verdict {
    exit_status("qemu-img", &[OsStr::new("check"), image.as_os_str()])
}

/// [`qemu_check`] of a file that must be a qcow2.
pub fn qcow2_clean(image: &Path) -> Verdict {
    let words = ["check", "-f", "qcow2"].map(OsStr::new);
    exit_status(
        "qemu-img",
        &[words.as_slice(), &[image.as_os_str()]].concat(),
    )
}

/// `qemu-img compare`: both images, of whatever format, have the same size and content.
pub fn qemu_compare(first: &Path, second: &Path) -> Verdict {
    match ask(
        "qemu-img",
        [OsStr::new("compare"), first.as_os_str(), second.as_os_str()],
        b"",
    ) {
        Some(output) if !output.status.success() || said(&output).contains("size mismatch") => {
            Err(format!(
                "qemu-img compare ended with {}:\n{}",
                output.status,
                said(&output)
            ))
        }
        _ => Ok(()),
    }
}

/// `qemu-img info --output json`.
pub fn qemu_info(image: &Path) -> Option<serde_json::Value> {
    let words = ["info", "--output", "json"].map(OsStr::new);
    let output = ask(
        "qemu-img",
        [words.as_slice(), &[image.as_os_str()]].concat(),
        b"",
    )?;
    assert!(
        output.status.success(),
        "qemu-img info {}: {}",
        image.display(),
        said(&output)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// What GRUB itself reads at `path` (its FAT, btrfs and ext4 drivers) equals the file `host`. For a whole disk image
/// the path starts with the partition: `(loop0,gpt6)/grub.cfg`, and GRUB's GPT code is judged too.
pub fn grub_cmp(region: &Region, path: &str, host: &Path) -> Verdict {
    region.with_file(|file| {
        let file = absolute(file);
        exit_status(
            "grub-fstest",
            &[
                file.as_os_str(),
                OsStr::new("cmp"),
                OsStr::new(path),
                absolute(host).as_os_str(),
            ],
        )
    })
}

/// The CRC-32 that GRUB computes over the file at `path`, in hexadecimal; an error when it cannot read all of it.
pub fn grub_crc(region: &Region, path: &str) -> Option<Result<String, String>> {
    region.with_file(|file| {
        let output = ask(
            "grub-fstest",
            [
                absolute(file).as_os_str(),
                OsStr::new("crc"),
                OsStr::new(path),
            ],
            b"",
        )?;
        let crc = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(if output.status.success() && crc.len() == 8 {
            Ok(crc)
        } else {
            Err(said(&output))
        })
    })
}

/// `grub-fstest` takes a relative name for one inside the image.
fn absolute(path: &Path) -> OsString {
    std::path::absolute(path).unwrap().into_os_string()
}

/// `unsquashfs` unpacks everything (into a temporary directory) without a complaint.
pub fn squashfs_clean(image: &Path) -> Verdict {
    let dir = super::scratch_dir();
    let target = dir.path().join("tree");
    let options = ["-no-progress", "-strict-errors", "-user-xattrs", "-d"].map(OsStr::new);
    let arguments = [options.as_slice(), &[target.as_os_str(), image.as_os_str()]].concat();
    exit_status("unsquashfs", &arguments)
}

/// `fsck.erofs --extract`: reads and decompresses everything.
pub fn erofs_clean(image: &Path) -> Verdict {
    match ask(
        "fsck.erofs",
        [OsStr::new("--extract"), image.as_os_str()],
        b"",
    ) {
        // Version 1.5 ends with 0 also when the superblock's checksum is wrong.
        Some(output) if !output.status.success() || said(&output).contains("<E>") => Err(format!(
            "fsck.erofs ended with {}:\n{}",
            output.status,
            said(&output)
        )),
        _ => Ok(()),
    }
}

/// The standard tool tests a compressed stream, chosen by the name's ending: `.gz`, `.bz2`, `.xz`, `.zst`.
pub fn stream_clean(file: &Path) -> Verdict {
    let ending = file.extension().and_then(OsStr::to_str).unwrap_or_default();
    let program = match ending {
        "gz" => "gzip",
        "bz2" => "bzip2",
        "xz" => "xz",
        "zst" => "zstd",
        _ => panic!("no tool for {}", file.display()),
    };
    exit_status(program, &[OsStr::new("-t"), file.as_os_str()])
}
