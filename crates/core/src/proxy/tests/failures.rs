//! Requests when nodes move slots, refuse, break, or never come back.

use super::{Cut, World, request, run, run_with};
use crate::proxy::Settings;

const MAP: &str = "map a 0-8191 b 8192-16383\n";

fn play(script: &str) {
    run(&format!("{MAP}{script}"));
}

#[test]
fn moved_is_followed_and_never_seen() {
    play(
        "1 says SET foo 1\nb hears SET foo 1\nb says -MOVED 12182 10.0.0.97:7000\na hears SET foo 1\na says +OK\n\
         1 hears +OK\nlearned",
    );
}

#[test]
fn ask_is_followed_with_asking() {
    play(
        "1 says SET foo 1\nb hears SET foo 1\nb says -ASK 12182 10.0.0.97:7000\na hears ASKING\na hears SET foo 1\n\
         a says +OK\na says +OK\n1 hears +OK",
    );
}

#[test]
fn what_follows_does_not_overtake() {
    play(
        "1 says SET foo 1\nb hears SET foo 1\nmap a 0-16383 b\n1 says SET foo 2\n2 says GET bar\na hears GET bar\n\
         a says $-1\n2 hears $-1\nb says -MOVED 12182 10.0.0.97:7000\na hears SET foo 1\na says +OK\n1 hears +OK\n\
         a hears SET foo 2\na says +OK\n1 hears +OK",
    );
}

#[test]
fn tryagain_and_loading_wait() {
    play(
        "1 says MGET {t}1 {t}2\nb hears MGET {t}1 {t}2\nb says -TRYAGAIN Multiple keys request during rehashing of slot\n\
         wait 30\nb hears MGET {t}1 {t}2\nb says -LOADING Redis is loading the dataset in memory\nwait 30\n\
         b hears MGET {t}1 {t}2\nb says *0\n1 hears *0",
    );
}

#[test]
fn a_redirected_part_finds_its_way() {
    play(
        "1 says DEL foo bar\na hears DEL bar\nb hears DEL foo\nb says -MOVED 12182 10.0.0.97:7000\na says :1\n\
         a hears DEL foo\na says :1\n1 hears :2",
    );
}

#[test]
fn a_lost_read_is_asked_again_and_a_lost_write_is_not() {
    play(
        "1 says GET foo\n2 says SET foo 1\nb hears GET foo\nb hears SET foo 1\nb breaks\n\
         2 hears -UNCERTAIN the connection to node 10.0.0.98:7000 was lost after this command was sent: it may or may \
         not have been applied; read before you repeat it\nwait 30\nb2 hears GET foo\nb2 says \"x\"\n1 hears \"x\"",
    );
}

#[test]
fn requests_are_held_through_a_failover() {
    play(
        "b down\nb breaks\n1 says SET foo 1\n1 says SET foo 2\n2 says GET bar\na hears GET bar\na says :1\n2 hears :1\n\
         wait 500\nlearned\nmap a 0-8191 b c 8192-16383\nwait 1\nc hears SET foo 1\nc says +OK\n1 hears +OK\n\
         c hears SET foo 2\nc says +OK\n1 hears +OK",
    );
}

#[test]
fn the_hold_time_ends_with_an_error_that_says_where() {
    run_with(
        Settings { hold: 100_000, ..Settings::default() },
        &format!(
            "{MAP}b down\nb breaks\n1 says SET foo 1\nwait 201\n1 hears -UNAVAILABLE slot 12182, shard 2, node 10.0.0.98:7000 could not \
             serve this for 0.1 s (connection refused); nothing was applied, try again"
        ),
    );
}

#[test]
fn the_hold_buffer_is_bounded() {
    run_with(
        Settings { hold_bytes: 40, ..Settings::default() },
        &format!(
            "{MAP}b down\nb breaks\n1 says SET foo 1\n2 says SET foo 2\n2 hears -UNAVAILABLE slot 12182, shard 2, node \
             10.0.0.98:7000 cannot serve this and the gateway holds as many requests as it may; nothing was applied, \
             try again\nb up\nwait 200\nb2 hears SET foo 1\nb2 says +OK\n1 hears +OK"
        ),
    );
}

