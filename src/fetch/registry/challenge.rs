//! How a server asks who we are: `WWW-Authenticate: Bearer realm="https://auth.example/token",service="registry"`.

use super::digest::start_of;

/// More than any server asks for at once.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 32;

/// One way to say who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// In small letters: `bearer`, `basic`.
    pub scheme: String,
    /// Their names in small letters.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// All that a header's value asks for; what cannot be understood is left out.
    pub fn parse(value: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = Rest(value);
        while let Some(word) = rest.word() {
            let name = word.to_ascii_lowercase();
            if rest.skip('=') {
                let value = rest.value();
                if let Some(last) = challenges.last_mut()
                    && last.parameters.len() < MAX_PARAMETERS
                {
                    last.parameters.push((name, value));
                }
            } else if challenges.len() < MAX_CHALLENGES {
                challenges.push(Self {
                    scheme: name,
                    parameters: Vec::new(),
                });
            }
        }
        challenges
    }

    /// A parameter's value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter();
        let (_, value) = found.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// Where a token can be had for `repository`: the realm with what it wants to know.
    pub(super) fn token_url(&self, repository: &str) -> Option<String> {
        let realm = self.parameter("realm")?;
        let usual = format!("repository:{repository}:pull");
        let scope = self.parameter("scope").unwrap_or(&usual);
        let mut url = realm.split('#').next().unwrap_or_default().to_owned();
        let mut mark = if url.contains('?') { '&' } else { '?' };
        for (name, value) in [
            ("service", self.parameter("service")),
            ("scope", Some(scope)),
        ] {
            if let Some(value) = value {
                url.push_str(&format!("{mark}{name}={}", in_query(value)));
                mark = '&';
            }
        }
        Some(url)
    }

    /// As it may be printed.
    pub(super) fn name(&self) -> String {
        start_of(&self.scheme)
    }
}

/// A value in a query: everything encoded but what stands for itself everywhere.
fn in_query(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What is left of a value.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// The next word, with what stands between words before it.
    fn word(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start_matches(|c: char| !is_word(c));
        let end = self.0.find(|c: char| !is_word(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Whether `mark` follows, with blanks around it; it is passed then.
    fn skip(&mut self, mark: char) -> bool {
        match self.0.trim_start_matches([' ', '\t']).strip_prefix(mark) {
            Some(rest) => {
                self.0 = rest.trim_start_matches([' ', '\t']);
                true
            }
            None => false,
        }
    }

    /// A value: in quotes, where a backslash takes the next character as it is, or up to a comma or blank.
    fn value(&mut self) -> String {
        let Some(quoted) = self.0.strip_prefix('"') else {
            let end = self.0.find([',', ' ', '\t']).unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return value.to_owned();
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &quoted[at + 1..];
                    return value;
                }
                '\\' => value.extend(characters.next().map(|(_, next)| next)),
                other => value.push(other),
            }
        }
        self.0 = "";
        value
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Vec<(String, Vec<(String, String)>)> {
        let all = Challenge::parse(value).into_iter();
        all.map(|challenge| (challenge.scheme, challenge.parameters))
            .collect()
    }

    #[test]
    fn challenges_are_read() {
        let bearer = Challenge::parse(
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(bearer[0].scheme, "bearer");
        assert_eq!(
            bearer[0].parameter("scope"),
            Some("repository:a/b:pull,push")
        );
        let url =
            "https://auth.example/token?service=registry.example&scope=repository:a/b:pull,push";
        assert_eq!(bearer[0].token_url("x").unwrap(), url);

        let two = parsed(r#"Basic realm = "a \"b\", c" , BEARER Realm=https://x/y?z=1, error="e""#);
        assert_eq!(two.len(), 2);
        assert_eq!(
            two[0],
            ("basic".into(), vec![("realm".into(), "a \"b\", c".into())])
        );
        assert_eq!(two[1].0, "bearer");
        assert_eq!(two[1].1[0], ("realm".into(), "https://x/y?z=1".into()));
        let url = Challenge::parse("Bearer realm=https://x/y?z=1")[0]
            .token_url("a b&c")
            .unwrap();
        assert_eq!(url, "https://x/y?z=1&scope=repository:a%20b%26c:pull");
    }

    #[test]
    fn nonsense_asks_for_nothing_or_little() {
        assert_eq!(parsed(""), []);
        assert_eq!(parsed(" , = , \""), []);
        assert_eq!(parsed("realm=\"x\""), []);
        assert_eq!(parsed("Negotiate")[0].0, "negotiate");
        assert_eq!(
            parsed("Bearer realm=\"open")[0].1,
            [("realm".into(), "open".into())]
        );
        assert_eq!(
            parsed("Bearer realm=\"end\\")[0].1,
            [("realm".into(), "end".into())]
        );
        assert_eq!(Challenge::parse("Bearer scope=x")[0].token_url("a"), None);
        assert!(parsed(&"A ".repeat(1000)).len() <= MAX_CHALLENGES);
        assert!(parsed(&format!("A {}", "b=c,".repeat(1000)))[0].1.len() <= MAX_PARAMETERS);
    }
}
