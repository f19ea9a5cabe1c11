//! Loads that lean on each other: what a client notices of others that ask for more than their share.
//!
//! The gateway has a core of its own here where the machine has two; the servers and all loads share the last one. What
//! the machine itself does to a client beside a greedy one is shown by the same pair of loads at one bare server.

use crate::loads::{Ask, Load, Proxy, Values};
use crate::measure::{Said, measure, said};
use crate::options::Options;
use crate::process::{Core, count_cores, stay_on_last_core};
use crate::record::{Sample, Spread};
use crate::stage::{DIRECT, FLOOR, GATEWAY, Stage, Target};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SMALL: Load = Load {
    name: "GET 64 B",
    ask: Ask::Get,
    clients: 100,
    pipeline: 1,
    values: Values::Small,
    proxy: Proxy::Apart,
};

fn stage(values: &[Values]) -> Stage {
    stay_on_last_core();
    let stage = Stage::set(&[]);
    stage.fill(values);
    if count_cores() > 1 {
        stage
            .targets
            .iter()
            .filter_map(|target| target.proxy.as_ref())
            .for_each(|proxy| proxy.stay_on(Core::First));
    }
    stage
}

/// Requests at a time from what fills the gateway to ten and a hundred times as many.
pub(crate) fn overload(options: &Options) {
    let stage = stage(&[Values::Small]);
    let gateway = stage.target(GATEWAY);
    println!("| load | requests at a time | requests/s | of the first row | p99 ms |\n|---|--:|--:|--:|--:|");
    for ask in [Ask::Get, Ask::Set] {
        let steps = [(50, 16), (500, 16), (5000, 16)].map(|(clients, pipeline)| Load {
            ask,
            clients,
            pipeline,
            ..SMALL
        });
        let mut rounds: Vec<Vec<Sample>> = vec![Vec::new(); steps.len()];
        for _ in 0..options.rounds {
            for (step, samples) in steps.iter().zip(&mut rounds) {
                samples.push(measure(&stage, gateway, step, options.seconds));
            }
        }
        for (step, samples) in steps.iter().zip(&rounds) {
            let share = samples.iter().zip(&rounds[0]).map(|(now, full)| now.per_second / full.per_second);
            println!(
                "| {ask:?} | {} | {:.0} | {} | {:.1} |",
                step.clients * step.pipeline,
                median(samples.iter().map(|sample| sample.per_second)),
                shown(share),
                median(samples.iter().map(|sample| sample.p99_ms)),
            );
        }
    }
}

/// A hundred clients without pipelining, alone and beside one that sends 10 000 requests at a time.
pub(crate) fn fairness(options: &Options) {
    let stage = stage(&[Values::Small]);
    let greedy = Load { clients: 1, pipeline: 10_000, ..SMALL };
    let (gateway, bare) = (stage.target(GATEWAY), stage.bare());
    beside(&[gateway, &bare], options, "one client with a pipeline of 10 000", |target| {
        Beside::Process(start(target, &greedy))
    });
}

/// Small GETs, alone and beside large values that are written: at a pace, and as fast as one client can.
pub(crate) fn large(options: &Options) {
    let stage = stage(&[Values::Small, Values::Large]);
    let (gateway, bare) = (stage.target(GATEWAY), stage.bare());
    for pace in [20, 100] {
        let what = format!("{pace} SETs of 512 KiB a second");
        beside(&[gateway, &bare], options, &what, |target| {
            Beside::Writer(Writer::start(target.port(), pace))
        });
    }
    let all = Load { ask: Ask::Set, clients: 1, values: Values::Large, ..SMALL };
    // The bare server replicates nothing: that alone is more than half of what a large SET costs.
    let targets = [gateway, stage.target(DIRECT), &bare];
    beside(&targets, options, "one client that does nothing but SET 512 KiB", |target| {
        Beside::Process(start(target, &all))
    });
}