#[test]
fn a_node_that_talks_nonsense_is_dropped() {
    play(
        "1 says GET foo\nb hears GET foo\nb says hello\nwait 30\nb2 hears GET foo\nb2 says \"x\"\n1 hears \"x\"",
    );
    play("b says +OK\n1 says GET foo\nb2 hears GET foo\nb2 says \"x\"\n1 hears \"x\"");
}

#[test]
fn a_client_that_leaves_takes_its_held_requests_along() {
    play(
        "b down\nb breaks\n1 says SET foo 1\n1 leaves\nb up\nwait 200\n2 says GET foo\nb2 hears GET foo\nb2 says :1\n2 hears :1",
    );
}

#[test]
fn a_large_request_asks_before_it_goes() {
    let body = "v".repeat(100);
    let (head, rest) = ("*3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nfoo\\r\\n$100\\r\\n", format!("{body}\\r\\n"));
    let set = format!("{head}{rest}");
    run_with(
        Settings { ordinary: 64, unasked: 0, ..Settings::default() },
        &format!(
            "{MAP}1 says {head}\n1 says !{rest}\nb2 hears EXISTS foo\nb2 says -ASK 12182 10.0.0.97:7000\na2 hears ASKING\na2 hears EXISTS foo\n\
             a2 says +OK\na2 says :0\na2 hears ASKING\na2 hears {set}\na2 says +OK\na2 says +OK\n1 hears +OK\n\
             1 says PING\n1 hears +PONG"
        ),
    );
}

#[test]
fn a_large_request_that_is_kept_asks_only_where_it_was_refused() {
    let body = "v".repeat(100);
    let set = format!("*3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nfoo\\r\\n$100\\r\\n{body}\\r\\n");
    // By characters of the script: the head ends in the middle of the value.
    let (head, rest) = set.split_at(80);
    let settings = || Settings { ordinary: 64, ..Settings::default() };
    let begun = format!("{MAP}1 says {head}\nb2 hears {head}\n");
    run_with(
        settings(),
        &format!(
            "{begun}1 says !{rest}\nb2 hears !{rest}\nb2 says +OK\n1 hears +OK\n1 says PING\n1 hears +PONG"
        ),
    );
    // A slot that is being moved: the one who refuses says where it may be.
    run_with(
        settings(),
        &format!(
            "{begun}1 says !{rest}\nb2 hears !{rest}\nb2 says -ASK 12182 10.0.0.97:7000\nwait 30\nb2 hears EXISTS foo\n\
             b2 says -ASK 12182 10.0.0.97:7000\nwait 30\na2 hears ASKING\na2 hears EXISTS foo\na2 says +OK\na2 says :0\n\
             a2 hears ASKING\na2 hears {set}\na2 says +OK\na2 says +OK\n1 hears +OK"
        ),
    );
    // The node was lost before it had all of it, and after that.
    run_with(
        settings(),
        &format!(
            "{begun}b2 breaks\nwait 30\nb3 hears EXISTS foo\nb3 says :0\nb3 hears {head}\n1 says !{rest}\nb3 hears !{rest}\n\
             b3 says +OK\n1 hears +OK"
        ),
    );
    run_with(
        settings(),
        &format!(
            "{begun}1 says !{rest}\nb2 hears !{rest}\nb2 breaks\n1 hears -UNCERTAIN the connection to node 10.0.0.98:7000 \
             was lost after this command was sent: it may or may not have been applied; read before you repeat it"
        ),
    );
    // A write that reads: its reply may be large too, and the lane is clean afterwards.
    run_with(
        settings(),
        &format!(
            "{begun}1 says !{rest}\nb2 hears !{rest}\nb2 says \"{body}\"\n1 hears \"{body}\"\n1 says {head}\n1 says !{rest}\nb2 hears {set}\n\
             b2 says +OK\n1 hears +OK"
        ),
    );
}

