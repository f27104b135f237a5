//! What it takes to write a result.

use super::super::prepare::{Prepared, PreparedImage, Target};
use super::{Output, compress_memory};
use crate::bytes::to_u64;
use crate::flatcar::vendor::{DiskFormat, Settings};
use crate::image::{CompressOptions, Compression, OutputFormat};
use crate::machine::BundleFormat;

/// Steps over about as many bytes as the disk has: packing USR, the initrd, its digest.
const PXE_STEPS: u64 = 3;
/// One more writes the image.
const ISO_STEPS: u64 = 4;

impl Prepared {
    /// The work that a result declares, counted as [`Output::work`] does.
    pub(super) fn work(&self, image: &PreparedImage) -> u64 {
        let bytes = image.disk_bytes;
        match (&image.target, &image.settings) {
            (Target::Plain(outputs), _) => {
                let digest = self.request.needs_digests();
                let work = |output: &Output| {
                    Output {
                        digest: digest || output.digest,
                        ..output.clone()
                    }
                    .work(bytes)
                };
                outputs.iter().map(work).sum()
            }
            (_, Some(settings)) => vendor_work(settings, self.request.vendors.compress, bytes),
            (_, None) => 0,
        }
    }

    /// Memory that writing a result takes: that of its largest output.
    pub(super) fn memory(&self, image: &PreparedImage) -> u64 {
        let gzip = compress_memory(Compression::Gzip, to_u64(rayon::current_num_threads()));
        match (&image.target, &image.settings) {
            (Target::Plain(outputs), _) => outputs.iter().map(Output::memory).max().unwrap_or(0),
            (_, Some(settings)) => match settings.disk_format.output() {
                Some(format) => {
                    let loose = output(format, self.request.vendors.compress).memory();
                    loose.max(settings.bundle_format.map_or(0, |_| gzip))
                }
                None => gzip,
            },
            (_, None) => 0,
        }
    }
}

fn vendor_work(settings: &Settings, compress: Option<CompressOptions>, bytes: u64) -> u64 {
    let Some(format) = settings.disk_format.output() else {
        let steps = if settings.disk_format == DiskFormat::Iso {
            ISO_STEPS
        } else {
            PXE_STEPS
        };
        return bytes.saturating_mul(steps);
    };
    let loose = output(format, compress.filter(|_| settings.loose_files)).work(bytes);
    match settings.bundle_format {
        None => loose,
        Some(bundle) => {
            let disk = if bundle == BundleFormat::Gce {
                0
            } else {
                bytes
            };
            let beside = match (settings.loose_files, compress) {
                (false, _) => 0,
                (true, None) => bytes,
                (true, Some(_)) => loose,
            };
            let pack_and_hash = to_u64(packing_steps(bundle) + 1).saturating_mul(bytes);
            disk.saturating_add(pack_and_hash).saturating_add(beside)
        }
    }
}

/// Steps that pack a bundle: Google's looks for holes first, an OVA's disk is hashed for its manifest.
pub(super) fn packing_steps(bundle: BundleFormat) -> usize {
    match bundle {
        BundleFormat::Gce | BundleFormat::Ova => 2,
        BundleFormat::Box | BundleFormat::PvmTgz => 1,
    }
}

fn output(format: OutputFormat, compress: Option<CompressOptions>) -> Output {
    Output {
        format,
        compress,
        digest: true,
        ..Output::at("")
    }
}
