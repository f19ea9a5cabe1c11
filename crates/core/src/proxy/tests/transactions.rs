//! Transactions: queues, EXEC, WATCH, and what happens to them when nodes fail.

use super::{run, run_with};
use crate::proxy::Settings;

/// foo and world are b's, bar and hello a's.
const MAP: &str = "map a 0-8191 b 8192-16383\n";

fn play(script: &str) {
    run(&format!("{MAP}{script}"));
}

/// What a node hears of a transaction.
fn sent(to: &str, commands: &[&str]) -> String {
    let all = std::iter::once("MULTI").chain(commands.iter().copied()).chain(std::iter::once("EXEC"));
    all.map(|command| format!("{to} hears {command}\n")).collect()
}

/// What it answers, up to EXEC's reply.
fn queued(by: &str, commands: usize) -> String {
    format!("{by} says +OK\n{}", format!("{by} says +QUEUED\n").repeat(commands))
}

const TWO: &str = "1 says MULTI\n1 hears +OK\n1 says SET foo 1\n1 hears +QUEUED\n1 says GET foo\n1 hears +QUEUED\n1 says EXEC\n";

#[test]
fn a_transaction_is_one_piece_on_the_shared_connection() {
    let (sent, queued) = (sent("b", &["SET foo 1", "GET foo"]), queued("b", 2));
    play(&format!(
        "{TWO}2 says GET foo\n{sent}b hears GET foo\n{queued}b says *2\\r\\n+OK\\r\\n$1\\r\\n1\n1 hears *2\\r\\n+OK\\r\\n$1\\r\\n1\n\
         b says :7\n2 hears :7\n1 says PING\n1 hears +PONG"
    ));
    play("1 says MULTI\n1 hears +OK\n1 says EXEC\n1 hears *0\n1 says EXEC\n1 hears -ERR EXEC without MULTI");
    play(
        "1 says MULTI\n1 hears +OK\n1 says SET foo 1\n1 hears +QUEUED\n1 says DISCARD\n1 hears +OK\n1 says DISCARD\n1 hears -ERR DISCARD without MULTI",
    );
    play(
        "1 says MULTI\n1 hears +OK\n1 says SET foo 1\n1 hears +QUEUED\n1 says RESET\n1 hears +RESET\n1 says EXEC\n1 hears -ERR EXEC without MULTI",
    );
}

#[test]
fn a_pipelined_transaction() {
    let (sent, queued) = (sent("b", &["INCR foo"]), queued("b", 1));
    play(&format!(
        "1 says *1\\r\\n$5\\r\\nMULTI\\r\\n*2\\r\\n$4\\r\\nINCR\\r\\n$3\\r\\nfoo\\r\\n*1\\r\\n$4\\r\\nEXEC\\r\\n*1\\r\\n$4\\r\\nPING\\r\\n\n1 hears +OK\n\
         1 hears +QUEUED\n{sent}{queued}b says *1\\r\\n:1\n1 hears *1\\r\\n:1\n1 hears +PONG",
    ));
}

#[test]
fn what_a_server_refuses_is_refused_and_breaks_the_transaction() {
    let abort = "1 says EXEC\n1 hears -EXECABORT Transaction discarded because of previous errors.\n1 says PING\n1 hears +PONG";
    for (said, heard) in [
        ("NOPE a", "-ERR unknown command 'NOPE', with args beginning with: 'a' "),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("CLIENT NOPE", "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP."),
        ("SET bar 1", "-CROSSSLOT Keys in request don't hash to the same slot"),
        ("MGET foo bar", "-CROSSSLOT Keys in request don't hash to the same slot"),
        ("SAVE", "-ERR Command not allowed inside a transaction"),
        ("SWAPDB 0 1", "-ERR SWAPDB is not allowed in cluster mode"),
    ] {
        play(&format!(
            "1 says MULTI\n1 hears +OK\n1 says SET foo 1\n1 hears +QUEUED\n1 says {said}\n1 hears {heard}\n{abort}"
        ));
    }
    let (sent, queued) = (sent("b", &["SET foo 1", "GET foo"]), queued("b", 2));
    play(&format!(
        "{}1 says EXEC\n{sent}{queued}b says *0\n1 hears *0",
        TWO.replace("1 says GET", "1 says MULTI\n1 hears -ERR MULTI calls can not be nested\n1 says WATCH foo\n1 hears -ERR WATCH inside MULTI is not allowed\n1 says GET")
            .replace("1 says EXEC\n", ""),
    ));
    play(
        "1 says MULTI\n1 hears +OK\n1 says EXEC x\n1 hears -EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\n1 says EXEC\n1 hears -ERR EXEC without MULTI",
    );
}

