//! Callers that do their own commit while mail has no room.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use instep_model::limits;

use super::{Fixture, LIVENESS};

#[test]
fn a_caller_never_waits_for_room_of_mail_on_a_thread_that_serves_others() {
    let (told, served) = mpsc::channel();
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = Arc::new(Fixture::open().await);
            house.send("7").await;
            house.shut_bodies();
            let registered = house.dataset.register("7".into(), 1, None).await.unwrap();
            house.bodies.door.until_a_thread_waits();
            let before = house.dataset.counters().entries;
            let sender = Arc::clone(&house);
            let sending = tokio::spawn(async move {
                loop {
                    sender.send("8").await;
                    // Others are told, so that the next commit is its caller's again.
                    tokio::task::yield_now().await;
                }
            });

            let full = before + limits::MAIL_QUEUE_ENTRIES as u64;
            while house.dataset.counters().entries <= full {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }

            told.send(()).unwrap();
            sending.abort();
            house.bodies.door.shut(false);
            drop(registered);
            tokio::task::spawn_blocking(move || house.close()).await.unwrap();
        });
    });

    served.recv_timeout(LIVENESS).expect("others are served while mail has no room");
    serving.join().unwrap();
}
