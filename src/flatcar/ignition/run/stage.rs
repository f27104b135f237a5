//! The files stage: accounts, then files, directories and links from the top down, then units.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Node, Position};

use super::super::at::At;
use super::super::mode;
use super::accounts;
use super::halt::{Halt, Outcome, stop};
use super::sources::{Fetched, Sources};
use super::tree::{Attributes, Content, Id, Part, Tree, clean, folder};

const UNITS: &str = "/etc/systemd/system";
const PRESETS: &str = "/etc/systemd/system-preset/20-ignition.preset";
/// What Ignition tells of its run, for units that want to know.
const RESULT: &str = "/etc/.ignition-result.json";
/// Specification since which setuid, setgid and sticky bits count.
const SPECIAL_SINCE: u8 = 6;

/// A run of the stage.
pub(super) struct Stage<'s, 'o> {
    pub tree: Tree,
    pub sources: &'s mut Sources<'o>,
    /// The day of the boot, as shadow has it.
    pub today: String,
    /// What the tool that runs now has made copies of.
    pub backups: accounts::Backups,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
}

struct Entry<'a> {
    kind: Kind,
    at: At<'a>,
    /// With symlinks resolved.
    path: String,
}

/// Units of one template, or one unit, that are enabled or disabled.
struct Preset {
    unit: String,
    instances: Vec<String>,
    is_enabled: bool,
}

type Stopped = (Halt, Position);

impl Stage<'_, '_> {
    /// Carries out a whole config.
    ///
    /// # Errors
    /// Where it ends, and why.
    pub fn run(&mut self, config: &Node) -> Result<(), Stopped> {
        let root = At::root(config, false);
        self.passwd(&root)?;
        self.entries(&root)?;
        self.units(&root)?;
        let content = Content::Unknown("the machine's boot ID and date".to_owned());
        let attributes = Attributes::of_root(0o600);
        let written = self.tree.create(RESULT, attributes, Part::File(content));
        written.map(|_| ()).map_err(|halt| (halt, config.position))
    }

