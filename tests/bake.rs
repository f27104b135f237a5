//! Whole bakes on images of Flatcar's exact sizes, judged by programs that nobody here wrote.
use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::judges::{self, Verdict};
use crate::common::layout::OLD;
use crate::common::listing::partition_tree;
use crate::common::programs::success as run;
use crate::common::region::Region;
use crate::common::scratch_dir;
use crate::common::sysext::{Format, Sysext, sysext};
use crate::common::tree::{Kind, Tree, TreeEntry, compare, sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The time of everything new in these bakes.
const TIME: i64 = 1_700_000_000;

fn flatbake() -> Command {
    crate::common::programs::flatbake()
}

fn tool(name: &str) -> Command {
    crate::common::programs::command(Path::new(name))
}

fn hash(path: &Path) -> String {
    sha256(File::open(path).unwrap())
}

/// Host files to bake: two sysexts (one with its sysupdate config), a file for the ESP and a folder of 500 for ROOT.
struct Ingredients {
    dir: tempfile::TempDir,
    sysexts: Vec<(&'static str, PathBuf)>,
}

impl Ingredients {
    fn new() -> Option<Self> {
        Self::with_greeter(Format::Erofs)
    }

    /// What the kernel of the recipe's release can mount: EROFS came after 4081.
    fn of(recipe: &Recipe) -> Option<Self> {
        Self::with_greeter(if recipe.version.starts_with("4081.") {
            Format::Squashfs
        } else {
            Format::Erofs
        })
    }

    fn with_greeter(format: Format) -> Option<Self> {
        let dir = scratch_dir();
        let fields = [
            ("ID", "flatcar"),
            ("SYSEXT_LEVEL", "1.0"),
            ("ARCHITECTURE", "x86-64"),
        ];
        let hello = Sysext {
            ballast: 3 << 20,
            ..Sysext::new("hello", "x86-64", Format::Squashfs).with_fields(&fields)
        };
        let hello = sysext(dir.path(), "hello-1.2.3-x86-64.raw", &hello)?;
        let greeter = sysext(
            dir.path(),
            "greeter.raw",
            &Sysext::new("greeter", "x86-64", format),
        )?;
        fs::write(dir.path().join("hello.conf"), "[Transfer]\nVerify=false\n").unwrap();
        fs::write(
            dir.path().join("note.txt"),
            "a note for the boot partition\n",
        )
        .unwrap();
        let tree = dir.path().join("tree");
        for number in 0..500 {
            let folder = tree.join(format!("folder-{}", number % 7));
            fs::create_dir_all(&folder).unwrap();
            let file = folder.join(format!("file with a longer name {number}.txt"));
            fs::write(
                &file,
                crate::common::noise(number, (number * 37 % 20_000) as usize),
            )
            .unwrap();
            let mode = if number % 5 == 0 { 0o700 } else { 0o600 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("folder-1", tree.join("link")).unwrap();
        Some(Self {
            dir,
            sysexts: vec![("hello", hello), ("greeter", greeter)],
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `flatbake bake` with all of it.
    fn bake(&self, image: &Path, output: &Path) -> Command {
        let mut command = flatbake();
        command
            .arg("bake")
            .arg("--overwrite")
            .arg("--image")
            .arg(image)
            .arg("--output")
            .arg(output);
        command.arg("--timestamp").arg(TIME.to_string());
        command.arg("--boot-file").arg(format!(
            "{}:/Notes And More/A Note.txt",
            self.path("note.txt").display()
        ));
        command
            .arg("--root-file")
            .arg(format!("{}:/srv/data", self.path("tree").display()));
        command.arg("--root-file").arg(format!(
            "{}:/etc/motd:0640:500:501",
            self.path("note.txt").display()
        ));
        command
            .arg("--root-link")
            .arg("/dev/null:/etc/extensions/docker-flatcar.raw");
        for (name, file) in &self.sysexts {
            command.arg(format!("{name}:{}", file.display()));
        }
        command
    }

    /// What ROOT gets, on top of what it held.
    fn expect_on_root(&self, tree: &mut Tree) {
        let mut folder = |path: &str| {
            tree.insert(path.to_owned(), entry(Kind::Directory, 0o755));
        };
        for path in [
            "etc",
            "etc/extensions",
            "etc/sysupdate.hello.d",
            "opt",
            "opt/extensions",
            "opt/extensions/hello",
        ] {
            folder(path);
        }
        for path in ["opt/extensions/greeter", "srv", "srv/data"] {
            folder(path);
        }
        (0..7).for_each(|number| folder(&format!("srv/data/folder-{number}")));
        let mut file = |path: &str, source: &Path, mode, uid, gid| {
            let size = source.metadata().unwrap().len();
            let content = TreeEntry {
                size: Some(size),
                sha256: Some(hash(source)),
                ..entry(Kind::File, mode)
            };
            tree.insert(
                path.to_owned(),
                TreeEntry {
                    uid: Some(uid),
                    gid: Some(gid),
                    ..content
                },
            );
        };
        file(
            "opt/extensions/hello/hello-1.2.3-x86-64.raw",
            &self.sysexts[0].1,
            0o644,
            0,
            0,
        );
        file(
            "opt/extensions/greeter/greeter.raw",
            &self.sysexts[1].1,
            0o644,
            0,
            0,
        );
        file(
            "etc/sysupdate.hello.d/hello.conf",
            &self.path("hello.conf"),
            0o644,
            0,
            0,
        );
        file("etc/motd", &self.path("note.txt"), 0o640, 500, 501);
        for number in 0..500 {
            let path = format!("folder-{}/file with a longer name {number}.txt", number % 7);
            let mode = if number % 5 == 0 { 0o755 } else { 0o644 };
            file(
                &format!("srv/data/{path}"),
                &self.path("tree").join(&path),
                mode,
                0,
                0,
            );
        }
        let mut link = |path: &str, target: &str| {
            let link = TreeEntry {
                target: Some(target.to_owned()),
                ..entry(Kind::Symlink, 0o777)
            };
            tree.insert(path.to_owned(), link);
        };
        link(
            "etc/extensions/hello.raw",
            "/opt/extensions/hello/hello-1.2.3-x86-64.raw",
        );
        link(
            "etc/extensions/greeter.raw",
            "/opt/extensions/greeter/greeter.raw",
        );
        link("etc/extensions/docker-flatcar.raw", "/dev/null");
        link("srv/data/link", "folder-1");
    }
}

/// A new entry as the bake makes it.
fn entry(kind: Kind, mode: u32) -> TreeEntry {
    TreeEntry {
        kind,
        mode: Some(mode),
        uid: Some(0),
        gid: Some(0),
        mtime: Some((TIME, 0)),
        xattrs: Some(BTreeMap::new()),
        nlink: (kind != Kind::Directory).then_some(1),
        ..TreeEntry::default()
    }
}

fn clean(verdict: Verdict) {
    verdict.unwrap_or_else(|complaint| panic!("{complaint}"));
}

/// Every byte of a partition, holes as zeroes.
fn partition_hash(image: &Path, number: u32) -> Option<String> {
    Region::partition(image, number)?.with_file(hash).into()
}

/// Every judge on a raw image. `before` is the image it was baked from.
fn judge(before: &Path, after: &Path, untouched: &[u32]) {
    clean(judges::gpt_clean(after));
    assert_eq!(
        judges::gpt_json(before).map(anonymous),
        judges::gpt_json(after).map(anonymous)
    );
    let table = |image| judges::cgpt_show(image);
    assert_eq!(table(before), table(after));
    if let (Some(esp), Some(root)) = (Region::partition(after, 1), Region::partition(after, 9)) {
        clean(judges::fat_clean(&esp));
        clean(judges::ext4_clean(&root));
    }
    for &number in untouched {
        assert_eq!(
            partition_hash(before, number),
            partition_hash(after, number),
            "partition {number} has changed"
        );
    }
    let head = |image: &Path| Region::whole(image).read(0, 440);
    assert_eq!(head(before), head(after), "boot code");
}

/// A partition table without the name of the file it was read from.
fn anonymous(mut table: serde_json::Value) -> serde_json::Value {
    for partition in table["partitions"].as_array_mut().unwrap() {
        partition.as_object_mut().unwrap().remove("node");
    }
    table.as_object_mut().unwrap().remove("device");
    table
}

/// A whole bake of one generation into raw and qcow2.
fn bake_generation(recipe: &Recipe) {
    let (Some(image), Some(ingredients)) = (flatcar_image(recipe), Ingredients::of(recipe)) else {
        return;
    };
    let dir = scratch_dir();
    let raw = dir.path().join("out.img");
    let qcow2 = dir.path().join("out.qcow2");
    let before = (
        fs::metadata(&image).unwrap().modified().unwrap(),
        Region::whole(&image).read(0, 4 << 20),
    );
    run(&mut ingredients.bake(&image, &raw));
    run(&mut ingredients.bake(&image, &qcow2));
    assert_eq!(
        before,
        (
            fs::metadata(&image).unwrap().modified().unwrap(),
            Region::whole(&image).read(0, 4 << 20)
        )
    );

    judge(&image, &raw, &[2, 3, 4, 6, 7]);
    clean(judges::qcow2_clean(&qcow2));
    clean(judges::qemu_compare(&raw, &qcow2));
    assert_eq!(
        fs::metadata(&raw).unwrap().len(),
        fs::metadata(&image).unwrap().len()
    );

    let mut root = partition_tree(&image, 9, "ext4").unwrap();
    ingredients.expect_on_root(&mut root);
    let mut found = partition_tree(&raw, 9, "ext4").unwrap();
    // A folder that gets its first new entry is changed: its time is not the old one.
    for tree in [&mut root, &mut found] {
        tree.entry(String::new()).and_modify(|top| top.mtime = None);
    }
    clean(compare(&root, &found));
    let mut esp = partition_tree(&image, 1, "fat").unwrap();
    esp.insert(
        "Notes And More".to_owned(),
        TreeEntry {
            kind: Kind::Directory,
            ..TreeEntry::default()
        },
    );
    let note = ingredients.path("note.txt");
    let size = note.metadata().unwrap().len();
    let note = TreeEntry {
        kind: Kind::File,
        size: Some(size),
        sha256: Some(hash(&note)),
        ..TreeEntry::default()
    };
    esp.insert("Notes And More/A Note.txt".to_owned(), note);
    clean(compare(&esp, &partition_tree(&raw, 1, "fat").unwrap()));
}

#[test]
fn the_present_generation() {
    bake_generation(&Recipe::new());
}

#[test]
fn the_generation_before() {
    bake_generation(&Recipe::old());
}

#[test]
fn an_ext4_oem_can_be_edited() {
    let Some(image) = flatcar_image(&Recipe::oldest()) else {
        return;
    };
    let dir = scratch_dir();
    let raw = dir.path().join("out.img");
    let config = dir.path().join("config.ign");
    fs::write(&config, r#"{"ignition": {"version": "2.3.0"}}"#).unwrap();
    fs::write(
        dir.path().join("grub.cfg"),
        "set oem_id=\"qemu\"\nset linux_append=\"quiet\"\n",
    )
    .unwrap();
    let mut command = flatbake();
    command
        .arg("bake")
        .arg("--image")
        .arg(&image)
        .arg("--output")
        .arg(&raw)
        .arg("--config-ign")
        .arg(&config);
    command
        .arg("--grub-cfg")
        .arg(dir.path().join("grub.cfg"))
        .arg("--base-ign")
        .arg(&config);
    run(&mut command);
    judge(&image, &raw, &[1, 2, 3, 4, 7, 9]);
    let oem = Region::partition(&raw, 6).unwrap();
    clean(judges::ext4_clean(&oem));
    for (path, file) in [
        ("/config.ign", &config),
        ("/base/base.ign", &config),
        ("/grub.cfg", &dir.path().join("grub.cfg")),
    ] {
        clean(judges::grub_cmp(&oem, path, file));
    }
}

/// OEM as vendors have it: GRUB's hook with kernel arguments, Ignition configs, a sysext.
fn edit_btrfs_oem(recipe: &Recipe) {
    let grub_cfg = "set oem_id=\"qemu\"\nset linux_append=\"flatcar.autologin quiet\"\n";
    let recipe = recipe
        .clone()
        .with_file(6, "grub.cfg", grub_cfg.as_bytes())
        .with_file(6, "old/file", b"old");
    let (Some(image), Some(ingredients)) = (flatcar_image(&recipe), Ingredients::of(&recipe))
    else {
        return;
    };
    let dir = scratch_dir();
    let raw = dir.path().join("out.img");
    let config = dir.path().join("config.ign");
    fs::write(&config, r#"{"ignition": {"version": "3.4.0"}}"#).unwrap();
    let mut command = flatbake();
    command
        .arg("bake")
        .arg("--image")
        .arg(&image)
        .arg("--output")
        .arg(&raw)
        .args(["--timestamp", &TIME.to_string()]);
    command.args([
        "--kernel-arg",
        "mitigations=off",
        "--remove-kernel-arg",
        "quiet",
        "--remove",
        "oem:/old",
    ]);
    command
        .arg("--config-ign")
        .arg(&config)
        .arg("--base-ign")
        .arg(&config)
        .args(["--install-to", "oem:/sysext/"]);
    command
        .arg("--oem-file")
        .arg(format!("{}:/data", ingredients.path("tree").display()));
    command.args(
        ingredients
            .sysexts
            .iter()
            .map(|(name, file)| format!("{name}:{}", file.display())),
    );
    run(&mut command);
    judge(&image, &raw, &[1, 2, 3, 4, 7]);
    let oem = Region::partition(&raw, 6).unwrap();
    clean(judges::btrfs_clean(&oem));
    let wanted = dir.path().join("grub.cfg");
    fs::write(
        &wanted,
        "set oem_id=\"qemu\"\nset linux_append=\"flatcar.autologin mitigations=off\"\n",
    )
    .unwrap();
    let sysexts = ingredients.sysexts.iter().map(|(_, file)| {
        (
            format!("/sysext/{}", file.file_name().unwrap().to_str().unwrap()),
            file.clone(),
        )
    });
    let configs = [
        ("/grub.cfg", &wanted),
        ("/config.ign", &config),
        ("/base/base.ign", &config),
    ];
    for (path, file) in configs
        .map(|(path, file)| (path.to_owned(), file.clone()))
        .into_iter()
        .chain(sysexts)
    {
        clean(judges::grub_cmp(&oem, &path, &file));
    }
    let tree = partition_tree(&raw, 6, "btrfs").unwrap();
    assert!(tree.keys().all(|path| !path.starts_with("old")));
    for number in 0..500 {
        let path = format!("folder-{}/file with a longer name {number}.txt", number % 7);
        let found = tree[&format!("data/{path}")].sha256.clone();
        assert_eq!(
            found,
            Some(hash(&ingredients.path("tree").join(&path))),
            "{path}"
        );
    }
    let root = partition_tree(&raw, 9, "ext4").unwrap();
    assert_eq!(
        root["etc/extensions/greeter.raw"].target.as_deref(),
        Some("/oem/sysext/greeter.raw")
    );
}

#[test]
fn a_btrfs_oem_of_the_present_generation() {
    edit_btrfs_oem(&Recipe::new());
}

#[test]
fn a_btrfs_oem_of_the_generation_before() {
    edit_btrfs_oem(&Recipe::old());
}

#[test]
fn archives_are_unpacked_where_they_belong() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    if !crate::common::programs::judges(&["tar", "zstd", "debugfs"]) {
        return;
    }
    let dir = scratch_dir();
    let source = dir.path().join("docker");
    let raw = dir.path().join("out.img");
    for number in 0..300 {
        let folder = source.join(format!("overlay2/layer{}/diff", number % 9));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("file{number}")),
            crate::common::noise(number, usize::try_from(number).unwrap() * 50),
        )
        .unwrap();
    }
    std::os::unix::fs::symlink("layer1", source.join("overlay2/link")).unwrap();
    fs::hard_link(
        source.join("overlay2/layer0/diff/file0"),
        source.join("overlay2/name"),
    )
    .unwrap();
    fs::write(source.join("engine-id"), "4711").unwrap();
    fs::create_dir(source.join("tmp")).unwrap();
    fs::write(source.join("tmp/left-out"), "x").unwrap();
    let packed = dir.path().join("docker.tar.zst");
    let boot = dir.path().join("boot.tar");
    let tar = |arguments: &[&str]| run(tool("tar").arg("-C").arg(dir.path()).args(arguments));
    tar(&[
        "--format=pax",
        "--zstd",
        "-cf",
        packed.to_str().unwrap(),
        "docker",
    ]);
    fs::write(dir.path().join("boot-note"), "x").unwrap();
    tar(&["-cf", boot.to_str().unwrap(), "boot-note"]);
    let motd = dir.path().join("motd");
    fs::write(&motd, "a file wins over an archive").unwrap();

    let mut command = flatbake();
    command
        .arg("bake")
        .arg("--image")
        .arg(&image)
        .arg("--output")
        .arg(&raw)
        .args(["--strip-components", "1"]);
    command
        .arg("--root-tar")
        .arg(format!("{}:/var/lib/docker", packed.display()))
        .args(["--owner", "7:8"]);
    command.args(["--exclude", "docker/tmp"]);
    command.arg("--root-file").arg(format!(
        "{}:/var/lib/docker/overlay2/layer3/diff/file3",
        motd.display()
    ));
    let output = run(&mut command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("engine-id"), "{said}");
    judge(&image, &raw, &[1, 2, 3, 4, 6, 7]);
    let root = partition_tree(&raw, 9, "ext4").unwrap();
    let inside = |path: &str| format!("var/lib/docker/{path}");
    assert!(!root.contains_key(&inside("engine-id")) && !root.contains_key(&inside("tmp")));
    for number in (0..300).filter(|&number| number != 3) {
        let path = format!("overlay2/layer{}/diff/file{number}", number % 9);
        let found = &root[&inside(&path)];
        assert_eq!(
            (found.sha256.clone(), found.uid, found.gid),
            (Some(hash(&source.join(&path))), Some(7), Some(8))
        );
    }
    assert_eq!(
        root[&inside("overlay2/layer3/diff/file3")].sha256,
        Some(hash(&motd))
    );
    assert_eq!(
        root[&inside("overlay2/link")].target.as_deref(),
        Some("layer1")
    );
    assert_eq!(root[&inside("overlay2/name")].nlink, Some(2));

    let mut command = flatbake();
    command
        .arg("bake")
        .arg("--overwrite")
        .arg("--image")
        .arg(&image)
        .arg("--output")
        .arg(&raw);
    run(command
        .arg("--boot-tar")
        .arg(&boot)
        .arg("--oem-tar")
        .arg(&packed));
    judge(&image, &raw, &[2, 3, 4, 7, 9]);
    assert!(
        partition_tree(&raw, 1, "fat")
            .unwrap()
            .contains_key("boot-note")
    );
    assert!(
        partition_tree(&raw, 6, "btrfs")
            .unwrap()
            .contains_key("docker/overlay2/layer8/diff/file8")
    );
}

/// The small image with one of the dirty fixtures of `testdata/ext4` as its ROOT.
fn image_that_was_in_use(dir: &Path) -> Option<PathBuf> {
    let image = crate::common::flatcar::flatcar_copy(&Recipe::small(), dir)?;
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ext4/ext4-dirty-orphan-file.img.zst");
    let mut decoder =
        ruzstd::decoding::StreamingDecoder::new(File::open(fixture).unwrap()).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut decoder, &mut bytes).unwrap();
    Region::partition(&image, 9)?.write(0, &bytes);
    Some(image)
}

#[test]
fn a_root_that_was_in_use_is_replayed_or_refused() {
    let dir = scratch_dir();
    let Some(image) = image_that_was_in_use(dir.path()) else {
        return;
    };
    let raw = dir.path().join("out.img");
    let motd = dir.path().join("motd");
    fs::write(&motd, "after the journal").unwrap();
    let bake = || {
        let mut command = flatbake();
        command
            .arg("bake")
            .arg("--image")
            .arg(&image)
            .arg("--output")
            .arg(&raw);
        command
            .arg("--root-file")
            .arg(format!("{}:/motd", motd.display()));
        command
    };
    let refused = bake().arg("--no-replay").output().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(3) && message.contains("hint:") && !raw.exists(),
        "{message}"
    );
    run(&mut bake());
    clean(judges::ext4_clean(&Region::partition(&raw, 9).unwrap()));
    let root = partition_tree(&raw, 9, "ext4").unwrap();
    assert_eq!(root["motd"].sha256, Some(hash(&motd)));
    let hashes = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ext4/ext4-dirty-orphan-file.sha256"),
    );
    for line in hashes.unwrap().lines() {
        let (expected, path) = line.split_once("  ").unwrap();
        assert_eq!(
            root[path.trim_start_matches("./").trim_start_matches('/')]
                .sha256
                .as_deref(),
            Some(expected),
            "{path}"
        );
    }
}

#[test]
fn root_grows_to_the_size_of_a_vendor_layout() {
    let (Some(image), Some(ingredients)) = (flatcar_image(&Recipe::new()), Ingredients::new())
    else {
        return;
    };
    let dir = scratch_dir();
    let raw = dir.path().join("out.img");
    let qcow2 = dir.path().join("out.qcow2");
    run(ingredients
        .bake(&image, &raw)
        .args(["--root-size", "6320M"]));
    run(ingredients
        .bake(&image, &qcow2)
        .args(["--root-size", "6320M"]));
    clean(judges::gpt_clean(&raw));
    clean(judges::qcow2_clean(&qcow2));
    clean(judges::qemu_compare(&raw, &qcow2));
    // The disk and the partition of Flatcar's own layout `vm`.
    assert_eq!(fs::metadata(&raw).unwrap().len(), 13_212_057_600);
    let root = Region::partition(&raw, 9).unwrap();
    assert_eq!(root.len, 6320 << 20);
    clean(judges::ext4_clean(&root));
    let mut expected = partition_tree(&image, 9, "ext4").unwrap();
    ingredients.expect_on_root(&mut expected);
    let mut found = partition_tree(&raw, 9, "ext4").unwrap();
    for tree in [&mut expected, &mut found] {
        tree.entry(String::new()).and_modify(|top| top.mtime = None);
    }
    clean(compare(&expected, &found));
    for number in [2, 3, 4, 6, 7] {
        assert_eq!(
            partition_hash(&image, number),
            partition_hash(&raw, number),
            "partition {number} has changed"
        );
    }
}

#[test]
fn root_grows_just_enough_by_itself() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let dir = scratch_dir();
    let raw = dir.path().join("out.img");
    let big = dir.path().join("big");
    let same = dir.path().join("same.img");
    fs::write(&big, crate::common::noise(1, 200 << 20)).unwrap();
    let bake = |output: &Path, file: &Path| {
        let mut command = flatbake();
        command
            .arg("bake")
            .arg("--image")
            .arg(&image)
            .arg("--output")
            .arg(output)
            .args(["--root-size", "auto"]);
        run(command
            .arg("--root-file")
            .arg(format!("{}:/big", file.display())));
    };
    bake(&raw, &big);
    clean(judges::gpt_clean(&raw));
    clean(judges::ext4_clean(&Region::partition(&raw, 9).unwrap()));
    assert_eq!(
        partition_tree(&raw, 9, "ext4").unwrap()["big"].sha256,
        Some(hash(&big))
    );
    let len = fs::metadata(&raw).unwrap().len();
    assert!(len.is_multiple_of(126 << 20) && len < 800 << 20, "{len}");
    bake(&same, Path::new(env!("CARGO_MANIFEST_PATH")));
    assert_eq!(
        fs::metadata(&same).unwrap().len(),
        fs::metadata(&image).unwrap().len(),
        "what fits does not grow"
    );
}

#[test]
fn an_oem_that_is_too_small_is_refused() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let dir = scratch_dir();
    let raw = dir.path().join("out.img");
    let noise = dir.path().join("noise");
    fs::write(&noise, crate::common::noise(7, 70 << 20)).unwrap();
    let mut command = flatbake();
    command
        .arg("bake")
        .arg("--image")
        .arg(&image)
        .arg("--output")
        .arg(&raw);
    let output = command
        .arg("--oem-file")
        .arg(format!("{}:/noise", noise.display()))
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(4) && message.contains("hint:") && message.contains("ROOT"),
        "{message}"
    );
    assert!(!raw.exists());
}

