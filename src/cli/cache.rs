//! `flatbake cache`

use std::path::PathBuf;

use crate::bytes::ByteSize;
use crate::fetch::store::{Store, Stored};
use crate::image::{CachedDisk, cached_disks};
use crate::{Error, ErrorKind, Result};
use clap::{Args, Subcommand, ValueHint};
use serde::Serialize;

use super::fetch_args::{cache_of, shared_cache};
use super::progress::Reporter;
use super::table::table;

/// List, check and empty the folder of what was fetched and decompressed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake cache ls
  flatbake cache verify
  flatbake cache verify --shared-cache target
  flatbake cache gc --max-size 10G")]
pub struct CacheCommand {
    #[command(subcommand)]
    action: Action,
    /// The folder [default: flatbake below XDG_CACHE_HOME or ~/.cache]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    cache_dir: Option<PathBuf>,
    /// List and check what is in this cache, too; it is only read, and never written
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    shared_cache: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what is there
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hold every fetched file against its digest
    Verify,
    /// Remove decompressed disks, then the files that were not used for the longest time, until no more than SIZE is left
    Gc {
        /// So much may stay
        #[arg(long, value_name = "SIZE", value_parser = super::argument::<ByteSize>)]
        max_size: ByteSize,
    },
    /// Remove everything
    Clear,
}

#[derive(Serialize)]
struct Document {
    files: Vec<Stored>,
    /// What the shared cache has.
    shared: Vec<Stored>,
    disks: Vec<CachedDisk>,
}

impl CacheCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let folder = cache_of(self.cache_dir.as_deref())?;
        let shared = shared_cache(self.shared_cache.as_deref(), reporter)?;
        let store = Store::new(&folder, shared.as_deref());
        match &self.action {
            Action::Ls { json } => {
                let document = Document {
                    files: store.list()?,
                    shared: store
                        .shared()
                        .map_or(Ok(Vec::new()), |shared| shared.list())?,
                    disks: cached_disks(&folder)?,
                };
                if *json {
                    return super::print_json(&document);
                }
                super::print(document.table())
            }
            Action::Verify => verify(&store, reporter),
            Action::Gc { max_size } => gc(&store, max_size.0, reporter),
            Action::Clear => gc(&store, 0, reporter),
        }
    }
}

impl Document {
    fn table(&self) -> String {
        let row = |file: &Stored, kind: &str| {
            vec![
                ByteSize(file.bytes).to_string(),
                kind.to_owned(),
                file.name.clone(),
            ]
        };
        let files = self.files.iter().map(|file| row(file, "file"));
        let shared = self.shared.iter().map(|file| row(file, "shared"));
        let disks = self.disks.iter().map(|disk| {
            vec![
                ByteSize(disk.bytes).to_string(),
                "disk".to_owned(),
                format!("of the image with the SHA-256 {}", disk.sha256),
            ]
        });
        table(&files.chain(shared).chain(disks).collect::<Vec<_>>(), &[0])
    }
}

fn verify(store: &Store, reporter: &Reporter) -> Result<()> {
    let mut damaged = store.verify(reporter.cancel())?;
    if let Some(shared) = store.shared() {
        damaged.extend(shared.verify(reporter.cancel())?);
    }
    for damage in &damaged {
        reporter.info(&format!("{}: {}", damage.name, damage.problem));
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Findings,
        format!("{} files of the cache are damaged", damaged.len()),
    )
    .with_hint("they are fetched again when they are needed; flatbake cache clear removes all"))
}

fn gc(store: &Store, max_bytes: u64, reporter: &Reporter) -> Result<()> {
    let files: u64 = store.list()?.iter().map(|file| file.bytes).sum();
    let disks = cached_disks(store.folder())?;
    let mut total = files.saturating_add(disks.iter().map(|disk| disk.bytes).sum());
    let before = total;
    for disk in disks {
        if total > max_bytes {
            disk.remove()?;
            total -= disk.bytes;
        }
    }
    let left = max_bytes.saturating_sub(total - files.min(total));
    let gone = store.gc(left)?;
    let gone = (before - total).saturating_add(gone);
    reporter.info(&format!("removed {}", ByteSize(gone)));
    Ok(())
}
