//! Whether a request gets dearer where there is more of everything: `cargo bench -p evenkeel --bench growth`.
//!
//! A worker's whole gateway in memory, without sockets: 10 to 10 000 clients, 6 to 600 nodes, and a map in one piece for each
//! node up to one in which no two slots side by side have the same owner. Instructions are counted by valgrind; nanoseconds are
//! the fastest of several rounds and show what caches make of it. What sockets add: `side_by_side -- clients`.

mod world;

use std::process::Command;
use std::time::Instant;
use world::{Size, World};

/// Turns of the shorter and the longer run; their difference leaves out what happens once.
const SHORT: usize = 4;
const LONG: usize = 12;
/// Requests of a round whose time is taken, at the least, and rounds.
const TIMED: usize = 200_000;
const ROUNDS: usize = 7;

const USUAL: Size = Size { clients: 6000, nodes: 6, ranges: 6 };

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        return; // cargo asks what tests a bench holds
    }
    if let [run, clients, nodes, ranges, turns] = args.as_slice()
        && run == "run"
    {
        let number = |text: &String| text.parse().expect("a number");
        let size = Size { clients: number(clients), nodes: number(nodes), ranges: number(ranges) };
        let mut world = World::new(size);
        (0..number(turns)).for_each(|_| world.turn());
        return;
    }
    let clients = [10, 100, 1000, 10_000].map(|clients| Size { clients, ..USUAL });
    table("clients", &clients, |size| size.clients);
    let nodes = [6, 60, 600].map(|nodes| Size { nodes, ranges: nodes, ..USUAL });
    table("nodes", &nodes, |size| size.nodes);
    let ranges = [6, 96, 1536, 16_384].map(|ranges| Size { ranges, ..USUAL });
    table("slot ranges", &ranges, |size| size.ranges);
}

fn table(what: &str, sizes: &[Size], varies: fn(&Size) -> usize) {
    println!(
        "\n| {what} | instructions a GET | of the first row | ns a GET | of the first row |\n|--:|--:|--:|--:|--:|"
    );
    let mut first = None;
    for size in sizes {
        let (instructions, nanos) = (instructions(*size), nanos(*size));
        let (few, fast) = *first.get_or_insert((instructions, nanos));
        println!(
            "| {} | {instructions:.0} | {:.2} | {nanos:.0} | {:.2} |",
            varies(size),
            instructions / few,
            nanos / fast
        );
    }
}

/// Instructions of a request, by two runs of this program under valgrind.
fn instructions(size: Size) -> f64 {
    // Small worlds take more turns, so that there are as many requests.
    let more = (2000 / size.clients).max(1);
    let (short, long) = (count(size, SHORT * more), count(size, LONG * more));
    (long - short) as f64 / ((LONG - SHORT) * more * size.clients) as f64
}

fn count(size: Size, turns: usize) -> u64 {
    let this = std::env::current_exe().expect("this program has a path");
    let numbers = [size.clients, size.nodes, size.ranges, turns].map(|number| number.to_string());
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .arg("run")
        .args(numbers)
        .output()
        .expect("valgrind is installed (apt-get install valgrind)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "valgrind failed:\n{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected.and_then(|(_, count)| count.trim().parse().ok()).expect("valgrind says what it has counted")
}

fn nanos(size: Size) -> f64 {
    let mut world = World::new(size);
    let turns = TIMED.div_ceil(size.clients);
    let round = |world: &mut World| {
        let begin = Instant::now();
        (0..turns).for_each(|_| world.turn());
        begin.elapsed().as_nanos() as f64 / (turns * size.clients) as f64
    };
    round(&mut world); // warms up
    (0..ROUNDS).map(|_| round(&mut world)).fold(f64::INFINITY, f64::min)
}
