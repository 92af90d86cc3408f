//! The tables, the goals, and one line of JSON.

use serde_json::{Value, json};

use crate::goal::Goal;
use crate::load::Figures;
use crate::local::Push;
use crate::{Results, machine};

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
pub(crate) fn print(results: &Results, facts: &Value) {
    println!("{}\n{facts}", machine::command());
    println!("1,000 messages for one server with 5,000 endpoints, load up to {}", results.load);
    println!("   pending  what                     first            all");
    for pushed in &results.pushed {
        print_push(pushed.pending, "instep", pushed.instep);
        if let Some([dynamic, fixed]) = pushed.postgres {
            print_push(pushed.pending, "postgresql, dest in", dynamic);
            print_push(pushed.pending, "postgresql, svr_id", fixed);
        }
    }
    println!("   pending  sent/s, durable  looked at, given  resident bytes each");
    for pushed in &results.pushed {
        let (looked_at, given) = pushed.looked_at;
        let (pending, filled, resident) = (pushed.pending, pushed.filled, pushed.resident);
        println!("{pending:>10} {filled:>16.0} {looked_at:>10} {given:>6} {resident:>20.1}");
    }
    let folded = results.folded;
    println!(
        "in memory without anything else: {} bytes each, {} with derived ids",
        folded.given_ids, folded.derived_ids
    );
    println!(
        "send, take and acknowledge, closed loop, {}",
        if results.shared {
            "server and load share the cores"
        } else {
            "the server on one core, the load on another"
        }
    );
    println!("clients  what        cycles/s        p50        p99   ratio");
    for cycled in &results.cycled {
        let ratio = cycled.postgres.map(|theirs| cycled.instep.per_second / theirs.per_second);
        print_cycles(cycled.clients, "instep", cycled.instep, ratio);
        if let Some(theirs) = cycled.postgres {
            print_cycles(cycled.clients, "postgresql", theirs, None);
        }
    }
    let goals = goals(results);
    goals.iter().for_each(Goal::print);
    println!("{}", json_of(results, facts, &goals));
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn print_push(pending: usize, what: &str, push: Push) {
    let [first, all] = [push.first, push.all].map(|taken| taken.as_micros());
    println!("{pending:>10}  {what:<20} {first:>10} us {all:>10} us");
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn print_cycles(clients: usize, what: &str, figures: Figures, ratio: Option<f64>) {
    let Figures { per_second, p50, p99, .. } = figures;
    let [p50, p99] = [p50, p99].map(|taken| taken.as_micros());
    let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}x"));
    println!("{clients:>7}  {what:<10} {per_second:>9.0} {p50:>7} us {p99:>7} us {ratio:>7}");
}

fn goals(results: &Results) -> Vec<Goal> {
    let mut goals = vec![];
    if let (Some(little), Some(much)) = (results.pushed.first(), results.pushed.last()) {
        let mut at_most = |name, found, wanted| goals.push(Goal::at_most(name, found, wanted));
        let [all, first]: [fn(Push) -> f64; 2] =
            [|push| push.all.as_secs_f64(), |push| push.first.as_secs_f64()];
        let (before, behind) = (little.instep, much.instep);
        at_most(
            "all pushed, the most pending against 10,000, at most",
            all(behind) / all(before),
            2.0,
        );
        at_most("first pushed, the same, at most", first(behind) / first(before), 2.0);
        let (looked_at, given) = much.looked_at;
        at_most("messages looked at for each given, at most", looked_at as f64 / given as f64, 1.0);
        at_most("resident bytes a pending message, at most", much.resident, 150.0);
    }
    let folded = results.folded.given_ids as f64;
    let name = "bytes a pending message without anything else, at most";
    goals.push(Goal::at_most(name, folded, 150.0));
    if let Some(cycled) = results.cycled.last()
        && let Some(theirs) = cycled.postgres
    {
        let found = cycled.instep.per_second / theirs.per_second;
        let name = "1,024 clients send and acknowledge, against SKIP LOCKED, at least";
        goals.push(Goal::at_least(name, found, 10.0));
    }
    goals
}

fn json_of(results: &Results, facts: &Value, goals: &[Goal]) -> Value {
    let push =
        |push: Push| json!({"first_us": push.first.as_micros(), "all_us": push.all.as_micros()});
    let pushed = results.pushed.iter().map(|pushed| {
        json!({
            "pending": pushed.pending,
            "instep": push(pushed.instep),
            "looked_at": pushed.looked_at.0,
            "given": pushed.looked_at.1,
            "sent_per_s": pushed.filled.round(),
            "resident_bytes_each": pushed.resident,
            "postgresql_dynamic": pushed.postgres.map(|[dynamic, _]| push(dynamic)),
            "postgresql_static": pushed.postgres.map(|[_, fixed]| push(fixed)),
        })
    });
    let cycled = results.cycled.iter().map(|cycled| {
        json!({
            "clients": cycled.clients,
            "instep": cycled.instep.json(),
            "postgresql": cycled.postgres.as_ref().map(Figures::json),
        })
    });
    let goals = goals.iter().map(Goal::json);
    json!({
        "bench": "mail",
        "machine": facts,
        "load_1_min_at_most": results.load,
        "postgresql": results.postgres,
        "pushed": pushed.collect::<Vec<_>>(),
        "shared": results.shared,
        "cycled": cycled.collect::<Vec<_>>(),
        "folded_bytes_each": {
            "given_ids": results.folded.given_ids, "derived_ids": results.folded.derived_ids,
        },
        "goals": goals.collect::<Vec<_>>(),
    })
}
