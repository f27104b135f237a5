//! Connections whose every wait ends soon after the work is cancelled.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::failure::{Failure, network};
use super::wait::SLICE;
use crate::bytes::ByteSize;
use crate::error::Error;
use crate::progress::Cancel;

/// Room for what is sent and received at once; a request or the head of an answer fits.
pub(super) const BUFFER_BYTES: usize = 128 << 10;

/// No address of a server gets less time, however many it has.
const LEAST_CONNECT: Duration = Duration::from_secs(2);

/// Makes connections.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    pub connect_timeout: Duration,
    pub stall_timeout: Duration,
    pub cancel: Cancel,
}

impl Sockets {
    /// Looks up `host`, a name or an address without brackets, and connects to the first of its addresses that answers.
    ///
    /// Both can take longer than allowed where nothing can end them: a thread does it, which nobody waits for any more then.
    pub fn connect(&self, host: &str, port: u16) -> Result<Socket, Failure> {
        let (sender, receiver) = sync_channel(1);
        let target = host.to_owned();
        let timeout = self.connect_timeout;
        let start = Instant::now();
        let connecting = thread::Builder::new().name("connect".to_owned());
        let spawned = connecting.spawn(move || {
            let result = connect(&target, port, timeout);
            let _nobody_waits = sender.send(result);
        });
        spawned.map_err(|error| Error::io("starting a thread", error))?;
        loop {
            self.cancel.check()?;
            match receiver.recv_timeout(SLICE) {
                Ok(result) => return Socket::new(result?, self.clone()),
                Err(RecvTimeoutError::Timeout) if start.elapsed() < timeout + LEAST_CONNECT => {}
                Err(RecvTimeoutError::Timeout) => return Err(no_answer(host, port, timeout)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::internal("connecting ended without a result").into());
                }
            }
        }
    }
}

fn no_answer(host: &str, port: u16, timeout: Duration) -> Failure {
    Failure::passing(network(format!(
        "{host}, port {port}, does not answer within {} s",
        timeout.as_secs_f64()
    )))
}

fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, Failure> {
    let start = Instant::now();
    let found = (host, port).to_socket_addrs().map_err(|error| {
        let message = format!("the name {host} cannot be looked up");
        let error = network(message).with_source(error);
        Failure::passing(
            error.with_hint("check the name, the network, and whether a proxy is needed"),
        )
    })?;
    let addresses: Vec<SocketAddr> = found.collect();
    let mut failure = no_answer(host, port, timeout);
    for (at, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let share = timeout.saturating_sub(start.elapsed()) / others;
        match TcpStream::connect_timeout(address, share.max(LEAST_CONNECT.min(timeout))) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => {
                let message = format!("no connection to {host}, port {port}");
                let error = network(message).with_source(error);
                failure = Failure::passing(
                    error.with_hint("check the network, and whether a proxy is needed"),
                );
            }
        }
    }
    Err(failure)
}

/// A TCP connection.
pub(super) struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
    settings: Sockets,
}

impl Socket {
    fn new(stream: TcpStream, settings: Sockets) -> Result<Self, Failure> {
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(SLICE)))
            .and_then(|()| stream.set_write_timeout(Some(SLICE)));
        prepared.map_err(Failure::of_io)?;
        Ok(Self {
            stream,
            buffers: LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES),
            settings,
        })
    }
}

/// Repeats an operation that times out after a moment until the connection was silent for too long.
fn in_slices(
    settings: &Sockets,
    mut operation: impl FnMut() -> io::Result<usize>,
) -> Result<usize, Failure> {
    let start = Instant::now();
    loop {
        settings.cancel.check()?;
        match operation() {
            Ok(len) => return Ok(len),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    if start.elapsed() >= settings.stall_timeout {
                        return Err(stalled(settings.stall_timeout));
                    }
                }
                _ => return Err(Failure::of_io(error)),
            },
        }
    }
}

fn stalled(time: Duration) -> Failure {
    let message = format!("the server was silent for {} s", time.as_secs_f64());
    Failure::passing(network(message))
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() {
            let stream = &self.stream;
            let written = in_slices(&self.settings, || (&*stream).write(rest))?;
            if written == 0 {
                return Err(Failure::of_io(io::ErrorKind::ConnectionAborted.into()).into());
            }
            rest = &rest[written..];
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let free = self.buffers.input_append_buf();
        if free.is_empty() {
            let most = ByteSize(crate::bytes::to_u64(BUFFER_BYTES));
            let message = format!("the head of the answer is longer than {most}");
            return Err(Failure::last(network(message)).into());
        }
        let stream = &self.stream;
        let len = in_slices(&self.settings, || (&*stream).read(free))?;
        self.buffers.input_appended(len);
        Ok(len > 0)
    }

    /// A connection at rest has nothing to read: neither bytes that nobody asked for, nor its end.
    fn is_open(&mut self) -> bool {
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        peek().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket to {:?}", self.stream.peer_addr().ok())
    }
}
