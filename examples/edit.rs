//! Puts one file into a partition of an image, and writes the image anew.
//!
//! `cargo run --example edit -- IMAGE FILE oem:/grub.cfg OUTPUT`

use flatbake::{Context, Error, FileSpec, Output, Place, Request, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, file, place, output] = &arguments[..] else {
        return Err(Error::invalid("edit IMAGE FILE PART:/PATH OUTPUT"));
    };
    let place: Place = place.parse()?;
    let mut request = Request::new(image);
    request.edits = request
        .edits
        .file(FileSpec::new(file, place.partition, place.path));
    request.outputs.push(Output::named(output)?);

    let context = Context::new(std::env::temp_dir());
    let written = request.prepare(&context)?.write(&context)?;
    for change in &written.report.shared.changes {
        println!("{} {}", change.partition, change.path);
    }
    written.failure.map_or(Ok(()), Err)
}
