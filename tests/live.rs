//! Initrds and CD images made from disk images, judged by cpio, unsquashfs, xorriso, isoinfo, sgdisk, fsck.vfat and GRUB.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::common::flatcar::{Filesystem, Recipe, flatcar_image};
use crate::common::judges::{fat_clean, gpt_clean, grub_cmp, stream_clean};
use crate::common::listing::partition_tree;
use crate::common::noise;
use crate::common::programs::{command, judge, must_run, said, success};
use crate::common::region::Region;
use crate::common::scratch_dir;
use crate::common::tree::{Kind, compare, host_tree, squashfs_tree};
use flatbake::block::FileDevice;
use flatbake::finding::code;
use flatbake::flatcar::Disk;
use flatbake::flatcar::live::iso::{IsoOptions, Isolinux, write_iso};
use flatbake::flatcar::live::{InitrdReport, LiveCache, LiveOptions, check, pxe, write_initrd};
use flatbake::fs::squashfs::SquashfsCompression;
use flatbake::{ErrorKind, Finding, NoProgress, Progress};

const CONFIG: &[u8] = b"{\"ignition\":{\"version\":\"3.3.0\"}}";

/// An image with configurations on OEM, as a bake leaves it.
fn recipe(version: &str) -> Recipe {
    let recipe = Recipe {
        version: version.to_owned(),
        ..Recipe::small()
    };
    recipe
        .with_file(6, "config.ign", CONFIG)
        .with_file(6, "base/base.ign", b"{}")
        .with_file(6, "grub.cfg", b"set oem_id=x\n")
        .with_file(6, "sysext/oem-x.raw", &noise(1, 9000))
        .with_file(3, "lib/large", &noise(7, 300_000))
        .with_file(9, "etc/lost", b"on ROOT")
}

fn open(image: &Path) -> Disk {
    Disk::open("disk", Arc::new(FileDevice::open(image).unwrap())).unwrap()
}

/// Writes the initrd, unpacks it with cpio and returns the folder.
fn unpacked(disk: &Disk, dir: &Path) -> Option<(InitrdReport, PathBuf)> {
    let packed = dir.join(pxe::INITRD_NAME);
    let file = File::create_new(&packed).unwrap();
    let report = write_initrd(disk, &file, &LiveOptions::new(dir), &NoProgress).unwrap();
    assert_eq!(
        check(disk).unwrap(),
        [Finding::new(code::LIVE_WITHOUT_ROOT).with("entries", "etc")]
    );
    stream_clean(&packed).unwrap();
    judge("cpio")?;
    let archive = dir.join("archive");
    let tree = dir.join("tree");
    let plain = must_run("gzip", ["-dc", packed.to_str().unwrap()]).stdout;
    assert_eq!(plain.len() as u64, report.archive_bytes);
    fs::write(&archive, plain).unwrap();
    fs::create_dir(&tree).unwrap();
    let mut cpio = command(&judge("cpio")?);
    let output = success(
        cpio.args(["-id", "--quiet", "-F"])
            .arg(&archive)
            .current_dir(&tree),
    );
    assert_eq!(said(&output), "");
    let list = success(
        command(&judge("cpio")?)
            .args(["-itv", "--quiet", "-F"])
            .arg(&archive),
    );
    assert!(
        said(&list)
            .lines()
            .all(|line| line.contains(" root     root ")),
        "{}",
        said(&list)
    );
    Some((report, tree))
}

fn names(tree: &Path) -> Vec<String> {
    host_tree(tree).into_keys().collect()
}

#[test]
fn the_initrd_holds_usr_and_oems_files() {
    for (version, usr) in [
        ("4593.2.0", Filesystem::Btrfs),
        ("3510.2.0", Filesystem::Ext),
    ] {
        let Some(image) = flatcar_image(&Recipe {
            usr,
            ..recipe(version)
        }) else {
            return;
        };
        let dir = scratch_dir();
        let Some((report, tree)) = unpacked(&open(&image), dir.path()) else {
            return;
        };
        let mut wanted = vec![
            "",
            "etc",
            "usr",
            "usr/share",
            "usr/share/oem",
            "usr.squashfs",
        ];
        wanted.extend([
            "usr/share/oem/base",
            "usr/share/oem/base/base.ign",
            "usr/share/oem/config.ign",
        ]);
        if version.starts_with('4') {
            wanted.extend(["oem", "oem/base", "oem/base/base.ign", "oem/config.ign"]);
        }
        wanted.sort_unstable();
        assert_eq!(names(&tree), wanted);
        assert_eq!(
            fs::read(tree.join("usr/share/oem/config.ign")).unwrap(),
            CONFIG
        );
        if version.starts_with('4') {
            let tree = host_tree(&tree);
            assert_eq!(
                tree["oem/config.ign"].sha256,
                tree["usr/share/oem/config.ign"].sha256
            );
            assert_eq!(tree["oem/config.ign"].nlink, Some(2));
        }
        assert_eq!((report.oem_files.len(), &*report.group), (2, "stable"));

        let kind = if usr == Filesystem::Btrfs {
            "btrfs"
        } else {
            "ext4"
        };
        let mut wanted = partition_tree(&image, 3, kind).unwrap();
        wanted.remove("lost+found");
        for entry in wanted.values_mut() {
            // squashfs counts a directory's links as Unix does, and owners come back for root alone.
            if entry.kind == Kind::Directory {
                (entry.nlink, entry.size) = (None, None);
            }
        }
        let mut found = squashfs_tree(&tree.join("usr.squashfs")).unwrap();
        found.remove("lost+found");
        let no_update = found.remove(".noupdate").unwrap();
        assert_eq!((no_update.mode, no_update.size), (Some(0o444), Some(0)));
        compare(&wanted, &found).unwrap();
    }
}