#[test]
fn what_the_node_refuses_while_queueing_is_told_by_exec() {
    let sent = sent("b", &["SET foo 1", "GET foo"]);
    play(&format!(
        "{TWO}{sent}b says +OK\nb says -OOM command not allowed when used memory > 'maxmemory'.\nb says +QUEUED\n\
         b says -EXECABORT Transaction discarded because of previous errors.\n\
         1 hears -EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'."
    ));
}

#[test]
fn writes_are_rehearsed_while_nodes_may_refuse_them() {
    let set = "1 says CONFIG SET maxmemory 1\na hears CONFIG SET maxmemory 1\nb hears CONFIG SET maxmemory 1\na says +OK\nb says +OK\n1 hears +OK\n\
               1 says MULTI\n1 hears +OK\n";
    let asked = "b hears MULTI\nb hears SET foo 1\nb hears DISCARD\nb says +OK\n";
    play(&format!(
        "{set}1 says SET foo 1\n1 says GET foo\n{asked}b says -OOM x\nb says +OK\n1 hears -OOM x\n1 hears +QUEUED\n1 says EXEC\n\
         1 hears -EXECABORT Transaction discarded because of previous errors."
    ));
    let (sent, queued) = (sent("b", &["SET foo 1", "GET foo"]), queued("b", 2));
    play(&format!(
        "{set}1 says SET foo 1\n1 says GET foo\n{asked}b says +QUEUED\nb says +OK\n1 hears +QUEUED\n1 hears +QUEUED\n1 says EXEC\n\
         {sent}{queued}b says *0\n1 hears *0"
    ));
    play(&format!(
        "{set}1 says SET foo 1\n{asked}b breaks\nwait 30\nb2 hears MULTI\nb2 hears SET foo 1\nb2 hears DISCARD\nb2 says +OK\n\
         b2 says -MOVED 12182 10.0.0.97:7000\nb2 says +OK\na hears MULTI\na hears SET foo 1\na hears DISCARD\na says +OK\na says +QUEUED\n\
         a says +OK\n1 hears +QUEUED\n1 says DISCARD\n1 hears +OK"
    ));
}

#[test]
fn reads_that_were_queued_are_read_when_the_node_has_no_memory() {
    let reads = TWO
        .replace("SET foo 1", "GET {foo}2")
        .replace("1 says EXEC", "1 says PING\n1 hears +QUEUED\n1 says EXEC");
    let sent = sent("b", &["GET {foo}2", "GET foo"]);
    let oom = "b says +OK\nb says -OOM x\nb says -OOM x\nb says -EXECABORT Transaction discarded because of previous errors.\nwait 10\n\
               b hears GET {foo}2\nb hears GET foo\n";
    play(&format!("{reads}{sent}{oom}b says :1\nb says \"2\"\n1 hears *3\\r\\n:1\\r\\n$1\\r\\n2\\r\\n+PONG"));
    play(&format!(
        "{reads}{sent}{oom}b says -MOVED 12182 10.0.0.97:7000\nb says -MOVED 12182 10.0.0.97:7000\na hears GET {{foo}}2\na hears GET foo\n\
         a says -WRONGTYPE x\na says :2\n1 hears *3\\r\\n-WRONGTYPE x\\r\\n:2\\r\\n+PONG\nlearned"
    ));
}

