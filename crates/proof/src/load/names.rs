//! The names of a connection's keys, made once. Pure.

use evenkeel_core::topology::slot;

/// Names that are tried until one lies in the wanted slots; a single slot needs 16384 on average.
const TRIES: u32 = 1 << 20;

/// Names of registers, counters and lists, one of each for every number.
pub(super) struct Names {
    pub(super) registers: Vec<String>,
    pub(super) counters: Vec<String>,
    pub(super) lists: Vec<String>,
}

impl Names {
    /// Names in inclusive slot ranges; none means anywhere.
    pub(super) fn new(prefix: &str, count: usize, slots: &[(u16, u16)]) -> Names {
        let named = |kind: char| (0..count).map(|number| name(prefix, kind, number, slots)).collect();
        Names { registers: named('r'), counters: named('c'), lists: named('l') }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.registers.iter().chain(&self.counters).chain(&self.lists).map(String::as_str)
    }
}

fn name(prefix: &str, kind: char, number: usize, slots: &[(u16, u16)]) -> String {
    let plain = format!("{prefix}{kind}{number}");
    let fits = |name: &str| {
        let slot = slot(name.as_bytes());
        slots.is_empty() || slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    };
    if fits(&plain) {
        return plain;
    }
    (0..TRIES).map(|n| format!("{plain}:{n}")).find(|name| fits(name)).unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lie_in_the_wanted_slots_and_differ() {
        let names = Names::new("p:", 40, &[(0, 99), (16_000, 16_000)]);
        let all: std::collections::BTreeSet<&str> = names.all().collect();
        assert_eq!(all.len(), 120);
        assert!(all.iter().all(|name| matches!(slot(name.as_bytes()), 0..=99 | 16_000)));
        assert_eq!(Names::new("p:", 1, &[]).counters, ["p:c0"]);
    }
}
