//! What variables hold after a script: exactly where that does not depend on the machine, else what they hold in any case
//! and what they may hold.

use std::collections::BTreeMap;

use super::script::{Chunk, Piece, Statement, Word};

/// Calls of functions within functions that are followed.
const DEEPEST_CALL: usize = 8;
/// Work after which a script is not followed any more: a statement, and a variable of a state that is kept, count as one.
const MOST_WORK: usize = 2_000_000;
/// Longest text of a variable that is followed, in bytes; the kernel takes no longer command line.
const LONGEST: usize = 4096;
/// Commands that run what is in another file, or set variables to what only the machine knows.
const OPAQUE: [&str; 8] = [
    "source",
    ".",
    "configfile",
    "normal",
    "load_env",
    "eval",
    "legacy_source",
    "syslinux_source",
];
/// Commands that set the variables named among their arguments.
const SETTERS: [&str; 9] = [
    "regexp",
    "search",
    "search.file",
    "search.fs_label",
    "search.fs_uuid",
    "probe",
    "smbios",
    "read",
    "getenv",
];
/// Commands that leave what they stand in.
const LEAVERS: [&str; 6] = ["return", "break", "continue", "exit", "halt", "reboot"];

/// What a variable holds, as words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// This text.
    Known(String),
    /// The words in `must`, in whatever order, and possibly those in `may` and others.
    Open { must: Vec<String>, may: Vec<String> },
}

impl Value {
    fn unknown() -> Self {
        Self::Open {
            must: Vec::new(),
            may: Vec::new(),
        }
    }

    /// The words that it holds in any case.
    pub(super) fn must(&self) -> Vec<String> {
        match self {
            Self::Known(text) => words(text),
            Self::Open { must, .. } => must.clone(),
        }
    }

    /// The words that it may hold, as far as they are known.
    pub(super) fn may(&self) -> Vec<String> {
        match self {
            Self::Known(text) => words(text),
            Self::Open { may, .. } => may.clone(),
        }
    }

    /// One of two values.
    fn or(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        let there = other.must();
        let mut may = self.may();
        let must = self
            .must()
            .into_iter()
            .filter(|word| there.contains(word))
            .collect();
        add(&mut may, other.may());
        Self::Open { must, may }
    }

    /// The values one behind the other.
    fn joined(values: &[Self]) -> Self {
        if let Some(known) = values
            .iter()
            .map(Self::known)
            .collect::<Option<Vec<&str>>>()
        {
            let known = known.concat();
            return if known.len() > LONGEST {
                Self::unknown()
            } else {
                Self::Known(known)
            };
        }
        let values = merged(values);
        let mut must = Vec::new();
        let mut may = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let is_free = |neighbour: Option<&Self>, end: fn(&str, char) -> bool| match neighbour {
                None => true,
                Some(neighbour) => neighbour.known().is_some_and(|text| end(text, ' ')),
            };
            let before = at.checked_sub(1).and_then(|before| values.get(before));
            let starts_free = is_free(before, |text, space| text.ends_with(space));
            let ends_free = is_free(values.get(at + 1), |text, space| text.starts_with(space));
            let found = match value {
                Self::Known(text) => whole_words(text, starts_free, ends_free),
                Self::Open { must, .. } if starts_free && ends_free => must.clone(),
                Self::Open { .. } => Vec::new(),
            };
            add(&mut must, found);
            add(&mut may, value.may());
        }
        let bytes: usize = may.iter().map(String::len).sum();
        if bytes > LONGEST {
            Self::unknown()
        } else {
            Self::Open { must, may }
        }
    }

    pub(super) fn known(&self) -> Option<&str> {
        match self {
            Self::Known(text) => Some(text),
            Self::Open { .. } => None,
        }
    }
}

