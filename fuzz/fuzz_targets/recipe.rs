//! Recipes of extensions, and lists of what is published.
#![no_main]

use std::collections::BTreeSet;

use flatbake::flatcar::sysext::publish::List;
use flatbake::flatcar::sysext::recipe::{Choice, Recipe};
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    blames_the_input(&List::parse(text, "list.yaml"));
    let recipe = Recipe::parse(text, "recipe.yaml");
    blames_the_input(&recipe);
    let Ok(recipe) = recipe else {
        return;
    };
    for architecture in ["x86-64", "arm64"] {
        let chosen = recipe.choose(&Choice {
            version: Some(recipe.example().to_owned()),
            architecture: architecture.to_owned(),
            ..Choice::default()
        });
        blames_the_input(&chosen);
        if let Ok(chosen) = chosen {
            blames_the_input(&chosen.downloads(&BTreeSet::new()));
        }
    }
});
