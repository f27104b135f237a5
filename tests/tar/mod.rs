//! Archives by GNU tar and by hand, unpacked into filesystems and compared with what tar makes of them.

mod attributes;
mod damage;
mod fat;
mod gnu;
mod layers;
pub mod maker;
mod model;
mod paths;
mod scale;
mod sparse;

use flatbake::archive::{TarOptions, TarSummary, inject};
use flatbake::fs::FsPath;
use flatbake::{NoProgress, Result};

use self::model::Model;

fn path(text: &str) -> FsPath {
    FsPath::new(text).unwrap()
}

/// Unpacks into a filesystem.
fn unpack_to(
    fs: &mut Model,
    archive: &[u8],
    dest: &str,
    options: &TarOptions,
) -> Result<TarSummary> {
    inject(fs, archive, &path(dest), options, &NoProgress)
}

fn unpack(archive: &[u8], options: &TarOptions) -> Result<Model> {
    let mut fs = Model::new();
    unpack_to(&mut fs, archive, "/", options)?;
    Ok(fs)
}

/// The paths in a filesystem, with `-> target` or `= content` behind them where they are short.
fn listing(fs: &Model) -> Vec<String> {
    use flatbake::fs::FileType;
    let line = |(path, node): (Vec<u8>, &model::Node)| {
        let path = String::from_utf8_lossy(&path).into_owned();
        let bytes = String::from_utf8_lossy(&node.bytes).into_owned();
        match node.metadata.file_type {
            FileType::Symlink => format!("{path} -> {bytes}"),
            FileType::File => format!("{path} = {bytes}"),
            FileType::Directory => format!("{path}/"),
            _ => path,
        }
    };
    fs.all().into_iter().map(line).collect()
}
