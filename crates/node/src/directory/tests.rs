use instep_model::commit::Operation;
use instep_model::position::Incarnation;
use instep_model::ring::RingLimits;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::dataset::Options;
use crate::engine::Engine;
use crate::pool::Pools;
use crate::topics::Topics;

/// Patterns of views: openings that contain each other, and that are equal.
const VIEWS: [&str; 7] = ["a", "a:{x}", "a:{x}:b", "a:{x}:c", "ab:{x}", "a:b:{x}", "b{x}"];
const LIVE: [&str; 7] = ["a", "a:*", "a:b:*", "ab:c", "*", "b*", "a:1"];
const TOPICS: [&str; 20] = [
    "a",
    "a:",
    "a:1",
    "a:1:b",
    "a:1:c",
    "a:b:c",
    "a:b:b",
    "ab",
    "ab:",
    "ab:c",
    "b",
    "b1",
    "c",
    "",
    "table:c/t",
    "table:d/t",
    "table:d/hidden",
    "table:e/t",
    "table:d",
    "server:a",
];

fn view(topic: &str) -> View {
    let name = Name::new("v").unwrap();
    View::native(name.clone(), name, topic, "row", |_| None).unwrap()
}

fn dataset(name: &str, views: &[usize], pools: &Pools) -> Dataset {
    let options = Options {
        views: views.iter().map(|at| view(VIEWS[*at])).collect(),
        ..Options::new(Name::new(name).unwrap(), Uuid::from_u128(2))
    };
    let engine = Engine::memory(Incarnation(Uuid::from_u128(1)));
    let dataset = Dataset::open(engine, options, Topics::new(RingLimits::default()), pools);
    dataset.unwrap()
}

/// Makes a public table and one that is not, and waits until subscribers would hear of them.
fn make_tables(dataset: &Dataset) {
    let make = |name, public| Operation::CreateTable { table: Name::new(name).unwrap(), public };
    dataset.commit_blocking(vec![make("t", true), make("hidden", false)].into()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(dataset.settled());
}

/// Owner of a topic as text, so that it can be compared.
fn told(behind: &Behind) -> String {
    match behind {
        Behind::Dataset(dataset) => format!("dataset {}", dataset.name()),
        Behind::Unopened => "unopened".into(),
        Behind::Live(pattern, _) => format!("live {}", pattern.topic),
        Behind::Table(dataset) => format!("table of {}", dataset.name()),
        Behind::Nothing => "nothing".into(),
    }
}

/// Answer of a look at every dataset and every pattern.
fn scan(directory: &Directory, live: &[LivePattern], topic: &str) -> String {
    if let Some(dataset) = directory.datasets().iter().find(|dataset| dataset.has_topic(topic)) {
        return told(&Behind::Dataset(dataset.clone()));
    }
    let table = topic.strip_prefix(TABLE_PREFIX).and_then(|rest| rest.split_once('/'));
    let is_unopened = directory.unopened().iter().any(|(name, unopened)| {
        table.is_some_and(|(dataset, _)| dataset == name.as_str())
            || unopened.views.iter().any(|view| view.topic.matches(topic))
    });
    if is_unopened {
        return told(&Behind::Unopened);
    }
    if let Some(pattern) = live.iter().find(|pattern| pattern.matches(topic)) {
        return format!("live {}", pattern.topic);
    }
    match table.and_then(|(dataset, _)| directory.dataset(dataset)) {
        Some(dataset) => told(&Behind::Table(dataset)),
        None => told(&Behind::Nothing),
    }
}

/// Change of a directory.
#[derive(Debug, Clone)]
enum Change {
    Add(&'static str, Vec<usize>),
    Remove(&'static str),
    Fail(&'static str, Vec<usize>),
    Forget(&'static str),
}

fn changes() -> impl Strategy<Value = Change> {
    let name = prop::sample::select(vec!["c", "d", "e"]);
    let views = prop::collection::vec(0..VIEWS.len(), 0..4);
    prop_oneof![
        (name.clone(), views.clone()).prop_map(|(name, views)| Change::Add(name, views)),
        name.clone().prop_map(Change::Remove),
        (name.clone(), views).prop_map(|(name, views)| Change::Fail(name, views)),
        name.prop_map(Change::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_directory_answers_as_a_look_at_every_dataset_does(
        live in prop::collection::vec(0..LIVE.len(), 0..5),
        changes in prop::collection::vec(changes(), 1..8),
    ) {
        let pools = Pools::new().unwrap();
        let live = live.into_iter().map(|at| LIVE[at].to_owned());
        let live: Vec<LivePattern> =
            live.map(|topic| LivePattern { topic, ..LivePattern::default() }).collect();
        let directory = Directory::new(live.clone());
        for change in changes {
            match change {
                Change::Add(name, views) => {
                    let dataset = dataset(name, &views, &pools);
                    if directory.add(dataset.clone(), 2).is_ok() {
                        make_tables(&dataset);
                    } else {
                        dataset.close();
                    }
                }
                Change::Remove(name) => {
                    directory.remove(name).iter().for_each(Dataset::close);
                }
                Change::Fail(name, views) if directory.dataset(name).is_none() => {
                    let views = views.iter().map(|at| view(VIEWS[*at])).collect();
                    let unopened = Unopened { reason: "?".into(), is_damaged: false, views };
                    directory.set_unopened(Name::new(name).unwrap(), unopened);
                }
                Change::Fail(..) => {}
                Change::Forget(name) => directory.forget_unopened(&Name::new(name).unwrap()),
            }
            for topic in TOPICS {
                let expected = scan(&directory, &live, topic);
                prop_assert_eq!(told(&directory.behind(topic)), expected, "{}", topic);
            }
        }
        directory.datasets().iter().for_each(Dataset::close);
    }
}

#[test]
fn a_change_of_datasets_makes_another_generation() {
    let pools = Pools::new().unwrap();
    let directory = Directory::new(vec![]);
    let name = Name::new("d").unwrap();
    let mut seen = vec![directory.generation()];

    let unopened = Unopened { reason: "?".into(), is_damaged: false, views: vec![view("a:{x}")] };
    directory.set_unopened(name.clone(), unopened);
    seen.push(directory.generation());
    directory.add(dataset("d", &[1], &pools), 1).unwrap();
    seen.push(directory.generation());
    let full = directory.add(dataset("e", &[], &pools), 1);
    directory.remove("d").unwrap().close();
    seen.push(directory.generation());

    assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
    assert_eq!(full, Err(NodeError::TooMany { limit: 1 }));
    assert!(directory.why_unopened("d").is_none() && directory.names().is_empty());
}
