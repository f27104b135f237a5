//! A Parallels disk as it lies on a Mac: the folder `NAME.hdd`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Descriptor;
use crate::error::{Error, Result};
use crate::image::format::WriteJob;
use crate::image::write_out;

/// The extension of the image files in it.
const IMAGE: &str = "hds";

/// The file to open for `path`: itself, or the only image in it where it is the folder of a Parallels disk. With
/// snapshots there are several, each with a part of the disk.
pub(in crate::image) fn image_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() || !path.join(Descriptor::FILE_NAME).is_file() {
        return Ok(path.to_owned());
    }
    let fails = |error| Error::io(format!("listing {}", path.display()), error);
    let mut images = Vec::new();
    for entry in fs::read_dir(path).map_err(fails)? {
        let entry = entry.map_err(fails)?;
        // No links: they might lead out of the folder.
        let file = entry.file_type().map_err(fails)?.is_file();
        if file
            && entry
                .path()
                .extension()
                .is_some_and(|extension| extension == IMAGE)
        {
            images.push(entry.path());
        }
    }
    if let [image] = images.as_slice() {
        return Ok(image.clone());
    }
    Err(Error::unsupported(format!(
        "the Parallels disk {} has {} image files: one can be read",
        path.display(),
        images.len()
    ))
    .with_hint("merge its snapshots and parts in Parallels first, or name one of its .hds files"))
}

/// Writes the files of the folder `job.name`; `create` makes one of a name in it.
pub(super) fn write(
    job: &WriteJob<'_>,
    create: &mut dyn FnMut(&str) -> Result<File>,
) -> Result<()> {
    let image = create(&Descriptor::image_name(job.name))?;
    let descriptor = super::write(job.disk, &image, job.name, job.identity, job.progress)?;
    let text = create(Descriptor::FILE_NAME)?;
    write_out(&text, 0, descriptor.to_xml()?.as_bytes())?;
    // Empty: by it Parallels finds the disk.
    create(job.name).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_image_is_found_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        assert_eq!(
            image_file(dir.path()).unwrap(),
            dir.path(),
            "any other folder"
        );
        assert_eq!(image_file(&path("no")).unwrap(), path("no"));
        fs::write(path(Descriptor::FILE_NAME), "").unwrap();
        symlink("/dev/zero", path("link.hds")).unwrap();
        symlink(Descriptor::FILE_NAME, path("other.hds")).unwrap();
        assert!(
            image_file(dir.path())
                .unwrap_err()
                .to_string()
                .contains("0 image files")
        );
        fs::write(path("a.hds"), "").unwrap();
        assert_eq!(image_file(dir.path()).unwrap(), path("a.hds"));
        fs::write(path("b.hds"), "").unwrap();
        assert_eq!(
            image_file(dir.path()).unwrap_err().kind(),
            crate::ErrorKind::Unsupported
        );
    }
}
