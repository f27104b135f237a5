//! Progress, warnings and errors on standard error: bars on a terminal, lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::block::Inputs;
use crate::bytes::ByteSize;
use crate::lock::lock;
use crate::{Cancel, Error, Finding, Progress, Severity};
use indicatif::{ProgressBar, ProgressStyle};

use super::{ProgressMode, hints};

/// Steps that end sooner show nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two lines of one step.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Prints what a person should see while flatbake works, and knows what the run reads and whether it is to end.
pub struct Reporter {
    inputs: Inputs,
    mode: Mode,
    quiet: bool,
    color: bool,
    step: Mutex<Option<Step>>,
    done: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Nothing,
}

struct Step {
    name: String,
    total: u64,
    began: Instant,
    next_line: Instant,
    printed: bool,
    bar: Option<ProgressBar>,
}

impl Reporter {
    /// A reporter for this process's standard error, of work that ends when `cancel` is raised.
    pub fn new(mode: ProgressMode, quiet: bool, cancel: Cancel) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let mode = match mode {
            _ if quiet => Mode::Nothing,
            ProgressMode::None => Mode::Nothing,
            ProgressMode::Plain => Mode::Lines,
            ProgressMode::Auto if terminal => Mode::Bars,
            ProgressMode::Auto => Mode::Lines,
        };
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            inputs: Inputs::new(cancel),
            mode,
            quiet,
            color,
            step: Mutex::new(None),
            done: AtomicU64::new(0),
        }
    }

    /// All files that this run reads.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The flag that ends the work.
    pub fn cancel(&self) -> &Cancel {
        self.inputs.cancel()
    }

    fn step(&self) -> MutexGuard<'_, Option<Step>> {
        lock(&self.step)
    }

    /// Prints a line above the bar, if there is one.
    fn line(&self, text: &str) {
        match self.step().as_ref().and_then(|step| step.bar.as_ref()) {
            Some(bar) => bar.suspend(|| print_line(text)),
            None => print_line(text),
        }
    }

    fn paint(&self, code: &str, word: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{word}\x1b[0m")
        } else {
            word.to_owned()
        }
    }

    /// Whether nothing is told but errors and what is asked for.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Something worth a line, such as what was written.
    pub fn info(&self, message: &str) {
        if !self.quiet {
            self.line(message);
        }
    }

    /// Something a person should know that is no finding.
    pub fn warn(&self, message: &str) {
        if !self.quiet {
            self.line(&format!("{} {message}", self.paint("1;33", "warning:")));
        }
    }

    /// Prints an error with its causes and its hints.
    pub fn error(&self, error: &Error) {
        if let Some(bar) = self.step().take().and_then(|step| step.bar) {
            bar.finish_and_clear();
        }
        self.line(&format!("{} {error}", self.paint("1;31", "error:")));
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            self.line(&format!("  {} {inner}", self.paint("1", "caused by:")));
            cause = inner.source();
        }
        for hint in hints::of_error(error) {
            self.line(&self.hint(&hint));
        }
    }

    fn hint(&self, hint: &str) -> String {
        format!("  {} {hint}", self.paint("1;36", "hint:"))
    }

    fn show(&self, step: &mut Step, done: u64) {
        match (self.mode, &step.bar) {
            (Mode::Bars, Some(bar)) => bar.set_position(done),
            (Mode::Bars, None) => step.bar = Some(bar(&step.name, step.total, step.began)),
            (Mode::Lines, _) => {
                step.printed = true;
                match done.saturating_mul(100).checked_div(step.total) {
                    Some(percent) => print_line(&format!(
                        "{}: {}%, {}",
                        step.name,
                        percent.min(100),
                        ByteSize(done)
                    )),
                    None => print_line(&format!("{}: {}", step.name, ByteSize(done))),
                }
            }
            (Mode::Nothing, _) => {}
        }
    }
}

/// Prints a line on standard error. A full or closed one must not stop the work: whether that succeeded, the exit code
/// says.
fn print_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn bar(name: &str, total: u64, began: Instant) -> ProgressBar {
    let (bar, template) = if total == 0 {
        (
            ProgressBar::new_spinner(),
            "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}",
        )
    } else {
        (
            ProgressBar::new(total),
            "{msg} [{wide_bar:.cyan/blue}] {percent}% {binary_bytes_per_sec} {eta}",
        )
    };
    let style =
        ProgressStyle::with_template(template).expect("the templates of this function are valid");
    bar.with_style(style.progress_chars("=> "))
        .with_message(name.to_owned())
        .with_elapsed(began.elapsed())
}

impl Progress for Reporter {
    fn start(&self, name: &str, total: u64) {
        let now = Instant::now();
        self.done.store(0, Ordering::Relaxed);
        let step = Step {
            name: name.to_owned(),
            total,
            began: now,
            next_line: now + PATIENCE,
            printed: false,
            bar: None,
        };
        *self.step() = Some(step);
    }

    fn advance(&self, bytes: u64) {
        let done = self
            .done
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        if self.mode == Mode::Nothing {
            return;
        }
        // Whoever finds the lock taken leaves the drawing to the one who holds it.
        let Ok(mut guard) = self.step.try_lock() else {
            return;
        };
        let Some(step) = guard.as_mut() else { return };
        let now = Instant::now();
        if now >= step.next_line {
            step.next_line = now
                + if self.mode == Mode::Bars {
                    Duration::from_millis(100)
                } else {
                    LINE_EVERY
                };
            self.show(step, done);
        }
    }

    fn finish(&self) {
        let Some(step) = self.step().take() else {
            return;
        };
        if let Some(bar) = &step.bar {
            bar.finish_and_clear();
        }
        if step.printed {
            print_line(&format!(
                "{}: done in {:.1} s",
                step.name,
                step.began.elapsed().as_secs_f64()
            ));
        }
    }

    /// Prints a finding and what can be done about it, in one piece: other threads may have findings too.
    fn found(&self, finding: &Finding) {
        if self.quiet {
            return;
        }
        let color = match finding.severity() {
            Severity::Note => "1;36",
            Severity::Warning => "1;33",
            _ => "1;31",
        };
        let mut text = format!(
            "{} {finding}",
            self.paint(color, &format!("{}:", finding.severity()))
        );
        if let Some(hint) = hints::hint(finding) {
            text.push('\n');
            text.push_str(&self.hint(&hint));
        }
        self.line(&text);
    }
}
