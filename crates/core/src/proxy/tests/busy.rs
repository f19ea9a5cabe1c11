//! A node that runs a long script.

use super::run;

#[test]
fn a_long_script_holds_up_nobody_but_its_client() {
    run("map a 0-8191 b 8192-16383\n\
         1 says EVAL x 1 foo\nb hears EVAL x 1 foo\n2 says GET foo\nb hears GET foo\n3 says PING\n3 hears +PONG\n\
         wait 200\nb2 hears GET foo\nb2 says -BUSY x\n2 hears -BUSY x\n3 says PING\nb2 hears PING\n\
         b2 says -BUSY x\n3 hears -BUSY x\n2 says SET foo 1\nb2 hears SET foo 1\nb2 says -BUSY x\n2 hears -BUSY x\n\
         b says :1\nb says $-1\n1 hears :1\nwait 200\n3 says PING\n3 hears +PONG");
}

#[test]
fn a_long_script_is_seen_behind_what_its_node_has_not_sent() {
    run("map a 0-16383\n\
         1 says SET foo 1\n1 says EVAL x 1 foo\na hears SET foo 1\na hears EVAL x 1 foo\nwait 200\n3 says PING\na2 hears PING\n\
         a2 says -BUSY x\n3 hears -BUSY x\na says +OK\na says :1\n1 hears +OK\n1 hears :1");
}

#[test]
fn a_busy_node_that_answers_something_else_keeps_its_connection() {
    run(
        "map a 0-16383\n1 says GET foo\na hears GET foo\nwait 200\n2 says EVAL x 1 foo\na hears EVAL x 1 foo\n\
         a says $-1\n1 hears $-1\na says :1\n2 hears :1\nwait 200\n1 says GET foo\na hears GET foo\na says :2\n1 hears :2",
    );
}
