//! What it costs that a replica confirms every write before it is acknowledged: two gateways in front of the same servers, one
//! with durability `async` and one with `replicated`. They take turns, and the order changes every round.

use crate::loads::{Ask, Load, Proxy, Values};
use crate::measure::measure;
use crate::options::Options;
use crate::peers::Peer;
use crate::process::{count_cores, stay_on_last_core};
use crate::record::Sample;
use crate::stage::{GATEWAY, Stage};
use crate::strain::{in_turns, median, shown};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const REPLICATED: &str = "replicated";

const SET: Load = Load {
    name: "SET 64 B, 50 connections, pipeline 16",
    ask: Ask::Set,
    clients: 50,
    pipeline: 16,
    values: Values::Small,
    proxy: Proxy::Together,
};

/// Writes through both gateways: requests a second, and processor time of everything, whose ratio says more where other
/// programs run.
pub(crate) fn durability(options: &Options) {
    stay_on_last_core();
    let stage = Stage::set(&[replicated()]);
    wait_until_confirmed(stage.target(REPLICATED).port());
    let mut loads = vec![SET, Load { name: "SET 64 B, 50 connections", pipeline: 1, ..SET }];
    if count_cores() > 1 {
        loads.push(Load {
            name: "SET 64 B, 50 connections, pipeline 16, gateway on its own core",
            proxy: Proxy::Apart,
            ..SET
        });
    }
    println!(
        "| load | requests/s: async, replicated | replicated / async | processor µs a request of everything | of the gateway | p99 ms |\n\
         |---|--:|--:|--:|--:|--:|"
    );
    for load in loads {
        let of = |target: &str| measure(&stage, stage.target(target), &load, options.seconds);
        let rounds = in_turns(options.rounds, || of(GATEWAY), || of(REPLICATED));
        let pair = |figure: fn(&Sample) -> f64, digits: usize| {
            let plain = median(rounds.iter().map(|(plain, _)| figure(plain)));
            let replicated = median(rounds.iter().map(|(_, replicated)| figure(replicated)));
            format!("{plain:.digits$}, {replicated:.digits$}")
        };
        println!(
            "| {} | {} | {} | {} | {} | {} |",
            load.name,
            pair(|sample| sample.per_second, 0),
            shown(rounds.iter().map(|(plain, replicated)| replicated.per_second / plain.per_second)),
            pair(|sample| sample.proxy_us + sample.servers_us + sample.client_us, 2),
            pair(|sample| sample.proxy_us, 2),
            pair(|sample| sample.p99_ms, 1),
        );
    }
}

/// Replicas that have just met their primaries confirm nothing yet.
fn wait_until_confirmed(port: u16) {
    for key in ["a", "b", "c", "foo", "bar", "42"] {
        let mut tries = 0..60;
        let confirmed = || {
            let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            let mut reply = [0; 1];
            let asked = client.write_all(format!("SET {key} 1\r\n").as_bytes());
            asked.and_then(|()| client.read_exact(&mut reply)).expect("a reply");
            reply == *b"+"
        };
        assert!(
            tries.any(|_| confirmed() || {
                std::thread::sleep(Duration::from_millis(500));
                false
            }),
            "no replica confirms writes"
        );
    }
}

/// The same gateway, but for its durability.
fn replicated() -> Peer {
    let gateway = format!(
        "{REPLICATED}={} run --role gateway --threads 1 --listen 127.0.0.1:{{port}} --seeds {{seeds}} --durability replicated",
        env!("CARGO_BIN_EXE_evenkeel")
    );
    Peer::parse(&gateway).unwrap_or_else(|error| panic!("{error}"))
}