#[test]
fn a_refused_transaction_is_asked_again_as_a_whole() {
    let commands = ["SET foo 1", "GET foo"];
    let abort = "b says -EXECABORT Transaction discarded because of previous errors.\n";
    for (refusal, preface) in
        [("-MOVED 12182 10.0.0.97:7000", ""), ("-ASK 12182 10.0.0.97:7000", "a hears ASKING\na says +OK\n")]
    {
        let preface = if preface.is_empty() { String::new() } else { "a hears ASKING\n".to_owned() };
        let asked = if preface.is_empty() { "" } else { "a says +OK\n" };
        play(&format!(
            "{TWO}{}b says +OK\nb says {refusal}\nb says +QUEUED\n{abort}{preface}{}{asked}{}a says *2\\r\\n+OK\\r\\n:1\n1 hears *2\\r\\n+OK\\r\\n:1",
            sent("b", &commands),
            sent("a", &commands),
            queued("a", 2),
        ));
    }
    play(&format!(
        "{TWO}{}b says +OK\nb says +QUEUED\nb says +QUEUED\nb says -TRYAGAIN Multiple keys request during rehashing of slot\nwait 30\n{}{}b says *0\n1 hears *0",
        sent("b", &commands),
        sent("b", &commands),
        queued("b", 2),
    ));
    play(&format!(
        "{TWO}{}b says +OK\nb says -READONLY You can't write against a read only replica.\nb says +QUEUED\n{abort}wait 30\n{}{}b says *0\n1 hears *0",
        sent("b", &commands),
        sent("b", &commands),
        queued("b", 2),
    ));
}

#[test]
fn a_lost_transaction_is_uncertain_unless_it_only_reads() {
    let uncertain = "1 hears -UNCERTAIN the connection to node 10.0.0.98:7000 was lost after this command was sent: it may or may \
                     not have been applied; read before you repeat it\n1 says EXEC\n1 hears -ERR EXEC without MULTI";
    let commands = ["SET foo 1", "GET foo"];
    play(&format!("{TWO}{}b breaks\n{uncertain}", sent("b", &commands)));
    play(&format!("{TWO}{}{}b breaks\n{uncertain}", sent("b", &commands), queued("b", 2)));
    let reads = TWO.replace("SET foo 1", "GET foo");
    let commands = ["GET foo", "GET foo"];
    let (first, again) = (sent("b", &commands), sent("b2", &commands));
    play(&format!(
        "{reads}{first}{}b breaks\nwait 30\n{again}{}b2 says *0\n1 hears *0",
        queued("b", 2),
        queued("b2", 2)
    ));
    // A command was refused, so nothing can have been executed.
    let (first, again) = (sent("b", &["SET foo 1", "GET foo"]), sent("b2", &["SET foo 1", "GET foo"]));
    play(&format!(
        "{TWO}{first}b says +OK\nb says -OOM x\nb breaks\nwait 30\n{again}{}b2 says *0\n1 hears *0",
        queued("b2", 2)
    ));
}

#[test]
fn a_transaction_is_held_through_a_failover() {
    let (sent, queued) = (sent("c", &["SET foo 1", "GET foo"]), queued("c", 2));
    play(&format!(
        "b down\nb breaks\n{TWO}wait 500\nmap a 0-8191 b c 8192-16383\nwait 1\n{sent}{queued}c says *0\n1 hears *0\nlearned"
    ));
}