#[test]
fn the_update_group_is_written() {
    let recipe = recipe("4593.2.0").with_file(9, "etc/flatcar/update.conf", b"GROUP=lts\n");
    let Some(image) = flatcar_image(&recipe) else {
        return;
    };
    let dir = scratch_dir();
    let disk = open(&image);
    for (asked, wanted) in [
        (None, Some("lts")),
        (Some("beta"), Some("beta")),
        (Some("$(x)"), None),
    ] {
        let options = LiveOptions {
            group: asked.map(str::to_owned),
            ..LiveOptions::new(dir.path())
        };
        let result = write_initrd(&disk, &tempfile::tempfile().unwrap(), &options, &NoProgress);
        match (result, wanted) {
            (Ok(report), Some(wanted)) => assert_eq!(report.group, wanted),
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
            (result, wanted) => panic!("{result:?} instead of {wanted:?}"),
        }
    }
    let Some((_, tree)) = unpacked(&disk, dir.path()) else {
        return;
    };
    let usr = dir.path().join("usr");
    must_run(
        "unsquashfs",
        [
            "-no-progress",
            "-d",
            usr.to_str().unwrap(),
            tree.join("usr.squashfs").to_str().unwrap(),
        ],
    );
    let conf = fs::read_to_string(usr.join("share/flatcar/update.conf")).unwrap();
    assert_eq!(conf, "SERVER=https://update.example/\nGROUP=lts\n");
}

#[test]
fn kernel_and_grub_are_copied() {
    let Some(image) = flatcar_image(&recipe("4593.2.0")) else {
        return;
    };
    let dir = scratch_dir();
    let disk = open(&image);
    let kernel = dir.path().join("kernel");
    let grub = dir.path().join("grub");
    let bytes = pxe::write_kernel(&disk, &File::create_new(&kernel).unwrap()).unwrap();
    assert_eq!(bytes, 64 << 10);
    assert!(pxe::has_grub(&disk).unwrap());
    assert_eq!(
        pxe::write_grub(&disk, &File::create_new(&grub).unwrap()).unwrap(),
        Some(24 << 10)
    );
    let esp = Region::partition(&image, 1).unwrap();
    grub_cmp(&esp, "/flatcar/vmlinuz-a", &kernel).unwrap();
    grub_cmp(&esp, "/EFI/boot/grubx64.efi", &grub).unwrap();
}

/// Stands for the programs of syslinux, whose content nothing here looks at.
fn isolinux() -> Isolinux {
    Isolinux {
        isolinux_bin: noise(11, 24_577),
        ldlinux_c32: noise(12, 5000),
        isohdpfx_bin: Some(noise(13, 432)),
    }
}

/// Writes a CD image; `None` where the disk cannot be made.
fn cd(dir: &Path, isolinux: Option<Isolinux>, uefi: bool) -> Option<PathBuf> {
    let image = flatcar_image(&recipe("4593.2.0"))?;
    let path = dir.join("cd.iso");
    let options = IsoOptions {
        isolinux,
        uefi,
        ..IsoOptions::new(dir)
    };
    let out = File::create(&path).unwrap();
    let report = write_iso(&open(&image), &out, &options, &NoProgress).unwrap();
    assert_eq!(report.image_bytes, out.metadata().unwrap().len());
    assert_eq!(
        report.kernel_arguments,
        "flatcar.autologin flatcar.first_boot=1"
    );
    Some(path)
}

