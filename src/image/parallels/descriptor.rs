//! `DiskDescriptor.xml`: the disk's size and which file holds it.

use super::header::{HEADS, SECTORS_PER_TRACK};
use crate::bytes::Guid;
use crate::error::{Error, Result};

/// The snapshot that stands for the disk's present state, by which the image file is named, too.
const TOP_SNAPSHOT: &str = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";

const NO_PARENT: Guid = Guid::ZERO;

/// Sectors in a cluster of the image.
const CLUSTER_SECTORS: u32 = 2048;

/// Names and numbers of a Parallels disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// `NAME.hdd`, the folder's name.
    pub name: String,
    /// The disk's size in sectors of 512 bytes.
    pub sectors: u64,
    /// The disk's own identifier.
    pub uid: Guid,
}

impl Descriptor {
    /// The file name of the descriptor in the folder.
    pub const FILE_NAME: &'static str = "DiskDescriptor.xml";

    /// The file name of the image in the folder called `name`.
    pub fn image_name(name: &str) -> String {
        format!("{name}.0.{TOP_SNAPSHOT}.hds")
    }

    /// The text of the descriptor.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidInput`] for a name with characters that XML gives a meaning.
    pub fn to_xml(&self) -> Result<String> {
        if self.name.contains(['<', '>', '&', '"', '\'']) || self.name.contains(char::is_control) {
            return Err(Error::invalid(format!(
                "'{}' cannot name a Parallels disk",
                self.name.escape_debug()
            ))
            .with_hint("use letters, digits, dots, dashes and underscores"));
        }
        let cylinders = self.sectors / u64::from(HEADS * SECTORS_PER_TRACK);
        let sectors = self.sectors;
        let uid = self.uid;
        let image = Self::image_name(&self.name);
        Ok(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<Parallels_disk_image Version=\"1.0\">
    <Disk_Parameters>
        <Disk_size>{sectors}</Disk_size>
        <Cylinders>{cylinders}</Cylinders>
        <Heads>{HEADS}</Heads>
        <Sectors>{SECTORS_PER_TRACK}</Sectors>
        <Padding>0</Padding>
        <Encryption>
            <Engine>{{{NO_PARENT}}}</Engine>
            <Data></Data>
        </Encryption>
        <UID>{{{uid}}}</UID>
        <Name>{}</Name>
        <Miscellaneous>
            <CompatLevel>level2</CompatLevel>
            <Bootable>1</Bootable>
            <SuspendState>0</SuspendState>
        </Miscellaneous>
    </Disk_Parameters>
    <StorageData>
        <Storage>
            <Start>0</Start>
            <End>{sectors}</End>
            <Blocksize>{CLUSTER_SECTORS}</Blocksize>
            <Image>
                <GUID>{TOP_SNAPSHOT}</GUID>
                <Type>Compressed</Type>
                <File>{image}</File>
            </Image>
        </Storage>
    </StorageData>
    <Snapshots>
        <Shot>
            <GUID>{TOP_SNAPSHOT}</GUID>
            <ParentGUID>{{{NO_PARENT}}}</ParentGUID>
        </Shot>
    </Snapshots>
</Parallels_disk_image>
",
            self.name
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_names_the_image_and_odd_names_are_refused() {
        let mut descriptor = Descriptor {
            name: "node.hdd".to_owned(),
            sectors: 17_821_696,
            uid: Guid::ZERO,
        };
        let xml = descriptor.to_xml().unwrap();
        assert!(
            xml.contains("<File>node.hdd.0.{5fbaabe3-6958-40ff-92a7-860e329aab41}.hds</File>"),
            "{xml}"
        );
        assert!(
            xml.contains("<Cylinders>34808</Cylinders>") && xml.contains("<End>17821696</End>"),
            "{xml}"
        );
        descriptor.name = "a&b.hdd".to_owned();
        assert_eq!(
            descriptor.to_xml().unwrap_err().kind(),
            crate::ErrorKind::InvalidInput
        );
    }
}
