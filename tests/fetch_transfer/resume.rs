//! Connections that break off: what arrives in the end is the file, in one piece.

use std::sync::Arc;

use flatbake::ErrorKind;
use flatbake::fetch::transfer::{Retries, Settings};

use super::{Told, client, download, get, quick, told};
use crate::common::random::Random;
use crate::common::server::{Authority, Reply, Request, Server};
use crate::common::{longer, noise};

/// As many tries as a test may need.
fn patient() -> Settings {
    let usual = quick();
    Settings {
        retries: Retries {
            count: 100,
            longest_wait: std::time::Duration::from_millis(2),
            ..usual.retries
        },
        ..usual
    }
}

#[test]
fn a_connection_cut_at_random_bytes_leaves_no_trace() {
    for seed in 0..longer(40) {
        cut_at_random(seed, |handler| Some(Server::http(handler)));
    }
}

#[test]
fn a_connection_in_tls_cut_at_random_bytes_leaves_no_trace() {
    for seed in 1000..1000 + longer(10) {
        cut_at_random(seed, |handler| {
            Some(Server::https(Authority::usual()?.localhost(), handler))
        });
    }
}

type Handler = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

fn cut_at_random(seed: u64, serve: impl Fn(Handler) -> Option<Server>) {
    let mut random = Random::new(seed);
    let bytes = Arc::new(noise(seed, 1 + random.below(400_000)));
    let chunked = random.below(3) == 0;
    let cuts: Vec<usize> = (0..6).map(|_| random.below(bytes.len() + 100)).collect();
    let served = Arc::clone(&bytes);
    let handler = move |request: &Request| {
        let reply = Reply::file(request, &served, "\"1\"");
        let reply = if chunked {
            reply.in_chunks(10_000)
        } else {
            reply
        };
        match cuts.get(request.before) {
            Some(cut) => reply.cut_after(*cut),
            None => reply,
        }
    };
    let Some(server) = serve(Box::new(handler)) else {
        return;
    };
    let settings = Settings {
        authorities: Authority::usual()
            .map(Authority::file)
            .into_iter()
            .collect(),
        ..patient()
    };
    let progress = Told::default();
    let url = server.url("/file");
    let got = download(&client(&settings), &url, &progress)
        .unwrap_or_else(|error| panic!("{seed}: {error:?}"));
    assert!(got == *bytes, "seed {seed}: other bytes");
    assert_eq!(
        progress.sum(),
        u64::try_from(bytes.len()).unwrap(),
        "seed {seed}"
    );
    let starts: Vec<usize> = server
        .requests()
        .iter()
        .filter_map(Request::range_start)
        .collect();
    assert!(starts.is_sorted(), "seed {seed}: {starts:?}");
}

/// A server whose answers to the first requests are made by `odd`, and which then is as it should be.
fn odd_then_sound(
    bytes: Vec<u8>,
    odd: impl Fn(&Request, &[u8]) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    Server::http(move |request| {
        odd(request, &bytes).unwrap_or_else(|| Reply::file(request, &bytes, "\"1\""))
    })
}

