//! The files that make an image a vendor's: the OEM sysext, the marker that activates it, `oem-release`, `grub.cfg`
//! (fact book, sections D and F).

use std::path::Path;

use super::super::options::{BakeOptions, FileRole, OemChange, OemPayload};
use super::super::plan::{Action, Source};
use super::Planner;
use super::oem::GRUB_CFG;
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::flatcar::{Designator, OsRelease, grub};
use crate::fs::{FileType, FsPath};

const OEM_RELEASE: &str = "/oem-release";
/// Where the boot looks for OEM sysexts.
const SYSEXT_DIR: &str = "/sysext";
/// Most entries of that folder which are looked at; real ones have a handful.
const SYSEXTS_MAX: usize = 1000;
/// What oem-release says where the sysext does not say it itself.
const HOME_URL: &str = "https://www.flatcar.org/";
const BUG_REPORT_URL: &str = "https://issues.flatcar.org";

impl Planner<'_> {
    /// Replaces or removes the vendor's files.
    pub(super) fn oem_change(&mut self, options: &BakeOptions) -> Result<()> {
        match &options.oem {
            OemChange::Keep => Ok(()),
            OemChange::Clear => self.remove_payload(options),
            OemChange::Install(payload) => {
                self.remove_payload(options)?;
                self.install(payload, options).at(|| format!("OEM {}", payload.id))
            }
        }
    }

    fn remove_payload(&mut self, options: &BakeOptions) -> Result<()> {
        let why = "the vendor's files before";
        let tree = self.tree(Designator::Oem)?;
        let mut old = Vec::new();
        let folder = FsPath::new(SYSEXT_DIR)?;
        if tree.type_at(&folder)? == Some(FileType::Directory) {
            let entries = tree.fs.read_dir(&folder).at(|| Designator::Oem.to_string())?;
            for entry in entries.into_iter().take(SYSEXTS_MAX).filter(|entry| is_payload(&entry.name)) {
                old.push(folder.join(&entry.name)?);
            }
        }
        old.push(FsPath::new(OEM_RELEASE)?);
        old.push(FsPath::new(GRUB_CFG)?);
        for path in old {
            let tree = self.tree(Designator::Oem)?;
            // A user's removal may have come first.
            if tree.type_at(&path)?.is_none() {
                continue;
            }
            if path.as_bytes() == GRUB_CFG.as_bytes() && !replaces_grub_cfg(options) {
                self.lost_arguments(options)?;
            }
            self.tree(Designator::Oem)?.remove(&path)?;
            self.push(Designator::Oem, path, Action::Remove, why.to_owned());
        }
        Ok(())
    }

    /// Kernel arguments of the old grub.cfg may be the old vendor's or a user's: a person decides.
    fn lost_arguments(&mut self, options: &BakeOptions) -> Result<()> {
        let text = self.grub_cfg_of_image(&FsPath::new(GRUB_CFG)?)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let new = match &options.oem {
            OemChange::Install(payload) => payload.grub_cfg.as_deref().unwrap_or_default(),
            _ => "",
        };
        let kept: Vec<&str> = grub::kernel_args(new).collect();
        let lost: Vec<&str> = grub::kernel_args(&text)
            .filter(|argument| !kept.contains(argument))
            .filter(|argument| !options.kernel_args.iter().any(|wanted| wanted == argument))
            .collect();
        if !lost.is_empty() {
            self.warnings.push(format!(
                "oem:{GRUB_CFG} is replaced by the vendor's: its kernel arguments {} go (--kernel-arg brings one back)",
                lost.join(" ")
            ));
        }
        Ok(())
    }

    fn install(&mut self, payload: &OemPayload, options: &BakeOptions) -> Result<()> {
        let why = format!("OEM {}", payload.id);
        let fields = match &payload.sysext {
            None => None,
            Some(file) => self.install_sysext(payload, file, &why)?,
        };
        let text = oem_release(payload, fields.as_ref(), self.release.as_ref())?;
        self.text(FsPath::new(OEM_RELEASE)?, text, &why)?;
        if let Some(text) = &payload.grub_cfg
            && !replaces_grub_cfg(options)
        {
            let findings = grub::check(text);
            self.warnings.extend(findings.into_iter().map(|finding| format!("grub.cfg of {}: {finding}", payload.id)));
            self.text(FsPath::new(GRUB_CFG)?, text.clone(), &why)?;
        }
        Ok(())
    }

    /// Installs the sysext under the versioned name that the boot looks for, and returns its release file.
    fn install_sysext(&mut self, payload: &OemPayload, file: &Path, why: &str) -> Result<Option<OsRelease>> {
        let name = format!("oem-{}", payload.id);
        let info = self.check_sysext(&name, file)?;
        let version = self.release.as_ref().and_then(|release| release.version()).map(str::to_owned);
        let version = version.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the image's release is not known, which the sysext's name must give")
                .with_hint("is USR whole? flatbake inspect IMG tells; --no-oem makes the format only")
        })?;
        let folder = FsPath::new(SYSEXT_DIR)?;
        self.copy(file, Designator::Oem, folder.join(format!("{name}-{version}.raw"))?, why)?;
        self.text(folder.join(format!("active-{name}"))?, String::new(), why)?;
        let release = info.releases.into_iter().find(|release| release.name == name || release.fits_any_name());
        Ok(release.map(|release| release.fields)) // a missing one is a finding already
    }

    /// A file of OEM whose text the plan made.
    fn text(&mut self, path: FsPath, text: String, why: &str) -> Result<()> {
        let replaces = self.prepare(Designator::Oem, &path, FileType::File, why)?;
        let bytes = to_u64(text.len());
        self.tree(Designator::Oem)?.add(&path, FileType::File, bytes)?;
        let change = self.push(Designator::Oem, path, Action::WriteFile { source: Source::Text(text) }, why.to_owned());
        (change.replaces, change.bytes, change.mode) = (replaces, bytes, 0o644);
        Ok(())
    }
}

