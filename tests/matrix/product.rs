//! Which conversions are tried. For every kind of disk: every variant to one output, the raw disk to every output, and a
//! sample of the rest, the same on every run; with `FLATBAKE_LONG` above 1 all of them.

use crate::common::longer;
use crate::common::programs::judges;
use crate::matrix::disks::Kind;
use crate::matrix::outputs::{OUTPUTS, Wanted};
use crate::matrix::run::Source;
use crate::matrix::variants::{PACKED_QCOW2, VARIANTS, Variant};

/// One of so many of the rest is tried.
const SAMPLE: usize = 40;

fn programs() -> bool {
    judges(&["qemu-img", "bzip2", "gzip", "xz", "zstd"])
}

/// Whether a variant is converted to an output: another one for every variant and kind, and some by lot.
fn chosen(kind: Kind, variant: usize, output: usize) -> bool {
    let kind = kind as usize;
    let lot = (variant * 31 + output * 17 + kind * 7).is_multiple_of(SAMPLE);
    (variant * 5 + kind * 3) % OUTPUTS.len() == output || lot || longer(1) > 1
}

/// 8 GiB take long where every zero is looked at: by QEMU in a VHDX, by any program in a compressed file.
fn slow(kind: Kind, variant: &Variant, wanted: &Wanted) -> bool {
    let all_zeroes = wanted.packed() || wanted.name == "vhdx";
    kind == Kind::Sparse && all_zeroes && !variant.packed() && longer(1) == 1
}

fn every_variant(kind: Kind) {
    if !programs() {
        return;
    }
    for (number, variant) in VARIANTS.iter().chain([&PACKED_QCOW2]).enumerate() {
        let source = Source::new(kind, variant);
        let chosen = OUTPUTS
            .iter()
            .enumerate()
            .filter(|(output, _)| chosen(kind, number, *output));
        for (_, wanted) in chosen.filter(|(_, wanted)| !slow(kind, variant, wanted)) {
            source.converts_to(wanted);
        }
    }
}

fn every_output(kind: Kind) {
    if !programs() {
        return;
    }
    let whole = Source::new(kind, &VARIANTS[0]);
    let packed = Source::of_size(kind, &VARIANTS[0], kind.packed_size());
    for wanted in &OUTPUTS {
        (if wanted.packed() { &packed } else { &whole }).converts_the_same_each_time(wanted);
    }
}

#[test]
fn every_variant_of_an_empty_disk() {
    every_variant(Kind::Empty);
}

#[test]
fn every_variant_of_a_tiny_disk() {
    every_variant(Kind::Tiny);
}

#[test]
fn every_variant_of_an_odd_disk() {
    every_variant(Kind::Odd);
}

#[test]
fn every_variant_of_a_sparse_disk() {
    every_variant(Kind::Sparse);
}

#[test]
fn every_variant_of_an_incompressible_disk() {
    every_variant(Kind::Noise);
}

#[test]
fn an_empty_disk_to_every_output() {
    every_output(Kind::Empty);
}

#[test]
fn a_tiny_disk_to_every_output() {
    every_output(Kind::Tiny);
}

#[test]
fn an_odd_disk_to_every_output() {
    every_output(Kind::Odd);
}

#[test]
fn a_sparse_disk_to_every_output() {
    every_output(Kind::Sparse);
}

#[test]
fn an_incompressible_disk_to_every_output() {
    every_output(Kind::Noise);
}

/// QEMU makes images of no size; as a raw file that is no disk, as it says nothing.
#[test]
fn a_disk_of_no_size_to_every_output() {
    if !programs() {
        return;
    }
    for variant in VARIANTS
        .iter()
        .filter(|variant| ["qcow2 v3", "vdi"].contains(&variant.name))
    {
        let source = Source::of_size(Kind::Empty, variant, 0);
        OUTPUTS.iter().for_each(|wanted| source.converts_to(wanted));
    }
}

#[test]
fn the_command_line_writes_the_same() {
    if !programs() {
        return;
    }
    for (variant, threads) in [("qcow2 data file", "1"), ("raw.xz", "3")] {
        let variant = VARIANTS.iter().find(|known| known.name == variant).unwrap();
        let source = Source::new(Kind::Odd, variant);
        OUTPUTS
            .iter()
            .for_each(|wanted| source.converts_on_the_command_line(wanted, threads));
    }
}
