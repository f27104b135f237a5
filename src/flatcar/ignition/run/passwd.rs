//! Users and groups, as Ignition has groupadd, useradd, usermod and userdel make them.

use std::sync::Arc;

use crate::document::Position;

use super::super::at::At;
use super::accounts::{
    self, GROUP, GSHADOW, Line, PASSWD, SHADOW, Settings, Table, User, check_name, field, members,
    set_field,
};
use super::halt::{Outcome, stop};
use super::stage::Stage;
use super::tree::{self, Attributes, Content, Part, Tree, folder};

/// Fields of passwd.
const UID: usize = 2;
const GID: usize = 3;
const GECOS: usize = 4;
const HOME: usize = 5;
const SHELL: usize = 6;
/// Fields of shadow.
const CHANGED: usize = 2;
/// Lists of members in group and gshadow.
const MEMBERS: usize = 3;

/// Numbers that new accounts get.
struct Range {
    min: u32,
    max: u32,
    is_system: bool,
}

/// A new user.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    password: &'a str,
}

impl Stage<'_, '_> {
    /// Makes groups, then users.
    pub fn passwd(&mut self, root: &At<'_>) -> Result<(), (super::halt::Halt, Position)> {
        for at in root.items_below("passwd", "groups") {
            self.group(&at).map_err(|halt| (halt, at.position()))?;
        }
        for at in root.items_below("passwd", "users") {
            self.user(&at).map_err(|halt| (halt, at.position()))?;
        }
        Ok(())
    }

    fn group(&mut self, at: &At<'_>) -> Outcome<()> {
        self.backups.clear();
        let name = at.text("name").unwrap_or_default();
        let existing = accounts::group(&mut self.tree, name)?;
        if at.flag("shouldExist") == Some(false) {
            return match existing {
                Some((gid, is_local)) => self.delete_group(name, gid, is_local),
                None => Ok(()),
            };
        }
        check_name(name, "group")?;
        if existing.is_some() {
            return stop(format!(
                "group {name} exists already, and groupadd refuses that"
            ));
        }
        let settings = Settings::read(&mut self.tree)?;
        let gid = match at.number("gid") {
            Some(gid) => {
                let gid = account_number(gid, "gid")?;
                if accounts::gids(&mut self.tree)?.contains(&gid) {
                    return stop(format!("the gid {gid} of group {name} is taken"));
                }
                gid
            }
            None => self.free_gid(&settings, at.is_true("system"), None)?,
        };
        let password = at.filled("passwordHash").unwrap_or("*");
        check_field(password, "password hash")?;
        self.add_group(name, gid, password)?;
        accounts::lock(&mut self.tree)
    }

    fn add_group(&mut self, name: &str, gid: u32, password: &str) -> Outcome<()> {
        let has_gshadow = Table::read(&mut self.tree, GSHADOW)?;
        let mut groups = self.table(GROUP)?;
        let shown = if has_gshadow.is_some() { "x" } else { password };
        groups.push(&[name, shown, &gid.to_string(), ""]);
        groups.write(&mut self.tree, &mut self.backups)?;
        if let Some(mut gshadow) = has_gshadow {
            gshadow.push(&[name, password, "", ""]);
            gshadow.write(&mut self.tree, &mut self.backups)?;
        }
        Ok(())
    }

    fn delete_group(&mut self, name: &str, gid: u32, is_local: bool) -> Outcome<()> {
        if !is_local {
            return stop(format!(
                "group {name} is part of /usr and cannot be deleted"
            ));
        }
        if let Some(user) = accounts::users_of_group(&mut self.tree, gid)?.first() {
            return stop(format!(
                "group {name} cannot be deleted: it is the primary group of user {user}"
            ));
        }
        self.drop_lines(&[GROUP, GSHADOW], name)?;
        accounts::lock(&mut self.tree)
    }

