//! A dry run says what the run does, numbers included; and what flags make, a manifest makes byte for byte.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flatbake::ErrorKind;
use flatbake::NoProgress;
use flatbake::bake::{
    Context, Edits, FileSpec, LinkSpec, Output as Image, Place, Prepared, Request, RootSize,
    Variant,
};
use flatbake::flatcar::{Designator, Disk};
use flatbake::fs::FsPath;
use flatbake::image::{OpenOptions, open};
use serde_json::Value;

use super::{ok, raw_sample};
use crate::common::judges::{btrfs_clean, ext4_clean, fat_clean, gpt_clean};
use crate::common::programs::{flatbake, must_run, said};
use crate::common::random::Random;
use crate::common::region::Region;
use crate::common::tree::sha256;
use crate::common::{longer, scratch_dir};

const PARTITIONS: [Designator; 3] = [Designator::Boot, Designator::Oem, Designator::Root];

/// Free bytes and inodes of a partition, as its filesystem says itself.
fn free(disk: &Disk, partition: Designator) -> (u64, Option<u64>) {
    let capacity = disk
        .filesystem(partition.into())
        .unwrap()
        .capacity()
        .unwrap();
    (capacity.free_bytes, capacity.inodes.map(|(_, free)| free))
}

fn disk(path: &Path) -> Disk {
    Disk::open(
        "disk",
        open(path, &OpenOptions::new("/tmp"), &NoProgress)
            .unwrap()
            .device,
    )
    .unwrap()
}

/// Every judge calls the disk clean.
fn assert_clean(image: &Path) {
    gpt_clean(image).unwrap();
    let at = |number| Region::partition(image, number).unwrap();
    fat_clean(&at(1)).unwrap();
    btrfs_clean(&at(6)).unwrap();
    ext4_clean(&at(9)).unwrap();
}

/// Host files that random requests take: of sizes around what partitions hold, holes, doubles, hard links.
struct Stock {
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
    tars: Vec<PathBuf>,
    folder: PathBuf,
}

impl Stock {
    fn new(room: u64) -> Self {
        let dir = scratch_dir();
        let path = |name: &str| dir.path().join(name);
        let mut files = Vec::new();
        for (at, share) in [0, 1, 10, 30, 45, 60, 90, 99, 101, 150]
            .into_iter()
            .enumerate()
        {
            let file = path(&format!("file{at}"));
            let len = usize::try_from(room / 100 * share).unwrap();
            fs::write(&file, Random::new(at as u64).bytes(len)).unwrap();
            files.push(file);
        }
        let sparse = path("sparse");
        File::create(&sparse).unwrap().set_len(room / 2).unwrap();
        files.push(sparse);
        let folder = path("folder");
        fs::create_dir_all(folder.join("deep/er")).unwrap();
        for number in 0..40 {
            fs::write(
                folder.join(format!("deep/file {number}")),
                Random::new(number).bytes(3000),
            )
            .unwrap();
        }
        std::os::unix::fs::symlink("deep", folder.join("link")).unwrap();
        fs::hard_link(folder.join("deep/file 1"), folder.join("deep/er/twin")).unwrap();
        let tar = |name: &str, arguments: &[&str]| {
            let archive = path(name);
            let words = [
                "--format=gnu",
                "-C",
                dir.path().to_str().unwrap(),
                "-cf",
                archive.to_str().unwrap(),
            ];
            must_run("tar", words.iter().chain(arguments));
            archive
        };
        let tars = vec![
            tar("tree.tar", &["folder"]),
            tar("sparse.tar", &["--sparse", "sparse"]),
            tar("half.tar", &["file4", "folder"]),
        ];
        Self {
            files,
            tars,
            folder,
            dir,
        }
    }
}

