//! Rights of principals, asked of a real server over HTTP.

mod ending;
mod pages;
mod revoking;
mod sockets;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instep::access::token::sign_hs256;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};

use crate::running::{PATIENCE, Server, http, instep, stderr, stdout, text};

const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests";

const RIGHTS: &str = "
origins = ['https://pages.example']

[[table]]
dataset = 'shop'
name = 'items'
public = true

[[table]]
dataset = 'shop'
name = 'secrets'

[[live]]
topic = 'room:*'
anyone_publishes = true

[[rights]]
who = 'anyone'
actions = ['read']
tables = ['shop/items']

[[rights]]
who = 'role:editor'
actions = ['commit']
tables = ['shop/items']
when = 'claims.tier == \"gold\"'

[[live]]
topic = 'vip'

[[live]]
topic = 'desk'
presence = 'list'

[[rights]]
who = 'anyone'
actions = ['join']
topics = ['desk']

[[rights]]
who = 'token'
actions = ['publish']
topics = ['room:{sub}']

[[rights]]
who = 'token'
actions = ['join']
topics = ['room:*']

[[rights]]
who = 'role:vip'
actions = ['join']
topics = ['vip']

[[rights]]
who = 'key:billing'
actions = ['read', 'commit']
datasets = ['shop']

[[rights]]
who = 'role:operator'
actions = ['administer']
datasets = ['shop']

[tokens]
leeway_s = 0
";

