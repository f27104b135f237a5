//! Variants of every format that can be read, made by the programs that people have.

use std::fs;
use std::path::{Path, PathBuf};

use flatbake::image::{Compression, Format};

use crate::common::programs::{command, judge, success};
use crate::matrix::disks::Kind;

/// How an image is made from `disk.raw`.
#[derive(Clone, Copy, Debug)]
enum Make {
    /// The disk itself.
    Itself,
    /// `qemu-img convert -O FORMAT -o OPTIONS`, and `-c` where they are to be compressed.
    Qemu {
        format: &'static str,
        options: &'static str,
        packed: bool,
    },
    /// A qcow2 of what differs from another image.
    Chain,
    /// `PROGRAM -c` over the disk.
    Pack { program: &'static str },
    /// `gzip -c` over a compressed qcow2.
    PackedQcow2,
}

/// A variant of a format.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub name: &'static str,
    pub format: Format,
    pub compression: Option<Compression>,
    make: Make,
}

impl Variant {
    /// Whether all zeroes of the disk are in the file, or go through a decompressor.
    pub fn packed(&self) -> bool {
        self.compression.is_some()
    }

    /// The size of the disk in it, made from a raw one of `size` bytes: QEMU's disks are whole sectors.
    pub fn size(&self, size: u64) -> u64 {
        match self.make {
            Make::Itself | Make::Pack { .. } => size,
            _ => size.next_multiple_of(512),
        }
    }

    /// The raw size that its disk is made from.
    pub fn raw_size(&self, kind: Kind) -> u64 {
        if self.packed() {
            kind.packed_size()
        } else {
            kind.size()
        }
    }

    /// Makes the image in `folder`, where `disk.raw` lies. Names in images are relative to it.
    pub fn image(&self, folder: &Path) -> PathBuf {
        let run = |program: &str, arguments: &[&str]| {
            success(
                command(&judge(program).unwrap())
                    .current_dir(folder)
                    .args(arguments),
            );
        };
        let convert = |format: &str, options: &str, packed: bool, rest: &[&str]| {
            let mut arguments = vec!["convert", "-O", format];
            arguments.extend(packed.then_some("-c"));
            if !options.is_empty() {
                arguments.extend(["-o", options]);
            }
            run("qemu-img", &[&arguments, rest].concat());
        };
        let disk = folder.join("disk.raw");
        match self.make {
            Make::Itself => fs::hard_link(&disk, folder.join("image")).unwrap(),
            Make::Qemu {
                format,
                options,
                packed,
            } => {
                convert(format, options, packed, &["-f", "raw", "disk.raw", "image"]);
            }
            Make::Chain => {
                let size = fs::metadata(&disk).unwrap().len();
                // The base has the first half of the disk; what follows is in the image over the two.
                let half = size / 2 / 512 * 512;
                let view =
                    format!("driver=raw,size={half},file.driver=file,file.filename=disk.raw");
                run(
                    "qemu-img",
                    &["convert", "-O", "qcow2", "--image-opts", &view, "base"],
                );
                let size = size.next_multiple_of(512).to_string();
                run(
                    "qemu-img",
                    &[
                        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", "middle", &size,
                    ],
                );
                let over = [
                    "-f", "raw", "-B", "middle", "-F", "qcow2", "disk.raw", "image",
                ];
                convert("qcow2", "cluster_size=4k", false, &over);
            }
            Make::Pack { program } => {
                run("sh", &["-c", &format!("{program} -c < disk.raw > image")])
            }
            Make::PackedQcow2 => {
                convert("qcow2", "", true, &["-f", "raw", "disk.raw", "inner"]);
                run("sh", &["-c", "gzip -1 < inner > image && rm inner"]);
            }
        }
        folder.join("image")
    }
}

const fn qemu(
    name: &'static str,
    format: Format,
    qemu: &'static str,
    options: &'static str,
) -> Variant {
    Variant {
        name,
        format,
        compression: None,
        make: Make::Qemu {
            format: qemu,
            options,
            packed: false,
        },
    }
}

