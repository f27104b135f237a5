//! TLS: who is believed, and what a connection that is cut means.

use flatbake::ErrorKind;
use flatbake::fetch::transfer::Settings;

use super::{client, download, get, quick, told};
use crate::common::noise;
use crate::common::server::{Authority, Reply, Server};

fn believing(authority: &Authority) -> Settings {
    Settings {
        authorities: vec![authority.file()],
        ..quick()
    }
}

#[test]
fn a_server_of_an_authority_that_is_given_is_believed() {
    let Some(authority) = Authority::usual() else {
        return;
    };
    let bytes = noise(1, 3 << 20);
    let served = bytes.clone();
    let server = Server::https(authority.localhost(), move |_| Reply::ok(served.clone()));
    let client = client(&believing(authority));
    let by_name = server.url("/").replace("127.0.0.1", "localhost");
    for url in [server.url("/"), by_name] {
        assert!(
            download(&client, &url, &flatbake::NoProgress).unwrap() == bytes,
            "{url}"
        );
    }
}

#[test]
fn servers_that_prove_nothing_are_not_believed() {
    let (Some(authority), Some(other)) = (Authority::usual(), Authority::new()) else {
        return;
    };
    let days = |from, to| authority.certificate("IP:127.0.0.1", from, to);
    for (certificate, reason) in [
        (other.localhost(), "its authority is not known"),
        (
            authority.certificate("DNS:other.example,IP:127.0.0.2", "20200101", "20990101"),
            "it is for another name",
        ),
        (days("20200101", "20210101"), "it has expired"),
        (days("20980101", "20990101"), "it is not valid yet"),
    ] {
        let server = Server::https(certificate, |_| Reply::ok("text"));
        let error = download(
            &client(&believing(authority)),
            &server.url("/"),
            &flatbake::NoProgress,
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error:?}");
        assert!(error.message().contains(reason), "{error}");
        assert!(error.hint().unwrap().contains("authority"), "{error:?}");
        assert!(!told(&error).contains("tries"), "{error:?}");
        assert!(server.requests().is_empty(), "nothing is asked");
    }
    let server = Server::https(authority.localhost(), |_| Reply::ok("text"));
    let error = get(&server.url("/")).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Untrusted,
        "nobody is believed by itself: {error:?}"
    );
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_not_to_be_trusted() {
    let server = Server::http(|_| Reply::ok("text"));
    let error = get(&server.url("/").replace("http:", "https:")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(
        error.message().contains("does not answer in TLS"),
        "{error:?}"
    );
}

#[test]
fn no_redirect_leaves_tls() {
    let Some(authority) = Authority::usual() else {
        return;
    };
    let plain = Server::http(|_| Reply::ok("anything"));
    let to = plain.url("/");
    let server = Server::https(authority.localhost(), move |_| Reply::redirect(&to));
    let error = download(
        &client(&believing(authority)),
        &server.url("/"),
        &flatbake::NoProgress,
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    assert!(error.message().contains("would leave TLS"), "{error}");
    assert!(plain.requests().is_empty());
    // The other way round is an improvement.
    let secure = Server::https(authority.localhost(), |_| Reply::ok("text"));
    let to = secure.url("/");
    let server = Server::http(move |_| Reply::redirect(&to));
    let got = download(
        &client(&believing(authority)),
        &server.url("/"),
        &flatbake::NoProgress,
    )
    .unwrap();
    assert_eq!(got, b"text");
}

#[test]
fn an_end_without_farewell_is_no_end() {
    let Some(authority) = Authority::usual() else {
        return;
    };
    let bytes = noise(2, 100_000);
    let served = bytes.clone();
    let server = Server::https(authority.localhost(), move |request| {
        let whole = Reply::ok(served.clone()).until_close();
        match (request.path(), request.before) {
            ("/once", 0) | ("/always", _) => whole.cut_after(70_000),
            _ => whole,
        }
    });
    let client = client(&believing(authority));
    assert!(download(&client, &server.url("/once"), &flatbake::NoProgress).unwrap() == bytes);
    let error = download(&client, &server.url("/always"), &flatbake::NoProgress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(told(&error).contains("too early"), "{error:?}");
}

#[test]
fn addresses_of_ipv6_work_with_and_without_tls() {
    let Some(plain) = Server::ipv6(None, |_| Reply::ok("plain")) else {
        eprintln!("skipped: this machine has no IPv6");
        return;
    };
    assert!(plain.url("/").starts_with("http://[::1]:"));
    assert_eq!(get(&plain.url("/")).unwrap(), b"plain");
    let host = plain.requests()[0].header("Host").unwrap().to_owned();
    assert_eq!(host, plain.address().to_string());
    let Some(authority) = Authority::usual() else {
        return;
    };
    let secure = Server::ipv6(Some(authority.localhost()), |_| Reply::ok("secure")).unwrap();
    let got = download(
        &client(&believing(authority)),
        &secure.url("/"),
        &flatbake::NoProgress,
    )
    .unwrap();
    assert_eq!(got, b"secure");
}
