//! Equal reads that wait at the same time.

use super::{Cut, World};
use crate::metric::Metric;
use crate::proxy::Settings;

const MAP: &str = "map a 0-8191 b 8192-16383\n";

/// Runs a script whole, and with each answer of a node cut in two at every byte.
fn play(script: &str) {
    let script = format!("{MAP}{script}");
    let play = |cut| World::new(Settings::default(), cut).play(&script);
    play(Cut::Nowhere);
    for (line, text) in script.lines().enumerate() {
        if text.starts_with("b says") {
            (1..text.len().min(100)).for_each(|byte| play(Cut::At { line, byte }));
        }
    }
}

#[test]
fn equal_reads_are_sent_once_and_answered_each() {
    play(
        "together\n1 says GET foo\n2 says GET foo\n3 says GET bar\n1 says GET foo\n2 says GET {foo}2\napart\n\
         b hears GET foo\na hears GET bar\nb hears GET {foo}2\nb says \"value\"\n1 hears \"value\"\n1 hears \"value\"\n\
         2 hears \"value\"\nb says \"other\"\n2 hears \"other\"\na says $-1\n3 hears $-1",
    );
}

#[test]
fn one_that_was_sent_is_not_joined() {
    play(
        "1 says GET foo\nb hears GET foo\n2 says GET foo\nb hears GET foo\nb says \"1\"\nb says \"2\"\n1 hears \"1\"\n\
         2 hears \"2\"",
    );
}

#[test]
fn nothing_is_joined_over_a_write() {
    play(
        "together\n1 says GET foo\n2 says SET foo 1\n2 says GET foo\n1 says GET foo\napart\nb hears GET foo\n\
         b hears SET foo 1\nb hears GET foo\nb says \"0\"\nb says +OK\nb says \"1\"\n1 hears \"0\"\n1 hears \"1\"\n\
         2 hears +OK\n2 hears \"1\"",
    );
    play(
        "together\n1 says GET foo\n2 says EVAL x 1 {foo}2\n3 says GET foo\napart\nb hears GET foo\n\
         b hears EVAL x 1 {foo}2\nb hears GET foo\nb says \"0\"\nb says +OK\nb says \"1\"\n1 hears \"0\"\n2 hears +OK\n\
         3 hears \"1\"",
    );
}

#[test]
fn a_client_reads_in_its_own_order() {
    play(
        "together\n1 says GET foo\n2 says GET {foo}2\n2 says GET foo\napart\nb hears GET foo\nb hears GET {foo}2\n\
         b hears GET foo\nb says \"1\"\nb says \"2\"\nb says \"3\"\n1 hears \"1\"\n2 hears \"2\"\n2 hears \"3\"",
    );
}

#[test]
fn everyone_is_redirected_by_himself() {
    play(
        "together\n1 says GET foo\n2 says GET foo\napart\nb hears GET foo\nb says -MOVED 12182 10.0.0.97:7000\n\
         a hears GET foo\na hears GET foo\na says \"1\"\na says \"2\"\n1 hears \"1\"\n2 hears \"2\"",
    );
    play(
        "together\n1 says GET foo\n2 says GET foo\napart\nb hears GET foo\nb says -LOADING wait\nwait 30\n\
         b hears GET foo\nb hears GET foo\nb says \"1\"\nb says \"2\"\n1 hears \"1\"\n2 hears \"2\"",
    );
}

#[test]
fn everyone_is_asked_again_when_the_node_is_lost() {
    play(
        "together\n1 says GET foo\n2 says GET foo\napart\nb hears GET foo\nb breaks\nwait 30\nb2 hears GET foo\n\
         b2 hears GET foo\nb2 says \"1\"\nb2 says \"2\"\n1 hears \"1\"\n2 hears \"2\"",
    );
}

#[test]
fn what_one_client_does_is_not_the_others_matter() {
    play(
        "together\n1 says GET foo\n2 says GET foo\n3 says GET foo\napart\nb hears GET foo\n1 leaves\n3 leaves\n\
         b says \"value\"\n2 hears \"value\"",
    );
    play(
        "together\n1 says LRANGE foo 0 1\n2 says LRANGE foo 0 1\napart\nb hears LRANGE foo 0 1\n\
         b says -WRONGTYPE no\n1 hears -WRONGTYPE no\n2 hears -WRONGTYPE no",
    );
}

#[test]
fn half_a_reply_is_torn_for_everyone() {
    play(
        "together\n1 says GET foo\n2 says GET foo\napart\nb hears GET foo\nb says !$5\\r\\nab\nb breaks\n1 closed\n\
         2 closed\n1 hears !$5\\r\\nab\n2 hears !$5\\r\\nab",
    );
}

#[test]
fn who_waits_behind_a_long_script_gets_away() {
    play(
        "together\n1 says EVAL x 1 foo\n2 says GET foo\n3 says GET foo\napart\nb hears EVAL x 1 foo\nb hears GET foo\n\
         wait 200\nb2 hears GET foo\nb2 hears GET foo\nb2 says -BUSY no\nb2 says \"2\"\n2 hears -BUSY no\n3 hears \"2\"\n\
         b says +OK\n1 hears +OK\nb says \"1\"",
    );
}

#[test]
fn some_reads_are_never_shared() {
    let script = "together\n1 says SRANDMEMBER foo\n2 says SRANDMEMBER foo\napart\nb hears SRANDMEMBER foo\n\
                  b hears SRANDMEMBER foo\nb says \"1\"\nb says \"2\"\n1 hears \"1\"\n2 hears \"2\"";
    play(script);
    let settings = Settings { merge_reads: false, ..Settings::default() };
    let script = format!("{MAP}{}", script.replace("SRANDMEMBER", "GET"));
    World::new(settings, Cut::Nowhere).play(&script);
}

#[test]
fn one_key_after_thousands_of_others_is_noticed() {
    let mut world = World::new(Settings::default(), Cut::Nowhere);
    world.script(MAP);
    for at in 0..300 {
        world.script(&format!("1 says GET {{foo}}{at}\nb hears GET {{foo}}{at}\nb says $-1\n1 hears $-1"));
    }
    let hot = "together\n1 says GET foo\n2 says GET foo\napart\nb hears GET foo\n";
    world.script(&format!("{hot}b hears GET foo\nb says \"1\"\nb says \"2\"\n1 hears \"1\"\n2 hears \"2\""));
    assert_eq!(world.proxy.counts()[Metric::MergedReads as usize], 0, "it rests");
    for at in 0..4_096 {
        world.script(&format!("1 says GET {{foo}}{at}\nb hears GET {{foo}}{at}\nb says $-1\n1 hears $-1"));
    }
    world.script(&format!("{hot}b says \"1\"\n1 hears \"1\"\n2 hears \"1\""));
    assert_eq!(world.proxy.counts()[Metric::MergedReads as usize], 1);
}
