//! What `sysext inspect` and `sysext check` tell, held against systemd-dissect and against what was put in.

use std::path::Path;
use std::sync::Arc;

use flatbake::block::{BlockDevice, FileDevice, MemoryDevice};
use flatbake::flatcar::OsRelease;
use flatbake::flatcar::ddi::{Certificate, verify};
use flatbake::flatcar::sysext::build::{Build, Compressor, Effort, Format};
use flatbake::flatcar::sysext::report::Inspected;
use flatbake::flatcar::sysext::together::{Candidate, Question, Together, check_together};
use flatbake::flatcar::sysext::{Class, Host, installed, open_installed};
use flatbake::{Cancel, Disk, ErrorKind, Finding};

use super::{Place, images, some, write};
use crate::common::content::{Machine, elf};
use crate::common::flatcar::{Recipe, ddi, flatcar_image};
use crate::common::longer;
use crate::common::programs::{ask, flatbake};
use crate::common::random::Random;
use crate::common::reading::text;

fn device(image: &Path) -> Arc<dyn BlockDevice> {
    Arc::new(FileDevice::open(image).unwrap())
}

fn look(name: &str, image: &Path) -> Inspected {
    Inspected::of(name, device(image), &[]).unwrap()
}

fn can(found: &Inspected, what: &str) -> bool {
    let use_as = found.uses.iter().find(|known| known.what == what).unwrap();
    use_as.is_possible
}

#[test]
fn all_that_was_put_in_is_told() {
    let needs = ["libc.so.6", "libm.so.6"];
    let place = Place::new()
        .with(
            "usr/bin/tool",
            &images::dynamic("/lib64/ld-linux-x86-64.so.2", &needs),
        )
        .with("usr/bin/static", &elf(Machine::X86_64, 1, 5000))
        .with("usr/lib/systemd/system/tool.service", b"[Service]\n")
        .with("usr/share/doc/tool/readme", &[b'x'; 3000])
        .with("opt/tool/data", b"12345");
    let build = Build {
        os: some("flatcar"),
        enable: vec!["tool.service".to_owned()],
        format: Format::squashfs(
            Some(Compressor::Gzip),
            Effort {
                level: None,
                block_bytes: Some(64 << 10),
            },
        )
        .unwrap(),
        ..place.build()
    };
    let built = place.write(build).unwrap();
    let found = look("tool", &place.path("tool.raw"));
    assert_eq!(found.filesystem, "squashfs");
    assert_eq!(found.compressors, ["gzip"]);
    assert_eq!(found.block_bytes, 64 << 10);
    assert_eq!(found.file_bytes, built.file_bytes);
    assert_eq!(
        (found.entries, found.content_bytes),
        (built.entries, built.content_bytes)
    );
    assert_eq!(found.releases.len(), 1);
    assert_eq!(found.releases[0].fields, built.release);
    assert_eq!(found.units.len(), 1);
    assert_eq!(found.units[0].started_by, ["multi-user.target Upholds"]);
    let programs: Vec<(&str, usize)> = found
        .programs
        .iter()
        .map(|program| (program.path.as_str(), program.needed.len()))
        .collect();
    assert_eq!(programs, [("/usr/bin/static", 0), ("/usr/bin/tool", 2)]);
    assert_eq!(found.programs[1].needed, needs);
    assert_eq!(found.programs[1].architecture.as_deref(), Some("x86-64"));
    let folder = |path: &str| {
        found
            .folders
            .iter()
            .find(|folder| folder.path == path)
            .unwrap()
    };
    assert_eq!((folder("/opt").bytes, folder("/opt").files), (5, 1));
    assert_eq!(folder("/usr/share/doc").bytes, 3000);
    assert!(found.signature.is_none() && found.partitions.is_empty());
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["releases"][0]["class"], "sysext");
}