#[test]
fn what_no_node_can_answer_stands_at_its_place() {
    let (sent, queued) = (sent("b", &["SET foo 1", "GET foo"]), queued("b", 2));
    play(&format!(
        "1 says MULTI\n1 hears +OK\n1 says PING\n1 hears +QUEUED\n1 says SET foo 1\n1 hears +QUEUED\n1 says DBSIZE\n1 hears +QUEUED\n\
         1 says CLIENT ID\n1 hears +QUEUED\n1 says GET foo\n1 hears +QUEUED\n1 says SELECT 1\n1 hears +QUEUED\n1 says EXEC\n1 says ECHO x\n\
         {sent}{queued}b says *2\\r\\n+OK\\r\\n$1\\r\\n1\na hears DBSIZE\nb hears DBSIZE\na says :3\nb says :4\n\
         1 hears *6\\r\\n+PONG\\r\\n+OK\\r\\n:7\\r\\n:1\\r\\n$1\\r\\n1\\r\\n-ERR DB index is out of range\n1 hears \"x\"",
    ));
    play(
        "1 says MULTI\n1 hears +OK\n1 says PING\n1 hears +QUEUED\n1 says UNWATCH\n1 hears +QUEUED\n1 says EXEC\n1 hears *2\\r\\n+PONG\\r\\n+OK",
    );
    // Nothing of it happens where the node executes nothing.
    play(
        "1 says MULTI\n1 hears +OK\n1 says SET foo 1\n1 hears +QUEUED\n1 says FLUSHALL\n1 hears +QUEUED\n1 says GET foo\n\
         1 hears -ERR evenkeel: behind FLUSHALL or FLUSHDB a transaction takes no command for a node: all nodes are flushed \
         after its other commands\n1 says DISCARD\n1 hears +OK\n1 says MULTI\n1 hears +OK\n1 says SET foo 1\n1 hears +QUEUED\n\
         1 says FLUSHALL\n1 hears +QUEUED\n1 says EXEC\nb hears MULTI\nb hears SET foo 1\nb hears EXEC\nb says +OK\nb says -OOM x\n\
         b says -EXECABORT Transaction discarded because of previous errors.\n\
         1 hears -EXECABORT Transaction discarded because of: OOM x\n1 says PING\n1 hears +PONG",
    );
    // A script that is loaded is there for the next command, and everywhere in the end.
    play(
        "1 says MULTI\n1 hears +OK\n1 says SCRIPT LOAD x\n1 hears +QUEUED\n1 says EVALSHA y 1 foo\n1 hears +QUEUED\n1 says EXEC\n\
         b hears MULTI\nb hears SCRIPT LOAD x\nb hears EVALSHA y 1 foo\nb hears EXEC\nb says +OK\nb says +QUEUED\nb says +QUEUED\n\
         b says *2\\r\\n$1\\r\\ny\\r\\n:1\na hears SCRIPT LOAD x\nb hears SCRIPT LOAD x\na says \"y\"\nb says \"y\"\n1 hears *2\\r\\n$1\\r\\ny\\r\\n:1",
    );
}

#[test]
fn keys_that_cannot_be_told_are_the_nodes_to_complain_about() {
    play(
        "1 says MULTI\n1 hears +OK\n1 says EVAL x y foo\n1 hears +QUEUED\n1 says GET foo\n1 hears +QUEUED\n1 says EXEC\nb hears MULTI\n\
         b hears EVAL x y foo\nb hears GET foo\nb hears EXEC\nb says +OK\nb says +QUEUED\nb says +QUEUED\nb says *2\\r\\n-ERR x\\r\\n:1\n1 hears *2\\r\\n-ERR x\\r\\n:1",
    );
}

#[test]
fn a_queue_is_bounded_and_large_values_stay_in_it() {
    let settings = Settings { ordinary: 64, unasked: 0, collect: 150, ..Settings::default() };
    let body = "v".repeat(100);
    let (sent, queued) = (sent("b", &[&format!("SET foo {body}")]), queued("b", 1));
    run_with(
        settings.clone(),
        &format!(
            "{MAP}1 says MULTI\n1 hears +OK\n1 says SET foo {body}\n1 hears +QUEUED\n1 says EXEC\n{sent}{queued}b says *1\\r\\n+OK\n1 hears *1\\r\\n+OK"
        ),
    );
    run_with(
        settings,
        &format!(
            "{MAP}1 says MULTI\n1 hears +OK\n1 says SET foo {body}\n1 hears +QUEUED\n1 says SET foo 1234567890\n1 hears -ERR evenkeel: a transaction may hold 150 bytes, and all of them together four times as much; split it\n\
             1 says EXEC\n1 hears -EXECABORT Transaction discarded because of previous errors."
        ),
    );
}

const WATCH: &str = "1 says WATCH foo\nb2 hears WATCH foo\n1 says GET foo\nb2 says +OK\n1 hears +OK\nb hears GET foo\nb says $-1\n1 hears $-1\n\
                     1 says MULTI\n1 hears +OK\n1 says SET foo 1\n1 hears +QUEUED\n";

