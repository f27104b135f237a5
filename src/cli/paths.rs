//! `PART[:/PATH]` arguments and the filesystems they name.

use std::str::FromStr;
use std::sync::Arc;

use crate::block::BlockDevice;
use crate::flatcar::{Disk, PartitionRef};
use crate::fs::{self, FileSystem, FsPath};
use crate::{Result, ResultExt};

use super::image::ImageArgs;
use super::progress::Reporter;

/// A filesystem of an image as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// That of a partition.
    Partition(PartitionRef),
    /// The image itself holds one filesystem and no partition table.
    Whole,
}

/// `PART[:/PATH]`: a partition and a path on it, `/` by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPath {
    pub part: Part,
    pub path: FsPath,
}

impl FromStr for PartPath {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (part, path) = text.split_once(':').unwrap_or((text, "/"));
        let part = match part {
            "whole" => Part::Whole,
            named => Part::Partition(named.parse()?),
        };
        Ok(Self {
            part,
            path: FsPath::new(path)?,
        })
    }
}

impl PartPath {
    /// Adds to an error the partition and the image that it happened in.
    pub fn of<T>(&self, image: &ImageArgs, result: Result<T>) -> Result<T> {
        let result = match &self.part {
            Part::Partition(partition) => result.at(|| partition.to_string()),
            Part::Whole => result,
        };
        result.at(|| image.name())
    }

    /// Opens the filesystem of the partition in the image.
    pub fn open(&self, image: &ImageArgs, reporter: &Reporter) -> Result<Box<dyn FileSystem>> {
        let name = image.name();
        let device: Arc<dyn BlockDevice> = image.open(reporter)?.device;
        match &self.part {
            Part::Whole => fs::open(device).at(|| name),
            Part::Partition(partition) => Disk::open(name, device)?.filesystem(partition.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flatcar::Designator;

    #[test]
    fn every_way_to_name_a_partition() {
        let parse = |text: &str| text.parse::<PartPath>();
        assert_eq!(
            parse("whole").unwrap(),
            PartPath {
                part: Part::Whole,
                path: FsPath::root()
            }
        );
        assert_eq!(
            parse("9:/etc").unwrap().part,
            Part::Partition(PartitionRef::Number(9))
        );
        assert_eq!(
            parse("usr:/lib").unwrap().part,
            Part::Partition(PartitionRef::Designator(Designator::Usr))
        );
        assert_eq!(
            parse("USR-B").unwrap().part,
            Part::Partition(PartitionRef::Label("USR-B".to_owned()))
        );
        for bad in ["", ":/x", "99999999999", "root:etc"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
