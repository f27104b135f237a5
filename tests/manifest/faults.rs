//! What is wrong with a manifest has file, line and column, and the exit code for bad input.

use std::fs;
use std::path::Path;

use flatbake::ErrorKind;
use flatbake::manifest::{self, LoadOptions};

use crate::manifest::{folder, load_text};

/// Each: text behind `image:` (line 1), line, column, words of the message.
const YAML: &[(&str, usize, usize, &str)] = &[
    ("imgae: x", 2, 1, "unknown key 'imgae'"),
    ("files: x", 2, 8, "expected a list, found the text 'x'"),
    ("files:", 2, 6, "found nothing"),
    (
        "files:\n  - path: root:/x\n    content: 5",
        4,
        14,
        "expected a string, found the number 5",
    ),
    (
        "files:\n  - path: root:/x\n    contents: a",
        4,
        5,
        "unknown key 'contents'",
    ),
    ("files:\n  - content: a", 3, 5, "the key 'path' is missing"),
    ("files:\n  - path: root:/x", 3, 5, "needs one of source"),
    (
        "files: [{path: root:/x, content: a, source: note.txt}]",
        2,
        9,
        "needs one of source",
    ),
    (
        "files: [{path: root:/x, source: gone.txt}]",
        2,
        33,
        "gone.txt",
    ),
    (
        "files: [{path: root:/x, source: /etc/passwd}]",
        2,
        33,
        "outside the manifest's folder",
    ),
    (
        "files: [{path: root:/x, source: ../}]",
        2,
        33,
        "outside the manifest's folder",
    ),
    (
        "files: [{path: root:/x, source: outside}]",
        2,
        33,
        "outside the manifest's folder",
    ),
    (
        "files: [{path: root:/x/, content: a}]",
        2,
        16,
        "names no file",
    ),
    ("files: [{path: usr:/x, content: a}]", 2, 16, "USR"),
    ("files: [{path: root:/../x, content: a}]", 2, 16, "'..'"),
    (
        "files: [{path: /x, content: a}]",
        2,
        16,
        "names no partition",
    ),
    (
        "files: [{path: root:/x, partition: root, content: a}]",
        2,
        16,
        "does not begin with /",
    ),
    (
        "files: [{path: root:/x, content: a, mode: 999}]",
        2,
        43,
        "'999' is not a mode",
    ),
    (
        "files: [{path: root:/x, content: a, uid: -1}]",
        2,
        42,
        "0 to 4294967295",
    ),
    (
        "files: [{path: root:/x, content_base64: '*'}]",
        2,
        41,
        "not base64",
    ),
    ("links: [{path: oem:/x, target: y}]", 2, 16, "only on root"),
    ("links: [{path: /x, target: ''}]", 2, 28, "1 to 4095"),
    (
        "sysexts: [{name: hello, file: hello.raw}, {name: hello, file: hello.raw}]",
        2,
        43,
        "given twice",
    ),
    ("sysexts: [{name: a/b, file: hello.raw}]", 2, 11, "slash"),
    (
        "sysexts: [{name: a, file: hello.raw, sha256: abc}]",
        2,
        46,
        "not a SHA-256",
    ),
    (
        "sysexts: [{name: a, file: tree}]",
        2,
        27,
        "not a regular file",
    ),
    (
        "tarballs: [{file: tree.tar, owner: root}]",
        2,
        36,
        "UID:GID",
    ),
    (
        "tarballs: [{file: tree.tar, exclude: ['']}]",
        2,
        39,
        "pattern",
    ),
    (
        "tarballs: [{file: tree.tar, dest: x}]",
        2,
        35,
        "names no partition",
    ),
    ("remove: [boot]", 2, 10, "names no partition"),
    (
        "units: [{name: a.sh, enabled: true}]",
        2,
        9,
        "not the name of a unit",
    ),
    ("units: [{name: a.service}]", 2, 9, "nothing is done"),
    (
        "units: [{name: a.service, contents: x, source: note.txt}]",
        2,
        9,
        "one of contents and source",
    ),
    ("units: [{name: a.service, source: gone}]", 2, 35, "gone"),
    (
        "units: [{name: a.service, dropins: [{name: a.conf}]}]",
        2,
        37,
        "one of contents and source",
    ),
    (
        "units: [{name: a.service, dropins: [{name: a, contents: x}]}]",
        2,
        9,
        "name of a drop-in",
    ),
    (
        "variants: [{name: a, units: [{name: b}]}]",
        2,
        30,
        "not the name of a unit",
    ),
    (
        "units: [{name: a.service, enabled: yes}]",
        2,
        36,
        "expected true or false",
    ),
    ("kernel_args: {add: ['a b']}", 2, 21, "kernel argument"),
    ("config_ign: gone.ign", 2, 13, "gone.ign"),
    (
        "config_ign: {ignition: {version: 3.3.0}, x: 0644}",
        2,
        45,
        "0o644",
    ),
    ("hostname: -a", 2, 11, "not a host name"),
    ("root_size: big", 2, 12, "not a size"),
    ("timestamp: yesterday", 2, 12, "not a time"),
    ("compress: rar", 2, 11, "rar"),
    ("install_to: here", 2, 13, "names no partition"),
    ("vendors: [qemu, {id: qemu}]", 2, 22, "asked for twice"),
    ("vendors: [toaster]", 2, 11, "no vendor 'toaster'"),
    ("vendors: toaster", 2, 10, "no vendor 'toaster'"),
    ("vendors: [azur]", 2, 11, "did you mean azure"),
    (
        "vendors: [{id: all, oem_sysext: hello.raw}]",
        2,
        16,
        "of all vendors",
    ),
    ("vendor_files: [note.txt]", 2, 16, "note.txt: line 1"),
    ("vendor_files: [gone.toml]", 2, 16, "gone.toml"),
    ("oem_sysexts: [gone]", 2, 15, "gone"),
    (
        "oem_sysexts: [/etc]",
        2,
        15,
        "outside the manifest's folder",
    ),
    (
        "oem_sysexts: [leads-out]",
        2,
        15,
        "outside the manifest's folder",
    ),
    ("isolinux: note.txt", 2, 11, "not a folder"),
    ("firmware: {code: note.txt}", 2, 11, "'vars' is missing"),
    ("firmware: {code: note.txt, vars: gone}", 2, 34, "gone"),
    (
        "outputs: [a.img, {file: a.img, format: qcow2}]",
        2,
        25,
        "written over",
    ),
    (
        "outputs: [a-flat.vmdk, {file: a.vmdk, format: vmdk_flat}]",
        2,
        31,
        "written over",
    ),
    ("outputs: [a/b.img]", 2, 11, "slash"),
    ("outputs: [a.ova]", 2, 11, "vmware_ova"),
    (
        "outputs: [{file: a.vhd, format: qcow2}]",
        2,
        18,
        "is asked for",
    ),
    ("outputs: [note.txt]", 2, 11, "does not tell the format"),
    (
        "outputs: [{file: a.qcow2, format: vdi}]",
        2,
        18,
        "a .qcow2, but vdi",
    ),
    ("outputs: [{file: a, format: iso}]", 2, 29, "iso"),
    (
        "outputs: [{file: a.img, level: 9}]",
        2,
        18,
        "for qcow2 and vmdk_stream",
    ),
    (
        "outputs: [{file: a.qcow2, level: 20}]",
        2,
        34,
        "from 1 (fast)",
    ),
    ("outputs: [{file: a.qcow2, level: 15}]", 2, 18, "level"),
    (
        "outputs: [{file: a.qcow2, qcow2_version: 4}]",
        2,
        42,
        "version of qcow2",
    ),
    (
        "outputs: [{file: a.qcow2, qcow2_version: 2, compression_type: zstd}]",
        2,
        18,
        "zstd",
    ),
    (
        "outputs: [{file: a.qcow2, cluster_size: 100}]",
        2,
        18,
        "power of two",
    ),
    (
        "outputs: [{file: a.qcow2, uncompressed: true, level: 1}]",
        2,
        18,
        "how it is compressed is given",
    ),
    ("output: note.txt", 2, 9, "not a folder"),
    (
        "output: ../elsewhere",
        2,
        9,
        "outside the manifest's folder",
    ),
    (
        "output: gone/../../x",
        2,
        9,
        "outside the manifest's folder",
    ),
    ("variants: [{name: a}, {name: A}]", 2, 30, "written over"),
    ("variants: [{name: ../a}]", 2, 19, "name of a variant"),
    ("variants: [{hostname: a}]", 2, 12, "'name' is missing"),
    (
        "variants: [{name: a, image: b}]",
        2,
        22,
        "unknown key 'image'",
    ),
    (
        "kernel_args: {add: [x]}\nvariants: [{name: a, kernel_args: {remove: [x]}}]",
        3,
        19,
        "argument 'x', which a removes",
    ),
    ("hostname: ${NAME}", 2, 11, "'NAME' is not known"),
    ("variables:\n  A: ${B}\n  B: ${A}", 3, 6, "A → B → A"),
    ("image: note.txt", 2, 1, "given twice"),
    ("force: [", 2, 8, ""),
];

