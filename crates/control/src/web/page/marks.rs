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
                        path.cut d="M4.800 8.300l2.200 2.200 4.200-4.600" {}
                    }
                    Self::Warning => {
                        path.fill d="M8 1.200L15.400 14.500H.600z" {}
                        path.cut d="M8 6v4M8 12.200v.100" {}
                    }
                    Self::Bad => {
                        path.fill d="M5 1h6l4 4v6l-4 4H5l-4-4V5z" {}
                        path.cut d="M5.500 5.500l5 5M10.500 5.500l-5 5" {}
                    }
                    Self::Waiting => {
                        circle.ring cx="8" cy="8" r="6" stroke-dasharray="3.140 3.140" {}
                        circle.fill cx="8" cy="8" r="2" {}
                    }
                    Self::Stale => {
                        circle.ring cx="8" cy="8" r="6" {}
                        path.ring d="M8 4.500V8l2.500 1.600" {}
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
