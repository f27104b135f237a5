//! The initrd of live systems: a compressed cpio archive with the operating system and OEM's files.
//!
//! ```text
//!   .  etc/  usr.squashfs                                   as Flatcar's own
//!   usr/share/oem/config.ign, base/base.ign, …              OEM's files, where the initrd looks for configurations
//!   oem/…                                                   the same files (hard links), where Ignition resolves oem://
//! ```

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::memo::Memo;
use super::oem::Oem;
use super::{ROOT, USR};
use crate::archive::cpio::CpioLayout;
use crate::block::{BlockDevice, FileDevice, Piece, Watched};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::Disk;
use crate::fs::squashfs::{self, AddedFile, SquashfsCompression, SquashfsOptions, SquashfsReport};
use crate::fs::{self, Attributes, ByPath, FileSystem, FsPath, Timestamp, read_file};
use crate::image::{CompressOptions, Compression, compress, raw};
use crate::progress::{Cancel, Progress};

/// The file whose `GROUP=` names the channel.
const UPDATE_CONF: &str = "/share/flatcar/update.conf";
/// The same of a machine, which Flatcar's build asks first.
const ETC_UPDATE_CONF: &str = "/etc/flatcar/update.conf";
/// Its presence in /usr keeps update_engine from running.
const NO_UPDATE: &str = "/.noupdate";
/// Longest update.conf that is read; real ones have about 100 bytes.
const UPDATE_CONF_MAX: u64 = 64 << 10;
/// Largest USR: twice the present partition.
const USR_MAX: u64 = 16 << 30;
/// What ROOT has when it is fresh.
const ROOT_FRESH: [&[u8]; 4] = [b"boot", b"usr", b"oem", b"lost+found"];

/// How to make the initrd.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// With what usr.squashfs is compressed. Kernels of all releases read gzip.
    pub squashfs: SquashfsCompression,
    /// The gzip level of the initrd, 1 (fast) to 9 (small). Nearly all of it is compressed already.
    pub level: u8,
    /// Later times (seconds since 1970) become this one.
    pub latest_time: Option<i64>,
    /// The update group to write into update.conf; the image's own otherwise.
    pub group: Option<String>,
    /// Whether OEM's files come into the initrd.
    pub oem: bool,
    /// Where the squashfs is kept while it is not yet in the initrd.
    pub temp_dir: PathBuf,
    /// What forks of the disk have made already, or make at the same time.
    pub cache: Option<Arc<LiveCache>>,
    /// Ends the work; the disk has to be one that looks at it, too.
    pub cancel: Cancel,
}

impl LiveOptions {
    /// The usual options: gzip, OEM's files, times and group as they are, nothing shared.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Self {
        Self {
            squashfs: SquashfsCompression::Gzip(6),
            level: 1,
            latest_time: None,
            group: None,
            oem: true,
            temp_dir: temp_dir.into(),
            cache: None,
            cancel: Cancel::new(),
        }
    }
}

/// What an initrd holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitrdReport {
    /// usr.squashfs.
    pub squashfs: SquashfsReport,
    /// Paths of OEM's files that are in it, from OEM's root.
    pub oem_files: Vec<String>,
    /// The update group.
    pub group: String,
    /// The time of what has none of its own, in seconds since 1970: that of USR's update.conf, held back as asked.
    pub time: i64,
    /// Length of the archive before compression, in bytes: so much memory it takes at boot.
    pub archive_bytes: u64,
}

/// Writes the compressed initrd of `disk` into `out`, an empty file.
///
/// It holds USR as a squashfs with two changes that Flatcar's build makes as well: an empty `/.noupdate`, and the update
/// group in `share/flatcar/update.conf`. OEM's files lie in `usr/share/oem`, from release 3637 on also in `oem`, except
/// `grub.cfg` and sysexts. The bytes depend on the image and the options alone, whatever a cache holds.
///
/// # Errors
///
/// The image's read errors; [`ErrorKind::NotFound`] where USR has no update.conf; [`ErrorKind::Unsupported`] for what
/// squashfs or cpio cannot hold, such as a usr.squashfs of 4 GiB; those of writing `out` and the temporary file.
pub fn write_initrd(
    disk: &Disk,
    out: &File,
    options: &LiveOptions,
    progress: &dyn Progress,
) -> Result<InitrdReport> {
    let initrd = initrd(disk, || again(out), options, progress)?;
    if !is_same(out, &initrd.file)? {
        raw::write(
            &Watched::new(&initrd.device, &options.cancel),
            out,
            progress,
        )?;
    }
    Ok(initrd.report.clone())
}

/// What live images of forks of one disk have in common: USR as a squashfs, and the initrds of those with the same files
/// on OEM. It lies in files without names, which are gone with the cache.
///
/// One cache serves disks that are forks of one and have the same content in USR, as a bake leaves them.
#[derive(Debug, Default)]
pub struct LiveCache {
    squashfs: Memo<SquashfsKey, Squashfs>,
    initrds: Memo<InitrdKey, Initrd>,
}

