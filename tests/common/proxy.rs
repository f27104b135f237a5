//! A proxy of the tests on loopback: tunnels by `CONNECT`, and requests by whole URLs.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::server::{Listener, Request, Stop, Wire, parse, read_head};

const LONGEST: Duration = Duration::from_secs(30);

/// A proxy that passes on what it is asked for, where it is asked with the right password.
pub struct Proxy {
    listener: Listener,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// A proxy for everyone, or for who has this value of `Proxy-Authorization`. Names that end in `.test` are this machine.
    pub fn new(authorization: Option<&'static str>) -> Self {
        Self::with(authorization, None)
    }

    /// A proxy that is spoken to in TLS.
    pub fn in_tls(certificate: Arc<ServerConfig>) -> Self {
        Self::with(None, Some(certificate))
    }

    fn with(authorization: Option<&'static str>, tls: Option<Arc<ServerConfig>>) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&requests);
        let serve = move |stream: TcpStream, connection: usize, stop: &Stop| {
            let _gone = serve(stream, tls.clone(), authorization, connection, &all, stop);
        };
        Self {
            listener: Listener::new(Ipv4Addr::LOCALHOST.into(), Arc::new(serve)),
            requests,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    authorization: Option<&str>,
    connection: usize,
    all: &Mutex<Vec<Request>>,
    stop: &Stop,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(10)))?;
    let mut wire: Box<dyn Wire> = match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, stream))
        }
        None => Box::new(stream),
    };
    while let Some((head, _)) = read_head(&mut *wire, stop)? {
        let request = parse(&head, connection).unwrap();
        all.lock().unwrap().push(request.clone());
        if request.header("Proxy-Authorization") != authorization {
            wire.write_all(b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        if request.method == "CONNECT" {
            let Ok(server) = connect(&request.target) else {
                wire.write_all(b"HTTP/1.1 502 Nobody there\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            };
            wire.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            wire.flush()?;
            return tunnel(&mut *wire, server, stop);
        }
        let Some(whole) = request.target.strip_prefix("http://") else {
            wire.write_all(b"HTTP/1.1 400 No URL\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let (authority, path) = whole.split_at(whole.find('/').unwrap());
        let mut server = connect(authority)?;
        write!(
            server,
            "{} {path} HTTP/1.1\r\nConnection: close\r\n",
            request.method
        )?;
        let own = |name: &str| name.to_ascii_lowercase().starts_with("proxy-");
        for (name, value) in request.headers.iter().filter(|(name, _)| !own(name)) {
            write!(server, "{name}: {value}\r\n")?;
        }
        server.write_all(b"\r\n")?;
        return tunnel(&mut *wire, server, stop);
    }
    Ok(())
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let host = if host.ends_with(".test") {
        "127.0.0.1"
    } else {
        host
    };
    let stream = TcpStream::connect(format!("{host}:{port}"))?;
    stream.set_read_timeout(Some(Duration::from_millis(10)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Passes bytes on in both directions until one side ends.
fn tunnel(wire: &mut dyn Wire, mut server: TcpStream, stop: &Stop) -> io::Result<()> {
    let start = Instant::now();
    while !stop.is_set() && start.elapsed() < LONGEST {
        let ended = pass(wire, &mut server)? || pass(&mut server, wire)?;
        if ended {
            break;
        }
        thread::yield_now();
    }
    wire.farewell();
    let _gone = server.shutdown(Shutdown::Both);
    Ok(())
}

/// Passes on what is there; whether it was the end.
fn pass(from: &mut (impl Read + ?Sized), to: &mut (impl Write + ?Sized)) -> io::Result<bool> {
    let mut piece = vec![0; 64 << 10];
    match from.read(&mut piece) {
        Ok(0) => Ok(true),
        Ok(len) => {
            to.write_all(&piece[..len])?;
            to.flush()?;
            Ok(false)
        }
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
            _ => Err(error),
        },
    }
}
