//! Random commands to the gateway and to a real server: the replies have to be the same bytes.
//!
//! Scripts of commands are drawn from seeds: all data types, valid and invalid arguments, both protocols, pipelines,
//! transactions, blocking, channels and scripts, on up to three connections. Each is played to a gateway in front of
//! three primaries, and to one server without cluster mode or one that owns all slots. `rules.rs` lists the differences
//! that are allowed. What differs otherwise is shown as the shortest script that shows it.
//!
//! `EVENKEEL_FULL=1` plays a million commands. `EVENKEEL_SEED=n` begins with that seed, `EVENKEEL_COMMANDS=n` plays as
//! many commands, `EVENKEEL_ONLY=lists,sets` draws from those families only (see `grammar.rs`; also `transactions`,
//! `wakes`, `channels`), `EVENKEEL_FAILURES=n` goes on until that many different differences are found.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod author;
#[path = "../../../core/tests/simulation/dice.rs"]
mod dice;
mod grammar;
mod link;
mod play;
mod rules;
mod script;
mod shrink;
#[path = "../stage/mod.rs"]
mod stage;
mod template;
mod value;
mod words;

use author::Author;
use play::{Difference, Sides, Used, play};
use stage::cluster::{Cluster, Node};
use stage::service::GatewayProcess;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const STEPS: usize = 40;
/// How long commands are played in the everyday run.
const SOME_TIME: Duration = Duration::from_secs(40);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_commands_get_the_same_replies() {
    let cluster = Cluster::start(3, 0, &[]);
    let one = Cluster::start(1, 0, &[]);
    let standalone = Node::start(&["--cluster-enabled", "no"]);
    let gateway = GatewayProcess::start(&cluster.addrs());
    let sides = Sides { gateway: gateway.addr, standalone: standalone.addr, one_node: one.primaries[0].addr };
    let only = std::env::var("EVENKEEL_ONLY").unwrap_or_default();
    let only: Vec<String> = only.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let author = Author::new(&only);
    let full = stage::switched_on("EVENKEEL_FULL");
    let asked = number("EVENKEEL_COMMANDS");
    let wanted = asked.unwrap_or(if full { 1_000_000 } else { 60_000 });
    // As many as there is time for, unless a number was asked for: commands that wait take their time.
    let end = (!full && asked.is_none()).then(|| Instant::now() + SOME_TIME);
    let most = number("EVENKEEL_FAILURES").unwrap_or(5) as usize;
    let (mut seed, mut played, mut used) = (number("EVENKEEL_SEED").unwrap_or(1), 0, Used::new());
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    while played < wanted && found.len() < most && end.is_none_or(|end| Instant::now() < end) {
        let script = author.write(seed, STEPS);
        seed += 1;
        played += script.len() as u64;
        if let Some(difference) = play(&sides, &script, &mut used)
            && !found.contains_key(&difference.kind())
        {
            let (kind, (script, difference)) =
                (difference.kind(), shrink::shrink(&sides, script, difference));
            let Difference { at, expected, got } = difference;
            let text = format!("{script}  at        {at}\n  expected  {expected}\n  got       {got}\n");
            println!("{text}");
            found.insert(kind, text);
        }
    }
    println!("{played} commands, the last seed is {}; replies that a rule allows:", seed - 1);
    for (rule, times) in used {
        println!("{times:9}  {}", rules::why(rule));
    }
    let texts: Vec<&str> = found.values().map(String::as_str).collect();
    assert!(texts.is_empty(), "{} differences:\n{}", texts.len(), texts.join("\n"));
}