/// A random request near the limits of the disk.
fn random_edits(random: &mut Random, stock: &Stock, is_variant: bool) -> Edits {
    let mut edits = Edits::new();
    let targets = [
        "/etc/motd",
        "/srv/a",
        "/srv/b",
        "/srv/deep/c",
        "/opt/x",
        "/etc/hostname",
    ];
    let mut pick = |count: usize| random.below(count);
    for _ in 0..pick(4) {
        let partition = PARTITIONS[pick(3)];
        let path = FsPath::new(targets[pick(targets.len())]).unwrap();
        edits.files.push(match pick(5) {
            0 => FileSpec::inline(vec![b'x'; pick(9000)], partition, path),
            1 => FileSpec::new(&stock.folder, partition, FsPath::new("/srv/tree").unwrap()),
            _ => FileSpec::new(&stock.files[pick(stock.files.len())], partition, path),
        });
    }
    if pick(3) == 0 {
        let source = &stock.tars[pick(stock.tars.len())];
        let text = format!("{}:/srv/unpacked", source.display());
        let partition = [Designator::Oem, Designator::Root][pick(2)];
        edits.archives.push(
            flatbake::bake::ArchiveSpec::parse(&text, partition, Default::default()).unwrap(),
        );
    }
    if pick(4) == 0 {
        let path = FsPath::new("/srv/link").unwrap();
        edits.links.push(LinkSpec {
            target: "/srv/a".to_owned(),
            path,
            origin: None,
        });
    }
    if pick(5) == 0 && !is_variant {
        let path = FsPath::new("/flatcar/first_boot").unwrap();
        edits.removals.push(Place {
            partition: Designator::Boot,
            path,
        });
    }
    if pick(4) == 0 {
        edits.kernel_args.push(format!("a{}", pick(9)));
    }
    edits
}

#[test]
fn what_is_prepared_is_what_is_written_with_the_same_numbers() {
    let base = raw_sample();
    let room = free(&disk(&base), Designator::Root).0;
    let stock = Stock::new(room);
    let context = Context::new(stock.dir.path());
    let mut random = Random::new(7);
    let mut fitted = 0;
    let mut full = 0;
    for round in 0..longer(60) {
        let mut request = Request {
            edits: random_edits(&mut random, &stock, false),
            ..Request::new(&base)
        };
        request.root_size = (random.below(4) == 0).then_some(RootSize::Auto);
        let dir = scratch_dir();
        request.folder = Some(dir.path().to_owned());
        request.outputs = vec![Image::at(dir.path().join("out.img"))];
        if random.below(3) == 0 {
            let variant = |number: u64, edits| Variant {
                name: format!("n{number}"),
                edits,
                origin: None,
            };
            request.variants = (0..2)
                .map(|at| variant(at, random_edits(&mut random, &stock, true)))
                .collect();
        }
        let prepared = match request.prepare(&context) {
            Ok(prepared) => prepared,
            Err(error) => {
                let kinds = [
                    ErrorKind::NoSpace,
                    ErrorKind::InvalidInput,
                    ErrorKind::NotFound,
                    ErrorKind::Unsupported,
                ];
                assert!(kinds.contains(&error.kind()), "round {round}: {error:?}");
                assert_eq!(
                    fs::read_dir(dir.path()).unwrap().count(),
                    0,
                    "nothing is written"
                );
                full += u64::from(error.kind() == ErrorKind::NoSpace);
                continue;
            }
        };
        let planned = prepared.report(&context).unwrap();
        let written = prepared.write(&context).unwrap();
        assert!(
            written.failure.is_none(),
            "round {round}: {:?}",
            written.failure
        );
        assert_eq!(planned.shared, written.report.shared);
        assert_eq!(planned.variants, written.report.variants);
        check_room(&prepared, &written.report, dir.path(), round);
        fitted += 1;
    }
    assert!(fitted > 10 && full > 5, "{fitted} fitted, {full} did not");
}

/// What a partition has left is what the report says, and every filesystem is sound.
fn check_room(prepared: &Prepared, report: &flatbake::bake::Report, folder: &Path, round: u64) {
    drop(prepared.files());
    for output in &report.outputs {
        let path = folder.join(&output.files[0].path);
        let disk = disk(&path);
        let variant = report
            .variants
            .iter()
            .find(|variant| Some(&variant.name) == output.variant.as_ref());
        let plans = std::iter::once(&report.shared)
            .chain(variant.map(|variant| &variant.plan))
            .chain([&output.plan]);
        let spaces: Vec<_> = plans.flat_map(|plan| &plan.space).collect();
        for partition in PARTITIONS {
            let Some(last) = spaces
                .iter()
                .rev()
                .find(|space| space.partition == partition.to_string())
            else {
                continue;
            };
            let (bytes, inodes) = free(&disk, partition);
            if partition != Designator::Oem {
                assert_eq!(
                    (bytes, inodes),
                    (last.free_bytes, last.free_inodes),
                    "round {round}: {partition}"
                );
            }
        }
        if round.is_multiple_of(10) {
            assert_clean(&path);
        }
    }
}