/// The lines of systemd-dissect that say what an image can be used as, and what they are called here.
const USES: [(&str, &str); 5] = [
    ("portable service", "portable service"),
    ("initrd", "initrd"),
    ("extension for system", "sysext for system"),
    ("extension for initrd", "sysext for initrd"),
    (
        "extension for portable service",
        "sysext for portable service",
    ),
];

#[test]
fn systemd_dissect_agrees_on_what_an_image_can_be_used_as() {
    let cases: [(&str, &[(&str, &str)]); 5] = [
        ("plain", &[]),
        (
            "initrd",
            &[(
                "usr/lib/extension-release.d/extension-release.tool",
                "ID=_any\nSYSEXT_SCOPE=initrd\n",
            )],
        ),
        (
            "both",
            &[(
                "usr/lib/extension-release.d/extension-release.tool",
                "ID=_any\nSYSEXT_SCOPE=\"initrd system\"\n",
            )],
        ),
        (
            "portable",
            &[(
                "usr/lib/extension-release.d/extension-release.tool",
                "ID=_any\nSYSEXT_SCOPE=portable\n",
            )],
        ),
        (
            "service",
            &[("usr/lib/os-release", "ID=x\nPORTABLE_PREFIXES=tool\n")],
        ),
    ];
    for (case, files) in cases {
        let mut place = Place::new().with("usr/bin/tool", b"#!/bin/sh\n");
        for (path, content) in files {
            place = place.with(path, content.as_bytes());
        }
        let build = Build {
            force: true,
            ..place.build()
        };
        place.write(build).unwrap();
        let image = place.path("tool.raw");
        let found = look("tool", &image);
        assert_eq!(
            can(&found, "sysext for system"),
            !matches!(case, "initrd" | "portable"),
            "{case}"
        );
        assert_eq!(can(&found, "portable service"), case == "service");
        assert!(!can(&found, "confext for system"), "{case}");
        let Some(output) = ask("systemd-dissect", ["--no-pager", text(&image)], b"") else {
            return;
        };
        if !output.status.success() {
            eprintln!("skipped: systemd-dissect may not set up a loop device here");
            continue;
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        for (theirs, ours) in USES {
            let lines = said
                .lines()
                .map(|line| line.trim().trim_start_matches("Use As:").trim());
            let marked = |mark: &str| format!("{mark} {theirs}");
            let is_possible = lines.clone().any(|line| line == marked("✓"));
            let is_listed = is_possible || lines.clone().any(|line| line == marked("✗"));
            // Older ones do not list all.
            assert!(is_listed || theirs == "initrd", "{theirs}: {said}");
            assert_eq!(is_possible, can(&found, ours), "{case}: {theirs}");
        }
    }
}

#[test]
fn signed_disk_images_are_told_with_root_hash_and_signer() {
    let image = ddi("flatcar-podman-4757.2.1");
    let trusted = Certificate::read(include_bytes!("../../testdata/ddi/sysexts.crt")).unwrap();
    let of = |bytes: Vec<u8>, certificates: &[Certificate]| {
        Inspected::of("podman", Arc::new(MemoryDevice::new(bytes)), certificates).unwrap()
    };
    let found = of(image.clone(), &trusted);
    let signature = found.signature.unwrap();
    assert_eq!(signature.root_hash.len(), 64);
    assert!(signature.verity_holds, "{signature:?}");
    assert_eq!(
        signature.trusted.as_deref(),
        Some("CN=flatbake test build A")
    );
    assert!(
        signature.signers[0].starts_with("CN=flatbake test build A, certificate "),
        "{signature:?}"
    );
    let kinds: Vec<&str> = found
        .partitions
        .iter()
        .map(|part| part.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "root-x86-64",
            "root-x86-64-verity",
            "root-x86-64-verity-sig"
        ]
    );
    let unknown = of(image.clone(), &[]).signature.unwrap();
    assert!(unknown.verity_holds && unknown.trusted.is_none());
    // The last block that is signed, where nothing lies that is read first.
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(image.clone()));
    let signed = verify(device, &trusted).unwrap().data_bytes;
    let magic = image.windows(4).position(|bytes| bytes == EROFS_MAGIC);
    let mut damaged = image;
    damaged[magic.unwrap() - 1024 + usize::try_from(signed).unwrap() - 1] ^= 1;
    let signature = of(damaged, &trusted).signature.unwrap();
    assert!(!signature.verity_holds && signature.verity_problem.is_some());
    assert!(signature.trusted.is_some());
}

