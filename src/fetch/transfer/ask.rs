//! What is asked, and the head of what is answered.

use ureq::http::HeaderMap;

use super::range::text;

/// What a request says besides its URL.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// `Authorization`, told to this one server only.
    pub authorization: Option<String>,
    /// No more is received.
    pub max_bytes: u64,
    /// What the length has to be.
    pub len: Option<u64>,
    /// Whether answers that ask who we are (401), or say that we may not (403), are wanted, rather than errors.
    pub challenge: bool,
}

/// The head of an answer whose content is in the sink.
#[derive(Debug)]
pub struct Answer {
    /// 200, or 401 or 403 where these were wanted.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Answer {
    /// The value of a header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }
}
