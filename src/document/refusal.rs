//! What is wrong with a document, as the error of whoever reads it.

use super::frame::frame;
use super::node::{Fault, place};
use crate::error::Error;

impl Fault {
    /// An error that shows the line it is about. `file` is what the document is called, `text` what is in it.
    pub fn into_error(self, file: &str, text: &str) -> Error {
        let frame = self.position.and_then(|position| frame(text, position));
        let error = Error::invalid(match frame {
            Some(frame) => format!("{}\n{frame}", self.message),
            None => self.message,
        });
        let error = match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        };
        error.at(match self.position {
            Some(position) => place(file, position),
            None => file.to_owned(),
        })
    }
}
