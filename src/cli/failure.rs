//! A failure as a JSON document.

use crate::bake::ErrorReport;
use crate::{Error, ErrorKind};
use serde::Serialize;

/// What a command that was asked for JSON prints when it fails.
#[derive(Serialize)]
pub struct Document {
    error: ErrorReport,
}

impl From<&Error> for Document {
    fn from(error: &Error) -> Self {
        Self {
            error: error.into(),
        }
    }
}

/// What is wrong with arguments, without how they are used.
pub fn of_arguments(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    Error::new(
        ErrorKind::InvalidInput,
        message.trim_start_matches("error: ").trim(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_an_error_is_told() {
        let error = Error::io("reading", std::io::Error::other("broken"));
        let error = error
            .with_hint("look at the cable")
            .at("a.img")
            .at("out.img");
        let value = serde_json::to_value(Document::from(&error)).unwrap();
        let wanted = serde_json::json!({"error": {
            "kind": "io",
            "reason": null,
            "exit_code": 6,
            "place": ["out.img", "a.img"],
            "message": "reading",
            "hint": "look at the cable",
            "causes": ["broken"],
            "findings": [],
        }});
        assert_eq!(value, wanted);
    }
}
