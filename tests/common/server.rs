//! A web server of the tests on loopback, over HTTP or HTTPS, which also does what servers should not.
//!
//! ```text
//!  Server::http(|request| Reply::file(request, &bytes, "\"1\"").cut_after(1000))
//!  Server::https(certificate, |request| …)                 certificate: Authority::usual().localhost()
//! ```
//!
//! A handler makes a [`Reply`] of every [`Request`]; [`Server::requests`] tells afterwards what was asked. Every wait is
//! bounded, and a server ends when it is dropped.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::programs::{command, judge, success};
use super::{scratch_dir, scratch_root};

/// No connection stays longer, whatever happens.
const LONGEST: Duration = Duration::from_secs(30);
/// How often a wait looks up.
const SLICE: Duration = Duration::from_millis(20);

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// As it stands in the first line: a path and query, or a whole URL where the server is a proxy.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// How many requests for the same target were before this one.
    pub before: usize,
    /// The connection it came over, counted from 0.
    pub connection: usize,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter();
        let (_, value) = found.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// Where a request for the rest of a file wants it to begin.
    pub fn range_start(&self) -> Option<usize> {
        let range = self.header("Range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// What is answered, and what goes wrong on the way.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    length: Length,
    fault: Fault,
}

#[derive(Debug, Clone, Copy)]
enum Length {
    /// `Content-Length`, as it is or wrong.
    Said(Option<u64>),
    /// In chunks of so many bytes.
    Chunks(usize),
    /// The end of the connection is the end.
    Close,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// The connection ends after so many bytes of what follows the head.
    Cut(usize),
    /// Nothing more comes after so many of them.
    Stall(usize),
    /// Only the body is sent, without any head.
    Raw,
    /// The body comes again and again.
    Endless,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            length: Length::Said(None),
            fault: Fault::None,
        }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    pub fn redirect(to: &str) -> Self {
        Self::new(302, "elsewhere").header("Location", to)
    }

    /// A file that is asked for as a whole or from somewhere on, as servers of files answer.
    pub fn file(request: &Request, bytes: &[u8], etag: &str) -> Self {
        let same = request.header("If-Range").is_none_or(|tag| tag == etag);
        let reply = match request.range_start().filter(|_| same) {
            Some(start) if start >= bytes.len() => {
                let range = format!("bytes */{}", bytes.len());
                Self::new(416, "beyond the end").header("Content-Range", &range)
            }
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Self::new(206, &bytes[start..]).header("Content-Range", &range)
            }
            None => Self::ok(bytes),
        };
        reply.header("ETag", etag)
    }

    /// Bytes that take the place of an answer.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            fault: Fault::Raw,
            ..Self::ok(bytes)
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says that so many bytes follow.
    pub fn saying_len(mut self, len: u64) -> Self {
        self.length = Length::Said(Some(len));
        self
    }

    pub fn in_chunks(mut self, len: usize) -> Self {
        self.length = Length::Chunks(len);
        self
    }

    pub fn until_close(mut self) -> Self {
        self.length = Length::Close;
        self
    }

    pub fn cut_after(mut self, len: usize) -> Self {
        self.fault = Fault::Cut(len);
        self
    }

    pub fn stall_after(mut self, len: usize) -> Self {
        self.fault = Fault::Stall(len);
        self
    }

    /// The body again and again, until the other side has enough. Nothing says how long it is.
    pub fn endless(mut self) -> Self {
        self.length = Length::Close;
        self.fault = Fault::Endless;
        self
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Said\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.length {
            Length::Said(len) => {
                let len = len.unwrap_or_else(|| self.body.len().try_into().unwrap());
                head.push_str(&format!("Content-Length: {len}\r\n"));
            }
            Length::Chunks(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
            Length::Close => head.push_str("Connection: close\r\n"),
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// What follows the head.
    fn content(&self) -> Vec<u8> {
        let Length::Chunks(len) = self.length else {
            return self.body.clone();
        };
        let mut content = Vec::new();
        for chunk in self.body.chunks(len) {
            content.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            content.extend_from_slice(chunk);
            content.extend_from_slice(b"\r\n");
        }
        content.extend_from_slice(b"0\r\n\r\n");
        content
    }

    /// Sends it; whether the connection may go on.
    fn send(&self, wire: &mut dyn Wire, stop: &Stop) -> io::Result<bool> {
        let content = self.content();
        match self.fault {
            Fault::Raw => wire.write_all(&content)?,
            Fault::Cut(len) => {
                wire.write_all(&self.head())?;
                wire.write_all(&content[..len.min(content.len())])?;
                wire.flush()?;
                // Without the farewell of TLS.
                return Ok(false);
            }
            Fault::Stall(len) => {
                wire.write_all(&self.head())?;
                wire.write_all(&content[..len.min(content.len())])?;
                wire.flush()?;
                stop.wait_for(LONGEST);
            }
            Fault::Endless => {
                wire.write_all(&self.head())?;
                let start = Instant::now();
                while start.elapsed() < LONGEST && !stop.is_set() {
                    wire.write_all(&content)?;
                }
            }
            Fault::None => {
                wire.write_all(&self.head())?;
                wire.write_all(&content)?;
            }
        }
        wire.flush()?;
        let goes_on = matches!(self.fault, Fault::None) && !matches!(self.length, Length::Close);
        if !goes_on {
            wire.farewell();
        }
        Ok(goes_on)
    }
}

/// A connection, plain or in TLS.
pub trait Wire: Read + Write + Send {
    /// Ends what is sent, politely.
    fn farewell(&mut self);
}

impl Wire for TcpStream {
    fn farewell(&mut self) {
        let _gone = self.shutdown(Shutdown::Write);
    }
}

impl Wire for StreamOwned<ServerConnection, TcpStream> {
    fn farewell(&mut self) {
        self.conn.send_close_notify();
        let _gone = self.flush();
        let _gone = self.sock.shutdown(Shutdown::Write);
    }
}

/// Raised when a server is dropped.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub fn wait_for(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time && !self.is_set() {
            thread::sleep(SLICE);
        }
    }
}

