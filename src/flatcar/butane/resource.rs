//! Contents that are written into the config become data URLs.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::document::Node;
use crate::flatcar::ignition::data_url;

use super::output::Output;

/// The order of the keys of a resource.
const ORDER: [&str; 4] = ["compression", "httpHeaders", "source", "verification"];
/// How much shorter compressed content must be, to be worth it.
const GAIN: usize = 4;

/// Puts `content`, which was written at `from`, into a resource.
pub(super) fn embed(resource: &mut Output, content: &[u8], from: &Node) {
    let position = from.position;
    let is_given = resource.get("compression").is_some();
    let (url, compression) = shortest(content, is_given);
    resource.set("source", Node::text(position, url), &ORDER);
    if let Some(compression) = compression {
        let compression = Node::text(position, compression);
        resource.set("compression", compression, &ORDER);
    }
}

/// The shortest URL, and the compression to name; none where the user named one, who compressed the content before.
fn shortest(content: &[u8], is_given: bool) -> (String, Option<&'static str>) {
    let escaped = data_url::escaped(content);
    let encoded = data_url::base64(content);
    let plain = if encoded.len() < escaped.len() {
        encoded
    } else {
        escaped
    };
    if is_given {
        return (plain, None);
    }
    let compressed = gzip(content).map(|bytes| data_url::base64(&bytes));
    match compressed {
        Some(url) if url.len() + GAIN < plain.len() => (url, Some("gzip")),
        _ => (plain, Some("")),
    }
}

/// `content` compressed, always to the same bytes: without a time and a name.
fn gzip(content: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_shortest_way_to_write_content_is_taken() {
        assert_eq!(shortest(b"", false), ("data:,".to_owned(), Some("")));
        assert_eq!(
            shortest(b"a b", false),
            ("data:,a%20b".to_owned(), Some(""))
        );
        assert_eq!(
            shortest(b"\x00\x01\x02\x03\x04\x05\x06", false),
            ("data:;base64,AAECAwQFBg==".to_owned(), Some(""))
        );
        let long = "Lorem ipsum dolor sit amet. ".repeat(20);
        let (url, compression) = shortest(long.as_bytes(), false);
        assert_eq!(compression, Some("gzip"));
        let bytes = data_url::decode(&url).unwrap();
        assert_eq!(&bytes[4..8], &[0; 4], "no time");
        let mut again = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_string(&mut again)
            .unwrap();
        assert_eq!(again, long);
        let (url, compression) = shortest(long.as_bytes(), true);
        assert!(compression.is_none());
        assert_eq!(data_url::decode(&url).unwrap(), long.as_bytes());
    }
}
