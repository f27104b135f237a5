//! HTML that is well-formed XML too: every text is escaped, elements close where they opened.

use std::fmt::{self, Display, Write};

use crate::bytes::to_u64;

/// Rows of a table that are shown at most.
const ROWS_MAX: usize = 2000;
/// What the page may do: nothing but show itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = include_str!("style.css");

/// A page, or a part of one, while it is written.
#[derive(Debug, Default)]
pub struct Html {
    text: String,
}

/// A text as it stands between elements and in the values of attributes.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escaping = Escaping(f);
        write!(escaping, "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\n' | '\t' => self.0.write_char(c)?,
                // What no document may hold, and what makes a line read otherwise than it is written.
                c if c.is_control()
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}') =>
                {
                    self.0.write_char('\u{fffd}')?;
                }
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl Html {
    /// A part of a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Elements as they are. Nothing that is not the program's own belongs here.
    pub fn raw(&mut self, markup: &str) -> &mut Self {
        self.text.push_str(markup);
        self
    }

    /// A text.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        self.append(format_args!("{}", Escaped(text)))
    }

    /// An element with attributes and what `inside` writes into it.
    pub fn element(
        &mut self,
        name: &str,
        attributes: &[(&str, &dyn Display)],
        inside: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.append(format_args!("<{name}"));
        for (attribute, value) in attributes {
            self.append(format_args!(" {attribute}=\"{}\"", Escaped(value)));
        }
        self.raw(">");
        inside(self);
        self.append(format_args!("</{name}>"))
    }

    /// An element that holds a text.
    pub fn line(&mut self, name: &str, class: &str, text: impl Display) -> &mut Self {
        self.element(name, &[("class", &class)], |html| {
            html.text(text);
        })
    }

    /// A part of the page with a heading.
    pub fn section(&mut self, heading: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.raw("\n");
        self.element("section", &[], |html| {
            html.line("h2", "", heading);
            inside(html);
        })
    }

    /// Names and what they stand for; what is not known is left out.
    pub fn facts(&mut self, rows: &[(&str, Option<String>)]) -> &mut Self {
        self.element("dl", &[], |html| {
            for (name, value) in rows {
                if let Some(value) = value {
                    html.line("dt", "", name).line("dd", "", value);
                }
            }
        })
    }

    /// A table that ends where it would be too long, and tells so; columns whose heading begins with `#` hold numbers, which
    /// stand on the right.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<Cell>]) -> &mut Self {
        self.table_of_some(head, rows, 0)
    }

    /// A table of rows besides which there are so many more.
    pub fn table_of_some(&mut self, head: &[&str], rows: &[Vec<Cell>], more: u64) -> &mut Self {
        let shown = &rows[..rows.len().min(ROWS_MAX)];
        self.rows(head, shown);
        let more = more.saturating_add(to_u64(rows.len() - shown.len()));
        if more > 0 {
            self.line("p", "soft", format_args!("and {more} more"));
        }
        self
    }

    fn rows(&mut self, head: &[&str], rows: &[Vec<Cell>]) {
        let class = |column: usize| match head.get(column) {
            Some(heading) if heading.starts_with('#') => "number",
            _ => "",
        };
        self.element("table", &[], |html| {
            html.raw("<tr>");
            for (column, heading) in head.iter().enumerate() {
                let heading = heading.trim_start_matches('#');
                html.line("th", class(column), heading);
            }
            html.raw("</tr>");
            for row in rows {
                html.raw("<tr>");
                for (column, cell) in row.iter().enumerate() {
                    html.element("td", &[("class", &class(column))], |html| match cell {
                        Cell::Text(text) => drop(html.text(text)),
                        Cell::Code(text) => drop(html.line("code", "", text)),
                        Cell::Badge(class, text) => {
                            html.line("span", &format!("badge {class}"), text);
                        }
                    });
                }
                html.raw("</tr>\n");
            }
        });
    }

    /// The whole page around this part.
    pub fn page(&self, title: &str) -> String {
        let mut page = Self::new();
        page.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
        page.append(format_args!(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\"/>",
            Escaped(POLICY)
        ));
        page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
        page.raw("<meta name=\"color-scheme\" content=\"light dark\"/>");
        page.line("title", "", title);
        page.raw("<style>")
            .raw(STYLE)
            .raw("</style></head>\n<body>");
        page.raw(&self.text);
        let version = env!("CARGO_PKG_VERSION");
        page.line("footer", "", format_args!("flatbake {version}"));
        page.raw("</body></html>\n");
        page.text
    }

    fn append(&mut self, arguments: fmt::Arguments<'_>) -> &mut Self {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(arguments);
        self
    }
}

/// What a cell of a table holds.
#[derive(Debug, Clone)]
pub enum Cell {
    /// A text.
    Text(String),
    /// A path, a digest: characters of one width.
    Code(String),
    /// A word that is seen from far, with its class.
    Badge(&'static str, String),
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Characters of one width.
    pub fn code(text: impl Into<String>) -> Self {
        Self::Code(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_is_taken_for_markup() {
        let mut html = Html::new();
        html.element("p", &[("title", &"\"><script>")], |html| {
            html.text("<b>&\0\u{1b}[1m\u{202e}\u{ffff}\n");
        });
        let expected = "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;&amp;\u{fffd}\u{fffd}[1m\u{fffd}\u{fffd}\n</p>";
        assert_eq!(html.text, expected);
    }

    #[test]
    fn tables_have_numbers_on_the_right() {
        let mut html = Html::new();
        html.table(&["a", "#b"], &[vec![Cell::text("x"), Cell::text("1")]]);
        assert!(html.text.contains("<th class=\"number\">b</th>"));
        assert!(html.text.contains("<td class=\"number\">1</td>"));
    }

    #[test]
    fn tables_end_and_tell_how_much_more_there_is() {
        let rows = vec![vec![Cell::text("x")]; ROWS_MAX + 5];
        let mut html = Html::new();
        html.table_of_some(&["a"], &rows, 2);
        assert_eq!(html.text.matches("<td").count(), ROWS_MAX);
        assert!(html.text.ends_with(">and 7 more</p>"));
    }
}
