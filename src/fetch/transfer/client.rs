//! The client: what is asked for, tried until it is there.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body};

use super::failure::{Failure, network};
use super::local::{self, PIECE_BYTES, check_len};
use super::proxy::basic;
use super::range::{ContentRange, content_length, text, validator};
use super::redirect::{MAX_REDIRECTS, target};
use super::retry::asked;
use super::settings::Settings;
use super::sink::{FileSink, Received, Sink};
use super::socket::{BUFFER_BYTES, Sockets};
use super::source::Source;
use super::steps::Step;
use super::tls::Tls;
use super::tunnel::{Dialer, Unresolved};
use super::url::Url;
use super::wait::pause;
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Cancel, NoProgress, Progress};

/// The head of an answer; those of stores have a few kilobytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// A try that brought so much is counted as a first one.
const FRESH_START_BYTES: u64 = 1 << 20;

/// So much of an answer that nobody wants is read, to go on with the same connection.
const MAX_DRAINED_BYTES: u64 = 16 << 10;

/// Fetches files. It can be shared among threads, and goes on with connections that it has.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    settings: Arc<Settings>,
    cancel: Cancel,
}

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
    /// Whether an answer that asks who we are (401) is wanted, rather than an error.
    pub challenge: bool,
}

/// The head of an answer whose content is in the sink.
#[derive(Debug)]
pub struct Answer {
    /// 200, or 401 where that was wanted.
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

impl Client {
    /// A client by these settings. All that it does ends within a moment when `cancel` is raised.
    ///
    /// Files of authorities that cannot be read, or hold no certificates, are errors.
    pub fn new(settings: &Settings, cancel: &Cancel) -> Result<Self> {
        let user_agent = format!("flatbake/{}", env!("CARGO_PKG_VERSION"));
        let dialer = Dialer {
            sockets: Sockets {
                connect_timeout: settings.connect_timeout,
                stall_timeout: settings.stall_timeout,
                cancel: cancel.clone(),
            },
            proxies: settings.proxies.clone(),
            tls: Tls::new(settings.authorities.iter().map(|path| path.as_path()))?,
            user_agent: user_agent.clone(),
        };
        // A proxy of ureq's would come from the environment.
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(user_agent)
            .accept_encoding("identity")
            .max_response_header_size(MAX_HEAD_BYTES)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            .build();
        Ok(Self {
            agent: Agent::with_parts(config, dialer, Unresolved),
            settings: Arc::new(settings.clone()),
            cancel: cancel.clone(),
        })
    }

    /// What ends its work.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// A small document as bytes, at most `max_bytes`.
    ///
    /// Errors are those of [`download`](Self::download).
    pub fn read(&self, source: &Source, max_bytes: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.fetch(source, max_bytes, &mut bytes, &NoProgress)?;
        Ok(bytes)
    }