    /// Takes the lines of `name` out of files.
    fn drop_lines(&mut self, paths: &[&'static str], name: &str) -> Outcome<()> {
        for path in paths {
            let Some(mut table) = Table::read(&mut self.tree, path)? else {
                continue;
            };
            if table.find(name).is_some() {
                table.lines.retain(|line| field(line, 0) != name);
                table.write(&mut self.tree, &mut self.backups)?;
            }
        }
        Ok(())
    }

    fn table(&mut self, path: &'static str) -> Outcome<Table> {
        match Table::read(&mut self.tree, path)? {
            Some(table) => Ok(table),
            None => stop(format!("there is no {path}")),
        }
    }

    fn user(&mut self, at: &At<'_>) -> Outcome<()> {
        let name = at.text("name").unwrap_or_default();
        let existing = accounts::user(&mut self.tree, name)?;
        if at.flag("shouldExist") == Some(false) {
            return match existing {
                Some(user) => self.delete_user(name, &user),
                None => Ok(()),
            };
        }
        match &existing {
            Some(user) => self.change_user(at, name, user)?,
            None => self.add_user(at, name)?,
        }
        if let Some(hash) = at.text("passwordHash") {
            self.set_password(name, hash)?;
        }
        self.keys(at, name)
    }

    fn add_user(&mut self, at: &At<'_>, name: &str) -> Outcome<()> {
        self.backups.clear();
        check_name(name, "user")?;
        let settings = Settings::read(&mut self.tree)?;
        let password = password_of(at).unwrap_or("*");
        self.check_fields(at, password)?;
        let groups = self.groups_of(at)?;
        let is_system = at.is_true("system");
        let uid = match at.number("uid") {
            Some(uid) => {
                let uid = account_number(uid, "uid")?;
                if accounts::uids(&mut self.tree)?.contains(&uid) {
                    return stop(format!("the uid {uid} of user {name} is taken"));
                }
                Some(uid)
            }
            None => None,
        };
        let primary = match at.filled("primaryGroup") {
            Some(group) => Some(self.group_number(group)?),
            None => None,
        };
        let has_own_group =
            primary.is_none() && !at.is_true("noUserGroup") && settings.is_yes("USERGROUPS_ENAB");
        if has_own_group && accounts::group(&mut self.tree, name)?.is_some() {
            return stop(format!(
                "group {name} exists already, so useradd refuses to make user {name}: give a primaryGroup"
            ));
        }
        let uid = match uid {
            Some(uid) => uid,
            None => self.free_uid(&settings, is_system)?,
        };
        let gid = match primary {
            Some(gid) => gid,
            None if has_own_group => self.free_gid(&settings, is_system, Some(uid))?,
            None => default_group(&settings),
        };
        let home = self.home_of(at, name, &settings);
        let account = Account {
            name,
            uid,
            gid,
            home: &home,
            password,
        };
        self.add_lines(at, &account, &settings)?;
        if has_own_group {
            self.add_group(name, gid, "!")?;
        }
        self.join(name, &groups, false)?;
        if !is_system {
            self.sub_ids(name, &settings, uid)?;
        }
        if !at.is_true("noCreateHome") {
            self.make_home(&home, uid, gid, &settings)?;
        }
        accounts::lock(&mut self.tree)
    }

    fn home_of(&self, at: &At<'_>, name: &str, settings: &Settings) -> String {
        match at.filled("homeDir") {
            Some(home) => home.to_owned(),
            None => format!("{}/{name}", settings.useradd("HOME").unwrap_or("/home")),
        }
    }

    /// Adds a user's lines to passwd and shadow.
    fn add_lines(
        &mut self,
        at: &At<'_>,
        account: &Account<'_>,
        settings: &Settings,
    ) -> Outcome<()> {
        let Account {
            name,
            uid,
            gid,
            home,
            password,
        } = *account;
        let shadow = Table::read(&mut self.tree, SHADOW)?;
        let mut passwd = self.table(PASSWD)?;
        let shown = if shadow.is_some() { "x" } else { password };
        let shell = at
            .filled("shell")
            .or_else(|| settings.useradd("SHELL"))
            .unwrap_or("/bin/bash");
        passwd.push(&[
            name,
            shown,
            &uid.to_string(),
            &gid.to_string(),
            at.text("gecos").unwrap_or_default(),
            home,
            shell,
        ]);
        passwd.write(&mut self.tree, &mut self.backups)?;
        if let Some(mut shadow) = shadow {
            let is_system = at.is_true("system");
            let age = |name: &str| match settings.login(name) {
                Some(days) if !is_system && days != "-1" => days.to_owned(),
                _ => String::new(),
            };
            shadow.push(&[
                name,
                password,
                &self.today,
                &age("PASS_MIN_DAYS"),
                &age("PASS_MAX_DAYS"),
                &age("PASS_WARN_AGE"),
                "",
                "",
                "",
            ]);
            shadow.write(&mut self.tree, &mut self.backups)?;
        }
        Ok(())
    }

    fn check_fields(&self, at: &At<'_>, password: &str) -> Outcome<()> {
        check_field(password, "password hash")?;
        check_field(at.text("gecos").unwrap_or_default(), "gecos")?;
        if let Some(home) = at.filled("homeDir") {
            check_field(home, "home folder")?;
            if !home.starts_with('/') {
                return stop(format!("the home folder '{home}' is not an absolute path"));
            }
        }
        if let Some(shell) = at.filled("shell") {
            check_field(shell, "shell")?;
            if !shell.starts_with('/') {
                return stop(format!("the shell '{shell}' is not an absolute path"));
            }
        }
        Ok(())
    }

    /// The groups that a user is to be in, all of which exist.
    fn groups_of(&mut self, at: &At<'_>) -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        for group in at.items("groups") {
            let name = group.as_text().unwrap_or_default();
            for name in name.split(',').filter(|name| !name.is_empty()) {
                let found = self.group_name(name)?;
                names.push(found);
            }
        }
        Ok(names)
    }

