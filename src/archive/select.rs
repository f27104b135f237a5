//! Which entries of an archive are used, and for what.

use crate::archive::EXCLUDE;
use std::io::Read;

use super::docker::{DockerTree, Role};
use super::glob::Glob;
use super::tar::{TarEnd, TarEntry, TarKind, TarReader, shown};
use crate::codec;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Finding, code};
use crate::fs::FsPath;

/// Prefix of names that delete entries of lower layers (OCI image specification, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Prefix of what AUFS kept for itself, folders too; of these names only the two that follow are used.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// Hides everything that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The folder at the top where AUFS kept files with several names; others link to them.
const LINKED: &[u8] = b".wh..wh.plnk";
/// What overlayfs and fuse-overlayfs note in attributes.
const OVERLAY_NOTES: [&[u8]; 3] = [
    b"trusted.overlay.",
    b"user.overlay.",
    b"user.fuseoverlayfs.",
];

/// How entries of an archive are selected and changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TarOptions {
    /// Names taken off the front of every path and hard link target; entries without more are left out.
    pub strip_components: usize,
    /// User and group of all entries instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// What is left out, by the names in the archive before any are stripped.
    pub excludes: Vec<Glob>,
    /// The archive is a layer of an OCI image, and the tree becomes what containerd makes of it: `.wh.` names and
    /// overlayfs' marks delete, what builders note for themselves does not arrive, global pax headers are passed over.
    pub oci_layer: bool,
    /// Keeps `/var/lib/docker/engine-id` and `/var/lib/docker/swarm`, which are left out otherwise.
    pub keep_docker_identity: bool,
}

/// What an entry is used for. Paths begin with the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Skip,
    /// It goes to this path; a hard link to another name of the second.
    Put(FsPath, Option<FsPath>),
    /// The same until the archive ends: only what links to it stays.
    Lend(FsPath),
    /// It is a directory that goes to this path, where what lower layers have below it is deleted.
    PutOpaque(FsPath),
    /// What lower layers have at this path is deleted.
    Whiteout(FsPath),
    /// What lower layers have below this path is deleted.
    Opaque(FsPath),
}

/// What is known when the archive was read to its end.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Entries in the archive and those left out.
    pub(super) entries: u64,
    pub(super) skipped: u64,
    pub(super) findings: Vec<Finding>,
}

/// Reads all of `archive`, packed or not, and calls `visit` for every entry. Errors name the entry.
pub(super) fn for_each<'a>(
    archive: impl Read + 'a,
    dest: &FsPath,
    options: &TarOptions,
    mut visit: impl FnMut(&TarEntry, Action, &mut TarReader<Box<dyn Read + 'a>>) -> Result<()>,
) -> Result<Outcome> {
    let mut reader = TarReader::new(codec::decoder(archive)?);
    if options.oci_layer {
        reader = reader.without_globals();
    }
    let mut selector = Selector::new(dest, options);
    while let Some(entry) = reader.next_entry()? {
        let visited = selector
            .select(&entry)
            .and_then(|action| visit(&entry, action, &mut reader));
        visited.map_err(|error| {
            let place = entry.place();
            let is_named = error.location().any(|known| known == place);
            if is_named { error } else { error.at(place) }
        })?;
    }
    Ok(selector.finish(reader.end()))
}

struct Selector<'a> {
    dest: &'a FsPath,
    options: &'a TarOptions,
    docker: DockerTree,
    outcome: Outcome,
    text_acls: u64,
    doubles: Doubles,
    /// What the archive's last entry for the root directory makes of it, where that is unusual.
    odd_root: Option<Finding>,
}

impl<'a> Selector<'a> {
    fn new(dest: &'a FsPath, options: &'a TarOptions) -> Self {
        let docker = DockerTree::default();
        let outcome = Outcome::default();
        Self {
            dest,
            options,
            docker,
            outcome,
            text_acls: 0,
            doubles: Doubles::default(),
            odd_root: None,
        }
    }

