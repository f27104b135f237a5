//! Large manifests take time in proportion to their size.

use std::fmt::Write;
use std::fs;
use std::time::Instant;

use flatbake::manifest::{self, LoadOptions};

use crate::manifest::folder;

#[test]
fn ten_thousand_variants_with_a_file_each() {
    let dir = folder();
    fs::create_dir(dir.path().join("keys")).unwrap();
    let take = |count: usize| {
        let mut text = "image: flatcar_sample.bin.bz2\noutputs: [node.img]\nvariants:\n".to_owned();
        for n in 0..count {
            fs::write(dir.path().join(format!("keys/{n}")), n.to_string()).unwrap();
            writeln!(
                text,
                "  - {{name: node{n}, files: [{{path: root:/etc/key, source: keys/{n}}}]}}"
            )
            .unwrap();
        }
        let path = dir.path().join("many.yaml");
        fs::write(&path, text).unwrap();
        let begin = Instant::now();
        let request = manifest::load(&path, &LoadOptions::default())
            .unwrap()
            .request;
        assert_eq!(request.variants.len(), count);
        request.check().unwrap();
        begin.elapsed()
    };
    let few = take(1000);
    let many = take(10_000);
    println!("1000 variants: {few:?}, 10000 variants: {many:?}");
    // Ten times as much, where work that grows with the square would take a hundred times.
    assert!(many < few * 50, "1000 take {few:?}, 10000 take {many:?}");
    let text = fs::read_to_string(dir.path().join("many.yaml")).unwrap() + "  - {name: other}\n";
    fs::write(dir.path().join("many.yaml"), text).unwrap();
    let request = manifest::load(&dir.path().join("many.yaml"), &LoadOptions::default())
        .unwrap()
        .request;
    assert!(
        request
            .check()
            .unwrap_err()
            .to_string()
            .contains("10001 variants are too many")
    );
}

#[test]
fn more_vendors_than_there_can_be_are_refused() {
    let dir = folder();
    let text = format!("image: note.txt\nvendors: [{}]\n", "qemu, ".repeat(100_000));
    let error = crate::manifest::load_text(dir.path(), "m.yaml", &text).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("m.yaml:2:10: 100000 vendors are too many"),
        "{error:?}"
    );
}