/// What grows by itself has room, and not much more than that.
#[test]
fn a_root_that_grows_by_itself_is_as_large_as_its_editor_needs() {
    let base = raw_sample();
    let room = free(&disk(&base), Designator::Root).0;
    let dir = scratch_dir();
    let context = Context::new(dir.path());
    for (share, files) in [(50, 1), (120, 1), (300, 1), (1000, 1), (20, 60_000)] {
        let folder = dir.path().join(format!("tree{share}-{files}"));
        fs::create_dir(&folder).unwrap();
        if files == 1 {
            let len = usize::try_from(room / 100 * share).unwrap();
            fs::write(folder.join("large"), Random::new(share).bytes(len)).unwrap();
        } else {
            (0..files).for_each(|number| fs::write(folder.join(format!("f{number}")), []).unwrap());
        }
        let file = FileSpec::new(&folder, Designator::Root, FsPath::new("/srv/tree").unwrap());
        let out = dir.path().join(format!("out{share}-{files}.img"));
        let request = Request {
            edits: Edits::new().file(file),
            root_size: Some(RootSize::Auto),
            outputs: vec![Image::at(&out)],
            ..Request::new(&base)
        };
        let prepared = request.prepare(&context).unwrap();
        let report = prepared.report(&context).unwrap();
        let space = report
            .shared
            .space
            .iter()
            .find(|space| space.partition == "root")
            .unwrap();
        if let Some(resize) = &report.shared.resize {
            let slack = 64 << 20;
            let grown = resize.root_bytes - resize.root_bytes_before;
            let spare_inodes = space.free_inodes.unwrap();
            assert!(
                space.free_bytes < slack + grown / 4 || spare_inodes < 40_000,
                "{} bytes are left of a growth of {grown}",
                space.free_bytes
            );
            assert!(space.free_bytes >= slack / 2);
        } else {
            assert!(share < 100 && files == 1);
        }
        assert!(prepared.write(&context).unwrap().failure.is_none());
        assert_clean(&out);
    }
}

/// One random bake, as flags and as a manifest.
fn both_ways(random: &mut Random, dir: &Path, round: u64) -> (Vec<String>, String) {
    let mut flags: Vec<String> = Vec::new();
    let mut manifest = format!("image: {}\nseed: s{round}\n", raw_sample().display());
    flags.extend(["--seed".to_owned(), format!("s{round}")]);
    let mut lists: [(&str, Vec<String>); 4] = [
        ("files", vec![]),
        ("links", vec![]),
        ("remove", vec![]),
        ("tarballs", vec![]),
    ];
    for number in 0..random.below(4) {
        let name = format!("f{round}-{number}");
        fs::write(dir.join(&name), random.bytes(2000)).unwrap();
        let partition = PARTITIONS[random.below(3)];
        let mode = ["0600", "0755", "0644"][random.below(3)];
        flags.extend([
            format!("--{partition}-file"),
            format!("{name}:/srv/{number}:{mode}:500:501"),
        ]);
        lists[0]
            .1
            .push(format!("{{path: '{partition}:/srv/{number}', source: {name}, mode: {mode}, uid: 500, gid: 501}}"));
    }
    if random.below(2) == 0 {
        flags.extend(["--root-link".to_owned(), "/srv/0:/etc/link".to_owned()]);
        lists[1]
            .1
            .push("{path: /etc/link, target: /srv/0}".to_owned());
    }
    if random.below(3) == 0 {
        flags.extend(["--remove".to_owned(), "boot:/flatcar/first_boot".to_owned()]);
        lists[2].1.push("'boot:/flatcar/first_boot'".to_owned());
    }
    if random.below(2) == 0 {
        fs::write(
            dir.join("web.service"),
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=a.target\n",
        )
        .unwrap();
        flags.extend(["--unit".to_owned(), "web.service".to_owned()]);
        manifest.push_str("units: [{name: web.service, source: web.service, enabled: true}]\n");
    }
    if random.below(2) == 0 {
        flags.extend(["--hostname".to_owned(), format!("node{round}")]);
        manifest.push_str(&format!("hostname: node{round}\n"));
    }
    if random.below(2) == 0 {
        flags.extend([
            "--kernel-arg".to_owned(),
            "quiet".to_owned(),
            "--kernel-arg".to_owned(),
            "a=b".to_owned(),
        ]);
        manifest.push_str("kernel_args: {add: [quiet, a=b]}\n");
    }
    if random.below(3) == 0 {
        flags.extend(["--root-size".to_owned(), "200M".to_owned()]);
        manifest.push_str("root_size: 200M\n");
    }
    for (key, items) in lists {
        if !items.is_empty() {
            manifest.push_str(&format!("{key}: [{}]\n", items.join(", ")));
        }
    }
    (flags, manifest)
}

