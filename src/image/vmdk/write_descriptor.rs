//! The descriptor: a text that tells what the disk is and where its bytes are.

use super::Adapter;
use crate::error::{Error, Result};
use crate::image::Identity;
use crate::image::identity::Fingerprint;

/// Cylinders of a geometry are told up to here.
const MAX_CYLINDERS: u64 = 65_535;

/// Sectors of a track in the geometry.
const SECTORS_PER_TRACK: u64 = 63;

/// `ddb.toolsVersion` of guests that bring open-vm-tools: VMware does not offer to update them.
const TOOLS_VERSION: u32 = 2_147_483_647;

/// What a descriptor tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptor<'a> {
    /// `createType`, such as `monolithicSparse`.
    pub create_type: &'a str,
    /// Size of the disk in sectors.
    pub sectors: u64,
    /// How the extent is kept: `SPARSE` or `FLAT`.
    pub extent_type: &'a str,
    /// The file that holds the extent.
    pub extent_name: &'a str,
    pub adapter: Adapter,
}

/// Refuses a file name that would not survive inside of quotes in a line.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.contains('"') || name.contains(char::is_control) || name.len() > 1000 {
        return Err(Error::invalid(format!(
            "'{}' cannot name the extent of a vmdk",
            name.escape_debug()
        ))
        .with_hint("use letters, digits, dots, dashes and underscores"));
    }
    Ok(())
}

impl Descriptor<'_> {
    /// The text; `fingerprint` and `identity` make the content's identifiers.
    pub fn text(&self, fingerprint: Fingerprint, identity: &Identity) -> String {
        let [a, b, c, content_id] = identity.words(fingerprint, "VMDK");
        // All ones means "no parent", and the number below it "only zeroes".
        let content_id = content_id & 0x7fff_ffff;
        let (adapter, heads) = match self.adapter {
            Adapter::Ide => ("ide", 16),
            Adapter::Lsilogic => ("lsilogic", 255),
        };
        let cylinders = self
            .sectors
            .div_ceil(heads * SECTORS_PER_TRACK)
            .min(MAX_CYLINDERS);
        let Self {
            create_type,
            sectors,
            extent_type,
            extent_name,
            ..
        } = self;
        // A flat extent begins somewhere in its file.
        let extent_offset = if *extent_type == "FLAT" { " 0" } else { "" };
        format!(
            "# Disk DescriptorFile
version=1
encoding=\"UTF-8\"
CID={content_id:08x}
parentCID=ffffffff
createType=\"{create_type}\"

# Extent description
RW {sectors} {extent_type} \"{extent_name}\"{extent_offset}

# The Disk Data Base
#DDB

ddb.longContentID = \"{a:08x}{b:08x}{c:08x}{content_id:08x}\"
ddb.virtualHWVersion = \"4\"
ddb.geometry.cylinders = \"{cylinders}\"
ddb.geometry.heads = \"{heads}\"
ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"
ddb.adapterType = \"{adapter}\"
ddb.toolsVersion = \"{TOOLS_VERSION}\"
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_geometry_and_identifiers_are_told() {
        let mut descriptor = Descriptor {
            create_type: "monolithicFlat",
            sectors: 20_480,
            extent_type: "FLAT",
            extent_name: "disk-flat.vmdk",
            adapter: Adapter::Ide,
        };
        let text = descriptor.text(Fingerprint::default(), &Identity::default());
        for line in [
            "RW 20480 FLAT \"disk-flat.vmdk\" 0\n",
            "ddb.geometry.cylinders = \"21\"\n",
            "ddb.adapterType = \"ide\"\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        descriptor.sectors = 1 << 40;
        assert!(
            descriptor
                .text(Fingerprint::default(), &Identity::default())
                .contains("cylinders = \"65535\"")
        );
        for name in ["a\"b", "a\nb", &"x".repeat(1001)] {
            assert_eq!(
                check_name(name).unwrap_err().kind(),
                crate::ErrorKind::InvalidInput
            );
        }
        check_name("flatcar node ü.vmdk").unwrap();
    }
}
