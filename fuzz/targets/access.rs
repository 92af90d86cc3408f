//! Access: credentials, tokens, keys, rights, patterns and origins, as clients and operators write
//! them. No client gets an identity without a signature, and no right reaches further than its
//! words.
#![no_main]

use std::sync::LazyLock;

use instep_access::issuer::{Issuer, KeySource};
use instep_access::key::{self, KeyDeclaration, Keys};
use instep_access::origin::Origins;
use instep_access::pattern::Pattern;
use instep_access::token::sign_hs256;
use instep_access::{Access, Action, Principal, Resource, RightDeclaration, Rights};
use instep_fuzz::allowance::within;
use instep_model::limits;
use instep_model::row::Fields;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const SECRET: &[u8] = b"a secret of more than 32 bytes, for fuzzing";
const NOW_MS: u64 = 1_000;

static ACCESS: LazyLock<Access> = LazyLock::new(|| {
    let mut access = Access::default();
    let mut issuer = Issuer::default();
    issuer.add(KeySource::Secret(SECRET)).expect("the secret is long enough");
    access.tokens.add(issuer);
    access.keys.set_admin("the key of an admin");
    access
});

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    LazyLock::force(&ACCESS);
    within(64 * 1024 * 1024, 16 * 1024, text.len(), || {
        let mut lines = text.lines();
        let mut line = || lines.next().unwrap_or_default();
        let (one, two, three) = (line(), line(), line());
        check_pattern(one, two);
        check_origins(one, two, three);
        check_shown(text);
        check_keys(text);
        if let Ok(Value::Object(object)) = serde_json::from_str(text) {
            check_claims(&object);
            check_right(Value::Object(object));
        }
    });
});

/// Checks that a placeholder never captures beyond its place in the pattern.
fn check_pattern(pattern: &str, text: &str) {
    let Ok(parsed) = Pattern::parse(pattern) else { return };
    assert!(!pattern.is_empty() && pattern.len() <= limits::PATTERN_BYTES);
    let claims = json!({"sub": "ann", "n": 7}).as_object().cloned().unwrap_or_default();
    let found = parsed.captures(text, &claims);
    for captured in found.iter().flat_map(|captures| captures.values()) {
        assert!(!captured.contains([':', '/']) && text.contains(captured.as_str()));
    }
    if !pattern.contains(['{', '}', '*']) {
        assert_eq!(found.is_some(), pattern == text, "a pattern without holes is its text");
    }
    if pattern.contains("{sub}") && found.is_some() {
        assert!(text.contains("ann"), "a place of another subject");
    }
}

fn check_origins(allowed: &str, origin: &str, host: &str) {
    let none = Origins::default();
    if none.allow(origin, Some(host)) {
        assert!(origin.contains("://") && !host.trim().is_empty());
    }
    assert!(!none.allow(origin, None), "nothing to be equal to");
    if let Ok(some) = Origins::parse(&[allowed.to_owned()]) {
        let is_pattern = allowed.contains('*');
        let is_same = allowed.eq_ignore_ascii_case(origin.trim());
        assert!(is_pattern || is_same || !some.allow(origin, None), "{allowed:?} {origin:?}");
    }
}

/// Nothing that was not signed or made here is taken.
fn check_shown(text: &str) {
    if let Ok(credential) = ACCESS.credential(text, NOW_MS) {
        let name = credential.principal().name();
        assert!(name.starts_with("token:") || name == "admin");
        assert_eq!(name == "admin", text.trim() == "the key of an admin");
    }
}

/// Signed claims make the token's principal and no other, and none if it has expired.
fn check_claims(claims: &Fields) {
    let token = sign_hs256(SECRET, claims).expect("the secret is long enough");
    let Ok(credential) = ACCESS.credential(&token, NOW_MS) else { return };
    let principal = credential.principal();
    let subject = claims["sub"].as_str().expect("a token has a subject");
    assert_eq!(principal.name(), format!("token:{subject}"));
    assert!(credential.next_deadline().is_some_and(|end| end > NOW_MS), "it lasts, and ends");
    let topic = Resource::Topic { name: "room:1", anyone_publishes: false };
    let may = ACCESS.decide(principal, Action::Publish, topic);
    assert!(may.is_err() || claims.contains_key("rights"), "it brings its own rights or has none");
    let commit = ACCESS.decide(principal, Action::Administer, Resource::Server);
    assert!(commit.is_err() || claims.contains_key("rights"));
}

/// A right holds for its `who` only, and allows its actions only.
fn check_right(declared: Value) {
    let Ok(declared) = serde_json::from_value::<RightDeclaration>(declared) else { return };
    let Ok(rights) = Rights::compile(std::slice::from_ref(&declared)) else { return };
    let anonymous = Principal::anonymous();
    for name in ["room:1", "table:shop/items", "inbox:ann"] {
        let topic = Resource::Topic { name, anyone_publishes: true };
        for action in [Action::Join, Action::Publish] {
            let may = rights.decide(&anonymous, action, topic).is_ok();
            let for_anonymous = ["anyone", "anonymous"].contains(&&*declared.who);
            let of_table = action == Action::Join && declared.actions.contains(&Action::Read);
            assert!(!may || for_anonymous && (declared.actions.contains(&action) || of_table));
        }
    }
    let table = Resource::Table { dataset: "shop", name: "items", public: true };
    let may = rights.decide(&anonymous, Action::Commit, table).is_ok();
    assert!(!may || declared.actions.contains(&Action::Commit));
    assert!(rights.decide(&Principal::admin(), Action::Administer, Resource::Server).is_ok());
}

fn check_keys(text: &str) {
    let _ = Issuer::default().add(KeySource::Jwks(text));
    let _ = Issuer::default().add(KeySource::Pem(text));
    let _ = Issuer::default().add(KeySource::Secret(text.as_bytes()));
    let mut keys = Keys::default();
    if let Ok(declaration) = serde_json::from_str::<KeyDeclaration>(text) {
        let _ = keys.add(&declaration);
    }
    if let Ok((key, declaration)) = key::make(text, vec![], [7; 32]) {
        keys = Keys::default();
        keys.add(&declaration).expect("what was made can be added");
        let access = Access { keys, ..Access::default() };
        let shown = access.credential(&key, NOW_MS).expect("it is its own key");
        assert_eq!(shown.principal().name(), format!("key:{text}"));
    }
}
