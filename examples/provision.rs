//! What a provisioning tool does: looks into an image, bakes a file and a sysext, and writes a qcow2 and a vendor's image, with
//! its own progress, and a limit of time.
//!
//! `cargo run --example provision -- IMAGE NAME:SYSEXT OUTPUT-FOLDER SECONDS`

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flatbake::{
    ByPath, Cancel, Context, Designator, Disk, Edits, Error, FileSpec, Finding, FsPath, NoProgress,
    OpenOptions, Output, Progress, Request, Result, SysextSpec, VendorChoice, Vendors,
};

/// Counts, and prints what is found.
#[derive(Default)]
struct Counter {
    done: AtomicU64,
}

impl Progress for Counter {
    fn start(&self, step: &str, total_bytes: u64) {
        println!("{step}: {total_bytes} bytes");
    }
    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
    fn finish(&self) {}
    fn found(&self, finding: &Finding) {
        println!("{}: {finding}", finding.severity());
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, sysext, folder, seconds] = &arguments[..] else {
        return Err(Error::invalid(
            "provision IMAGE NAME:SYSEXT OUTPUT-FOLDER SECONDS",
        ));
    };
    let temp = std::env::temp_dir();
    let disk = Disk::open_image(image, &OpenOptions::new(&temp), &NoProgress)?;
    for entry in disk
        .filesystem(Designator::Oem.into())?
        .entries_at(&FsPath::root())?
    {
        println!("oem: {}", String::from_utf8_lossy(&entry.name));
    }

    let mut request = Request::new(image);
    let motd = FileSpec::inline("provisioned\n", Designator::Root, FsPath::new("/etc/motd")?);
    request.edits = Edits {
        sysexts: vec![sysext.parse::<SysextSpec>()?],
        ..Edits::new()
    }
    .file(motd);
    request.folder = Some(folder.into());
    request
        .outputs
        .push(Output::named(format!("{folder}/node.qcow2"))?);
    let vendor = Vendors::builtin().find("openstack")?.clone();
    request.vendors.chosen.push(VendorChoice {
        vendor,
        oem_sysext: None,
        origin: None,
    });
    request.vendors.no_oem = true;

    let counter = Counter::default();
    let cancel = Cancel::new();
    let limit = Duration::from_secs(
        seconds
            .parse()
            .map_err(|_| Error::invalid("SECONDS is a number"))?,
    );
    let late = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        late.cancel();
    });
    let context = Context {
        progress: &counter,
        cancel,
        ..Context::new(temp)
    };
    let written = request.prepare(&context)?.write(&context)?;
    for file in written
        .report
        .outputs
        .iter()
        .flat_map(|output| &output.files)
    {
        println!("wrote {}", file.path);
    }
    println!("{} bytes went by", counter.done.load(Ordering::Relaxed));
    written.failure.map_or(Ok(()), Err)
}
