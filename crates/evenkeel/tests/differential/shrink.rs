//! Makes a script that shows a difference as short as it gets.

use super::play::{Difference, Sides, Used, play};
use super::script::{Script, Step};
use std::time::{Duration, Instant};

/// How many times a script is played at most to make it shorter, and for how long: some wait for replies that do not come.
const TRIES: usize = 600;
const TIME: Duration = Duration::from_secs(60);

/// The shortest script found that still shows a difference, and that difference.
pub(crate) fn shrink(sides: &Sides, script: Script, difference: Difference) -> (Script, Difference) {
    let mut best = Best { sides, script, difference, tries: 0, end: Instant::now() + TIME };
    let mut len = best.script.steps.len().div_ceil(2);
    while len > 0 && best.tries < TRIES {
        let mut at = 0;
        while at < best.script.steps.len() && best.tries < TRIES {
            if !best.without_steps(at, len) {
                at += len;
            }
        }
        len /= 2;
    }
    best.shorten_steps();
    best.shorten_requests();
    (best.script, best.difference)
}

struct Best<'a> {
    sides: &'a Sides,
    script: Script,
    difference: Difference,
    tries: usize,
    end: Instant,
}

impl Best<'_> {
    /// Takes a script if it still shows a difference.
    fn take(&mut self, steps: Vec<Step>) -> bool {
        self.tries += 1;
        if Instant::now() >= self.end {
            return false;
        }
        let script = Script { steps, ..self.script.clone() };
        match play(self.sides, &script, &mut Used::new()) {
            Some(difference) if difference.is_like(&self.difference) => {
                (self.script, self.difference) = (script, difference);
                true
            }
            Some(_) | None => false,
        }
    }

    fn without_steps(&mut self, at: usize, len: usize) -> bool {
        let mut steps = self.script.steps.clone();
        steps.drain(at..(at + len).min(steps.len()));
        self.take(steps)
    }

    /// Leaves single requests of pipelines out.
    fn shorten_steps(&mut self) {
        for step in (0..self.script.steps.len()).rev() {
            for request in (0..self.script.steps[step].requests.len()).rev() {
                let mut steps = self.script.steps.clone();
                if steps[step].requests.len() > 1 && self.tries < 2 * TRIES {
                    steps[step].requests.remove(request);
                    self.take(steps);
                }
            }
        }
    }

    /// Leaves single words out.
    fn shorten_requests(&mut self) {
        for step in (0..self.script.steps.len()).rev() {
            for request in (0..self.script.steps[step].requests.len()).rev() {
                for word in (1..self.script.steps[step].requests[request].words.len()).rev() {
                    let mut steps = self.script.steps.clone();
                    if self.tries < 3 * TRIES {
                        steps[step].requests[request].words.remove(word);
                        self.take(steps);
                    }
                }
            }
        }
    }
}
