//! Finds a command's row by name, in any case. Runs once per request: no allocation, one hash of at most 16 bytes,
//! one comparison with the row's name. Subcommands are looked at for containers only.

use super::{Command, TABLE};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The command's row. A container that is called without a subcommand finds its own row; that one's arity
    /// (at least 2) turns the call down, except for COMMAND, which is legal alone.
    Found(&'static Command),
    /// The container is known, its subcommand is not.
    UnknownSubcommand(&'static str),
    /// No such command.
    Unknown,
}

/// Finds the row of `name`, or of its subcommand `sub` (argument 1, where there is one) if `name` is a container.
#[inline]
pub fn lookup(name: &[u8], sub: Option<&[u8]>) -> Lookup {
    let Some(command) = top_level(name) else { return Lookup::Unknown };
    let subcommands = subcommands(command);
    if subcommands.is_empty() {
        return Lookup::Found(command);
    }
    let Some(sub) = sub else { return Lookup::Found(command) };
    let prefix = command.name.len() + 1;
    let found = subcommands.iter().find(|row| row.name.as_bytes()[prefix..].eq_ignore_ascii_case(sub));
    found.map_or(Lookup::UnknownSubcommand(command.name), Lookup::Found)
}

/// Whether the command has subcommands, which have rows of their own.
pub fn is_container(command: &Command) -> bool {
    !subcommands(command).is_empty()
}

/// Slots of the name index: a power of two, thinly filled so that a probe rarely meets another name.
const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;

/// Open-addressed: the place in the table of each top-level name.
static INDEX: [u16; SLOTS] = index();
/// By place in the table: how many rows of subcommands follow.
static SUBCOMMANDS: [u8; TABLE_LEN] = count_subcommands();
const TABLE_LEN: usize = TABLE.len();

#[inline]
fn top_level(name: &[u8]) -> Option<&'static Command> {
    let (mut slot, folded) = (slot(name), folded(name));
    loop {
        let place = INDEX[slot] as usize;
        let command = TABLE.get(place)?;
        let same = match FOLDED[place % TABLE_LEN] {
            0 => command.name.as_bytes().eq_ignore_ascii_case(name),
            word => word == folded && command.name.len() == name.len(),
        };
        if same {
            return Some(command);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// By place in the table: a name of two to eight letters as one word in lower case, 0 for every other name. Only a letter
/// becomes that letter by setting the bit of the case, so comparing such words is exact. (Look GET up: 139 instructions
/// become 60.)
static FOLDED: [u64; TABLE_LEN] = folded_names();

const fn folded_names() -> [u64; TABLE_LEN] {
    let mut words = [0; TABLE_LEN];
    let mut at = 0;
    while at < TABLE_LEN {
        let name = TABLE[at].name.as_bytes();
        let (mut letters, mut byte) = (true, 0);
        while byte < name.len() {
            letters = letters && name[byte].is_ascii_lowercase();
            byte += 1;
        }
        if letters {
            words[at] = folded(name);
        }
        at += 1;
    }
    words
}

/// Two to eight bytes as one word with the bit of the case set; 0 for more or fewer.
#[inline]
const fn folded(name: &[u8]) -> u64 {
    const FOLD: u64 = 0x2020_2020_2020_2020;
    let word = match *name {
        [a, b] => u16::from_le_bytes([a, b]) as u64,
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]) as u64,
        [a, b, c, d, .., e, f, g, h] if name.len() == 8 => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => match (name.first_chunk(), name.last_chunk()) {
            (Some(head), Some(tail)) if name.len() < 8 => {
                u32::from_le_bytes(*head) as u64 | (u32::from_le_bytes(*tail) as u64) << 32
            }
            _ => return 0,
        },
    };
    word | FOLD
}

#[inline]
fn subcommands(command: &Command) -> &'static [Command] {
    let first = command.index() + 1;
    let count = SUBCOMMANDS.get(command.index()).map_or(0, |count| *count as usize);
    TABLE.get(first..first + count).unwrap_or(&[])
}