const fn qcow2(name: &'static str, options: &'static str) -> Variant {
    qemu(name, Format::Qcow2, "qcow2", options)
}

const fn packed_qcow2(name: &'static str, options: &'static str) -> Variant {
    let make = Make::Qemu {
        format: "qcow2",
        options,
        packed: true,
    };
    Variant {
        name,
        format: Format::Qcow2,
        compression: None,
        make,
    }
}

const fn vmdk(name: &'static str, options: &'static str) -> Variant {
    qemu(name, Format::Vmdk, "vmdk", options)
}

const fn packed(name: &'static str, compression: Compression, program: &'static str) -> Variant {
    Variant {
        name,
        format: Format::Raw,
        compression: Some(compression),
        make: Make::Pack { program },
    }
}

/// All of them; the first one is a plain raw disk.
pub const VARIANTS: [Variant; 34] = [
    Variant {
        name: "raw",
        format: Format::Raw,
        compression: None,
        make: Make::Itself,
    },
    qcow2("qcow2 v2", "compat=0.10"),
    qcow2("qcow2 v3", "compat=1.1"),
    packed_qcow2("qcow2 v2 zlib", "compat=0.10"),
    packed_qcow2("qcow2 v3 zlib", "compat=1.1"),
    packed_qcow2("qcow2 zstd", "compression_type=zstd"),
    packed_qcow2("qcow2 zlib 512", "cluster_size=512"),
    qcow2("qcow2 4K", "cluster_size=4k"),
    packed_qcow2("qcow2 zlib 4K", "cluster_size=4k"),
    packed_qcow2("qcow2 zstd 4K", "cluster_size=4k,compression_type=zstd"),
    qcow2("qcow2 2M", "cluster_size=2M"),
    packed_qcow2("qcow2 zlib 2M", "cluster_size=2M"),
    packed_qcow2("qcow2 zstd 2M", "cluster_size=2M,compression_type=zstd"),
    qcow2("qcow2 extended", "extended_l2=on"),
    packed_qcow2(
        "qcow2 extended zstd 16K",
        "extended_l2=on,cluster_size=16k,compression_type=zstd",
    ),
    qcow2("qcow2 data file", "data_file=data"),
    qcow2("qcow2 raw data file", "data_file=data,data_file_raw=on"),
    Variant {
        name: "qcow2 chain",
        format: Format::Qcow2,
        compression: None,
        make: Make::Chain,
    },
    vmdk("vmdk sparse", "subformat=monolithicSparse"),
    vmdk("vmdk stream", "subformat=streamOptimized"),
    vmdk("vmdk flat", "subformat=monolithicFlat"),
    vmdk("vmdk 2 GB sparse", "subformat=twoGbMaxExtentSparse"),
    vmdk("vmdk 2 GB flat", "subformat=twoGbMaxExtentFlat"),
    qemu(
        "vhd dynamic",
        Format::Vhd,
        "vpc",
        "subformat=dynamic,force_size=on",
    ),
    qemu(
        "vhd fixed",
        Format::Vhd,
        "vpc",
        "subformat=fixed,force_size=on",
    ),
    qemu("vhdx dynamic", Format::Vhdx, "vhdx", "subformat=dynamic"),
    qemu("vhdx fixed", Format::Vhdx, "vhdx", "subformat=fixed"),
    qemu("vdi", Format::Vdi, "vdi", ""),
    qemu("vdi static", Format::Vdi, "vdi", "static=on"),
    qemu("parallels", Format::Parallels, "parallels", ""),
    packed("raw.bz2", Compression::Bzip2, "bzip2"),
    packed("raw.gz", Compression::Gzip, "gzip"),
    packed("raw.zst", Compression::Zstd, "zstd"),
    packed("raw.xz", Compression::Xz, "xz -1"),
];

/// A qcow2 within gzip.
pub const PACKED_QCOW2: Variant = Variant {
    name: "qcow2.gz",
    format: Format::Qcow2,
    compression: Some(Compression::Gzip),
    make: Make::PackedQcow2,
};
