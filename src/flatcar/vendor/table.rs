//! All vendors: those built in, and those of files that add to them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use super::Vendor;
use super::file::{MAX_LEN, VendorFile};
use super::words::Status;
use crate::bytes::to_u64;
use crate::error::{Error, Result, ResultExt};

/// How similar an id must be to be suggested, from 0 to 1.
const SIMILAR: f64 = 0.75;

macro_rules! built_in {
    ($($id:literal)*) => {
        &[$(($id, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/vendors/", $id, ".toml")))),*]
    };
}

/// The files of `vendors/`, by their names without `.toml`.
pub(super) const FILES: &[(&str, &str)] = built_in! {
    "akamai" "ami" "ami_vmdk" "azure" "brightbox" "cloudsigma" "cloudstack" "cloudstack_vhd" "digitalocean" "exoscale"
    "gce" "hetzner" "hyperv" "hyperv_vhdx" "interoute" "iso" "kubevirt" "niftycloud" "nutanix" "openstack"
    "openstack_mini" "oraclecloud" "packet" "parallels" "proxmoxve" "pxe" "qemu" "qemu_uefi" "qemu_uefi_secure"
    "rackspace" "rackspace_onmetal" "rackspace_vhd" "scaleway" "stackit" "vagrant" "vagrant_parallels"
    "vagrant_virtualbox" "vagrant_vmware_fusion" "virtualbox" "vmware" "vmware_insecure" "vmware_ova" "vmware_raw"
    "xen"
};

/// A table of vendors.
#[derive(Debug, Clone, Default)]
pub struct Vendors {
    /// In the order of their ids, each with the file it came from.
    rows: Vec<(VendorFile, Vendor)>,
}

impl Vendors {
    /// The vendors that flatbake knows without any file.
    pub fn builtin() -> &'static Self {
        static BUILT_IN: LazyLock<Vendors> = LazyLock::new(|| {
            Vendors::of_files(FILES).expect("tests read all built-in vendor files")
        });
        &BUILT_IN
    }

    /// Reads files with their names; aliases may stand before what they stand for.
    pub(super) fn of_files(files: &[(&str, &str)]) -> Result<Self> {
        let mut vendors = Self::default();
        for aliases in [false, true] {
            for (name, text) in files {
                if (VendorFile::parse(text, name)?.status == Status::Alias) == aliases {
                    vendors.add(text, name)?;
                }
            }
        }
        Ok(vendors)
    }

    /// Reads a vendor file and adds it, or puts it in the place of the vendor with the same id; `name` is what errors
    /// call the file.
    ///
    /// # Errors
    /// Whatever is wrong with the file.
    pub fn add(&mut self, text: &str, name: &str) -> Result<&Vendor> {
        let file = VendorFile::parse(text, name)?;
        let row = (file.clone(), self.complete(file).at(|| name)?);
        let at = match self
            .rows
            .binary_search_by(|(_, vendor)| vendor.id.as_str().cmp(row.1.id.as_str()))
        {
            Ok(at) => {
                self.rows[at] = row;
                at
            }
            Err(at) => {
                self.rows.insert(at, row);
                at
            }
        };
        Ok(&self.rows[at].1)
    }

    /// Adds the vendor of the file at `path`, as [`Self::add`] does.
    ///
    /// # Errors
    /// The file cannot be read, is no text, or whatever is wrong with it.
    pub fn add_file(&mut self, path: &Path) -> Result<&Vendor> {
        let name = path.display().to_string();
        let reading = |error| Error::io(format!("reading {name}"), error);
        let mut bytes = Vec::new();
        // One byte more than allowed is enough to see that a file is too long.
        let limit = to_u64(MAX_LEN) + 1;
        File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(reading)?;
        let text = String::from_utf8(bytes);
        let text =
            text.map_err(|_| Error::invalid("a vendor file must be UTF-8 text").at(name.as_str()))?;
        self.add(&text, &name)
    }

    /// The file of a built-in vendor as it is written, to start a file of one's own from.
    pub fn builtin_file(id: &str) -> Option<&'static str> {
        FILES
            .iter()
            .find(|(name, _)| *name == id)
            .map(|(_, text)| *text)
    }

    /// Reads a vendor file without adding it.
    pub(super) fn parse(&self, text: &str, name: &str) -> Result<Vendor> {
        self.complete(VendorFile::parse(text, name)?).at(|| name)
    }

    fn complete(&self, file: VendorFile) -> Result<Vendor> {
        let Some(target) = &file.alias_of else {
            return Vendor::of_file(file, None);
        };
        let target = self.row(target.as_str())?;
        if target.0.alias_of.is_some() || target.1.status == Status::Refused {
            return Err(Error::invalid(format!(
                "alias_of is {}, which is no vendor of its own",
                target.1.id
            )));
        }
        Vendor::of_file(file, Some(&target.0))
    }

    /// All vendors in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Vendor> {
        self.rows.iter().map(|(_, vendor)| vendor)
    }

    /// The vendor with this id; an alias counts as one.
    ///
    /// # Errors
    /// There is none ([`crate::ErrorKind::NotFound`]; the hint has similar ids).
    pub fn find(&self, id: &str) -> Result<&Vendor> {
        self.row(id).map(|(_, vendor)| vendor)
    }

    fn row(&self, id: &str) -> Result<&(VendorFile, Vendor)> {
        let found = self
            .rows
            .binary_search_by(|(_, vendor)| vendor.id.as_str().cmp(id));
        found.map(|at| &self.rows[at]).map_err(|_| {
            Error::not_found(format!("there is no vendor '{}'", id.escape_debug()))
                .with_hint(self.suggestion(id))
        })
    }

    /// What may have been meant by `id`.
    fn suggestion(&self, id: &str) -> String {
        let spelt = id.to_ascii_lowercase().replace('-', "_");
        let score = |vendor: &Vendor| {
            let words = vendor.keywords.iter().chain([&vendor.id]);
            words
                .map(|word| strsim::jaro_winkler(word.as_str(), &spelt))
                .fold(0.0, f64::max)
        };
        let mut similar: Vec<_> = self
            .iter()
            .map(|vendor| (score(vendor), vendor.id.as_str()))
            .collect();
        similar.retain(|(score, _)| *score >= SIMILAR);
        similar.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let ids: Vec<&str> = similar.into_iter().take(3).map(|(_, id)| id).collect();
        if ids.is_empty() {
            return "flatbake vendors lists all; --vendor-file adds one".to_owned();
        }
        format!(
            "did you mean {}? flatbake vendors lists all",
            ids.join(" or ")
        )
    }
}
