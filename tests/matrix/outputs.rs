//! Every output, and who judges it.

use std::fs;
use std::path::{Path, PathBuf};

use flatbake::bake::{Output, OutputFormat};
use flatbake::image::qcow2::{Qcow2Compression, Qcow2Options, Qcow2Version};
use flatbake::image::{CompressOptions, Compression};

use crate::common::programs::{command, judge, must_run, said};
use crate::matrix::digest::Content;

/// An output that can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub name: &'static str,
    pub format: OutputFormat,
    pub qcow2: Option<Qcow2Options>,
    pub compress: Option<CompressOptions>,
    /// The arguments of `flatbake convert` that ask for it.
    pub arguments: &'static [&'static str],
}

impl Wanted {
    /// The output in `folder`.
    pub fn output(&self, folder: &Path) -> Output {
        let mut output = Output::at(folder.join("out"));
        output.format = self.format;
        output.compress = self.compress;
        output.qcow2 = self.qcow2.unwrap_or_default();
        output
    }

    /// Whether zeroes pass through a compressor too.
    pub fn packed(&self) -> bool {
        self.compress.is_some()
    }

    /// The size of the disk in the output of a disk of `size` bytes. Compressed raw disks are exact, qcow2 knows whole
    /// sectors, and the others no disk of no size.
    pub fn size(&self, size: u64) -> u64 {
        match self.format {
            OutputFormat::Raw => size,
            OutputFormat::Qcow2 => size.next_multiple_of(512),
            _ => size.max(1).next_multiple_of(512),
        }
    }

    /// QEMU's name for the format, and whether it has a check for it.
    fn qemu(&self) -> (&'static str, bool) {
        match self.format {
            OutputFormat::Raw => ("raw", false),
            OutputFormat::Qcow2 => ("qcow2", true),
            OutputFormat::VmdkFlat => ("vmdk", false),
            OutputFormat::VmdkIde | OutputFormat::VmdkScsi | OutputFormat::VmdkStream => {
                ("vmdk", true)
            }
            OutputFormat::Vhd | OutputFormat::VhdFixed => ("vpc", false),
            OutputFormat::Vhdx => ("vhdx", true),
            OutputFormat::Vdi => ("vdi", true),
            OutputFormat::Hdd => ("parallels", true),
            other => panic!("no word of QEMU for {other:?}"),
        }
    }

    /// All files of the output in `folder`.
    pub fn files(&self, folder: &Path) -> Vec<PathBuf> {
        match self.format {
            OutputFormat::VmdkFlat => vec![folder.join("out"), folder.join("out-flat.vmdk")],
            OutputFormat::Hdd => {
                let mut files: Vec<_> = fs::read_dir(folder.join("out"))
                    .unwrap()
                    .map(|e| e.unwrap().path())
                    .collect();
                files.sort();
                files
            }
            _ => vec![folder.join("out")],
        }
    }

    /// The file that programs open.
    fn image(&self, folder: &Path) -> PathBuf {
        if self.format == OutputFormat::Hdd {
            return self
                .files(folder)
                .into_iter()
                .find(|path| path.extension().is_some_and(|it| it == "hds"))
                .unwrap();
        }
        let Some(options) = self.compress else {
            return folder.join("out");
        };
        let program = match options.compression {
            Compression::Bzip2 => "bzip2",
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            _ => "zstd",
        };
        let packed = folder.join("out");
        let plain = folder.join("unpacked");
        must_run(
            "sh",
            [
                "-c",
                &format!("{program} -dc < {} > {}", packed.display(), plain.display()),
            ],
        );
        plain
    }

    /// Panics unless independent programs find the disk with this content in the output in `folder`.
    pub fn judge(&self, folder: &Path, content: &Content, what: &str) {
        let image = self.image(folder);
        let (format, checked) = self.qemu();
        let wanted = content.padded(self.size(content.size));
        // As QEMU sees a raw file there are whole sectors only; its own bytes tell more.
        if format == "raw" {
            assert!(Content::of_file(&image) == wanted, "{what}: other bytes");
            return;
        }
        let ask = |arguments: &[&str]| {
            let output = command(&judge("qemu-img").unwrap())
                .current_dir(folder)
                .args(arguments)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{what}: qemu-img {arguments:?}: {}",
                said(&output)
            );
            output.stdout
        };
        let image = image.to_str().unwrap();
        if checked {
            ask(&["check", "-q", "-f", format, image]);
        }
        // The size is in there as well: converted, a disk is as long as the guest sees it.
        ask(&["convert", "-f", format, "-O", "raw", image, "back"]);
        let back = Content::of_file(&folder.join("back"));
        assert_eq!(back.size, wanted.size, "{what}: size");
        assert!(back == wanted, "{what}: other bytes");
        if wanted.size < 64 << 20 {
            ask(&["compare", "-q", "-f", format, "-F", "raw", image, "back"]);
        }
        fs::remove_file(folder.join("back")).unwrap();
    }
}