    /// A group by its name or number, as tools take it.
    fn group_name(&mut self, name: &str) -> Outcome<String> {
        if accounts::group(&mut self.tree, name)?.is_some() {
            return Ok(name.to_owned());
        }
        let groups = self.table(GROUP)?;
        let numbered = groups.lines.iter().find(|line| field(line, 2) == name);
        match numbered {
            Some(line) => Ok(field(line, 0).to_owned()),
            None => stop(format!("group {name} does not exist")),
        }
    }

    fn group_number(&mut self, name: &str) -> Outcome<u32> {
        if let Some((gid, _)) = accounts::group(&mut self.tree, name)? {
            return Ok(gid);
        }
        let known = accounts::gids(&mut self.tree)?;
        match name.parse() {
            Ok(gid) if known.contains(&gid) => Ok(gid),
            _ => stop(format!("group {name} does not exist")),
        }
    }

    /// Puts a user into groups; where `leaves`, out of all others.
    fn join(&mut self, name: &str, groups: &[String], leaves: bool) -> Outcome<()> {
        if groups.is_empty() {
            return Ok(());
        }
        for path in [GROUP, GSHADOW] {
            let Some(mut table) = Table::read(&mut self.tree, path)? else {
                continue;
            };
            let mut is_changed = false;
            for line in &mut table.lines {
                let wanted = groups.iter().any(|group| group == field(line, 0));
                is_changed |= set_member(line, name, wanted, leaves);
            }
            if is_changed {
                table.write(&mut self.tree, &mut self.backups)?;
            }
        }
        Ok(())
    }

    fn change_user(&mut self, at: &At<'_>, name: &str, user: &User) -> Outcome<()> {
        self.backups.clear();
        let password = password_of(at);
        self.check_fields(at, password.unwrap_or_default())?;
        let has_changes = ["homeDir", "gecos", "primaryGroup", "shell"]
            .iter()
            .any(|name| at.filled(name).is_some())
            || at.number("uid").is_some()
            || password.is_some()
            || !at.items("groups").is_empty();
        if !has_changes {
            return Ok(());
        }
        if !user.is_local {
            return stop(format!(
                "user {name} is part of /usr, where usermod cannot change it"
            ));
        }
        let groups = self.groups_of(at)?;
        let mut passwd = self.table(PASSWD)?;
        let taken = accounts::uids(&mut self.tree)?;
        let primary = match at.filled("primaryGroup") {
            Some(group) => Some(self.group_number(group)?),
            None => None,
        };
        let Some(line) = passwd.find_mut(name) else {
            return Ok(());
        };
        let before = line.clone();
        if let Some(uid) = at.number("uid") {
            let uid = account_number(uid, "uid")?;
            if uid != user.uid && taken.contains(&uid) {
                return stop(format!("the uid {uid} of user {name} is taken"));
            }
            set_field(line, UID, &uid.to_string());
        }
        if let Some(gid) = primary {
            set_field(line, GID, &gid.to_string());
        }
        for (key, number) in [("gecos", GECOS), ("homeDir", HOME), ("shell", SHELL)] {
            if let Some(value) = at.filled(key) {
                set_field(line, number, value);
            }
        }
        let after = line.clone();
        if before != after || password.is_some() {
            passwd.write(&mut self.tree, &mut self.backups)?;
        }
        if let Some(password) = password {
            self.rewrite_shadow(name, password)?;
        }
        self.join(name, &groups, true)?;
        self.move_home(user, &before, &after)?;
        accounts::lock(&mut self.tree)
    }