/// The values with known ones that stand side by side as one, and without empty ones.
fn merged(values: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for value in values.iter().filter(|value| value.known() != Some("")) {
        match (merged.last_mut(), value) {
            (Some(Value::Known(before)), Value::Known(text)) => before.push_str(text),
            _ => merged.push(value.clone()),
        }
    }
    merged
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The words of `text` that are not glued to what stands before and behind it.
fn whole_words(text: &str, starts_free: bool, ends_free: bool) -> Vec<String> {
    let mut words = words(text);
    if !ends_free && !text.ends_with(char::is_whitespace) {
        words.pop();
    }
    if !starts_free && !text.starts_with(char::is_whitespace) && !words.is_empty() {
        words.remove(0);
    }
    words
}

fn add(to: &mut Vec<String>, more: Vec<String>) {
    for word in more {
        if !to.contains(&word) {
            to.push(word);
        }
    }
}

/// Variables and functions, while a script is followed.
#[derive(Debug, Clone)]
pub(super) struct State<'a> {
    variables: BTreeMap<String, Value>,
    functions: BTreeMap<String, &'a [Statement]>,
    /// What follows may not be reached.
    may_have_ended: bool,
    /// Lines of commands that make variables unknown.
    pub(super) opaque_lines: Vec<usize>,
    work: usize,
    calls: usize,
}

/// Follows `chunks` from the state in which Flatcar's own configuration sources the file: `linux_append` and `oem_id` are
/// empty.
pub(super) fn run<'a>(chunks: impl IntoIterator<Item = &'a Chunk>) -> State<'a> {
    let empty = || Value::Known(String::new());
    let mut state = State {
        variables: BTreeMap::from([
            ("linux_append".to_owned(), empty()),
            ("oem_id".to_owned(), empty()),
        ]),
        functions: BTreeMap::new(),
        may_have_ended: false,
        opaque_lines: Vec::new(),
        work: 0,
        calls: 0,
    };
    for chunk in chunks {
        match &chunk.statements {
            Some(statements) => state.follow_all(statements),
            // Some of it may run, and some of what follows may not.
            None => {
                state.forget();
                state.may_have_ended = true;
            }
        }
    }
    state
}

impl<'a> State<'a> {
    /// What a variable holds.
    pub(super) fn value(&self, name: &str) -> Value {
        self.variables
            .get(name)
            .cloned()
            .unwrap_or_else(Value::unknown)
    }

    fn follow_all(&mut self, statements: &'a [Statement]) {
        statements
            .iter()
            .for_each(|statement| self.follow(statement));
    }

    fn follow(&mut self, statement: &'a Statement) {
        self.work += 1;
        if self.work > MOST_WORK {
            return self.forget();
        }
        match statement {
            Statement::Command(line, words) => self.command(*line, words),
            Statement::If(branches, otherwise) => {
                self.branches(branches, otherwise.as_deref().unwrap_or_default())
            }
            Statement::Loop(body) => {
                // The second time round, variables may hold what the first one left.
                for _ in 0..2 {
                    let before = self.fork();
                    self.follow_all(body);
                    self.merge(before);
                }
            }
            Statement::Function(name, body) => {
                self.functions.insert(name.clone(), body);
            }
        }
    }

    fn branches(
        &mut self,
        branches: &'a [(Vec<Statement>, Vec<Statement>)],
        otherwise: &'a [Statement],
    ) {
        let Some(((condition, then), rest)) = branches.split_first() else {
            return self.follow_all(otherwise);
        };
        self.follow_all(condition);
        let mut taken = self.fork();
        taken.follow_all(then);
        self.work = taken.work;
        self.branches(rest, otherwise);
        self.merge(taken);
    }

    fn fork(&mut self) -> Self {
        self.work += self.variables.len();
        self.clone()
    }

    /// What holds where either this or `other` does.
    fn merge(&mut self, other: Self) {
        let names: Vec<String> = self
            .variables
            .keys()
            .chain(other.variables.keys())
            .cloned()
            .collect();
        for name in names {
            let value = self.value(&name).or(other.value(&name));
            self.variables.insert(name, value);
        }
        self.functions.extend(other.functions);
        self.may_have_ended |= other.may_have_ended;
        self.work = self.work.max(other.work);
        for line in other.opaque_lines {
            if !self.opaque_lines.contains(&line) {
                self.opaque_lines.push(line);
            }
        }
    }