#[test]
fn a_large_request_that_cannot_go_is_bounded() {
    run_with(
        Settings { ordinary: 32, unasked: 0, collect: 64, ..Settings::default() },
        &format!(
            "{MAP}1 says *5\\r\\n$4\\r\\nMSET\\r\\n$1\\r\\na\\r\\n$100\\r\\n\n1 hears -ERR evenkeel: only commands with one key \
             may be larger than 64 bytes; send large values one by one\n1 closed"
        ),
    );
}

#[test]
fn a_hung_node_is_not_waited_for_once_it_is_replaced() {
    play(
        "1 says GET foo\n2 says SET foo 1\nb hears GET foo\nb hears SET foo 1\nwait 2000\nmap a 0-8191 b c 8192-16383\n\
         wait 10\n2 hears -UNCERTAIN the connection to node 10.0.0.98:7000 was lost after this command was sent: it may \
         or may not have been applied; read before you repeat it\nwait 100\nc hears GET foo\nc says \"x\"\n1 hears \"x\"",
    );
}

#[test]
fn a_large_request_that_turns_into_nonsense_ends_the_connection() {
    let body = "v".repeat(100);
    let head = "*4\\r\\n$5\\r\\nLPUSH\\r\\n$3\\r\\nfoo\\r\\n$100\\r\\n";
    let settings = || Settings { ordinary: 64, unasked: 0, ..Settings::default() };
    let start = format!("{MAP}1 says {head}\n1 says !{body}\\r\\n\nb2 hears EXISTS foo\nb2 says :0\n");
    // The node says so before the request is whole, or at its end, or goes away without a word.
    run_with(
        settings(),
        &format!(
            "{start}1 says !nonsense\\r\\n\nb2 hears {head}{body}\\r\\nnonsense\\r\\n\n\
             b2 says -ERR Protocol error: expected '$', got 'n'\n1 hears -ERR Protocol error: expected '$', got 'n'\n1 closed"
        ),
    );
    run_with(
        settings(),
        &format!(
            "{start}1 says !:5\\r\\n\nb2 hears {head}{body}\\r\\n:5\\r\\n\n\
             b2 says -ERR Protocol error: expected '$', got ':'\n1 hears -ERR Protocol error: expected '$', got ':'\n1 closed"
        ),
    );
}

#[test]
fn a_status_or_an_error_of_any_length_is_passed_on() {
    let long = "x".repeat(66_000);
    for kind in ['+', '-'] {
        let script = format!(
            "{MAP}1 says EVAL s 1 foo\n2 says SET foo 1\nb hears EVAL s 1 foo\nb hears SET foo 1\nb says {kind}{long}\n\
             1 hears {kind}{long}\nb says +OK\n2 hears +OK"
        );
        World::new(Settings::default(), Cut::Nowhere).play(&script);
        for byte in [1, 5_000, 65_535, 65_536, 65_537, 65_900, long.len() + 1, long.len() + 2] {
            World::new(Settings::default(), Cut::At { line: 5, byte }).play(&script);
        }
    }
}

#[test]
fn a_large_request_whose_reply_is_torn_ends_the_connection() {
    let body = "v".repeat(100);
    let set = format!("*3\\r\\n$6\\r\\nGETSET\\r\\n$3\\r\\nfoo\\r\\n$100\\r\\n{body}\\r\\n");
    let (head, rest) = set.split_at(50);
    World::new(Settings { ordinary: 64, unasked: 0, ..Settings::default() }, Cut::Nowhere).play(&format!(
        "{MAP}1 says {head}\n1 says !{rest}\nb2 hears EXISTS foo\nb2 says :1\nb2 hears {set}\n\
         b2 says $100\\r\\nhalf of it\n1 hears $100\\r\\nhalf of it\nb2 breaks\n1 closed"
    ));
}

#[test]
fn a_node_that_hangs_without_a_slot_is_given_up_later_too() {
    // The connection is so new that it is not given up when the map changes.
    run_with(
        Settings::default(),
        &format!(
            "{MAP}1 says GET foo\nb hears GET foo\nwait 100\nmap a 0-16383 b\nwait 300\n2 says SET hello 1\na hears SET hello 1\n\
             a says +OK\n2 hears +OK\nwait 500\na hears GET foo\na says \"x\"\n1 hears \"x\""
        ),
    );
}

