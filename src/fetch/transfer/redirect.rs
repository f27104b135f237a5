//! Where a server sends us instead.

use ureq::http::{HeaderMap, StatusCode, header};

use super::failure::{Failure, network};
use super::range::text;
use super::url::Url;
use crate::error::{Error, ErrorKind};

/// So many redirects are followed.
pub(super) const MAX_REDIRECTS: usize = 10;

/// Where an answer of `from` sends us, where it does.
pub(super) fn target(
    from: &Url,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Url>, Failure> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = text(headers, header::LOCATION.as_str()).ok_or_else(|| {
        Failure::last(network(format!(
            "a redirect ({}) that says not whereto",
            status.as_u16()
        )))
    })?;
    let to = from
        .join(location)
        .map_err(|error| Failure::last(error.with_kind(ErrorKind::Network).at("a redirect")))?;
    if from.is_https() && !to.is_https() {
        let message = format!("a redirect to {to} would leave TLS");
        return Err(Failure::last(Error::new(ErrorKind::Untrusted, message)));
    }
    Ok(Some(to.with_userinfo_of(from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(from: &str, location: &str) -> Result<Option<Url>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, location.parse().unwrap());
        target(&Url::parse(from).unwrap(), StatusCode::FOUND, &headers)
    }

    #[test]
    fn a_redirect_never_leaves_tls_or_the_web() {
        let to = go("http://host/a", "https://other/b").unwrap().unwrap();
        assert_eq!(to.to_string(), "https://other/b");
        let down = go("https://host/a", "http://host/b").unwrap_err();
        assert_eq!(down.error.kind(), ErrorKind::Untrusted);
        for wrong in ["file:///etc/passwd", "ftp://host/a", "https://", "/\u{0}"] {
            let Ok(value) = wrong.parse::<ureq::http::HeaderValue>() else {
                continue;
            };
            assert!(
                go("https://host/a", value.to_str().unwrap()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn other_answers_send_nobody_away() {
        let url = Url::parse("https://host/a").unwrap();
        let none = HeaderMap::new();
        assert_eq!(target(&url, StatusCode::OK, &none).unwrap(), None);
        assert_eq!(target(&url, StatusCode::NOT_MODIFIED, &none).unwrap(), None);
        assert!(target(&url, StatusCode::FOUND, &none).is_err());
    }
}
