use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{BlockDevice, OutputFile, sha256, shown};
use crate::flatcar::sysext::build::{Build, Means};
use crate::flatcar::sysext::publish::{Entry, Image, List, SUMS, index};
use crate::flatcar::sysext::recipe::{Choice, Chosen};
use crate::machine::Arch;
use crate::{Error, Result, ResultExt, from_io};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::super::image::temp_dir;
use super::super::progress::Reporter;
use super::download::Downloads;
use super::given;
use super::pack::PackArgs;
use super::recipe::read;

/// The signature of the list of all digests, by the name that systemd-sysupdate knows.
const SIGNATURE: &str = "SHA256SUMS.gpg";
/// The largest list of recipes that is read, in bytes.
const LIST_MAX: u64 = 1 << 20;
/// The largest OpenPGP key that is read, in bytes.
#[cfg(feature = "fetch")]
const KEY_MAX: u64 = 1 << 20;

/// Make a folder of sysexts ready to serve: images by recipes, lists of their digests, transfer files
///
/// All images in the folder are listed, NAME-VERSION-ARCHITECTURE.raw, those that a list of recipes and versions adds and those
/// that are there; what is there is not built anew. Any web server can serve the folder to systemd-sysupdate, and to bake
/// --mirror https://extensions.flatcar.org/extensions/=URL.
#[derive(Debug, Args)]
#[command(
    name = "publish",
    after_help = "\
Examples:
  flatbake sysext recipe tailscale --version 1.76.6 --from tailscale_1.76.6_amd64.tgz -o site/
  flatbake sysext publish site --url https://sysexts.example/"
)]
pub struct PublishCommand {
    /// The folder, which is made where it is missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: PathBuf,
    /// Build what this list of recipes and versions names and the folder lacks
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    list: Option<PathBuf>,
    /// Where the folder will be: writes NAME.conf, by which machines find newer versions there [default: that of the list]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Sign the list of all digests with this secret OpenPGP key, as SHA256SUMS.gpg
    #[cfg(feature = "fetch")]
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    signed_sums: Option<PathBuf>,
    #[command(flatten)]
    pack: PackArgs,
    #[cfg(feature = "fetch")]
    #[command(flatten)]
    fetching: super::super::fetch_args::FetchArgs,
}

/// What was published.
#[derive(Serialize)]
struct Published {
    folder: String,
    images: Vec<PublishedImage>,
    /// Other files, by their paths in the folder.
    files: Vec<String>,
}

#[derive(Serialize)]
struct PublishedImage {
    name: String,
    version: String,
    architecture: String,
    file: String,
    sha256: String,
    /// It was built in this run.
    is_new: bool,
}

