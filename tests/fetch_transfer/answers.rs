//! Answers of servers that do what they should.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use flatbake::ErrorKind;
use flatbake::fetch::transfer::{Credential, Settings, Together, in_parallel};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Told, client, download, get, quick, source, told};
use crate::common::noise;
use crate::common::server::{Reply, Server};

#[test]
fn a_file_arrives_with_its_length_digest_and_progress() {
    let bytes = noise(1, 300_000);
    let served = bytes.clone();
    let server = Server::http(move |request| Reply::file(request, &served, "\"1\""));
    let progress = Told::default();
    let url = server.url("/folder/a%20file?key=secret");
    assert_eq!(download(&client(&quick()), &url, &progress).unwrap(), bytes);
    let lines = progress.lines();
    let name = server.url("/folder/a%20file?…");
    assert_eq!(lines.first().unwrap(), &format!("fetching {name}: 300000"));
    assert_eq!(lines.last().unwrap(), "end");
    assert_eq!(progress.sum(), 300_000);
    let request = &server.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("GET", "/folder/a%20file?key=secret")
    );
    let agent = format!("flatbake/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(request.header("User-Agent"), Some(agent.as_str()));
    assert_eq!(request.header("Accept-Encoding"), Some("identity"));
    assert_eq!(request.header("Authorization"), None);
}

#[test]
fn every_way_to_end_a_body_is_understood() {
    let bytes = noise(2, 70_000);
    let served = bytes.clone();
    let server = Server::http(move |request| {
        let reply = Reply::ok(served.clone());
        match request.path() {
            "/chunks" => reply.in_chunks(999),
            "/close" => reply.until_close(),
            "/empty" => Reply::ok(""),
            _ => reply,
        }
    });
    for path in ["/length", "/chunks", "/close"] {
        assert_eq!(get(&server.url(path)).unwrap(), bytes, "{path}");
    }
    assert_eq!(get(&server.url("/empty")).unwrap(), b"");
}

#[test]
fn requests_go_over_the_connection_that_is_there() {
    let server = Server::http(|request| match request.path() {
        "/from" => Reply::redirect("/to"),
        _ => Reply::ok("text"),
    });
    let client = client(&quick());
    for path in ["/a", "/from", "/b"] {
        assert_eq!(
            client.read(&source(&server.url(path)), 100).unwrap(),
            b"text"
        );
    }
    let connections = server
        .requests()
        .into_iter()
        .map(|request| request.connection);
    assert_eq!(connections.collect::<Vec<_>>(), [0; 4]);
}

