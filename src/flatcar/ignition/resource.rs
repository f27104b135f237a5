//! Sources, compression, headers and hashes of what Ignition fetches.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256, Sha512};

use crate::bytes::{hex, to_u64};
use crate::finding::{Finding, code};

use super::at::At;
use super::check::Checker;
use super::findings::because;
use super::url::{self, Source};

/// Most bytes that one compressed content is decompressed to.
const CONTENT_MAX: u64 = 64 << 20;

impl Checker<'_, '_> {
    /// A resource without which the rest makes no sense.
    pub(super) fn needed_resource(&mut self, at: &At<'_>) {
        if at.filled("source").is_none() {
            let place = at.place_of("source");
            self.add(
                because(code::IGNITION_RESOURCE, "source is missing"),
                &place,
            );
        }
        self.resource(at);
    }

    /// Checks a resource.
    pub(super) fn resource(&mut self, at: &At<'_>) {
        let source = self.source(at);
        if let Some(compression) = at.filled("compression").filter(|name| *name != "gzip") {
            let why = format!(
                "the compression '{}' is not known: it can be gzip, or be left out",
                compression.escape_debug()
            );
            let place = at.place_of("compression");
            self.add(because(code::IGNITION_RESOURCE, why), &place);
        }
        self.headers(at, source.as_ref());
        self.verification(at, source.as_ref());
    }

    fn source(&mut self, at: &At<'_>) -> Option<Source> {
        let url = at.filled("source")?;
        let place = at.place_of("source");
        let source = match url::source(url, self.spec) {
            Ok(source) => source,
            Err(why) => {
                self.add(because(code::IGNITION_SOURCE, why), &place);
                return None;
            }
        };
        if let Source::Oem(path) = &source {
            self.oem(path, &place);
        }
        Some(source)
    }

    fn oem(&mut self, path: &str, at: &At<'_>) {
        let is_late = self.spec > 4;
        if is_late && self.options.release.is_some_and(|major| major <= 4593) {
            let why = "has the scheme oem, which releases up to 4593 know in specifications 3.0 to 3.4 only";
            self.add(because(code::IGNITION_SOURCE, why), at);
        }
        let Some(has) = self.options.oem_has else {
            return;
        };
        if !has(path) {
            let finding = Finding::new(code::IGNITION_OEM_MISSING);
            self.add(finding.with("path", path.escape_debug()), at);
        }
    }

    fn headers(&mut self, at: &At<'_>, source: Option<&Source>) {
        let headers = at.items("httpHeaders");
        if headers.is_empty() {
            return;
        }
        for header in &headers {
            if header.filled("name").is_none() {
                let place = header.place_of("name");
                self.add(
                    because(code::IGNITION_RESOURCE, "a header has no name"),
                    &place,
                );
            }
        }
        self.unique_by(&headers, "name");
        let has_headers = |scheme: &str| scheme == "http" || scheme == "https";
        let is_http = matches!(source, Some(Source::Network(scheme)) if has_headers(scheme));
        if source.is_some() && !is_http {
            let why = "headers go with http and https only";
            let place = at.place_of("httpHeaders");
            self.add(because(code::IGNITION_RESOURCE, why), &place);
        }
    }

    fn verification(&mut self, at: &At<'_>, source: Option<&Source>) {
        let Some(verification) = at.field("verification") else {
            return;
        };
        let Some(hash) = verification.text("hash") else {
            return;
        };
        let place = verification.place_of("hash");
        if at.text("source").is_none() {
            let why = "has no source that it could be the hash of";
            return self.add(because(code::IGNITION_HASH, why), &place);
        }
        let expected = match Hash::parse(hash, self.spec) {
            Ok(expected) => expected,
            Err(why) => return self.add(because(code::IGNITION_HASH, why), &place),
        };
        let content = match (source, at.filled("source")) {
            (Some(Source::Data(data)), _) => self.decompressed(at, data),
            // An empty source is an empty content.
            (None, None) => Some(Vec::new()),
            _ => None,
        };
        let Some(content) = content else { return };
        let found = expected.function.hash(&content);
        if found != expected.digits {
            let finding = Finding::new(code::IGNITION_HASH_DIFFERS);
            let found = format!("{}-{found}", expected.function.word());
            self.add(finding.with("found", found), &place);
        }
    }

    /// The content of a resource that is part of the config.
    pub(super) fn content(&mut self, at: &At<'_>) -> Option<Vec<u8>> {
        match url::source(at.filled("source")?, self.spec) {
            Ok(Source::Data(data)) => self.gunzipped(at, &data).ok(),
            _ => None,
        }
    }

    fn decompressed(&mut self, at: &At<'_>, data: &[u8]) -> Option<Vec<u8>> {
        match self.gunzipped(at, data) {
            Ok(content) => Some(content),
            Err(why) => {
                let place = at.place_of("source");
                self.add(because(code::IGNITION_RESOURCE, why), &place);
                None
            }
        }
    }

    /// `data`, decompressed where the resource says that it is compressed.
    fn gunzipped(&mut self, at: &At<'_>, data: &[u8]) -> Result<Vec<u8>, String> {
        if at.filled("compression") != Some("gzip") {
            return Ok(data.to_vec());
        }
        let limit = CONTENT_MAX.min(self.findings.budget);
        let mut content = Vec::new();
        let mut reader = MultiGzDecoder::new(data).take(limit + 1);
        let result = reader.read_to_end(&mut content);
        let bytes = to_u64(content.len());
        self.findings.budget = self.findings.budget.saturating_sub(bytes);
        result.map_err(|error| format!("the content cannot be decompressed: {error}"))?;
        if bytes > limit {
            return Err(format!(
                "the content is longer than {limit} bytes, so it was not looked into"
            ));
        }
        Ok(content)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Sha256,
    Sha512,
}

impl Function {
    fn word(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    fn hash(self, content: &[u8]) -> String {
        match self {
            Self::Sha256 => hex(&Sha256::digest(content)),
            Self::Sha512 => hex(&Sha512::digest(content)),
        }
    }
}

/// A hash as configs write it.
pub(super) struct Hash {
    function: Function,
    /// In small letters.
    digits: String,
}

impl Hash {
    pub(super) fn parse(text: &str, spec: u8) -> Result<Self, String> {
        let (name, digits) = text
            .split_once('-')
            .ok_or("is not written as sha512- or sha256- and its digits")?;
        let function = match name {
            "sha512" => Function::Sha512,
            "sha256" if spec >= 1 => Function::Sha256,
            "sha256" => return Err("is a sha256, which came with specification 3.1".to_owned()),
            _ => return Err("is neither a sha512 nor a sha256".to_owned()),
        };
        if digits.len() != function.digits() {
            return Err(format!(
                "has {} digits, where a {name} has {}",
                digits.len(),
                function.digits()
            ));
        }
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("has digits that are not hexadecimal".to_owned());
        }
        Ok(Self {
            function,
            digits: digits.to_ascii_lowercase(),
        })
    }

    /// Whether it is that of `content`.
    pub(super) fn fits(&self, content: &[u8]) -> bool {
        self.function.hash(content) == self.digits
    }
}
