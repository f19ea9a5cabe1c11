//! Clients that come encrypted, by a TLS library that is not the gateway's own end of it, and by redis-cli.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_gateway::{Durability, Gateway, Settings, TlsSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stage::cluster::Cluster;
use stage::raw::{Raw, command, request, still_serves};
use stage::{SOON, alone, loopback};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// An authority, and certificates of a server and a client that it vouches for.
struct Papers(TempDir);

impl Papers {
    fn new() -> Papers {
        let papers = Papers(tempfile::tempdir().unwrap());
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        papers.openssl(&format!("{new} -subj /CN=authority -keyout ca.key -out ca.pem"));
        for (name, subject) in [("server", "localhost"), ("client", "somebody")] {
            let signed =
                format!("-CA ca.pem -CAkey ca.key -subj /CN={subject} -addext subjectAltName=DNS:{subject}");
            let own = "-addext basicConstraints=critical,CA:FALSE";
            papers.openssl(&format!("{new} {signed} {own} -keyout {name}.key -out {name}.pem"));
        }
        papers
    }

    fn openssl(&self, line: &str) {
        let output = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(self.0.path())
            .output()
            .expect("openssl has to be installed for this test (apt-get install openssl)");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn settings(&self, ca: Option<&str>) -> TlsSettings {
        let file = |name: &str| self.file(name);
        TlsSettings {
            listen: loopback(0),
            cert: file("server.pem"),
            key: file("server.key"),
            ca: ca.map(file),
            durability: None,
        }
    }
}

fn gateway(cluster: &Cluster, tls: TlsSettings) -> Gateway {
    let mut settings = Settings::new(loopback(0), cluster.addrs());
    settings.tls = Some(tls);
    settings.workers = 2;
    let gateway = Gateway::start(settings).unwrap();
    stage::service::wait_until_served(gateway.listen());
    gateway
}

/// A client that trusts the authority and may show a certificate of its own.
fn connect(
    addr: SocketAddr,
    ca: &Path,
    own: Option<(&Path, &Path)>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

fn hears(client: &mut impl Read, expected: &[u8], what: &str) {
    let mut heard = vec![0; expected.len()];
    client.read_exact(&mut heard).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(heard == expected, "{what}: {}", heard[..heard.len().min(100)].escape_ascii());
}

/// No replica is there that could confirm, so the answers tell which class holds.
#[test]
fn encrypted_clients_may_have_a_durability_of_their_own() {
    let _alone = alone();
    let papers = Papers::new();
    let cluster = Cluster::start(3, 0, &[]);
    let tls = TlsSettings { durability: Some(Durability::Replicated), ..papers.settings(None) };
    let gateway = gateway(&cluster, tls);
    let set = command(&["SET", "key", "value"]);
    let mut encrypted = connect(gateway.tls_listen().unwrap(), &papers.file("ca.pem"), None);
    encrypted.write_all(&set).unwrap();
    hears(&mut encrypted, b"-UNREPLICATED ", "SET that a replica has to confirm");
    let mut plain = TcpStream::connect(gateway.listen()).unwrap();
    plain.set_read_timeout(Some(SOON)).unwrap();
    plain.write_all(&set).unwrap();
    hears(&mut plain, b"+OK\r\n", "SET that the primary acknowledges");
}

#[test]
fn clients_come_encrypted_and_large_values_pass_both_ways() {
    let _alone = alone();
    let papers = Papers::new();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster, papers.settings(None));
    let addr = gateway.tls_listen().unwrap();
    let mut client = connect(addr, &papers.file("ca.pem"), None);
    client.write_all(&command(&["PING"])).unwrap();
    hears(&mut client, b"+PONG\r\n", "PING");

    let pings = command(&["PING"]).repeat(20_000);
    let mut sender = connect(addr, &papers.file("ca.pem"), None);
    sender.write_all(&pings).unwrap();
    hears(&mut sender, &b"+PONG\r\n".repeat(20_000), "a pipeline");

    let value: Vec<u8> = (0..20_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    client.write_all(&request(&[b"SET", b"large", &value])).unwrap();
    hears(&mut client, b"+OK\r\n", "SET of 20 MB");
    client.write_all(&command(&["GET", "large"])).unwrap();
    hears(&mut client, b"$20000000\r\n", "GET of 20 MB");
    hears(&mut client, &value, "20 MB");
    hears(&mut client, b"\r\n", "the end of 20 MB");
    client.write_all(&command(&["QUIT"])).unwrap();
    hears(&mut client, b"+OK\r\n", "QUIT");
    assert_eq!(client.read(&mut [0; 1]).expect("a goodbye, no break"), 0);

    let cli = Command::new("redis-cli")
        .args(["--tls", "--cacert"])
        .arg(papers.file("ca.pem"))
        .args(["-h", "127.0.0.1", "-p", &addr.port().to_string(), "STRLEN", "large"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&cli.stdout).trim(),
        "20000000",
        "{}",
        String::from_utf8_lossy(&cli.stderr)
    );
    still_serves(gateway.listen());
}

#[test]
fn strangers_and_nonsense_get_nothing() {
    let _alone = alone();
    let papers = Papers::new();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster, papers.settings(Some("ca.pem")));
    let addr = gateway.tls_listen().unwrap();
    let ca = papers.file("ca.pem");
    let mut stranger = connect(addr, &ca, None);
    let refused = stranger.write_all(&command(&["PING"])).is_err() || stranger.read(&mut [0; 1]).is_err();
    assert!(refused, "a client without a certificate is not let in");
    let mut known = connect(addr, &ca, Some((&papers.file("client.pem"), &papers.file("client.key"))));
    known.write_all(&command(&["PING"])).unwrap();
    hears(&mut known, b"+PONG\r\n", "PING");

    for nonsense in [command(&["PING"]), vec![0; 5000], vec![22, 3, 1, 255, 255, 7]] {
        let mut plain = Raw::connect(addr);
        plain.send(&nonsense);
        let _ = plain.stream.shutdown(std::net::Shutdown::Write); // it may be closed already
        assert!(!plain.rest().starts_with(b"+"), "it speaks TLS only");
    }
    drop(gateway);
    let mut settings = Settings::new(loopback(0), cluster.addrs());
    settings.tls = Some(TlsSettings { cert: papers.file("nowhere.pem"), ..papers.settings(None) });
    let error = Gateway::start(settings).err().unwrap().to_string();
    assert!(error.starts_with("gateway.tls: ") && error.contains("nowhere.pem"), "{error}");
}