#[test]
fn removals_and_replacements() {
    let Some(image) = flatcar_image(
        &Recipe::small()
            .with_file(9, "etc/old/deep/file", b"old")
            .with_file(9, "etc/motd", b"old"),
    ) else {
        return;
    };
    let dir = scratch_dir();
    let raw = dir.path().join("out.img");
    let motd = dir.path().join("motd");
    fs::write(&motd, "new").unwrap();
    let mut command = flatbake();
    command
        .args([
            "bake",
            "--remove",
            "root:/etc/old",
            "--remove",
            "boot:/flatcar/grub",
            "--image",
        ])
        .arg(&image);
    command
        .arg("--root-file")
        .arg(format!("{}:/etc/", motd.display()))
        .arg("--output")
        .arg(&raw);
    run(&mut command);
    judge(&image, &raw, &[2, 3, 4, 6, 7]);
    let root = partition_tree(&raw, 9, "ext4").unwrap();
    let esp = partition_tree(&raw, 1, "fat").unwrap();
    assert!(root.keys().all(|path| !path.starts_with("etc/old")));
    assert_eq!(
        (root["etc/motd"].size, root["etc/motd"].sha256.clone()),
        (Some(3), Some(hash(&motd)))
    );
    assert!(
        esp.contains_key("flatcar/first_boot")
            && esp.keys().all(|path| !path.starts_with("flatcar/grub"))
    );
}