    /// Gives a user another password.
    fn rewrite_shadow(&mut self, name: &str, password: &str) -> Outcome<()> {
        let Some(mut shadow) = Table::read(&mut self.tree, SHADOW)? else {
            return Ok(());
        };
        let Some(line) = shadow.find_mut(name) else {
            return Ok(());
        };
        set_field(line, 1, password);
        set_field(line, CHANGED, &self.today);
        shadow.write(&mut self.tree, &mut self.backups)
    }

    fn move_home(&mut self, user: &User, before: &Line, after: &Line) -> Outcome<()> {
        let home = field(after, HOME).to_owned();
        let number = |line: &Line, at: usize| field(line, at).parse().unwrap_or(0);
        let (uid, gid) = (number(after, UID), number(after, GID));
        let mut place = user.home.clone();
        if field(before, HOME) != home {
            let Some(old) = self.tree.follow(&user.home)? else {
                return Ok(());
            };
            if !matches!(self.tree.inode(old).part, Part::Directory(_)) {
                return stop(format!("the home folder {} is no directory", user.home));
            }
            if self.tree.lookup(&home)?.is_some() {
                return stop(format!("the new home folder {home} exists already"));
            }
            if self.tree.lookup(folder(&home))?.is_none() {
                return stop(format!(
                    "the home folder cannot be moved to {home}: there is no {}",
                    folder(&home)
                ));
            }
            self.tree.rename(&user.home, &home)?;
            place = home;
        }
        if (uid, gid) != (user.uid, user.gid) {
            self.give(&place, user, (uid, gid))?;
        }
        Ok(())
    }

    /// Gives what belonged to a user in a home folder to its new numbers.
    fn give(&mut self, path: &str, user: &User, (uid, gid): (u32, u32)) -> Outcome<()> {
        let Some(id) = self.tree.lookup(path)? else {
            return Ok(());
        };
        let mut attributes = self.tree.inode(id).attributes;
        if attributes.uid == user.uid {
            attributes.uid = uid;
        }
        if attributes.gid == user.gid {
            attributes.gid = gid;
        }
        self.tree.set_attributes(id, attributes, path)?;
        if matches!(self.tree.inode(id).part, Part::Directory(_)) {
            for name in self.tree.entries(id)?.into_keys() {
                let below = format!("{path}/{}", String::from_utf8_lossy(&name));
                self.give(&below, user, (uid, gid))?;
            }
        }
        Ok(())
    }

    fn set_password(&mut self, name: &str, hash: &str) -> Outcome<()> {
        self.backups.clear();
        let hash = if hash.is_empty() { "*" } else { hash };
        let passwd = self.table(PASSWD)?;
        if passwd.find(name).is_none() {
            return Ok(());
        }
        passwd.write(&mut self.tree, &mut self.backups)?;
        self.rewrite_shadow(name, hash)
    }

    fn delete_user(&mut self, name: &str, user: &User) -> Outcome<()> {
        self.backups.clear();
        if !user.is_local {
            return stop(format!("user {name} is part of /usr and cannot be deleted"));
        }
        let settings = Settings::read(&mut self.tree)?;
        self.drop_lines(&[PASSWD, SHADOW, "/etc/subuid", "/etc/subgid"], name)?;
        self.leave_groups(name, &settings)?;
        accounts::lock(&mut self.tree)?;
        let Some(id) = self.tree.follow(&user.home)? else {
            return Ok(());
        };
        if self.tree.inode(id).attributes.uid != user.uid {
            return stop(format!(
                "{} does not belong to user {name}, so userdel does not remove it and fails",
                user.home
            ));
        }
        self.tree.remove(&user.home)
    }