    /// Fetches `source` into `file`, which is emptied before. It may be a file without a name; what is in it after an error
    /// is of no use.
    ///
    /// What the server does not have (404, 410), and a file that is not there, is [`ErrorKind::NotFound`]; a certificate that
    /// is not to be trusted and a redirect from https to http are [`ErrorKind::Untrusted`]; more than `max_bytes` is
    /// [`ErrorKind::Unsupported`] with [`Limit`](crate::Reason::Limit); a processor that cannot do TLS is
    /// [`ErrorKind::Environment`]; all else that the network, the proxy or the server does is [`ErrorKind::Network`].
    pub fn download(
        &self,
        source: &Source,
        file: &mut File,
        max_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<Received> {
        let mut sink = FileSink::new(file);
        self.fetch(source, max_bytes, &mut sink, progress)?;
        Ok(sink.finish())
    }

    fn fetch(
        &self,
        source: &Source,
        max_bytes: u64,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<()> {
        match self.settings.mirrored(source)? {
            Source::Web(url) => {
                let ask = Ask {
                    max_bytes,
                    ..Ask::default()
                };
                self.ask(&url, &ask, sink, progress).map(|_| ())
            }
            Source::File(path) => {
                let place = path.display().to_string();
                let mut step = Step::new(progress, format!("reading {place}"));
                local::copy(&path, max_bytes, sink, &mut step, &self.cancel)
                    .map_err(|error| at_unless_cancelled(error, place))
            }
        }
    }

    /// Asks for `url` until the whole answer is in `sink`.
    pub fn ask(
        &self,
        url: &Url,
        ask: &Ask,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<Answer> {
        let mut transfer = Transfer {
            client: self,
            url,
            ask,
            sink,
            step: Step::new(progress, format!("fetching {url}")),
            state: State::default(),
            furthest: 0,
        };
        transfer
            .run()
            .map_err(|error| at_unless_cancelled(error, url.to_string()))
    }

    /// The value of `Authorization` for `url`.
    fn authorization(&self, url: &Url) -> Option<String> {
        if let Some((name, password)) = url.userinfo() {
            return Some(basic(&name, &password));
        }
        let of_host = self.settings.credentials.iter().find(|credential| {
            let host = credential.host.to_ascii_lowercase();
            url.authority() == host || format!("{}:{}", url.authority(), url.port()) == host
        });
        of_host.map(|credential| basic(credential.user.as_bytes(), credential.password.as_bytes()))
    }
}

/// That something was cancelled has no place.
fn at_unless_cancelled(error: Error, place: String) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        error
    } else {
        error.at(place)
    }
}

/// One file on its way.
struct Transfer<'a> {
    client: &'a Client,
    url: &'a Url,
    ask: &'a Ask,
    sink: &'a mut dyn Sink,
    step: Step<'a>,
    state: State,
    /// The most bytes that were there at any time.
    furthest: u64,
}

/// What is known of the file, of which `offset` bytes are there.
#[derive(Default)]
struct State {
    offset: u64,
    total: Option<u64>,
    validator: Option<String>,
}

impl Transfer<'_> {
    fn run(&mut self) -> Result<Answer> {
        self.sink.restart()?;
        let retries = &self.client.settings.retries;
        let mut tries = 0;
        let mut failures = 0;
        loop {
            let before = self.furthest;
            tries += 1;
            let failure = match self.attempt() {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let fresh = self.furthest - before >= FRESH_START_BYTES;
            failures = if fresh { 1 } else { failures + 1 };
            if !failure.again || failures > retries.count {
                return Err(after(tries, failure.error));
            }
            let wait = retries.wait(&self.url.to_string(), failures, failure.wait);
            pause(wait, &self.client.cancel)?;
        }
    }

    /// Asks once, at the first address, as those of redirects may be good for a moment only.
    fn attempt(&mut self) -> Result<Answer, Failure> {
        if self.state.offset > 0 && self.state.validator.is_none() {
            self.begin_anew()?;
        }
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let elsewhere = |failure: Failure| {
                if url == *self.url {
                    failure
                } else {
                    failure.at(format!("redirected to {url}"))
                }
            };
            let response = self.send(&url).map_err(elsewhere)?;
            let next = target(&url, response.status(), response.headers()).map_err(elsewhere)?;
            match next {
                Some(next) => {
                    drain(response);
                    url = next;
                }
                None => {
                    let redirected = (url != *self.url).then(|| format!("redirected to {url}"));
                    return self.receive(response).map_err(|failure| match redirected {
                        Some(place) => failure.at(place),
                        None => failure,
                    });
                }
            }
        }
        let message = format!("more than {MAX_REDIRECTS} redirects, the last to {url}");
        Err(Failure::last(network(message)))
    }

    fn send(&self, url: &Url) -> Result<Response<Body>, Failure> {
        let mut request = self.client.agent.get(url.uri().clone());
        for (name, value) in &self.ask.headers {
            request = request.header(*name, value);
        }
        let own = self.ask.authorization.clone();
        let own = own.filter(|_| url.same_server(self.url));
        if let Some(value) = own.or_else(|| self.client.authorization(url)) {
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(validator) = self
            .state
            .validator
            .as_ref()
            .filter(|_| self.state.offset > 0)
        {
            request = request
                .header(header::RANGE, format!("bytes={}-", self.state.offset))
                .header(header::IF_RANGE, validator);
        }
        request.call().map_err(Failure::of_ureq)
    }

    fn receive(&mut self, response: Response<Body>) -> Result<Answer, Failure> {
        let offset = self.state.offset;
        match response.status() {
            StatusCode::OK => {
                if offset > 0 {
                    self.begin_anew()?;
                }
                self.whole(response)
            }
            StatusCode::PARTIAL_CONTENT if offset > 0 => self.rest(response),
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => self.beyond_the_end(response),
            StatusCode::UNAUTHORIZED if self.ask.challenge => {
                let headers = response.headers().clone();
                drain(response);
                Ok(Answer {
                    status: 401,
                    headers,
                })
            }
            _ => Err(refusal(&response)),
        }
    }

    /// What came so far is of no use.
    fn begin_anew(&mut self) -> Result<()> {
        self.state = State::default();
        self.sink.restart()
    }

    fn whole(&mut self, response: Response<Body>) -> Result<Answer, Failure> {
        let headers = response.headers().clone();
        let encoding = Encoding::of(&headers, self.url)?;
        if encoding == Encoding::Identity {
            self.state.total = content_length(&headers);
            self.state.validator = validator(&headers);
        }
        self.check_total()?;
        self.step.begin(self.state.total.unwrap_or_default());
        let mut body = response.into_body();
        match encoding {
            Encoding::Identity => self.pour(&mut body.as_reader())?,
            Encoding::Gzip => self.pour(&mut MultiGzDecoder::new(body.as_reader()))?,
        }
        Ok(Answer {
            status: 200,
            headers,
        })
    }

    /// The rest of a file whose beginning is there. An answer that is another part, or of another file, is of no use, and
    /// the next try is for the whole.
    fn rest(&mut self, response: Response<Body>) -> Result<Answer, Failure> {
        let headers = response.headers().clone();
        let range = ContentRange::of(&headers);
        let begins = range.and_then(|range| range.part).map(|(first, _)| first);
        let ends = range.and_then(|range| Some((range.part?.1 + 1, range.total)));
        let same_length = ends.is_some_and(|(end, total)| {
            let known = self.state.total.or(total).unwrap_or(end);
            end == known && total.is_none_or(|total| total == known)
        });
        let same_state =
            validator(&headers).is_none_or(|other| Some(other) == self.state.validator);
        let plain = Encoding::of(&headers, self.url)? == Encoding::Identity;
        if begins != Some(self.state.offset) || !same_length || !same_state || !plain {
            self.begin_anew()?;
            let message = "the server sent another part of the file than was asked for";
            return Err(Failure::passing(network(message)));
        }
        self.state.total = ends.map(|(end, _)| end);
        self.check_total()?;
        self.pour(&mut response.into_body().as_reader())?;
        Ok(Answer {
            status: 200,
            headers,
        })
    }

    /// The server has nothing behind what is there: that is the whole file, where its length says so.
    fn beyond_the_end(&mut self, response: Response<Body>) -> Result<Answer, Failure> {
        let headers = response.headers().clone();
        let total = ContentRange::of(&headers).and_then(|range| range.total);
        if total == Some(self.state.offset)
            && self.state.total.is_none_or(|known| Some(known) == total)
        {
            self.state.total = total;
            self.check_total()?;
            return Ok(Answer {
                status: 200,
                headers,
            });
        }
        self.begin_anew()?;
        let message = "the server has no such part of the file";
        Err(Failure::passing(network(message)))
    }

    fn check_total(&self) -> Result<(), Failure> {
        let Some(total) = self.state.total else {
            return Ok(());
        };
        check_len(total, self.ask.max_bytes)?;
        match self.ask.len {
            Some(len) if len != total => Err(Failure::last(other_length(total, len))),
            _ => Ok(()),
        }
    }

    /// Passes all of `body` on.
    fn pour(&mut self, body: &mut dyn Read) -> Result<(), Failure> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            self.client.cancel.check()?;
            let count = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::of_io(error)),
            };
            let offset = self.state.offset + to_u64(count);
            check_len(offset, self.ask.max_bytes)?;
            self.sink.write(&piece[..count])?;
            self.state.offset = offset;
            self.furthest = self.furthest.max(offset);
            self.step.reached(offset);
        }
        if self
            .state
            .total
            .is_some_and(|total| total != self.state.offset)
        {
            let early = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(Failure::of_io(early));
        }
        match self.ask.len {
            Some(len) if len != self.state.offset => {
                Err(Failure::last(other_length(self.state.offset, len)))
            }
            _ => Ok(()),
        }
    }
}