#[test]
fn a_bake_without_edits_is_the_image_itself() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let dir = scratch_dir();
    let raw = dir.path().join("out.img");
    run(flatbake()
        .arg("bake")
        .arg("--image")
        .arg(&image)
        .arg("--output")
        .arg(&raw));
    assert_eq!(hash(&image), hash(&raw));
    use std::os::unix::fs::MetadataExt;
    assert!(
        fs::metadata(&raw).unwrap().blocks() <= fs::metadata(&image).unwrap().blocks(),
        "holes stay holes"
    );
}

#[test]
fn same_inputs_same_bytes() {
    let (Some(image), Some(ingredients)) = (flatcar_image(&Recipe::small()), Ingredients::new())
    else {
        return;
    };
    for extension in ["img", "qcow2"] {
        let mut hashes = Vec::new();
        for (threads, zone, umask) in [("1", "UTC", "022"), ("5", "Pacific/Chatham", "077")] {
            let dir = scratch_dir();
            let output = dir.path().join(format!("out.{extension}"));
            let mut command = ingredients.bake(&image, &output);
            command
                .args(["--threads", threads])
                .env("TZ", zone)
                .env("TMPDIR", dir.path())
                .env("LC_ALL", "C");
            let arguments: Vec<_> = std::iter::once(command.get_program())
                .chain(command.get_args())
                .collect();
            let mut shell = tool("sh");
            shell
                .arg("-c")
                .arg(format!("umask {umask}; exec \"$@\""))
                .arg("sh")
                .args(arguments)
                .current_dir(dir.path());
            shell.envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            run(&mut shell);
            hashes.push(hash(&output));
        }
        assert_eq!(hashes[0], hashes[1], "{extension}");
    }
}