    /// Takes a user that is gone out of all groups, and its own group away.
    fn leave_groups(&mut self, name: &str, settings: &Settings) -> Outcome<()> {
        for path in [GROUP, GSHADOW] {
            let Some(mut table) = Table::read(&mut self.tree, path)? else {
                continue;
            };
            let mut is_changed = false;
            for line in &mut table.lines {
                is_changed |= set_member(line, name, false, true);
            }
            if is_changed {
                table.write(&mut self.tree, &mut self.backups)?;
            }
        }
        if !settings.is_yes("USERGROUPS_ENAB") {
            return Ok(());
        }
        let groups = self.table(GROUP)?;
        let Some(line) = groups.find(name) else {
            return Ok(());
        };
        let gid = field(line, 2).parse().unwrap_or(u32::MAX);
        let is_used = !members(line, MEMBERS).is_empty()
            || !accounts::users_of_group(&mut self.tree, gid)?.is_empty();
        match is_used {
            true => Ok(()),
            false => self.drop_lines(&[GROUP, GSHADOW], name),
        }
    }

    fn free_uid(&mut self, settings: &Settings, is_system: bool) -> Outcome<u32> {
        let taken = accounts::uids(&mut self.tree)?;
        free_number(&taken, &range(settings, "UID", is_system), "uid")
    }

    fn free_gid(
        &mut self,
        settings: &Settings,
        is_system: bool,
        wanted: Option<u32>,
    ) -> Outcome<u32> {
        let taken = accounts::gids(&mut self.tree)?;
        let range = range(settings, "GID", is_system);
        match wanted {
            Some(gid) if (range.min..=range.max).contains(&gid) && !taken.contains(&gid) => Ok(gid),
            _ => free_number(&taken, &range, "gid"),
        }
    }

    /// Gives a user a range of subordinate numbers, where the image has files for them.
    fn sub_ids(&mut self, name: &str, settings: &Settings, uid: u32) -> Outcome<()> {
        let range = range(settings, "UID", false);
        if !(range.min..=range.max).contains(&uid) {
            return Ok(());
        }
        for (path, word) in [("/etc/subuid", "UID"), ("/etc/subgid", "GID")] {
            let Some(mut table) = Table::read(&mut self.tree, path)? else {
                continue;
            };
            let count = settings.number(&format!("SUB_{word}_COUNT"), 65_536);
            let min = settings.number(&format!("SUB_{word}_MIN"), 100_000);
            let first = free_range(&table, min, count);
            table.push(&[name, &first.to_string(), &count.to_string()]);
            table.write(&mut self.tree, &mut self.backups)?;
        }
        Ok(())
    }

    /// Makes a home folder with what is in /etc/skel, unless it is there.
    fn make_home(&mut self, home: &str, uid: u32, gid: u32, settings: &Settings) -> Outcome<()> {
        if self.tree.lookup(home)?.is_some() {
            return Ok(());
        }
        self.tree.make_dirs(folder(home), 0o755)?;
        let masked = 0o777 & !settings.number("UMASK", 0o022);
        let mode = settings.number("HOME_MODE", masked);
        let attributes = Attributes { mode, uid, gid };
        self.tree.create(home, attributes, tree::new_directory())?;
        let skel = settings.useradd("SKEL").unwrap_or("/etc/skel").to_owned();
        copy_skel(&mut self.tree, &skel, home, (uid, gid))
    }

    fn keys(&mut self, at: &At<'_>, name: &str) -> Outcome<()> {
        let keys = at.items("sshAuthorizedKeys");
        if keys.is_empty() {
            return Ok(());
        }
        let Some(user) = accounts::user(&mut self.tree, name)? else {
            return stop(format!("there is no user {name} to give keys to"));
        };
        let keys: Vec<&str> = keys.iter().filter_map(At::as_text).collect();
        let mut text = keys.join("\n");
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let path = format!("{}/.ssh/authorized_keys.d/ignition", user.home);
        let path = self.tree.joined(&path)?;
        let owner = Some((user.uid, user.gid));
        self.tree.make_dirs_as(folder(&path), 0o700, owner)?;
        if let Some(id) = self.tree.follow(&path)? {
            // What is there keeps its mode and owner.
            self.tree.check_user(&path, owner, 2, &path)?;
            let content = Content::Bytes(Arc::new(text.into_bytes()));
            return self.tree.set_content(id, content, &path);
        }
        self.tree.check_user(folder(&path), owner, 3, &path)?;
        let attributes = Attributes {
            mode: 0o600,
            uid: user.uid,
            gid: user.gid,
        };
        self.tree.write(&path, attributes, &text)
    }
}

