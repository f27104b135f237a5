use std::fs;
use std::path::{Path, PathBuf};

use crate::common::programs::{self, judges, must_run};
use crate::common::scratch_dir;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/sample")
        .join(name)
}

fn flatbake(arguments: &[&str]) -> String {
    let output = programs::flatbake().args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Whatever the image comes in, the same goes out.
#[test]
fn a_bake_from_any_image_is_the_bake_from_the_raw_one() {
    if !judges(&["qemu-img", "bzip2", "gzip"]) {
        return;
    }
    let dir = scratch_dir();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let raw = must_run(
        "bzip2",
        ["-dc", sample("flatcar_sample.bin.bz2").to_str().unwrap()],
    )
    .stdout;
    fs::write(path("disk.bin"), raw).unwrap();
    let bake = |image: &str| {
        let sysext = format!("hello:{}", sample("hello.raw").to_str().unwrap());
        let output = path("out.img");
        flatbake(&[
            "bake",
            "--no-cache",
            "--image",
            image,
            "--output",
            &output,
            &sysext,
        ]);
        let baked = fs::read(&output).unwrap();
        fs::remove_file(output).unwrap();
        baked
    };
    let files = |image: &str| flatbake(&["ls", "--no-cache", image, "root:/", "-l"]);
    let wanted = bake(&path("disk.bin"));
    let listed = files(&path("disk.bin"));
    assert_ne!(wanted, fs::read(path("disk.bin")).unwrap());
    for (format, options) in [
        ("qcow2", "compat=1.1"),
        ("vmdk", "subformat=streamOptimized"),
        ("vhdx", "subformat=dynamic"),
    ] {
        let image = path("disk.image");
        let flag = if format == "qcow2" { "-c" } else { "-q" };
        must_run(
            "qemu-img",
            [
                "convert",
                flag,
                "-f",
                "raw",
                "-O",
                format,
                "-o",
                options,
                &path("disk.bin"),
                &image,
            ],
        );
        assert!(bake(&image) == wanted, "{format}");
        assert_eq!(files(&image), listed);
        assert!(flatbake(&["inspect", "--no-cache", &image]).contains("4593.2.0"));
        must_run("gzip", ["-1f", &image]);
        if format == "qcow2" {
            assert!(
                bake(&path("disk.image.gz")) == wanted,
                "{format} within gzip"
            );
        }
    }
}
