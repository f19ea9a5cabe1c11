//! A gateway in front of any cluster: `gateway LISTEN SEED,SEED…`, ended by a line (or the end) of its input.
fn main() {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("usage: gateway LISTEN SEED,SEED…");
    let listen = next().parse().expect("LISTEN is an address");
    let seeds = next().split(',').map(|seed| seed.parse().expect("a seed is an address")).collect();
    let gateway = evenkeel_gateway::Gateway::start(evenkeel_gateway::Settings::new(listen, seeds))
        .expect("a free address");
    println!("{}", gateway.listen());
    let _ = std::io::stdin().read_line(&mut String::new());
    gateway.drain();
}