    /// Variables may hold anything from here on.
    fn forget(&mut self) {
        for value in self.variables.values_mut() {
            *value = Value::Open {
                must: Vec::new(),
                may: value.may(),
            };
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        let value = if self.may_have_ended {
            self.value(name).or(value)
        } else {
            value
        };
        self.variables.insert(name.to_owned(), value);
    }

    fn command(&mut self, line: usize, words: &'a [Word]) {
        let Some((first, arguments)) = words.split_first() else {
            return;
        };
        let first = self.first_field(first);
        let Some(name) = known(&first) else {
            return match assignment(&first) {
                Some((name, value)) => self.set(&name, value),
                None => self.opaque(line),
            };
        };
        if let Some(body) = self.functions.get(&name).copied() {
            return self.call(body);
        }
        let argument = arguments.first().map(|word| self.first_field(word));
        match name.as_str() {
            "set" => match argument
                .as_deref()
                .map(|field| (assignment(field), known(field)))
            {
                None => {}
                Some((Some((name, value)), _)) => self.set(&name, value),
                // GRUB refuses what is no assignment.
                Some((None, Some(_))) => {}
                Some((None, None)) => self.opaque(line),
            },
            "unset" => match argument.as_deref().map(known) {
                Some(Some(name)) => self.set(&name, Value::Known(String::new())),
                Some(None) => self.opaque(line),
                None => {}
            },
            name if OPAQUE.contains(&name) => self.opaque(line),
            name if SETTERS.contains(&name) => self.setter(arguments, line),
            name if LEAVERS.contains(&name) => self.may_have_ended = true,
            _ => {
                if let Some((name, value)) = assignment(&first) {
                    self.set(&name, value);
                }
            }
        }
    }

    fn opaque(&mut self, line: usize) {
        self.opaque_lines.push(line);
        self.forget();
    }

    /// A command that stores what it finds in variables named as `VAR`, `--set=VAR` or `NUMBER:VAR`.
    fn setter(&mut self, arguments: &'a [Word], line: usize) {
        for argument in arguments {
            let Some(text) = known(&self.first_field(argument)) else {
                return self.opaque(line);
            };
            let name = text.rsplit(['=', ':']).next().unwrap_or_default();
            if let Some(value) = self.variables.get_mut(name) {
                *value = Value::unknown();
            }
        }
    }

    fn call(&mut self, body: &'a [Statement]) {
        self.calls += 1;
        if self.calls > DEEPEST_CALL {
            self.forget();
        } else {
            // Leaving a function ends nothing behind its call; what it may skip is merged with what it does.
            let ended = self.may_have_ended;
            self.follow_all(body);
            self.may_have_ended = ended;
        }
        self.calls -= 1;
    }

    /// The first of the words that `word` becomes when its variables are filled in: its parts.
    fn first_field(&self, word: &Word) -> Vec<Value> {
        let mut field = Vec::new();
        for piece in &word.pieces {
            match piece {
                Piece::Text(text) => field.push(Value::Known(text.clone())),
                Piece::Variable { name, quoted: true } => field.push(self.value(name)),
                Piece::Variable {
                    name,
                    quoted: false,
                } => match self.value(name) {
                    Value::Known(text) => {
                        let mut parts = text.split_ascii_whitespace();
                        field.extend(parts.next().map(|part| Value::Known(part.to_owned())));
                        if parts.next().is_some() {
                            return field;
                        }
                    }
                    Value::Open { may, .. } => {
                        field.push(Value::Open {
                            must: Vec::new(),
                            may,
                        });
                        return field;
                    }
                },
            }
        }
        field
    }
}

fn known(field: &[Value]) -> Option<String> {
    match Value::joined(field) {
        Value::Known(text) => Some(text),
        Value::Open { .. } => None,
    }
}

/// The name and the value of `NAME=VALUE`; None where this is none, or its name is not known.
fn assignment(field: &[Value]) -> Option<(String, Value)> {
    let mut name = String::new();
    for (at, part) in field.iter().enumerate() {
        let text = part.known()?;
        let Some((last, first)) = text.split_once('=') else {
            name.push_str(text);
            continue;
        };
        name.push_str(last);
        let mut value = vec![Value::Known(first.to_owned())];
        value.extend(field[at + 1..].iter().cloned());
        return Some((name, Value::joined(&value)));
    }
    None
}