/// A server with rights, whose tokens are checked with the key in `file`.
struct Guarded {
    server: Server,
    directory: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Guarded {
    fn start(directory: &Path, key: &str, file: &[u8]) -> Self {
        Self::start_with(directory, ["", ""], key, file)
    }

    /// With more at the beginning of the configuration, and before `[tokens]`.
    fn start_with(directory: &Path, [first, more]: [&str; 2], key: &str, file: &[u8]) -> Self {
        let keys = directory.join("keys");
        std::fs::write(&keys, file).unwrap();
        let (rights, tokens) = RIGHTS.split_at(RIGHTS.find("[tokens]").unwrap());
        let config = format!("{first}{rights}{more}{tokens}{key} = {:?}\n", text(&keys));
        Self::start_by(directory, &config)
    }

    /// With these sections `[[tokens]]`.
    fn start_for(directory: &Path, tokens: &str) -> Self {
        let (rights, _) = RIGHTS.split_at(RIGHTS.find("[tokens]").unwrap());
        Self::start_by(directory, &format!("{rights}{tokens}"))
    }

    fn start_by(directory: &Path, config: &str) -> Self {
        let file = directory.join("instep.toml");
        std::fs::write(&file, config).unwrap();
        let data = directory.join("data");
        let server =
            Server::start(&["serve", "--config", text(&file), "--data", text(&data)], data.clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Self { server, directory: directory.to_owned(), runtime }
    }

    /// With a secret.
    fn with_secret(directory: &Path) -> Self {
        Self::start(directory, "secret", SECRET)
    }

    /// Asks; answers the status, the challenge and the body.
    fn ask(&self, bearer: &str, method: &str, path: &str, body: Value) -> (u16, String, Value) {
        self.runtime.block_on(async {
            let method = method.parse().unwrap();
            let url = format!("{}{path}", self.server.url);
            let mut request = http().request(method, url).json(&body);
            if !bearer.is_empty() {
                request = request.bearer_auth(bearer);
            }
            let answer = request.send().await.unwrap();
            let challenge = answer.headers().get("www-authenticate");
            let challenge = challenge.map_or("", |value| value.to_str().unwrap()).to_owned();
            let status = answer.status().as_u16();
            let body = answer.bytes().await.unwrap();
            (status, challenge, serde_json::from_slice(&body).unwrap_or_default())
        })
    }

    /// `ok`, or the code of the refusal.
    fn answer(&self, bearer: &str, method: &str, path: &str, body: Value) -> String {
        match self.ask(bearer, method, path, body) {
            (200..300, ..) => "ok".into(),
            (_, _, problem) => problem["code"].as_str().unwrap().to_owned(),
        }
    }

    fn commit(&self, bearer: &str, table: &str) -> String {
        let ops = json!({"ops": [{"op": "put", "table": table, "key": "k", "row": {}}]});
        self.answer(bearer, "POST", "/v1/datasets/shop/commits", ops)
    }

    fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "{what} does not come true");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn seconds_from_now(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds
}

/// A token of HS256.
fn token(claims: Value) -> String {
    let mut claims = claims.as_object().unwrap().clone();
    claims.entry("exp").or_insert_with(|| seconds_from_now(600).into());
    sign_hs256(SECRET, &claims).unwrap()
}

/// A token with any header and any signature.
fn forged(header: Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let claims = json!({"sub": "ann", "exp": seconds_from_now(600)});
    let encoded = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = encoded.join(".");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
}

#[test]
fn every_principal_may_do_what_rights_say_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let admin = std::fs::read_to_string(guarded.server.data.join("admin.key")).unwrap();
    let billing =
        stdout(&instep(&["key", "create", "billing", "--data", text(&guarded.server.data)]));
    let gold = token(json!({"sub": "eve", "roles": ["editor"], "tier": "gold"}));
    let tin = token(json!({"sub": "tim", "roles": ["editor"], "tier": "tin"}));
    let operator = token(json!({"sub": "otto", "role": "operator"}));
    guarded.wait_until("the new key", || guarded.commit(billing.trim(), "items") == "ok");
    let put = |table: &str| json!({"ops": [{"op": "put", "table": table, "key": "k", "row": {}}]});
    let test = json!({"ops": [{"op": "require", "table": "secrets", "key": "k", "exists": false}]});
    let (rows, commits) = ("/v1/datasets/shop/tables/", "/v1/datasets/shop/commits");
    let hello = json!({"event": "hello", "payload": {}});
    let (key, no, ok) = ("key_required", "forbidden", "ok");
    let asked: &[(&str, String, Value, [&str; 6])] = &[
        // Who: anonymous, gold, tin, operator, billing, admin
        ("GET", format!("{rows}items/rows"), json!(null), [ok, ok, ok, ok, ok, ok]),
        ("GET", format!("{rows}secrets/rows"), json!(null), [key, no, no, no, ok, ok]),
        (
            "GET",
            format!("{rows}nothing/rows"),
            json!(null),
            [key, no, no, no, "unknown_table", "unknown_table"],
        ),
        ("POST", commits.into(), put("items"), [key, ok, no, no, ok, ok]),
        ("POST", commits.into(), put("secrets"), [key, no, no, no, ok, ok]),
        ("POST", commits.into(), test, [key, no, no, no, "condition_failed", "condition_failed"]),
        (
            "POST",
            commits.into(),
            json!({"ops": [{"op": "create_table", "table": "new"}]}),
            [key, no, no, ok, no, ok],
        ),
        ("POST", "/v1/topics/room:eve".into(), hello.clone(), [key, ok, no, no, no, ok]),
        ("POST", "/v1/topics/room:tim".into(), hello, [key, no, ok, no, no, ok]),
        ("GET", "/v1/datasets/shop/changes".into(), json!(null), [key, no, no, no, ok, ok]),
        ("GET", "/v1/datasets/shop".into(), json!(null), [key, no, no, ok, ok, ok]),
        ("GET", "/v1/datasets".into(), json!(null), [key, no, no, ok, ok, ok]),
        ("PUT", format!("{rows}made"), json!({}), [key, no, no, ok, no, ok]),
        ("PUT", "/v1/datasets/other".into(), json!(null), [key, no, no, no, no, ok]),
    ];

    let bearers = ["", &gold, &tin, &operator, billing.trim(), admin.trim()];
    for (method, path, body, expected) in asked {
        for ((who, bearer), expected) in
            ["anonymous", "gold", "tin", "operator", "billing", "admin"]
                .iter()
                .zip(bearers)
                .zip(expected)
        {
            let answer = guarded.answer(bearer, method, path, body.clone());
            assert_eq!(answer, *expected, "{who}: {method} {path} {body}");
        }
    }
    let (_, _, seen) = guarded.ask(&operator, "GET", "/v1/datasets", json!(null));
    assert_eq!(seen.as_array().unwrap().len(), 1, "only what the operator may see: {seen}");
}

#[test]
fn a_token_that_is_no_good_has_a_code_and_a_challenge() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let path = "/v1/datasets/shop/tables/secrets/rows";
    let hs256 = |bytes: &[u8]| {
        let signed = sign_hs256(bytes, json!({"sub": "ann"}).as_object().unwrap()).unwrap();
        URL_SAFE_NO_PAD.decode(signed.rsplit('.').next().unwrap()).unwrap()
    };
    let cases = [
        (token(json!({"sub": "ann", "exp": 1})), "token_expired"),
        (token(json!({"sub": "ann", "nbf": seconds_from_now(600)})), "token_invalid"),
        (token(json!({"exp": seconds_from_now(600)})), "token_invalid"),
        (token(json!({"sub": "ann", "aud": "others"})), "token_invalid"),
        (forged(json!({"alg": "none"}), |_| vec![]), "token_invalid"),
        (forged(json!({"alg": "HS256"}), |_| vec![]), "token_invalid"),
        (forged(json!({"alg": "HS256"}), |_| hs256(SECRET)), "token_invalid"),
        (forged(json!({"alg": "RS256"}), |_| vec![0; 256]), "token_invalid"),
        ("a.b.c".into(), "token_invalid"),
        ("...".into(), "wrong_key"),
        ("instep_billing_00".into(), "wrong_key"),
    ];