/// Whether the user brings a grub.cfg, which then takes the vendor's place.
fn replaces_grub_cfg(options: &BakeOptions) -> bool {
    options.files.iter().any(|file| file.role == FileRole::GrubCfg)
}

/// Whether a name in OEM's sysext folder is a vendor's: `oem-ID-VERSION.raw`, `active-oem-ID`, `migrate-oem-ID`.
fn is_payload(name: &[u8]) -> bool {
    let sysext = name.starts_with(b"oem-") && name.ends_with(b".raw");
    sysext || name.starts_with(b"active-oem-") || name.starts_with(b"migrate-oem-")
}

/// The text of oem-release: what the sysext's `SYSEXT_*` fields say (since 4628), else what is known of the vendor.
fn oem_release(payload: &OemPayload, sysext: Option<&OsRelease>, image: Option<&OsRelease>) -> Result<String> {
    let field = |key: &str| sysext.and_then(|fields| fields.get(key)).filter(|value| !value.is_empty());
    let id = field("SYSEXT_ID").map_or(payload.id.as_str(), |id| id.strip_prefix("oem-").unwrap_or(id));
    if id != payload.id {
        return Err(Error::invalid(format!("the sysext is that of OEM '{id}', not of '{}'", payload.id))
            .with_hint(format!("give oem-{}.raw of the image's release", payload.id)));
    }
    let version = field("SYSEXT_VERSION_ID").or(image.and_then(|release| release.version_id()));
    let lines = [
        ("ID", Some(id)),
        ("VERSION_ID", version),
        ("NAME", Some(field("SYSEXT_NAME").unwrap_or(&payload.name))),
        ("HOME_URL", Some(field("SYSEXT_HOME_URL").unwrap_or(HOME_URL))),
        ("BUG_REPORT_URL", Some(field("SYSEXT_BUG_REPORT_URL").unwrap_or(BUG_REPORT_URL))),
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
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A value as it stands between double quotes, by the rules of os-release(5).
fn quoted(value: &str) -> Result<String> {
    if value.chars().any(char::is_control) {
        return Err(Error::invalid(format!("'{}' has control characters", value.escape_debug())).at("oem-release"));
    }
    let escape = |letter: char| matches!(letter, '"' | '\\' | '$' | '`').then_some('\\');
    Ok(value.chars().flat_map(|letter| escape(letter).into_iter().chain([letter])).collect())
}
