//! The client: what is asked for, tried until it is there.

use std::fs::File;
use std::sync::Arc;

use ureq::Agent;

use super::ask::{Answer, Ask};
use super::attempt::{Means, Transfer};
use super::local;
use super::settings::Settings;
use super::sink::{FileSink, Received, Sink};
use super::socket::{BUFFER_BYTES, Sockets};
use super::source::Source;
use super::steps::Step;
use super::tls::Tls;
use super::tunnel::{Dialer, Unresolved};
use super::url::Url;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Cancel, NoProgress, Progress};

/// The head of an answer; those of stores have a few kilobytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Fetches files. It can be shared among threads, and goes on with connections that it has.
#[derive(Debug, Clone)]
pub struct Client {
    means: Means,
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
        let means = Means {
            agent: Agent::with_parts(config, dialer, Unresolved),
            settings: Arc::new(settings.clone()),
            cancel: cancel.clone(),
        };
        Ok(Self { means })
    }

    /// What ends its work.
    pub fn cancel(&self) -> &Cancel {
        &self.means.cancel
    }

    /// Where `url` is asked for: at a mirror, where there is one for it.
    ///
    /// A mirror that is a folder is [`ErrorKind::Unsupported`].
    pub(in crate::fetch) fn mirror_of(&self, url: &Url) -> Result<Url> {
        match self.means.settings.mirrored(&Source::Web(url.clone()))? {
            Source::Web(url) => Ok(url),
            Source::File(folder) => Err(Error::unsupported(format!(
                "the mirror of a registry is a registry, and {} is a folder",
                folder.display()
            ))
            .with_hint("give the mirror as a URL")),
        }
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
        match self.means.settings.mirrored(source)? {
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
                local::copy(&path, max_bytes, sink, &mut step, &self.means.cancel)
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
        let mut transfer = Transfer::new(&self.means, url, ask, sink, progress);
        transfer
            .run()
            .map_err(|error| at_unless_cancelled(error, url.to_string()))
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
