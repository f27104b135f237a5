//! `flatbake sysext keygen`, `sign` and `verify`, and bakes that trust what they made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use super::maker;
use crate::common::flatcar::{Recipe, ddi, flatcar_image};
use crate::common::programs::{flatbake, must_run, said};
use crate::common::scratch_dir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A folder with a bare extension and an image to bake it into.
fn folder() -> tempfile::TempDir {
    let dir = scratch_dir();
    for name in [
        "hello.raw",
        "flatcar_sample.bin.bz2",
        "flatcar_sample_4757.bin.bz2",
    ] {
        let from = Path::new(ROOT).join("testdata/sample").join(name);
        fs::copy(from, dir.path().join(name)).unwrap();
    }
    dir
}

fn run(dir: &Path, line: &str) -> Output {
    let mut command = flatbake();
    command.current_dir(dir).args(line.split(' '));
    command.output().unwrap()
}

/// What a run that succeeds prints as JSON.
fn json(dir: &Path, line: &str) -> serde_json::Value {
    let output = run(dir, line);
    assert!(output.status.success(), "{line}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A run that fails with this exit code, what it says, and the reason in its JSON.
fn failure(dir: &Path, line: &str, code: i32) -> (String, serde_json::Value) {
    let output = run(dir, &format!("{line} --json"));
    assert_eq!(
        output.status.code(),
        Some(code),
        "{line}: {}",
        said(&output)
    );
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (said(&output), document["error"]["reason"].clone())
}

#[test]
fn an_extension_is_signed_verified_and_trusted_by_an_image() {
    let dir = folder();
    let dir = dir.path();
    let made = json(dir, "sysext keygen --cn builder --type p256 --json");
    assert_eq!(made["subject"], "CN=builder");
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("sysext.key"), mode("sysext.crt")), (0o600, 0o644));
    let key = fs::read_to_string(dir.join("sysext.key")).unwrap();
    let sign = "sysext sign hello.raw --key sysext.key --cert sysext.crt -o signed.raw";
    let output = run(dir, sign);
    assert!(output.status.success(), "{}", said(&output));
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!said(&output).contains(line));
    }
    assert!(!said(&output).contains("warning:"), "{}", said(&output));
    let verified = json(dir, "sysext verify signed.raw --cert sysext.crt --json");
    assert_eq!(verified["fingerprint"], made["fingerprint"]);
    let again = json(
        dir,
        &format!("{} --json", sign.replace("signed.raw", "again.raw")),
    );
    assert_eq!(again["root_hash"], verified["root_hash"]);
    let bytes = |name: &str| fs::read(dir.join(name)).unwrap();
    assert!(bytes("signed.raw") == bytes("again.raw"));
    let seeded = json(
        dir,
        "--threads 1 sysext sign hello.raw --key sysext.key --cert sysext.crt --seed x -o seeded.raw --json",
    );
    assert_ne!(seeded["root_hash"], verified["root_hash"]);

    // An older release, and one that merges extensions in its initrd.
    for (image, code, release) in [
        ("flatcar_sample.bin.bz2", "trust-not-enforced", "4593.2.0"),
        (
            "flatcar_sample_4757.bin.bz2",
            "trust-not-enforced",
            "4757.2.1",
        ),
    ] {
        let bake = format!(
            "bake --image {image} --require-signed hello:signed.raw -o node.img --overwrite --json"
        );
        let (_, reason) = failure(dir, &bake.replace(" --json", ""), 7);
        assert_eq!(reason, "unknown-key");
        let report = json(dir, &format!("{bake} --trust-cert sysext.crt"));
        let findings = report["shared"]["findings"].as_array().unwrap();
        let found: Vec<_> = findings
            .iter()
            .map(|one| one["code"].as_str().unwrap())
            .collect();
        assert_eq!(found, [code], "{image}");
        assert!(findings[0].to_string().contains(release), "{findings:?}");
        let get = run(dir, "cat node.img root:/etc/verity.d/sysext.crt");
        assert!(get.stdout == bytes("sysext.crt"), "{}", said(&get));
        json(dir, "sysext verify signed.raw --image node.img --json");
        let (_, reason) = failure(
            dir,
            &format!("sysext verify signed.raw --image {image}"),
            if release == "4593.2.0" { 2 } else { 7 },
        );
        assert_eq!(reason, "unknown-key");
    }
    // The image trusts its own build as before.
    fs::write(dir.join("podman.raw"), ddi("flatcar-podman-4757.2.1")).unwrap();
    json(
        dir,
        "sysext verify podman.raw --image flatcar_sample_4757.bin.bz2 --json",
    );
}

