//! What tells a machine where newer versions of its sysexts are, and has it look for them.
//!
//! ```text
//!   Updates  ──▶ /etc/sysupdate.NAME.d/NAME.conf        where newer ones are, and where they go
//!   updating ──▶ systemd-sysupdate.service.d/NAME.conf   looks for those of NAME
//!                systemd-sysupdate.service.d/zz-merge.conf   merges what was fetched
//!                /etc/sysupdate.d/noop.conf               keeps the service from failing without a file of its own
//!                timers.target.wants/systemd-sysupdate.timer
//! ```

use crate::error::{Error, Result};
use crate::flatcar::unit;
use crate::fs::FsPath;

/// What looks for updates.
pub const SERVICE: &str = "systemd-sysupdate.service";
/// What starts it.
pub const TIMER: &str = "systemd-sysupdate.timer";
/// The drop-in that comes last by its name, and merges what was fetched.
const MERGE: (&str, &str) = (
    "zz-merge.conf",
    "[Service]\nExecStartPost=/usr/bin/systemctl restart systemd-sysext.service\n",
);
/// Without any file for the system itself the service would fail after its drop-ins have done their work. This one names
/// what is nowhere.
const NOTHING: (&str, &str) = (
    "/etc/sysupdate.d/noop.conf",
    "[Source]\nType=regular-file\nPath=/\nMatchPattern=invalid@v.raw\n\n[Target]\nType=regular-file\nPath=/\n",
);
/// The folder of images of sysexts, each in one of its own.
const IMAGES: &str = "/opt/extensions";
/// The folder of the links by which they are merged.
const LINKS: &str = "/etc/extensions";
/// How many versions are kept, where nothing is said.
const INSTANCES: u32 = 3;
/// The fewest that systemd-sysupdate keeps, and the most that make sense.
const INSTANCES_ALLOWED: std::ops::RangeInclusive<u32> = 2..=100;

/// Where newer versions of a sysext are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updates {
    /// The name that it is merged by.
    pub name: String,
    /// The folder on a server that has the images and `SHA256SUMS`.
    pub url: String,
    /// The names of its images, with `@v` for the version and `%a` for systemd's word of the architecture.
    pub pattern: String,
    /// How many versions a machine keeps.
    pub instances: u32,
    /// The machine verifies the signature of `SHA256SUMS` by OpenPGP keys that it has.
    pub verify: bool,
}

impl Updates {
    /// The images `NAME-VERSION-ARCHITECTURE.raw` at `url`, of which three are kept and no signature is asked for.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            pattern: format!("{name}-@v-%a.raw"),
            name,
            url: url.into(),
            instances: INSTANCES,
            verify: false,
        }
    }

    /// Where the file belongs on a machine.
    ///
    /// # Errors
    /// A name that systemd does not take as it is.
    pub fn path(&self) -> Result<FsPath> {
        let name = word(&self.name)?;
        FsPath::new(format!("/etc/sysupdate.{name}.d/{name}.conf"))
    }

    /// The text of the file.
    ///
    /// # Errors
    /// What is not a URL, a pattern without a version, a number of versions that cannot be kept.
    pub fn text(&self) -> Result<String> {
        let name = word(&self.name)?;
        let is_web = self.url.starts_with("https://") || self.url.starts_with("http://");
        if !is_web || self.url.contains(char::is_whitespace) {
            return Err(Error::invalid(format!(
                "'{}' is not the URL of a folder",
                self.url.escape_debug()
            ))
            .with_hint("write https://HOST/FOLDER/, where SHA256SUMS is"));
        }
        let is_odd = |c: char| c.is_whitespace() || c == '/' || c.is_control();
        if !self.pattern.contains("@v") || self.pattern.contains(is_odd) {
            return Err(Error::invalid(format!(
                "'{}' cannot be the pattern of names of versions",
                self.pattern.escape_debug()
            ))
            .with_hint("it has @v where the version is: tailscale-@v-%a.raw"));
        }
        if !INSTANCES_ALLOWED.contains(&self.instances) {
            return Err(Error::invalid(format!(
                "{} versions cannot be kept: must be {} to {}",
                self.instances,
                INSTANCES_ALLOWED.start(),
                INSTANCES_ALLOWED.end()
            )));
        }
        // Specifiers are resolved in paths, too.
        let url = self.url.trim_end_matches('/').replace('%', "%%");
        let verify = if self.verify { "true" } else { "false" };
        Ok(format!(
            "[Transfer]\nVerify={verify}\n\n\
             [Source]\nType=url-file\nPath={url}/\nMatchPattern={pattern}\n\n\
             [Target]\nInstancesMax={instances}\nType=regular-file\nPath={IMAGES}/{name}\n\
             MatchPattern={pattern}\nCurrentSymlink={LINKS}/{name}.raw\n",
            pattern = self.pattern,
            instances = self.instances,
        ))
    }
}

