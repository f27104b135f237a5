//! What systemd-tmpfiles does at boot to what it finds (tmpfiles.d(5)).

/// What happens to entries that are there when the system boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Something else takes their place (`L+`, `p+`, `c+`, `b+`), or their content's (`f+`, `w`-like `F`).
    Replaced,
    /// They are removed with all they hold (`r`, `R`).
    Removed,
    /// What they hold is removed (`D`).
    Emptied,
    /// A link to a folder of `/run` is made where nothing is (`L`): a folder in its place stays, apart from that one.
    Split,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The path; patterns only where entries are removed.
    pub path: String,
    /// What happens there.
    pub effect: Effect,
    /// What a link leads to.
    pub target: Option<String>,
}

/// The lines of a file that do something to what is there already. Lines that are not understood, or whose path is known
/// on the machine only, are left out.
pub fn rules(text: &str) -> Vec<Rule> {
    text.lines().filter_map(rule).collect()
}

fn rule(line: &str) -> Option<Rule> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let fields = words(line);
    let kind = fields.first()?;
    let path = resolved(fields.get(1)?)?;
    let mut letters = kind.chars();
    let letter = letters.next()?;
    let is_forced = letters.any(|modifier| modifier == '+');
    let target = fields
        .get(6)
        .map(String::as_str)
        .filter(|argument| *argument != "-")
        .and_then(resolved);
    let effect = match (letter, is_forced) {
        ('L' | 'p' | 'c' | 'b' | 'f', true) | ('F', _) => Effect::Replaced,
        ('r' | 'R', _) => Effect::Removed,
        ('D', _) => Effect::Emptied,
        ('L', false) if target.as_deref().is_some_and(is_in_run) => Effect::Split,
        _ => return None,
    };
    let target = target.filter(|_| letter == 'L');
    path.starts_with('/').then_some(Rule {
        path,
        effect,
        target,
    })
}

/// Whether a target, absolute or of a link two levels down, is a folder of `/run`.
fn is_in_run(target: &str) -> bool {
    let target = target.trim_start_matches("../").trim_start_matches('/');
    target == "run" || target.starts_with("run/")
}

/// The words of a line, with quotes taken off.
pub(in crate::flatcar) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A word whose specifiers are percent signs only.
fn resolved(word: &str) -> Option<String> {
    let plain = word.replace("%%", "\0");
    (!plain.contains('%')).then(|| plain.replace('\0', "%"))
}

/// Whether a name fits one part of a pattern (glob(7)): `*` and `?` do not stand for a dot in front.
pub fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    fits(pattern, name)
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // The ends that a prefix of the pattern can have in the name.
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    let mut rest = pattern;
    while let Some((&byte, mut after)) = rest.split_first() {
        let mut next = vec![false; ends.len()];
        if byte == b'*' {
            let mut reached = false;
            for (end, next) in ends.iter().zip(&mut next) {
                reached |= end;
                *next = reached;
            }
        } else {
            let set = (byte == b'[').then(|| set(after)).flatten();
            for (at, &found) in name.iter().enumerate() {
                let fits = match (byte, &set) {
                    (_, Some((set, _))) => set.contains(&found),
                    (b'?', None) => true,
                    _ => byte == found,
                };
                next[at + 1] = ends[at] && fits;
            }
            after = set.map_or(after, |(_, behind)| behind);
        }
        ends = next;
        rest = after;
    }
    ends[name.len()]
}

/// The bytes that a set stands for, whose bracket was opened before `rest`, and what follows it.
fn set(rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let is_negated = rest.first().is_some_and(|byte| b"!^".contains(byte));
    let start = usize::from(is_negated);
    let close = rest.iter().skip(start + 1).position(|&byte| byte == b']')? + start + 1;
    let inside = &rest[start..close];
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < inside.len() {
        match inside[at..] {
            [first, b'-', last, ..] => {
                bytes.extend(first..=last);
                at += 3;
            }
            _ => {
                bytes.push(inside[at]);
                at += 1;
            }
        }
    }
    if is_negated {
        bytes = (0..=u8::MAX).filter(|byte| !bytes.contains(byte)).collect();
    }
    Some((bytes, &rest[close + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_lose_something_are_found() {
        let text = "# L+ /no - - - - x\n\
                    L+ /bin - - - - usr/bin\n\
                    L   /var/run - - - - ../run\n\
                    L /etc/os-release - - - - ../usr/lib/os-release\n\
                    R! \"/var/lib/my app/*\" - - - 1d\n\
                    D /var/cache/%b 0755\n\
                    D! '/var/cache/100%%'  0755 root root -\n\
                    f+! /etc/motd 0644 root root - hello\n\
                    d /home/core 0755 core core - -\n\
                    C+ /etc/ssh - - - - /usr/share/ssh\n\
                    r relative\n\n";
        let found: Vec<(String, Effect)> = rules(text)
            .into_iter()
            .map(|rule| (rule.path, rule.effect))
            .collect();
        let expected = [
            ("/bin", Effect::Replaced),
            ("/var/run", Effect::Split),
            ("/var/lib/my app/*", Effect::Removed),
            ("/var/cache/100%", Effect::Emptied),
            ("/etc/motd", Effect::Replaced),
        ];
        assert_eq!(
            found,
            expected.map(|(path, effect)| (path.to_owned(), effect))
        );
        assert_eq!(rules(text)[1].target.as_deref(), Some("../run"));
    }

    #[test]
    fn names_fit_as_a_shell_has_it() {
        for (pattern, name, expected) in [
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("?[a-c][!x]", "xbz", true),
            ("?[a-c][!x]", "xbx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("", "", true),
            ("**a**", "bab", true),
        ] {
            assert_eq!(
                name_fits(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(!name_fits(
            "*a".repeat(200).as_bytes(),
            "a".repeat(199).as_bytes()
        ));
    }
}
