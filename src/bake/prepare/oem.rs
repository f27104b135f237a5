//! What the OEM partition's files mean: grub.cfg with its kernel arguments, Ignition configs, and the files that make an
//! image a vendor's: its sysext, the marker that activates it, `oem-release` (fact book, sections D and F).

use std::path::Path;

use super::super::edits::Edits;
use super::bench::{Bench, Content, NewFile, Work};
use super::ignition::{IGNITION_MAX, name_of};
use super::lasting::merged;
use super::payload::{OemChange, OemPayload};
use super::settings::text_of;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Few, Finding, code};
use crate::flatcar::ignition::Reads;
use crate::flatcar::{Designator, OsRelease, grub};
use crate::fs::{self, ByPath, FileType, FsPath};

/// OEM's hook into GRUB, and its largest size: GRUB reads it into memory at every boot.
const GRUB_CFG: &str = "/grub.cfg";
const GRUB_CFG_MAX: u64 = 1 << 20;
const BASE_IGN: &str = "/base/base.ign";
pub(super) const CONFIG_IGN: &str = "/config.ign";
/// An Ignition config that Flatcar has not read since a release.
const DEFAULT_IGN: &[u8] = b"/base/default.ign";
const DEFAULT_IGN_DEAD: u64 = 3185;
const OEM_RELEASE: &str = "/oem-release";
/// Where the boot looks for OEM sysexts.
const SYSEXT_DIR: &str = "/sysext";
/// Most entries of that folder which are looked at; real ones have a handful.
const SYSEXTS_MAX: usize = 1000;
/// What oem-release says where the sysext does not say it itself.
const HOME_URL: &str = "https://www.flatcar.org/";
const BUG_REPORT_URL: &str = "https://issues.flatcar.org";