impl LiveCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }
}

/// An initrd that was made.
#[derive(Debug)]
pub(super) struct Initrd {
    /// Its file.
    file: File,
    /// The same for reading.
    pub device: FileDevice,
    pub report: InitrdReport,
}

/// What an initrd depends on, for one USR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InitrdKey {
    squashfs: SquashfsKey,
    level: u8,
    /// The digest of OEM's part of the archive.
    oem: String,
}

/// USR as a squashfs.
#[derive(Debug)]
pub(super) struct Squashfs {
    device: FileDevice,
    report: SquashfsReport,
}

/// What the squashfs depends on, for one disk and its forks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SquashfsKey {
    /// Where USR begins and how long it is, in bytes.
    usr: (u64, u64),
    added: Vec<AddedFile>,
    compression: SquashfsCompression,
    latest_time: Option<i64>,
}

/// The initrd of `disk`, compressed: in the file that `place` gives, or one that was made before.
pub(super) fn initrd(
    disk: &Disk,
    place: impl FnOnce() -> Result<File>,
    options: &LiveOptions,
    progress: &dyn Progress,
) -> Result<Arc<Initrd>> {
    let usr = disk.filesystem(USR)?;
    let (added, group) = changes(disk, &*usr, options)?;
    let partition = disk.partition(USR)?;
    let squashfs = SquashfsKey {
        usr: (partition.offset(), partition.size()),
        added,
        compression: options.squashfs,
        latest_time: options.latest_time,
    };
    let mut oem = Oem::none(disk, &options.temp_dir)?;
    if options.oem {
        oem.stage(disk, options.latest_time, progress)?;
    }
    let parts = Parts {
        disk,
        usr: &*usr,
        oem: &oem,
        group: &group,
        squashfs,
    };
    match &options.cache {
        None => parts.make(place()?, options, progress).map(Arc::new),
        Some(cache) => {
            let key = parts.key(options)?;
            cache
                .initrds
                .get_or_make(&key, || parts.make(place()?, options, progress))
        }
    }
}

/// What an initrd is made of.
struct Parts<'a> {
    disk: &'a Disk,
    usr: &'a dyn FileSystem,
    oem: &'a Oem,
    group: &'a str,
    squashfs: SquashfsKey,
}

impl Parts<'_> {
    fn key(&self, options: &LiveOptions) -> Result<InitrdKey> {
        Ok(InitrdKey {
            squashfs: self.squashfs.clone(),
            level: options.level,
            oem: self.oem.digest()?,
        })
    }

    /// Writes the initrd into `out`.
    fn make(&self, out: File, options: &LiveOptions, progress: &dyn Progress) -> Result<Initrd> {
        let squashfs = match &options.cache {
            None => Arc::new(self.pack(options, progress)?),
            Some(cache) => cache
                .squashfs
                .get_or_make(&self.squashfs, || self.pack(options, progress))?,
        };
        let time = self
            .squashfs
            .added
            .first()
            .map_or(0, |file| file.attributes.mtime.secs);
        let mut layout = CpioLayout::new();
        layout.directory(".", 0o755, time)?;
        layout.directory("etc", 0o755, time)?;
        let content = Piece::Device {
            device: &squashfs.device,
            start: 0,
            len: squashfs.report.image_bytes,
        };
        layout.file(&["usr.squashfs"], 0o644, time, content)?;
        self.oem.lay(&mut layout)?;
        let archive = layout.finish()?;
        let gzip = CompressOptions {
            level: options.level,
            ..CompressOptions::new(Compression::Gzip)
        };
        compress(
            &Watched::new(&archive, &options.cancel),
            &out,
            &gzip,
            progress,
        )?;
        let report = InitrdReport {
            squashfs: squashfs.report,
            oem_files: self.oem.files()?,
            group: self.group.to_owned(),
            time,
            archive_bytes: archive.size(),
        };
        let device = FileDevice::from_file(again(&out)?, &options.temp_dir.join("cpio.gz"))?;
        Ok(Initrd {
            file: out,
            device,
            report,
        })
    }

    /// Packs USR's files.
    fn pack(&self, options: &LiveOptions, progress: &dyn Progress) -> Result<Squashfs> {
        let spool = temporary(&options.temp_dir)?;
        let pack = SquashfsOptions {
            compression: options.squashfs,
            latest_time: options.latest_time,
            content_max: USR_MAX,
            ..SquashfsOptions::default()
        };
        let report = squashfs::write(self.usr, &self.squashfs.added, &spool, &pack, progress)
            .at(|| self.disk.describe(USR))?;
        Ok(Squashfs {
            device: FileDevice::from_file(spool, &options.temp_dir.join("usr.squashfs"))?,
            report,
        })
    }
}

/// A file without a name.
pub(super) fn temporary(folder: &Path) -> Result<File> {
    tempfile::tempfile_in(folder).map_err(|error| {
        Error::io(
            format!("creating a temporary file in {}", folder.display()),
            error,
        )
    })
}

