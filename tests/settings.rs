//! Settings of the machine, as the program bakes them: consoles, logins, updates of Flatcar, sysexts that outlive a reset.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::common::programs::{flatbake, judge, raw_sample, run, said, success};
use crate::common::reading::text;
use crate::common::scratch_dir;

fn bake_of(image: &Path, out: &Path, flags: &[&str]) -> Output {
    let arguments = ["bake", "--image", text(image), "-o", text(out)];
    flatbake().args(arguments).args(flags).output().unwrap()
}

/// A bake of the sample with `flags`, in `dir`.
fn bake(dir: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let out = dir.join(name);
    let output = bake_of(&raw_sample(), &out, flags);
    assert!(output.status.success(), "{}", said(&output));
    out
}

fn cat(image: &Path, path: &str) -> String {
    let output = success(flatbake().args(["cat", text(image), path]));
    String::from_utf8(output.stdout).unwrap()
}

/// What is listed at a path.
fn list(image: &Path, path: &str) -> String {
    let listed = success(flatbake().args(["ls", "-l", text(image), path]));
    String::from_utf8(listed.stdout).unwrap()
}

#[test]
fn consoles_and_logins_are_set_in_grub_cfg() {
    let dir = scratch_dir();
    let config = dir.path().join("grub.cfg");
    fs::write(
        &config,
        "set linux_console=\"console=tty1\"\nset linux_append=\"flatcar.autologin=ttyS0 flatcar.autologin quiet\"\n",
    )
    .unwrap();
    let image = bake(
        dir.path(),
        "node.bin",
        &[
            "--grub-cfg",
            text(&config),
            "--console",
            "tty0",
            "--console",
            "ttyS0,115200n8",
            "--no-autologin",
        ],
    );
    assert_eq!(
        cat(&image, "oem:/grub.cfg"),
        "set linux_append=\"quiet\"\nset linux_console=\"console=tty0 console=ttyS0,115200n8\"\n"
    );
    // Again, nothing is to be done.
    let again = dir.path().join("again.bin");
    let flags = [
        "--console",
        "tty0",
        "--console",
        "ttyS0,115200n8",
        "--no-autologin",
    ];
    let output = bake_of(&image, &again, &flags);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(cat(&again, "oem:/grub.cfg"), cat(&image, "oem:/grub.cfg"));
}

/// A vendor's own grub.cfg comes first.
#[test]
fn a_vendors_autologin_goes_too() {
    let dir = scratch_dir();
    let vendor = |flags: &[&str], folder: &str| {
        let out = dir.path().join(folder);
        let image = raw_sample();
        let arguments = [
            "bake",
            "--image",
            text(&image),
            "--vendor",
            "qemu_uefi",
            "--no-oem",
            "--output-dir",
            text(&out),
        ];
        success(flatbake().args(arguments).args(flags));
        out.join("flatcar_production_qemu_uefi_image.img")
    };
    let config = dir.path().join("grub.cfg");
    fs::write(&config, "set linux_append=\"flatcar.autologin\"\n").unwrap();
    let with = ["--grub-cfg", text(&config)];
    let usual = vendor(&with, "usual");
    assert!(cat(&usual, "oem:/grub.cfg").contains("flatcar.autologin"));
    let without = vendor(&[&with[..], &["--no-autologin"]].concat(), "without");
    assert!(!cat(&without, "oem:/grub.cfg").contains("autologin"));
}

#[test]
fn updates_are_switched_off_or_come_from_elsewhere() {
    let dir = scratch_dir();
    let conf = dir.path().join("update.conf");
    fs::write(&conf, "# ours\nGROUP=stable\nREBOOT_STRATEGY=off\n").unwrap();
    let file = format!("{}:/etc/flatcar/update.conf:0640:500:500", text(&conf));
    let server = "https://nebraska.example.org/v1/update/";
    let image = bake(
        dir.path(),
        "served.bin",
        &[
            "--root-file",
            &file,
            "--update-server",
            server,
            "--update-group",
            "lts-2024",
        ],
    );
    assert_eq!(
        cat(&image, "root:/etc/flatcar/update.conf"),
        format!("# ours\nREBOOT_STRATEGY=off\nGROUP=lts-2024\nSERVER={server}\n")
    );
    let listed = list(&image, "root:/etc/flatcar/update.conf");
    assert!(
        listed.contains("0640") && listed.contains("500:500"),
        "{listed}"
    );

    let off = bake(dir.path(), "off.bin", &["--updates", "off"]);
    assert_eq!(
        cat(&off, "root:/etc/flatcar/update.conf"),
        "SERVER=disabled\n"
    );

    let masked = bake(dir.path(), "masked.bin", &["--updates", "masked"]);
    let listed = list(&masked, "root:/etc/systemd/system");
    for unit in ["update-engine.service", "locksmithd.service"] {
        let line = listed.lines().find(|line| line.contains(unit));
        assert!(
            line.is_some_and(|line| line.contains("/dev/null")),
            "{listed}"
        );
    }
}

