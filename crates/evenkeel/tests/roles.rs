//! A role per process, and a machine without a server program.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Deployment, connect, missing_keys, signal, text, write_keys};
use evenkeel_control::status::Health;
use rustix::process::Signal;

/// A role in a process of its own, stopped at the end.
struct Role(Child);

impl Role {
    fn start(args: &[&str]) -> Role {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        Role(command.arg("run").args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        signal(self.0.id(), Signal::TERM);
        let code = common::end_of(&mut self.0);
        assert!(code == Some(0) || std::thread::panicking(), "{code:?}");
    }
}

#[test]
fn gateway_and_control_run_in_processes_of_their_own() {
    let service = Deployment::new("");
    let (config, dir) = (service.config(), service.dir.clone());
    let control = Role::start(&[
        "--role",
        "control",
        "--config",
        config.to_str().unwrap(),
        "--dir",
        dir.to_str().unwrap(),
    ]);
    service.wait("the slots are served", 60, |status| status.slots_served == 16_384);

    // the gateway of the configuration, and one more with a password
    let (node, client) = (service.place.path().join("node"), service.place.path().join("client"));
    std::fs::write(&node, service.secrets()["node-password"].as_str().unwrap()).unwrap();
    std::fs::write(&client, "open sesame\n").unwrap();
    let seeds = format!("127.0.0.1:{},127.0.0.1:{}", service.base, service.base + 1);
    let listen = format!("127.0.0.1:{}", service.gateway);
    let shared = ["--seeds", &seeds, "--node-password-file", node.to_str().unwrap(), "--threads", "1"];
    let first = Role::start(&[&["--role", "gateway", "--listen", &listen], &shared[..]].concat());
    let other = format!("127.0.0.1:{}", service.base + 12);
    let password = ["--password-file", client.to_str().unwrap()];
    let second = Role::start(&[&["--role", "gateway", "--listen", &other], &shared[..], &password].concat());
    service.wait("control sees the gateway", 30, |status| status.health == Health::Ok);
    write_keys(&mut service.client(), 100);
    let begun = Instant::now();
    while std::net::TcpStream::connect(&other).is_err() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(missing_keys(&mut connect(&format!("redis://:open%20sesame@{other}")), 100), 0);
    let stranger = redis::Client::open(format!("redis://{other}")).unwrap().get_connection();
    let refused =
        stranger.and_then(|mut stranger| redis::cmd("GET").arg("key:1").query::<String>(&mut stranger));
    assert!(refused.unwrap_err().to_string().contains("NOAUTH"));
    drop((first, second));
    drop(control);
}

#[test]
fn options_of_another_role_are_refused() {
    let run = |args: &[&str]| {
        text(&Command::new(env!("CARGO_BIN_EXE_evenkeel")).arg("run").args(args).output().unwrap())
    };
    assert!(
        run(&["--role", "control", "--threads", "2"])
            .contains("--threads is an option of --role gateway only")
    );
    let refused =
        run(&["--role", "gateway", "--listen", "127.0.0.1:1", "--seeds", "127.0.0.1:2", "--dir", "x"]);
    assert!(refused.contains("--dir is an option of --role control and all only"), "{refused}");
    assert!(run(&["--role", "gateway"]).contains("--listen"));
}

#[test]
fn without_a_server_program_it_is_said_or_installed() {
    let service = Deployment::new("");
    // It is looked for on PATH, whichever program the other tests name.
    let config = std::fs::read_to_string(service.config()).unwrap();
    let unnamed: Vec<&str> = config.lines().filter(|line| !line.starts_with("server =")).collect();
    std::fs::write(service.config(), unnamed.join("\n")).unwrap();
    let bin = service.place.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let up = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["up", "--detach", "--config", service.config().to_str().unwrap()])
            .args(["--dir", service.dir.to_str().unwrap()])
            .args(more)
            .env("PATH", &bin)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let said = up(&[]);
    assert_eq!(said.status.code(), Some(1));
    let expected = "no valkey-server and no redis-server on PATH: install redis-server or valkey-server";
    assert!(text(&said).contains(expected) && text(&said).contains("--install-server"), "{}", text(&said));

    // an apt-get that notes how it was called, and installs what is on this machine
    let note = service.place.path().join("note");
    let script = format!(
        "#!/bin/sh\necho \"$DEBIAN_FRONTEND $RUNLEVEL $*\" >> {0}\n\
         [ -e /usr/sbin/policy-rc.d ] && echo quiet >> {0}\n\
         case \"$1\" in install) /bin/ln -s /usr/bin/redis-server {1}/redis-server;; esac\n",
        note.display(),
        bin.display()
    );
    for program in ["apt-get", "sudo"] {
        let file = bin.join(program);
        let text = if program == "sudo" { "#!/bin/sh\nexec \"$@\"\n".to_owned() } else { script.clone() };
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let policy_before = std::path::Path::new("/usr/sbin/policy-rc.d").exists();
    let installed = up(&["--install-server"]);
    assert_eq!(installed.status.code(), Some(0), "{}", text(&installed));
    let note = std::fs::read_to_string(note).unwrap();
    assert!(note.contains("noninteractive 1 install -q -y --no-install-recommends redis-server"), "{note}");
    assert!(note.contains("quiet"), "apt was free to start a service: {note}");
    assert_eq!(std::path::Path::new("/usr/sbin/policy-rc.d").exists(), policy_before);
    service.healthy();
}
