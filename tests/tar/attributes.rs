//! Extended attributes of archives: access control lists in two forms, and what Linux has no place for.

use flatbake::Finding;
use flatbake::archive::TarOptions;
use flatbake::finding::code;

use super::maker::Maker;
use super::model::Model;
use super::{path, unpack_to};

const LIST: &[u8] = b"user::rw-,user:joe:r--:1000,group::r--,mask::r--,other::---";

fn xattr<'a>(fs: &'a Model, at: &str, name: &str) -> Option<&'a [u8]> {
    let node = fs.node(&path(at)).unwrap();
    node.xattrs
        .iter()
        .find(|(found, _)| **found == *name.as_bytes())
        .map(|(_, value)| value.as_slice())
}

#[test]
fn lists_that_are_text_become_what_linux_reads() {
    let archive = Maker::new()
        .pax(&[("SCHILY.acl.access", LIST)])
        .file("file", "content")
        .pax(&[("SCHILY.acl.default", LIST)])
        .dir("folder/")
        .pax(&[(
            "SCHILY.acl.access",
            b"user::rw-,user:joe:r--,group::r--,mask::r--,other::---",
        )])
        .file("names", "content")
        .end();
    let mut fs = Model::new();
    let summary = unpack_to(&mut fs, &archive, "/", &TarOptions::default()).unwrap();
    let list = xattr(&fs, "/file", "system.posix_acl_access").unwrap();
    assert_eq!(
        (list.len(), &list[..4], &list[12..20]),
        (
            4 + 5 * 8,
            &[2, 0, 0, 0][..],
            &[2, 0, 4, 0, 0xe8, 3, 0, 0][..]
        )
    );
    assert_eq!(
        xattr(&fs, "/folder", "system.posix_acl_default"),
        Some(list)
    );
    assert_eq!(
        xattr(&fs, "/names", "system.posix_acl_access"),
        None,
        "a name means nothing to an image"
    );
    assert_eq!(
        summary.findings,
        [Finding::new(code::ARCHIVE_ACLS).with("count", 1)]
    );
}

#[test]
fn attributes_of_other_systems_are_left_out_and_told_once() {
    let mut maker = Maker::new();
    for number in 0..50 {
        let records: [(&str, &[u8]); 3] = [
            ("SCHILY.xattr.com.apple.quarantine", b"0081"),
            ("LIBARCHIVE.xattr.com.apple.provenance", b"AAEC"),
            ("SCHILY.xattr.user.kept", b"yes"),
        ];
        maker = maker
            .pax(&records)
            .file(&format!("file{number}"), "content");
    }
    let mut fs = Model::new();
    let summary = unpack_to(&mut fs, &maker.end(), "/", &TarOptions::default()).unwrap();
    assert_eq!(xattr(&fs, "/file49", "user.kept"), Some(&b"yes"[..]));
    assert_eq!(fs.node(&path("/file49")).unwrap().xattrs.len(), 1);
    let names = "com.apple.provenance, com.apple.quarantine";
    assert_eq!(
        summary.findings,
        [Finding::new(code::ARCHIVE_FOREIGN_XATTRS).with("names", names)]
    );
}

#[test]
fn of_several_headers_in_a_row_the_last_one_counts() {
    let archive = Maker::new()
        .global(&[("uid", b"7")])
        .pax(&[("path", b"first"), ("SCHILY.xattr.user.first", b"1")])
        .pax(&[("path", b"second")])
        .file("name", "content")
        .pax(&[("path", b"third")])
        .pax(&[("gid", b"9")])
        .file("fourth", "content")
        .end();
    let mut fs = Model::new();
    unpack_to(&mut fs, &archive, "/", &TarOptions::default()).unwrap();
    let node = fs.node(&path("/second")).unwrap();
    assert_eq!((node.metadata.uid, node.xattrs.len()), (7, 0));
    let node = fs.node(&path("/fourth")).unwrap();
    assert_eq!((node.metadata.uid, node.metadata.gid), (7, 9));
    assert!(fs.node(&path("/first")).is_err() && fs.node(&path("/third")).is_err());
}
