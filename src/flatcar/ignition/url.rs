//! URLs that Ignition fetches from: which it takes, by their form alone.

/// Schemes that need the network.
const NETWORK: [&str; 6] = ["http", "https", "tftp", "gs", "s3", "arn"];

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Its bytes are in the config.
    Data(Vec<u8>),
    /// A file of the OEM partition, by its path.
    Oem(String),
    /// On a server; the scheme in small letters.
    Network(String),
}

/// Reads the URL of a source that is not empty.
///
/// # Errors
/// Why Ignition would refuse it, in words that go behind "which".
pub(super) fn source(url: &str, spec: u8) -> Result<Source, String> {
    if let Some(c) = url.chars().find(|c| c.is_ascii_control()) {
        return Err(format!("has the control character '{}'", c.escape_debug()));
    }
    let (scheme, rest) = split_scheme(url).ok_or("has no scheme such as https:// in front")?;
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "data" => super::data_url::decode(url).map(Source::Data),
        "oem" => oem(rest).map(Source::Oem),
        "gs" if spec < 2 => Err("has the scheme gs, which came with specification 3.2".to_owned()),
        "arn" if spec < 4 => {
            Err("has the scheme arn, which came with specification 3.4".to_owned())
        }
        "arn" => arn(url).map(|()| Source::Network(scheme)),
        known if NETWORK.contains(&known) => {
            check_hierarchical(rest)?;
            if known == "s3" {
                check_version_id(rest)?;
            }
            Ok(Source::Network(scheme))
        }
        _ => Err(format!(
            "has the scheme '{}', where Ignition knows http, https, tftp, s3, arn, gs, data and oem",
            scheme.escape_debug()
        )),
    }
}

/// Scheme, and what follows the colon.
fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (is_scheme && scheme.bytes().all(is_inner)).then_some((scheme, rest))
}

/// The path of `oem:///path`.
fn oem(rest: &str) -> Result<String, String> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err("must be written with three slashes: oem:///file".to_owned());
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let bytes = unescaped(path).ok_or("has a % without two hexadecimal digits behind it")?;
    String::from_utf8(bytes).map_err(|_| "has a path that is not UTF-8".to_owned())
}

/// `arn:partition:s3:region:account:resource`
fn arn(url: &str) -> Result<(), String> {
    let parts: Vec<&str> = url.splitn(6, ':').collect();
    let [_, partition, service, _, _, resource] = parts.as_slice() else {
        return Err("has not the six parts of an ARN".to_owned());
    };
    if partition.is_empty() || *service != "s3" {
        return Err("is not the ARN of something in S3".to_owned());
    }
    let is_access_point = resource.starts_with("accesspoint/");
    let slashes = resource.matches('/').count();
    if slashes < if is_access_point { 3 } else { 1 } {
        return Err("names no object: write arn:aws:s3:::bucket/key".to_owned());
    }
    Ok(())
}

/// What follows the colon of URLs with a host.
fn check_hierarchical(rest: &str) -> Result<(), String> {
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let rest = rest.split('?').next().unwrap_or_default();
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    if unescaped(path).is_none() || unescaped(fragment).is_none() {
        return Err("has a % without two hexadecimal digits behind it".to_owned());
    }
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(' ') {
        return Err("has a space in its user".to_owned());
    }
    check_host(host)
}

fn check_host(host: &str) -> Result<(), String> {
    let bad = |c: &char| {
        c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_.~!$&'()*+,;=:[]<>\"".contains(*c)
    };
    if let Some(c) = host.chars().find(bad) {
        return Err(format!("has '{c}' in its host"));
    }
    let port = match host.strip_prefix('[') {
        Some(inner) => {
            let (_, behind) = inner
                .split_once(']')
                .ok_or("has a host in brackets that has no end")?;
            behind
        }
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has a port that is not a number".to_owned());
    }
    Ok(())
}

/// An S3 version that is given must say something.
fn check_version_id(rest: &str) -> Result<(), String> {
    let query = rest.split('#').next().unwrap_or_default();
    let query = query.split_once('?').map_or("", |(_, query)| query);
    let first = query
        .split('&')
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .find(|(name, _)| *name == "versionId");
    match first {
        Some((_, "")) => Err("has an empty versionId".to_owned()),
        _ => Ok(()),
    }
}

/// `text` without escapes; `None` where one is broken.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_or_refused_as_by_ignition() {
        for url in [
            "http://x",
            "HTTP://x/a%41",
            "https://u:p@a:80/b?c=%zz",
            "http://[::1]:8/",
            "http://a:/",
            "tftp://h/x",
            "gs://b/o",
            "s3://b/k",
            "s3://b/k?versionId=x",
            "arn:aws:s3:::b/k",
            "arn:aws:s3:us-west-1:123456789012:accesspoint/test/object/some/path",
            "data:,x",
            "oem:///x",
            "http:a",
            "http://ä/ü",
        ] {
            assert!(source(url, 4).is_ok(), "{url}: {:?}", source(url, 4));
        }
        for url in [
            "ftp://x/a",
            "x",
            "://x",
            "1http://x",
            "http://a b/",
            "http://a/%zz",
            "http://a#%z",
            "http://a:8x/",
            "http://[::1/",
            "http://us er@a/",
            "http://a\\b/",
            "http://a%41/",
            "http://a^b/",
            "http://a/\u{7f}",
            "s3://b/k?versionId=",
            "s3://b/k?versionId",
            "arn:aws:ec2:::b/k",
            "arn:aws:s3:::b",
            "arn:aws:s3",
            "data:x",
            "oem://x/y",
            "oem:x",
            "oem:///%z",
        ] {
            assert!(source(url, 4).is_err(), "{url}");
        }
        assert!(source("arn:aws:s3:::b/k", 3).is_err() && source("gs://b/o", 1).is_err());
        assert_eq!(
            source("oem:///a%20b/c", 0),
            Ok(Source::Oem("/a b/c".to_owned()))
        );
    }
}
