//! Writes an image in other formats, which the names of the outputs tell, all in one pass.
//!
//! `cargo run --example convert -- IMAGE OUTPUT…`

use flatbake::{
    BlockDevice, Cancel, Disk, Error, NoProgress, OpenOptions, Output, Oversight, Result, emit_all,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, outputs @ ..] = &arguments[..] else {
        return Err(Error::invalid("convert IMAGE OUTPUT…"));
    };
    let disk =
        Disk::open_image(image, &OpenOptions::new(std::env::temp_dir()), &NoProgress)?.device();
    let disk: &dyn BlockDevice = &disk;
    let jobs = outputs.iter().map(|path| {
        Ok((
            disk,
            Output {
                digest: true,
                ..Output::named(path)?
            },
        ))
    });
    let jobs = jobs.collect::<Result<Vec<_>>>()?;
    let cancel = Cancel::new();
    for result in emit_all(&jobs, &Oversight::new(&NoProgress, &cancel)) {
        for file in result?.files {
            println!(
                "{}  {}",
                file.sha256.unwrap_or_default(),
                file.path.display()
            );
        }
    }
    Ok(())
}
