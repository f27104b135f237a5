//! FAT through mtools.

use crate::common::programs::{judge, must_run};
use crate::common::region::Region;
use crate::common::tree::{Tree, host_tree};
use std::ffi::{OsStr, OsString};
use std::fs;

/// Paths, types, sizes, contents and file times, by `mcopy`. FAT has no more than that to tell, and directory times are
/// not kept by `mcopy`.
pub fn fat_tree(region: &Region) -> Option<Tree> {
    judge("mcopy")?;
    let dir = crate::common::scratch_dir();
    let target = dir.path().join("tree");
    fs::create_dir(&target).unwrap();
    let mut image = region.path.clone().into_os_string();
    image.push(format!("@@{}", region.offset));
    let options = ["-s", "-m", "-n", "-i"].map(OsString::from);
    must_run(
        "mcopy",
        options.iter().map(OsString::as_os_str).chain([
            &image,
            OsStr::new("::"),
            target.as_os_str(),
        ]),
    );
    let mut tree = host_tree(&target);
    for entry in tree.values_mut() {
        (entry.mode, entry.uid, entry.gid, entry.xattrs, entry.nlink) =
            (None, None, None, None, None);
        if entry.size.is_none() {
            entry.mtime = None;
        }
    }
    Some(tree)
}
