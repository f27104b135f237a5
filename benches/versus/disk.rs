//! The disk that both sides work on: Flatcar's size and partitions, with real programs and documents of this machine.

use std::fs::{self, File};
use std::path::Path;

use super::measure::shell;

/// Size of Flatcar's base disk and where ROOT lies on it, in MiB.
pub const DISK_MIB: u64 = 8064;
pub const ROOT_START_MIB: u64 = 6212;
pub const ROOT_MIB: u64 = 1784;

/// Makes `disk.raw` and `disk.raw.bz2` with Flatcar's partitions: `mib` of real files, half in ROOT as files, half as bare
/// bytes in USR-A; and `sysext.raw` of 60 MB.
pub fn make(dir: &Path, mib: u64) {
    let disk = dir.join("disk.raw");
    let root = dir.join("root.raw");
    let tree = dir.join("tree");
    File::create(&disk)
        .unwrap()
        .set_len(DISK_MIB << 20)
        .unwrap();
    let shown = disk.display();
    shell(&format!(
        "sgdisk -a 4096 -n 1:4096:+1024M -t 1:ef00 -c 1:EFI-SYSTEM -n 2:0:+2M -t 2:ef02 -c 2:BIOS-BOOT \
         -n 3:0:+2048M -t 3:5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6 -c 3:USR-A -n 4:0:+2048M -c 4:USR-B \
         -t 4:5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6 -n 6:0:+1024M -t 6:8300 -c 6:OEM -n 7:0:+64M -c 7:OEM-CONFIG \
         -n 9:{}:+{ROOT_MIB}M -t 9:3884dd41-8582-4404-b9a8-e9b84f2df50e -c 9:ROOT {shown}",
        ROOT_START_MIB * 2048
    ));
    let half = mib / 2;
    let files =
        "find /usr/bin /usr/lib /usr/share -xdev -type f -size -20M -print0 2>/dev/null | sort -z";
    fs::create_dir(&tree).unwrap();
    // Cut off by size: head closes the pipe, and tar's complaint about it is not a failure here.
    shell(&format!(
        "({files} | tar -c --null -T - 2>/dev/null | head -c {half}M | tar -x -C {} --no-same-owner 2>/dev/null) || true",
        tree.display()
    ));
    shell(&format!(
        "truncate -s {ROOT_MIB}M {0}; mke2fs -q -t ext4 -b 4096 -i 4096 -I 256 -L ROOT -d {1} {0}; \
         dd if={0} of={shown} bs=1M seek={ROOT_START_MIB} conv=notrunc,sparse status=none; rm -r {0} {1}",
        root.display(),
        tree.display()
    ));
    shell(&format!(
        "({files} -r | tar -c --null -T - 2>/dev/null | head -c {half}M | \
         dd of={shown} bs=1M seek=1028 conv=notrunc iflag=fullblock status=none) || true"
    ));
    shell(&format!(
        "cd {}; lbzip2 -n2 -k -c disk.raw > disk.raw.bz2; \
         ({files} | tar -c --null -T - 2>/dev/null | head -c 60000000 > sysext.raw) || true",
        dir.display()
    ));
}