    for (token, code) in cases {
        let (status, challenge, problem) = guarded.ask(&token, "GET", path, json!(null));
        assert_eq!(problem["code"], code, "{token}: {problem}");
        let expected = match code {
            "wrong_key" => (403, ""),
            _ => (401, "Bearer error=\"invalid_token\""),
        };
        assert_eq!((status, challenge.as_str()), expected, "{token}");
        let public = "/v1/datasets/shop/tables/items/rows";
        assert_eq!(guarded.answer(&token, "GET", public, json!(null)), "ok", "it is public");
    }
    let good = token(json!({"sub": "ann"}));
    assert_eq!(guarded.answer(&good, "GET", path, json!(null)), "forbidden");
}

#[test]
fn tokens_are_checked_with_public_keys_and_those_are_no_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ec =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap();
    let (x_of_ec, y_of_ec) = ec.public_key().as_ref()[1..].split_at(32);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let x = encode(ed.public_key().as_ref());
    let ed_jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x});
    let ec_jwk = json!({"kty": "EC", "crv": "P-256", "kid": "ec",
        "x": encode(x_of_ec), "y": encode(y_of_ec)});
    let jwks = json!({"keys": [ed_jwk.clone(), ec_jwk]}).to_string();
    let guarded = Guarded::start(directory.path(), "jwks", jwks.as_bytes());
    let sign_ed = |message: &[u8]| ed.sign(message).as_ref().to_vec();
    let sign_ec = |message: &[u8]| ec.sign(&random, message).unwrap().as_ref().to_vec();
    let publish = |token: &str| {
        let hello = json!({"event": "hello", "payload": {}});
        guarded.answer(token, "POST", "/v1/topics/room:ann", hello)
    };
    let ed_token = forged(json!({"alg": "EdDSA", "kid": "ed"}), sign_ed);
    let ec_token = forged(json!({"alg": "ES256", "kid": "ec"}), sign_ec);

    assert_eq!((publish(&ed_token).as_str(), publish(&ec_token).as_str()), ("ok", "ok"));
    assert_eq!(publish(&forged(json!({"alg": "EdDSA", "kid": "ec"}), sign_ed)), "token_invalid");
    assert_eq!(publish(&forged(json!({"alg": "EdDSA", "kid": "no"}), sign_ed)), "token_invalid");
    assert_eq!(publish(&forged(json!({"alg": "ES256", "kid": "ec"}), sign_ed)), "token_invalid");
    for public in [ed.public_key().as_ref().to_vec(), x.into_bytes(), jwks.into_bytes()] {
        let claims = json!({"sub": "ann", "exp": seconds_from_now(600)});
        let Ok(confused) = sign_hs256(&public, claims.as_object().unwrap()) else { continue };
        assert_eq!(publish(&confused), "token_invalid");
    }

    // A key that is rotated out is trusted no more, without a restart.
    let rotated = json!({"keys": [ed_jwk]}).to_string();
    std::fs::write(guarded.directory.join("keys"), rotated).unwrap();
    guarded.wait_until("the rotation", || publish(&ec_token) == "token_invalid");
    assert_eq!(publish(&ed_token), "ok");
}

/// I24: a right lost while following ends the feed.
#[test]
fn a_feed_ends_with_the_token_or_the_key_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let data = text(&guarded.server.data).to_owned();
    let grants = json!([{"actions": ["read"], "datasets": ["shop"]}]);
    let brief = token(json!({"sub": "ann", "exp": seconds_from_now(3), "rights": grants}));
    let billing = stdout(&instep(&["key", "create", "billing", "--data", &data]));
    guarded.wait_until("the new key", || guarded.commit(billing.trim(), "items") == "ok");
    let admin = std::fs::read_to_string(guarded.server.data.join("admin.key")).unwrap();
    let follow = |bearer: &str| {
        let url = format!("{}/v1/datasets/shop/changes?follow=true", guarded.server.url);
        let answer = http().get(url).bearer_auth(bearer).send();
        guarded.runtime.block_on(answer).unwrap()
    };
    let last_code = |answer: reqwest::Response| {
        let all = guarded.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, answer.text()).await.expect("the feed ends").unwrap()
        });
        let last: Value = serde_json::from_str(all.lines().last().unwrap()).unwrap();
        last["error"]["code"].as_str().unwrap().to_owned()
    };

    let (by_token, by_key) = (follow(&brief), follow(billing.trim()));
    assert_eq!((by_token.status().as_u16(), by_key.status().as_u16()), (200, 200));
    assert_eq!(last_code(by_token), "token_expired");
    assert!(instep(&["key", "remove", "billing", "--data", &data]).status.success());
    guarded.wait_until("the key's end", || guarded.commit(billing.trim(), "items") == "wrong_key");
    assert_eq!(guarded.commit(admin.trim(), "items"), "ok");
    assert_eq!(last_code(by_key), "wrong_key");
}

