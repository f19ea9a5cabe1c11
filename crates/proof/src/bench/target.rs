//! What the target says about itself: version, mode and memory.
//!
//! Asks by INFO and CONFIG GET over one connection; both may be refused, and then less is known. A gateway
//! answers one INFO for a whole cluster, which reads the same.

use super::keys::Memory;
use crate::link::{Answer, Link, Lost};
use crate::wire;
use std::time::Duration;

/// Facts about the target for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Facts {
    /// `redis 7.0.15`, or empty when it does not say.
    pub(crate) server: String,
    /// `standalone`, `cluster` or what else it says.
    pub(crate) mode: String,
    /// Version of an evenkeel gateway in front, where one says so.
    pub(crate) gateway: String,
    /// Limit of memory in bytes; `None` where it is unknown, 0 where there is none.
    pub(crate) max_memory_bytes: Option<u64>,
    /// What it does at that limit.
    pub(crate) max_memory_policy: String,
}

/// Asks for the facts and the memory in use.
pub(crate) async fn ask(link: &mut Link, patience: Duration) -> Result<(Facts, Option<Memory>), Lost> {
    let info = match link.call(&[b"INFO"], patience).await?.into_iter().next() {
        Some(Answer::Text(info)) => info,
        Some(Answer::Error(_) | Answer::Integer(_) | Answer::Nil) | None => String::new(),
    };
    let mut facts = facts(&info);
    let used = field(&info, "used_memory").and_then(|text| text.parse().ok());
    if facts.max_memory_bytes.is_none() {
        let answers = link.call(&[b"CONFIG", b"GET", b"maxmemory"], patience).await?;
        facts.max_memory_bytes = match answers.as_slice() {
            [_, Answer::Text(max)] => max.parse().ok(),
            _ => None,
        };
    }
    let memory = used.zip(facts.max_memory_bytes).map(|(used, max)| Memory { used, max });
    Ok((facts, memory))
}

/// Whether the target lets this user in; its own error text where it does not.
pub(crate) async fn admits(link: &mut Link, patience: Duration) -> Result<Result<(), String>, Lost> {
    Ok(match link.call(&[b"PING"], patience).await?.into_iter().next() {
        Some(Answer::Error(text)) if matches!(wire::error_code(text.as_bytes()), "NOAUTH" | "WRONGPASS") => {
            Err(text)
        }
        // Any other error (LOADING, NOPERM for PING …) may be over when it is measured, or does not matter.
        Some(Answer::Error(_) | Answer::Text(_) | Answer::Integer(_) | Answer::Nil) | None => Ok(()),
    })
}

fn facts(info: &str) -> Facts {
    let text = |name| field(info, name).unwrap_or_default().to_owned();
    let server = match (field(info, "valkey_version"), field(info, "redis_version")) {
        (Some(version), _) => format!("valkey {version}"),
        (None, Some(version)) => format!("redis {version}"),
        (None, None) => String::new(),
    };
    Facts {
        server,
        mode: field(info, "server_mode").or(field(info, "redis_mode")).unwrap_or_default().to_owned(),
        gateway: text("evenkeel_version"),
        max_memory_bytes: field(info, "maxmemory").and_then(|text| text.parse().ok()),
        max_memory_policy: text("maxmemory_policy"),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_info() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\n\r\n# Memory\r\nused_memory:123\r\n\
                    used_memory_rss:9\r\nmaxmemory:1000\r\nmaxmemory_policy:noeviction\r\n";
        let facts = facts(info);
        assert_eq!((facts.server.as_str(), facts.mode.as_str()), ("redis 7.0.15", "cluster"));
        assert_eq!((facts.max_memory_bytes, facts.max_memory_policy.as_str()), (Some(1000), "noeviction"));
        assert_eq!(field(info, "used_memory"), Some("123"));
    }

    #[test]
    fn valkey_is_called_by_its_own_version() {
        let info = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\n";
        assert_eq!(facts(info).server, "valkey 8.1.1");
    }

    #[test]
    fn silence_is_no_facts() {
        assert_eq!(facts(""), Facts::default());
    }
}
