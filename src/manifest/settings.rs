//! Settings of the machine, of a manifest.

use super::document::{Document, Updates};
use super::inputs::Inputs;
use crate::bake::{self, Settings};
use crate::document::Spanned;
use crate::error::{Result, ResultExt};

/// The settings that `document` asks for.
pub(super) fn settings(document: &Document, inputs: &Inputs) -> Result<Settings> {
    let mut settings = Settings::default();
    for console in &document.console {
        let parsed = console.value.parse();
        settings
            .consoles
            .push(parsed.at(|| inputs.place(console.position))?);
    }
    settings.no_autologin = document.no_autologin;
    settings.survive_reset = document.survive_reset;
    if let Some(updates) = &document.updates {
        settings.updates = updates_of(updates, inputs)?;
    }
    Ok(settings)
}

fn updates_of(spanned: &Spanned<Updates>, inputs: &Inputs) -> Result<bake::Updates> {
    let document = &spanned.value;
    let mode = document.mode.as_ref();
    Ok(bake::Updates {
        mode: mode
            .map(|mode| mode.value.parse().at(|| inputs.place(mode.position)))
            .transpose()?,
        server: document.server.as_ref().map(|server| server.value.clone()),
        group: document.group.as_ref().map(|group| group.value.clone()),
    })
}