#[test]
fn a_commit_id_belongs_to_its_sender() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let editor = |sub: &str| token(json!({"sub": sub, "roles": ["editor"], "tier": "gold"}));
    let id = uuid::Uuid::now_v7().to_string();
    let commit = |bearer: &str| {
        let ops = json!([{"op": "put", "table": "items", "key": "k", "row": {}}]);
        let body = json!({"id": id, "ops": ops});
        let (_, _, reply) = guarded.ask(bearer, "POST", "/v1/datasets/shop/commits", body);
        reply["replayed"].as_bool().unwrap_or_else(|| panic!("{reply}"))
    };
    let admin = std::fs::read_to_string(guarded.server.data.join("admin.key")).unwrap();

    assert!(!commit(&editor("ann")) && commit(&editor("ann")));
    assert!(!commit(&editor("bob")), "another subject");
    assert!(!commit(&editor("admin")), "a subject that is called like the admin key");
    assert!(!commit(admin.trim()) && commit(admin.trim()));
}

#[test]
fn the_command_line_signs_tokens_and_shows_them() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let secret = text(&guarded.directory.join("keys")).to_owned();
    let signed = instep(&[
        "token",
        "ann",
        "--secret",
        &secret,
        "--role",
        "editor",
        "--claims",
        r#"{"tier":"gold"}"#,
    ]);
    let signed = stdout(&signed).trim().to_owned();
    let command = |token: &str| {
        let put = r#"{"op": "put", "table": "items", "key": "cli", "row": {}}"#;
        guarded.server.instep(&["commit", "shop", put, "--token", token])
    };

    assert!(command(&signed).status.success(), "{}", stderr(&command(&signed)));
    let refused = command(&token(json!({"sub": "ann", "exp": 1})));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("token_expired"), "{}", stderr(&refused));
    let short = directory.path().join("short");
    std::fs::write(&short, "short").unwrap();
    assert_eq!(instep(&["token", "ann", "--secret", text(&short)]).status.code(), Some(2));
    assert_eq!(instep(&["key", "list", "--data", "no/such/place"]).status.code(), Some(2));
}

#[test]
fn no_client_is_served_in_public_before_rights_are_configured() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = directory.path().join("instep.toml");
    std::fs::write(&config, "http = '0.0.0.0:0'\n").unwrap();

    let refused = instep(&["serve", "--config", text(&config), "--data", text(&data)]);

    assert_eq!(refused.status.code(), Some(2));
    let told = stderr(&refused);
    assert!(told.contains("0.0.0.0:0") && told.contains("insecure_public"), "{told}");
    assert!(!data.exists(), "nothing is touched before that");
    let serve = ["serve", "--config", text(&config), "--data", text(&data)];
    drop(Server::start_anywhere(&[&serve[..], &["--insecure-public"]].concat(), data.clone()));
    let right = "[[rights]]\nwho = 'anyone'\nactions = ['join']\ntopics = ['*']\n";
    std::fs::write(&config, format!("http = '0.0.0.0:0'\n{right}")).unwrap();
    drop(Server::start_anywhere(&serve, data.clone()));
}

#[test]
fn rights_and_keys_that_do_not_fit_are_refused_with_their_key() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("instep.toml");
    let data = directory.path().join("data");
    let right = |rest: &str| format!("[[rights]]\nwho = 'anyone'\nactions = ['join']\n{rest}");
    for (content, named) in [
        (right(""), "rights[0].actions"),
        (right("topics = ['a*b']"), "rights[0].topics"),
        (right("topics = ['a']\nwhen = 'clams.x'"), "rights[0].when"),
        (right("topics = ['a']\nwhere = 'x'"), "where"),
        ("[[key]]\nname = 'a'\nsha256 = '00'".into(), "key[0]"),
        ("[tokens]\njwks = 'no/such/file'".into(), "tokens.jwks"),
        ("[tokens]\nsecret = '/dev/null'".into(), "tokens.secret"),
    ] {
        std::fs::write(&config, &content).unwrap();
        let refused = instep(&[
            "serve",
            "--config",
            text(&config),
            "--data",
            text(&data),
            "--http",
            "127.0.0.1:0",
        ]);
        assert_eq!(refused.status.code(), Some(2), "{content}");
        assert!(stderr(&refused).contains(named), "{content}: {}", stderr(&refused));
    }
}