#[test]
fn a_part_is_asked_for_only_of_a_file_that_can_be_recognised() {
    let bytes = noise(3, 100_000);
    for (headers, condition) in [
        (
            &[
                ("ETag", "\"x\""),
                ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ][..],
            Some("\"x\""),
        ),
        (
            &[("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
            Some("Sun, 06 Nov 1994 08:49:37 GMT"),
        ),
        (&[("ETag", "W/\"x\"")], None),
        (&[], None),
    ] {
        let server = odd_then_sound(bytes.clone(), move |request, bytes| {
            let reply = match request.range_start() {
                None => Reply::ok(bytes),
                Some(start) => {
                    let range = format!("bytes {start}-99999/100000");
                    Reply::new(206, &bytes[start..]).header("Content-Range", &range)
                }
            };
            let reply = headers
                .iter()
                .fold(reply, |reply, (name, value)| reply.header(name, value));
            Some(if request.before == 0 {
                reply.cut_after(60_000)
            } else {
                reply
            })
        });
        assert!(get(&server.url("/")).unwrap() == bytes);
        let second = &server.requests()[1];
        assert_eq!(second.header("If-Range"), condition);
        assert_eq!(second.range_start().is_some(), condition.is_some());
    }
}

#[test]
fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let (old, new) = (noise(4, 100_000), noise(5, 90_000));
    let expected = new.clone();
    let server = Server::http(move |request| {
        if request.before == 0 {
            Reply::file(request, &old, "\"old\"").cut_after(50_000)
        } else {
            Reply::file(request, &new, "\"new\"")
        }
    });
    let progress = Told::default();
    let got = download(&client(&quick()), &server.url("/"), &progress).unwrap();
    assert!(got == expected);
    assert_eq!(server.requests()[1].header("If-Range"), Some("\"old\""));
    assert_eq!(progress.sum(), 90_000);
}

#[test]
fn ranges_that_lie_are_not_believed() {
    let bytes = noise(6, 100_000);
    type Lie = fn(&[u8], usize) -> Reply;
    let lies: [(&str, Lie); 8] = [
        ("another start", |bytes, start| {
            let range = format!("bytes {}-99999/100000", start - 10);
            Reply::new(206, &bytes[start - 10..]).header("Content-Range", &range)
        }),
        ("from the beginning", |bytes, _| {
            Reply::new(206, bytes).header("Content-Range", "bytes 0-99999/100000")
        }),
        ("another total", |bytes, start| {
            let range = format!("bytes {start}-99999/100001");
            Reply::new(206, &bytes[start..]).header("Content-Range", &range)
        }),
        ("a shorter part", |bytes, start| {
            let range = format!("bytes {start}-{}/*", start + 9);
            Reply::new(206, &bytes[start..start + 10]).header("Content-Range", &range)
        }),
        ("no range", |bytes, start| Reply::new(206, &bytes[start..])),
        ("nonsense", |bytes, start| {
            Reply::new(206, &bytes[start..]).header("Content-Range", "bytes one-two/three")
        }),
        ("another state", |bytes, start| {
            let range = format!("bytes {start}-99999/100000");
            Reply::new(206, &bytes[start..])
                .header("Content-Range", &range)
                .header("ETag", "\"2\"")
        }),
        ("packed", |bytes, start| {
            let range = format!("bytes {start}-99999/100000");
            Reply::new(206, &bytes[start..])
                .header("Content-Range", &range)
                .header("Content-Encoding", "gzip")
        }),
    ];
    for (what, lie) in lies {
        let server = odd_then_sound(bytes.clone(), move |request, bytes| match request.before {
            0 => Some(Reply::file(request, bytes, "\"1\"").cut_after(50_000)),
            1 => Some(lie(bytes, request.range_start().unwrap())),
            _ => None,
        });
        assert!(get(&server.url("/")).unwrap() == bytes, "{what}");
        let requests = server.requests();
        assert_eq!(requests.len(), 3, "{what}");
        assert_eq!(requests[2].range_start(), None, "{what}: it begins anew");
    }
}

#[test]
fn nothing_behind_the_end_means_that_all_is_there() {
    let bytes = noise(7, 50_000);
    // All chunks arrive, but the one that says that there are no more.
    let framing = "c350\r\n".len() + 50_000 + 2;
    let server = odd_then_sound(bytes.clone(), move |request, bytes| {
        let reply = Reply::file(request, bytes, "\"1\"")
            .in_chunks(50_000)
            .cut_after(framing);
        (request.before == 0).then_some(reply)
    });
    assert!(get(&server.url("/")).unwrap() == bytes);
    assert_eq!(server.requests()[1].range_start(), Some(50_000));

    let server = odd_then_sound(bytes.clone(), |request, bytes| match request.before {
        0 => Some(Reply::file(request, bytes, "\"1\"").cut_after(20_000)),
        1 => Some(Reply::new(416, "").header("Content-Range", "bytes */20000")),
        _ => None,
    });
    assert!(get(&server.url("/")).unwrap() == bytes);
    assert_eq!(server.requests()[2].range_start(), None, "it begins anew");
}

#[test]
fn a_length_that_is_wrong_is_tried_again_and_told() {
    let bytes = noise(8, 10_000);
    let server = odd_then_sound(bytes.clone(), |request, bytes| match request.path() {
        "/more" => Some(Reply::ok(bytes).saying_len(10_001).cut_after(10_000)),
        "/once" if request.before == 0 => {
            Some(Reply::ok(bytes).saying_len(10_001).cut_after(10_000))
        }
        "/less" => Some(Reply::ok(bytes).saying_len(9_000)),
        _ => None,
    });
    let error = get(&server.url("/more")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(
        told(&error).contains("after 4 tries: the server ended the connection too early"),
        "{error:?}"
    );
    assert_eq!(server.count("/more"), 4);
    assert!(get(&server.url("/once")).unwrap() == bytes);
    // What is behind the length that was said is no part of the answer, and no beginning of the next one.
    let client = client(&quick());
    for _ in 0..2 {
        let got = download(&client, &server.url("/less"), &flatbake::NoProgress).unwrap();
        assert!(got == bytes[..9_000]);
    }
    assert!(download(&client, &server.url("/sound"), &flatbake::NoProgress).unwrap() == bytes);
}

#[test]
fn tries_that_bring_a_good_deal_do_not_count() {
    let bytes = noise(9, 6 << 20);
    let served = bytes.clone();
    let server =
        Server::http(move |request| Reply::file(request, &served, "\"1\"").cut_after(1_100_000));
    let settings = Settings {
        retries: Retries {
            count: 1,
            ..quick().retries
        },
        ..quick()
    };
    let got = download(&client(&settings), &server.url("/"), &flatbake::NoProgress).unwrap();
    assert!(got == bytes);
    assert_eq!(server.requests().len(), 6);
}
