//! GRUB's script language as far as it is needed to follow variables: words, commands, blocks.
//!
//! ```text
//!   text ─Words─▶ words, ends of statements, signs ─Parser─▶ chunks: what GRUB parses at once and then runs
//! ```
//!
//! GRUB reads a line, and further ones while a construct is open; that is a [`Chunk`]. Where one has a syntax error, GRUB
//! goes on somewhere within it (tried with `grub-emu` 2.06), which is not followed.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

/// Deepest nesting of blocks that is followed; a chunk that is deeper counts as one with a syntax error.
const DEEPEST: usize = 40;

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Literal text.
    Text(String),
    /// The value of a variable; without double quotes it is split into words.
    Variable { name: String, quoted: bool },
}

/// A word: its pieces, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) pieces: Vec<Piece>,
    /// Some of it was quoted or escaped, so it is no keyword.
    is_quoted: bool,
}

impl Word {
    /// The word where it is plain text without quotes.
    fn plain(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] if !self.is_quoted => Some(text),
            _ => None,
        }
    }

    fn push(&mut self, c: char) {
        if let Some(Piece::Text(text)) = self.pieces.last_mut() {
            text.push(c);
        } else {
            self.pieces.push(Piece::Text(c.to_string()));
        }
    }
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// A command, or an assignment: the number of its line from 1, and its words.
    Command(usize, Vec<Word>),
    /// `if`: each condition with what it leads to; the last one without a condition where there is an `else`.
    If(
        Vec<(Vec<Statement>, Vec<Statement>)>,
        Option<Vec<Statement>>,
    ),
    /// `while`, `until`, `for`: run any number of times.
    Loop(Vec<Statement>),
    /// A function that is defined.
    Function(String, Vec<Statement>),
}

/// What GRUB parses at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Its lines, from 0.
    pub(super) lines: Range<usize>,
    /// None where it has a syntax error.
    pub(super) statements: Option<Vec<Statement>>,
}

/// All chunks of a script.
pub(super) fn parse(script: &str) -> Vec<Chunk> {
    let mut parser = Parser {
        words: Words::new(script),
        next: None,
    };
    let mut chunks = Vec::new();
    while !parser.words.is_at_end() {
        let first = parser.words.line;
        let statements = parser.chunk();
        if statements.is_none() {
            parser.skip_line();
        }
        let lines = first..parser.words.line.max(first + 1);
        if statements
            .as_ref()
            .is_none_or(|statements| !statements.is_empty())
        {
            chunks.push(Chunk { lines, statements });
        }
    }
    chunks
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(Word),
    /// `;`
    Semicolon,
    Newline,
    /// `{` or `}`.
    Brace(char),
    End,
    /// What is no part of the language here: `|`, `&`, `<`, `>`, an open quote, a `$` without a name.
    Bad,
}

