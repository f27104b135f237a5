//! Refusals; what images look like to other programs is in `tests/live`.

use super::*;
use crate::block::MemoryDevice;

fn layout(paths: &[&str]) -> IsoLayout<'static> {
    let file = |path: &&str| IsoFile {
        path: (*path).to_owned(),
        content: IsoContent::Stored(Piece::Bytes(vec![1; 100])),
    };
    IsoLayout {
        volume_id: "CDROM".to_owned(),
        time: 0,
        joliet: true,
        files: paths.iter().map(file).collect(),
        bios: None,
        efi: None,
    }
}

#[test]
fn names_that_a_cd_cannot_have_are_refused() {
    layout(&["a/b.c", "a/b", "flatcar/cpio.gz", "a-b"])
        .finish()
        .unwrap();
    for path in [
        "",
        "/a",
        "a//b",
        "a/",
        "..",
        "a/../b",
        "a b",
        "\u{e9}",
        &"n".repeat(31),
        "a/b/c/d/e/f/g/h/i",
    ] {
        assert!(layout(&[path]).finish().is_err(), "{path}");
    }
    assert!(
        layout(&["a-b", "a_b"])
            .finish()
            .unwrap_err()
            .to_string()
            .contains("one name")
    );
    assert!(layout(&["a", "a"]).finish().is_err());
    for id in ["", "lower", "A B", &"A".repeat(33)] {
        assert!(
            IsoLayout {
                volume_id: id.to_owned(),
                ..layout(&[])
            }
            .finish()
            .is_err(),
            "{id}"
        );
    }
}

#[test]
fn boot_images_are_checked() {
    let bios = |isolinux: &str, stick| {
        Some(BiosBoot {
            isolinux: isolinux.to_owned(),
            stick,
        })
    };
    assert!(
        IsoLayout {
            bios: bios("missing", None),
            ..layout(&["a"])
        }
        .finish()
        .is_err()
    );
    assert!(
        IsoLayout {
            bios: bios("a", Some(vec![0; 433])),
            ..layout(&["a"])
        }
        .finish()
        .is_err()
    );
    IsoLayout {
        bios: bios("a", Some(vec![0; 432])),
        ..layout(&["a"])
    }
    .finish()
    .unwrap();
    let fat = MemoryDevice::new(vec![0; 4096]);
    for (start, len, fits) in [
        (0, 4096, true),
        (2048, 2048, true),
        (1024, 10, false),
        (2048, 2049, false),
    ] {
        let mut layout = layout(&["a"]);
        layout.efi = Some(EfiPartition {
            image: &fat,
            name: "OEM".to_owned(),
        });
        layout.files.push(IsoFile {
            path: "b".to_owned(),
            content: IsoContent::Efi { start, len },
        });
        assert_eq!(layout.finish().is_ok(), fits, "{len} bytes at {start}");
    }
}
