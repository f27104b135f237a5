//! The files of users and groups: passwd, shadow, group, gshadow, and what tools on them are told by login.defs.

use std::collections::BTreeSet;

use super::halt::{Outcome, stop};
use super::tree::{Attributes, Part, Tree};

pub(super) const PASSWD: &str = "/etc/passwd";
pub(super) const SHADOW: &str = "/etc/shadow";
pub(super) const GROUP: &str = "/etc/group";
pub(super) const GSHADOW: &str = "/etc/gshadow";
/// Users and groups that Flatcar has besides those in /etc.
const MORE_USERS: &str = "/usr/share/baselayout/passwd";
const MORE_GROUPS: &str = "/usr/share/baselayout/group";
const LOGIN_DEFS: &str = "/etc/login.defs";
const USERADD_DEFAULTS: &str = "/etc/default/useradd";
const LOCK: &str = "/etc/.pwd.lock";

/// One line, as its fields.
pub(super) type Line = Vec<String>;

/// The files that have one of what they were before the run of a tool.
pub(super) type Backups = BTreeSet<&'static str>;

/// One of the files.
#[derive(Debug, Clone)]
pub(super) struct Table {
    path: &'static str,
    pub lines: Vec<Line>,
}

impl Table {
    /// Reads a file; `None` where there is none.
    pub fn read(tree: &mut Tree, path: &'static str) -> Outcome<Option<Self>> {
        let Some(text) = tree.read(path)? else {
            return Ok(None);
        };
        let lines = text
            .lines()
            .map(|line| line.split(':').map(str::to_owned).collect());
        Ok(Some(Self {
            path,
            lines: lines.collect(),
        }))
    }

    pub fn find(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| field(line, 0) == name)
    }

    pub fn find_mut(&mut self, name: &str) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| field(line, 0) == name)
    }

    pub fn push(&mut self, fields: &[&str]) {
        self.lines
            .push(fields.iter().map(|field| (*field).to_owned()).collect());
    }

    /// Writes the file, with what it was before beside it, as the tools do: `backups` are those that this run of a tool
    /// made already.
    pub fn write(&self, tree: &mut Tree, backups: &mut Backups) -> Outcome<()> {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&line.join(":"));
            text.push('\n');
        }
        let attributes = match tree.follow(self.path)? {
            Some(id) => {
                let attributes = tree.inode(id).attributes;
                if backups.insert(self.path)
                    && let Some(before) = tree.read(self.path)?
                {
                    tree.write(&format!("{}-", self.path), attributes, &before)?;
                }
                attributes
            }
            None => Attributes::of_root(0o644),
        };
        tree.write(self.path, attributes, &text)
    }
}

/// One field of a line; empty where there are fewer.
pub(super) fn field(line: &Line, number: usize) -> &str {
    line.get(number).map_or("", String::as_str)
}

/// Sets a field, with empty ones before it where the line is shorter.
pub(super) fn set_field(line: &mut Line, number: usize, value: &str) {
    while line.len() <= number {
        line.push(String::new());
    }
    value.clone_into(&mut line[number]);
}

/// The names in a field that is a list.
pub(super) fn members(line: &Line, number: usize) -> Vec<String> {
    let names = field(line, number).split(',');
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A user as `getpwnam` gives one.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    /// It is in /etc, where tools can change it.
    pub is_local: bool,
}

/// All lines of a file of /etc and of what Flatcar has besides it.
fn all(tree: &mut Tree, path: &'static str, more: &'static str) -> Outcome<Vec<(Line, bool)>> {
    let mut lines = Vec::new();
    for (path, is_local) in [(path, true), (more, false)] {
        let table = Table::read(tree, path)?;
        let found = table.into_iter().flat_map(|table| table.lines);
        lines.extend(found.map(|line| (line, is_local)));
    }
    Ok(lines)
}

/// The user of this name.
pub(super) fn user(tree: &mut Tree, name: &str) -> Outcome<Option<User>> {
    let lines = all(tree, PASSWD, MORE_USERS)?;
    let found = lines.iter().find_map(|(line, is_local)| {
        if field(line, 0) != name {
            return None;
        }
        Some(User {
            uid: field(line, 2).parse().ok()?,
            gid: field(line, 3).parse().ok()?,
            home: field(line, 5).to_owned(),
            is_local: *is_local,
        })
    });
    Ok(found)
}