/// Cuts a script into tokens.
struct Words<'a> {
    chars: Peekable<CharIndices<'a>>,
    text: &'a str,
    /// The line it is in, from 0.
    line: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            chars: text.char_indices().peekable(),
            text,
            line: 0,
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.chars.peek().is_none()
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn take(&mut self) -> Option<char> {
        let (_, c) = self.chars.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => {
                    self.take();
                }
                Some('\\') if self.is_before("\\\n") => {
                    self.take();
                    self.take();
                }
                _ => return,
            }
        }
    }

    fn is_before(&mut self, what: &str) -> bool {
        let at = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        self.text[at..].starts_with(what)
    }

    fn skip_to_end_of_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.take();
        }
    }

    fn token(&mut self) -> Token {
        self.skip_blanks();
        let Some(c) = self.peek() else {
            return Token::End;
        };
        match c {
            '#' => {
                self.skip_to_end_of_line();
                self.token()
            }
            '\n' | ';' | '{' | '}' | '|' | '&' | '<' | '>' => {
                self.take();
                match c {
                    '\n' => Token::Newline,
                    ';' => Token::Semicolon,
                    '{' | '}' => Token::Brace(c),
                    _ => Token::Bad,
                }
            }
            _ => self.word().map_or(Token::Bad, Token::Word),
        }
    }

    /// A word; None where a quote stays open, or a `$` has no name.
    fn word(&mut self) -> Option<Word> {
        let mut word = Word::default();
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '{' | '}' | '|' | '&' | '<' | '>' => break,
                '\'' => self.single_quotes(&mut word)?,
                '"' => self.double_quotes(&mut word)?,
                '$' => self.variable(&mut word, false)?,
                '\\' => {
                    self.take();
                    word.is_quoted = true;
                    match self.take()? {
                        '\n' => {}
                        escaped => word.push(escaped),
                    }
                }
                _ => {
                    self.take();
                    word.push(c);
                }
            }
        }
        Some(word)
    }

    fn single_quotes(&mut self, word: &mut Word) -> Option<()> {
        self.take();
        word.is_quoted = true;
        loop {
            match self.take()? {
                '\'' => return Some(()),
                c => word.push(c),
            }
        }
    }

    fn double_quotes(&mut self, word: &mut Word) -> Option<()> {
        self.take();
        word.is_quoted = true;
        loop {
            match self.peek()? {
                '"' => {
                    self.take();
                    return Some(());
                }
                '$' => self.variable(word, true)?,
                '\\' => {
                    self.take();
                    match self.take()? {
                        '\n' => {}
                        c @ ('$' | '"' | '\\') => word.push(c),
                        c => {
                            word.push('\\');
                            word.push(c);
                        }
                    }
                }
                c => {
                    self.take();
                    word.push(c);
                }
            }
        }
    }

    fn variable(&mut self, word: &mut Word, quoted: bool) -> Option<()> {
        self.take();
        let is_braced = self.peek() == Some('{');
        if is_braced {
            self.take();
        }
        let mut name = String::new();
        if let Some(c @ ('?' | '#' | '@' | '*')) = self.peek() {
            self.take();
            name.push(c);
        } else {
            let is_number = self.peek()?.is_ascii_digit();
            let belongs = |c: char| {
                if is_number {
                    c.is_ascii_digit()
                } else {
                    c.is_ascii_alphanumeric() || c == '_'
                }
            };
            while let Some(c) = self.peek().filter(|c| belongs(*c)) {
                self.take();
                name.push(c);
            }
        }
        if name.is_empty() || (is_braced && self.take()? != '}') {
            return None;
        }
        word.pieces.push(Piece::Variable { name, quoted });
        Some(())
    }
}

struct Parser<'a> {
    words: Words<'a>,
    /// A token that was looked at, and the line in which it begins.
    next: Option<(Token, usize)>,
}

