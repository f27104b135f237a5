//! Lists a folder of a partition, and copies a file or folder out of it.
//!
//! `cargo run --example list -- IMAGE oem:/ [FILE-OR-FOLDER TARGET]`

use std::path::Path;

use flatbake::{
    ByPath, Disk, Error, ExtractOptions, FileType, FsPath, NoProgress, OpenOptions, Place, Result,
    extract,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, place, rest @ ..] = &arguments[..] else {
        return Err(Error::invalid("list IMAGE PART:/FOLDER [NAME TARGET]"));
    };
    let place: Place = place.parse()?;
    let disk = Disk::open_image(image, &OpenOptions::new(std::env::temp_dir()), &NoProgress)?;
    let fs = disk.filesystem(place.partition.into())?;
    for entry in fs.entries_at(&place.path)? {
        let path = place.path.join(&entry.name)?;
        let metadata = fs.metadata_at(&path)?;
        let mark = if metadata.file_type == FileType::Directory {
            "/"
        } else {
            ""
        };
        println!("{:06o} {:>10} {path}{mark}", metadata.mode, metadata.size);
    }
    if let [name, target] = rest {
        let from = FsPath::new(place.path.join(name)?.as_bytes())?;
        let copied = extract(&*fs, &from, Path::new(target), &ExtractOptions::default())?;
        println!("copied {} files of {} bytes", copied.files, copied.bytes);
    }
    Ok(())
}