const EROFS_MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();

fn host(release: &str) -> Host {
    Host::of_release(OsRelease::parse(release.as_bytes()).unwrap())
}

const RELEASE: &str =
    "ID=flatcar\nVERSION_ID=4757.2.1\nSYSEXT_LEVEL=1.0\nFLATCAR_BOARD=amd64-usr\n";

/// Builds an extension of one file, for a system and a version.
fn extension(place: &Place, name: &str, path: &str, os: &str, version: Option<&str>) {
    let source = place.path(&format!("{name}.d"));
    crate::common::sysext::write_file(&source, path, name.as_bytes());
    let build = Build {
        os: some(os),
        version_id: version.map(str::to_owned),
        ..Build::new(source, name)
    };
    write(build, &place.path(&format!("{name}.raw")), None).unwrap();
}

fn candidate(place: &Place, name: &str, host: &Host) -> Candidate {
    let image = place.path(&format!("{name}.raw"));
    Candidate::open(name, name, device(&image), None, host).unwrap()
}

/// Each finding by its place and its word.
fn words(answer: &Together) -> Vec<(&str, &str)> {
    fn word(finding: &Finding) -> (&str, &str) {
        (
            finding.place().next().unwrap_or_default(),
            finding.code().word,
        )
    }
    answer.findings.iter().map(word).collect()
}

#[test]
fn extensions_are_checked_together_in_the_order_of_their_names() {
    let place = Place::new();
    extension(&place, "b10", "usr/share/file", "_any", None);
    extension(&place, "b9", "usr/share/file", "flatcar", None);
    extension(
        &place,
        "pinned",
        "usr/share/pinned",
        "flatcar",
        Some("4757.2.1"),
    );
    extension(&place, "other", "usr/share/file", "fedora", None);
    let host = host(RELEASE);
    let given = ["b10", "pinned", "other", "b9"]
        .map(|name| candidate(&place, name, &host))
        .into_iter()
        .collect();
    let question = Question {
        after_update: some("4800.2.0"),
        ..Question::default()
    };
    let answer = check_together(given, Vec::new(), &host, &question, &Cancel::new()).unwrap();
    let order: Vec<(&str, bool, Option<bool>)> = answer
        .order
        .iter()
        .map(|placed| {
            (
                placed.name.as_str(),
                placed.is_merged,
                placed.is_merged_after_update,
            )
        })
        .collect();
    assert_eq!(
        order,
        [
            ("b9", true, Some(true)),
            ("b10", true, Some(true)),
            ("other", false, Some(false)),
            ("pinned", true, Some(false)),
        ]
    );
    assert_eq!(
        words(&answer),
        [
            ("other", "sysext-id"),
            ("pinned", "sysext-after-update"),
            ("b10", "sysext-shared-paths"),
        ]
    );
    assert!(!answer.is_clean());
}