impl Parser<'_> {
    fn peek(&mut self) -> &Token {
        let words = &mut self.words;
        &self
            .next
            .get_or_insert_with(|| (words.token(), words.line))
            .0
    }

    fn take(&mut self) -> Token {
        self.peek();
        self.next.take().map_or(Token::End, |(token, _)| token)
    }

    /// The keyword that comes next, where one does.
    fn keyword(&mut self) -> Option<&str> {
        match self.peek() {
            Token::Word(word) => word.plain(),
            _ => None,
        }
    }

    /// Takes `keyword`, which has to come next.
    fn expect(&mut self, keyword: &str) -> Option<()> {
        (self.keyword() == Some(keyword)).then(|| {
            self.take();
        })
    }

    /// Everything up to the end of a line at which no construct is open.
    fn chunk(&mut self) -> Option<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            match self.peek() {
                Token::Newline | Token::End => {
                    self.take();
                    return Some(statements);
                }
                Token::Semicolon => {
                    self.take();
                }
                _ => {
                    statements.push(self.statement(0)?);
                    if !matches!(self.peek(), Token::Newline | Token::Semicolon | Token::End) {
                        return None;
                    }
                }
            }
        }
    }

    /// Leaves a line with a syntax error behind.
    fn skip_line(&mut self) {
        let is_at_end_of_line = matches!(self.next, Some((Token::Newline, _)));
        self.next = None;
        if !is_at_end_of_line {
            self.words.skip_to_end_of_line();
            self.words.take();
        }
    }

    /// Statements, one at least, up to one of the keywords `until`, or a closing brace where that is one of them.
    fn list(&mut self, until: &[&str], depth: usize) -> Option<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            match self.peek() {
                Token::Newline | Token::Semicolon => {
                    self.take();
                    continue;
                }
                Token::Brace('}') if until.contains(&"}") => return some(statements),
                Token::Word(_) => {}
                _ => return None,
            }
            if self
                .keyword()
                .is_some_and(|keyword| until.contains(&keyword))
            {
                return some(statements);
            }
            statements.push(self.statement(depth)?);
            if !matches!(self.peek(), Token::Newline | Token::Semicolon) {
                return None;
            }
        }
    }

    fn statement(&mut self, depth: usize) -> Option<Statement> {
        if depth > DEEPEST {
            return None;
        }
        match self.keyword() {
            Some("if") => self.branches(depth + 1),
            Some("while" | "until") => {
                self.take();
                let mut all = self.list(&["do"], depth + 1)?;
                all.extend(self.body(depth + 1)?);
                Some(Statement::Loop(all))
            }
            Some("for") => self.for_loop(depth + 1),
            Some("function") if depth == 0 => self.function(depth + 1),
            // Functions are defined in no block.
            Some("function" | "then" | "else" | "elif" | "fi" | "do" | "done" | "in") => None,
            _ => self.command(depth + 1),
        }
    }

    fn branches(&mut self, depth: usize) -> Option<Statement> {
        let mut branches = Vec::new();
        let mut otherwise = None;
        loop {
            // `if` or `elif`.
            self.take();
            let condition = self.list(&["then"], depth)?;
            self.expect("then")?;
            branches.push((condition, self.list(&["elif", "else", "fi"], depth)?));
            if self.keyword() != Some("elif") {
                break;
            }
        }
        if self.keyword() == Some("else") {
            self.take();
            otherwise = Some(self.list(&["fi"], depth)?);
        }
        self.expect("fi")?;
        Some(Statement::If(branches, otherwise))
    }

    fn for_loop(&mut self, depth: usize) -> Option<Statement> {
        self.take();
        let Token::Word(_) = self.take() else {
            return None;
        };
        self.expect("in")?;
        while matches!(self.peek(), Token::Word(_)) {
            self.take();
        }
        while matches!(self.peek(), Token::Newline | Token::Semicolon) {
            self.take();
        }
        self.body(depth).map(Statement::Loop)
    }

    /// From `do` to `done`.
    fn body(&mut self, depth: usize) -> Option<Vec<Statement>> {
        self.expect("do")?;
        let body = self.list(&["done"], depth)?;
        self.expect("done")?;
        Some(body)
    }

    fn function(&mut self, depth: usize) -> Option<Statement> {
        self.take();
        let Token::Word(name) = self.take() else {
            return None;
        };
        let name = name.plain()?.to_owned();
        while matches!(self.peek(), Token::Newline) {
            self.take();
        }
        Some(Statement::Function(name, self.block(depth)?))
    }

    fn block(&mut self, depth: usize) -> Option<Vec<Statement>> {
        let Token::Brace('{') = self.take() else {
            return None;
        };
        let body = self.list(&["}"], depth)?;
        self.take();
        Some(body)
    }

    /// A command; what stands in its braces (a menu entry's) runs only when somebody chooses it.
    fn command(&mut self, depth: usize) -> Option<Statement> {
        self.peek();
        let line = self.next.as_ref().map_or(0, |(_, line)| line + 1);
        let mut words = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) => {
                    if let Token::Word(word) = self.take() {
                        words.push(word);
                    }
                }
                Token::Brace('{') if !words.is_empty() => {
                    self.block(depth)?;
                }
                Token::Bad | Token::Brace('{') => return None,
                _ if words.is_empty() => return None,
                _ => return Some(Statement::Command(line, words)),
            }
        }
    }
}

/// The list, where it is not empty.
fn some(statements: Vec<Statement>) -> Option<Vec<Statement>> {
    (!statements.is_empty()).then_some(statements)
}

/// How a command names a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// It assigns a value to it.
    Assigned,
    /// `export NAME=VALUE`, which looks like an assignment and is none: GRUB exports a variable of that whole name.
    Exported,
}

/// How a command names `variable`, where it does.
pub(super) fn names_variable(words: &[Word], variable: &str) -> Option<Naming> {
    let assigns = |word: Option<&Word>| {
        let Some(Piece::Text(text)) = word?.pieces.first() else {
            return None;
        };
        text.strip_prefix(variable)?.starts_with('=').then_some(())
    };
    match words.first()?.plain() {
        Some("set") => assigns(words.get(1)).map(|()| Naming::Assigned),
        Some("export") => words[1..]
            .iter()
            .find_map(|word| assigns(Some(word)))
            .map(|()| Naming::Exported),
        _ => assigns(words.first()).map(|()| Naming::Assigned),
    }
}