#[test]
fn who_does_not_read_stops_others_for_a_bounded_time_only() {
    let megabytes = |count: usize| "x".repeat(count * 1_000_000);
    let script = |behind: &str, then: &str| {
        format!(
            "{MAP}1 stuck\n1 says GET foo\nb hears GET foo\n{behind}b says $60000000\\r\\n{}\nb says {}\n{then}",
            megabytes(20),
            megabytes(20)
        )
    };
    let whole = format!(
        "1 hears $60000000\\r\\n{}\\r\\n{}\\r\\n{}",
        megabytes(20),
        megabytes(20),
        "x".repeat(19_999_996)
    );
    let rest = format!("b says {}\n", "x".repeat(19_999_996));
    for (behind, then) in [
        // Others wait: two seconds, then it is closed and they have their answers.
        (
            "2 says INCR world\nb hears INCR world\n",
            format!("wait 2100\n1 closed\n{rest}b says :1\n2 hears :1\n"),
        ),
        // Nobody waits: it may take its time, and who comes later has a connection of its own.
        (
            "",
            format!(
                "wait 20000\n2 says INCR world\nb2 hears INCR world\nb2 says :1\n2 hears :1\n1 reads\n{rest}{whole}"
            ),
        ),
    ] {
        World::new(Settings::default(), Cut::Nowhere).play(&script(behind, &then));
    }
}

#[test]
fn a_large_request_is_sent_again_where_that_is_safe() {
    let body = "v".repeat(100);
    let set = format!("*3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nfoo\\r\\n$100\\r\\n{body}\\r\\n");
    // By characters of the script: the head ends in the middle of the value.
    let (head, rest) = set.split_at(80);
    let settings = || Settings { ordinary: 64, unasked: 0, ..Settings::default() };
    let probed = format!("{MAP}1 says {head}\nb2 hears EXISTS foo\nb2 says :0\nb2 hears {head}\n");
    // The slot moved while it was on its way.
    run_with(
        settings(),
        &format!(
            "{probed}1 says !{rest}\nb2 hears !{rest}\nb2 says -MOVED 12182 10.0.0.97:7000\nmap a 0-16383 b\nwait 30\n\
             a2 hears EXISTS foo\na2 says :0\na2 hears {set}\na2 says +OK\n1 hears +OK\n1 says PING\n1 hears +PONG"
        ),
    );
    // The node was lost before it had all of it.
    run_with(
        settings(),
        &format!(
            "{probed}b2 breaks\nwait 30\nb3 hears EXISTS foo\nb3 says :0\nb3 hears {head}\n1 says !{rest}\nb3 hears !{rest}\n\
             b3 says +OK\n1 hears +OK"
        ),
    );
    // It had all of it: nobody knows.
    run_with(
        settings(),
        &format!(
            "{probed}1 says !{rest}\nb2 hears !{rest}\nb2 breaks\n1 hears -UNCERTAIN the connection to node 10.0.0.98:7000 \
             was lost after this command was sent: it may or may not have been applied; read before you repeat it\n\
             1 says PING\n1 hears +PONG"
        ),
    );
}

#[test]
fn what_is_held_is_not_overtaken_by_what_is_redirected() {
    // The first is held, the second is told where to go: it goes behind the first.
    play(
        "1 says SET foo 1\n1 says SET foo 2\nb hears SET foo 1\nb hears SET foo 2\nb says -CLUSTERDOWN x\n\
         b says -MOVED 12182 10.0.0.97:7000\nwait 30\nb hears SET foo 1\nb hears SET foo 2\nb says +OK\nb says :2\n\
         1 hears +OK\n1 hears :2",
    );
}

#[test]
fn what_is_held_waits_for_the_fate_of_what_was_sent_behind_it() {
    play(
        "1 says SET foo 1\n1 says SET foo 2\nb hears SET foo 1\nb hears SET foo 2\nb says -CLUSTERDOWN x\nwait 100\n\
         b says -CLUSTERDOWN x\nwait 30\nb hears SET foo 1\nb hears SET foo 2\nb says -CLUSTERDOWN x\nwait 100\n\
         b says -CLUSTERDOWN x\nwait 100\nb hears SET foo 1\nb hears SET foo 2\nb says :1\nb says :2\n1 hears :1\n1 hears :2",
    );
}