#[test]
fn redirects_are_followed_ten_times() {
    let other = Server::http(|_| Reply::ok("there"));
    let far = other.url("/there");
    let server = Server::http(move |request| {
        let path = request.path().trim_start_matches('/');
        match path.parse::<u32>() {
            Ok(1) => Reply::redirect(&far),
            Ok(count) => Reply::redirect(&format!("./x/../{}", count - 1)),
            Err(_) => Reply::redirect("/loop"),
        }
    });
    assert_eq!(get(&server.url("/10")).unwrap(), b"there");
    assert_eq!(other.requests().len(), 1);
    for path in ["/11", "/loop"] {
        let error = get(&server.url(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(told(&error).contains("more than 10 redirects"), "{error}");
    }
    assert_eq!(server.count("/loop"), 11, "it is tried once");
}

#[test]
fn names_and_passwords_are_told_to_their_server_only() {
    let other = Server::http(|_| Reply::ok("there"));
    let far = other.url("/far");
    let server = Server::http(move |request| match request.path() {
        "/far" => Reply::redirect(&far),
        "/near" => Reply::redirect("/text"),
        "/none" => Reply::new(404, ""),
        _ => Reply::ok("text"),
    });
    let with_password = |path: &str| {
        server
            .url(path)
            .replace("http://", "http://me:pass%21word@")
    };
    for path in ["/far", "/near"] {
        get(&with_password(path)).unwrap();
    }
    // me:pass!word
    let asked: Vec<_> = server.requests();
    assert_eq!(asked.len(), 3);
    for request in asked {
        assert_eq!(
            request.header("Authorization"),
            Some("Basic bWU6cGFzcyF3b3Jk")
        );
    }
    assert_eq!(other.requests()[0].header("Authorization"), None);
    let error = get(&with_password("/none")).unwrap_err();
    assert!(!told(&error).contains("pass"), "{error:?}");
    assert!(
        error.to_string().contains("http://***@127.0.0.1:"),
        "{error}"
    );

    let settings = Settings {
        credentials: vec![Credential {
            host: server.address().to_string(),
            user: "you".to_owned(),
            password: "word".to_owned(),
        }],
        ..quick()
    };
    download(
        &client(&settings),
        &server.url("/far"),
        &flatbake::NoProgress,
    )
    .unwrap();
    let last = server.requests().pop().unwrap();
    assert_eq!(last.header("Authorization"), Some("Basic eW91OndvcmQ="));
    assert_eq!(
        other.requests().pop().unwrap().header("Authorization"),
        None
    );
}

#[test]
fn what_is_packed_all_the_same_is_unpacked_unless_it_is_stored_so() {
    let text = b"VERSION=1\n".repeat(1000);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&text).unwrap();
    let packed = encoder.finish().unwrap();
    let served = packed.clone();
    let server = Server::http(move |request| {
        let reply = Reply::ok(served.clone()).header("ETag", "\"1\"");
        match request.path() {
            "/cut" if request.before == 0 => reply.header("Content-Encoding", "gzip").cut_after(20),
            "/short" => Reply::ok(&served[..served.len() - 9]).header("Content-Encoding", "gzip"),
            "/br" => reply.header("Content-Encoding", "br"),
            "/identity" => reply.header("Content-Encoding", "identity"),
            _ => reply.header("Content-Encoding", "gzip"),
        }
    });
    assert_eq!(get(&server.url("/version.txt")).unwrap(), text);
    assert_eq!(get(&server.url("/cut")).unwrap(), text);
    for path in ["/image.bin.gz", "/image.TGZ", "/identity"] {
        assert_eq!(get(&server.url(path)).unwrap(), packed, "{path}");
    }
    let error = get(&server.url("/br")).unwrap_err();
    assert!(told(&error).contains("packs the file (br)"), "{error:?}");
    let error = get(&server.url("/short")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.header("Range").is_none())
    );
}

#[test]
fn busy_servers_are_asked_again_when_they_say() {
    let server = Server::http(|request| match (request.path(), request.before) {
        ("/date", 0) => Reply::new(503, "")
            .header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .header("Retry-After", "Sun, 06 Nov 1994 08:52:37 GMT"),
        ("/seconds", 0) => Reply::new(429, "").header("Retry-After", "180"),
        ("/500", 0..3) => Reply::new(500, "oh"),
        ("/408", 0) => Reply::new(408, "oh"),
        ("/never", _) => Reply::new(503, "no"),
        _ => Reply::ok("text"),
    });
    for path in ["/date", "/seconds"] {
        let start = Instant::now();
        assert_eq!(get(&server.url(path)).unwrap(), b"text");
        let waited = start.elapsed();
        // As long as is asked for, but no longer than allowed.
        assert!(waited >= Duration::from_millis(300), "{path}: {waited:?}");
        assert!(waited < Duration::from_secs(30), "{path}: {waited:?}");
    }
    assert_eq!(get(&server.url("/500")).unwrap(), b"text");
    assert_eq!(get(&server.url("/408")).unwrap(), b"text");
    let error = get(&server.url("/never")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let url = server.url("/never");
    let message = format!("{url}: after 4 tries: the server answered 503 Service Unavailable");
    assert_eq!(error.to_string(), message);
    assert_eq!(server.count("/never"), 4);
}

#[test]
fn several_files_come_side_by_side_and_in_order() {
    let server = Server::http(|request| {
        let number: u64 = request.path()[1..].parse().unwrap();
        Reply::ok(noise(number, 50_000))
    });
    let client = client(&quick());
    let progress = Told::default();
    let together = Together(&progress);
    let urls = (1..=12)
        .map(|number| server.url(&format!("/{number}")))
        .collect();
    let results = in_parallel(urls, NonZeroUsize::new(4).unwrap(), |url: String| {
        download(&client, &url, &together).unwrap()
    });
    for (number, bytes) in (1..=12).zip(results) {
        assert_eq!(bytes, noise(number, 50_000), "{number}");
    }
    assert_eq!(progress.sum(), 600_000);
    assert!(progress.lines().iter().all(|line| line.starts_with('+')));
}
