//! Bursts of connections, resets and disconnects while messages flow to others.
//!
//! ```text
//! core 0   the server
//! core 1   this process: its subscribers are served first   (nice -20, where it is allowed)
//!          the prober: connects steadily, one after the other    (nice -20)
//!          the burst: a process of its own                       (nice 19)
//! ```
//!
//! The burst has what the others leave of their core, so that what they see of it is the server's
//! doing and the system's. How much is the system's, the plain floor tells in the same run.

use std::time::{Duration, Instant};

use instep_load::process::descriptors_of;
use instep_load::report::Measured;
use instep_load::{Error, Pace, Run};

use crate::crowd::{BURST, Process, Role};
use crate::print_line;
use crate::rivals::{Rival, Served};
use crate::scenarios::{missing, plan};
use crate::scrape::Scrape;

/// Subscribers beside the bursts, whose messages must flow.
const OTHERS: usize = 1_000;
const RATE: f64 = 100.0;
/// Longest time without an accepted connection.
const STALL_MS: f64 = 100.0;
/// Others may take so many times their quiet p99.
const SLOWER: f64 = 2.0;
/// Most that a process may keep of what a burst took, for the next one.
const KEPT_BYTES: f64 = 2.0 * 1024.0 * 1024.0;
/// Time after the last order to the system in which a burst still reaches the server.
const AFTERMATH: Duration = Duration::from_millis(300);
/// No part of a churn takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(servers: &[String], quick: bool) {
    prefer(-20);
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
        if let Err(error) = one(&served, if quick { 2 } else { 5 }) {
            print_line(&format!("churn: {error}"));
        }
    }
}

/// Sets the priority of this process and of its children.
pub(crate) fn prefer(nice: i32) {
    let process = std::process::id().to_string();
    let renice = std::process::Command::new("renice")
        .args(["-n", &nice.to_string(), "-p", &process])
        .output();
    if !renice.is_ok_and(|output| output.status.success()) {
        print_line(&format!("renice: not at {nice}"));
    }
}

struct Churn<'a> {
    served: &'a Served,
    run: Run,
    quiet: Measured,
    burst: Process,
    prober: Option<Process>,
}

fn one(served: &Served, quiet_seconds: u64) -> Result<(), Error> {
    let (mut run, _) = Run::connect(plan(served, 1, OTHERS, true))?;
    run.begin(Pace::Rate(RATE));
    run.pump(Duration::from_secs(1))?;
    let mut prober = Process::start(Role::Prober, served);
    run.pump(Duration::from_millis(500))?;
    prober.order("begin");
    let quiet = run.measure(Duration::from_secs(quiet_seconds), None)?;
    let quiet = run.report(quiet);
    line("quiet", &quiet, &quiet);
    print_line(&format!("  prober: {}", prober.told(&mut run, "tell")?));
    let burst = Process::start(Role::Burst, served);
    let mut churn = Churn { served, run, quiet, burst, prober: Some(prober) };
    // Buffers and tables grow at first: what they need for two bursts, the next ones may use again.
    churn.part("connects", "join")?;
    churn.part("resets", "reset")?;
    churn.part("connects again", "join")?;
    churn.part("disconnects", "leave")?;
    // The prober has connections, too.
    churn.prober = None;
    let before = churn.left()?;
    churn.prober = Some(Process::start(Role::Prober, served));
    churn.part("connects again", "join")?;
    churn.part("resets again", "reset")?;
    churn.part("connects again", "join")?;
    churn.part("disconnects again", "leave")?;
    churn.prober = None;
    let after = churn.left()?;
    let [descriptors, resident, gauge] = std::array::from_fn(|at| after[at] - before[at]);
    goal("descriptors left behind", descriptors, 0.0);
    goal("connections still counted", gauge, 0.0);
    goal("memory above that after two bursts, bytes", resident, KEPT_BYTES);
    Ok(())
}

impl Churn<'_> {
    /// One order to the burst, and what the others, the prober and the server saw meanwhile.
    fn part(&mut self, what: &str, order: &str) -> Result<(), Error> {
        let before = Scrape::of(self.served);
        if let Some(prober) = &mut self.prober {
            prober.order("begin");
        }
        self.burst.order(order);
        let began = Instant::now();
        let (mut told, mut ends) = (None, None);
        let burst = &mut self.burst;
        let span = self.run.measure_while(PATIENCE, || {
            told = told.take().or_else(|| burst.answer());
            if told.is_some() {
                ends.get_or_insert(Instant::now() + AFTERMATH);
            }
            ends.is_none_or(|ends| Instant::now() < ends)
        })?;
        let measured = self.run.report(span);
        line(what, &measured, &self.quiet);
        let told = told.unwrap_or_else(|| format!("no end within {} s", PATIENCE.as_secs()));
        print_line(&format!(
            "  the burst: {told} ({:.2} s measured)",
            began.elapsed().as_secs_f64()
        ));
        let slower = measured.latency.p99_us / self.quiet.latency.p99_us;
        goal("others' p99 against quiet", slower, SLOWER);
        goal("others' messages lost, or connections dropped", missing(&measured), 0.0);
        if let Some(prober) = &mut self.prober {
            // It waits its turn behind the burst, in the system's queue.
            print_line(&format!("  prober: {}", prober.told(&mut self.run, "tell")?));
        }
        if let Some((before, after)) = before.zip(Scrape::of(self.served)) {
            for name in ["instep_accept_wait", "instep_accept", "instep_shard_turn"] {
                let longest = after.longest_ms(&before, name);
                print_line(&format!("  server: longest {name} at most {longest} ms"));
            }
            let wait = after.longest_ms(&before, "instep_accept_wait");
            goal("the server's longest wait for accept, ms", wait, STALL_MS);
        }
        Ok(())
    }

    /// Descriptors, memory and the gauge of connections, once they have stopped to fall.
    fn left(&mut self) -> Result<[f64; 3], Error> {
        self.run.pump(Duration::from_secs(2))?;
        let descriptors = descriptors_of(self.served.process()).unwrap_or_default();
        let gauge = Scrape::of(self.served).map(|page| page.sum("instep_connections"));
        let resident = self.served.resident_now();
        Ok([descriptors as f64, resident as f64, gauge.unwrap_or_default()])
    }
}

fn line(what: &str, measured: &Measured, quiet: &Measured) {
    let Measured { latency, dropped, .. } = measured;
    print_line(&format!(
        "  {what:<15} p50 {:>7.2} ms, p99 {:>7.2} ms ({:.1} x quiet), max {:>7.2} ms, lost {}, \
         dropped {dropped}",
        latency.p50_us / 1e3,
        latency.p99_us / 1e3,
        latency.p99_us / quiet.latency.p99_us,
        latency.max_us / 1e3,
        measured.lost + measured.wrong,
    ));
}

fn goal(name: &str, found: f64, most: f64) {
    let outcome = if found <= most { "met" } else { "MISSED" };
    print_line(&format!("  goal: {name}: {found:.2}, wanted at most {most}: {outcome}"));
}