impl Bench<'_> {
    /// A file of OEM that the image's release would never read.
    pub(super) fn see_never_read(&mut self, path: &FsPath) {
        let dead = path.as_bytes() == DEFAULT_IGN
            && self
                .run
                .major()
                .is_none_or(|major| major >= DEFAULT_IGN_DEAD);
        let finding = Finding::new(code::NEVER_READ)
            .with("path", path)
            .with("since", DEFAULT_IGN_DEAD);
        let finding = finding.at(Designator::Oem.to_string());
        if dead && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// What Ignition and GRUB would make of the configs that are put in.
    pub(super) fn check_configs(&mut self, edits: &Edits) -> Result<()> {
        for (config, role) in [
            (&edits.base_ign, "base.ign"),
            (&edits.config_ign, "config.ign"),
        ] {
            if let Some(config) = config {
                self.check_ignition(config, role)?;
            }
        }
        let Some(config) = &edits.grub_cfg else {
            return Ok(());
        };
        let name = name_of(config, "grub.cfg");
        let text = text_of(self.content_of(&config.source, GRUB_CFG_MAX, "grub.cfg")?)
            .at(|| name.clone())?;
        self.findings.extend(
            grub::check(&text)
                .into_iter()
                .map(|finding| finding.at(name.clone())),
        );
        Ok(())
    }

    pub(super) fn put_configs(&mut self, edits: &Edits) -> Result<()> {
        let configs = [
            (&edits.grub_cfg, GRUB_CFG, GRUB_CFG_MAX, "grub.cfg"),
            (&edits.base_ign, BASE_IGN, IGNITION_MAX, "base.ign"),
            (&edits.config_ign, CONFIG_IGN, IGNITION_MAX, "config.ign"),
        ];
        for (config, path, limit, role) in configs {
            let Some(config) = config else { continue };
            let why = name_of(config, role);
            let content = if path == GRUB_CFG {
                self.content_of(&config.source, limit, role)
            } else {
                self.ignition_content(config, role)
            };
            self.put_text(Designator::Oem, path, &content.at(|| why.clone())?, &why)?;
        }
        self.see_oem_sources(edits)
    }

    /// Puts what Ignition is to make whenever it runs into `base.ign`.
    pub(super) fn write_lasting(&mut self) -> Result<()> {
        let lasting = std::mem::take(&mut self.lasting);
        if lasting.is_empty() {
            return Ok(());
        }
        let major = self.run.major();
        if let Some(major) = major.filter(|major| Reads::of_release(*major).is_none()) {
            return Err(Error::unsupported(format!(
                "what outlives a reset needs Ignition configs of specification 3, which release {major} does not read"
            ))
            .because(Reason::Version));
        }
        let merge = |text: &str| merged(text, &lasting);
        self.rewrite(
            Designator::Oem,
            BASE_IGN,
            IGNITION_MAX,
            "outlives flatcar-reset",
            merge,
        )
    }

    /// Edits the kernel arguments of grub.cfg as it is now.
    pub(super) fn kernel_args(&mut self, add: &[String], remove: &[String]) -> Result<()> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        self.edit_grub_cfg("kernel arguments", |text| {
            grub::edit_kernel_args(text, add, remove)
        })
    }

    /// Edits grub.cfg as it is now.
    pub(super) fn edit_grub_cfg(
        &mut self,
        why: &str,
        edit: impl FnOnce(&str) -> Result<String>,
    ) -> Result<()> {
        self.rewrite(Designator::Oem, GRUB_CFG, GRUB_CFG_MAX, why, edit)
    }

    /// Edits a text file of at most `limit` bytes as it is now, empty where there is none; it keeps mode and owner.
    pub(super) fn rewrite(
        &mut self,
        partition: Designator,
        path: &str,
        limit: u64,
        why: &str,
        edit: impl FnOnce(&str) -> Result<String>,
    ) -> Result<()> {
        let path = self.locate(partition, &FsPath::new(path)?)?;
        let before = self.text_now(partition, &path, limit)?;
        let text = edit(&before).at(|| format!("{partition}:{path}"))?;
        if text == before {
            return Ok(());
        }
        let old = self.metadata(partition, &path)?;
        let (mode, owner) = old.map_or((0o644, None), |old| (old.mode, Some((old.uid, old.gid))));
        // A file that these changes brought is changed, not written a second time.
        self.forget_written(partition, &path)?;
        let content = Content::Bytes(text.as_bytes());
        self.write_file(NewFile {
            partition,
            path: &path,
            content,
            mode,
            owner,
            why,
        })
    }

    /// The text of a file as it is now, empty where there is none.
    fn text_now(&mut self, partition: Designator, path: &FsPath, limit: u64) -> Result<String> {
        match self.type_at(partition, path)? {
            Some(FileType::File) => {
                let content = fs::read_file(self.filesystem(partition)?, path, limit);
                text_of(content.at(|| partition.to_string())?).at(|| format!("{partition}:{path}"))
            }
            Some(_) => Err(Error::invalid(format!(
                "{path} is no regular file, so its text cannot be changed"
            ))
            .at(partition.to_string())),
            None => Ok(String::new()),
        }
    }

    /// Replaces or removes the vendor's files.
    pub(super) fn oem_change(&mut self, work: Work<'_>) -> Result<()> {
        let new = match work.oem {
            OemChange::Keep => return Ok(()),
            OemChange::Clear => None,
            OemChange::Install(payload) => Some(payload),
        };
        let removed = self.remove_payload(work)?;
        if let Some(payload) = new {
            self.install(payload, work.edits)
                .at(|| format!("OEM {}", payload.id))?;
        }
        self.see_gone(removed)
    }

    /// Tells what was removed and has no successor.
    fn see_gone(&mut self, removed: Vec<FsPath>) -> Result<()> {
        let mut gone = Few::default();
        for path in removed {
            if self.type_at(Designator::Oem, &path)?.is_none() {
                gone.add(path);
            }
        }
        if !gone.is_empty() {
            let finding = Finding::new(code::OEM_REMOVED).with("paths", gone);
            self.findings.push(finding.at(Designator::Oem.to_string()));
        }
        Ok(())
    }

    /// Removes the files of the vendor before, and returns which there were.
    fn remove_payload(&mut self, work: Work<'_>) -> Result<Vec<FsPath>> {
        let folder = FsPath::new(SYSEXT_DIR)?;
        let mut old = Vec::new();
        if self.type_at(Designator::Oem, &folder)? == Some(FileType::Directory) {
            let entries = self
                .filesystem(Designator::Oem)?
                .entries_at(&folder)
                .at(|| Designator::Oem.to_string())?;
            for entry in entries
                .into_iter()
                .take(SYSEXTS_MAX)
                .filter(|entry| is_payload(&entry.name))
            {
                old.push(folder.join(&entry.name)?);
            }
        }
        old.push(FsPath::new(OEM_RELEASE)?);
        old.push(FsPath::new(GRUB_CFG)?);
        let mut removed = Vec::new();
        for path in old {
            // A user's removal may have come first.
            if self.type_at(Designator::Oem, &path)?.is_none() {
                continue;
            }
            if path.as_bytes() == GRUB_CFG.as_bytes() && work.edits.grub_cfg.is_none() {
                self.see_lost_arguments(&path, work)?;
            }
            self.remove_all(Designator::Oem, &path, "the vendor's files before")?;
            removed.push(path);
        }
        Ok(removed)
    }

    /// Kernel arguments of the old grub.cfg may be the old vendor's or a user's: a person decides.
    fn see_lost_arguments(&mut self, path: &FsPath, work: Work<'_>) -> Result<()> {
        let text = fs::read_file(self.filesystem(Designator::Oem)?, path, GRUB_CFG_MAX)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let new = match work.oem {
            OemChange::Install(payload) => payload.grub_cfg.as_deref().unwrap_or_default(),
            _ => "",
        };
        let kept = grub::kernel_args(new);
        let mut lost = grub::kernel_args(&text);
        lost.retain(|argument| {
            !kept.contains(argument) && !work.edits.kernel_args.contains(argument)
        });
        if !lost.is_empty() {
            let finding = Finding::new(code::KERNEL_ARGS_LOST)
                .with("path", path)
                .with("args", lost.join(" "));
            self.findings.push(finding.at(Designator::Oem.to_string()));
        }
        Ok(())
    }

    fn install(&mut self, payload: &OemPayload, edits: &Edits) -> Result<()> {
        let why = format!("OEM {}", payload.id);
        let fields = match &payload.sysext {
            None => None,
            Some(file) => self.install_oem_sysext(payload, file, &why)?,
        };
        let text = oem_release(payload, fields.as_ref(), self.run.release.as_ref())?;
        self.put_text(Designator::Oem, OEM_RELEASE, text.as_bytes(), &why)?;
        if let Some(text) = &payload.grub_cfg
            && edits.grub_cfg.is_none()
        {
            let place = format!("grub.cfg of {}", payload.id);
            self.findings.extend(
                grub::check(text)
                    .into_iter()
                    .map(|finding| finding.at(place.clone())),
            );
            self.put_text(Designator::Oem, GRUB_CFG, text.as_bytes(), &why)?;
        }
        Ok(())
    }

    /// Installs the sysext under the versioned name that the boot looks for, and returns its release file.
    fn install_oem_sysext(
        &mut self,
        payload: &OemPayload,
        file: &Path,
        why: &str,
    ) -> Result<Option<OsRelease>> {
        let name = format!("oem-{}", payload.id);
        self.check_sysext(&name, file, "OEM sysext")?;
        let version = self
            .run
            .release
            .as_ref()
            .and_then(|release| release.version())
            .map(str::to_owned);
        let version = version.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the image's release is not known, which the sysext's name must give")
                .with_hint("is USR whole? flatbake inspect IMG tells; without the OEM's files only the format is made")
        })?;
        let folder = FsPath::new(SYSEXT_DIR)?;
        self.copy_file(
            file,
            "OEM sysext",
            Designator::Oem,
            &folder.join(format!("{name}-{version}.raw"))?,
            why,
        )?;
        self.put_text(
            Designator::Oem,
            &folder.join(format!("active-{name}"))?.to_string(),
            b"",
            why,
        )?;
        let Some(info) = self.sysexts.get(&name) else {
            return Ok(None);
        };
        let mut releases = info.releases.iter();
        let release = releases.find(|release| release.name == name || release.fits_any_name());
        Ok(release.map(|release| release.fields.clone())) // a missing one is a finding already
    }
}