const fn plain(
    name: &'static str,
    format: OutputFormat,
    arguments: &'static [&'static str],
) -> Wanted {
    Wanted {
        name,
        format,
        qcow2: None,
        compress: None,
        arguments,
    }
}

const fn qcow2(
    name: &'static str,
    version: Qcow2Version,
    cluster_size: u32,
    compression: Qcow2Compression,
    arguments: &'static [&'static str],
) -> Wanted {
    let options = Qcow2Options {
        version,
        cluster_size,
        compression,
    };
    Wanted {
        name,
        format: OutputFormat::Qcow2,
        qcow2: Some(options),
        compress: None,
        arguments,
    }
}

const fn packed(
    name: &'static str,
    format: OutputFormat,
    compression: Compression,
    level: u8,
    arguments: &'static [&'static str],
) -> Wanted {
    Wanted {
        name,
        format,
        qcow2: None,
        compress: Some(CompressOptions { compression, level }),
        arguments,
    }
}

/// All of them.
pub const OUTPUTS: [Wanted; 21] = [
    plain("raw", OutputFormat::Raw, &["--format", "raw"]),
    qcow2(
        "qcow2 v2",
        Qcow2Version::V2,
        65_536,
        Qcow2Compression::Deflate(6),
        &["--format", "qcow2"],
    ),
    qcow2(
        "qcow2 v3 4K",
        Qcow2Version::V3,
        4096,
        Qcow2Compression::Deflate(1),
        &[
            "--format",
            "qcow2",
            "--qcow2-version",
            "3",
            "--cluster-size",
            "4K",
            "--level",
            "1",
        ],
    ),
    qcow2(
        "qcow2 zstd",
        Qcow2Version::V3,
        65_536,
        Qcow2Compression::Zstd(2),
        &["--format", "qcow2", "--compression-type", "zstd"],
    ),
    qcow2(
        "qcow2 plain",
        Qcow2Version::V2,
        65_536,
        Qcow2Compression::None,
        &["--format", "qcow2", "--uncompressed"],
    ),
    qcow2(
        "qcow2 plain 2M",
        Qcow2Version::V3,
        2 << 20,
        Qcow2Compression::None,
        &[
            "--format",
            "qcow2",
            "--uncompressed",
            "--qcow2-version",
            "3",
            "--cluster-size",
            "2M",
        ],
    ),
    plain("vmdk_ide", OutputFormat::VmdkIde, &["--format", "vmdk_ide"]),
    plain(
        "vmdk_scsi",
        OutputFormat::VmdkScsi,
        &["--format", "vmdk_scsi"],
    ),
    plain(
        "vmdk_stream",
        OutputFormat::VmdkStream,
        &["--format", "vmdk_stream"],
    ),
    plain(
        "vmdk_flat",
        OutputFormat::VmdkFlat,
        &["--format", "vmdk_flat"],
    ),
    plain("vhd", OutputFormat::Vhd, &["--format", "vhd"]),
    plain(
        "vhd_fixed",
        OutputFormat::VhdFixed,
        &["--format", "vhd_fixed"],
    ),
    plain("vhdx", OutputFormat::Vhdx, &["--format", "vhdx"]),
    plain("vdi", OutputFormat::Vdi, &["--format", "vdi"]),
    plain("hdd", OutputFormat::Hdd, &["--format", "hdd"]),
    packed(
        "gz",
        OutputFormat::Raw,
        Compression::Gzip,
        6,
        &["--format", "raw", "--compress", "gz"],
    ),
    packed(
        "bz2",
        OutputFormat::Raw,
        Compression::Bzip2,
        9,
        &["--format", "raw", "--compress", "bz2"],
    ),
    packed(
        "xz",
        OutputFormat::Raw,
        Compression::Xz,
        6,
        &["--format", "raw", "--compress", "xz"],
    ),
    packed(
        "zst",
        OutputFormat::Raw,
        Compression::Zstd,
        3,
        &["--format", "raw", "--compress", "zst"],
    ),
    packed(
        "qcow2.gz",
        OutputFormat::Qcow2,
        Compression::Gzip,
        1,
        &["--format", "qcow2", "--compress", "gz:1"],
    ),
    packed(
        "vhd_fixed.zst",
        OutputFormat::VhdFixed,
        Compression::Zstd,
        3,
        &["--format", "vhd_fixed", "--compress", "zst"],
    ),
];