#[test]
fn a_compressed_image_is_decoded_once_and_stays_as_it_is() {
    let Some(ingredients) = Ingredients::new() else {
        return;
    };
    let dir = scratch_dir();
    let sample =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/flatcar_sample.bin.bz2");
    let before = hash(&sample);
    let first = dir.path().join("1.img");
    let second = dir.path().join("2.img");
    let cache = dir.path().join("cache");
    run(ingredients
        .bake(&sample, &first)
        .arg("--cache-dir")
        .arg(&cache));
    assert_eq!(
        fs::read_dir(&cache)
            .unwrap()
            .filter(|entry| is_image(entry.as_ref().unwrap()))
            .count(),
        1
    );
    run(ingredients
        .bake(&sample, &second)
        .arg("--cache-dir")
        .arg(&cache));
    assert_eq!(hash(&first), hash(&second));
    assert_eq!(before, hash(&sample));
    judge_sample(&first);
}

fn is_image(entry: &fs::DirEntry) -> bool {
    entry.metadata().unwrap().len() > 1 << 20
}

fn judge_sample(image: &Path) {
    clean(judges::gpt_clean(image));
    if let (Some(esp), Some(root), Some(oem)) = (
        Region::partition(image, 1),
        Region::partition(image, 9),
        Region::partition(image, 6),
    ) {
        clean(judges::fat_clean(&esp));
        clean(judges::ext4_clean(&root));
        clean(judges::btrfs_clean(&oem));
    }
}