#[test]
fn flags_and_manifest_give_the_same_bytes_and_a_dry_run_the_same_report() {
    let mut random = Random::new(11);
    for round in 0..longer(12) {
        let dir = scratch_dir();
        let (flags, manifest) = both_ways(&mut random, dir.path(), round);
        fs::write(
            dir.path().join("bake.yaml"),
            format!("{manifest}outputs: [m.qcow2]\noutput: .\n"),
        )
        .unwrap();
        let run = |arguments: &[&str], more: &[String]| -> Output {
            let mut command: Command = flatbake();
            command.current_dir(dir.path()).args(arguments).args(more);
            command.output().unwrap()
        };
        let image = raw_sample();
        let plain = [
            "bake",
            "--json",
            "--image",
            image.to_str().unwrap(),
            "-o",
            "f.qcow2",
        ];
        let plan = run(
            &[
                "plan",
                "--json",
                "--image",
                image.to_str().unwrap(),
                "-o",
                "f.qcow2",
            ],
            &flags,
        );
        let by_flags = run(&plain, &flags);
        assert_eq!(
            plan.status.code(),
            by_flags.status.code(),
            "{}\n{}",
            said(&plan),
            said(&by_flags)
        );
        assert_eq!(
            by_flags.status.code(),
            Some(0),
            "round {round}: {flags:?}: {}",
            said(&by_flags)
        );
        let (planned, baked): (Value, Value) = (
            serde_json::from_slice(&plan.stdout).unwrap(),
            serde_json::from_slice(&by_flags.stdout).unwrap(),
        );
        assert_eq!(planned["shared"], baked["shared"], "round {round}");
        assert_eq!(
            (&planned["dry_run"], &baked["dry_run"]),
            (&Value::Bool(true), &Value::Bool(false))
        );
        let by_manifest = run(&["bake", "-f", "bake.yaml", "--allow-outside"], &[]);
        assert_eq!(
            by_manifest.status.code(),
            Some(0),
            "round {round}: {manifest}: {}",
            said(&by_manifest)
        );
        let digest = |name: &str| sha256(File::open(dir.path().join(name)).unwrap());
        assert_eq!(
            digest("f.qcow2"),
            digest("m.qcow2"),
            "round {round}: {flags:?}\n{manifest}"
        );
    }
}

#[test]
fn a_dry_run_says_no_where_the_bake_does() {
    let dir = scratch_dir();
    let big = dir.path().join("big");
    fs::write(&big, Random::new(3).bytes(120 << 20)).unwrap();
    for flag in ["--oem-file", "--root-file", "--boot-file"] {
        let run = |command: &str| {
            let mut flatbake = flatbake();
            flatbake
                .current_dir(dir.path())
                .args([command, "-q", "--image"])
                .arg(raw_sample());
            flatbake
                .args(["-o", "out.img", flag, "big:/big"])
                .output()
                .unwrap()
        };
        let plan = run("plan");
        let bake = run("bake");
        assert_eq!(
            (plan.status.code(), bake.status.code()),
            (Some(4), Some(4)),
            "{flag}: {}",
            said(&plan)
        );
        assert_eq!(
            String::from_utf8_lossy(&plan.stderr),
            String::from_utf8_lossy(&bake.stderr)
        );
        assert!(said(&plan).contains("120 MiB"), "{}", said(&plan));
    }
    ok(flatbake()
        .current_dir(dir.path())
        .args(["plan", "--image"])
        .arg(raw_sample())
        .args([
            "-o",
            "out.img",
            "--root-file",
            "big:/big",
            "--root-size",
            "auto",
        ]));
    assert!(!dir.path().join("out.img").exists());
}