#[test]
fn releases_that_may_not_see_the_certificate_are_told() {
    let dir = folder();
    let dir = dir.path();
    json(dir, "sysext keygen --cn builder --type p256 --json");
    for (version, code) in [
        ("4627.9.0", "trust-not-enforced"),
        ("4628.0.0", "trust-may-be-unseen"),
        ("4721.9.0", "trust-may-be-unseen"),
        ("4722.0.0", "trust-not-enforced"),
    ] {
        let recipe = Recipe {
            version: version.to_owned(),
            ..Recipe::small()
        };
        let Some(image) = flatcar_image(&recipe) else {
            return;
        };
        let image = image.display();
        let line = format!("plan --image {image} --trust-cert sysext.crt -o node.img --json");
        let plan = json(dir, &line);
        let findings = plan["shared"]["findings"].as_array().unwrap();
        let codes: Vec<_> = findings
            .iter()
            .map(|one| one["code"].as_str().unwrap())
            .collect();
        assert_eq!(codes, [code], "{version}");
        assert!(findings[0].to_string().contains(version), "{findings:?}");
    }
}

#[test]
fn nothing_is_written_where_something_is_wrong() {
    let dir = folder();
    let dir = dir.path();
    json(dir, "sysext keygen --cn one --type p256 --json");
    json(
        dir,
        "sysext keygen --cn two --type p256 --key two.key --cert two.crt --json",
    );
    let key = fs::read(dir.join("sysext.key")).unwrap();
    // Keys are not replaced by mistake.
    failure(dir, "sysext keygen --cn one --type p256", 2);
    failure(
        dir,
        "sysext keygen --cn one --type p256 --key a --cert a",
        2,
    );
    failure(
        dir,
        "sysext keygen --cn one --days 0 --type p256 --key a --cert b",
        2,
    );
    failure(
        dir,
        "sysext keygen --cn one --type p256 -o no-such-folder",
        2,
    );
    assert!(fs::read(dir.join("sysext.key")).unwrap() == key && !dir.join("a").exists());
    json(dir, "sysext keygen --cn one --type p256 --overwrite --json");
    assert!(fs::read(dir.join("sysext.key")).unwrap() != key);

    fs::write(dir.join("plain.tar"), "no extension").unwrap();
    fs::write(dir.join("podman.raw"), ddi("flatcar-podman-4757.2.1")).unwrap();
    let both = [
        fs::read(dir.join("sysext.crt")).unwrap(),
        fs::read(dir.join("two.crt")).unwrap(),
    ];
    fs::write(dir.join("both.crt"), both.concat()).unwrap();
    for (line, part) in [
        ("hello.raw --key two.key --cert sysext.crt", "CN=one"),
        (
            "hello.raw --key sysext.key --cert both.crt",
            "2 certificates",
        ),
        (
            "hello.raw --key sysext.crt --cert sysext.crt",
            "certificate",
        ),
        (
            "hello.raw --key sysext.key --cert sysext.key",
            "certificate",
        ),
        ("podman.raw --key sysext.key --cert sysext.crt", "--replace"),
        (
            "podman.raw --key sysext.key --cert sysext.crt --replace --arch arm64",
            "--arch",
        ),
    ] {
        let (said, _) = failure(dir, &format!("sysext sign {line} -o out.raw"), 2);
        assert!(said.contains(part), "{line}: {said}");
    }
    let output = run(
        dir,
        "sysext sign plain.tar --key sysext.key --cert sysext.crt -o out.raw",
    );
    assert!(!output.status.success());
    assert!(!dir.join("out.raw").exists());
    // What is read is never written.
    for name in ["sysext.key", "sysext.crt", "hello.raw"] {
        let line = format!(
            "sysext sign hello.raw --key sysext.key --cert sysext.crt --overwrite -o {name}"
        );
        let (said, _) = failure(dir, &line, 2);
        assert!(said.contains("is read by this run"), "{said}");
    }
    json(
        dir,
        "sysext sign podman.raw --key sysext.key --cert sysext.crt --replace -o out.raw --json",
    );
    json(dir, "sysext verify out.raw --cert both.crt --json");
    let (_, reason) = failure(dir, "sysext verify out.raw --cert two.crt", 7);
    assert_eq!(reason, "unknown-key");
    let (_, reason) = failure(dir, "sysext verify hello.raw --cert two.crt", 7);
    assert_eq!(reason, "no-signature");
}

