//! Files of servers: one way through for small documents and for whole images, over HTTP, HTTPS, proxies and mirrors.
//!
//! ```text
//!  Source ──mirrors──▶ URL ──▶ try ──▶ redirects ──▶ answer ──▶ Sink: memory, or a file and its SHA-256
//!                      │        ▲  └── cut, stalled, 429, 5xx ──▶ wait, then go on where it ended (Range, If-Range)
//!                      │        └───────────────────────────────────┘
//!                      └▶ a path of this machine: read as it is
//!
//!  Dialer (ureq's connector):  look up, connect ──▶ [TLS to a proxy, CONNECT] ──▶ [TLS]     every wait looks at Cancel
//! ```
//!
//! ureq writes requests, reads the heads of answers, and undoes chunks. Connections, proxies, TLS, redirects and retries are
//! ours, as each of them has to end within a moment once the work is cancelled, and none of them may read the environment.
//!
//! What arrives is as long as the server says and within the caller's limit. That it is what was meant is for digests and
//! signatures to say.

mod ask;
mod attempt;
mod client;
mod encoding;
mod failure;
mod local;
mod parallel;
mod proxy;
mod range;
mod redirect;
mod refusal;
mod retry;
mod settings;
mod sink;
mod socket;
mod source;
mod steps;
mod tls;
mod tunnel;
mod url;
mod wait;

pub use ask::{Answer, Ask};
pub use client::Client;
pub use parallel::{Together, in_parallel};
pub use proxy::Proxies;
pub use retry::Retries;
pub use settings::{Credential, Mirror, Settings};
pub use sink::{InFile, Received, Sink};
pub use source::Source;
pub use url::Url;