/// Processor time of a request from 10 to 10 000 clients, beside that of the floor, which has the same sockets.
pub(crate) fn clients(options: &Options) {
    let stage = stage(&[Values::Small]);
    println!(
        "| clients | requests/s | gateway µs | floor µs | gateway / floor | p99 ms |\n|--:|--:|--:|--:|--:|--:|"
    );
    for clients in [10, 30, 100, 300, 1000, 3000, 10_000] {
        let load = Load { clients, proxy: Proxy::Together, ..SMALL };
        let of = |target: &str| measure(&stage, stage.target(target), &load, options.seconds);
        let rounds: Vec<(Sample, Sample)> = (0..options.rounds).map(|_| (of(GATEWAY), of(FLOOR))).collect();
        println!(
            "| {clients} | {:.0} | {:.2} | {:.2} | {} | {:.1} |",
            median(rounds.iter().map(|(gateway, _)| gateway.per_second)),
            median(rounds.iter().map(|(gateway, _)| gateway.proxy_us)),
            median(rounds.iter().map(|(_, floor)| floor.proxy_us)),
            shown(rounds.iter().map(|(gateway, floor)| gateway.proxy_us / floor.proxy_us)),
            median(rounds.iter().map(|(gateway, _)| gateway.p99_ms)),
        );
    }
}

/// What runs beside the small load; ended when dropped.
enum Beside {
    Process(Child),
    Writer(Writer),
}

impl Drop for Beside {
    fn drop(&mut self) {
        match self {
            Beside::Process(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Beside::Writer(writer) => writer.stop(),
        }
    }
}

/// The small load alone and beside another.
fn beside(targets: &[&Target], options: &Options, what: &str, begin: impl Fn(&Target) -> Beside) {
    println!("\n{} clients that GET 64 B beside {what}\n", SMALL.clients);
    println!(
        "| target | p99 ms alone | p99 ms beside | p99 beside / alone | p50 beside / alone | requests/s beside / alone |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    for target in targets {
        let rounds: Vec<(Said, Said)> = (0..options.rounds)
            .map(|_| {
                let trial = said(SMALL.command(target, 10_000));
                let alone = said(SMALL.command(target, (trial.per_second * options.seconds) as u64));
                let other = begin(target);
                std::thread::sleep(Duration::from_millis(300));
                let with = said(SMALL.command(target, (alone.per_second * options.seconds / 3.0) as u64));
                drop(other);
                std::thread::sleep(Duration::from_millis(300));
                (alone, with)
            })
            .collect();
        let ratio =
            |figure: fn(&Said) -> f64| shown(rounds.iter().map(|(alone, with)| figure(with) / figure(alone)));
        println!(
            "| {} | {:.2} | {:.2} | {} | {} | {} |",
            target.name,
            median(rounds.iter().map(|(alone, _)| alone.p99_ms)),
            median(rounds.iter().map(|(_, with)| with.p99_ms)),
            ratio(|said| said.p99_ms),
            ratio(|said| said.p50_ms),
            ratio(|said| said.per_second),
        );
    }
}

/// A load that goes on until it is killed.
fn start(target: &Target, load: &Load) -> Child {
    let mut endless = load.command(target, 1_000_000_000);
    endless.stdout(Stdio::null()).spawn().expect("redis-benchmark is installed")
}

/// A client that writes large values at an even pace.
struct Writer {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(port: u16, per_second: u32) -> Writer {
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            let begin = Instant::now();
            for at in 0.. {
                std::thread::sleep((Duration::from_secs(at) / per_second).saturating_sub(begin.elapsed()));
                if told.load(Ordering::Relaxed) {
                    return;
                }
                let key = format!("large:{:012}", at % 200);
                let size = Values::Large.bytes();
                let mut request =
                    format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${size}\r\n", key.len()).into_bytes();
                request.resize(request.len() + size, b'x');
                request.extend(b"\r\n");
                client.write_all(&request).expect("it is read");
                let mut reply = [0; 5];
                client.read_exact(&mut reply).expect("a reply");
                assert_eq!(&reply, b"+OK\r\n", "a SET is answered");
            }
        });
        Writer { stopped, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Measures two things in turns; which one is first changes every round.
pub(crate) fn in_turns<T>(rounds: usize, one: impl Fn() -> T, other: impl Fn() -> T) -> Vec<(T, T)> {
    let round = |round: usize| {
        if round.is_multiple_of(2) {
            return (one(), other());
        }
        let other = other();
        (one(), other)
    };
    (0..rounds).map(round).collect()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    Spread::of(values).map_or(f64::NAN, |spread| spread.median)
}

pub(crate) fn shown(values: impl Iterator<Item = f64>) -> String {
    Spread::of(values).map_or_else(
        || "-".to_owned(),
        |spread| format!("{:.2} ({:.2}–{:.2})", spread.median, spread.least, spread.most),
    )
}
