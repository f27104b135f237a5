//! Who a registry lets in, and who is told what of us.

use flatbake::ErrorKind;
use flatbake::fetch::registry::{Architecture, Logins};
use flatbake::fetch::transfer::Client;
use flatbake::{Cancel, NoProgress};

use super::{Registry, anyone, both, client_of, pull, reference, settings, told};
use crate::common::noise;
use crate::common::registry::{Door, LOGIN, Shelf};
use crate::common::server::{Authority, Reply, Server};

fn me(server: &str) -> Logins {
    with_password(server, "word")
}

fn with_password(server: &str, password: &str) -> Logins {
    let mut logins = Logins::default();
    logins.add(server, "me", password);
    logins
}

#[test]
fn a_token_is_had_by_anyone_or_by_name() {
    for for_anyone in [true, false] {
        let registry = both(false).serve(Door::token(for_anyone), None);
        let logins = if for_anyone {
            Logins::default()
        } else {
            me(&registry.name())
        };
        let client = client_of(&registry, logins);
        let tagged = reference(&registry, "tools/both:1");
        let resolved = client.resolve(&tagged, Architecture::Amd64).unwrap();
        assert_eq!(
            pull(&client, &tagged, &resolved.manifest.layers[0]).unwrap(),
            b"amd64"
        );
        let requests = registry.server.requests();
        let (tokens, others): (Vec<_>, Vec<_>) = requests
            .iter()
            .partition(|request| request.path() == "/token");
        assert_eq!(tokens.len(), 1, "a token serves for all that follows");
        assert_eq!(
            tokens[0].target,
            "/token?service=shelf%20of%20tests&scope=repository:tools/both:pull"
        );
        assert_eq!(
            tokens[0].header("Authorization"),
            (!for_anyone).then_some(LOGIN)
        );
        for (number, request) in others.iter().enumerate() {
            let said = request.header("Authorization");
            assert_eq!(
                said,
                (number > 0).then_some("Bearer token"),
                "the password is for the realm only"
            );
        }
    }
}

#[test]
fn a_token_that_has_expired_is_had_anew() {
    let door = Door::Token {
        realm: String::new(),
        for_anyone: true,
        uses: 1,
    };
    let registry = both(false).serve(door, None);
    let client = anyone(&registry);
    let tagged = reference(&registry, "tools/both:1");
    let resolved = client.resolve(&tagged, Architecture::Amd64).unwrap();
    assert_eq!(
        pull(&client, &tagged, &resolved.manifest.layers[0]).unwrap(),
        b"amd64"
    );
    let tokens = registry
        .server
        .requests()
        .into_iter()
        .filter(|request| request.path() == "/token");
    assert_eq!(tokens.count(), 3);
}

#[test]
fn a_name_and_password_open_a_basic_door() {
    let registry = both(true).serve(Door::Basic, None);
    let config = format!(
        r#"{{"auths": {{"http://{}/v2/": {{"auth": "bWU6d29yZA=="}}}}}}"#,
        registry.name()
    );
    let client = client_of(&registry, Logins::from_docker(config.as_bytes()).unwrap());
    let tagged = reference(&registry, "tools/both:1");
    client.resolve(&tagged, Architecture::Amd64).unwrap();
    assert_eq!(
        registry.server.requests()[0].header("Authorization"),
        None,
        "it is told who asks for it"
    );
}

#[test]
fn who_is_not_let_in_is_told_why() {
    type Known = fn(&str) -> Logins;
    let cases: [(Door, Known, &str, &str); 9] = [
        (
            Door::Basic,
            |_| Logins::default(),
            "wants a name and password",
            "no name and password for",
        ),
        (
            Door::Basic,
            |server| with_password(server, "wrong"),
            "does not let us in",
            "check the name and password for",
        ),
        (
            Door::Basic,
            |_| helper(),
            "wants a name and password",
            "docker-credential-desktop, which is not run",
        ),
        (
            Door::token(false),
            |_| Logins::default(),
            "no token is given to us",
            "no name and password for",
        ),
        (
            Door::token(false),
            |server| with_password(server, "wrong"),
            "no token is given",
            "check the name and password for",
        ),
        (
            Door::token(true),
            |server| with_password(server, "wrong"),
            "no token is given",
            "check the name and password for",
        ),
        (
            Door::token(false),
            |_| helper(),
            "no token is given",
            "docker-credential-desktop, which is not run",
        ),
        (
            Door::Shut,
            me,
            "does not let us in",
            "check the name and password for",
        ),
        (
            Door::Token {
                realm: String::new(),
                for_anyone: true,
                uses: 0,
            },
            |_| Logins::default(),
            "does not let us in",
            "no name and password for",
        ),
    ];
    for (door, logins, message, hint) in cases {
        let what = format!("{door:?}");
        let registry = both(false).serve(door, None);
        let client = client_of(&registry, logins(&registry.name()));
        let error = client
            .resolve(&reference(&registry, "tools/both:1"), Architecture::Amd64)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{what}: {error:?}");
        assert!(error.message().contains(message), "{what}: {error:?}");
        assert!(error.hint().unwrap().contains(hint), "{what}: {error:?}");
        assert!(!told(&error).contains("wrong"), "{what}: {error:?}");
        assert!(
            registry.server.requests().len() <= 3,
            "{what}: nobody tries doors again and again"
        );
    }
    let registry = both(false).serve(Door::Odd, None);
    let error = anyone(&registry)
        .resolve(&reference(&registry, "tools/both:1"), Architecture::Amd64)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("negotiate, digest"), "{error}");
}

