//! Bakes an image for every node of a fleet: what they share is done once.
//!
//! `cargo run --example fleet -- IMAGE OUTPUT-FOLDER NODE…`

use flatbake::{
    Context, Designator, Edits, Error, FileSpec, FsPath, Hostname, Output, Request, Result, Variant,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, folder, nodes @ ..] = &arguments[..] else {
        return Err(Error::invalid("fleet IMAGE OUTPUT-FOLDER NODE…"));
    };
    let mut request = Request::new(image);
    request.folder = Some(folder.into());
    request
        .outputs
        .push(Output::named(format!("{folder}/disk.qcow2"))?);
    // For all of them.
    let motd = FileSpec::inline("one of many\n", Designator::Root, FsPath::new("/etc/motd")?);
    request.edits = request.edits.file(motd);
    // For each.
    for node in nodes {
        let hostname: Hostname = node.parse()?;
        let edits = Edits {
            hostname: Some(hostname),
            ..Edits::new()
        };
        request.variants.push(Variant {
            name: node.clone(),
            edits,
            origin: None,
        });
    }

    let context = Context::new(std::env::temp_dir());
    let written = request.prepare(&context)?.write(&context)?;
    for output in &written.report.outputs {
        for file in &output.files {
            println!("{}  {}", file.sha256.as_deref().unwrap_or("-"), file.path);
        }
    }
    written.failure.map_or(Ok(()), Err)
}