#[test]
fn the_cd_is_read_by_others() {
    for (bios, uefi) in [(true, true), (true, false), (false, true)] {
        let dir = scratch_dir();
        let Some(image) = cd(dir.path(), bios.then(isolinux), uefi) else {
            return;
        };
        let cd = image.to_str().unwrap();
        if judge("xorriso").is_some() {
            let told = said(&must_run(
                "xorriso",
                ["-indev", cd, "-report_el_torito", "plain"],
            ));
            assert!(told.contains("Volume id    : 'CDROM'"), "{told}");
            assert_eq!(told.contains("BIOS"), bios, "{told}");
            assert_eq!(told.contains("UEFI"), uefi, "{told}");
            let tree = dir.path().join("tree");
            must_run(
                "xorriso",
                [
                    "-osirrox",
                    "on",
                    "-indev",
                    cd,
                    "-extract",
                    "/",
                    tree.to_str().unwrap(),
                ],
            );
            let mut wanted = vec!["", "flatcar", "flatcar/cpio.gz", "flatcar/vmlinuz"];
            if bios {
                wanted.extend([
                    "isolinux",
                    "isolinux/isolinux.bin",
                    "isolinux/isolinux.cfg",
                    "isolinux/ldlinux.c32",
                ]);
                wanted.extend(["syslinux", "syslinux/boot.msg", "syslinux/syslinux.cfg"]);
                assert_eq!(
                    fs::read(tree.join("isolinux/ldlinux.c32")).unwrap(),
                    isolinux().ldlinux_c32
                );
            }
            assert_eq!(names(&tree), wanted);
            fs::rename(tree.join("flatcar/cpio.gz"), dir.path().join("cpio.gz")).unwrap();
            stream_clean(&dir.path().join("cpio.gz")).unwrap();
            let disk = flatcar_image(&recipe("4593.2.0")).unwrap();
            let kernel = tree.join("flatcar/vmlinuz");
            grub_cmp(
                &Region::partition(&disk, 1).unwrap(),
                "/flatcar/vmlinuz-a",
                &kernel,
            )
            .unwrap();
        }
        for (option, kernel) in [("-R", "/flatcar/vmlinuz"), ("-J", "/flatcar/vmlinuz")] {
            if judge("isoinfo").is_some() {
                let list = said(&must_run("isoinfo", ["-i", cd, option, "-f"]));
                assert!(list.lines().any(|line| line == kernel), "{list}");
            }
        }
        if uefi {
            the_fat_image_is_sound(&image, dir.path());
            // With isohybrid's MBR the entries overlap, as they do in every such image.
            if !bios {
                gpt_clean(&image).unwrap();
            }
        }
    }
}

fn the_fat_image_is_sound(image: &Path, dir: &Path) {
    let Some(region) = Region::partition(image, 1) else {
        return;
    };
    fat_clean(&region).unwrap();
    let esp = Region::partition(&flatcar_image(&recipe("4593.2.0")).unwrap(), 1).unwrap();
    assert_eq!(region.read(67, 4), esp.read(67, 4), "the serial number");
    let menu = dir.join("grub.cfg");
    fs::write(
        &menu,
        "# Starts the live system; GRUB's own menu is for disks.\nlinux ($oem)/flatcar/vmlinuz 'flatcar.autologin' \
         'flatcar.first_boot=1'\ninitrd ($oem)/flatcar/cpio.gz\nboot\n",
    )
    .unwrap();
    // GRUB finds the partition by itself, through the GPT in the CD image.
    grub_cmp(&Region::whole(image), "(loop0,gpt1)/grub.cfg", &menu).unwrap();
    let cpio = dir.join("cpio.gz");
    if cpio.exists() {
        grub_cmp(&Region::whole(image), "(loop0,gpt1)/flatcar/cpio.gz", &cpio).unwrap();
        grub_cmp(&Region::whole(image), "(loop0)/flatcar/cpio.gz", &cpio).unwrap();
    }
    let program = dir.join("grubx64.efi");
    fs::write(&program, noise(6, 24 << 10)).unwrap();
    grub_cmp(
        &Region::whole(image),
        "(loop0,gpt1)/EFI/boot/grubx64.efi",
        &program,
    )
    .unwrap();
}

#[test]
fn the_same_bytes_on_any_number_of_threads() {
    let sum = |threads: usize| {
        let dir = scratch_dir();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let image = pool.install(|| cd(dir.path(), Some(isolinux()), true))?;
        Some(crate::common::tree::sha256(File::open(image).unwrap()))
    };
    assert_eq!(sum(1), sum(3));
}

/// Collects the names of steps.
#[derive(Default)]
struct Steps(Mutex<Vec<String>>);

impl Steps {
    fn count(&self, name: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|step| step.starts_with(name))
            .count()
    }
}

impl Progress for Steps {
    fn start(&self, step: &str, _: u64) {
        self.0.lock().unwrap().push(step.to_owned());
    }
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn found(&self, _: &Finding) {}
}