/// Whether a name in OEM's sysext folder is a vendor's: `oem-ID-VERSION.raw`, `active-oem-ID`, `migrate-oem-ID`.
fn is_payload(name: &[u8]) -> bool {
    let sysext = name.starts_with(b"oem-") && name.ends_with(b".raw");
    sysext || name.starts_with(b"active-oem-") || name.starts_with(b"migrate-oem-")
}

/// The text of oem-release: what the sysext's `SYSEXT_*` fields say (since 4628), else what is known of the vendor.
fn oem_release(
    payload: &OemPayload,
    sysext: Option<&OsRelease>,
    image: Option<&OsRelease>,
) -> Result<String> {
    let field = |key: &str| {
        sysext
            .and_then(|fields| fields.get(key))
            .filter(|value| !value.is_empty())
    };
    let id = field("SYSEXT_ID").map_or(payload.id.as_str(), |id| {
        id.strip_prefix("oem-").unwrap_or(id)
    });
    if id != payload.id {
        return Err(Error::invalid(format!(
            "the sysext is that of OEM '{id}', not of '{}'",
            payload.id
        ))
        .with_hint(format!(
            "give oem-{}.raw of the image's release",
            payload.id
        )));
    }
    let version = field("SYSEXT_VERSION_ID").or(image.and_then(|release| release.version_id()));
    let lines = [
        ("ID", Some(id)),
        ("VERSION_ID", version),
        ("NAME", Some(field("SYSEXT_NAME").unwrap_or(&payload.name))),
        (
            "HOME_URL",
            Some(field("SYSEXT_HOME_URL").unwrap_or(HOME_URL)),
        ),
        (
            "BUG_REPORT_URL",
            Some(field("SYSEXT_BUG_REPORT_URL").unwrap_or(BUG_REPORT_URL)),
        ),
    ];
    let mut text = String::new();
    for (key, value) in lines {
        match value {
            Some(value) if is_plain(value) => text.push_str(&format!("{key}={value}\n")),
            Some(value) => text.push_str(&format!("{key}=\"{}\"\n", quoted(value)?)),
            None => {}
        }
    }
    Ok(text)
}

/// Whether a value needs no quotes in an os-release file.
fn is_plain(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A value as it stands between double quotes, by the rules of os-release(5).
fn quoted(value: &str) -> Result<String> {
    if value.chars().any(char::is_control) {
        return Err(
            Error::invalid(format!("'{}' has control characters", value.escape_debug()))
                .at("oem-release"),
        );
    }
    let escape = |letter: char| matches!(letter, '"' | '\\' | '$' | '`').then_some('\\');
    Ok(value
        .chars()
        .flat_map(|letter| escape(letter).into_iter().chain([letter]))
        .collect())
}