    fn select(&mut self, entry: &TarEntry) -> Result<Action> {
        self.outcome.entries += 1;
        let action = self.action(entry)?;
        match &action {
            Action::Skip => self.outcome.skipped += 1,
            Action::Put(path, _) | Action::PutOpaque(path) => {
                self.text_acls += u64::from(entry.has_text_acls);
                self.doubles.see(path, entry);
                self.check_root(path, entry);
            }
            _ => {}
        }
        Ok(action)
    }

    fn action(&mut self, entry: &TarEntry) -> Result<Action> {
        let names = names(&entry.path)?;
        if self.is_excluded(&names) {
            return Ok(Action::Skip);
        }
        let Some(names) = self.stripped(&entry.path)? else {
            return Ok(Action::Skip);
        };
        let path = self.place(&names)?;
        if self.options.oci_layer
            && let Some(action) = self.of_layer(&names, &path, entry)?
        {
            return Ok(action);
        }
        if names.is_empty() && entry.kind != TarKind::Directory {
            return Err(Error::corrupt(
                "an entry without a name that is not a directory",
            ));
        }
        if self.docker.see(&names, &path, entry) == Role::Identity
            && !self.options.keep_docker_identity
        {
            return Ok(Action::Skip);
        }
        let target = match &entry.kind {
            TarKind::HardLink { target } => Some(self.link_target(target)?),
            _ => None,
        };
        Ok(Action::Put(path, target))
    }

    fn is_excluded(&self, names: &[&[u8]]) -> bool {
        if self.options.excludes.is_empty() {
            return false;
        }
        let joined = names.join(&b'/');
        self.options
            .excludes
            .iter()
            .any(|glob| glob.matches(&joined))
    }

    /// The names left of a path, `None` where all were stripped. As in GNU tar a leading `.` counts as a name here.
    fn stripped<'p>(&self, path: &'p [u8]) -> Result<Option<Vec<&'p [u8]>>> {
        let strip = self.options.strip_components;
        if strip == 0 {
            return names(path).map(Some);
        }
        let mut rest = path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
            .skip(strip)
            .peekable();
        if rest.peek().is_none() {
            return Ok(None);
        }
        Ok(Some(rest.filter(|name| *name != b".").collect()))
    }

    fn place(&self, names: &[&[u8]]) -> Result<FsPath> {
        let mut path = self.dest.as_bytes().to_vec();
        for name in names {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        FsPath::new(path)
    }

    fn link_target(&self, target: &[u8]) -> Result<FsPath> {
        names(target)?;
        let names = self
            .stripped(target)?
            .filter(|names| !names.is_empty())
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "a hard link to '{}', of which nothing is left when names are stripped",
                        shown(target)
                    ),
                )
            })?;
        self.place(&names)
    }

    /// What an entry does in a layer where it is no usual one.
    fn of_layer(&self, names: &[&[u8]], path: &FsPath, entry: &TarEntry) -> Result<Option<Action>> {
        let [parents @ .., last] = names else {
            return Ok(None);
        };
        if *last == OPAQUE {
            return self.place(parents).map(Action::Opaque).map(Some);
        }
        if names.iter().any(|name| name.starts_with(WHITEOUT_META)) {
            let is_lent =
                matches!(names, [LINKED, _]) && matches!(entry.kind, TarKind::File { .. });
            return Ok(Some(if is_lent {
                Action::Lend(path.clone())
            } else {
                Action::Skip
            }));
        }
        if let Some(hidden) = last.strip_prefix(WHITEOUT) {
            return self
                .place(parents)?
                .join(hidden)
                .map(Action::Whiteout)
                .map(Some);
        }
        let is_empty = matches!(entry.kind, TarKind::File { size: 0, .. });
        if entry.kind == TarKind::CharDevice(0, 0)
            || (is_empty && note(entry, b"whiteout").is_some())
        {
            return Ok(Some(Action::Whiteout(path.clone())));
        }
        for missing in [&b"metacopy"[..], b"redirect"] {
            if note(entry, missing).is_some() {
                let shown = shown(missing);
                return Err(Error::unsupported(format!("what overlayfs marks as {shown} lies in another layer"))
                    .with_hint("make the layer with a builder, or from a mount without redirect_dir and metacopy"));
            }
        }
        let is_opaque = entry.kind == TarKind::Directory && note(entry, b"opaque") == Some(b"y");
        Ok(is_opaque.then(|| Action::PutOpaque(path.clone())))
    }

    /// The top directory of an archive often has the mode of somebody's working folder.
    fn check_root(&mut self, path: &FsPath, entry: &TarEntry) {
        if !path.is_root() {
            return;
        }
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let usual_mode = entry.mode & 0o755 == 0o755 && entry.mode & 0o022 == 0;
        let usual = usual_mode && (uid, gid) == (0, 0);
        self.odd_root = (!usual).then(|| {
            Finding::new(code::ARCHIVE_ROOT_CHANGED)
                .with("entry", shown(&entry.path))
                .with("mode", format!("{:04o}", entry.mode))
                .with("owner", format!("{uid}:{gid}"))
        });
    }

    fn finish(self, end: Option<TarEnd>) -> Outcome {
        let mut outcome = self.outcome;
        outcome.findings.extend(self.odd_root);
        outcome
            .findings
            .extend(self.docker.findings(self.options.keep_docker_identity));
        if self.text_acls > 0 {
            outcome
                .findings
                .push(Finding::new(code::ARCHIVE_ACLS).with("count", self.text_acls));
        }
        if self.doubles.count > 0 {
            outcome
                .findings
                .push(Finding::new(code::ARCHIVE_APPLEDOUBLE).with("count", self.doubles.count));
        }
        match end {
            Some(TarEnd::HalfMarked) => {
                outcome.findings.push(Finding::new(code::ARCHIVE_END_SHORT))
            }
            Some(TarEnd::Unmarked) => outcome
                .findings
                .push(Finding::new(code::ARCHIVE_END_MISSING)),
            Some(TarEnd::Marked) | None => {}
        }
        outcome
    }
}

