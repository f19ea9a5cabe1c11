//! Requests that wait for others to go to their node with them.

use super::{Cut, World, request};
use crate::proxy::{Clock, Settings};

const COMPANY: u64 = 200;

/// Two clients whose requests came every 50 µs for a while, and were answered.
fn busy() -> World {
    let mut world = World::new(Settings { company: COMPANY, ..Settings::default() }, Cut::Nowhere);
    world.script("map a 0-8191 b 8192-16383\n1 says PING\n1 hears +PONG\n2 says PING\n2 hears +PONG");
    for _ in 0..40 {
        world.now += 50;
        world.script("1 says GET foo\nb hears GET foo\nb says :1\n1 hears :1");
        world.script("2 says GET bar\na hears GET bar\na says :2\n2 hears :2");
    }
    world
}

/// A turn in which a client says something: whether anything goes to a node.
fn says(world: &mut World, client: &str, text: &str) -> bool {
    let id = world.clients[client].id;
    world.proxy.begin(Clock { steady: world.now, unix: 0 });
    world.proxy.client_bytes(id, &request(text));
    goes(world)
}

/// The end of a turn: whether anything goes to a node. It does not arrive yet.
fn goes(world: &mut World) -> bool {
    world.proxy.settle();
    let mut pipes = Vec::new();
    world.proxy.dirty_pipes(&mut pipes);
    for pipe in &pipes {
        let len = world.proxy.pipe_unsent(*pipe);
        world.proxy.pipe_wrote(*pipe, len);
    }
    !pipes.is_empty()
}

#[test]
fn who_is_alone_does_not_wait() {
    let mut world = busy();
    assert!(says(&mut world, "1", "GET foo"));
    assert_eq!(world.proxy.next_write(), None);
}

#[test]
fn what_comes_while_others_are_under_way_waits_for_more_and_no_longer_than_it_may() {
    let mut world = busy();
    assert!(says(&mut world, "1", "GET foo"));
    world.now += 10;
    assert!(!says(&mut world, "2", "GET foo"));
    let due = world.now + COMPANY;
    assert_eq!(world.proxy.next_write(), Some(due));
    world.now += 20;
    assert!(!says(&mut world, "2", "GET bar"), "that of another node waits too");
    assert_eq!(world.proxy.next_write(), Some(due));
    world.now = due;
    world.proxy.begin(Clock { steady: due, unix: 0 });
    assert!(goes(&mut world));
    assert_eq!(world.proxy.next_write(), None);
    assert!(world.upstreams.values().all(|node| world.proxy.pipe_unsent(node.id) == 0));
}

#[test]
fn the_last_reply_lets_go_what_waits() {
    let mut world = busy();
    assert!(says(&mut world, "1", "GET foo"));
    assert!(!says(&mut world, "2", "GET foo"));
    let node = world.upstreams["b"].id;
    world.proxy.begin(Clock { steady: world.now, unix: 0 });
    world.proxy.pipe_bytes(node, b":1\r\n");
    assert!(goes(&mut world));
}

#[test]
fn a_drain_waits_for_nobody() {
    let mut world = busy();
    assert!(says(&mut world, "1", "GET foo"));
    assert!(!says(&mut world, "2", "GET foo"));
    world.proxy.begin(Clock { steady: world.now, unix: 0 });
    world.proxy.drain_at_once();
    assert!(goes(&mut world));
}
