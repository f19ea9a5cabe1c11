//! Suites that others wrote: Redis's own tests and redis-py's own tests, through the gateway and against one server that
//! owns all slots of a cluster. What that server passes, the gateway has to pass too, but for a share of it.
//!
//! They take an hour and need a Debian package and a source package, which `fetch` gets by name; so they run with
//! `EVENKEEL_FULL=1` only: `EVENKEEL_FULL=1 cargo test --release -p evenkeel --test suites -- --nocapture`. Every test
//! that the server passes and the gateway does not is printed; `docs/compatibility.md` says why.

#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "../libraries/mod.rs"]
mod libraries;
#[path = "../stage/mod.rs"]
mod stage;

use libraries::{Libraries, scratch};
use stage::cluster::Cluster;
use stage::service::GatewayProcess;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// How much of what the server passes the gateway has to pass, in percent.
const SHARE: f64 = 97.0;

#[test]
fn redis_own_tests_pass_through_the_gateway() {
    if !stage::switched_on("EVENKEEL_FULL") {
        return;
    }
    let _alone = stage::alone();
    let suite = Suite::new("redis_tcl.py", "redis", &[]);
    suite.compare("Redis's own tests");
}

#[test]
fn redis_py_own_tests_pass_through_the_gateway() {
    redis_py("plain", "3");
}

#[test]
fn redis_py_own_tests_pass_in_resp2_too() {
    redis_py("plain", "2");
}

#[test]
fn redis_py_own_tests_pass_with_its_cluster_client_too() {
    redis_py("cluster", "3");
}

fn redis_py(client: &str, protocol: &str) {
    if !stage::switched_on("EVENKEEL_FULL") {
        return;
    }
    let _alone = stage::alone();
    let suite = Suite::new("redis_py.py", "redis-py", &[client, protocol]);
    suite.compare(&format!("redis-py's own tests, {client} client, RESP{protocol}"));
}

/// A suite: its script, its source, and what stands behind the address.
struct Suite {
    libraries: Libraries,
    script: &'static str,
    source: String,
    arguments: Vec<String>,
}

/// What stands behind an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Server,
    Gateway,
}

/// Names of tests and how they ended: `Ok`, or why not.
type Results = BTreeMap<String, Result<(), String>>;

impl Suite {
    fn new(script: &'static str, source: &str, arguments: &[&str]) -> Suite {
        let libraries = Libraries::installed("suites");
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites");
        let status = Command::new(here.join("fetch"))
            .arg(scratch("suites"))
            .arg(&libraries.python)
            .arg(here.join("requirements.txt"))
            .status()
            .expect("bash runs");
        assert!(status.success(), "the sources cannot be fetched: are apt and PyPI reachable?");
        let source = scratch("suites").join(source).display().to_string();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Suite { libraries, script, source, arguments }
    }

    /// Runs it against one server, then through the gateway.
    fn compare(&self, name: &str) {
        let one = Cluster::start(1, 0, &[]);
        let expected = self.run(one.primaries[0].addr, Behind::Server);
        drop(one);
        let cluster = Cluster::start(3, 0, &[]);
        let gateway = GatewayProcess::start(&cluster.addrs());
        let got = self.run(gateway.addr, Behind::Gateway);
        let passed: BTreeSet<&String> = passed(&expected);
        let lost: Vec<String> = passed
            .iter()
            .filter_map(|test| match got.get(*test) {
                Some(Ok(())) => None,
                Some(Err(why)) => Some(format!("  {test}: {why}")),
                None => Some(format!("  {test}: did not run")),
            })
            .collect();
        let share = 100.0 * (passed.len() - lost.len()) as f64 / passed.len() as f64;
        println!(
            "{name}: one server passes {} of {}, the gateway {} of those ({share:.1} %) and {} in all; lost:\n{}",
            passed.len(),
            expected.len(),
            passed.len() - lost.len(),
            self::passed(&got).len(),
            lost.join("\n")
        );
        assert!(passed.len() > 100, "{name}: the suite did not run");
        assert!(share >= SHARE, "{name}: the gateway passes {share:.1} % of what one server passes");
    }

    fn run(&self, address: SocketAddr, behind: Behind) -> Results {
        let mut command = Command::new(&self.libraries.python);
        if behind == Behind::Gateway {
            command.env("EVENKEEL_GATEWAY", "1");
        }
        let output = command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites").join(self.script))
            .args([&self.source, &address.ip().to_string(), &address.port().to_string()])
            .args(&self.arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("python runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let mut results = Results::new();
        for line in said.lines() {
            match line.split_once(' ') {
                Some(("ok", test)) => drop(results.insert(test.to_owned(), Ok(()))),
                Some(("err", test)) => {
                    let (test, why) =
                        test.split_once(": ").filter(|_| self.script == "redis_py.py").unwrap_or((test, ""));
                    results.insert(test.to_owned(), Err(why.to_owned()));
                }
                Some(("broken", why)) => println!("{address}: {why}"),
                Some(_) | None => {}
            }
        }
        results
    }
}

fn passed(results: &Results) -> BTreeSet<&String> {
    results.iter().filter(|(_, ended)| ended.is_ok()).map(|(test, _)| test).collect()
}
