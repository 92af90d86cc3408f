//! The simulator's command line.

use std::fmt::Debug;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use instep_sim::fault::{FAULTS, Fault, SAME_SEED};
use instep_sim::judged::Judged;
use instep_sim::mail;
use instep_sim::run::{self, Outcome, STEPS};
use instep_sim::sites;

const USAGE: &str =
    "instep-sim [--seed N] [--seeds N] [--steps N] [--fault NAME] [--trace] [--list]

  --seed N      run this one seed
  --seeds N     run the seeds 0 to N-1 (200)
  --steps N     steps of each seed (600)
  --fault NAME  break the shell on purpose; the run should then fail
  --trace       print every event of the run as JSON
  --list        print the checkers and the faults";

struct Arguments {
    seeds: std::ops::Range<u64>,
    steps: usize,
    fault: Option<Fault>,
    mail_fault: Option<mail::Fault>,
    site_fault: Option<sites::Fault>,
    trace: bool,
    list: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            say(&format!("{problem}\n\n{USAGE}\n"));
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    let count = arguments.seeds.end - arguments.seeds.start;
    let mut events = 0;
    for seed in arguments.seeds.clone() {
        let outcome = run::seed(seed, arguments.steps, arguments.fault);
        events += outcome.history.len();
        if arguments.trace {
            trace(&outcome);
        }
        if !outcome.findings.is_empty() {
            say(&outcome.to_string());
            return ExitCode::FAILURE;
        }
        let of_mail = || mail::seed(seed, mail::STEPS, arguments.mail_fault);
        let of_sites = || sites::seed(seed, sites::STEPS, arguments.site_fault);
        let facts = judge(&arguments, of_mail)
            .and_then(|of_mail| Ok(of_mail + judge(&arguments, of_sites)?));
        let Ok(facts) = facts else { return ExitCode::FAILURE };
        events += facts;
        if arguments.fault == Some(Fault::DependOnTheProcess) || count == 1 {
            let again = run::seed(seed, arguments.steps, arguments.fault);
            if again.digest() != outcome.digest() {
                say(&format!("seed {seed}: {SAME_SEED} is broken\n"));
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    let of_node = instep_sim::checker::CHECKERS.len();
    let checkers = of_node + mail::checker::CHECKERS.len() + sites::checker::CHECKERS.len();
    say(&format!(
        "{count} seeds, {events} events, {checkers} checkers, nothing wrong \
         ({seconds:.1} s, {rate:.0} seeds/s)\n"
    ));
    ExitCode::SUCCESS
}

/// Judges the same seed of another world; returns its count of facts.
fn judge<Fact: Debug + 'static>(
    arguments: &Arguments,
    seed: impl Fn() -> Judged<Fact>,
) -> Result<usize, ()> {
    let judged = seed();
    if arguments.trace {
        judged.facts.iter().for_each(|fact| say(&format!("{fact:?}\n")));
    }
    if !judged.findings.is_empty() {
        say(&judged.to_string());
        return Err(());
    }
    let once = arguments.seeds.end - arguments.seeds.start == 1;
    if once && seed().digest() != judged.digest() {
        say(&format!("{}, seed {}: {SAME_SEED} is broken\n", judged.world, judged.seed));
        return Err(());
    }
    Ok(judged.facts.len())
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 0..200,
        steps: STEPS,
        fault: None,
        mail_fault: None,
        site_fault: None,
        trace: false,
        list: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text}: no number"));
        match word.as_str() {
            "--seed" => {
                let seed = number(value()?)?;
                arguments.seeds = seed..seed + 1;
            }
            "--seeds" => arguments.seeds = 0..number(value()?)?,
            "--steps" => {
                let steps = number(value()?)?;
                arguments.steps = usize::try_from(steps).map_err(|error| error.to_string())?;
            }
            "--fault" => {
                let name = value()?;
                arguments.fault = Fault::named(&name);
                arguments.mail_fault = mail::Fault::named(&name);
                arguments.site_fault = sites::Fault::named(&name);
                let is_of_mail = arguments.mail_fault.is_some();
                if arguments.fault.is_none() && !is_of_mail && arguments.site_fault.is_none() {
                    return Err(format!("{name}: no such fault"));
                }
            }
            "--trace" => arguments.trace = true,
            "--list" => arguments.list = true,
            other => return Err(format!("{other}: unknown")),
        }
    }
    Ok(arguments)
}

fn list() {
    say(&run::guards());
    let of_mail = mail::checker::CHECKERS.iter().map(|(name, guards, _)| (name, guards));
    let of_sites = sites::checker::CHECKERS.iter().map(|(name, guards, _)| (name, guards));
    for (name, guards) in of_mail.chain(of_sites) {
        say(&format!("{name:<48} {guards}\n"));
    }
    let faults = FAULTS.iter().map(|(_, name, checker)| (name, checker));
    let of_mail = mail::FAULTS.iter().map(|(_, name, checker)| (name, checker));
    let of_sites = sites::FAULTS.iter().map(|(_, name, checker)| (name, checker));
    for (name, checker) in faults.chain(of_mail).chain(of_sites) {
        say(&format!("--fault {name:<34} {checker}\n"));
    }
}

fn trace(outcome: &Outcome) {
    for event in &outcome.history {
        say(&serde_json::to_string(event).unwrap_or_default());
        say("\n");
    }
}

/// A reader that has gone away is no reason to fail.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