const TOML: &[(&str, usize, usize, &str)] = &[
    ("imgae = 1", 2, 1, "unknown key 'imgae'"),
    (
        "files = [{ path = 'root:/x', content = 5 }]",
        2,
        40,
        "expected a string, found the number 5",
    ),
    (
        "[[files]]\npath = 'root:/x'\nsource = 'gone'",
        4,
        10,
        "gone",
    ),
    ("[[files]]\ncontent = ''", 2, 1, "'path' is missing"),
    ("force = maybe", 2, 9, ""),
    ("hostname = 'é${X}'", 2, 12, "'X' is not known"),
    ("image = 'a'", 2, 1, "duplicate"),
    ("a = ", 2, 5, ""),
];

fn check(dir: &Path, name: &str, text: &str, at: (usize, usize), says: &str) {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    let loaded = manifest::load(&path, &LoadOptions::default());
    let error = loaded
        .and_then(|manifest| manifest.request.check())
        .unwrap_err();
    let place = format!("{}:{}:{}: ", path.display(), at.0, at.1);
    assert!(error.to_string().starts_with(&place), "{text}\n{error:?}");
    assert!(
        error.to_string().contains(says) || error.hint().is_some_and(|hint| hint.contains(says)),
        "{text}\n{error:?}"
    );
    assert_eq!(error.kind().exit_code(), 2, "{text}\n{error:?}");
}