#[test]
fn no_privilege_is_needed() {
    let (Some(image), Some(ingredients)) = (flatcar_image(&Recipe::small()), Ingredients::new())
    else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        // Every other test of this file already runs without privileges then.
        return;
    }
    let Some(setpriv) = crate::common::programs::judge("setpriv") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out.qcow2");
    // Folders of the build may be closed to other users: what is needed is handed over in an open one.
    let copies = ["program", "image", "ingredients"].map(|name| dir.path().join(name));
    fs::copy(env!("CARGO_BIN_EXE_flatbake"), &copies[0]).unwrap();
    crate::common::region::copy_file(&image, &copies[1]);
    run(tool("cp")
        .arg("-r")
        .arg(ingredients.dir.path())
        .arg(&copies[2]));
    run(tool("chown").args(["-R", "65534:65534"]).arg(dir.path()));
    let command = ingredients.bake(&copies[1], &output);
    let here = copies[2].to_str().unwrap();
    let there = ingredients.dir.path().to_str().unwrap();
    let arguments = command
        .get_args()
        .map(|argument| argument.to_str().unwrap().replace(there, here));
    let mut unprivileged = crate::common::programs::command(&setpriv);
    unprivileged.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    ]);
    unprivileged
        .arg("--inh-caps=-all")
        .arg(&copies[0])
        .args(arguments)
        .env("TMPDIR", dir.path())
        .env("HOME", dir.path());
    run(&mut unprivileged);
    let by_root = dir.path().join("root.qcow2");
    run(&mut ingredients.bake(&image, &by_root));
    assert_eq!(hash(&output), hash(&by_root));
}

