//! `/metrics`: the status as Prometheus reads it, in OpenMetrics or in the older text format.
//!
//! Owns the texts; which values there are stands in `values`.

mod values;

use std::collections::HashSet;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::status::Status;
use values::Scrape;

/// The two texts that scrapers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenMetrics,
    Plain,
}

impl Dialect {
    /// What a scraper's `Accept` asks for; the older format where it does not say.
    pub(super) fn wanted<'a>(mut accept: impl Iterator<Item = &'a str>) -> Self {
        let open = accept.any(|accept| accept.to_ascii_lowercase().contains("application/openmetrics-text"));
        if open { Self::OpenMetrics } else { Self::Plain }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The whole answer.
pub(super) fn exposition(status: Arc<Status>, now_ms: u64, dialect: Dialect) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { status, now_ms }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(match dialect {
        Dialect::OpenMetrics => text,
        Dialect::Plain => plain(&text),
    })
}

/// The older format names a counter's family with its `_total`, and knows neither units nor an end mark.
fn plain(text: &str) -> String {
    let counters: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut lines = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        match family(line) {
            Some((keyword, name, rest)) if counters.contains(name) => {
                lines.extend([keyword, name, "_total ", rest]);
            }
            Some(_) | None => lines.push_str(line),
        }
        lines.push('\n');
    }
    lines
}

/// Keyword with its space, name and the rest of a line that describes a family.
fn family(line: &str) -> Option<(&str, &str, &str)> {
    let (keyword, described) = line.split_at_checked("# TYPE ".len())?;
    let (name, rest) = described.split_once(' ')?;
    matches!(keyword, "# TYPE " | "# HELP ").then_some((keyword, name, rest))
}

#[cfg(test)]
mod tests {
    use super::{Dialect, plain};

    #[test]
    fn the_older_format_names_counters_with_their_suffix() {
        let open = "# HELP a_b Some help\n# TYPE a_b counter\n# UNIT a_b b\na_b_total 1\n# HELP g G\n# TYPE g gauge\ng 1\n# EOF\n";
        let old = "# HELP a_b_total Some help\n# TYPE a_b_total counter\na_b_total 1\n# HELP g G\n# TYPE g gauge\ng 1\n";
        assert_eq!(plain(open), old);
    }

    #[test]
    fn scrapers_get_what_they_ask_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
        assert_eq!(Dialect::wanted([prometheus].into_iter()), Dialect::OpenMetrics);
        assert_eq!(Dialect::wanted(["text/html", "*/*"].into_iter()), Dialect::Plain);
        assert_eq!(Dialect::wanted([].into_iter()), Dialect::Plain);
    }
}