/// Where the search for a name starts: its length, its first and its last (at most 8) bytes, in lower case, mixed.
#[inline]
const fn slot(name: &[u8]) -> usize {
    /// Sets the bit in which the two cases of a letter differ. It joins a few other bytes too, which does no harm.
    const FOLD: u64 = 0x2020_2020_2020_2020;
    /// Spreads its factor over the upper bits (the golden ratio in 64 bits).
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (head, tail) = if let (Some(head), Some(tail)) = (name.first_chunk(), name.last_chunk()) {
        (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
    } else if let (Some(head), Some(tail)) = (name.first_chunk(), name.last_chunk()) {
        (u32::from_le_bytes(*head) as u64, u32::from_le_bytes(*tail) as u64)
    } else {
        (short(name), 0)
    };
    let mixed = (head | FOLD).wrapping_mul(SPREAD) ^ (tail | FOLD).rotate_left(29) ^ name.len() as u64;
    (mixed.wrapping_mul(SPREAD) >> (u64::BITS - SLOTS.trailing_zeros())) as usize
}

/// Names of fewer than four bytes.
const fn short(name: &[u8]) -> u64 {
    match *name {
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]) as u64,
        [a, b] => u16::from_le_bytes([a, b]) as u64,
        [a] => a as u64,
        _ => 0,
    }
}

const fn index() -> [u16; SLOTS] {
    let mut index = [EMPTY; SLOTS];
    let mut at = 0;
    while at < TABLE_LEN {
        let name = TABLE[at].name.as_bytes();
        if !is_subcommand(name) {
            let mut slot = slot(name);
            while index[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            index[slot] = at as u16;
        }
        at += 1;
    }
    index
}

const fn count_subcommands() -> [u8; TABLE_LEN] {
    let mut counts = [0; TABLE_LEN];
    let (mut at, mut container) = (0, 0);
    while at < TABLE_LEN {
        if is_subcommand(TABLE[at].name.as_bytes()) {
            counts[container] += 1;
        } else {
            container = at;
        }
        at += 1;
    }
    counts
}

const fn is_subcommand(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if name[at] == b'|' {
            return true;
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::arity_ok;
    use super::*;
    use proptest::prelude::*;

    fn found(name: &str, sub: Option<&str>) -> &'static Command {
        match lookup(name.as_bytes(), sub.map(str::as_bytes)) {
            Lookup::Found(command) => command,
            other @ (Lookup::UnknownSubcommand(_) | Lookup::Unknown) => panic!("{name} {sub:?}: {other:?}"),
        }
    }

    #[test]
    fn finds_every_row_in_any_case() {
        for command in &TABLE {
            let upper = command.name.to_uppercase();
            for name in [command.name, upper.as_str()] {
                let (name, sub) = name.split_once('|').map_or((name, None), |(name, sub)| (name, Some(sub)));
                assert!(std::ptr::eq(found(name, sub), command), "{}", command.name);
            }
        }
    }

    #[test]
    fn subcommands_count_for_containers_only() {
        assert_eq!(found("GeT", Some("getname")).name, "get");
        assert_eq!(found("client", Some("GetName")).name, "client|getname");
        assert_eq!(lookup(b"CLIENT", Some(b"nope")), Lookup::UnknownSubcommand("client"));
        assert_eq!(lookup(b"CLIENT", Some(b"")), Lookup::UnknownSubcommand("client"));
    }

    #[test]
    fn a_container_alone_has_too_few_arguments_except_command() {
        for command in TABLE.iter().filter(|command| is_container(command)) {
            assert_eq!(arity_ok(found(command.name, None), 1), command.name == "command", "{}", command.name);
        }
    }

    #[test]
    fn the_rest_is_unknown() {
        for name in [
            "",
            "g",
            "ge",
            "gett",
            "client|getname",
            "|",
            "getname",
            "georadiusbymember_rw",
            "_get",
            "foobar",
        ] {
            assert_eq!(lookup(name.as_bytes(), None), Lookup::Unknown, "{name}");
        }
    }

    #[test]
    fn names_rarely_meet_in_the_index() {
        let home = |command: &&Command| INDEX[slot(command.name.as_bytes())] as usize == command.index();
        let names = TABLE.iter().filter(|command| !is_subcommand(command.name.as_bytes()));
        let (at_home, away): (Vec<_>, Vec<_>) = names.partition(home);
        assert!(away.len() * 6 < at_home.len(), "{} of {} names are away", away.len(), at_home.len());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(name in proptest::collection::vec(any::<u8>(), 0..40), sub: Option<Vec<u8>>) {
            lookup(&name, sub.as_deref());
        }

        #[test]
        fn near_misses_do_not_panic(at in 0..TABLE.len(), byte: u8, place in 0_usize..30) {
            let mut name = TABLE[at].name.as_bytes().to_vec();
            let place = place % name.len();
            name[place] = byte;
            let (head, sub) = name.split_at(place);
            lookup(&name, Some(sub));
            lookup(head, Some(&name));
        }
    }
}