#[test]
fn the_plan_is_what_happens() {
    let (Some(image), Some(ingredients)) = (
        flatcar_image(&Recipe {
            layout: OLD,
            ..Recipe::new()
        }),
        Ingredients::new(),
    ) else {
        return;
    };
    let dir = scratch_dir();
    let output = dir.path().join("out.img");
    let dry = run(ingredients
        .bake(&image, &output)
        .args(["--dry-run", "--json"]));
    assert!(!output.exists(), "a dry run writes nothing");
    let dry: serde_json::Value = serde_json::from_slice(&dry.stdout).unwrap();
    let wet = run(ingredients.bake(&image, &output).arg("--json"));
    let wet: serde_json::Value = serde_json::from_slice(&wet.stdout).unwrap();
    assert_eq!(dry["shared"], wet["shared"]);
    assert_eq!(
        wet["outputs"][0]["disk_bytes"],
        fs::metadata(&image).unwrap().len()
    );
    let changes = dry["shared"]["changes"].as_array().unwrap();
    assert_eq!(
        changes
            .iter()
            .filter(|change| change["action"] == "write_file" && change["partition"] == "root")
            .count(),
        504
    );
    let text = run(ingredients.bake(&image, &output).arg("--dry-run"));
    let text = String::from_utf8(text.stdout).unwrap();
    for expected in [
        "/opt/extensions/hello/hello-1.2.3-x86-64.raw",
        "deletes",
        "keeps",
        "flatcar-reset",
        "inodes",
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
}