/// The same file once more.
fn again(file: &File) -> Result<File> {
    file.try_clone()
        .map_err(|error| Error::io("opening the initrd once more", error))
}

/// Whether both are one file.
fn is_same(one: &File, other: &File) -> Result<bool> {
    let node = |file: &File| {
        file.metadata()
            .map(|metadata| (metadata.dev(), metadata.ino()))
    };
    let compare = || Ok(node(one)? == node(other)?);
    compare().map_err(|error: std::io::Error| Error::io("looking at the initrd's file", error))
}

/// The files that differ from USR's, and the update group.
fn changes(
    disk: &Disk,
    usr: &dyn FileSystem,
    options: &LiveOptions,
) -> Result<(Vec<AddedFile>, String)> {
    let path = fs::resolve(usr, &FsPath::new(UPDATE_CONF)?).at(|| disk.describe(USR))?;
    let read = || {
        Ok((
            read_file(usr, &path, UPDATE_CONF_MAX)?,
            usr.metadata_at(&path)?.mtime,
        ))
    };
    let (conf, mtime) = read().at(|| disk.describe(USR))?;
    let group = match &options.group {
        Some(group) => Some(group.clone()),
        None => root_group(disk)?.or_else(|| group_of(&conf)),
    };
    let group = group.filter(|group| is_word(group)).ok_or_else(|| {
        Error::invalid(format!(
            "{UPDATE_CONF} names no update group of letters, digits, '-', '_' and '.'"
        ))
        .with_hint("give the group as an option: alpha, beta, stable or lts")
        .at(disk.describe(USR))
    })?;
    let mtime = Timestamp {
        secs: options
            .latest_time
            .map_or(mtime.secs, |latest| mtime.secs.min(latest)),
        nanos: 0,
    };
    let file = |path: FsPath, mode, content| AddedFile {
        path,
        attributes: Attributes {
            mode,
            uid: 0,
            gid: 0,
            mtime,
        },
        content,
    };
    let added = vec![
        file(FsPath::new(NO_UPDATE)?, 0o444, Vec::new()),
        file(path, 0o644, with_group(&conf, &group)),
    ];
    Ok((added, group))
}

/// The group that the image's /etc names, on ROOT.
fn root_group(disk: &Disk) -> Result<Option<String>> {
    let read = || {
        let root = disk.filesystem(ROOT)?;
        let path = fs::resolve(&*root, &FsPath::new(ETC_UPDATE_CONF)?)?;
        read_file(&*root, &path, UPDATE_CONF_MAX).at(|| disk.describe(ROOT))
    };
    match read() {
        Ok(conf) => Ok(group_of(&conf)),
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || error.reason() == Some(Reason::Unformatted) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The value of the last line that begins with `GROUP=`.
fn group_of(conf: &[u8]) -> Option<String> {
    let lines = conf.split(|&byte| byte == b'\n');
    let value = lines
        .filter_map(|line| line.strip_prefix(b"GROUP="))
        .next_back()?;
    Some(String::from_utf8_lossy(value).trim().to_owned())
}

fn is_word(group: &str) -> bool {
    !group.is_empty()
        && group
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The configuration with `group` in every line that sets it.
fn with_group(conf: &[u8], group: &str) -> Vec<u8> {
    let line = |line: &[u8]| match line.starts_with(b"GROUP=") {
        true => [b"GROUP=", group.as_bytes()].concat(),
        false => line.to_vec(),
    };
    conf.split(|&byte| byte == b'\n')
        .map(line)
        .collect::<Vec<_>>()
        .join(&b'\n')
}

/// What of ROOT is not part of a live system.
pub(super) fn left_out_of_root(disk: &Disk) -> Result<Option<Finding>> {
    let entries = match disk
        .filesystem(ROOT)
        .and_then(|root| root.entries_at(&FsPath::root()))
    {
        Ok(entries) => entries,
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || error.reason() == Some(Reason::Unformatted) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let lost: Vec<String> = entries
        .iter()
        .filter(|entry| !ROOT_FRESH.contains(&&*entry.name))
        .map(|entry| entry.name.escape_ascii().to_string())
        .collect();
    let finding = Finding::new(code::LIVE_WITHOUT_ROOT).with("entries", lost.join(", "));
    Ok((!lost.is_empty()).then_some(finding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_and_replaced() {
        let conf = b"SERVER=https://x/\nGROUP=stable\n#GROUP=no\nGROUP=lts \n";
        assert_eq!(group_of(conf).as_deref(), Some("lts"));
        assert_eq!(
            with_group(conf, "beta"),
            b"SERVER=https://x/\nGROUP=beta\n#GROUP=no\nGROUP=beta\n"
        );
        assert_eq!((group_of(b"SERVER=\n"), group_of(b"")), (None, None));
        assert!(
            is_word("lts-2024.x")
                && !is_word("")
                && !is_word("a b")
                && !is_word("a/b")
                && !is_word("$(x)")
        );
    }
}
