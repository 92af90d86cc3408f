//! Rights to take mail, by dataset.

use instep_client::{ChannelError, Channels, Client};
use serde_json::{Value, json};

use super::refused;
use crate::running::{Server, instep, stdout, text};

const CONFIG: &str = "
[[mail]]
dataset = 'north'

[[mail]]
dataset = 'south'

[[dataset]]
name = 'plain'

[[rights]]
who = 'key:seven'
actions = ['register']
topics = ['server:7']
datasets = ['north']

[[rights]]
who = 'key:wide'
actions = ['register']
topics = ['server:*']
";

/// Reason for which a join is refused; empty when it is not.
async fn join(server: &Server, key: &str, topic: &str, params: Value) -> String {
    let channels = Channels::connect_with(&server.url, Some(key.to_owned())).await.unwrap();
    match channels.join(topic, params).await {
        Ok(_) => String::new(),
        Err(ChannelError::Refused(reason)) => reason["reason"].as_str().unwrap().to_owned(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_to_take_mail_is_for_the_datasets_that_it_names_and_where_mail_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let make = |name| stdout(&instep(&["key", "create", name, "--data", text(&data)]));
    let [seven, wide] = ["seven", "wide"].map(|name| make(name).trim().to_owned());
    let server = Server::serve_with(directory.path(), CONFIG);

    let pull = async |key: &str, dataset: &str, id: &str| {
        let client = Client::new(&server.url, Some(key.to_owned())).unwrap();
        client.pull(dataset, id, None, (1, 0)).await
    };
    pull(&seven, "north", "7").await.unwrap();
    pull(&wide, "south", "7").await.unwrap();
    for (dataset, id) in [("south", "7"), ("north", "8"), ("plain", "7"), ("nowhere", "7")] {
        let refusal = refused(pull(&seven, dataset, id).await);
        assert_eq!(refusal, ("forbidden".into(), 403), "{dataset} {id}");
    }
    assert_eq!(refused(pull(&wide, "plain", "7").await), ("no_mail".into(), 404));

    for (key, params, expected) in [
        (&seven, json!({"dataset": "north"}), ""),
        (&wide, json!({"dataset": "south"}), ""),
        (&seven, json!({"dataset": "south"}), "forbidden"),
        (&seven, json!({"dataset": "nowhere"}), "forbidden"),
        (&wide, json!({"dataset": "plain"}), "no_mail"),
        (&wide, json!({}), "dataset_wanted"),
    ] {
        assert_eq!(join(&server, key, "server:7", params.clone()).await, expected, "{params}");
    }
}