#[test]
fn a_key_that_others_may_read_is_told_and_encrypted_ones_are_refused() {
    if !maker::can_make() {
        return;
    }
    let dir = folder();
    let dir = dir.path();
    let maker = maker::Signer::new("builder", "rsa:2048");
    fs::write(dir.join("key.pem"), maker.pkcs8("PEM")).unwrap();
    fs::write(dir.join("locked.pem"), maker.encrypted("PEM")).unwrap();
    fs::write(dir.join("cert.pem"), maker.certificate()).unwrap();
    let mode = |mode| fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(mode));
    for (bits, is_told) in [(0o644, true), (0o640, true), (0o600, false), (0o400, false)] {
        mode(bits).unwrap();
        let output = run(
            dir,
            "sysext sign hello.raw --key key.pem --cert cert.pem --overwrite -o out.raw",
        );
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output).contains("chmod 600"), is_told, "{bits:o}");
    }
    let (said, _) = failure(
        dir,
        "sysext sign hello.raw --key locked.pem --cert cert.pem -o no.raw",
        3,
    );
    assert!(said.contains("openssl pkcs8 -in KEY"), "{said}");
    assert!(!dir.join("no.raw").exists());
}

#[test]
fn files_of_several_certificates_become_several_files() {
    let dir = folder();
    let dir = dir.path();
    for name in ["one", "two"] {
        json(
            dir,
            &format!(
                "sysext keygen --cn {name} --type p256 --key {name}.key --cert {name}.crt --json"
            ),
        );
    }
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    fs::write(
        dir.join("both.pem"),
        [read("one.crt"), b"words\n".to_vec(), read("two.crt")].concat(),
    )
    .unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    fs::copy(dir.join("one.crt"), dir.join("sub/both.crt")).unwrap();
    let bake = "bake --image flatcar_sample.bin.bz2 -o node.img --trust-cert both.pem --json";
    json(dir, bake);
    let cat = |name: &str| run(dir, &format!("cat node.img root:/etc/verity.d/{name}")).stdout;
    assert!(cat("both.crt") == read("one.crt") && cat("both-2.crt") == read("two.crt"));
    for name in ["one", "two"] {
        json(
            dir,
            &format!(
                "sysext sign hello.raw --key {name}.key --cert {name}.crt -o {name}.raw --json"
            ),
        );
        json(
            dir,
            &format!("sysext verify {name}.raw --image node.img --json"),
        );
    }
    let line = bake
        .replace("node.img", "other.img")
        .replace(" --json", " --trust-cert sub/both.crt");
    let (said, _) = failure(dir, &line, 2);
    assert!(said.contains("different names"), "{said}");
    let line = bake
        .replace("node.img", "other.img")
        .replace("both.pem --json", "hello.raw");
    failure(dir, &line, 2);
    assert!(!dir.join("other.img").exists());
    // A file of the same name on ROOT takes the place of the one of the build, as systemd has it.
    fs::write(dir.join("podman.raw"), ddi("flatcar-podman-4757.2.1")).unwrap();
    fs::copy(dir.join("one.crt"), dir.join("sysexts.crt")).unwrap();
    json(
        dir,
        "bake --image flatcar_sample_4757.bin.bz2 -o masked.img --trust-cert sysexts.crt --json",
    );
    let (_, reason) = failure(dir, "sysext verify podman.raw --image masked.img", 7);
    assert_eq!(reason, "unknown-key");
}

#[test]
fn keys_of_all_kinds_are_made_for_openssl_to_read() {
    if !maker::can_make() {
        return;
    }
    let dir = scratch_dir();
    let dir = dir.path();
    for (kind, word) in [("p384", "secp384r1"), ("rsa3072", "(3072 bit)")] {
        let line = format!("sysext keygen --cn x --type {kind} --key {kind}.key --cert {kind}.crt");
        let output = run(dir, &line);
        assert!(output.status.success(), "{}", said(&output));
        let file = dir.join(format!("{kind}.crt"));
        let text = must_run(
            "openssl",
            ["x509", "-noout", "-text", "-in", file.to_str().unwrap()],
        );
        assert!(said(&text).contains(word), "{}", said(&text));
    }
}
