//! Random edits on volumes of every kind, number of tables, and size of sectors and clusters.

use std::collections::BTreeMap;
use std::fs::create_dir;

use flatbake::fs::fat::{Fat, FatKind, FatLayout};
use flatbake::fs::{ExtractOptions, FileSystemMut, FsPath, extract};

use super::image::Image;
use super::model::{Model, compare, edit, tree_of};
use crate::common::longer;
use crate::common::random::Random;

/// Edits `image` in a few rounds, after each of which the judges look.
fn work_on(image: &Image, seed: usize, rounds: usize, edits: usize) -> Model {
    let mut random = Random::new(u64::try_from(seed).unwrap());
    let mut model = Model::new();
    for _round in 0..rounds {
        let mut fat = Fat::open(image.disk()).unwrap();
        for _ in 0..edits {
            edit(&mut random, &mut fat, &mut model);
        }
        compare(&fat, &model);
        fat.commit().unwrap();
        drop(fat);
        image.fsck().unwrap();
        compare(&Fat::open_read_only(image.disk()).unwrap(), &model);
    }
    model
}

/// mtools find the model's names and contents.
fn mtools_agree(image: &Image, model: &Model) {
    let out = image.folder.path().join("out");
    create_dir(&out).unwrap();
    image.mtool("mcopy", &["-s", "-Q", "::/", out.to_str().unwrap()]);
    let mut found = BTreeMap::new();
    tree_of(&out, "", &mut found);
    assert!(found == contents(model));
}

fn contents(model: &Model) -> BTreeMap<String, Option<Vec<u8>>> {
    model
        .iter()
        .map(|(key, entry)| (key.clone(), entry.1.clone()))
        .collect()
}

#[test]
fn hundreds_of_random_edits() {
    let shapes = [
        (36 << 20, &["-F", "32", "-s", "1"][..]),
        (20 << 20, &["-F", "16"]),
        (8 << 20, &["-F", "12"]),
    ];
    let runs = shapes
        .into_iter()
        .cycle()
        .take(usize::try_from(longer(3)).unwrap());
    for (seed, (size, arguments)) in runs.enumerate() {
        let Some(image) = Image::make(size, arguments) else {
            return;
        };
        let model = work_on(&image, seed, 5, 120);
        assert!(model.len() > 30, "{}", model.len());
        mtools_agree(&image, &model);

        let mine = image.folder.path().join("mine");
        let fat = Fat::open_read_only(image.disk()).unwrap();
        let done = extract(&fat, &FsPath::root(), &mine, &ExtractOptions::default()).unwrap();
        let mut found = BTreeMap::new();
        tree_of(&mine, "", &mut found);
        assert!(found == contents(&model));
        assert_eq!(
            done.files + done.directories,
            u64::try_from(model.len() + 1).unwrap()
        );
    }
}

/// Bytes of a sector, sectors of a cluster, and clusters of a FAT12, a FAT16 and a FAT32 volume; fewer of the large ones.
const SIZES: [(u16, u32, [u32; 3]); 6] = [
    (512, 1, [3000, 4500, 68_000]),
    (512, 8, [600, 4200, 900]),
    (512, 128, [200, 4200, 300]),
    (1024, 2, [1000, 5000, 2000]),
    (2048, 4, [500, 4500, 700]),
    (4096, 1, [1000, 4200, 1000]),
];

fn layouts() -> impl Iterator<Item = FatLayout> {
    let kinds = [FatKind::Fat12, FatKind::Fat16, FatKind::Fat32];
    SIZES
        .into_iter()
        .flat_map(move |(sector_bytes, sectors, clusters)| {
            kinds
                .into_iter()
                .zip(clusters)
                .flat_map(move |(kind, clusters)| {
                    // Large volumes of more than two tables would have to be copied whole to be judged.
                    let most = if sectors > 8 { 2 } else { 4 };
                    let cluster_bytes = u32::from(sector_bytes) * sectors;
                    (1..=most).map(move |tables| FatLayout {
                        kind,
                        tables,
                        sector_bytes,
                        cluster_bytes,
                        clusters,
                    })
                })
        })
}

/// A volume of this layout by `mkfs.vfat`.
fn made(layout: &FatLayout) -> Option<Image> {
    let bits = match layout.kind {
        FatKind::Fat12 => "12",
        FatKind::Fat16 => "16",
        FatKind::Fat32 => "32",
    };
    let sector = u32::from(layout.sector_bytes);
    // Room for the tables and the root directory as well.
    let size = u64::from(layout.clusters) * u64::from(layout.cluster_bytes) + (200 << 10);
    let sectors = (layout.cluster_bytes / sector).to_string();
    let tables = layout.tables.to_string();
    Image::make(
        size,
        &[
            "-F",
            bits,
            "-S",
            &sector.to_string(),
            "-s",
            &sectors,
            "-f",
            &tables,
            "-n",
            "MADE",
        ],
    )
}

#[test]
fn random_edits_of_every_shape() {
    for (seed, layout) in layouts().enumerate() {
        eprintln!("{layout:?}");
        for (seed, image) in [
            (2 * seed, made(&layout)),
            (2 * seed + 1, Image::build(&layout)),
        ] {
            let Some(image) = image else { return };
            image.fsck().unwrap();
            let model = work_on(&image, seed, usize::try_from(longer(1)).unwrap(), 60);
            // mtools take a FAT32 for a FAT16 where it is small.
            if layout.kind != FatKind::Fat32 || layout.clusters > 65_525 {
                mtools_agree(&image, &model);
            }
        }
    }
}

/// 512 KiB, the largest clusters there are: `BPB_SecPerClus` 128 and sectors of 4096 bytes.
#[test]
fn clusters_of_half_a_mebibyte() {
    let layout = |kind, clusters| FatLayout {
        kind,
        tables: 2,
        sector_bytes: 4096,
        cluster_bytes: 512 << 10,
        clusters,
    };
    for (seed, layout) in [layout(FatKind::Fat12, 150), layout(FatKind::Fat32, 150)]
        .into_iter()
        .enumerate()
    {
        let Some(image) = Image::build(&layout) else {
            return;
        };
        let model = work_on(&image, seed, 1, 40);
        assert!(model.len() > 5);
    }
}
