//! Through a proxy of the tests.

use flatbake::ErrorKind;
use flatbake::fetch::transfer::{Proxies, Settings};

use super::{client, download, quick, source, told};
use crate::common::noise;
use crate::common::proxy::Proxy;
use crate::common::server::{Authority, Reply, Request, Server};

/// `me:word`.
const AUTHORIZATION: &str = "Basic bWU6d29yZA==";

fn through(proxy: &str, without: &str) -> Settings {
    Settings {
        proxies: Proxies::new(Some(proxy), Some(proxy), without).unwrap(),
        authorities: Authority::usual()
            .map(Authority::file)
            .into_iter()
            .collect(),
        ..quick()
    }
}

fn serve(_: &Request) -> Reply {
    Reply::ok(noise(1, 500_000))
}

#[test]
fn plain_requests_name_whole_urls() {
    let server = Server::http(serve);
    let proxy = Proxy::new(Some(AUTHORIZATION));
    let settings = through(&format!("http://me:word@{}", proxy.address()), "");
    // A name that only the proxy knows.
    let url = server.url("/a?b").replace("127.0.0.1", "server.test");
    assert!(
        download(&client(&settings), &url, &flatbake::NoProgress).unwrap() == noise(1, 500_000)
    );
    let at_proxy = &proxy.requests()[0];
    assert_eq!(
        (at_proxy.method.as_str(), at_proxy.target.as_str()),
        ("GET", url.as_str())
    );
    assert_eq!(at_proxy.header("Proxy-Authorization"), Some(AUTHORIZATION));
    let at_server = &server.requests()[0];
    assert_eq!(at_server.target, "/a?b");
    assert_eq!(at_server.header("Proxy-Authorization"), None);
    let port = server.address().port();
    assert_eq!(
        at_server.header("Host"),
        Some(format!("server.test:{port}").as_str())
    );
}

#[test]
fn requests_in_tls_go_through_a_tunnel() {
    let Some(authority) = Authority::usual() else {
        return;
    };
    let certificate = authority.certificate("DNS:server.test", "20200101", "20990101");
    let server = Server::https(certificate, serve);
    let url = server.url("/a").replace("127.0.0.1", "server.test");
    let proxy = Proxy::new(Some(AUTHORIZATION));
    let settings = through(&format!("me:word@{}", proxy.address()), "");
    let client = client(&settings);
    for _ in 0..2 {
        assert!(download(&client, &url, &flatbake::NoProgress).unwrap() == noise(1, 500_000));
    }
    let asked = proxy.requests();
    assert_eq!(
        asked.len(),
        1,
        "the second request goes through the tunnel that is there"
    );
    assert_eq!(asked[0].method, "CONNECT");
    assert_eq!(
        asked[0].target,
        format!("server.test:{}", server.address().port())
    );
    assert_eq!(asked[0].header("Authorization"), None);
    assert_eq!(server.requests()[0].header("Proxy-Authorization"), None);
}

#[test]
fn a_proxy_can_speak_tls_itself() {
    let Some(authority) = Authority::usual() else {
        return;
    };
    let proxy = Proxy::in_tls(authority.localhost());
    let settings = through(&format!("https://{}", proxy.address()), "");
    let plain = Server::http(serve);
    let secure = Server::https(authority.localhost(), serve);
    let client = client(&settings);
    for url in [plain.url("/"), secure.url("/")] {
        assert!(
            download(&client, &url, &flatbake::NoProgress).unwrap() == noise(1, 500_000),
            "{url}"
        );
    }
    let methods = proxy.requests().into_iter().map(|request| request.method);
    assert_eq!(methods.collect::<Vec<_>>(), ["GET", "CONNECT"]);
}

#[test]
fn exceptions_go_straight() {
    let server = Server::http(|_| Reply::ok("text"));
    let proxy = Proxy::new(None);
    let settings = through(&proxy.address().to_string(), "127.0.0.0/8");
    client(&settings)
        .read(&source(&server.url("/")), 100)
        .unwrap();
    assert!(proxy.requests().is_empty());
    let only_https = Settings {
        proxies: Proxies::new(None, Some(&proxy.address().to_string()), "").unwrap(),
        ..quick()
    };
    client(&only_https)
        .read(&source(&server.url("/")), 100)
        .unwrap();
    assert!(proxy.requests().is_empty());
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let plain = Server::http(|_| Reply::ok("text"));
    let proxy = Proxy::new(Some(AUTHORIZATION));
    let settings = through(&format!("http://me:wrong@{}", proxy.address()), "");
    let mut urls = vec![plain.url("/")];
    let secure = Authority::usual()
        .map(|authority| Server::https(authority.localhost(), |_| Reply::ok("text")));
    urls.extend(secure.iter().map(|server| server.url("/")));
    for url in urls {
        let error = client(&settings).read(&source(&url), 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        let text = told(&error);
        assert!(
            text.contains("proxy") && text.contains("wants a name and password"),
            "{text}"
        );
        assert!(!text.contains("wrong") && error.hint().is_some(), "{text}");
    }
    assert!(plain.requests().is_empty());
}

#[test]
fn a_proxy_that_is_not_there_or_reaches_nobody_is_told() {
    let gone = Proxy::new(None).address();
    let settings = through(&format!("http://me:word@{gone}"), "");
    for url in ["http://server.test/", "https://server.test/"] {
        let error = client(&settings).read(&source(url), 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        let text = told(&error);
        assert!(
            text.contains(&format!("the proxy {gone}: no connection")),
            "{text}"
        );
        assert!(!text.contains("word"), "{text}");
    }
    let proxy = Proxy::new(None);
    let settings = through(&proxy.address().to_string(), "");
    let url = format!("https://{gone}/");
    let error = client(&settings).read(&source(&url), 100).unwrap_err();
    assert!(
        told(&error).contains("opens no connection to the server: status 502"),
        "{error:?}"
    );
    assert_eq!(proxy.requests().len(), 4, "it may be better in a moment");
}