#[test]
fn sysexts_outlive_a_reset_by_base_ign() {
    let dir = scratch_dir();
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/hello.raw");
    for (from, to) in [("hello.raw", "hello.raw"), ("hello.conf", "hello.conf")] {
        fs::copy(hello.with_file_name(from), dir.path().join(to)).unwrap();
    }
    let base = dir.path().join("base.ign");
    fs::write(
        &base,
        r#"{"ignition": {"version": "3.3.0"}, "storage": {"links": [{"path": "/etc/kept", "target": "/a"}]}}"#,
    )
    .unwrap();
    let sysext = format!("hello:{}", text(&dir.path().join("hello.raw")));
    let image = bake(
        dir.path(),
        "node.bin",
        &[
            &sysext,
            "--sysupdate",
            "--survive-reset",
            "--base-ign",
            text(&base),
        ],
    );
    let listed = list(&image, "oem:/extensions/hello/hello.raw");
    assert!(listed.contains("hello.raw"), "{listed}");
    let config = cat(&image, "oem:/base/base.ign");
    let json: Value = serde_json::from_str(&config).unwrap();
    let entries = |list: &str| -> Vec<String> {
        let entries = json["storage"][list].as_array().unwrap();
        entries
            .iter()
            .map(|entry| {
                let target = entry["target"].as_str().unwrap_or("file");
                format!("{} {target}", entry["path"].as_str().unwrap())
            })
            .collect()
    };
    assert_eq!(
        entries("links"),
        [
            "/etc/kept /a",
            "/etc/extensions/hello.raw /oem/extensions/hello/hello.raw",
            "/etc/systemd/system/timers.target.wants/systemd-sysupdate.timer /usr/lib/systemd/system/systemd-sysupdate.timer",
        ]
    );
    assert_eq!(
        entries("files"),
        [
            "/etc/sysupdate.hello.d/hello.conf file",
            "/etc/systemd/system/systemd-sysupdate.service.d/hello.conf file",
            "/etc/systemd/system/systemd-sysupdate.service.d/zz-merge.conf file",
            "/etc/sysupdate.d/noop.conf file",
        ]
    );
    if judge("ignition-validate").is_some() {
        let file = dir.path().join("written.ign");
        fs::write(&file, &config).unwrap();
        let output = run("ignition-validate", [text(&file)]).unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    // Nothing of it is on ROOT, which a reset empties.
    for path in [
        "/etc/extensions/hello.raw",
        "/opt/extensions",
        "/etc/sysupdate.hello.d",
    ] {
        let output = flatbake()
            .args(["ls", text(&image), &format!("root:{path}")])
            .output()
            .unwrap();
        assert!(!output.status.success(), "{path}: {}", said(&output));
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let dir = scratch_dir();
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/hello.raw");
    let sysext = format!("hello:{}", text(&hello));
    let old = dir.path().join("old.ign");
    fs::write(&old, r#"{"ignition": {"version": "2.3.0"}}"#).unwrap();
    for (flags, words) in [
        (&["--survive-reset"][..], "there are none"),
        (
            &[&sysext, "--survive-reset", "--install-to", "root:/opt/x/"],
            "a reset empties",
        ),
        (&["--updates", "never"], "mode of updates"),
        (
            &["--updates", "off", "--update-server", "https://a.example/"],
            "ask for one of the two",
        ),
        (&["--update-group", "a b"], "no update group"),
        (&["--console", "a b"], "not a console"),
        (
            &["--no-autologin", "--kernel-arg", "flatcar.autologin"],
            "without a password",
        ),
    ] {
        let out = dir.path().join("refused.bin");
        let output = bake_of(&raw_sample(), &out, flags);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(words), "{flags:?}: {said}");
        assert!(!out.exists(), "{flags:?}");
    }
}
