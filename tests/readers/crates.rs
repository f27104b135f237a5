//! A second opinion that needs no program: other people's readers of the same files.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::readers::support::try_open;

fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn other_readers_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/images");
    // vhdx-core does not give what qemu-img makes of a log, so that one is left to qemu-img.
    for name in [
        "sparse.vmdk",
        "stream.vmdk",
        "dynamic.vhd",
        "fixed.vhd",
        "dynamic.vhdx",
    ] {
        let packed = File::open(kept.join(format!("{name}.zst"))).unwrap();
        let path = dir.path().join(name);
        fs::write(
            &path,
            all(ruzstd::decoding::StreamingDecoder::new(packed).unwrap()),
        )
        .unwrap();
        let theirs = match path.extension().and_then(|extension| extension.to_str()) {
            Some("vmdk") => all(vmdk::VmdkReader::open(File::open(&path).unwrap()).unwrap()),
            Some("vhd") => all(vhd::VhdReader::open(&path).unwrap()),
            _ => all(vhdx::VhdxReader::open(&path).unwrap()),
        };
        let device = try_open(&path).unwrap().device;
        let mut ours = vec![1; usize::try_from(device.size()).unwrap()];
        device.read_at(0, &mut ours).unwrap();
        assert!(
            ours == theirs,
            "{name}: {} and {} bytes",
            ours.len(),
            theirs.len()
        );
    }
}
