//! All of one vendor, for people.

use crate::flatcar::vendor::{Settings, Until};

use super::super::table::table;
use super::Row;

/// What there is to know of a vendor, as lines.
pub fn one(row: &Row) -> String {
    let vendor = row.vendor;
    let mut rows = Rows(Vec::new());
    rows.add("id:", &vendor.id.to_string());
    rows.add("name:", &vendor.name.to_string());
    rows.add("status:", &row.status());
    rows.maybe("refused:", vendor.why.as_ref());
    rows.maybe("since release:", vendor.since.as_ref());
    rows.add_all("made for:", &vendor.arch);
    if let Some(settings) = &row.settings {
        add_settings(&mut rows, row, settings);
    }
    rows.add_all("needs:", &vendor.needs);
    rows.add_all("note:", &vendor.notes);
    rows.add_all("warning:", &row.findings);
    for until in vendor.until() {
        rows.add(&format!("before {}:", until.release), &changes(until));
    }
    let mut text = table(&rows.0, &[]);
    if let Some(grub) = &row.grub_cfg {
        text.push_str("\ngrub.cfg on the OEM partition:\n\n");
        for line in grub.lines() {
            text.push_str(format!("  {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

fn add_settings(rows: &mut Rows, row: &Row, settings: &Settings) {
    rows.add("disk format:", &settings.disk_format.to_string());
    if let Some(layout) = settings.disk_layout {
        rows.add("disk layout:", &layout.to_string());
    }
    rows.maybe("disk size:", row.size().as_ref());
    rows.maybe("disk file:", row.disk_file.as_ref());
    rows.maybe("OEM id:", settings.oem.as_ref().map(|oem| &oem.id));
    rows.maybe("OEM sysext:", settings.oem_sysext.as_ref());
    rows.maybe(
        "OEM files not baked:",
        settings
            .oem_package
            .as_ref()
            .map(|name| format!("Flatcar's package {name}"))
            .as_ref(),
    );
    rows.maybe("config format:", settings.conf_format.as_ref());
    rows.add_all("config file:", &row.conf_files);
    rows.maybe("bundle:", row.bundle_file.as_ref());
    rows.add_all("in the bundle:", &row.bundle_files);
    let compression: Vec<String> = settings
        .ci_compression
        .iter()
        .map(ToString::to_string)
        .collect();
    if !compression.is_empty() {
        rows.add("Flatcar's downloads:", &compression.join(", "));
    }
}

/// `disk_layout base, without oem_sysext`
fn changes(until: &Until) -> String {
    let serde_json::Value::Object(keys) = serde_json::json!(until) else {
        return String::new();
    };
    let keys = keys.into_iter().filter(|(key, _)| key != "release");
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" and "),
        other => other.to_string(),
    };
    keys.map(|(key, value)| format!("{key} {}", text(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Lines of a name and a value.
struct Rows(Vec<Vec<String>>);

impl Rows {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(vec![name.to_owned(), value.to_owned()]);
    }

    fn maybe(&mut self, name: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.add(name, &value.to_string());
        }
    }

    /// A line for each value, with the name in the first.
    fn add_all(&mut self, name: &str, values: &[impl ToString]) {
        for (index, value) in values.iter().enumerate() {
            self.add(if index == 0 { name } else { "" }, &value.to_string());
        }
    }
}