/// An initrd, another one without OEM's files, and a CD image, made at the same time.
fn live_images(disk: &Disk, usual: &LiveOptions, steps: &Steps) -> Vec<Vec<u8>> {
    let initrd = |out: &File, oem: bool| {
        write_initrd(
            disk,
            out,
            &LiveOptions {
                oem,
                ..usual.clone()
            },
            steps,
        )
        .unwrap();
    };
    let cd = |out: &File| {
        let options = IsoOptions {
            live: usual.clone(),
            ..IsoOptions::new(&usual.temp_dir)
        };
        write_iso(disk, out, &options, steps).unwrap();
    };
    let made = |write: &(dyn Fn(&File) + Sync)| {
        let out = tempfile::NamedTempFile::new_in(&usual.temp_dir).unwrap();
        write(out.as_file());
        fs::read(out.path()).unwrap()
    };
    std::thread::scope(|scope| {
        let with_oem = scope.spawn(|| made(&|out| initrd(out, true)));
        let without = scope.spawn(|| made(&|out| initrd(out, false)));
        let cd = scope.spawn(|| made(&cd));
        [with_oem, without, cd]
            .map(|thread| thread.join().unwrap())
            .into()
    })
}

#[test]
fn live_images_of_one_run_share_their_work_and_keep_their_bytes() {
    let Some(image) = flatcar_image(&recipe("4593.2.0")) else {
        return;
    };
    let dir = scratch_dir();
    let disk = open(&image);
    let alone = Steps::default();
    let usual = LiveOptions::new(dir.path());
    let wanted = live_images(&disk, &usual, &alone);
    assert_eq!(
        (
            alone.count("packing files"),
            alone.count("compressing with gz")
        ),
        (3, 3)
    );
    assert!(wanted[0] != wanted[1]);
    let shared = LiveOptions {
        cache: Some(Arc::new(LiveCache::new())),
        ..usual
    };
    let steps = Steps::default();
    for _ in 0..2 {
        assert!(live_images(&disk, &shared, &steps) == wanted);
    }
    assert_eq!(
        (
            steps.count("packing files"),
            steps.count("compressing with gz")
        ),
        (1, 2)
    );
    // Other files than those that were made before are made anew.
    for options in [
        LiveOptions {
            latest_time: Some(1),
            ..shared.clone()
        },
        LiveOptions {
            group: Some("beta".to_owned()),
            ..shared.clone()
        },
        LiveOptions {
            squashfs: SquashfsCompression::Gzip(1),
            ..shared.clone()
        },
    ] {
        let made = live_images(&disk, &options, &steps);
        assert!(
            made == live_images(
                &disk,
                &LiveOptions {
                    cache: None,
                    ..options
                },
                &Steps::default()
            )
        );
    }
    assert_eq!(steps.count("packing files"), 4);
}

#[test]
fn a_live_image_that_is_cancelled_ends() {
    let Some(image) = flatcar_image(&recipe("4593.2.0")) else {
        return;
    };
    let dir = scratch_dir();
    let options = LiveOptions::new(dir.path());
    options.cancel.cancel();
    let made = write_initrd(
        &open(&image),
        &tempfile::tempfile().unwrap(),
        &options,
        &NoProgress,
    );
    assert_eq!(made.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let Some(image) = flatcar_image(&recipe("4593.2.0")) else {
        return;
    };
    let dir = scratch_dir();
    let attempt = |image: &Path, options: &IsoOptions| {
        write_iso(
            &open(image),
            &tempfile::tempfile().unwrap(),
            options,
            &NoProgress,
        )
        .unwrap_err()
    };
    let usual = IsoOptions::new(dir.path());
    assert!(
        attempt(
            &image,
            &IsoOptions {
                uefi: false,
                ..usual.clone()
            }
        )
        .hint()
        .is_some()
    );
    for arguments in ["a\nb", "it's", &"x".repeat(2049)] {
        let options = IsoOptions {
            kernel_arguments: Some(arguments.to_owned()),
            ..usual.clone()
        };
        assert_eq!(attempt(&image, &options).kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(
        attempt(
            &image,
            &IsoOptions {
                volume_id: "no".to_owned(),
                ..usual.clone()
            }
        )
        .kind(),
        ErrorKind::InvalidInput
    );
    let Some(arm) = flatcar_image(&Recipe {
        arch: "arm64",
        ..recipe("4593.2.0")
    }) else {
        return;
    };
    let error = attempt(
        &arm,
        &IsoOptions {
            isolinux: Some(isolinux()),
            ..usual.clone()
        },
    );
    assert!(error.to_string().contains("arm64"), "{error}");
    write_iso(
        &open(&arm),
        &tempfile::tempfile().unwrap(),
        &usual,
        &NoProgress,
    )
    .unwrap();
    let missing = LiveOptions::new(dir.path().join("missing"));
    assert!(
        write_initrd(
            &open(&image),
            &tempfile::tempfile().unwrap(),
            &missing,
            &NoProgress
        )
        .is_err()
    );
}
