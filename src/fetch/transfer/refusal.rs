//! Answers without what was asked for.

use std::time::{Duration, SystemTime};

use ureq::Body;
use ureq::http::{HeaderMap, Response, header};

use super::failure::{Failure, network};
use super::range::text;
use super::retry::asked;
use crate::error::Error;

/// What an answer without the file means.
pub(super) fn refusal(response: &Response<Body>) -> Failure {
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

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER.as_str())?;
    asked(
        value,
        text(headers, header::DATE.as_str()),
        SystemTime::now(),
    )
}