fn after(tries: u32, error: Error) -> Error {
    if tries > 1 && error.kind() != ErrorKind::Cancelled {
        error.at(format!("after {tries} tries"))
    } else {
        error
    }
}

fn other_length(len: u64, wanted: u64) -> Error {
    network(format!("it has {len} bytes where {wanted} were announced"))
}

/// Reads an answer that nobody wants, where it is short. Whether that works is of no interest.
fn drain(response: Response<Body>) {
    let mut rest = response.into_body();
    let mut short = rest.as_reader().take(MAX_DRAINED_BYTES);
    let _of_no_interest = io::copy(&mut short, &mut io::sink());
}

/// How the content of an answer is packed.
#[derive(PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// Nothing but `identity` was asked for. Some servers say `gzip` of files that are gzip files and were stored as such:
    /// these are left as they are. What a server packs all the same is unpacked.
    fn of(headers: &HeaderMap, url: &Url) -> Result<Self, Failure> {
        let Some(encoding) = text(headers, header::CONTENT_ENCODING.as_str()) else {
            return Ok(Self::Identity);
        };
        let path = url.uri().path().to_ascii_lowercase();
        let stored = [".gz", ".tgz"].iter().any(|ending| path.ends_with(ending));
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" if stored => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            _ => Err(Failure::last(network(format!(
                "the server packs the file ({encoding}), though it was asked not to"
            )))),
        }
    }
}

/// What an answer without the file means.
fn refusal(response: &Response<Body>) -> Failure {
    let status = response.status();
    let number = status.as_u16();
    let name = status.canonical_reason().unwrap_or_default();
    let message = format!("the server answered {number} {name}")
        .trim()
        .to_owned();
    match number {
        404 | 410 => Failure::last(Error::not_found(message)),
        401 | 403 => {
            let error = network(message);
            Failure::last(
                error.with_hint(
                    "the server wants to know who asks: give a name and password for it",
                ),
            )
        }
        407 => {
            let message =
                format!("{message}: the proxy wants a name and password, or others than it got");
            let hint = "write them as http://NAME:PASSWORD@PROXY:PORT";
            Failure::last(network(message).with_hint(hint))
        }
        408 | 429 | 500..=599 => Failure {
            wait: retry_after(response.headers()),
            ..Failure::passing(network(message))
        },
        _ => Failure::last(network(message)),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<std::time::Duration> {
    let value = text(headers, header::RETRY_AFTER.as_str())?;
    asked(
        value,
        text(headers, header::DATE.as_str()),
        SystemTime::now(),
    )
}