fn copy_skel(tree: &mut Tree, from: &str, to: &str, (uid, gid): (u32, u32)) -> Outcome<()> {
    let Some(id) = tree.follow(from)? else {
        return Ok(());
    };
    for (name, id) in tree.entries(id)? {
        let name = String::from_utf8_lossy(&name).into_owned();
        let path = format!("{to}/{name}");
        let inode = tree.inode(id).clone();
        let attributes = Attributes {
            mode: inode.attributes.mode,
            uid,
            gid,
        };
        match inode.part {
            Part::Directory(_) => {
                tree.create(&path, attributes, tree::new_directory())?;
                copy_skel(tree, &format!("{from}/{name}"), &path, (uid, gid))?;
            }
            Part::File(content) => {
                let content = match tree.bytes(&content)? {
                    Some(bytes) => Content::Bytes(bytes),
                    None => content,
                };
                tree.create(&path, attributes, Part::File(content))?;
            }
            part @ (Part::Symlink(_) | Part::Special(_)) => {
                tree.create(&path, attributes, part)?;
            }
        }
    }
    Ok(())
}

/// Puts a user into the list of a line, or takes it out. Returns whether that changed the line.
fn set_member(line: &mut Line, name: &str, wanted: bool, leaves: bool) -> bool {
    let mut names = members(line, MEMBERS);
    let is_in = names.iter().any(|member| member == name);
    if is_in && !wanted && leaves {
        names.retain(|member| member != name);
    } else if !is_in && wanted {
        names.push(name.to_owned());
    } else {
        return false;
    }
    set_field(line, MEMBERS, &names.join(","));
    true
}

fn password_of<'a>(at: &At<'a>) -> Option<&'a str> {
    let hash = at.text("passwordHash")?;
    Some(if hash.is_empty() { "*" } else { hash })
}

fn check_field(text: &str, what: &str) -> Outcome<()> {
    match text.contains([':', '\n']) {
        true => stop(format!(
            "the {what} has a colon or a line break, and the tools refuse it"
        )),
        false => Ok(()),
    }
}

fn account_number(number: i64, what: &str) -> Outcome<u32> {
    match u32::try_from(number) {
        Ok(number) if number != u32::MAX => Ok(number),
        _ => stop(format!("the {what} {number} is out of range")),
    }
}

fn default_group(settings: &Settings) -> u32 {
    let group = settings
        .useradd("GROUP")
        .and_then(|group| group.parse().ok());
    group.unwrap_or(100)
}

fn range(settings: &Settings, word: &str, is_system: bool) -> Range {
    let min = settings.number(&format!("{word}_MIN"), 1000);
    if is_system {
        return Range {
            min: settings.number(&format!("SYS_{word}_MIN"), 101),
            max: settings.number(&format!("SYS_{word}_MAX"), min.saturating_sub(1)),
            is_system,
        };
    }
    Range {
        min,
        max: settings.number(&format!("{word}_MAX"), 60_000),
        is_system,
    }
}

/// The number that a new account gets: one above the highest that is taken, or, of the system, one below the lowest.
fn free_number(taken: &[u32], range: &Range, what: &str) -> Outcome<u32> {
    let within = taken
        .iter()
        .filter(|id| (range.min..=range.max).contains(*id));
    let free = |id: &u32| !taken.contains(id);
    let found = if range.is_system {
        let lowest = within.min().map_or(range.max, |id| id.saturating_sub(1));
        let mut below = (range.min..=lowest.min(range.max)).rev();
        below
            .find(free)
            .or_else(|| (range.min..=range.max).rev().find(free))
    } else {
        let highest = within.max().map_or(range.min, |id| id.saturating_add(1));
        let mut above = highest.max(range.min)..=range.max;
        above
            .find(free)
            .or_else(|| (range.min..=range.max).find(free))
    };
    match found {
        Some(id) => Ok(id),
        None => stop(format!(
            "no {what} from {} to {} is free",
            range.min, range.max
        )),
    }
}

/// Where the next range of subordinate numbers begins.
fn free_range(table: &Table, min: u32, count: u32) -> u32 {
    let mut ranges: Vec<(u32, u32)> = table
        .lines
        .iter()
        .filter_map(|line| Some((field(line, 1).parse().ok()?, field(line, 2).parse().ok()?)))
        .collect();
    ranges.sort_unstable();
    let mut first = min;
    for (start, length) in ranges {
        if start >= first && start - first >= count {
            break;
        }
        first = first.max(start.saturating_add(length));
    }
    first
}
