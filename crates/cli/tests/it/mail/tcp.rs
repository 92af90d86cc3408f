//! A server that takes its mail over plain TCP: frames behind their length, and no WebSocket.

use instep_client::Seq;
use serde_json::{Value, json};

use super::local::{CONFIG, Fixture, Got, got, seqs};
use crate::limits::Client;
use crate::running::free_address;

const TOPIC: &str = "server:7";

/// A local server behind the TCP door.
pub(super) struct Framed {
    pub(super) client: Client,
    sent: u64,
}

impl Framed {
    pub(super) fn connect(address: std::net::SocketAddr) -> Self {
        Self { client: Client::connect(address), sent: 1 }
    }

    /// Joins the topic of server 7; the status and the answer.
    pub(super) fn join(&mut self, params: Value) -> (String, Value) {
        self.sent += 1;
        let reference = json!(self.sent.to_string());
        self.client.ask([json!("1"), reference, TOPIC.into(), "phx_join".into(), params])
    }

    /// Says something and waits for the answer; the messages that came before it.
    pub(super) fn say(&mut self, event: &str, payload: Value) -> (Value, Vec<Got>) {
        self.sent += 1;
        let reference = json!(self.sent.to_string());
        self.client.send(&json!(["1", reference, TOPIC, event, payload]));
        let mut messages = vec![];
        loop {
            let heard = self.client.next().expect("an answer");
            match heard[3].as_str().unwrap() {
                "message" => messages.push(got(&heard[4])),
                "phx_reply" if heard[1] == reference => return (heard[4].clone(), messages),
                other => panic!("{other}: {heard}"),
            }
        }
    }

    /// The next frame's event and payload.
    fn next(&mut self) -> (String, Value) {
        let heard = self.client.next().expect("a frame");
        assert_eq!((&heard[0], &heard[2]), (&json!("1"), &json!(TOPIC)), "{heard}");
        (heard[3].as_str().unwrap().to_owned(), heard[4].clone())
    }

    fn take(&mut self, count: usize) -> Vec<Got> {
        (0..count)
            .map(|_| match self.next() {
                (event, payload) if event == "message" => got(&payload),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_its_mail_over_plain_tcp_and_a_newer_registration_fences_it() {
    let directory = tempfile::tempdir().unwrap();
    let tcp = free_address();
    let house = Fixture::open_with(directory.path(), &format!("tcp = '{tcp}'\n{CONFIG}"));
    house.route(&[("org/1", "7")]).await;
    let sent = house.send_many("org/1", 6).await;
    let mut framed = Framed::connect(tcp);

    let (status, refusal) = framed.join(json!({}));
    assert_eq!((&*status, &refusal["reason"]), ("error", &json!("key_required")));
    let (status, greeting) = framed.join(json!({"access_token": house.key(), "credit": 5}));
    assert_eq!(
        (&*status, &greeting["server"], &greeting["pending"]),
        ("ok", &json!("7"), &json!(6))
    );
    let given = framed.take(5);
    assert_eq!(seqs(&given), sent[..5].iter().map(|sent| sent.seq).collect::<Vec<_>>());

    // Done, not now, never.
    let (answer, more) = framed.say("ack", json!({"ranges": [[given[0].seq, given[1].seq]]}));
    let ok = |seqs: &[Seq]| {
        let outcomes = seqs.iter().map(|seq| json!({"seq": seq, "outcome": "ok"}));
        json!({"status": "ok", "response": {"outcomes": outcomes.collect::<Vec<_>>()}})
    };
    assert_eq!(answer, ok(&seqs(&given[..2])));
    let last = more.into_iter().chain(std::iter::from_fn(|| framed.take(1).pop())).next().unwrap();
    assert_eq!(last.seq, sent[5].seq, "there is room for one more");
    let nack = json!({"seqs": [given[2].seq], "delay_ms": 1, "failed": true});
    assert_eq!(framed.say("nack", nack).0, ok(&[given[2].seq]));
    let again = framed.take(1).remove(0);
    assert_eq!((again.seq, &again.id, again.attempt), (given[2].seq, &given[2].id, 2));
    let reject = json!({"seqs": [given[3].seq], "reason": "no such order"});
    assert_eq!(framed.say("reject", reject).0, ok(&[given[3].seq]));
    assert_eq!(house.message(given[3].seq).await["reason"], "no such order");

    // The same server over WebSocket: told, closed, fenced.
    let mut newer = house.register("7").await;
    let (event, payload) = framed.next();
    assert_eq!((&*event, &payload["reason"]), ("replaced", &json!("replaced")));
    assert_eq!(framed.next().0, "phx_close");
    let left = newer.take(3).await;
    assert_eq!(seqs(&left), [given[2].seq, given[4].seq, last.seq]);
    newer.ack(&seqs(&left)).await;
    let books = house.client.mail("mail").await.unwrap();
    assert_eq!((&books["pending"], &books["dead"]), (&json!(0), &json!(1)), "{books}");
    assert_eq!(books["queues"][0]["confirmed"], 5, "{books}");
    // The connection itself is as good as before, and may register again.
    framed.client.heartbeat();
    assert_eq!(framed.join(json!({})).0, "ok");
}
