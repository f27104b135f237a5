//! Reading all there is, within a budget: only a panic, an endless loop or a huge allocation is a failure.

use flatbake::block::{BlockDevice, ExtentKind};
use flatbake::fs::{FileSystem, FsPath, walk};
use flatbake::{Error, Result};

/// Most entries that are looked at.
const ENTRIES_MAX: usize = 2000;

/// Walks a filesystem and reads what its entries have, at most `budget` bytes of content.
pub fn read_everything(fs: &dyn FileSystem, mut budget: u64) {
    let mut entries = 0;
    let mut buffer = vec![0; 64 << 10];
    crate::blames_the_input(&fs.label());
    crate::blames_the_input(&fs.capacity());
    let walked = walk(fs, &FsPath::root(), &mut |entry| {
        entries += 1;
        crate::blames_the_input(&fs.xattrs(entry.node));
        let _ = fs.read_link(entry.node);
        let _ = fs.lookup(entry.node, b"kernel");
        if let Ok(file) = fs.open(entry.node) {
            let step = file.size().min(64 << 10).min(budget);
            let buffer = &mut buffer[..usize::try_from(step).expect("at most 64 KiB")];
            crate::blames_the_input(&file.read_at(0, buffer));
            crate::blames_the_input(&file.read_at(file.size() - step, buffer));
            let _ = file.read_at(file.size() / 2, &mut buffer[..usize::from(step > 0)]);
            budget -= step;
        }
        if entries > ENTRIES_MAX {
            Err(Error::invalid("enough"))
        } else {
            Ok(())
        }
    });
    crate::blames_the_input(&walked);
}

/// Walks the extents of a disk and reads some of what they hold: it may be far too large to read in full.
pub fn read_disk(disk: &dyn BlockDevice) -> Result<()> {
    let mut buffer = vec![0; 128 << 10];
    let (mut at, mut budget) = (0, 1 << 20);
    for _ in 0..500 {
        if at >= disk.size() {
            break;
        }
        let extent = disk.extent_at(at)?;
        assert!(
            extent.len > 0 && extent.len <= disk.size() - at,
            "{extent:?} at {at} of {}",
            disk.size()
        );
        if budget > 0 {
            let len = usize::try_from(extent.len.min(128 << 10)).expect("at most 128 KiB");
            disk.read_at(at, &mut buffer[..len])?;
            assert!(
                extent.kind == ExtentKind::Data || buffer[..len].iter().all(|&byte| byte == 0),
                "zeroes are zero"
            );
            budget -= len.min(budget);
        }
        at += extent.len;
    }
    let tail = disk.size().min(5000);
    disk.read_at(
        disk.size() - tail,
        &mut buffer[..usize::try_from(tail).expect("at most 5000")],
    )
}
