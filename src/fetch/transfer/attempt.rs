//! One file on its way: asked for, and asked for again, until it is there or that is hopeless.

use std::io::{self, Read};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::ask::{Answer, Ask};
use super::encoding::Encoding;
use super::failure::{Failure, network};
use super::local::{PIECE_BYTES, check_len};
use super::proxy::basic;
use super::range::{ContentRange, content_length, validator};
use super::redirect::{MAX_REDIRECTS, target};
use super::refusal::refusal;
use super::settings::Settings;
use super::sink::Sink;
use super::steps::Step;
use super::url::Url;
use super::wait::pause;
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Cancel, Progress};

/// A try that brought so much is counted as a first one.
const FRESH_START_BYTES: u64 = 1 << 20;

/// So much of an answer that nobody wants is read, to go on with the same connection.
const MAX_DRAINED_BYTES: u64 = 16 << 10;

/// What all files are fetched with.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub agent: Agent,
    pub settings: Arc<Settings>,
    pub cancel: Cancel,
}

impl Means {
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

/// One file on its way.
pub(super) struct Transfer<'a> {
    means: &'a Means,
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

impl<'a> Transfer<'a> {
    pub fn new(
        means: &'a Means,
        url: &'a Url,
        ask: &'a Ask,
        sink: &'a mut dyn Sink,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            means,
            url,
            ask,
            sink,
            step: Step::new(progress, format!("fetching {url}")),
            state: State::default(),
            furthest: 0,
        }
    }

    /// Asks until the whole answer is in the sink.
    pub fn run(&mut self) -> Result<Answer> {
        self.sink.restart()?;
        let retries = &self.means.settings.retries;
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
            pause(wait, &self.means.cancel)?;
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
        let mut request = self.means.agent.get(url.uri().clone());
        for (name, value) in &self.ask.headers {
            request = request.header(*name, value);
        }
        let own = self.ask.authorization.clone();
        let own = own.filter(|_| url.same_server(self.url));
        if let Some(value) = own.or_else(|| self.means.authorization(url)) {
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
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if self.ask.challenge => {
                let headers = response.headers().clone();
                drain(response);
                Ok(Answer {
                    status: status.as_u16(),
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
        // A try that brought no bytes may have told other things of it.
        self.state = State::default();
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
            self.means.cancel.check()?;
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