/// The number of the group of this name, and whether it is in /etc.
pub(super) fn group(tree: &mut Tree, name: &str) -> Outcome<Option<(u32, bool)>> {
    let lines = all(tree, GROUP, MORE_GROUPS)?;
    let mut named = lines.iter().filter(|(line, _)| field(line, 0) == name);
    Ok(named.find_map(|(line, is_local)| Some((field(line, 2).parse().ok()?, *is_local))))
}

/// The numbers of all users.
pub(super) fn uids(tree: &mut Tree) -> Outcome<Vec<u32>> {
    let lines = all(tree, PASSWD, MORE_USERS)?;
    Ok(lines
        .iter()
        .filter_map(|(line, _)| field(line, 2).parse().ok())
        .collect())
}

/// The numbers of all groups.
pub(super) fn gids(tree: &mut Tree) -> Outcome<Vec<u32>> {
    let lines = all(tree, GROUP, MORE_GROUPS)?;
    Ok(lines
        .iter()
        .filter_map(|(line, _)| field(line, 2).parse().ok())
        .collect())
}

/// The users whose primary group has this number.
pub(super) fn users_of_group(tree: &mut Tree, gid: u32) -> Outcome<Vec<String>> {
    let gid = gid.to_string();
    let lines = all(tree, PASSWD, MORE_USERS)?;
    let of_group = lines.iter().filter(|(line, _)| field(line, 3) == gid);
    Ok(of_group
        .map(|(line, _)| field(line, 0).to_owned())
        .collect())
}

/// What the tools are told by the image's settings.
#[derive(Debug)]
pub(super) struct Settings {
    login: Vec<(String, String)>,
    useradd: Vec<(String, String)>,
}

impl Settings {
    pub fn read(tree: &mut Tree) -> Outcome<Self> {
        let login = tree.read(LOGIN_DEFS)?.unwrap_or_default();
        let useradd = tree.read(USERADD_DEFAULTS)?.unwrap_or_default();
        Ok(Self {
            login: login.lines().filter_map(login_setting).collect(),
            useradd: useradd.lines().filter_map(useradd_setting).collect(),
        })
    }

    /// A setting of login.defs.
    pub fn login(&self, name: &str) -> Option<&str> {
        last(&self.login, name)
    }

    /// A number of login.defs, which may be octal or hexadecimal.
    pub fn number(&self, name: &str, default: u32) -> u32 {
        self.login(name).and_then(number).unwrap_or(default)
    }

    /// Whether a setting of login.defs says yes.
    pub fn is_yes(&self, name: &str) -> bool {
        self.login(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("yes"))
    }

    /// A setting of /etc/default/useradd.
    pub fn useradd(&self, name: &str) -> Option<&str> {
        last(&self.useradd, name)
    }
}

fn last<'a>(settings: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut settings = settings.iter().rev();
    settings
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

fn login_setting(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.split_once(char::is_whitespace)?;
    let value = value.trim().trim_matches('"');
    Some((name.to_owned(), value.to_owned()))
}

fn useradd_setting(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    (!name.starts_with('#')).then(|| (name.to_owned(), value.trim_end().to_owned()))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

/// What the tools leave where they lock the files.
pub(super) fn lock(tree: &mut Tree) -> Outcome<()> {
    if tree.lookup(LOCK)?.is_none() {
        let attributes = Attributes::of_root(0o600);
        let content = super::tree::Content::Bytes(std::sync::Arc::new(Vec::new()));
        tree.create(LOCK, attributes, Part::File(content))?;
    }
    Ok(())
}

/// Whether a name can be that of a user or group (useradd(8)).
pub(super) fn check_name(name: &str, what: &str) -> Outcome<()> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let stem = name.strip_suffix('$').unwrap_or(name);
    let is_fine = !stem.is_empty()
        && !stem.starts_with('-')
        && stem.bytes().all(is_inner)
        && !matches!(name, "." | "..")
        && !name.bytes().all(|byte| byte.is_ascii_digit())
        && name.len() <= 32;
    match is_fine {
        true => Ok(()),
        false => stop(format!(
            "'{}' is not a valid {what} name",
            name.escape_debug()
        )),
    }
}