/// Files in which macOS's tar keeps attributes (AppleDouble): each is called `._NAME` and comes just before or behind `NAME`.
#[derive(Debug, Default)]
struct Doubles {
    last: Option<FsPath>,
    /// The path of the entry that the last one may belong to.
    awaited: Option<FsPath>,
    count: u64,
}

impl Doubles {
    fn see(&mut self, path: &FsPath, entry: &TarEntry) {
        self.count += u64::from(self.awaited.take().is_some_and(|awaited| awaited == *path));
        let last = self.last.replace(path.clone());
        let name = path.name().and_then(|name| name.strip_prefix(b"._"));
        if let (Some(name), Some(parent), TarKind::File { .. }) = (name, path.parent(), &entry.kind)
        {
            let owner = if name == b"." {
                Some(parent)
            } else {
                parent.join(name).ok()
            };
            let is_behind = owner.is_some() && owner == last;
            self.count += u64::from(is_behind);
            self.awaited = owner.filter(|_| !is_behind);
        }
    }
}

/// Whether an attribute is a note of overlayfs or fuse-overlayfs.
pub(super) fn is_overlay_note(name: &[u8]) -> bool {
    OVERLAY_NOTES.iter().any(|prefix| name.starts_with(prefix))
}

/// What an entry's attributes note under `name`.
fn note<'e>(entry: &'e TarEntry, name: &[u8]) -> Option<&'e [u8]> {
    let is_it = |of: &[u8]| {
        OVERLAY_NOTES
            .iter()
            .any(|prefix| of.strip_prefix(*prefix) == Some(name))
    };
    entry
        .xattrs
        .iter()
        .find(|xattr| is_it(&xattr.name))
        .map(|xattr| &xattr.value[..])
}

/// The names of a path without `.`; `..` is refused: it would lead out of what the archive is unpacked to.
fn names(path: &[u8]) -> Result<Vec<&[u8]>> {
    let names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".");
    names
        .map(|name| match name {
            b".." => Err(Error::invalid(format!("'{}' contains '..'", shown(path)))
                .with_hint("make the archive again with paths that do not lead upwards, or leave the entry out")
                .with_setting(EXCLUDE)),
            _ => Ok(name),
        })
        .collect()
}
