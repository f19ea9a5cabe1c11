//! Many connections: what they hold while they are idle, and what happens when they all come at once.

use crate::process::{Core, Process, count_cores, stay_on_last_core};
use crate::stage::Stage;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Idle connections that are wanted, and the memory for them.
const IDLE: usize = 100_000;
const IDLE_MIB: f64 = 96.0;
/// Connections that come within a second.
const ARRIVALS: usize = 20_000;
/// Files that this process and the gateway need besides.
const RESERVE: usize = 200;
/// A source address has some 28 000 ports.
const FROM_ONE_ADDRESS: usize = 10_000;

const ASK: &[u8] = b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n";
const NOTHING: &[u8] = b"$-1\r\n";

/// Opens as many connections as it may, uses each once, and looks at the gateway's memory.
pub(crate) fn idle() {
    let wanted = allowed(IDLE);
    stay_on_last_core();
    let stage = Stage::set(&[]);
    let gateway = stage.gateway();
    let before = gateway.memory();
    let mut open = Vec::with_capacity(wanted);
    for at in 0..wanted {
        let mut client = arrive(at, gateway.port).unwrap_or_else(|error| panic!("connection {at}: {error}"));
        ask(&mut client).and_then(|()| answered(&mut client)).unwrap_or_else(|error| panic!("{at}: {error}"));
        open.push(client);
    }
    std::thread::sleep(Duration::from_secs(10));
    let after = gateway.memory();
    for (at, client) in open.iter_mut().enumerate().step_by(97) {
        ask(client).and_then(|()| answered(client)).unwrap_or_else(|error| panic!("{at} was lost: {error}"));
    }
    let (mib, each) = (after as f64 / 1024.0, (after - before) as f64 / wanted as f64);
    println!(
        "{wanted} idle connections, each used once: {mib:.1} MiB, {:.1} before them",
        before as f64 / 1024.0
    );
    println!("{each:.3} KiB a connection; every 97th asked again and answered");
    if wanted < IDLE {
        let all = (before as f64 + each * IDLE as f64) / 1024.0;
        println!(
            "at that price {IDLE} would take {all:.1} MiB: reckoned, not measured; {IDLE_MIB} are allowed"
        );
    } else {
        println!("{IDLE_MIB} MiB are allowed: {}", if mib <= IDLE_MIB { "kept" } else { "broken" });
    }
}

/// Lets connections come at an even pace within a second, each with a request; then waits for every answer.
pub(crate) fn arrivals(rounds: usize) {
    let wanted = allowed(ARRIVALS);
    stay_on_last_core();
    let stage = Stage::set(&[]);
    let gateway = stage.gateway();
    if count_cores() > 1 {
        gateway.stay_on(Core::First); // whoever comes has a machine of its own
    }
    for round in 0..rounds {
        // ports of connections that were closed a moment ago are looked for long, and run out
        println!("{}", come(gateway, round * wanted, wanted));
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn come(gateway: &Process, first: usize, wanted: usize) -> String {
    let mut open = Vec::with_capacity(wanted);
    let (mut errors, mut longest, busy) = (0, Duration::ZERO, gateway.run_time());
    let begin = Instant::now();
    for at in 0..wanted {
        let due = Duration::from_secs_f64(at as f64 / wanted as f64);
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        let knock = Instant::now();
        match arrive(first + at, gateway.port).and_then(|mut client| ask(&mut client).map(|()| client)) {
            Ok(client) => open.push(client),
            Err(_) => errors += 1,
        }
        longest = longest.max(knock.elapsed());
    }
    let arrived = begin.elapsed();
    errors += open.iter_mut().filter_map(|client| answered(client).err()).count();
    let (all, busy) = (begin.elapsed(), gateway.run_time() - busy);
    format!(
        "{wanted} connections in {:.2} s, all answered after {:.2} s: {errors} errors; longest connect {:.0} ms; \
         gateway {:.0} µs a connection, {:.1} MiB",
        arrived.as_secs_f64(),
        all.as_secs_f64(),
        longest.as_secs_f64() * 1e3,
        busy * 1e6 / wanted as f64,
        gateway.memory() as f64 / 1024.0
    )
}

/// A connection from the address whose turn it is: 127.0.1.1, 127.0.1.2 …
fn arrive(at: usize, port: u16) -> io::Result<TcpStream> {
    let from = SocketAddr::from(([127, 0, 1, 1 + (at / FROM_ONE_ADDRESS) as u8], 0));
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &from)?;
    connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    let client = TcpStream::from(socket);
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(client)
}

fn ask(client: &mut TcpStream) -> io::Result<()> {
    client.write_all(ASK)
}

fn answered(client: &mut TcpStream) -> io::Result<()> {
    let mut reply = [0; NOTHING.len()];
    client.read_exact(&mut reply)?;
    if reply == NOTHING {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&reply).into_owned()))
    }
}

/// As many connections as files may be open, at most `wanted`; the gateway inherits the raised limit.
fn allowed(wanted: usize) -> usize {
    let need = (wanted + RESERVE) as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < need) {
        let hard = limit.maximum.map_or(need, |hard| hard.max(need));
        // A higher hard limit takes the right to do so; without it, the one there is has to do.
        if setrlimit(Resource::Nofile, Rlimit { current: Some(need), maximum: Some(hard) }).is_err() {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        }
    }
    let open = getrlimit(Resource::Nofile).current.unwrap_or(need).min(need) as usize - RESERVE;
    if open < wanted {
        println!("{wanted} connections are wanted; the limit of open files (ulimit -Hn) allows {open}");
    }
    open
}
