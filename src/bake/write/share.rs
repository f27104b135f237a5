//! The progress of a run: every job stands for the work it declared, its steps for parts of that.
//!
//! ```text
//!   run    │ job 1                       │ job 2          │ …          the sum of all declared work is the total
//!            ├ step: writing ┬ hashing ┤ │                             a step's bytes are scaled into its part
//!                                      └ what is left when the job ends counts as done
//! ```

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::finding::Finding;
use crate::lock::lock;
use crate::progress::Progress;

/// What is left of the work that a job declared. When it is dropped, the rest counts as done.
pub(super) struct Share<'a> {
    run: &'a dyn Progress,
    left: Mutex<u64>,
}

impl<'a> Share<'a> {
    pub(super) fn new(run: &'a dyn Progress, work_bytes: u64) -> Self {
        Self {
            run,
            left: Mutex::new(work_bytes),
        }
    }

    /// Takes up to `bytes` of what is left.
    fn take(&self, bytes: u64) -> u64 {
        let mut left = lock(&self.left);
        let taken = bytes.min(*left);
        *left -= taken;
        taken
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.run.advance(self.take(u64::MAX));
    }
}

/// Progress of the steps of a job, one after the other. When it is dropped, what they were to stand for counts as done.
pub(in crate::bake) struct Steps<'a> {
    share: &'a Share<'a>,
    state: Mutex<State>,
}

struct State {
    parts: Parts,
    step: Step,
}

/// What the next steps stand for.
enum Parts {
    /// The bytes that they report.
    AsReported,
    /// So many bytes of the job's work each; further ones count for nothing.
    Planned(VecDeque<u64>),
}

/// The step that runs.
#[derive(Debug, Default)]
struct Step {
    /// What it stands for, in bytes of the job's work.
    worth: u64,
    /// What it said that it does, in its own bytes.
    total: u64,
    done: u64,
    /// How much of `worth` was passed on.
    told: u64,
}

impl Step {
    /// Notes `bytes` more, and returns what they stand for.
    fn advance(&mut self, bytes: u64) -> u64 {
        self.done = self.done.saturating_add(bytes).min(self.total);
        let scaled = u128::from(self.worth) * u128::from(self.done) / u128::from(self.total.max(1));
        self.tell(u64::try_from(scaled).unwrap_or(self.worth))
    }

    /// Ends the step, and returns what was not passed on yet.
    fn end(&mut self) -> u64 {
        self.tell(self.worth)
    }

    fn tell(&mut self, until: u64) -> u64 {
        let more = until.saturating_sub(self.told);
        self.told += more;
        more
    }
}

impl<'a> Steps<'a> {
    /// Steps that stand for as many bytes of the job's work as they report.
    pub(super) fn as_reported(share: &'a Share<'a>) -> Self {
        Self::new(share, Parts::AsReported)
    }

    /// Steps that stand for `parts` of the job's work.
    pub(super) fn planned(share: &'a Share<'a>, parts: &[u64]) -> Self {
        Self::new(share, Parts::Planned(parts.iter().copied().collect()))
    }

    fn new(share: &'a Share<'a>, parts: Parts) -> Self {
        Self {
            share,
            state: Mutex::new(State {
                parts,
                step: Step::default(),
            }),
        }
    }
}

impl Progress for Steps<'_> {
    fn start(&self, _step: &str, total_bytes: u64) {
        let mut state = lock(&self.state);
        let rest = state.step.end();
        let worth = match &mut state.parts {
            Parts::AsReported => total_bytes,
            Parts::Planned(parts) => parts.pop_front().unwrap_or(0),
        };
        state.step = Step {
            worth: self.share.take(worth),
            total: total_bytes,
            done: 0,
            told: 0,
        };
        drop(state);
        self.share.run.advance(rest);
    }

    fn advance(&self, bytes: u64) {
        let more = lock(&self.state).step.advance(bytes);
        self.share.run.advance(more);
    }

    fn finish(&self) {
        let rest = lock(&self.state).step.end();
        self.share.run.advance(rest);
    }

    fn found(&self, finding: &Finding) {
        self.share.run.found(finding);
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let mut rest = state.step.end();
        if let Parts::Planned(parts) = &state.parts {
            rest += parts.iter().map(|&part| self.share.take(part)).sum::<u64>();
        }
        state.parts = Parts::Planned(VecDeque::new());
        drop(state);
        self.share.run.advance(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Told;
    use super::*;

    /// What was passed on after each call of `steps`.
    fn told(declared: u64, run: impl FnOnce(&Share<'_>, &dyn Fn(u64))) {
        let told = Told::default();
        let share = Share::new(&told, declared);
        run(&share, &|wanted| assert_eq!(told.done(), wanted));
        drop(share);
        assert_eq!(
            told.done(),
            declared,
            "what is left counts when the job ends"
        );
    }

    #[test]
    fn reported_bytes_count_as_they_are_but_never_beyond_what_was_declared() {
        told(100, |share, is| {
            let steps = Steps::as_reported(share);
            steps.start("small file", 7);
            steps.advance(3);
            is(3);
            steps.finish();
            is(7);
            steps.start("of unknown size", 0);
            steps.advance(1 << 40);
            steps.finish();
            is(7);
            steps.start("larger than declared", 1000);
            steps.advance(500);
            is(7 + 46);
            steps.advance(5000);
            is(100);
            steps.start("one more", 50);
            steps.advance(50);
            is(100);
        });
    }

    #[test]
    fn planned_steps_are_scaled_into_their_parts() {
        told(100, |share, is| {
            let steps = Steps::planned(share, &[40, 20, 10]);
            steps.start("a", 4000);
            steps.advance(1999);
            is(19);
            steps.advance(1);
            is(20);
            steps.start("b, without an end of a", 2);
            is(40);
            steps.advance(1);
            is(50);
            drop(steps);
            is(70);
            let none = Steps::planned(share, &[0]);
            none.start("a config file", 5);
            none.advance(5);
            none.start("more steps than planned", 5);
            none.advance(5);
            drop(none);
            is(70);
        });
    }

    #[test]
    fn sizes_near_the_end_of_64_bits_do_not_overflow() {
        told(u64::MAX, |share, is| {
            let steps = Steps::planned(share, &[u64::MAX, u64::MAX]);
            steps.start("all", u64::MAX);
            steps.advance(u64::MAX / 2);
            is(u64::MAX / 2);
            steps.advance(u64::MAX);
            is(u64::MAX);
        });
    }
}