impl PublishCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let list = match &self.list {
            Some(file) => Some(read_list(file, reporter)?),
            None => None,
        };
        let folder = &self.folder;
        std::fs::create_dir_all(folder)
            .map_err(|error| from_io(format!("making {}", folder.display()), error))?;
        let mut built = Vec::new();
        if let Some(list) = &list {
            let mut downloads = self.downloads(reporter)?;
            for entry in &list.entries {
                let file = self.build(entry, &mut downloads, reporter);
                built.extend(file.at(|| entry.place.clone())?);
            }
        }
        let images = self.images(reporter)?;
        if images.is_empty() {
            let error = Error::not_found(format!("{} has no images", folder.display()));
            return Err(error.with_hint("give a list, or put NAME-VERSION-x86-64.raw there"));
        }
        let of_list = list.and_then(|list| list.url);
        let url = self.url.clone().or(of_list);
        let mut files: BTreeMap<String, Vec<u8>> = index(&images, url.as_deref())?
            .into_iter()
            .map(|(path, text)| (path, text.into_bytes()))
            .collect();
        self.sign(&mut files, reporter)?;
        write_all(folder, &files)?;
        let image = |(image, sha256): (Image, String)| PublishedImage {
            is_new: built.contains(&image.file),
            name: image.name,
            version: image.version,
            architecture: image.architecture,
            file: image.file,
            sha256,
        };
        self.tell(
            &Published {
                folder: folder.display().to_string(),
                images: images.into_iter().map(image).collect(),
                files: files.into_keys().collect(),
            },
            reporter,
        )
    }

    #[cfg(feature = "fetch")]
    fn downloads<'a>(&'a self, reporter: &'a Reporter) -> Result<Downloads<'a>> {
        Downloads::new(&self.fetching, &self.pack, reporter)
    }

    #[cfg(not(feature = "fetch"))]
    fn downloads<'a>(&'a self, reporter: &'a Reporter) -> Result<Downloads<'a>> {
        Ok(Downloads::new(&self.pack, reporter))
    }

    /// Builds an image of the list, unless it is there; the name of its file where it was built.
    fn build(
        &self,
        entry: &Entry,
        downloads: &mut Downloads<'_>,
        reporter: &Reporter,
    ) -> Result<Option<String>> {
        reporter.cancel().check()?;
        let recipe = read(&entry.recipe, reporter)?;
        let architecture = match entry.arch.parse::<Arch>()? {
            Arch::Amd64 => "x86-64",
            Arch::Arm64 => "arm64",
        };
        let chosen: Chosen = recipe.choose(&Choice {
            version: Some(entry.version.clone()),
            versions: entry.versions.clone(),
            architecture: architecture.to_owned(),
            only: entry.only.clone(),
        })?;
        let name = entry.name.as_deref().unwrap_or(recipe.name());
        let number = chosen.number().unwrap_or(&entry.version);
        let file = Image::of(name, number, architecture).file;
        let output = self.folder.join(&file);
        if output.exists() {
            return Ok(None);
        }
        let list = self.list.as_deref().and_then(Path::parent);
        let mut files = given::files(&chosen, &entry.from, list.unwrap_or(Path::new("")))?;
        let digests = given::digests(&chosen, &files, &entry.sha256)?;
        downloads.complete(&chosen, &mut files, &digests)?;
        let build = self.pack.fill(Build::new("", name), reporter)?;
        let host = self.pack.host(reporter)?;
        let means = Means::with_inputs(reporter, temp_dir(), reporter.inputs().clone());
        let prepared = chosen.prepare(&files, build, host.as_ref(), &means)?;
        self.pack.write(&prepared, &output, &means, reporter)?;
        Ok(Some(file))
    }

    /// All images in the folder, with their SHA-256, in the order of their names.
    fn images(&self, reporter: &Reporter) -> Result<Vec<(Image, String)>> {
        let reading = |error| from_io(format!("reading {}", self.folder.display()), error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(reading)? {
            let name = entry.map_err(reading)?.file_name();
            let name = name
                .into_string()
                .map_err(|name| Error::unsupported(format!("{} is not UTF-8", name.display())))?;
            if name.ends_with(".raw") {
                names.push(name);
            }
        }
        names.sort();
        let mut images = Vec::new();
        for name in names {
            let path = self.folder.join(&name);
            let device = Arc::new(reporter.inputs().device("extension", &path)?);
            let shared: Arc<dyn BlockDevice> = device.clone();
            let image = Image::read(&name, shared).at(|| path.display().to_string())?;
            let cancel = reporter.cancel();
            let digest = sha256(&*device, &mut |_| {})?;
            cancel.check()?;
            images.push((image, digest));
        }
        Ok(images)
    }

    /// Adds the signature of the list of all digests, where one is asked for.
    #[cfg(feature = "fetch")]
    fn sign(&self, files: &mut BTreeMap<String, Vec<u8>>, reporter: &Reporter) -> Result<()> {
        use std::time::{SystemTime, UNIX_EPOCH};

        use crate::fetch::openpgp::SigningKey;

        let Some(path) = &self.signed_sums else {
            return self.refuse_old_signature();
        };
        let bytes = reporter.inputs().read("secret key", path, KEY_MAX)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let key = SigningKey::read(&bytes, now).at(|| path.display().to_string())?;
        let sums = files.get(SUMS).map(Vec::as_slice).unwrap_or_default();
        let signature = key.sign(sums)?;
        reporter.info(&format!("{SIGNATURE} is signed by {}", key.primary()));
        files.insert(SIGNATURE.to_owned(), signature);
        Ok(())
    }

    #[cfg(not(feature = "fetch"))]
    fn sign(&self, _: &mut BTreeMap<String, Vec<u8>>, _: &Reporter) -> Result<()> {
        self.refuse_old_signature()
    }

    /// A signature of another list would have machines refuse this one.
    fn refuse_old_signature(&self) -> Result<()> {
        let old = self.folder.join(SIGNATURE);
        match old.exists() {
            false => Ok(()),
            true => Err(Error::invalid(format!(
                "{} is of the list that was there, and would not fit the new one",
                old.display()
            ))
            .with_hint("sign the new one with --signed-sums KEY, or remove the signature")),
        }
    }

    fn tell(&self, published: &Published, reporter: &Reporter) -> Result<()> {
        if self.pack.json {
            return super::super::print_json(published);
        }
        let new = published.images.iter().filter(|image| image.is_new).count();
        reporter.info(&format!(
            "{}: {} images, {new} of them new, and {} files beside them",
            published.folder,
            published.images.len(),
            published.files.len()
        ));
        Ok(())
    }
}

/// Writes the files of an index, all of which appear when they are whole.
fn write_all(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut outputs = Vec::new();
    for (path, bytes) in files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)
            .map_err(|error| from_io(format!("making {}", parent.display()), error))?;
        let output = OutputFile::create(&path)?;
        let written = output.file().write_all(bytes);
        written.map_err(|error| from_io(format!("writing {}", path.display()), error))?;
        outputs.push(output);
    }
    OutputFile::commit_all(outputs)
}

/// Reads a list; recipes that it names as files lie beside it.
fn read_list(path: &Path, reporter: &Reporter) -> Result<List> {
    let text = super::text_of(path, "list of extensions", LIST_MAX, reporter)?;
    let mut list = List::parse(&text, &shown(path))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for entry in &mut list.entries {
        if entry.recipe.ends_with(".yaml") || entry.recipe.ends_with(".yml") {
            entry.recipe = shown(&folder.join(&entry.recipe));
        }
    }
    Ok(list)
}