#[test]
fn what_is_sent_back_waits_for_the_fate_of_what_was_sent_behind_it() {
    // b gave the slot away and has it again, before it came to the second.
    let there_and_back = "1 says SET foo 1\n1 says SET foo 2\nb hears SET foo 1\nb hears SET foo 2\n\
         b says -MOVED 12182 10.0.0.97:7000\na hears SET foo 1\na says -MOVED 12182 10.0.0.98:7000\nwait 30\n";
    play(&format!(
        "{there_and_back}b says +OK\n1 hears -UNAVAILABLE slot 12182, shard 2, node 10.0.0.98:7000 could not serve this for 0.0 s (a later \
         command of this connection overtook it); nothing was applied, try again\n1 hears +OK"
    ));
    play(&format!(
        "{there_and_back}b says -MOVED 12182 10.0.0.97:7000\nwait 30\nb hears SET foo 1\nb hears SET foo 2\nb says +OK\n\
         b says :2\n1 hears +OK\n1 hears :2"
    ));
}

#[test]
fn what_was_overtaken_is_not_executed() {
    play(
        "1 says SET foo 1\n1 says SET foo 2\n1 says GET bar\nb hears SET foo 1\nb hears SET foo 2\na hears GET bar\n\
         b says -CLUSTERDOWN x\nb says +OK\na says :7\nwait 100\n1 hears -UNAVAILABLE slot 12182, shard 2, node 10.0.0.98:7000 could \
         not serve this for 0.0 s (a later command of this connection overtook it); nothing was applied, try again\n\
         1 hears +OK\n1 hears :7",
    );
    // Where both only read, nobody can tell.
    play(
        "1 says GET foo\n1 says GET foo\nb hears GET foo\nb hears GET foo\nb says -CLUSTERDOWN x\nb says :2\nwait 100\n\
         b hears GET foo\nb says :1\n1 hears :1\n1 hears :2",
    );
}

#[test]
fn a_split_write_that_is_half_done_does_not_say_that_nothing_was_applied() {
    let settings = || Settings { hold: 100_000, ..Settings::default() };
    run_with(
        settings(),
        &format!(
            "{MAP}b down\nb breaks\n1 says MSET foo 1 bar 2\na hears MSET bar 2\na says +OK\nwait 201\n1 hears -UNCERTAIN \
             some keys of this command were written and others could not be; read before you repeat it"
        ),
    );
    run_with(
        settings(),
        &format!(
            "{MAP}a down\nb down\na breaks\nb breaks\n1 says MSET foo 1 bar 2\nwait 201\n1 hears -UNAVAILABLE slot 5061, \
             shard 1, node 10.0.0.97:7000 could not serve this for 0.1 s (connection refused); nothing was applied, try again"
        ),
    );
    run_with(
        settings(),
        &format!(
            "{MAP}b down\nb breaks\n1 says MGET foo bar\na hears MGET bar\na says *1\\r\\n:2\nwait 201\n1 hears -UNAVAILABLE \
             slot 12182, shard 2, node 10.0.0.98:7000 could not serve this for 0.1 s (connection refused); nothing was applied, try \
             again"
        ),
    );
}

#[test]
fn reset_waits_for_what_is_under_way_on_the_other_protocols_connection() {
    play(
        "1 says HELLO 3\n1 hears %7\\r\\n$6\\r\\nserver\\r\\n$5\\r\\nredis\\r\\n$7\\r\\nversion\\r\\n$6\\r\\n7.2.99\\r\\n$5\\r\\nproto\\r\\n:3\\r\\n\
         $2\\r\\nid\\r\\n:1\\r\\n$4\\r\\nmode\\r\\n$7\\r\\ncluster\\r\\n$4\\r\\nrole\\r\\n$6\\r\\nmaster\\r\\n$7\\r\\nmodules\\r\\n*0\n\
         1 says SET foo 1\n1 says RESET\n1 says GET foo\nb2 hears SET foo 1\nb2 says +OK\n1 hears +OK\n1 hears +RESET\n\
         b hears GET foo\nb says :1\n1 hears :1",
    );
}