#[test]
fn every_fault_has_its_place() {
    let dir = folder();
    std::os::unix::fs::symlink("/etc", dir.path().join("outside")).unwrap();
    fs::create_dir(dir.path().join("leads-out")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("leads-out/oem-azure.raw")).unwrap();
    for (text, line, column, says) in YAML {
        let targets = if text.contains("outputs:") || text.contains("vendors:") {
            ""
        } else {
            "outputs: [out.img]"
        };
        let text = format!("image: flatcar_sample.bin.bz2\n{text}\n{targets}\n");
        check(dir.path(), "bad.yaml", &text, (*line, *column), says);
    }
    for (text, line, column, says) in TOML {
        let text = format!("image = 'flatcar_sample.bin.bz2'\n{text}\n");
        check(dir.path(), "bad.toml", &text, (*line, *column), says);
    }
    check(
        dir.path(),
        "bad.yaml",
        "force: true\n",
        (1, 1),
        "keys 'image' and 'release'",
    );
    check(dir.path(), "bad.yaml", "[]", (1, 1), "expected a table");
    check(
        dir.path(),
        "bad.yaml",
        "links: [[/x, y]]",
        (1, 9),
        "expected a table",
    );
    check(
        dir.path(),
        "bad.yaml",
        "image: {file: gone}",
        (1, 15),
        "gone",
    );
}

