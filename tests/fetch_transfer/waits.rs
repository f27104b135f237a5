//! Waits end: by themselves, and at once when the work is cancelled.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use flatbake::fetch::transfer::{Client, Retries, Settings};
use flatbake::{Cancel, ErrorKind, NoProgress};

use super::{client, download, get, quick, source, told};
use crate::common::noise;
use crate::common::server::{Authority, Reply, Server};

/// Patience for a third of a second.
fn impatient() -> Settings {
    Settings {
        stall_timeout: Duration::from_millis(300),
        ..quick()
    }
}

#[test]
fn a_server_that_falls_silent_is_left_and_asked_for_the_rest() {
    let bytes = noise(1, 100_000);
    let served = bytes.clone();
    let server = Server::http(move |request| {
        let reply = Reply::file(request, &served, "\"1\"");
        match (request.path(), request.before) {
            ("/once", 0) => reply.stall_after(40_000),
            ("/always", _) => reply.stall_after(0),
            _ => reply,
        }
    });
    let client = client(&impatient());
    let got = download(&client, &server.url("/once"), &NoProgress).unwrap();
    assert!(got == bytes);
    assert_eq!(server.requests()[1].range_start(), Some(40_000));

    let start = Instant::now();
    let error = download(&client, &server.url("/always"), &NoProgress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(
        told(&error).contains("after 4 tries: the server was silent for 0.3 s"),
        "{error:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_server_that_never_says_anything_is_left() {
    // Connections wait to be accepted, which nobody does.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["http", "https"] {
        let settings = Settings {
            retries: Retries {
                count: 0,
                ..quick().retries
            },
            ..impatient()
        };
        let url = format!("{scheme}://{address}/");
        let error = download(&client(&settings), &url, &NoProgress).unwrap_err();
        assert!(told(&error).contains("silent"), "{error:?}");
    }
}

#[test]
fn nobody_at_a_port_is_told_after_some_tries() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = get(&format!("http://{address}/file")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let text = told(&error);
    assert!(
        text.contains(&format!(
            "http://{address}/file: after 4 tries: no connection"
        )),
        "{text}"
    );
    assert!(text.contains("refused") && error.hint().is_some(), "{text}");
}

/// Much less than any wait of these tests, and enough for a machine that has other things to do.
const MOMENT: Duration = Duration::from_secs(3);

/// Raises the flag after a while; how long it took from then on until `work` ended, which has to be cancelled.
fn time_to_end(settings: &Settings, url: &str) -> Duration {
    let cancel = Cancel::new();
    let client = Client::new(settings, &cancel).unwrap();
    thread::scope(|scope| {
        let raised = scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            cancel.cancel();
            Instant::now()
        });
        let mut file = tempfile::tempfile().unwrap();
        let result = client.download(&source(url), &mut file, u64::MAX, &NoProgress);
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
        assert_eq!(error.to_string(), "cancelled");
        raised.join().unwrap().elapsed()
    })
}

#[test]
fn cancelled_work_ends_within_a_moment_whatever_it_waits_for() {
    let handler = |request: &crate::common::server::Request| match request.path() {
        "/body" => Reply::ok("x".repeat(1000)).stall_after(500),
        "/endless" => Reply::ok("x".repeat(100_000)).endless(),
        "/head" => Reply::raw("HTTP/1.1 200 OK\r\nX: ").stall_after(10),
        _ => Reply::new(503, ""),
    };
    let server = Server::http(handler);
    let patient = Settings {
        stall_timeout: Duration::from_secs(20),
        retries: Retries {
            first_wait: Duration::from_secs(20),
            longest_wait: Duration::from_secs(20),
            ..quick().retries
        },
        ..quick()
    };
    let mut urls: Vec<String> = ["/body", "/endless", "/head", "/busy"]
        .iter()
        .map(|path| server.url(path))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // A handshake that nobody answers.
    urls.push(format!("https://{}/", listener.local_addr().unwrap()));
    thread::scope(|scope| {
        for url in &urls {
            let patient = &patient;
            scope.spawn(move || {
                let time = time_to_end(patient, url);
                assert!(time < MOMENT, "{url}: {time:?}");
            });
        }
    });
    if let Some(authority) = Authority::usual() {
        let server = Server::https(authority.localhost(), handler);
        let settings = Settings {
            authorities: vec![authority.file()],
            ..patient
        };
        assert!(time_to_end(&settings, &server.url("/body")) < MOMENT);
    }
}