#[test]
fn a_client_that_closed_its_side_while_it_waited_for_room_is_answered() {
    let value = "v".repeat(1_000_000);
    let many = |line: &str| format!("{line}\n").repeat(17);
    World::new(Settings::default(), Cut::Nowhere).play(&format!(
        "{MAP}{}2 says GET foo\n2 ends\n{}{}b hears GET foo\nb says :7\n2 hears :7\n2 closed\n{}",
        many(&format!("1 says SET foo {value}")),
        many(&format!("b hears SET foo {value}")),
        many("b says +OK"),
        many("1 hears +OK"),
    ));
}

#[test]
fn who_comes_when_a_client_has_stalled_already_is_not_stopped() {
    let (some, rest) = ("x".repeat(9_000_000), "x".repeat(19_999_998));
    World::new(Settings::default(), Cut::Nowhere).play(&format!(
        "{MAP}1 stuck\n1 says GET foo\nb hears GET foo\nb says $29000000\\r\\n{some}\n2 says INCR world\nb hears INCR world\nwait 30\n\
         b says {rest}\nb says :1\n2 hears :1\n1 reads\n1 hears $29000000\\r\\n{some}\\r\\n{rest}"
    ));
}

#[test]
fn requests_of_many_parts_wait_for_room() {
    let keys: Vec<String> = (0..4000).map(|n| format!("key:{n}")).collect();
    let mget = request(&format!("MGET {}", keys.join(" ")));
    let mut world = World::new(Settings::default(), Cut::Nowhere);
    world.step(0, MAP.trim());
    world.step(1, "1 says GET foo");
    let id = world.clients["1"].id;
    for _ in 0..200 {
        if !world.proxy.client_wants_read(id) {
            break;
        }
        world.event(|proxy| proxy.client_bytes(id, &mget));
    }
    assert!(!world.proxy.client_wants_read(id));
    let waiting = world.proxy.counts()[crate::metric::Metric::InFlight as usize];
    assert!((30_000..70_000).contains(&waiting), "{waiting} parts are under way");
}

#[test]
fn parts_of_replies_are_bounded_together() {
    let settings = Settings { merged: 40, ..Settings::default() };
    run_with(
        settings,
        &format!(
            "{MAP}1 says MGET foo bar\n2 says MGET foo bar\na hears MGET bar\na hears MGET bar\nb hears MGET foo\nb hears MGET foo\n\
             a says *1\\r\\n$16\\r\\n0123456789abcdef\na says *1\\r\\n$16\\r\\n0123456789abcdef\nb says *1\\r\\n:1\n\
             1 hears *2\\r\\n:1\\r\\n$16\\r\\n0123456789abcdef\nb says *1\\r\\n:2\n\
             2 hears -ERR evenkeel: the merged reply would be larger than 40 bytes; ask for less at a time"
        ),
    );
}

#[test]
fn a_reply_to_a_large_request_that_is_torn_ends_the_client() {
    let set = format!(
        "*4\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nfoo\\r\\n$100\\r\\n{}\\r\\n$3\\r\\nGET\\r\\n",
        "v".repeat(100)
    );
    let (head, rest) = set.split_at(50);
    let begin = format!(
        "{MAP}1 says {head}\n1 says !{rest}\nb2 hears EXISTS foo\nb2 says :1\nb2 hears {set}\nb2 says $100\\r\\nabc\n\
         1 hears $100\\r\\nabc\n"
    );
    let settings = || Settings { ordinary: 64, unasked: 0, ..Settings::default() };
    let world = || World::new(settings(), Cut::Nowhere);
    world().play(&format!("{begin}b2 breaks\n1 closed"));
    // What is left of it is not judged: it may look like anything.
    let left = format!("-MOVED 7 10.0.0.97:7000\\r\\n{}", "x".repeat(70));
    world().play(&format!("{begin}b2 says {left}\n1 hears {left}\n1 says PING\n1 hears +PONG"));
}
