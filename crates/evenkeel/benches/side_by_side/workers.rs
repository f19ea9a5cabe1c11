//! What a second worker brings where one was the limit: encrypted clients that come, ask once and leave. A signature of an
//! RSA key of 4096 bits keeps the gateway busy and neither who asks for it nor the servers, so two cores are enough to see it.

use crate::options::Options;
use crate::process::{Process, count_cores, free_port};
use crate::stage::Stage;
use crate::strain::{in_turns, shown};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Clients that come at the same time.
const CLIENTS: usize = 16;
/// How long the workers of `auto` are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// One worker beside two, and the time until `auto` takes the second.
pub(crate) fn workers(options: &Options) {
    if count_cores() < 2 {
        println!("this machine has one core: a second worker brings nothing here");
        return;
    }
    let stage = Stage::set(&[]);
    let papers = Papers::new();
    let seeds = format!("127.0.0.1:{}", stage.nodes()[0].port);
    let [one, two] = [1, 2].map(|threads| Encrypted::start(&papers, &seeds, threads));
    measure("the system places the workers", &one, &two, &papers, options);
    [&one, &two].into_iter().for_each(|gateway| gateway.process.spread_workers());
    measure("each worker on a core of its own", &one, &two, &papers, options);
    drop((one, two));
    grow(&papers, &seeds, options);
}

/// One worker and two in turns.
fn measure(how: &str, one: &Encrypted, two: &Encrypted, papers: &Papers, options: &Options) {
    let of = |gateway: &Encrypted| gateway.come(papers, Duration::from_secs_f64(options.seconds));
    let rates = in_turns(options.rounds, || of(one), || of(two));
    let median = |figure: fn(&(f64, f64)) -> f64| crate::strain::median(rates.iter().map(figure));
    println!(
        "new encrypted connections/s, RSA 4096, {CLIENTS} at a time, {how}: one worker {:.0}, two {:.0}; ratio {}",
        median(|r| r.0),
        median(|r| r.1),
        shown(rates.iter().map(|(one, two)| two / one))
    );
}

/// How soon `auto` takes the second worker.
fn grow(papers: &Papers, seeds: &str, options: &Options) {
    let auto = Encrypted::start(papers, seeds, 0);
    let begin = Instant::now();
    let before = auto.come(papers, Duration::from_secs(1));
    while auto.workers() < 2 && begin.elapsed() < PATIENCE {
        auto.come(papers, Duration::from_millis(200));
    }
    let woken = begin.elapsed();
    let after = auto.come(papers, Duration::from_secs_f64(options.seconds));
    println!(
        "threads = \"auto\": {} workers after {:.1} s of this load; {before:.0} connections/s before, {after:.0} after",
        auto.workers(),
        woken.as_secs_f64()
    );
}

/// A key, and a certificate that vouches for itself.
struct Papers {
    dir: TempDir,
    client: Arc<ClientConfig>,
}

impl Papers {
    fn new() -> Papers {
        let dir = TempDir::new().expect("a directory");
        let new = "req -x509 -newkey rsa:4096 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
                   -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem";
        let made = Command::new("openssl").args(new.split_whitespace()).current_dir(dir.path()).output();
        let made = made.expect("openssl is installed");
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(dir.path().join("cert.pem")).expect("written"))
            .expect("valid");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut client = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        client.resumption = Resumption::disabled(); // every client is a new one
        Papers { dir, client: Arc::new(client) }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A gateway that takes encrypted clients.
struct Encrypted {
    process: Process,
    tls: u16,
}

impl Encrypted {
    fn start(papers: &Papers, seeds: &str, threads: usize) -> Encrypted {
        let port = free_port();
        let (tls, config) = (port + 10_000, papers.path().join(format!("{threads}.toml")));
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| papers.path().join(name));
        let text =
            format!("[gateway]\ntls = {{ listen = \"127.0.0.1:{tls}\", cert = {cert:?}, key = {key:?} }}\n");
        std::fs::write(&config, text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command.args(["run", "--role", "gateway", "--seeds", seeds, "--threads", &threads.to_string()]);
        command.arg("--config").arg(config).args(["--listen", &format!("127.0.0.1:{port}")]);
        let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()), port);
        Encrypted { process, tls }
    }

    /// Clients a second that came, asked and were answered.
    fn come(&self, papers: &Papers, time: Duration) -> f64 {
        let begin = Instant::now();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (config, port) = (papers.client.clone(), self.tls);
                std::thread::spawn(move || {
                    let mut served = 0;
                    while begin.elapsed() < time {
                        ask_once(config.clone(), port);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        let served: u32 = clients.into_iter().map(|client| client.join().expect("it ends")).sum();
        f64::from(served) / begin.elapsed().as_secs_f64()
    }

    /// How many workers run.
    fn workers(&self) -> u64 {
        let mut client = TcpStream::connect(("127.0.0.1", self.process.port)).expect("a connection");
        client.write_all(b"EVENKEEL METRICS\r\nQUIT\r\n").expect("it listens");
        let mut said = String::new();
        client.read_to_string(&mut said).expect("it answers");
        let after = said.split_once("\"workers\":").expect("the metric").1;
        after
            .split(|sign: char| !sign.is_ascii_digit())
            .next()
            .and_then(|text| text.parse().ok())
            .expect("a number")
    }
}

fn ask_once(config: Arc<ClientConfig>, port: u16) {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = StreamOwned::new(ClientConnection::new(config, name).expect("a client"), stream);
    client.write_all(b"PING\r\n").expect("it takes requests");
    let mut reply = [0; 7];
    client.read_exact(&mut reply).expect("it answers");
    assert_eq!(&reply, b"+PONG\r\n");
}
