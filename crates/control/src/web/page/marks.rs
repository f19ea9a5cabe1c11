//! The marks of states: each has its own shape and its own word, so that colour only helps. Pure.

use maud::{Markup, html};

use crate::status::{Health, Level};

/// What a mark can say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Warning,
    Bad,
    Waiting,
    /// Nobody has looked for a while.
    Stale,
    /// Nothing to judge.
    Neutral,
}

impl From<Health> for Mood {
    fn from(health: Health) -> Self {
        match health {
            Health::Ok => Self::Good,
            Health::Degraded => Self::Warning,
            Health::Down => Self::Bad,
            Health::Starting => Self::Waiting,
        }
    }
}

impl From<Level> for Mood {
    fn from(level: Level) -> Self {
        match level {
            Level::Info => Self::Neutral,
            Level::Warning => Self::Warning,
            Level::Error => Self::Bad,
        }
    }
}

impl Mood {
    /// Class of the elements that take its colour.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warn",
            Self::Bad => "bad",
            Self::Waiting => "wait",
            Self::Stale => "stale",
            Self::Neutral => "plain",
        }
    }

    /// Its shape; the word stands beside it.
    pub(super) fn shape(self) -> Markup {
        html! {
            svg.mood.(self.class()) viewBox="0 0 16 16" aria-hidden="true" {
                @match self {
                    Self::Good => {
                        circle.fill cx="8" cy="8" r="7" {}
                        path.cut d="M4.8 8.3l2.2 2.2 4.2-4.6" {}
                    }
                    Self::Warning => {
                        path.fill d="M8 1.2L15.4 14.5H.6z" {}
                        path.cut d="M8 6v4M8 12.2v.1" {}
                    }
                    Self::Bad => {
                        path.fill d="M5 1h6l4 4v6l-4 4H5l-4-4V5z" {}
                        path.cut d="M5.5 5.5l5 5M10.5 5.5l-5 5" {}
                    }
                    Self::Waiting => {
                        circle.ring cx="8" cy="8" r="6" stroke-dasharray="3.140 3.140" {}
                        circle.fill cx="8" cy="8" r="2" {}
                    }
                    Self::Stale => {
                        circle.ring cx="8" cy="8" r="6" {}
                        path.ring d="M8 4.5V8l2.5 1.6" {}
                    }
                    Self::Neutral => { circle.fill cx="8" cy="8" r="3" {} }
                }
            }
        }
    }
}

/// A state as shape and word, with its reason below.
pub(super) fn state(health: Health, because: &str) -> Markup {
    let mood = Mood::from(health);
    html! {
        span.state.(mood.class()) { (mood.shape()) (word(health)) }
        @if !because.is_empty() { span.because { (because) } }
    }
}

/// The word of a state.
pub(super) fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "Ok",
        Health::Degraded => "Degraded",
        Health::Down => "Down",
        Health::Starting => "Starting",
    }
}