#[test]
fn what_is_to_be_fetched_is_named_and_must_be_there() {
    let dir = folder();
    let text = "release: 4459.2.0\nsysexts: [a@1, {name: hello, file: hello.raw}]\n\
                variants: [{name: n, sysexts: [b@latest, a@1]}]\noutputs: [a.img]\n";
    let path = dir.path().join("m.yaml");
    fs::write(&path, text).unwrap();
    let wants = manifest::read(&path, &[]).unwrap().wants().unwrap();
    assert_eq!(wants.release.unwrap().text, "4459.2.0");
    let names: Vec<_> = wants.extensions.iter().map(|named| &*named.text).collect();
    assert_eq!(names, ["a@1", "b@latest"]);
    assert!(wants.extensions[1].place.ends_with("m.yaml:3:32"));

    let mut options = LoadOptions::default();
    let refused = |options: &LoadOptions, place: &str| {
        let error = manifest::load(&path, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert!(error.to_string().contains(place), "{place}: {error:?}");
        assert!(error.hint().is_some());
    };
    refused(&options, "m.yaml:1:10");
    options.base = Some(flatbake::bake::Base::Path("fetched.bin".into()));
    refused(&options, "m.yaml:2:11");
    options.extensions.insert("a@1".to_owned(), "a.raw".into());
    refused(&options, "m.yaml:3:32");
    options
        .extensions
        .insert("b@latest".to_owned(), "b.raw".into());
    let request = manifest::load(&path, &options).unwrap().request;
    let names = |sysexts: &[flatbake::SysextSpec]| {
        let names = sysexts
            .iter()
            .map(|sysext| (sysext.name.clone(), sysext.file.clone()));
        names.collect::<Vec<_>>()
    };
    let at = |name: &str, file: &str| (name.to_owned(), std::path::PathBuf::from(file));
    let hello = dir.path().join("hello.raw");
    let wanted = [at("a", "a.raw"), at("hello", hello.to_str().unwrap())];
    assert_eq!(names(&request.edits.sysexts), wanted);
    let wanted = [at("b", "b.raw"), at("a", "a.raw")];
    assert_eq!(names(&request.variants[0].edits.sysexts), wanted);
}

#[test]
fn a_wrong_line_is_shown_with_a_caret() {
    let dir = folder();
    for (name, text, shown) in [
        (
            "m.yaml",
            "image: a\nfiles:\n  - path: root:/x\n   content: b\n",
            "\n  4 |    content: b\n    |    ^",
        ),
        (
            "m.yaml",
            "image: a\nfiles:\n\t- path: root:/x\n",
            "\n  3 | →- path: root:/x\n    |  ^",
        ),
        (
            "m.yaml",
            "image: a\nunits:\n  - name: a.service\n  enabled: true\n",
            "\n  4 |   enabled: true\n    |   ^",
        ),
        ("m.yaml", "hostnam: a\n", "\n  1 | hostnam: a\n    | ^"),
        (
            "m.toml",
            "image = 'a'\nforce = maybe\n",
            "\n  2 | force = maybe\n    |         ^",
        ),
    ] {
        let error = load_text(dir.path(), name, text).unwrap_err();
        assert!(error.to_string().ends_with(shown), "{text}\n{error}");
    }
}

#[test]
fn paths_may_lead_outside_when_they_are_allowed_to() {
    let dir = folder();
    fs::create_dir(dir.path().join("inner")).unwrap();
    let path = dir.path().join("inner/m.yaml");
    fs::write(&path, "image: ../flatcar_sample.bin.bz2\noutput: ../out\n").unwrap();
    assert!(manifest::load(&path, &LoadOptions::default()).is_err());
    let options = LoadOptions {
        allow_outside: true,
        ..LoadOptions::default()
    };
    let request = manifest::load(&path, &options).unwrap().request;
    assert_eq!(request.folder.unwrap(), dir.path().join("inner/../out"));
}
