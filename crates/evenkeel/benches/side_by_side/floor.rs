//! The floor: a server that answers at once without looking. What it costs, no proxy can save.
//!
//! One thread, one epoll loop, one read and one write for each batch, no server behind it. The bench starts itself for it, as
//! `floor PORT`, so that it is a process like the others.

use rustix::event::Timespec;
use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags, add, create, wait};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

const LISTENER: u64 = u64::MAX;
/// Bytes of a value.
const VALUE: usize = 64;

/// Serves until it is killed.
pub(crate) fn serve(port: u16) {
    let listener = listener(port);
    let poll = create(CreateFlags::CLOEXEC).expect("epoll");
    add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).expect("the listener is open");
    let mut reply = format!("${VALUE}\r\n").into_bytes();
    reply.extend([b'x'; VALUE]);
    reply.extend(b"\r\n");
    let replies = reply.repeat(4096);
    let mut clients: HashMap<u64, TcpStream> = HashMap::new();
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        events.clear();
        let _ = wait(&poll, rustix::buffer::spare_capacity(&mut events), None::<&Timespec>);
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                if let Ok((client, _)) = listener.accept() {
                    let id = client.as_raw_fd() as u64;
                    let _ = client.set_nodelay(true);
                    add(&poll, &client, EventData::new_u64(id), EventFlags::IN).expect("it is open");
                    clients.insert(id, client);
                }
                continue;
            }
            let Some(client) = clients.get_mut(&id) else { continue };
            let read = client.read(&mut buffer).unwrap_or(0);
            // A request begins with an asterisk; the keys and values of the load hold none.
            let requests = buffer[..read].iter().filter(|byte| **byte == b'*').count();
            if read == 0 || client.write_all(&replies[..requests * reply.len()]).is_err() {
                clients.remove(&id);
            }
        }
    }
}

/// A listener with a queue for thousands; that of the standard library has room for 128.
fn listener(port: u16) -> TcpListener {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).expect("a free port");
    listen(&socket, 4096).expect("a listener");
    TcpListener::from(socket)
}
