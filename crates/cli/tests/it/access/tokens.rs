//! Tokens as identity providers sign them, shown to a real server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use super::{Guarded, SECRET, forged, seconds_from_now};
use crate::running::{Server, http, text};
use crate::shims::until;

/// The key of RFC 7515 A.2, in PKCS#8.
const PRIVATE: &[u8] = include_bytes!("rsa.der");
/// Its public key.
const PUBLIC: &str = include_str!("../../../../access/src/verifier/tests/spki.pem");

/// A signer by RSA.
fn rsa(padding: &'static dyn RsaEncoding) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(PRIVATE).unwrap();
    move |message| {
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }
}

fn rsa_jwk(kid: &str) -> Value {
    let key = RsaKeyPair::from_pkcs8(PRIVATE).unwrap();
    let RsaPublicKeyComponents::<Vec<u8>> { n, e } = key.public_key().into();
    let encode = |number: Vec<u8>| URL_SAFE_NO_PAD.encode(number);
    json!({"kty": "RSA", "use": "sig", "kid": kid, "n": encode(n), "e": encode(e)})
}

/// `ok`, or why a token is refused.
fn publish(guarded: &Guarded, token: &str) -> String {
    let hello = json!({"event": "hello", "payload": {}});
    guarded.answer(token, "POST", "/v1/topics/room:ann", hello)
}

#[test]
fn tokens_are_checked_with_a_public_key_of_rsa_and_it_is_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(directory.path(), "public_key", PUBLIC.as_bytes());
    let told = |header: Value, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        publish(&guarded, &forged(header, |message| sign(message)))
    };
    let rs256 = rsa(&RSA_PKCS1_SHA256);

    assert_eq!(told(json!({"alg": "RS256"}), &rs256), "ok");
    assert_eq!(told(json!({"alg": "RS512"}), &rsa(&RSA_PKCS1_SHA512)), "ok");
    assert_eq!(told(json!({"alg": "PS256"}), &rsa(&RSA_PSS_SHA256)), "ok");
    assert_eq!(told(json!({"alg": "PS256"}), &rs256), "token_invalid");
    assert_eq!(told(json!({"alg": "RS384"}), &rs256), "token_invalid");
    assert_eq!(told(json!({"alg": "ES256"}), &rs256), "token_invalid");
    assert_eq!(told(json!({"alg": "none"}), &|_| vec![]), "token_invalid");
    let cut = |message: &[u8]| rs256(message)[..255].to_vec();
    assert_eq!(told(json!({"alg": "RS256"}), &cut), "token_invalid");
    let secret = hmac::Key::new(hmac::HMAC_SHA256, PUBLIC.as_bytes());
    let confused = |message: &[u8]| hmac::sign(&secret, message).as_ref().to_vec();
    assert_eq!(told(json!({"alg": "HS256"}), &confused), "token_invalid");
}

/// A provider announces its next key, signs with it, and takes the old one out.
#[test]
fn a_set_of_keys_is_rotated_without_a_restart_and_a_broken_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let unknown = json!({"kty": "EC", "crv": "secp256k1", "kid": "new", "x": "AA", "y": "AA"});
    let set = |kid: &str| json!({"keys": [unknown.clone(), rsa_jwk(kid)]}).to_string();
    let guarded = Guarded::start(directory.path(), "jwks", set("old").as_bytes());
    let write = |text: &str| {
        let next = guarded.directory.join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, guarded.directory.join("keys")).unwrap();
    };
    let sign = rsa(&RSA_PKCS1_SHA256);
    let [old, new] = ["old", "new"].map(|kid| forged(json!({"alg": "RS256", "kid": kid}), &sign));

    assert_eq!(publish(&guarded, &old), "ok");
    assert_eq!(publish(&guarded, &new), "token_invalid");
    write(&set("new"));
    guarded.wait_until("the new key", || publish(&guarded, &new) == "ok");
    assert_eq!(publish(&guarded, &old), "token_invalid");
    write(r#"{"keys": ["#);
    guarded.wait_until("the broken file", || unread(&guarded) == 1);
    assert_eq!(publish(&guarded, &new), "ok");
    write(&set("old"));
    guarded.wait_until("the mended file", || publish(&guarded, &old) == "ok");
    assert_eq!(unread(&guarded), 0);
}

