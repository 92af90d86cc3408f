//! Events of servers while the delivery has no turn: they are refused rather than piled up.

use instep_model::commit::Operation;
use instep_model::limits;
use instep_node::mail::{MailError, Push, Registration};
use tokio::time::timeout;

use super::{Fixture, LIVENESS};

/// Begins with messages again and again until that is refused; returns how often it was not.
fn say_until_refused(server: &Registration, text: &str) -> (usize, MailError) {
    for count in 0..=2 * limits::MAIL_EVENTS {
        if let Err(error) = server.say("started", text.as_bytes()) {
            return (count, error);
        }
    }
    panic!("events are taken without end");
}

async fn until_taken(server: &Registration, text: &str) {
    let taken = async {
        while server.say("started", text.as_bytes()).is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIVENESS, taken).await.expect("it is taken behind the wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_6_events_that_wait_for_the_delivery_are_bounded_for_each_server_by_number_and_bytes() {
    let house = Fixture::open().await;
    let seq = house.send("7").await;
    house.shut_bodies();
    let greedy = house.dataset.register("7".into(), 1, None).await.unwrap();
    house.bodies.door.until_a_thread_waits();
    let modest = house.dataset.register("8".into(), 1, None).await.unwrap();
    let many: Vec<u64> = (1..=limits::MAIL_CREDIT_MOST as u64).collect();
    let large = serde_json::json!({ "seqs": many }).to_string();

    let (taken, error) = say_until_refused(&greedy, r#"{"seqs": [1]}"#);
    let (large_taken, _) = say_until_refused(&modest, &large);

    assert_eq!((taken, error.code()), (limits::MAIL_EVENTS_OF_ONE, "overloaded"));
    assert!(large_taken * large.len() / 4 <= limits::MAIL_EVENT_BYTES_OF_ONE);
    assert!(large_taken > 1);
    let credit = greedy.say("credit", br#"{"window": 2}"#);
    assert_eq!(credit.err().unwrap().code(), "overloaded", "it is told, not lost");
    let others = house.dataset.register("9".into(), 1, None).await.unwrap();
    assert!(others.say("credit", br#"{"window": 2}"#).is_ok(), "one costs only itself");
    // What is stored is no event.
    let ack = format!(r#"{{"seqs": [{seq}]}}"#);
    greedy.say("ack", ack.as_bytes()).unwrap().await.unwrap();

    house.bodies.door.shut(false);
    until_taken(&greedy, r#"{"seqs": [1]}"#).await;
    until_taken(&modest, &large).await;
    drop((greedy, modest, others));
    tokio::task::spawn_blocking(move || house.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_6_registrations_that_wait_to_begin_are_bounded_and_each_hears_its_end() {
    let house = Fixture::open().await;
    house.send("7").await;
    house.shut_bodies();
    let first = house.dataset.register("7".into(), 1, None).await.unwrap();
    house.bodies.door.until_a_thread_waits();

    let mut last = None;
    let refused = loop {
        match house.dataset.register("8".into(), 1, None).await {
            Ok(registration) => last = Some(registration),
            Err(error) => break error,
        }
        let generation = last.as_ref().map_or(0, |one| one.generation().0);
        assert!(generation <= limits::MAIL_REGISTRATIONS_WAITING as u64, "without end");
    };

    let last = last.unwrap();
    assert_eq!(refused.code(), "overloaded");
    assert_eq!(last.generation().0, limits::MAIL_REGISTRATIONS_WAITING as u64);
    assert_eq!(house.dataset.state().mail.generation("8"), last.generation(), "nothing is stored");
    house.bodies.door.shut(false);
    let (newer, told) = timeout(LIVENESS, async {
        loop {
            if let Ok(newer) = house.dataset.register("8".into(), 1, None).await {
                break newer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .map(|newer| (newer, async { until_replaced(&last).await }))
    .expect("there is room again");
    timeout(LIVENESS, told).await.expect("the one before is told");
    assert_eq!(newer.generation().0, last.generation().0 + 1);

    drop((first, newer));
    tokio::task::spawn_blocking(move || house.close()).await.unwrap();
}

async fn until_replaced(registration: &Registration) {
    while registration.take() != Some(Push::Replaced) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_6_a_mailbox_that_moves_to_and_fro_leaves_nothing_at_a_server_that_reads_nothing() {
    let house = Fixture::open().await;
    let to = |server: &str| {
        let (endpoint, to) = ("org/1".to_owned(), server.to_owned());
        house.dataset.commit(vec![Operation::Move { endpoint, to, generation: None }].into())
    };
    to("7").await.unwrap();
    house.send_to("org/1").await;
    let silent = house.dataset.register("7".into(), 9, None).await.unwrap();
    let number = house.dataset.state().mail.server_number("7").unwrap();
    let is_given = |given: usize| {
        let house = &house;
        async move {
            while house.dataset.mail_counts().delivery.unconfirmed != given as u64 {
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(LIVENESS, is_given(1)).await.expect("it is given");

    for _ in 0..20 {
        to("8").await.unwrap();
        timeout(LIVENESS, is_given(0)).await.expect("it is taken back");
        to("7").await.unwrap();
        timeout(LIVENESS, is_given(1)).await.expect("it is given again");
    }

    assert!(house.dataset.is_registered(number));
    let mut all = std::iter::from_fn(|| silent.take());
    assert!(matches!(all.next(), Some(Push::Message(_))));
    assert_eq!(all.next(), None, "nothing else is waiting");
    drop(silent);
    tokio::task::spawn_blocking(move || house.close()).await.unwrap();
}