#[test]
fn confexts_are_known_by_their_release_files_and_share_etc() {
    let place = Place::new();
    for name in ["one", "two"] {
        let source = place.path(&format!("{name}.d"));
        crate::common::sysext::write_file(&source, "etc/motd", name.as_bytes());
        crate::common::sysext::write_file(&source, "etc/same", b"same");
        let build = Build {
            class: Class::Confext,
            ..Build::new(source, name)
        };
        write(build, &place.path(&format!("{name}.raw")), None).unwrap();
    }
    extension(&place, "system", "usr/share/x", "_any", None);
    let host = host(RELEASE);
    let given: Vec<Candidate> = ["two", "system", "one"]
        .map(|name| candidate(&place, name, &host))
        .into_iter()
        .collect();
    let classes: Vec<Class> = given.iter().map(Candidate::class).collect();
    assert_eq!(classes, [Class::Confext, Class::Sysext, Class::Confext]);
    let question = Question::default();
    let answer = check_together(given, Vec::new(), &host, &question, &Cancel::new()).unwrap();
    assert!(
        answer.order.iter().all(|placed| placed.is_merged),
        "{answer:?}"
    );
    assert_eq!(words(&answer), [("two", "sysext-shared-paths")]);
    assert_eq!(answer.findings[0].value("paths"), Some("/etc/motd"));
}

#[test]
fn extensions_of_the_image_are_replaced_and_masked_by_name() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let disk = Disk::open("image", device(&image)).unwrap();
    let host = Host::of_disk(&disk).unwrap();
    let own: Vec<String> = installed(&disk).unwrap().into_keys().collect();
    assert!(own.contains(&"docker-flatcar".to_owned()), "{own:?}");
    let place = Place::new();
    extension(&place, "docker-flatcar", "usr/share/new", "_any", None);
    extension(&place, "zz", "usr/share/zz", "_any", None);
    let ask = |names: &[&str], masked: &[&str]| {
        let given = names
            .iter()
            .map(|name| candidate(&place, name, &host))
            .collect();
        let mut theirs = Vec::new();
        for (name, (partition, path)) in installed(&disk).unwrap() {
            let file = Arc::new(open_installed(&disk, partition, path).unwrap());
            theirs.push(Candidate::open(&name, &name, file, Some(Class::Sysext), &host).unwrap());
        }
        let question = Question {
            masked: masked.iter().map(|name| (*name).to_owned()).collect(),
            after_update: None,
        };
        check_together(given, theirs, &host, &question, &Cancel::new()).unwrap()
    };
    let both = ask(&["docker-flatcar", "zz"], &[]);
    assert_eq!(words(&both), [("", "sysext-takes-place")]);
    assert!(both.is_clean());
    let names = |answer: &Together| -> Vec<String> {
        answer
            .order
            .iter()
            .map(|placed| placed.name.clone())
            .collect()
    };
    assert_eq!(
        names(&ask(&["zz"], &[])),
        ["containerd-flatcar", "docker-flatcar", "zz"]
    );
    assert_eq!(
        names(&ask(&["zz"], &["docker-flatcar", "containerd-flatcar"])),
        ["zz"]
    );
    assert_eq!(
        words(&ask(&["zz"], &["missing"])),
        [("", "sysext-mask-unknown")]
    );
}

#[test]
fn any_bytes_in_the_place_of_an_extension_give_a_report_or_an_error_that_blames_them() {
    let place = Place::new()
        .with(
            "usr/bin/tool",
            &images::dynamic("/lib64/ld.so", &["libc.so.6"]),
        )
        .with("usr/lib/systemd/system/tool.service", b"[Service]\n");
    for (number, format) in [
        Format::default(),
        Format::erofs(None, Effort::default()).unwrap(),
    ]
    .into_iter()
    .enumerate()
    {
        let image = place.path(&format!("{number}.raw"));
        let build = Build {
            format,
            ..place.build()
        };
        write(build, &image, None).unwrap();
        let whole = std::fs::read(&image).unwrap();
        let mut random = Random::new(number as u64 + 1);
        for _ in 0..longer(300) {
            let mut bytes = whole.clone();
            for _ in 0..1 + random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.bytes(1)[0];
            }
            let looked = Inspected::of("tool", Arc::new(MemoryDevice::new(bytes)), &[]);
            if let Err(error) = looked {
                let is_blamed = matches!(
                    error.kind(),
                    ErrorKind::Corrupt
                        | ErrorKind::Unsupported
                        | ErrorKind::NotFound
                        | ErrorKind::InvalidInput
                );
                assert!(is_blamed, "{error}");
            }
        }
    }
}

