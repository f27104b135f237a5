//! TLS with what this program brings along: its cryptography, and the authorities that are believed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ureq::unversioned::transport::time::Instant;
use ureq::unversioned::transport::{
    Buffers, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::failure::{Failure, network};
use super::socket::BUFFER_BYTES;
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result};

/// All certificates of a system are below one megabyte.
const MAX_AUTHORITIES_BYTES: u64 = 16 << 20;

/// Wraps connections in TLS.
#[derive(Debug)]
pub(super) struct Tls {
    roots: Arc<RootCertStore>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// TLS that believes the usual authorities and those of `files`, which hold certificates in PEM.
    pub fn new<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Self> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for file in files {
            add_authorities(&mut roots, file)?;
        }
        Ok(Self {
            roots: Arc::new(roots),
            config: OnceLock::new(),
        })
    }

    /// Shakes hands with `host` over `inner`, whose certificate must be for that name or address.
    pub fn wrap(
        &self,
        inner: Box<dyn Transport>,
        host: &str,
        clock: Arc<dyn Fn() -> Instant + Send + Sync>,
    ) -> Result<Box<dyn Transport>, Failure> {
        let config = self.config()?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::invalid(format!("'{host}' is no name that a certificate can be for"))
        })?;
        let of_rustls = |error| failure(host, io::Error::other(error));
        let mut conn = ClientConnection::new(config, name).map_err(of_rustls)?;
        let mut sock = TransportAdapter::new(inner, clock);
        conn.complete_io(&mut sock)
            .map_err(|error| failure(host, error))?;
        Ok(Box::new(Wrapped {
            host: host.to_owned(),
            stream: StreamOwned::new(conn, sock),
            buffers: LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES),
        }))
    }

    fn config(&self) -> Result<Arc<ClientConfig>> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        check_processor()?;
        let provider = Arc::new(rustls_graviola::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("TLS has no versions").with_source(error))?;
        let mut config = builder
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let place = || path.display().to_string();
    let reading = |error| Error::io(format!("reading {}", path.display()), error);
    let file = File::open(path).map_err(reading)?;
    let mut pem = Vec::new();
    let mut limited = file.take(MAX_AUTHORITIES_BYTES + 1);
    limited.read_to_end(&mut pem).map_err(reading)?;
    if to_u64(pem.len()) > MAX_AUTHORITIES_BYTES {
        return Err(Error::invalid("a file of certificates has at most 16 MiB").at(place()));
    }
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| {
            Error::invalid("this is not PEM")
                .with_source(error)
                .at(place())
        })?;
        roots.add(certificate).map_err(|error| {
            Error::invalid("a certificate in it cannot be read")
                .with_source(error)
                .at(place())
        })?;
    }
    if roots.len() == before {
        return Err(Error::invalid("no certificate in PEM is in it").at(place()));
    }
    Ok(())
}

/// The parts of a processor that the cryptography is written for, and whether this one has them.
fn processor_parts() -> Vec<(&'static str, bool)> {
    macro_rules! parts {
        ($detected:ident: $($name:tt)*) => {
            vec![$(($name, std::arch::$detected!($name))),*]
        };
    }
    #[cfg(target_arch = "x86_64")]
    let parts =
        parts!(is_x86_feature_detected: "aes" "pclmulqdq" "ssse3" "avx" "avx2" "adx" "bmi1" "bmi2");
    #[cfg(target_arch = "aarch64")]
    let parts = parts!(is_aarch64_feature_detected: "neon" "aes" "pmull" "sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let parts = vec![("an x86-64 or arm64 instruction set", false)];
    parts
}

fn check_processor() -> Result<()> {
    check_parts(&processor_parts())
}

fn check_parts(parts: &[(&str, bool)]) -> Result<()> {
    let missing = parts.iter().filter(|(_, there)| !there);
    let names: Vec<&str> = missing.map(|(name, _)| *name).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Environment,
        format!(
            "TLS needs a processor with {}, and this one has none",
            names.join(", ")
        ),
    )
    .with_hint("fetch the files on another machine, or from a mirror by http:// or a path"))
}

/// What a handshake or a read failed of.
fn failure(host: &str, error: io::Error) -> Failure {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return Failure::of_io(error);
    };
    match tls {
        rustls::Error::InvalidCertificate(why) => {
            let message = format!(
                "the certificate of {host} is not to be trusted: {}",
                reason(why)
            );
            let error = Error::new(ErrorKind::Untrusted, message).with_source(tls.clone());
            Failure::last(error.with_hint(
                "where the server has a certificate of an authority of your own, that authority's certificate can be given",
            ))
        }
        rustls::Error::InvalidMessage(_) => {
            let message = format!("{host} does not answer in TLS");
            let error = network(message).with_source(tls.clone());
            Failure::last(
                error.with_hint("check the port; a server without TLS is named by http://"),
            )
        }
        rustls::Error::DecryptError | rustls::Error::PeerSentOversizedRecord => {
            let message = "what arrived was changed on its way";
            Failure::passing(network(message).with_source(tls.clone()))
        }
        _ => Failure::last(network(format!("no TLS with {host}")).with_source(tls.clone())),
    }
}

fn reason(error: &rustls::CertificateError) -> String {
    use rustls::CertificateError as E;
    match error {
        E::UnknownIssuer => "its authority is not known".to_owned(),
        E::Expired | E::ExpiredContext { .. } => "it has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "it is not valid yet; is this machine's clock right?".to_owned()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "it is for another name".to_owned()
        }
        E::Revoked => "it was revoked".to_owned(),
        other => other.to_string(),
    }
}

/// A connection in TLS.
struct Wrapped {
    host: String,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    buffers: LazyBuffers,
}

impl Transport for Wrapped {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let output = &self.buffers.output()[..amount];
        let written = self.stream.write_all(output);
        written.map_err(|error| failure(&self.host, error).into())
    }

    /// An end without the farewell of TLS is an error: anyone can cut a connection.
    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let free = self.buffers.input_append_buf();
        if free.is_empty() {
            return Err(Failure::last(network("the head of the answer is too long")).into());
        }
        let read = self.stream.read(free);
        let len = read.map_err(|error| failure(&self.host, error))?;
        self.buffers.input_appended(len);
        Ok(len > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TLS with {} over {:?}",
            self.host,
            self.stream.sock.inner()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_what_is_needed_is_told_what() {
        check_parts(&[("avx2", true)]).unwrap();
        let error = check_parts(&[("avx2", false), ("aes", true), ("adx", false)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Environment);
        assert!(error.message().contains("avx2, adx,"), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn files_that_hold_no_certificates_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let begin = "-----BEGIN CERTIFICATE-----\n";
        let end = "-----END CERTIFICATE-----\n";
        for text in [
            "",
            "text",
            begin,
            &format!("{begin}AAAA\n{end}"),
            &format!("{begin}?\n{end}"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Tls::new([path.as_path()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
        let missing = Tls::new([Path::new("/none.pem")]).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