#[test]
fn watched_keys_have_a_connection_until_exec() {
    let (sent, queued) = (sent("b2", &["SET foo 1"]), queued("b2", 1));
    for reply in ["*1\\r\\n+OK", "*-1"] {
        play(&format!(
            "{WATCH}1 says EXEC\n{sent}{queued}b2 says {reply}\n1 hears {reply}\nb2 hears UNWATCH\nb2 says +OK\n\
             2 says WATCH world\nb2 hears WATCH world\nb2 says +OK\n2 hears +OK\n2 says UNWATCH\n2 hears +OK\nb2 hears UNWATCH\nb2 says +OK"
        ));
    }
    play(&format!("{WATCH}1 says DISCARD\n1 hears +OK\nb2 hears UNWATCH"));
    play(&format!("{WATCH}1 says RESET\n1 hears +RESET\nb2 hears UNWATCH"));
    play(&format!("{WATCH}1 leaves\nb2 hears UNWATCH"));
    play(&format!("{WATCH}1 says EXEC\n{sent}1 leaves\n{queued}b2 says *-1\nb2 hears UNWATCH"));
    play("1 says WATCH foo\nb2 hears WATCH foo\n1 leaves\nb2 says +OK\nb2 hears UNWATCH");
}

#[test]
fn watched_keys_and_the_transaction_share_a_slot() {
    play("1 says WATCH foo bar\n1 hears -CROSSSLOT Keys in request don't hash to the same slot");
    play(&format!(
        "{WATCH}1 says SET bar 1\n1 hears -CROSSSLOT Keys in request don't hash to the same slot\n1 says EXEC\n\
                   1 hears -EXECABORT Transaction discarded because of previous errors.\nb2 hears UNWATCH"
    ));
    play(
        "1 says WATCH foo\nb2 hears WATCH foo\nb2 says +OK\n1 hears +OK\n1 says WATCH {foo}2\nb2 hears WATCH {foo}2\nb2 says +OK\n1 hears +OK\n\
         1 says MULTI\n1 hears +OK\n1 says EXEC\nb2 hears MULTI\nb2 hears EXEC\nb2 says +OK\nb2 says *-1\n1 hears *-1\nb2 hears UNWATCH",
    );
}

#[test]
fn watch_follows_its_slot() {
    play(
        "1 says WATCH foo\nb2 hears WATCH foo\nb2 says -MOVED 12182 10.0.0.97:7000\na2 hears WATCH foo\na2 says +OK\n1 hears +OK\nlearned",
    );
    play(
        "1 says WATCH foo\nb2 hears WATCH foo\nb2 says -ASK 12182 10.0.0.97:7000\na2 hears ASKING\na2 hears WATCH foo\na2 says +OK\na2 says +OK\n1 hears +OK\n\
         1 says MULTI\n1 hears +OK\n1 says SET foo 1\n1 hears +QUEUED\n1 says EXEC\na2 hears ASKING\na2 hears MULTI\na2 hears SET foo 1\na2 hears EXEC\na2 says +OK\n\
         a2 says +OK\na2 says +QUEUED\na2 says *1\\r\\n+OK\n1 hears *1\\r\\n+OK\na2 hears UNWATCH",
    );
    play("b down\n1 says WATCH foo\nwait 100\nb up\nwait 100\nb2 hears WATCH foo\nb2 says +OK\n1 hears +OK");
}

#[test]
fn nobody_can_say_whether_keys_changed_so_exec_answers_null() {
    let (sent, queued) = (sent("b2", &["SET foo 1"]), "b2 says +OK\n");
    let moved = "b2 says -MOVED 12182 10.0.0.97:7000\nb2 says -EXECABORT Transaction discarded because of previous errors.\n";
    play(&format!(
        "{WATCH}b2 breaks\n1 says EXEC\n1 hears *-1\n1 says GET bar\na hears GET bar\na says :1\n1 hears :1"
    ));
    play(&format!("{WATCH}1 says EXEC\n{sent}{queued}{moved}1 hears *-1\nb2 hears UNWATCH"));
    play(&format!(
        "{WATCH}1 says EXEC\n{sent}b2 breaks\n1 hears -UNCERTAIN the connection to node 10.0.0.98:7000 was lost after this command was sent: it may \
         or may not have been applied; read before you repeat it\n1 says PING\n1 hears +PONG"
    ));
}
