//! A second opinion on what is written: other people's readers.

use std::fs::{self, File};
use std::io::Read;

use flatbake::NoProgress;
use flatbake::bake::emit;
use flatbake::block::FileDevice;

use crate::common::scratch_dir;
use crate::matrix::disks::Kind;
use crate::matrix::outputs::OUTPUTS;

fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn other_readers_read_what_is_written() {
    for kind in [Kind::Empty, Kind::Tiny, Kind::Odd, Kind::Noise] {
        let dir = scratch_dir();
        let raw = dir.path().join("disk.raw");
        kind.write(&raw, kind.size());
        let mut wanted = fs::read(&raw).unwrap();
        wanted.resize(wanted.len().next_multiple_of(512), 0);
        const READ: [&str; 6] = [
            "vmdk_ide",
            "vmdk_scsi",
            "vmdk_stream",
            "vhd",
            "vhd_fixed",
            "vhdx",
        ];
        for output in OUTPUTS.iter().filter(|output| READ.contains(&output.name)) {
            emit(
                &FileDevice::open(&raw).unwrap(),
                &output.output(dir.path()),
                &NoProgress,
            )
            .unwrap();
            let path = dir.path().join("out");
            let theirs = match output.name {
                "vhd" | "vhd_fixed" => all(vhd::VhdReader::open(&path).unwrap()),
                "vhdx" => all(vhdx::VhdxReader::open(&path).unwrap()),
                _ => all(vmdk::VmdkReader::open(File::open(&path).unwrap()).unwrap()),
            };
            assert!(
                theirs == wanted,
                "{kind:?} to {}: {} and {} bytes",
                output.name,
                theirs.len(),
                wanted.len()
            );
        }
    }
}