/// What has a machine look for updates of sysexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updating {
    /// Files with their texts.
    pub files: Vec<(FsPath, String)>,
    /// Links with their targets.
    pub links: Vec<(FsPath, String)>,
}

/// What has a machine look for updates of these sysexts.
///
/// # Errors
/// A name that systemd does not take as it is.
pub fn updating<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Updating> {
    let mut files = Vec::new();
    for name in names {
        let text = format!(
            "[Service]\nExecStartPre=/usr/lib/systemd/systemd-sysupdate -C {} update\n",
            word(name)?
        );
        files.push((unit::dropin_path(SERVICE, &format!("{name}.conf"))?, text));
    }
    let (name, text) = MERGE;
    files.push((unit::dropin_path(SERVICE, name)?, text.to_owned()));
    let (path, text) = NOTHING;
    files.push((FsPath::new(path)?, text.to_owned()));
    let links = unit::enabling_links(TIMER, None, Some("[Install]\nWantedBy=timers.target\n"))?;
    let links = links.into_iter().map(|(target, path)| (path, target));
    Ok(Updating {
        files,
        links: links.collect(),
    })
}

/// A name that systemd takes as one word, as it is.
fn word(name: &str) -> Result<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) && !name.starts_with(['-', '.']) {
        return Ok(name);
    }
    Err(Error::invalid(format!(
        "the sysext '{}' cannot be updated under this name",
        name.escape_debug()
    ))
    .with_hint("use letters, digits, dots, dashes and underscores"))
}

#[cfg(test)]
mod tests {
    use super::super::{Baked, Transfer, check};
    use super::*;

    #[test]
    fn names_with_a_meaning_to_systemd_are_refused() {
        for name in ["docker", "k3s-1.2_x"] {
            assert_eq!(word(name).unwrap(), name);
        }
        for name in ["a b", "a%i", "-C", "$HOME", "a\"b", "ä", "", "..", "a/b"] {
            assert!(word(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_written_fits_where_sysexts_are_baked() {
        let updates = Updates::new("tailscale", "https://host.example/a%20b");
        let text = updates.text().unwrap();
        assert!(
            text.contains("Path=https://host.example/a%%20b/\n"),
            "{text}"
        );
        let folder = FsPath::new("/opt/extensions/tailscale").unwrap();
        let link = FsPath::new("/etc/extensions/tailscale.raw").unwrap();
        let baked = Baked {
            folder: &folder,
            file: "tailscale-1.76.6-arm64.raw",
            link: &link,
            architecture: Some("arm64"),
        };
        assert_eq!(check(&Transfer::parse(&text).unwrap(), baked), []);
    }

    #[test]
    fn what_systemd_would_not_take_is_refused() {
        let good = Updates::new("x", "https://host.example/x");
        for bad in [
            Updates {
                url: "host.example".to_owned(),
                ..good.clone()
            },
            Updates {
                url: "https://host.example/\nVerify=no".to_owned(),
                ..good.clone()
            },
            Updates {
                pattern: "x.raw".to_owned(),
                ..good.clone()
            },
            Updates {
                pattern: "a/x-@v.raw".to_owned(),
                ..good.clone()
            },
            Updates {
                instances: 1,
                ..good.clone()
            },
            Updates {
                name: "a b".to_owned(),
                ..good.clone()
            },
        ] {
            assert!(bad.text().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_machine_looks_for_each_and_merges_at_the_end() {
        let updating = updating(["a", "b"]).unwrap();
        let paths: Vec<String> = updating
            .files
            .iter()
            .map(|(path, _)| path.to_string())
            .collect();
        let folder = "/etc/systemd/system/systemd-sysupdate.service.d";
        assert_eq!(
            paths,
            [
                &format!("{folder}/a.conf"),
                &format!("{folder}/b.conf"),
                &format!("{folder}/zz-merge.conf"),
                "/etc/sysupdate.d/noop.conf",
            ]
        );
        assert_eq!(updating.links.len(), 1);
        assert!(
            updating.links[0]
                .0
                .to_string()
                .ends_with("timers.target.wants/systemd-sysupdate.timer")
        );
    }
}