#[test]
fn keys_of_a_set_that_are_skipped_are_counted_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let set = directory.path().join("set.json");
    let unknown = json!({"kty": "new", "kid": "x"});
    let keys = json!({"keys": [unknown, rsa_jwk("a"), unknown]});
    std::fs::write(&set, keys.to_string()).unwrap();
    let config = format!("[tokens]\njwks = {:?}\n", text(&set));
    let _server = Server::serve_logging(directory.path(), &config);

    until("a line in the log", || {
        let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
        let mut skipped = log.lines().filter(|line| line.contains("keys of a set are skipped"));
        skipped.any(|line| line.contains("count=2") && line.contains("keys[0]"))
    });
}

#[test]
fn a_token_opens_nothing_with_the_key_of_another_issuer() {
    let directory = tempfile::tempdir().unwrap();
    let [set, secret] = ["set.json", "secret"].map(|name| directory.path().join(name));
    std::fs::write(&set, json!({"keys": [rsa_jwk("a")]}).to_string()).unwrap();
    std::fs::write(&secret, SECRET).unwrap();
    let sections = format!(
        "[[tokens]]\nissuer = 'https://id.example'\naudience = 'instep'\nsubject_prefix = ''\n\
         jwks = {:?}\n[[tokens]]\nissuer = 'https://own.example'\nsubject_prefix = 'own-'\n\
         secret = {:?}\n",
        text(&set),
        text(&secret)
    );
    let guarded = Guarded::start_for(directory.path(), &sections);
    let by_rsa = |issuer: &str, audience: Value| {
        let header = json!({"alg": "RS256", "kid": "a"});
        signed(header, issuer, audience, rsa(&RSA_PKCS1_SHA256))
    };
    let by_secret = |issuer: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let sign = |message: &[u8]| hmac::sign(&key, message).as_ref().to_vec();
        signed(json!({"alg": "HS256"}), issuer, Value::Null, sign)
    };
    let hello = json!({"event": "hello", "payload": {}});
    let own_room =
        |token: &str| guarded.answer(token, "POST", "/v1/topics/room:own-ann", hello.clone());

    let (id, own) = ("https://id.example", "https://own.example");
    assert_eq!(publish(&guarded, &by_rsa(id, json!("instep"))), "ok");
    assert_eq!(own_room(&by_rsa(id, json!("instep"))), "forbidden");
    assert_eq!(own_room(&by_secret(own)), "ok");
    assert_eq!(publish(&guarded, &by_secret(own)), "forbidden", "another ann");
    assert_eq!(publish(&guarded, &by_rsa(id, json!("another"))), "token_invalid");
    assert_eq!(publish(&guarded, &by_rsa(own, Value::Null)), "token_invalid");
    assert_eq!(publish(&guarded, &by_secret(id)), "token_invalid");
    assert_eq!(publish(&guarded, &by_secret("https://unknown.example")), "token_invalid");
}

/// A token of `ann`; without an audience if that is null.
fn signed(header: Value, issuer: &str, audience: Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let mut claims = json!({"sub": "ann", "iss": issuer, "exp": seconds_from_now(600)});
    if !audience.is_null() {
        claims["aud"] = audience;
    }
    let encoded = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = encoded.join(".");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
}

/// Files of keys that cannot be read now, as the metrics say.
fn unread(guarded: &Guarded) -> u64 {
    let url = format!("{}/metrics", guarded.server.url);
    let admin = std::fs::read_to_string(guarded.server.data.join("admin.key")).unwrap();
    let request = http().get(url).bearer_auth(admin.trim());
    let page =
        guarded.runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() });
    let line = page.lines().find_map(|line| line.strip_prefix("instep_key_files_unread "));
    line.unwrap().parse().unwrap()
}
