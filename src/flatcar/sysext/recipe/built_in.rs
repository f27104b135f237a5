//! The recipes in the box.

use super::read::Recipe;
use crate::error::{Error, Result};

/// How similar a name must be to be suggested, from 0 to 1.
const SIMILAR: f64 = 0.75;

macro_rules! built_in {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/", $name, ".yaml")))),*]
    };
}

/// The files of `recipes/`, by their names without `.yaml`.
const FILES: &[(&str, &str)] = built_in! {
    "crio" "docker" "docker_compose" "falco" "k3s" "kubernetes" "nebula" "ollama" "rke2" "tailscale" "wasmcloud" "wasmtime"
};

/// The names of all recipes in the box, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// The text of a recipe in the box, to start one's own from.
///
/// # Errors
/// There is none of that name.
pub fn built_in_text(name: &str) -> Result<&'static str> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text).ok_or_else(|| unknown(name))
}

/// A recipe in the box.
///
/// # Errors
/// There is none of that name.
pub fn built_in(name: &str) -> Result<Recipe> {
    Recipe::parse(built_in_text(name)?, &format!("recipes/{name}.yaml"))
}

fn unknown(name: &str) -> Error {
    let error = Error::not_found(format!(
        "there is no recipe called '{}'",
        name.escape_debug()
    ));
    let similar = names().map(|known| (known, strsim::jaro_winkler(known, name)));
    let nearest = similar
        .filter(|(_, similar)| *similar >= SIMILAR)
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    error.with_hint(match nearest {
        Some((near, _)) => format!("did you mean {near}?"),
        None => {
            let all: Vec<&str> = names().collect();
            format!(
                "there are {}; a file of your own ends in .yaml",
                all.join(", ")
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_recipes_are_read_and_named_as_their_files() {
        for name in names() {
            let recipe = built_in(name).unwrap();
            assert_eq!(recipe.name(), name);
        }
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let wanted: Vec<String> = names().map(|name| format!("{name}.yaml")).collect();
        assert_eq!(files, wanted, "the box has all files");
    }

    #[test]
    fn a_name_that_is_not_known_leads_to_one_that_is() {
        let error = built_in("tailscael").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean tailscale?"));
        let error = built_in("x").unwrap_err();
        assert!(error.hint().unwrap().contains("crio, "), "{error:?}");
    }
}
