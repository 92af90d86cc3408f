use serde_json::json;

use super::*;
use crate::issuer::{Issuer, KeySource, Terms};
use crate::key::{self, Keys};
use crate::rights::{RightDeclaration, Rights};
use crate::token::{Tokens, sign_hs256};

const OLD: &[u8] = b"the old secret, of more than 32 bytes";
const NEW: &[u8] = b"the new secret, of more than 32 bytes";

fn access(secrets: &[&[u8]]) -> Access {
    let mut issuer = Issuer::new(Terms { leeway_s: 0, ..Terms::default() });
    for secret in secrets {
        issuer.add(KeySource::Secret(secret)).unwrap();
    }
    let mut tokens = Tokens::default();
    tokens.add(issuer);
    let right = json!({"who": "role:reader", "actions": ["join"], "topics": ["news"]});
    let right: RightDeclaration = serde_json::from_value(right).unwrap();
    let rights = Rights::compile(&[right]).unwrap();
    Access { rights, tokens, keys: Keys::default() }
}

fn token(secret: &[u8], sub: &str, exp: u64, roles: &[&str]) -> String {
    let claims = json!({"sub": sub, "exp": exp, "roles": roles});
    sign_hs256(secret, claims.as_object().unwrap()).unwrap()
}

fn news(credential: &Credential, access: &Access, now_ms: u64) -> Result<(), Refusal> {
    let news = Resource::Topic { name: "news", anyone_publishes: false };
    credential.may(access, Action::Join, news, now_ms)
}

#[test]
fn a_credential_is_good_until_its_deadline() {
    let access = access(&[OLD]);
    let credential = access.credential(&token(OLD, "ann", 10, &["reader"]), 0).unwrap();

    assert_eq!(credential.next_deadline(), Some(10_000));
    assert_eq!(news(&credential, &access, 9_999), Ok(()));
    assert_eq!(news(&credential, &access, 10_000), Err(Refusal::TokenExpired));
    assert_eq!(Credential::anonymous().next_deadline(), None);
    assert_eq!(news(&Credential::anonymous(), &access, 0), Err(Refusal::KeyRequired));
}

#[test]
fn a_new_token_moves_the_deadline_even_behind_it_and_keeps_the_subject() {
    let access = access(&[OLD]);
    let mut credential = access.credential(&token(OLD, "ann", 10, &["reader"]), 0).unwrap();

    let other = credential.refresh(&access, &token(OLD, "bob", 90, &["reader"]), 5_000);
    let dead = credential.refresh(&access, &token(OLD, "ann", 4, &["reader"]), 5_000);
    assert_eq!((other, dead), (Err(Refusal::OtherSubject), Err(Refusal::TokenExpired)));
    assert_eq!(credential.next_deadline(), Some(10_000), "nothing has changed");

    credential.refresh(&access, &token(OLD, "ann", 60, &["reader"]), 11_000).unwrap();
    assert_eq!(news(&credential, &access, 11_000), Ok(()));
    assert_eq!(credential.next_deadline(), Some(60_000));
}

#[test]
fn an_anonymous_client_may_get_an_identity_and_keeps_it() {
    let access = access(&[OLD]);
    let mut credential = Credential::anonymous();

    credential.refresh(&access, &token(OLD, "ann", 10, &["reader"]), 0).unwrap();

    assert_eq!(credential.principal().name(), "token:ann");
    assert_eq!(credential.refresh(&access, "not a token", 0), Err(Refusal::WrongKey));
    assert_eq!(credential.principal().name(), "token:ann");
}

/// I24
#[test]
fn a_right_that_the_new_token_lacks_is_lost() {
    let access = access(&[OLD]);
    let mut credential = access.credential(&token(OLD, "ann", 10, &["reader"]), 0).unwrap();

    credential.refresh(&access, &token(OLD, "ann", 20, &[]), 0).unwrap();

    assert_eq!(
        news(&credential, &access, 0),
        Err(Refusal::Forbidden {
            principal: credential.principal().name().to_owned(),
            action: "join",
            what: "the topic \"news\"".into(),
        })
    );
}

/// I24
#[test]
fn a_proof_ends_with_the_key_that_made_it() {
    let (before, during, after) = (access(&[OLD]), access(&[NEW, OLD]), access(&[NEW]));
    let credential = before.credential(&token(OLD, "ann", 10, &["reader"]), 0).unwrap();

    assert_eq!(news(&credential, &during, 0), Ok(()));
    assert!(matches!(news(&credential, &after, 0), Err(Refusal::TokenInvalid(_))));

    let (text, declaration) = key::make("p", vec!["reader".into()], [1; 32]).unwrap();
    let mut with_key = access(&[OLD]);
    with_key.keys.add(&declaration).unwrap();
    let program = with_key.credential(&text, 0).unwrap();
    assert_eq!(news(&program, &with_key, u64::MAX), Ok(()));
    assert_eq!(news(&program, &before, 0), Err(Refusal::WrongKey));
}
