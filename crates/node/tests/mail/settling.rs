//! Proposals of the dataset itself about messages, while its owner takes nothing.

use std::sync::Arc;
use std::time::Duration;

use instep_model::commit::Operation;
use instep_model::limits;
use instep_model::mail::{MailOperation, Seq, Status};
use instep_model::owner::Refusal;
use instep_node::mail::{Push, Registration};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Fixture, LIVENESS};

impl Fixture {
    /// Has the owner wait for its log, behind a queue that is full.
    async fn overload(&self) -> JoinSet<Result<(), Refusal>> {
        self.log.shut(true);
        let mut waiting = JoinSet::new();
        let propose = || {
            let dataset = self.dataset.clone();
            let nothing = Operation::Mail(MailOperation::Route { seq: Seq::ZERO });
            async move { dataset.commit(vec![nothing].into()).await.map(drop) }
        };
        waiting.spawn(propose());
        self.log.until_a_thread_waits();
        for _ in 0..limits::OWNER_QUEUE_COMMITS {
            waiting.spawn(propose());
        }
        while self.dataset.waiting().commits < limits::OWNER_QUEUE_COMMITS {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(propose().await, Err(Refusal::Overloaded));
        waiting
    }
}

async fn next_message(registration: &Registration) -> Seq {
    let got = timeout(LIVENESS, async {
        loop {
            if let Some(Push::Message(delivery)) = registration.take() {
                return delivery.seq;
            }
            sleep(Duration::from_millis(1)).await;
        }
    });
    got.await.expect("a message")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_a_failure_is_counted_once_however_long_the_owner_takes_nothing() {
    let house = Arc::new(Fixture::open().await);
    let (seq, other) = (house.send("7").await, house.send("7").await);
    let registration = house.dataset.register("7".into(), 2, None).await.unwrap();
    assert_eq!(next_message(&registration).await, seq);
    assert_eq!(next_message(&registration).await, other);
    let started = format!(r#"{{"seqs": [{seq}]}}"#);
    registration.say("started", started.as_bytes()).unwrap().await.unwrap();
    let number = house.dataset.state().mail.server_number("7").unwrap();

    let waiting = house.overload().await;
    drop(registration);
    house.until("it has left", |house| !house.dataset.is_registered(number)).await;
    // A refusal or more.
    sleep(Duration::from_millis(limits::MAIL_TEND_MS)).await;
    house.log.shut(false);
    waiting.join_all().await;

    house.until("the failure is counted", |house| house.message(seq).attempts > 0).await;
    assert_eq!((house.message(seq).attempts, house.message(other).attempts), (1, 0));
    assert!(house.message(seq).not_before > 0, "it rests");
    house.send("7").await;
    sleep(Duration::from_millis(2 * limits::MAIL_TEND_MS)).await;
    assert_eq!(house.message(seq).attempts, 1);
    tokio::task::spawn_blocking(move || house.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_message_is_a_dead_letter_however_long_the_owner_takes_nothing() {
    let house = Arc::new(Fixture::open().await);
    let seq = house.send("7").await;
    house.shut_bodies();
    *house.bodies.damaged.lock().unwrap() = true;
    let _registration = house.dataset.register("7".into(), 1, None).await.unwrap();
    house.bodies.door.until_a_thread_waits();

    let waiting = house.overload().await;
    house.bodies.door.shut(false);
    house.until("it is found", |house| house.dataset.mail_counts().damaged > 0).await;
    house.log.shut(false);
    waiting.join_all().await;

    let is_dead = |house: &Fixture| house.message(seq).status == Status::Dead;
    house.until("it is a dead letter", |house| is_dead(house)).await;
    tokio::task::spawn_blocking(move || house.close()).await.unwrap();
}
