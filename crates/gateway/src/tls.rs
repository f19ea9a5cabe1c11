//! TLS of clients: a connection whose bytes on the wire are not the bytes that the proxy sees.
//!
//! Owns certificates and the state of each encrypted connection. Never decides what a client may do. What is encrypted and
//! not sent yet is bounded by [`MAX_ENCRYPTED`] a client.

use evenkeel_core::proxy::Durability;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of one client that are encrypted and wait for its socket.
const MAX_ENCRYPTED: usize = 256 * 1024;

/// Where clients may come encrypted, and who we say we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Address that clients connect to.
    pub listen: SocketAddr,
    /// Our certificate and those that vouch for it, in PEM.
    pub cert: PathBuf,
    /// The certificate's key, in PEM.
    pub key: PathBuf,
    /// Certificates of those who vouch for clients, in PEM; with it, every client needs a certificate.
    pub ca: Option<PathBuf>,
    /// What writes of clients that come here wait for, where that is not the gateway's own.
    pub durability: Option<Durability>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read as what it should be.
    #[error("{file}: {what}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate, key and authorities do not fit together.
    #[error("{0}")]
    Unfit(String),
}

impl TlsSettings {
    /// Reads the files.
    pub(crate) fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unfit = |error: &dyn std::fmt::Display| TlsError::Unfit(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&error))?;
        let builder = match &self.ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(ca)? {
                    roots.add(authority).map_err(|error| unreadable(ca, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|error| unfit(&error))?)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable(&self.key, &error))?;
        let config = builder.with_single_cert(certificates(&self.cert)?, key);
        config.map(Arc::new).map_err(|error| unfit(&error))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|error| unreadable(file, &error))?.collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsError::File {
            file: file.display().to_string(),
            what: "no certificate is in it".to_owned(),
        }),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { file: file.display().to_string(), what: error.to_string() }
}

/// One encrypted connection.
pub(crate) struct Tls {
    state: ServerConnection,
    /// Bytes that are encrypted already and count as written once all of it is sent.
    owed: usize,
}

impl Tls {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Tls, TlsError> {
        let state = ServerConnection::new(config.clone());
        let mut state = state.map_err(|error| TlsError::Unfit(error.to_string()))?;
        state.set_buffer_limit(Some(MAX_ENCRYPTED));
        Ok(Tls { state, owed: 0 })
    }

    /// Whether something has to be sent, whatever the proxy has.
    pub(crate) fn owes(&self) -> bool {
        self.state.wants_write()
    }

    /// Whether both sides still agree on keys.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.state.is_handshaking()
    }

    /// Reads what a client sent; 0 is the end. `buffer` has to be larger than what one record holds.
    pub(crate) fn read(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        loop {
            match self.state.reader().read(buffer) {
                Ok(len) => return Ok(len), // 0: it said goodbye
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(0), // it went without a goodbye
            }
            match self.state.read_tls(&mut Wire(socket)) {
                Ok(_) => {}
                Err(error) => return Err(errno(&error)),
            }
            if self.state.process_new_packets().is_err() {
                let _ = self.state.write_tls(&mut Wire(socket)); // says why
                return Err(Errno::PROTO);
            }
        }
    }

    /// Encrypts and sends; how many of the bytes of `slices` are sent. What could not be is kept, and the same bytes have to
    /// be offered again.
    pub(crate) fn write(&mut self, socket: &OwnedFd, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        if self.owed == 0 && !slices.is_empty() && !self.state.is_handshaking() {
            self.owed = self.state.writer().write_vectored(slices).map_err(|error| errno(&error))?;
        }
        while self.state.wants_write() {
            self.state.write_tls(&mut Wire(socket)).map_err(|error| errno(&error))?;
        }
        Ok(std::mem::take(&mut self.owed))
    }

    /// Tells a client that no more will come.
    pub(crate) fn say_goodbye(&mut self, socket: &OwnedFd) {
        self.state.send_close_notify();
        let _ = self.state.write_tls(&mut Wire(socket));
    }
}

fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        io::ErrorKind::WouldBlock => Errno::AGAIN,
        io::ErrorKind::Interrupted => Errno::INTR,
        _ => error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error),
    }
}

/// A socket as the library reads and writes it.
struct Wire<'a>(&'a OwnedFd);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        crate::sockets::read(self.0, buffer).map_err(io::Error::from)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        crate::sockets::write(self.0, &[IoSlice::new(bytes)]).map_err(io::Error::from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
