//! Files of this machine where a URL could stand, and mirrors.

use std::fs;
use std::os::unix::fs::symlink;

use flatbake::fetch::transfer::{Mirror, Settings};
use flatbake::{ErrorKind, Reason};

use super::{Told, client, download, get, quick, source};
use crate::common::server::{Reply, Server};
use crate::common::{noise, scratch_dir};

#[test]
fn a_path_or_its_url_does_what_a_url_does() {
    let folder = scratch_dir();
    let path = folder.path().join("a file.bin");
    let bytes = noise(1, 200_000);
    fs::write(&path, &bytes).unwrap();
    symlink(&path, folder.path().join("link")).unwrap();
    let at = folder.path().to_str().unwrap();
    for text in [
        format!("{at}/a file.bin"),
        format!("file://{at}/a%20file.bin"),
        format!("file://localhost{at}/a file.bin"),
        format!("file:{at}/a%20file.bin"),
        format!("{at}/link"),
    ] {
        let progress = Told::default();
        assert!(
            download(&client(&quick()), &text, &progress).unwrap() == bytes,
            "{text}"
        );
        assert_eq!(progress.sum(), 200_000);
    }
    let found = source(&format!("file://{at}")).join("a file.bin").unwrap();
    assert!(client(&quick()).read(&found, 200_000).unwrap() == bytes);
    let error = client(&quick()).read(&found, 199_999).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Limit));
}

#[test]
fn only_regular_files_are_read() {
    let folder = scratch_dir();
    let at = folder.path().to_str().unwrap().to_owned();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for (path, kind) in [
        (at.clone(), ErrorKind::InvalidInput),
        (format!("{at}/pipe"), ErrorKind::InvalidInput),
        ("/dev/zero".to_owned(), ErrorKind::InvalidInput),
        (format!("{at}/none"), ErrorKind::NotFound),
    ] {
        let error = get(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().starts_with(&path), "{error}");
    }
}

#[test]
fn mirrors_stand_for_servers() {
    let server = Server::http(|request| Reply::ok(request.target.clone()));
    let folder = scratch_dir();
    fs::write(folder.path().join("version.txt"), "local").unwrap();
    let mirror = |prefix: &str, replacement: String| Mirror {
        prefix: prefix.to_owned(),
        replacement,
    };
    let settings = Settings {
        mirrors: vec![
            mirror(
                "https://one.example/",
                format!("{}/", folder.path().display()),
            ),
            mirror("https://two.example/", server.url("/two/")),
        ],
        ..quick()
    };
    let read = |url: &str| client(&settings).read(&source(url), 100).unwrap();
    assert_eq!(read("https://one.example/version.txt"), b"local");
    assert_eq!(read("https://two.example/a/b?c"), b"/two/a/b?c");
}
