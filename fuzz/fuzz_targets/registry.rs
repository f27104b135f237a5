//! What comes from registries and their users: references, documents, challenges, files of passwords, URLs.
#![no_main]

use flatbake::fetch::registry::{Architecture, Challenge, Document, Logins, Reference};
use flatbake::fetch::transfer::{Source, Url};
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match Document::parse(input, None) {
        Ok(Document::Index(index)) => {
            blames_the_input(&index.select(Architecture::Amd64));
            blames_the_input(&index.select(Architecture::Arm64));
        }
        Ok(Document::Manifest(manifest)) => {
            for layer in &manifest.layers {
                assert!(layer.title().is_none_or(|title| !title.contains('/')));
                layer.packing();
                layer.is_tar();
            }
        }
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    blames_the_input(&Logins::from_docker(input));
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Reference::parse(text) {
        Ok(reference) => {
            let printed = reference.to_string();
            let again = Reference::parse(&printed).expect("what is printed can be read");
            assert_eq!(again.to_string(), printed);
        }
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    for challenge in Challenge::parse(text) {
        challenge.parameter("realm");
    }
    blames_the_input(&Source::parse(text));
    match Url::parse(text) {
        Ok(url) => {
            assert!(url.path_and_query().starts_with('/'));
            blames_the_input(&url.join(text));
        }
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    let base = Url::parse("https://host.example/a/b?c").expect("a URL");
    if let Ok(joined) = base.join(text) {
        assert!(joined.path_and_query().starts_with('/'), "{joined}");
    }
});
