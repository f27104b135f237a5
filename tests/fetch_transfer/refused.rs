//! Answers that are no file: each is told once, with its reason.

use flatbake::fetch::transfer::Client;
use flatbake::{ErrorKind, NoProgress, Reason};

use super::{client, get, quick, source, told};
use crate::common::server::{Reply, Server};

#[test]
fn what_is_not_there_is_asked_for_once() {
    let server = Server::http(|request| {
        let status = request.path()[1..].parse().unwrap();
        Reply::new(status, "sorry")
    });
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (410, ErrorKind::NotFound),
        (400, ErrorKind::Network),
        (401, ErrorKind::Network),
        (403, ErrorKind::Network),
        (407, ErrorKind::Network),
        (204, ErrorKind::Network),
        (206, ErrorKind::Network),
        (304, ErrorKind::Network),
        (416, ErrorKind::Network),
        (418, ErrorKind::Network),
    ] {
        let path = format!("/{status}");
        let error = get(&server.url(&path)).unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert!(error.message().contains(&status.to_string()), "{error}");
        assert!(error.to_string().starts_with(&server.url(&path)), "{error}");
        assert_eq!(server.count(&path), 1, "{status}");
        assert_eq!(
            error.hint().is_some(),
            matches!(status, 401 | 403 | 407),
            "{status}"
        );
    }
}

#[test]
fn redirects_without_a_place_to_go_are_refused() {
    let server = Server::http(|request| match request.path() {
        "/nowhere" => Reply::new(302, ""),
        "/file" => Reply::redirect("file:///etc/passwd"),
        "/ftp" => Reply::redirect("ftp://127.0.0.1/x"),
        "/nonsense" => Reply::redirect("http://[/"),
        "/gone" => Reply::redirect("/404"),
        _ => Reply::new(404, ""),
    });
    for path in ["/nowhere", "/file", "/ftp", "/nonsense"] {
        let error = get(&server.url(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{path}: {error:?}");
        assert!(told(&error).contains("a redirect"), "{error:?}");
        assert_eq!(server.count(path), 1);
    }
    let error = get(&server.url("/gone")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let place = format!("redirected to {}", server.url("/404"));
    assert!(error.to_string().contains(&place), "{error}");
}

#[test]
fn more_than_is_allowed_is_refused_before_it_is_written() {
    let server = Server::http(|request| match request.path() {
        "/said" => Reply::ok("x".repeat(1000)).saying_len(u64::MAX),
        "/endless" => Reply::ok("x".repeat(10_000)).endless(),
        "/chunks" => Reply::ok("x".repeat(1001)).in_chunks(100),
        "/bomb" => Reply::ok(zeroes_packed()).header("Content-Encoding", "gzip"),
        _ => Reply::ok("x".repeat(1000)),
    });
    let client = client(&quick());
    let read = |path: &str| client.read(&source(&server.url(path)), 1000);
    assert_eq!(read("/fits").unwrap().len(), 1000);
    for path in ["/said", "/endless", "/chunks", "/bomb"] {
        let error = read(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{path}: {error:?}");
        assert_eq!(error.reason(), Some(Reason::Limit), "{path}");
        assert!(error.message().contains("1000 B"), "{error}");
        assert_eq!(server.count(path), 1, "{path}");
    }
    assert_eq!(len_after_failure(&client, &server.url("/said"), 1000), 0);
    assert!(len_after_failure(&client, &server.url("/endless"), 1000) <= 1000);
}

fn zeroes_packed() -> Vec<u8> {
    use flate2::Compression;
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 10 << 20]).unwrap();
    encoder.finish().unwrap()
}

/// The length of a file, which was not empty before, after a download into it that fails.
fn len_after_failure(client: &Client, url: &str, max_bytes: u64) -> u64 {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &[1; 5000]).unwrap();
    client
        .download(&source(url), &mut file, max_bytes, &NoProgress)
        .unwrap_err();
    file.metadata().unwrap().len()
}

#[test]
fn answers_that_are_not_http_are_refused() {
    let head = |text: &str| Reply::raw(format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n"));
    let server = Server::http(move |request| match request.path() {
        "/ssh" => Reply::raw("SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        "/long" => head(&format!("X: {}", "x".repeat(100_000))),
        "/longer" => head(&format!("X: {}", "x".repeat(1_000_000))),
        "/many" => head(&"X: y\r\n".repeat(2000)),
        "/length" => head("Content-Length: many"),
        "/chunks" => Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        _ => Reply::raw("HTTP/1.1 099 What\r\n\r\n"),
    });
    for path in [
        "/ssh", "/long", "/longer", "/many", "/length", "/chunks", "/status",
    ] {
        let error = get(&server.url(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{path}: {error:?}");
        assert!(error.to_string().starts_with(&server.url(path)), "{error}");
    }
}