type Serve = dyn Fn(TcpStream, usize, &Stop) + Send + Sync;

/// Accepts connections on loopback until it is dropped, each in a thread of its own.
pub struct Listener {
    pub address: SocketAddr,
    stop: Stop,
    accepting: Option<JoinHandle<()>>,
}

impl Listener {
    /// `serve` gets each connection and its number.
    pub fn new(ip: IpAddr, serve: Arc<Serve>) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::default();
        let stopped = stop.clone();
        let accepting = thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if stopped.is_set() {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (serve, stop) = (Arc::clone(&serve), stopped.clone());
                thread::spawn(move || serve(stream, number, &stop));
            }
        });
        Self {
            address,
            stop,
            accepting: Some(accepting),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.set();
        let _wakes_it = TcpStream::connect(self.address);
        let ended = self.accepting.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A web server.
pub struct Server {
    listener: Listener,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// On 127.0.0.1, without TLS.
    pub fn http(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into(), None, handler)
    }

    /// On 127.0.0.1, in TLS with this certificate.
    pub fn https(
        certificate: Arc<ServerConfig>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into(), Some(certificate), handler)
    }

    /// On ::1; `None` on a machine without IPv6.
    pub fn ipv6(
        certificate: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Option<Self> {
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok()?;
        Some(Self::on(Ipv6Addr::LOCALHOST.into(), certificate, handler))
    }

    fn on(
        ip: IpAddr,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let all = Arc::clone(&requests);
        let serve = move |stream: TcpStream, connection: usize, stop: &Stop| {
            // What clients do to us is their affair.
            let _gone = serve(stream, tls.clone(), connection, &handler, &all, stop);
        };
        Self {
            listener: Listener::new(ip, Arc::new(serve)),
            scheme,
            requests,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// The URL of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address())
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How often `target` was asked for.
    pub fn count(&self, target: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|request| request.target == target)
            .count()
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    connection: usize,
    handler: &Handler,
    all: &Mutex<Vec<Request>>,
    stop: &Stop,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SLICE))?;
    stream.set_write_timeout(Some(LONGEST))?;
    let mut wire: Box<dyn Wire> = match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, stream))
        }
        None => Box::new(stream),
    };
    while let Some((head, _)) = read_head(&mut *wire, stop)? {
        let Some(mut request) = parse(&head, connection) else {
            wire.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
            break;
        };
        {
            let mut all = all.lock().unwrap();
            let same = all.iter().filter(|known| known.target == request.target);
            request.before = same.count();
            all.push(request.clone());
        }
        if !handler(&request).send(&mut *wire, stop)? {
            break;
        }
    }
    Ok(())
}

