//! Connections to servers: straight, or through a proxy.
//!
//! A proxy is asked for a tunnel (`CONNECT`) to servers that speak TLS. All else it is asked for by whole URLs, as many
//! proxies allow tunnels to port 443 only.

use std::fmt;
use std::sync::Arc;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Instant;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::failure::{Failure, network};
use super::proxy::{Proxies, Proxy};
use super::socket::Sockets;
use super::tls::Tls;
use super::url::{Url, bracketed};
use crate::error::Error;

/// More than a proxy says before a tunnel is open.
const MAX_HEAD_BYTES: usize = 16 << 10;

type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Makes the connections of ureq.
#[derive(Debug)]
pub(super) struct Dialer {
    pub sockets: Sockets,
    pub proxies: Proxies,
    pub tls: Tls,
    pub user_agent: String,
}

impl Dialer {
    fn dial(&self, url: &Url, clock: &Clock) -> Result<Box<dyn Transport>, Failure> {
        let (host, port) = (url.host(), url.port());
        let plain = match self.proxies.of(url.is_https(), host, port) {
            None => Box::new(self.sockets.connect(host, port)?),
            Some(proxy) => {
                let place = || format!("the proxy {proxy}");
                let to_proxy = self
                    .to_proxy(proxy, clock)
                    .map_err(|error| error.at(place()))?;
                if url.is_https() {
                    let head = self.connect_request(url, proxy);
                    open_tunnel(to_proxy, &head).map_err(|error| error.at(place()))?
                } else {
                    Box::new(Absolute::new(to_proxy, url, proxy))
                }
            }
        };
        if url.is_https() {
            self.tls.wrap(plain, host, Arc::clone(clock))
        } else {
            Ok(plain)
        }
    }

    fn to_proxy(&self, proxy: &Proxy, clock: &Clock) -> Result<Box<dyn Transport>, Failure> {
        let socket = Box::new(self.sockets.connect(proxy.host(), proxy.port())?);
        if proxy.is_tls() {
            self.tls.wrap(socket, proxy.host(), Arc::clone(clock))
        } else {
            Ok(socket)
        }
    }

    fn connect_request(&self, url: &Url, proxy: &Proxy) -> String {
        let target = format!("{}:{}", bracketed(url.host()), url.port());
        let agent = &self.user_agent;
        let authorization = authorization(proxy);
        format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {agent}\r\n{authorization}\r\n"
        )
    }
}

impl Connector for Dialer {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let url = Url::parse(&details.uri.to_string()).map_err(Failure::last)?;
        Ok(Some(self.dial(&url, &details.current_time)?))
    }
}

/// Names are looked up by [`Sockets`], and not at all where a proxy does it. An agent of ureq wants an address before.
#[derive(Debug)]
pub(super) struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(([0, 0, 0, 0], 0).into());
        Ok(addresses)
    }
}

/// The line of a request that tells a proxy who asks.
fn authorization(proxy: &Proxy) -> String {
    proxy
        .authorization()
        .map(|value| format!("Proxy-Authorization: {value}\r\n"))
        .unwrap_or_default()
}

/// Asks a proxy for a tunnel; all that goes over `transport` afterwards reaches the server.
fn open_tunnel(
    mut transport: Box<dyn Transport>,
    request: &str,
) -> Result<Box<dyn Transport>, Failure> {
    send(&mut transport, request.as_bytes()).map_err(Failure::of_ureq)?;
    let status = loop {
        let more = transport
            .await_input(NextTimeout::default())
            .map_err(Failure::of_ureq)?;
        let input = transport.buffers().input();
        if let Some(end) = head_end(input) {
            let status = status(&input[..end]);
            transport.buffers().input_consume(end);
            break status;
        }
        if !more {
            return Err(Failure::passing(network(
                "it ended the connection without an answer",
            )));
        }
        if input.len() > MAX_HEAD_BYTES {
            return Err(Failure::last(network("its answer is too long")));
        }
    };
    match status {
        Some(200..=299) => Ok(transport),
        Some(407) => {
            let error = network("it wants a name and password, or others than it got");
            Err(Failure::last(
                error.with_hint("write them as http://NAME:PASSWORD@PROXY:PORT"),
            ))
        }
        Some(status @ (408 | 429 | 500..=599)) => Err(Failure::passing(refused(status))),
        Some(status) => Err(Failure::last(refused(status))),
        None => Err(Failure::last(network("this is no answer of a proxy"))),
    }
}

fn refused(status: u16) -> Error {
    network(format!(
        "it opens no connection to the server: status {status}"
    ))
}

fn head_end(input: &[u8]) -> Option<usize> {
    let at = input.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

/// The number in `HTTP/1.1 200 OK`.
fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

fn send(transport: &mut dyn Transport, mut bytes: &[u8]) -> Result<(), ureq::Error> {
    while !bytes.is_empty() {
        let output = transport.buffers().output();
        let len = bytes.len().min(output.len());
        output[..len].copy_from_slice(&bytes[..len]);
        transport.transmit_output(len, NextTimeout::default())?;
        bytes = &bytes[len..];
    }
    Ok(())
}

/// A connection to a proxy on which requests name whole URLs.
struct Absolute {
    inner: Box<dyn Transport>,
    /// What stands before the path: `http://host:port`.
    server: String,
    authorization: String,
}

impl Absolute {
    fn new(inner: Box<dyn Transport>, url: &Url, proxy: &Proxy) -> Self {
        Self {
            inner,
            server: format!("http://{}", url.authority()),
            authorization: authorization(proxy),
        }
    }

    /// A request, which is without a body and was written in one piece, as proxies want it.
    fn rewritten(&self, request: &[u8]) -> Option<Vec<u8>> {
        let method_end = request.iter().position(|byte| *byte == b' ')? + 1;
        let line_end = request.windows(2).position(|two| two == b"\r\n")? + 2;
        let (method, path) = request[..line_end].split_at(method_end);
        let whole = path.starts_with(b"/") && request.ends_with(b"\r\n\r\n");
        whole.then(|| {
            let headers = &request[line_end..];
            [
                method,
                self.server.as_bytes(),
                path,
                self.authorization.as_bytes(),
                headers,
            ]
            .concat()
        })
    }
}

impl Transport for Absolute {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let written = self.inner.buffers().output()[..amount].to_vec();
        let request = self
            .rewritten(&written)
            .ok_or_else(|| Failure::last(Error::internal("a request is not one piece")))?;
        send(&mut self.inner, &request)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

impl fmt::Debug for Absolute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} through {:?}", self.server, self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_proxies_are_read() {
        assert_eq!(head_end(b"HTTP/1.1 200 OK\r\n\r\nrest"), Some(19));
        assert_eq!(head_end(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(
            status(b"HTTP/1.0 200 Connection established\r\n\r\n"),
            Some(200)
        );
        assert_eq!(status(b"HTTP/1.1 407\r\n\r\n"), Some(407));
        for wrong in [
            &b"200 OK\r\n\r\n"[..],
            b"",
            b"HTTP/1.1\r\n",
            b"HTTP/1.1 \xff\r\n",
            b"SSH-2.0-x\r\n",
        ] {
            assert_eq!(status(wrong), None);
        }
    }
}
