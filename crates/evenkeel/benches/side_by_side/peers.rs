//! Proxies of others, one thread each and their own defaults otherwise. A binary that is not on PATH is given by its path.

use crate::process::{Process, free_port};
use crate::stage::{Backend, HAPROXY, Servers};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A proxy that takes part.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) backend: Backend,
    kind: Kind,
}

enum Kind {
    Haproxy,
    /// HAProxy with splice(2) for both directions.
    HaproxySplice,
    Twemproxy,
    Predixy(String),
    /// A command line with `{port}`, `{seeds}`, `{one}` and `{dir}` in it.
    Command(String),
}

impl Peer {
    /// Those that Debian has.
    pub(crate) fn packaged() -> Vec<Peer> {
        vec![
            Peer { name: HAPROXY.to_owned(), backend: Backend::One, kind: Kind::Haproxy },
            Peer { name: "twemproxy".to_owned(), backend: Backend::One, kind: Kind::Twemproxy },
        ]
    }

    /// `haproxy-splice`, `predixy=PATH`, `NAME=COMMAND` or `NAME@one=COMMAND` (in front of the one server).
    pub(crate) fn parse(text: &str) -> Result<Peer, String> {
        let peer = |name: &str, backend, kind| Ok(Peer { name: name.to_owned(), backend, kind });
        match text.split_once('=') {
            None if text == "haproxy-splice" => peer("HAProxy, splice", Backend::One, Kind::HaproxySplice),
            None => {
                Err(format!("--peer is {text}, expected haproxy-splice, predixy=PATH or NAME[@one]=COMMAND"))
            }
            Some(("predixy", path)) => peer("predixy", Backend::Cluster, Kind::Predixy(path.to_owned())),
            Some((name, command)) => match name.strip_suffix("@one") {
                Some(name) => peer(name, Backend::One, Kind::Command(command.to_owned())),
                None => peer(name, Backend::Cluster, Kind::Command(command.to_owned())),
            },
        }
    }

    pub(crate) fn start(&self, dir: &Path, servers: &Servers) -> Process {
        let port = free_port();
        let home = dir.join(format!("peer-{port}"));
        fs::create_dir(&home).expect("a directory");
        let mut command = match &self.kind {
            Kind::Haproxy => haproxy(&home, port, servers, ""),
            Kind::HaproxySplice => {
                haproxy(&home, port, servers, "  option splice-request\n  option splice-response\n")
            }
            Kind::Twemproxy => twemproxy(&home, port, servers),
            Kind::Predixy(path) => predixy(path, &home, port, servers),
            Kind::Command(line) => by_command(line, &home, port, servers),
        };
        Process::start(command.current_dir(&home).stdout(Stdio::null()).stderr(Stdio::null()), port)
    }
}

fn haproxy(home: &Path, port: u16, servers: &Servers, options: &str) -> Command {
    let config = format!(
        "global\n  maxconn 6000\n  nbthread 1\ndefaults\n  mode tcp\n{options}  timeout connect 5s\n  timeout client 1h\n  \
         timeout server 1h\nlisten redis\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{}\n",
        servers.one
    );
    started_with("haproxy", &["-db", "-f"], &write(home, "haproxy.cfg", &config))
}

fn twemproxy(home: &Path, port: u16, servers: &Servers) -> Command {
    let config = format!(
        "one:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: modula\n  redis: true\n  backlog: 4096\n  \
         server_connections: 1\n  servers:\n   - 127.0.0.1:{}:1\n",
        servers.one
    );
    let program = ["/usr/sbin/nutcracker", "/usr/local/sbin/nutcracker"].into_iter();
    let program = program.filter(|path| Path::new(path).exists()).chain(["nutcracker"]).next();
    let mut command =
        started_with(program.expect("one is left"), &["-c"], &write(home, "nutcracker.yml", &config));
    command.args(["-s", &(port + 10_000).to_string(), "-a", "127.0.0.1", "-o", "nutcracker.log", "-v", "3"]);
    command
}

fn predixy(path: &str, home: &Path, port: u16, servers: &Servers) -> Command {
    let seeds: String = servers.cluster.iter().map(|seed| format!("    + 127.0.0.1:{seed}\n")).collect();
    let config = format!(
        "Bind 127.0.0.1:{port}\nWorkerThreads 1\nClientTimeout 0\nLog ./predixy.log\nLogNoticeSample 1\n\
         Authority {{\n  Auth {{\n    Mode admin\n  }}\n}}\nClusterServerPool {{\n  MasterReadPriority 60\n  \
         StaticSlaveReadPriority 0\n  DynamicSlaveReadPriority 0\n  RefreshInterval 1\n  Servers {{\n{seeds}  }}\n}}\n"
    );
    started_with(path, &[], &write(home, "predixy.conf", &config))
}

fn by_command(line: &str, home: &Path, port: u16, servers: &Servers) -> Command {
    let seeds: Vec<String> = servers.cluster.iter().map(|seed| format!("127.0.0.1:{seed}")).collect();
    let fill = |word: &str| {
        word.replace("{port}", &port.to_string())
            .replace("{seeds}", &seeds.join(","))
            .replace("{one}", &format!("127.0.0.1:{}", servers.one))
            .replace("{dir}", &home.to_string_lossy())
    };
    let mut words = line.split_whitespace().map(fill);
    let mut command = Command::new(words.next().expect("a peer's command line names a program"));
    command.args(words);
    command
}

fn started_with(program: &str, args: &[&str], config: &str) -> Command {
    let mut command = Command::new(program);
    command.args(args).arg(config);
    command
}

fn write(home: &Path, name: &str, config: &str) -> String {
    let path = home.join(name);
    fs::write(&path, config).expect("a file");
    path.to_string_lossy().into_owned()
}