/// The head of a request, and what came along behind it; `None` at the end of the connection. What cannot become one is
/// returned as soon as that is clear.
pub fn read_head(wire: &mut dyn Wire, stop: &Stop) -> io::Result<Option<(String, Vec<u8>)>> {
    let start = Instant::now();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), rest)));
        }
        if bytes.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
            return Ok(Some((String::new(), bytes)));
        }
        if stop.is_set() || start.elapsed() > LONGEST {
            return Ok(None);
        }
        match wire.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(len) => bytes.extend_from_slice(&piece[..len]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {}
                _ => return Err(error),
            },
        }
    }
}

/// Reads the head of a request.
pub fn parse(head: &str, connection: usize) -> Option<Request> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let method = words.next()?.to_owned();
    let target = words.next()?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Some(Request {
        method,
        target,
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        before: 0,
        connection,
    })
}

/// An authority that certifies servers, made by the program `openssl`.
pub struct Authority {
    folder: PathBuf,
    _removed_in_the_end: Option<TempDir>,
    localhost: OnceLock<Arc<ServerConfig>>,
}

impl Authority {
    /// One for all tests, which is kept; `None` where the program is missing.
    pub fn usual() -> Option<&'static Self> {
        static USUAL: LazyLock<Option<Authority>> = LazyLock::new(|| {
            judge("openssl")?;
            let folder = scratch_root().join("authority");
            if !folder.exists() {
                let made = scratch_dir();
                certify_itself(made.path());
                // Another run may have been faster.
                if std::fs::rename(made.path(), &folder).is_ok() {
                    let _renamed = made.keep();
                }
            }
            Some(Authority::in_folder(folder, None))
        });
        USUAL.as_ref()
    }

    /// A new one, which nobody believes yet.
    pub fn new() -> Option<Self> {
        judge("openssl")?;
        let folder = scratch_dir();
        certify_itself(folder.path());
        Some(Self::in_folder(folder.path().to_owned(), Some(folder)))
    }

    fn in_folder(folder: PathBuf, removed_in_the_end: Option<TempDir>) -> Self {
        Self {
            folder,
            _removed_in_the_end: removed_in_the_end,
            localhost: OnceLock::new(),
        }
    }

    /// The file of its certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for this machine by its name and addresses.
    pub fn localhost(&self) -> Arc<ServerConfig> {
        let names = "DNS:localhost,IP:127.0.0.1,IP:::1";
        let make = || self.certificate(names, "20200101", "20990101");
        Arc::clone(self.localhost.get_or_init(make))
    }

    /// A certificate for `names`, valid between two days.
    pub fn certificate(&self, names: &str, from: &str, to: &str) -> Arc<ServerConfig> {
        let books = scratch_dir();
        let folder = books.path();
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(folder.join("extensions"), extensions).unwrap();
        let authority = self.folder.to_str().unwrap();
        let certified_by =
            format!("-cert {authority}/ca.pem -keyfile {authority}/ca.key -extfile extensions");
        make_key_and_certificate(folder, "server", &certified_by, from, to);
        let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let provider = Arc::new(rustls_graviola::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Arc::new(config)
    }
}

/// Makes `ca.pem` and `ca.key`.
fn certify_itself(folder: &Path) {
    let by_itself = "-selfsign -keyfile ca.key -extensions authority";
    make_key_and_certificate(folder, "ca", by_itself, "20200101", "20990101");
}

const CONFIG: &str = "[req]\ndistinguished_name=name\n[name]\n\
    [authority]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n\
    [ca]\ndefault_ca=own\n[own]\ndatabase=index\ndefault_md=sha256\nrand_serial=yes\npolicy=any\n\
    [any]\ncommonName=supplied\n";

/// Makes `NAME.key` and `NAME.pem`, certified as the arguments `by` say.
fn make_key_and_certificate(folder: &Path, name: &str, by: &str, from: &str, to: &str) {
    std::fs::write(folder.join("config"), CONFIG).unwrap();
    std::fs::write(folder.join("index"), "").unwrap();
    // Two authorities of the same name would be taken for each other.
    let subject = folder.file_name().unwrap().to_str().unwrap();
    for arguments in [
        format!(
            "req -new -config config -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key \
             -out {name}.csr -subj /CN={subject}"
        ),
        format!(
            "ca -batch -config config -in {name}.csr -out {name}.pem -notext -rand_serial -outdir . \
             -startdate {from}000000Z -enddate {to}000000Z {by}"
        ),
    ] {
        let mut openssl = command(&judge("openssl").unwrap());
        openssl.args(arguments.split_whitespace());
        success(openssl.current_dir(folder));
    }
}