/// What the program says with these arguments, and its exit status.
fn run(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let output = flatbake()
        .args(arguments)
        .current_dir(place.dir.path())
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), out, err)
}

#[test]
fn the_commands_build_look_and_check() {
    let place = Place::new()
        .with("usr/bin/tool", b"#!/bin/sh\n")
        .with("usr/lib/systemd/system/tool.timer", b"[Timer]\n");
    let build = ["sysext", "build", "source", "-o", "tool.raw"];
    let more = [
        "--os",
        "flatcar",
        "--arch",
        "amd64",
        "--version-id",
        "4757.2.1",
        "--enable",
        "tool.timer",
        "--json",
    ];
    let (status, out, err) = run(&place, &[&build[..], &more].concat());
    assert_eq!((status, err.as_str()), (0, ""));
    let built: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(built["release"]["ARCHITECTURE"], "x86-64");
    let (status, out, _) = run(&place, &[&build[..], &["--json"]].concat());
    assert_eq!(status, 2);
    let failed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(failed["error"]["kind"], "invalid-input");

    let (status, out, _) = run(&place, &["sysext", "inspect", "tool.raw", "--tree"]);
    assert_eq!(status, 0);
    for part in [
        "squashfs with zstd",
        "timers.target Upholds",
        "/usr/bin/tool",
        "yes sysext for system",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let check = [
        "sysext",
        "check",
        "tool.raw",
        "--arch",
        "x86-64",
        "--flatcar",
    ];
    let (status, out, err) = run(&place, &[&check[..], &["4757.2.1"]].concat());
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    let (status, _, err) = run(
        &place,
        &[&check[..], &["4757.2.1", "--after-update", "4800.2.0"]].concat(),
    );
    assert_eq!(status, 9, "{err}");
    assert!(err.contains("silently not be merged"), "{err}");
    let (status, out, _) = run(&place, &[&check[..], &["4800.2.0", "--json"]].concat());
    assert_eq!(status, 9);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["findings"][0]["code"], "sysext-version");
    let other = |format: &str, name: &str| {
        let words = [&build[..4], &[name, "--format", format]].concat();
        run(&place, &words)
    };
    for format in ["ext4", "btrfs"] {
        let (status, _, err) = other(format, &format!("{format}.raw"));
        assert_eq!(status, 0, "{err}");
    }
}

#[test]
fn the_digest_is_that_of_the_file_and_told_wherever_something_is() {
    let place = Place::new().with("usr/bin/tool", b"#!/bin/sh\n");
    let build = [
        "sysext",
        "build",
        "source",
        "-o",
        "tool.raw",
        "--overwrite",
        "--name",
        "tool",
    ];
    for format in ["squashfs", "ddi"] {
        let told = |more: &[&str]| {
            let words = [&build[..], &["--arch", "amd64", "--format", format], more].concat();
            let (status, out, err) = run(&place, &words);
            assert_eq!(status, 0, "{err}");
            (out, err)
        };
        let (_, err) = told(&[]);
        let bytes = std::fs::read(place.path("tool.raw")).unwrap();
        let digest = crate::common::registry::sha256(&bytes);
        let digest = digest.strip_prefix("sha256:").unwrap();
        assert!(err.contains(&format!("\n{digest}  tool.raw\n")), "{err}");
        for words in [&["--json"][..], &["--json", "--quiet"]] {
            let answer: serde_json::Value = serde_json::from_str(&told(words).0).unwrap();
            assert_eq!(answer["sha256"], digest);
        }
        assert_eq!(told(&["--quiet"]), (String::new(), String::new()));
        assert!(std::fs::read(place.path("tool.raw")).unwrap() == bytes);
    }
}