    fn entries(&mut self, root: &At<'_>) -> Result<(), Stopped> {
        let mut entries = Vec::new();
        let mut hard = Vec::new();
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for (list, kind) in [
            ("directories", Kind::Directory),
            ("files", Kind::File),
            ("links", Kind::Link),
        ] {
            for at in root.items_below("storage", list) {
                let position = at.position();
                let written = at.text("path").unwrap_or_default().to_owned();
                let path = self
                    .tree
                    .joined(&written)
                    .map_err(|halt| (halt, position))?;
                if let Some(other) = known.insert(path.clone(), written.clone()) {
                    let why =
                        format!("{written} and {other} are both {path}, by symlinks on the way");
                    return Err((Halt::Stop(why), position));
                }
                let is_hard = kind == Kind::Link && at.is_true("hard");
                let entry = Entry { kind, at, path };
                if is_hard { &mut hard } else { &mut entries }.push(entry);
            }
        }
        entries.sort_by_key(|entry| entry.path.matches('/').count());
        entries.append(&mut hard);
        for entry in &entries {
            self.entry(entry)
                .map_err(|halt| (halt, entry.at.position()))?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Outcome<()> {
        if entry.at.is_true("overwrite") {
            if entry.path == "/" {
                return stop("/ cannot be replaced");
            }
            self.tree.remove(&entry.path)?;
        }
        match entry.kind {
            Kind::Directory => self.directory(entry),
            Kind::File => self.file(entry),
            Kind::Link => self.link(entry),
        }
    }

    fn directory(&mut self, entry: &Entry<'_>) -> Outcome<()> {
        let path = &entry.path;
        let id = match self.tree.lookup(path)? {
            Some(id) if matches!(self.tree.inode(id).part, Part::Directory(_)) => id,
            Some(id) => {
                let what = self.describe(id);
                return stop(format!(
                    "{path} is {what} of the image, not a directory, and overwrite is not true"
                ));
            }
            None => {
                self.tree.make_dirs(path, 0o755)?;
                self.existing(path)?
            }
        };
        self.permissions(id, entry)
    }

    fn existing(&mut self, path: &str) -> Outcome<Id> {
        match self.tree.lookup(path)? {
            Some(id) => Ok(id),
            None => Err(Halt::Missing(path.to_owned())),
        }
    }

    fn describe(&self, id: Id) -> &'static str {
        match self.tree.inode(id).part {
            Part::Directory(_) => "a directory",
            Part::File(_) => "a file",
            Part::Symlink(_) => "a symlink",
            Part::Special(_) => "a device or socket",
        }
    }

    fn file(&mut self, entry: &Entry<'_>) -> Outcome<()> {
        let path = &entry.path;
        let contents = entry.at.field("contents");
        let has_source = contents
            .as_ref()
            .is_some_and(|at| at.text("source").is_some());
        let existing = self.tree.lookup(path)?;
        match existing.map(|id| (id, &self.tree.inode(id).part)) {
            None => {}
            Some((_, Part::File(_))) if !has_source => {}
            Some((id, _)) => {
                let what = self.describe(id);
                return stop(format!(
                    "{path} is there already, as {what}, and overwrite is not true"
                ));
            }
        }
        let id = match (existing, contents) {
            (Some(id), _) => id,
            (None, contents) => {
                let content = match contents {
                    Some(at) => self.fetched(&at)?,
                    None => Content::Bytes(Arc::new(Vec::new())),
                };
                self.tree.make_dirs(folder(path), 0o755)?;
                let attributes = Attributes::of_root(0o644);
                self.tree.create(path, attributes, Part::File(content))?
            }
        };
        for at in entry.at.items("append") {
            self.append(id, &at, path)?;
        }
        self.permissions(id, entry)
    }

    fn append(&mut self, id: Id, at: &At<'_>, path: &str) -> Outcome<()> {
        let more = self.fetched(at)?;
        let Part::File(content) = self.tree.inode(id).part.clone() else {
            return Ok(());
        };
        let before = self.tree.bytes(&content)?;
        let content = match (before, self.tree.bytes(&more)?) {
            (Some(before), Some(more)) => {
                let mut all = before.to_vec();
                all.extend_from_slice(&more);
                Content::Bytes(Arc::new(all))
            }
            (None, _) => content,
            (_, None) => more,
        };
        self.tree.set_content(id, content, path)
    }

    /// The content of a resource.
    fn fetched(&mut self, at: &At<'_>) -> Outcome<Content> {
        let spec = self.sources.spec_at(at.position());
        match self.sources.fetch(at, spec) {
            Ok(Fetched::Bytes(bytes)) => Ok(Content::Bytes(Arc::new(bytes))),
            Ok(Fetched::Remote(url)) => {
                self.sources.remote("a content", &url, at.position());
                Ok(Content::Unknown(url))
            }
            Err(why) => stop(why),
        }
    }

    fn permissions(&mut self, id: Id, entry: &Entry<'_>) -> Outcome<()> {
        let mut attributes = self.tree.inode(id).attributes;
        if let Some(mode) = entry.at.number("mode") {
            attributes.mode = self.mode(mode, entry.at.position());
        }
        let (uid, gid) = self.owner(&entry.at, (attributes.uid, attributes.gid))?;
        (attributes.uid, attributes.gid) = (uid, gid);
        self.tree.set_attributes(id, attributes, &entry.path)
    }

    fn mode(&self, mode: i64, position: Position) -> u32 {
        let has_special = self.sources.spec_at(position) >= SPECIAL_SINCE;
        let mask = if has_special {
            mode::ALL
        } else {
            mode::ALL & !mode::SPECIAL
        };
        u32::try_from(mode & mask).unwrap_or(0)
    }

    /// The owners that an entry asks for.
    fn owner(&mut self, at: &At<'_>, (uid, gid): (u32, u32)) -> Outcome<(u32, u32)> {
        let mut owner = (uid, gid);
        if let Some(user) = at.field("user") {
            if let Some(id) = user.number("id") {
                owner.0 = number(id)?;
            } else if let Some(name) = user.filled("name") {
                let found = accounts::user(&mut self.tree, name)?;
                let Some(found) = found else {
                    return stop(format!("there is no user {name}"));
                };
                owner.0 = found.uid;
            }
        }
        if let Some(group) = at.field("group") {
            if let Some(id) = group.number("id") {
                owner.1 = number(id)?;
            } else if let Some(name) = group.filled("name") {
                let found = accounts::group(&mut self.tree, name)?;
                let Some((gid, _)) = found else {
                    return stop(format!("there is no group {name}"));
                };
                owner.1 = gid;
            }
        }
        Ok(owner)
    }

    fn link(&mut self, entry: &Entry<'_>) -> Outcome<()> {
        let path = &entry.path;
        let target = entry.at.text("target").unwrap_or_default();
        let existing = self.tree.lookup(path)?;
        if entry.at.is_true("hard") {
            return self.hard_link(path, target, existing);
        }
        if let Some(id) = existing {
            return match &self.tree.inode(id).part {
                Part::Symlink(found) => {
                    let found = String::from_utf8_lossy(found).into_owned();
                    match clean_target(&found) == clean_target(target) {
                        true => Ok(()),
                        false => stop(format!(
                            "{path} is a symlink to {found} already, and overwrite is not true"
                        )),
                    }
                }
                _ => stop(format!(
                    "{path} is there already, as {}, and overwrite is not true",
                    self.describe(id)
                )),
            };
        }
        self.tree.make_dirs(folder(path), 0o755)?;
        // Where nothing else is said, a symlink gets the owner of what it leads to.
        let leads_to = super::tree::beside(path, target);
        let owner = match target.starts_with('/') {
            true => None,
            false => self.tree.follow(&leads_to).unwrap_or(None),
        };
        let owner = owner.map_or((0, 0), |id| {
            let attributes = self.tree.inode(id).attributes;
            (attributes.uid, attributes.gid)
        });
        let (uid, gid) = self.owner(&entry.at, owner)?;
        let attributes = Attributes {
            mode: 0o777,
            uid,
            gid,
        };
        let part = Part::Symlink(target.as_bytes().to_vec());
        self.tree.create(path, attributes, part).map(|_| ())
    }

    fn hard_link(&mut self, path: &str, target: &str, existing: Option<Id>) -> Outcome<()> {
        let target_path = self.tree.joined(target)?;
        let found = self.tree.lookup(&target_path)?;
        let Some(found) = found else {
            return stop(format!(
                "the hard link {path} needs {target}, which does not exist"
            ));
        };
        match existing {
            Some(existing) if existing == found => return Ok(()),
            Some(_) => {
                return stop(format!(
                    "{path} is there already and is not {target}, and overwrite is not true"
                ));
            }
            None => {}
        }
        if matches!(self.tree.inode(found).part, Part::Directory(_)) {
            return stop(format!(
                "the hard link {path} cannot name {target}, which is a directory"
            ));
        }
        self.tree.make_dirs(folder(path), 0o755)?;
        self.tree.link(path, found, &target_path)
    }

    fn units(&mut self, root: &At<'_>) -> Result<(), Stopped> {
        let mut presets: Vec<Preset> = Vec::new();
        for at in root.items_below("systemd", "units") {
            self.unit(&at).map_err(|halt| (halt, at.position()))?;
            if let Some(is_enabled) = at.flag("enabled") {
                note_preset(
                    &mut presets,
                    at.text("name").unwrap_or_default(),
                    is_enabled,
                );
            }
        }
        let position = root.position();
        self.presets(&presets).map_err(|halt| (halt, position))
    }

    fn unit(&mut self, at: &At<'_>) -> Outcome<()> {
        let name = at.text("name").unwrap_or_default();
        for dropin in at.items("dropins") {
            let file = dropin.text("name").unwrap_or_default();
            if let Some(contents) = dropin.filled("contents") {
                self.unit_file(&format!("{UNITS}/{name}.d/{file}"), contents)?;
            }
        }
        if let Some(contents) = at.filled("contents") {
            self.unit_file(&format!("{UNITS}/{name}"), contents)?;
        }
        let path = self.tree.joined(&format!("{UNITS}/{name}"))?;
        match at.flag("mask") {
            Some(true) => {
                self.tree.make_dirs(folder(&path), 0o755)?;
                self.tree.remove(&path)?;
                let part = Part::Symlink(b"/dev/null".to_vec());
                self.tree.create(&path, Attributes::of_root(0o777), part)?;
            }
            Some(false) => {
                let found = self.tree.lookup(&path)?;
                let is_masked = found.is_some_and(|id| {
                    matches!(&self.tree.inode(id).part, Part::Symlink(target) if target == b"/dev/null")
                });
                if is_masked {
                    self.tree.remove(&path)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    fn unit_file(&mut self, path: &str, contents: &str) -> Outcome<()> {
        let path = self.tree.joined(path)?;
        self.tree.make_dirs(folder(&path), 0o755)?;
        if let Some(id) = self.tree.lookup(&path)?
            && matches!(self.tree.inode(id).part, Part::Directory(_))
        {
            return stop(format!("{path} is a directory"));
        }
        self.tree.write(&path, Attributes::of_root(0o644), contents)
    }

    fn presets(&mut self, presets: &[Preset]) -> Outcome<()> {
        if presets.is_empty() {
            return Ok(());
        }
        let mut lines = String::new();
        for preset in presets {
            let word = if preset.is_enabled {
                "enable"
            } else {
                "disable"
            };
            lines.push_str(&format!("{word} {}", preset.unit));
            for instance in &preset.instances {
                lines.push_str(&format!(" {instance}"));
            }
            lines.push('\n');
        }
        let path = self.tree.joined(PRESETS)?;
        self.tree.make_dirs(folder(&path), 0o755)?;
        let attributes = match self.tree.lookup(&path)? {
            Some(id) => self.tree.inode(id).attributes,
            None => Attributes::of_root(0o644),
        };
        let before = self.tree.read(&path)?.unwrap_or_default();
        self.tree.write(&path, attributes, &(before + &lines))
    }

    /// Mounts what the config has mounted before files are written.
    pub fn mounts(&mut self, config: &Node) -> Result<(), Stopped> {
        let root = At::root(config, false);
        let mut mounts = root.items_below("storage", "filesystems");
        mounts.retain(|at| at.filled("path").is_some());
        mounts.sort_by_key(|at| at.text("path").unwrap_or_default().matches('/').count());
        for at in mounts {
            let path = at.text("path").unwrap_or_default();
            let is_new = at.is_true("wipeFilesystem") || !is_known_device(&at);
            if !is_new || path == "/" && !at.is_true("wipeFilesystem") {
                continue;
            }
            let mounted = self
                .tree
                .make_dirs(folder(path), 0o755)
                .and_then(|()| self.tree.mount_empty(path));
            mounted.map_err(|halt| (halt, at.position()))?;
        }
        Ok(())
    }
}

/// Whether a filesystem is one that the image has, which is in the tree already.
fn is_known_device(at: &At<'_>) -> bool {
    let device = at.text("device").unwrap_or_default();
    ["ROOT", "OEM"]
        .iter()
        .any(|name| is_partition(device, name))
}

/// Whether a device is the partition of the image with this label.
pub(super) fn is_partition(device: &str, label: &str) -> bool {
    ["/dev/disk/by-label/", "/dev/disk/by-partlabel/"]
        .iter()
        .any(|folder| device.strip_prefix(folder) == Some(label))
}

fn clean_target(target: &str) -> String {
    match target.starts_with('/') {
        true => clean(target),
        false => clean(&format!("/{target}")),
    }
}

fn number(id: i64) -> Outcome<u32> {
    match u32::try_from(id) {
        Ok(id) => Ok(id),
        Err(_) => stop(format!("{id} is no number of a user or group")),
    }
}

fn note_preset(presets: &mut Vec<Preset>, name: &str, is_enabled: bool) {
    let at = name.find('@');
    let dot = name.rfind('.');
    let (unit, instances) = match (at, dot) {
        (Some(at), Some(dot)) if at < dot => (
            format!("{}{}", &name[..=at], &name[dot..]),
            vec![name[at + 1..dot].to_owned()],
        ),
        _ => (name.to_owned(), Vec::new()),
    };
    let known = presets
        .iter_mut()
        .find(|preset| preset.unit == unit && preset.is_enabled == is_enabled);
    match known {
        Some(preset) => preset.instances.extend(instances),
        None => presets.push(Preset {
            unit,
            instances,
            is_enabled,
        }),
    }
}
