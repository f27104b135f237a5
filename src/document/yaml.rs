//! YAML 1.2: the events of a parser become a tree.
//!
//! Scalars mean what YAML's core schema says. Aliases are expanded; merge keys, tags (but `!!str`) and a second document
//! are refused.

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

use super::builder::Builder;
use super::node::{DEPTH_MAX, Fault, Kind, Node, Position};

/// Reads the one document of `text`.
pub fn parse(text: &str) -> Result<Node, Fault> {
    let mut options = Options::default();
    (options.flow_nesting_limit, options.block_nesting_limit) = (DEPTH_MAX, DEPTH_MAX);
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| scan_error(&error))?;
        take(&mut builder, event, &span)?;
    }
    builder
        .finish()
        .ok_or_else(|| Fault::new(Position::START, "the document is empty"))
}

fn scan_error(error: &ScanError) -> Fault {
    let marker = error.marker();
    Fault::new(
        Position {
            line: marker.line().max(1),
            column: marker.col() + 1,
        },
        error.info(),
    )
}

fn start(span: &Span) -> Position {
    Position {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

fn take(builder: &mut Builder, event: Event<'_>, span: &Span) -> Result<(), Fault> {
    let position = start(span);
    refuse_tag(&event, span)?;
    match event {
        Event::DocumentStart(..) if builder.is_whole() => Err(Fault::new(
            position,
            "a second document begins here, only one can be read",
        )),
        Event::Scalar(text, style, anchor, tag) => {
            let is_plain = style == ScalarStyle::Plain && tag.is_none();
            if is_plain && text == "<<" && builder.wants_key() {
                return Err(merge_key(position));
            }
            let kind = if is_plain { kind(&text) } else { Kind::Text };
            builder.scalar(position, text.into_owned(), kind, anchor)
        }
        Event::SequenceStart(_, anchor, _) => builder.begin_list(position, anchor),
        Event::MappingStart(_, anchor, _) => builder.begin_table(position, anchor),
        Event::SequenceEnd | Event::MappingEnd => builder.end(),
        Event::Alias(anchor) => builder.alias(position, anchor),
        _ => Ok(()),
    }
}

fn merge_key(position: Position) -> Fault {
    Fault::new(position, "merge keys (<<) are not part of YAML 1.2")
        .with_hint("write the values out, or use an alias for a whole list or table")
}

/// Tags are refused, but for `!!str` at a scalar, which makes it text.
fn refuse_tag(event: &Event<'_>, span: &Span) -> Result<(), Fault> {
    let tag = match event {
        Event::Scalar(_, _, _, Some(tag)) if tag.is_yaml_core_schema() && tag.suffix() == "str" => {
            None
        }
        Event::Scalar(.., tag) | Event::SequenceStart(.., tag) | Event::MappingStart(.., tag) => {
            tag.as_ref()
        }
        _ => None,
    };
    if tag.is_none() {
        return Ok(());
    }
    let marker = span.tag_start().unwrap_or(span.start);
    let position = Position {
        line: marker.line().max(1),
        column: marker.col() + 1,
    };
    Err(Fault::new(position, "tags have no meaning here")
        .with_hint("leave out the word that begins with '!'"))
}

/// What a scalar without quotes means (YAML 1.2.2, section 10.3.2, core schema).
fn kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Kind::Float,
        _ => {}
    }
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all =
        |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c: char| c.is_digit(radix));
    let prefixed = |prefix, radix| {
        text.strip_prefix(prefix)
            .is_some_and(|digits| all(digits, radix))
    };
    if all(number, 10) || prefixed("0o", 8) || prefixed("0x", 16) {
        return Kind::Integer;
    }
    let begins = number
        .strip_prefix('.')
        .unwrap_or(number)
        .starts_with(|c: char| c.is_ascii_digit());
    match (begins && number.parse::<f64>().is_ok()) || matches!(number, ".inf" | ".Inf" | ".INF") {
        true => Kind::Float,
        false => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::Value;
    use super::*;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        for (text, expected) in [
            ("~", Kind::Null),
            ("True", Kind::Bool(true)),
            ("no", Kind::Text),
            ("0644", Kind::Integer),
            ("0o644", Kind::Integer),
            ("-5", Kind::Integer),
            ("1.5e3", Kind::Float),
            (".5", Kind::Float),
            ("-.inf", Kind::Float),
            ("inf", Kind::Text),
            ("1:20", Kind::Text),
            ("6G", Kind::Text),
            ("-", Kind::Text),
            ("0x", Kind::Text),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn aliases_are_expanded_within_a_budget() {
        let node = parse("a: &x [1, 2]\nb: *x\n").unwrap();
        let Value::Table(entries) = node.value else {
            panic!()
        };
        assert_eq!(entries[0].1, entries[1].1);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..40 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let error = parse(&bomb).unwrap_err();
        assert!(error.message.contains("too large"), "{error:?}");
        let long = "y".repeat(100_000);
        let error = parse(&format!(
            "a: &a {long}\nb: [{}]\n",
            vec!["*a"; 5000].join(",")
        ))
        .unwrap_err();
        assert!(
            error.message.contains("too large")
                && error.position.is_some_and(|position| position.line == 2),
            "{error:?}"
        );
        // Every level nests the one before it.
        let mut deep = "a0: &a0 [x]\n".to_owned();
        (1..200)
            .for_each(|level| deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1)));
        assert!(parse(&deep).unwrap_err().message.contains("deep"));
    }

    #[test]
    fn what_a_manifest_does_not_need_is_refused_at_its_place() {
        for (text, line, column, says) in [
            ("a: 1\na: 2\n", 2, 1, "twice"),
            ("a: 1\n--- \nb: 2\n", 2, 1, "second document"),
            ("a:\n  <<: {b: 1}\n", 2, 3, "merge"),
            ("a: !x 1\n", 1, 4, "tags"),
            ("a: !!map {}\n", 1, 4, "tags"),
            ("? [a]\n: 1\n", 1, 3, "key must be text"),
            ("a: &a [*a]\n", 1, 8, "alias"),
            ("a: *b\n", 1, 4, "anchor"),
            ("a: [1\nb: 2\n", 2, 2, ""),
            ("a: \"x\n", 1, 4, ""),
            ("", 1, 1, "empty"),
            ("# nothing\n", 1, 1, "empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(says), "{text:?}: {error:?}");
            assert_eq!(
                error.position,
                Some(Position { line, column }),
                "{text:?}: {error:?}"
            );
        }
        for nest in ["[", "{a: ", "- ", "? "] {
            assert!(parse(&nest.repeat(100_000)).is_err());
        }
    }
}
