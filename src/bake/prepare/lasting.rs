//! What outlives `flatcar-reset`, which empties ROOT and has Ignition run again: files lie on OEM, and what must be on ROOT
//! is in `base.ign`, by which Ignition makes it anew.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::error::{Error, Reason, Result};
use crate::fs::FsPath;

/// The version of a `base.ign` that is made here, which every Ignition since 2.0 reads.
const VERSION: &str = "3.0.0";
const FILE_MODE: u32 = 0o644;

/// What Ignition makes on ROOT.
#[derive(Debug)]
pub(super) struct Lasting {
    path: String,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Link(String),
    File(Vec<u8>),
}

impl Lasting {
    /// A symlink.
    pub(super) fn link(path: &FsPath, target: &str) -> Self {
        Self {
            path: path.to_string(),
            part: Part::Link(target.to_owned()),
        }
    }

    /// A small file.
    pub(super) fn file(path: &FsPath, content: &[u8]) -> Self {
        Self {
            path: path.to_string(),
            part: Part::File(content.to_vec()),
        }
    }

    /// Its entry in a config, and the list that it goes into.
    fn entry(&self) -> (&'static str, Value) {
        match &self.part {
            Part::Link(target) => (
                "links",
                json!({"path": self.path, "target": target, "overwrite": true}),
            ),
            Part::File(content) => (
                "files",
                json!({
                    "path": self.path,
                    "mode": FILE_MODE,
                    "overwrite": true,
                    "contents": {"source": format!("data:;base64,{}", STANDARD.encode(content))},
                }),
            ),
        }
    }
}

/// A config with these entries, each in the place of one for the same path.
pub(super) fn merged(text: &str, lasting: &[Lasting]) -> Result<String> {
    let mut config: Value = if text.trim().is_empty() {
        json!({"ignition": {"version": VERSION}})
    } else {
        serde_json::from_str(text).map_err(|error| {
            Error::invalid(format!("this is no Ignition config in JSON: {error}"))
                .with_hint("mend it, or give another one")
        })?
    };
    let version = config["ignition"]["version"].as_str().unwrap_or_default();
    if !version.starts_with("3.") {
        return Err(Error::unsupported(format!(
            "a config of version '{}', which nothing can be merged into",
            version.escape_debug()
        ))
        .because(Reason::Version)
        .with_hint("translate it to specification 3"));
    }
    let top = table(&mut config, "the config")?;
    let storage = table(top.entry("storage").or_insert(json!({})), "storage")?;
    for one in lasting {
        for name in ["links", "files", "directories"] {
            if let Some(Value::Array(entries)) = storage.get_mut(name) {
                entries.retain(|entry| entry["path"].as_str() != Some(&one.path));
            }
        }
        let (name, entry) = one.entry();
        match storage.entry(name).or_insert(json!([])) {
            Value::Array(entries) => entries.push(entry),
            _ => return Err(Error::invalid(format!("storage.{name} is no list"))),
        }
    }
    let mut text = serde_json::to_string_pretty(&config)
        .map_err(|error| Error::internal("a config is text").with_source(error))?;
    text.push('\n');
    Ok(text)
}

fn table<'a>(value: &'a mut Value, what: &str) -> Result<&'a mut Map<String, Value>> {
    value
        .as_object_mut()
        .ok_or_else(|| Error::invalid(format!("{what} is no table")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(path: &str, target: &str) -> Lasting {
        Lasting::link(&FsPath::new(path).unwrap(), target)
    }

    #[test]
    fn what_is_there_stays_and_paths_are_told_once() {
        let lasting = [
            link("/etc/extensions/a.raw", "/oem/extensions/a/a.raw"),
            Lasting::file(&FsPath::new("/etc/sysupdate.a.d/a.conf").unwrap(), b"hi"),
        ];
        let new = merged("", &lasting).unwrap();
        let config: Value = serde_json::from_str(&new).unwrap();
        assert_eq!(config["ignition"]["version"], VERSION);
        assert_eq!(
            config["storage"]["links"][0]["target"],
            "/oem/extensions/a/a.raw"
        );
        let source = &config["storage"]["files"][0]["contents"]["source"];
        assert_eq!(source, "data:;base64,aGk=");
        assert_eq!(
            merged(&new, &lasting).unwrap(),
            new,
            "again, nothing changes"
        );

        let before = r#"{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "core"}]},
            "storage": {"links": [{"path": "/etc/extensions/a.raw", "target": "/old"}, {"path": "/b", "target": "/c"}]}}"#;
        let config: Value = serde_json::from_str(&merged(before, &lasting).unwrap()).unwrap();
        assert_eq!(config["ignition"]["version"], "3.3.0");
        assert_eq!(config["passwd"]["users"][0]["name"], "core");
        assert_eq!(config["storage"]["links"].as_array().unwrap().len(), 2);
        assert_eq!(config["storage"]["links"][0]["path"], "/b");
    }

    #[test]
    fn what_nothing_can_be_merged_into_is_refused() {
        let lasting = [link("/etc/extensions/a.raw", "/a")];
        for text in [
            "no json",
            "[]",
            r#"{"ignition": {"version": "2.3.0"}}"#,
            r#"{"ignition": {"version": "3.0.0"}, "storage": 1}"#,
            r#"{"ignition": {"version": "3.0.0"}, "storage": {"links": {}}}"#,
        ] {
            assert!(merged(text, &lasting).is_err(), "{text}");
        }
    }
}
