//! Processes beside the one that measures: a burst of connections, and one that comes steadily.
//!
//! They are this program again, take orders line by line, and answer each in a line.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use instep_load::{Door, Error, Plan, Run};

use crate::churn::prefer;
use crate::print_line;
use crate::rivals::Served;
use crate::scenarios::{PATIENCE, PAYLOAD_BYTES};

/// Connections of a burst.
pub(crate) const BURST: usize = 10_000;
/// The prober rests this long between two tries.
const REST: Duration = Duration::from_millis(5);
/// Timeout of the answer to an order.
const ANSWER: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// `join`, `reset`, `leave`: all at once.
    Burst,
    /// `begin` forgets, `tell` tells how long the ways in took.
    Prober,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Prober => "prober",
        }
    }
}

/// One of these processes; it ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Process {
    pub(crate) fn start(role: Role, served: &Served) -> Self {
        let door = match served.door {
            Door::WebSocket => "websocket",
            _ => "tcp",
        };
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args([role.word(), door, &served.address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let orders = child.stdin.take().expect("it was asked for");
        let out = child.stdout.take().expect("it was asked for");
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self { child, orders, answers }
    }

    pub(crate) fn order(&mut self, order: &str) {
        // A process that has ended answers nothing, which is told where its answer is missed.
        let _ = writeln!(self.orders, "{order}").and_then(|()| self.orders.flush());
    }

    /// An answer, if one has come.
    pub(crate) fn answer(&mut self) -> Option<String> {
        match self.answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some("it has ended".into()),
        }
    }

    /// Gives an order and waits for the answer, while the others go on.
    pub(crate) fn told(&mut self, run: &mut Run, order: &str) -> Result<String, Error> {
        self.order(order);
        let until = Instant::now() + ANSWER;
        while Instant::now() < until {
            run.pump(Duration::from_millis(5))?;
            if let Some(answer) = self.answer() {
                return Ok(answer);
            }
        }
        Ok("no answer".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one of these processes if `args` ask for one; false if they do not.
pub(crate) fn serve(args: &[String]) -> bool {
    let [role, door, address] = args else { return false };
    let Ok(address) = address.parse() else { return false };
    let door = if door == "websocket" { Door::WebSocket } else { Door::Tcp };
    match role.as_str() {
        "burst" => burst(door, address),
        "prober" => prober(door, address),
        _ => return false,
    }
    true
}

fn plan(door: Door, address: SocketAddr, topic: &str) -> Plan {
    Plan {
        door,
        address,
        publish: None,
        topics: vec![topic.into()],
        bots: 0,
        subscribe: true,
        at_once: 1,
        payload_bytes: PAYLOAD_BYTES,
        patience: PATIENCE,
        awake: false,
    }
}

fn burst(door: Door, address: SocketAddr) {
    let nice = std::env::var("FANOUT_BURST_NICE").ok().and_then(|nice| nice.parse().ok());
    prefer(nice.unwrap_or(19));
    let (mut run, _) = match Run::connect(plan(door, address, "bench:burst")) {
        Ok(connected) => connected,
        Err(error) => return print_line(&error.to_string()),
    };
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let began = Instant::now();
        if order != "join" {
            run.leave(BURST, order == "reset");
            print_line(&format!("{BURST} ended in {:.2} s", began.elapsed().as_secs_f64()));
            continue;
        }
        match run.join(BURST, BURST) {
            Ok(set_up) => print_line(&format!(
                "{} set up in {:.2} s, each p50 {:.0} ms, max {:.0} ms, longest pause {:.0} ms",
                set_up.connections,
                set_up.seconds,
                set_up.each.p50_us / 1e3,
                set_up.each.max_us / 1e3,
                set_up.longest_pause_ms,
            )),
            Err(error) => print_line(&error.to_string()),
        }
    }
}

/// From the first packet until a join is answered, one after the other; orders are taken beside it.
fn prober(door: Door, address: SocketAddr) {
    let seen = Mutex::new((Instant::now(), Vec::<f64>::new()));
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                lock().0 = Instant::now();
                let plan = Plan { bots: 1, ..plan(door, address, "bench:probe") };
                let came = Run::connect(plan);
                let mut seen = lock();
                let ms = came.map_or(f64::INFINITY, |(_, set_up)| set_up.each.max_us / 1e3);
                seen.1.push(ms);
                drop(seen);
                std::thread::sleep(REST);
            }
        });
        for order in std::io::stdin().lines().map_while(Result::ok) {
            let mut seen = lock();
            if order == "begin" {
                seen.1.clear();
                continue;
            }
            // Connections on their way in count, too.
            let under_way = seen.0.elapsed().as_secs_f64() * 1e3;
            let mut ways = seen.1.clone();
            if under_way > 50.0 {
                ways.push(under_way);
            }
            ways.sort_by(f64::total_cmp);
            let at = |share: f64| {
                ways.get((ways.len() as f64 * share) as usize).or(ways.last()).copied()
            };
            let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|share| at(share).unwrap_or_default());
            print_line(&format!(
                "{} came in, each p50 {p50:.2} ms, p99 {p99:.2} ms, longest {longest:.2} ms",
                ways.len()
            ));
        }
        // Not joined: the other thread never ends by itself.
        std::process::exit(0);
    });
}
