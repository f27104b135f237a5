//! A tree as JSON.

use super::node::{Kind, Node, Scalar, Value};

/// `node` as JSON: in one line, or with two spaces for every level. `<`, `>` and `&` are written as escapes, as Go's
/// programs do, so that other programs' output can be compared with this.
pub fn json_text(node: &Node, is_pretty: bool) -> String {
    let mut writer = Writer {
        text: String::new(),
        is_pretty,
    };
    writer.node(node, 0);
    writer.text
}

struct Writer {
    text: String,
    is_pretty: bool,
}

impl Writer {
    fn node(&mut self, node: &Node, depth: usize) {
        match &node.value {
            Value::Scalar(scalar) => self.scalar(scalar),
            Value::List(items) if items.is_empty() => self.text.push_str("[]"),
            Value::List(items) => {
                self.text.push('[');
                for (number, item) in items.iter().enumerate() {
                    self.begin_item(number, depth);
                    self.node(item, depth + 1);
                }
                self.new_line(depth);
                self.text.push(']');
            }
            Value::Table(entries) if entries.is_empty() => self.text.push_str("{}"),
            Value::Table(entries) => {
                self.text.push('{');
                for (number, (key, value)) in entries.iter().enumerate() {
                    self.begin_item(number, depth);
                    self.quoted(&key.name);
                    self.text.push_str(if self.is_pretty { ": " } else { ":" });
                    self.node(value, depth + 1);
                }
                self.new_line(depth);
                self.text.push('}');
            }
        }
    }

    fn begin_item(&mut self, number: usize, depth: usize) {
        if number > 0 {
            self.text.push(',');
        }
        self.new_line(depth + 1);
    }

    fn new_line(&mut self, depth: usize) {
        if self.is_pretty {
            self.text.push('\n');
            self.text.push_str(&"  ".repeat(depth));
        }
    }

    fn scalar(&mut self, scalar: &Scalar) {
        match scalar.kind {
            Kind::Null => self.text.push_str("null"),
            Kind::Bool(value) => self.text.push_str(if value { "true" } else { "false" }),
            Kind::Integer | Kind::Float => self.text.push_str(&scalar.text),
            Kind::Text | Kind::Substituted => self.quoted(&scalar.text),
        }
    }

    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => self.escaped(c),
                c if c < ' ' => self.escaped(c),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    fn escaped(&mut self, c: char) {
        self.text.push_str(&format!("\\u{:04x}", u32::from(c)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_json;
    use super::*;

    #[test]
    fn both_layouts() {
        let node = parse_json(r#"{"a":[1,{}],"b":{"c":"<\u0001\n>"},"d":[]}"#).unwrap();
        assert_eq!(
            json_text(&node, false),
            r#"{"a":[1,{}],"b":{"c":"\u003c\u0001\n\u003e"},"d":[]}"#
        );
        assert_eq!(
            json_text(&node, true),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": \"\\u003c\\u0001\\n\\u003e\"\n  },\n  \"d\": []\n}"
        );
    }
}
