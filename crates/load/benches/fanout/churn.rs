//! Bursts of connections, resets and disconnects while messages flow to others.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use instep_load::process::descriptors_of;
use instep_load::report::{Measured, SetUp};
use instep_load::{Error, Pace, Run};

use crate::print_line;
use crate::rivals::{Rival, Served};
use crate::scenarios::plan;

/// Those whose messages must flow.
const OTHERS: usize = 1_000;
const RATE: f64 = 100.0;
/// Connections of a burst.
const BURST: usize = 10_000;
/// The longest that nobody may be let in.
const STALL_MS: f64 = 100.0;
/// Connections that try the door after a burst has left, one after the other.
const PROBES: usize = 20;

/// What the burst itself has seen.
enum Seen {
    Joined(Result<SetUp, Error>),
    /// The longest set-up of a connection that came when the burst left.
    Left(Result<f64, Error>),
}

pub(crate) fn run(servers: &[String], quick: bool) {
    // The floor tells what of it is the load's own doing.
    for rival in [Rival::Plain, Rival::Tcp, Rival::WebSocket] {
        let chosen = servers.iter().any(|server| rival.name().starts_with(&**server));
        if !chosen && !servers.is_empty() {
            continue;
        }
        let Some(served) = Served::start(rival) else { continue };
        print_line(&format!(
            "\nchurn, {}: {OTHERS} subscribers at {RATE}/s, bursts of {BURST}",
            rival.name()
        ));
        if let Err(error) = one(&served, if quick { 3 } else { 6 }) {
            print_line(&format!("churn: {error}"));
        }
    }
}

fn one(served: &Served, seconds: u64) -> Result<(), Error> {
    let time = Duration::from_secs(seconds);
    let (mut run, _) = Run::connect(plan(served, 1, OTHERS, true))?;
    run.begin(Pace::Rate(RATE));
    run.pump(Duration::from_secs(1))?;
    let quiet = run.measure(time, None)?;
    let quiet = run.report(quiet);
    line("quiet", &quiet, &quiet);
    let before = descriptors_of(served.process()).unwrap_or_default();
    let resident = served.resident_now();
    let (orders, ordered) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let burst = plan(served, 1, 0, true);
    std::thread::scope(|scope| {
        scope.spawn(move || burst_thread(burst, &ordered, &tell));
        for (what, order) in [
            ("connects", Order::Join),
            ("resets", Order::Leave { reset: true }),
            ("connects again", Order::Join),
            ("disconnects", Order::Leave { reset: false }),
        ] {
            let _ = orders.send(order);
            let span = run.measure(time, None)?;
            let measured = run.report(span);
            line(what, &measured, &quiet);
            match told.recv() {
                Ok(Seen::Joined(set_up)) => joined(&set_up?),
                Ok(Seen::Left(longest)) => goal("longest wait at the door, ms", longest?, STALL_MS),
                Err(_) => return Ok(()),
            }
        }
        drop(orders);
        Ok(())
    })?;
    run.pump(Duration::from_secs(1))?;
    let after = descriptors_of(served.process()).unwrap_or_default();
    goal("descriptors left behind", after.saturating_sub(before) as f64, 0.0);
    let grown = served.resident_now().saturating_sub(resident) as f64;
    print_line(&format!("  memory above before: {:.0} KiB", grown / 1024.0));
    Ok(())
}

enum Order {
    Join,
    Leave { reset: bool },
}

/// The burst has a loop of its own, so that the others are read meanwhile.
fn burst_thread(
    mut plan: instep_load::Plan,
    ordered: &mpsc::Receiver<Order>,
    tell: &mpsc::Sender<Seen>,
) {
    plan.topics = vec!["bench:burst".into()];
    plan.subscribe = true;
    let probe = plan.clone();
    let mut run = match Run::connect(plan) {
        Ok((run, _)) => run,
        Err(error) => return drop(tell.send(Seen::Joined(Err(error)))),
    };
    while let Ok(order) = ordered.recv() {
        let seen = match order {
            Order::Join => Seen::Joined(run.join(BURST, BURST)),
            Order::Leave { reset } => {
                run.leave(BURST, reset);
                Seen::Left(knock(&probe))
            }
        };
        let _ = tell.send(seen);
        let _ = run.pump(Duration::from_millis(10));
    }
}

/// Connects one after the other; answers the longest time that took, in milliseconds.
fn knock(plan: &instep_load::Plan) -> Result<f64, Error> {
    let mut longest = 0.0_f64;
    for _ in 0..PROBES {
        let began = Instant::now();
        let mut plan = plan.clone();
        plan.bots = 1;
        plan.subscribe = false;
        Run::connect(plan)?;
        longest = longest.max(began.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(longest)
}

fn line(what: &str, measured: &Measured, quiet: &Measured) {
    let Measured { latency, lost, wrong, dropped, .. } = measured;
    print_line(&format!(
        "  {what:<15} p50 {:>7.2} ms, p99 {:>7.2} ms ({:.1} x quiet), max {:>7.2} ms, lost {}, \
         dropped {dropped}",
        latency.p50_us / 1e3,
        latency.p99_us / 1e3,
        latency.p99_us / quiet.latency.p99_us,
        latency.max_us / 1e3,
        lost + wrong,
    ));
    if what != "quiet" {
        goal("others' p99 against quiet", latency.p99_us / quiet.latency.p99_us, 2.0);
    }
}

fn joined(set_up: &SetUp) {
    let SetUp { connections, seconds, per_second, each, longest_pause_ms } = set_up;
    print_line(&format!(
        "  {connections} set up in {seconds:.2} s ({per_second:.0}/s), each p50 {:.0} ms, \
         max {:.0} ms",
        each.p50_us / 1e3,
        each.max_us / 1e3
    ));
    goal("longest pause between two that were let in, ms", *longest_pause_ms, STALL_MS);
}

fn goal(name: &str, found: f64, most: f64) {
    let outcome = if found <= most { "met" } else { "MISSED" };
    print_line(&format!("  goal: {name}: {found:.2}, wanted at most {most}: {outcome}"));
}