fn helper() -> Logins {
    Logins::from_docker(br#"{"credsStore": "desktop"}"#).unwrap()
}

#[test]
fn what_should_be_a_token_and_is_none_is_told_without_it() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"token": 5, "access_token": "secret"}"#,
        r#"{"token": "sec\nret"}"#,
    ] {
        let realm = Server::http(move |_| Reply::ok(body));
        let door = Door::Token {
            realm: realm.url("/give"),
            for_anyone: true,
            uses: 9,
        };
        let registry = both(false).serve(door, None);
        let error = anyone(&registry)
            .resolve(&reference(&registry, "tools/both:1"), Architecture::Amd64)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        let text = told(&error);
        assert!(
            text.contains("what should be a token is none") && !text.contains("sec"),
            "{text}"
        );
    }
    let door = Door::Token {
        realm: "file:///etc/passwd".to_owned(),
        for_anyone: true,
        uses: 9,
    };
    let registry = both(false).serve(door, None);
    let error = anyone(&registry)
        .resolve(&reference(&registry, "tools/both:1"), Architecture::Amd64)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error:?}");
}

#[test]
fn a_registry_in_tls_is_believed_and_its_passwords_stay_in_tls() {
    let Some(authority) = Authority::usual() else {
        return;
    };
    let registry = both(false).serve(Door::token(false), Some(authority.localhost()));
    let client = Registry::new(
        Client::new(&settings(), &Cancel::new()).unwrap(),
        me(&registry.name()),
    );
    let tagged = reference(&registry, "tools/both:1");
    let resolved = client.resolve(&tagged, Architecture::Arm64).unwrap();
    assert_eq!(
        pull(&client, &tagged, &resolved.manifest.layers[0]).unwrap(),
        b"arm64"
    );

    let realm = Server::http(|_| Reply::ok(r#"{"token": "token"}"#));
    let door = Door::Token {
        realm: realm.url("/token"),
        for_anyone: true,
        uses: 9,
    };
    let registry = both(false).serve(door, Some(authority.localhost()));
    let client = Registry::new(
        Client::new(&settings(), &Cancel::new()).unwrap(),
        me(&registry.name()),
    );
    let error = client
        .resolve(&reference(&registry, "tools/both:1"), Architecture::Arm64)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error:?}");
    assert!(realm.requests().is_empty());
}

#[test]
fn blobs_that_lie_elsewhere_come_without_our_token() {
    let bytes = noise(1, 200_000);
    let served = bytes.clone();
    let store = Server::http(move |request| match request.before {
        0 => Reply::file(request, &served, "\"1\"").cut_after(50_000),
        1 => Reply::file(request, &served, "\"1\""),
        _ => Reply::new(404, ""),
    });
    let mut shelf = Shelf::default();
    let config = shelf.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = shelf.blob("application/octet-stream", &bytes);
    let content = serde_json::json!({"config": config, "layers": [layer]});
    shelf.manifest(
        "a",
        Some("1"),
        crate::common::registry::OCI_MANIFEST,
        content,
    );
    shelf.elsewhere = Some(store.url("/store"));
    let registry = shelf.serve(Door::token(true), None);
    let client = anyone(&registry);
    let tagged = reference(&registry, "a:1");
    let artifact = client.artifact(&tagged, Architecture::Amd64).unwrap();
    assert!(pull(&client, &tagged, &artifact.layer).unwrap() == bytes);
    let asked = store.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[1].range_start(),
        Some(50_000),
        "it goes on where it was cut"
    );
    assert!(
        asked
            .iter()
            .all(|request| request.header("Authorization").is_none())
    );

    let mut file = tempfile::tempfile().unwrap();
    let error = client
        .pull_blob(&tagged, &artifact.layer, &mut file, 1 << 30, &NoProgress)
        .unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("redirected to") && !text.contains("secret"),
        "{text}"
    );
}
