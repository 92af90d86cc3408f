use serde_json::json;

use super::*;
use crate::issuer::{KeySource, Terms};

const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests";
const NOW: u64 = 1_700_000_000_000;
const LATER: u64 = NOW / 1000 + 3600;

/// The example keys of RFC 7515 A.1, RFC 8037 A.2 and RFC 7515 A.3.
const JWKS: &str = r#"{"keys": [
    {"kty": "oct", "kid": "h", "k":
     "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
    {"kty": "OKP", "crv": "Ed25519", "kid": "e",
     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty": "EC", "crv": "P-256", "kid": "p", "alg": "ES256",
     "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
    {"kty": "new", "kid": "n"}
]}"#;

fn tokens() -> Tokens {
    of(&[(Terms::default(), KeySource::Secret(SECRET))])
}

/// Tokens of these issuers, each with its keys.
fn of(issuers: &[(Terms, KeySource<'_>)]) -> Tokens {
    let mut tokens = Tokens::default();
    for (terms, source) in issuers {
        let mut issuer = Issuer::new(terms.clone());
        issuer.add(*source).unwrap();
        tokens.add(issuer);
    }
    tokens
}

fn sign(claims: Value) -> String {
    sign_hs256(SECRET, claims.as_object().unwrap()).unwrap()
}

fn check(claims: Value) -> Result<Proven, Refusal> {
    tokens().check(&sign(claims), NOW)
}

fn problem(result: Result<Proven, Refusal>) -> String {
    match result {
        Err(Refusal::TokenInvalid(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

/// A token with this header over good claims, signed with the secret.
fn with_header(header: &str) -> String {
    let claims = URL_SAFE_NO_PAD.encode(json!({"sub": "ann", "exp": LATER}).to_string());
    let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
    let signature = verifier::sign(SECRET, message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_good_token_names_its_subject_roles_and_end() {
    let claims = json!({"sub": "ann", "exp": LATER, "roles": ["editor"], "role": "staff"});

    let proven = check(claims).unwrap();

    assert_eq!(proven.principal.name(), "token:ann");
    assert_eq!(proven.principal.roles.iter().collect::<Vec<_>>(), ["editor", "staff"]);
    assert_eq!(proven.expires_at_ms, (LATER + limits::TOKEN_LEEWAY_S) * 1000);
}

#[test]
fn an_expired_token_is_told_apart_and_times_have_leeway() {
    let leeway = limits::TOKEN_LEEWAY_S;
    let now = NOW / 1000;
    let ends = |exp: u64| check(json!({"sub": "a", "exp": exp})).map(|_| ());

    assert_eq!(ends(now - leeway), Err(Refusal::TokenExpired));
    assert_eq!(ends(now - leeway + 1), Ok(()));
    assert_eq!(ends(0), Err(Refusal::TokenExpired));
    assert_eq!(ends(u64::MAX), Ok(()));
    let begins = |nbf: u64| check(json!({"sub": "a", "exp": LATER, "nbf": nbf}));
    assert!(begins(now + leeway).is_ok());
    assert!(problem(begins(now + leeway + 1)).contains("nbf"));
}

#[test]
fn a_token_without_end_or_subject_or_with_odd_claims_is_refused() {
    let told = |claims: Value| problem(check(claims));

    assert!(told(json!({"sub": "a"})).contains("exp"));
    assert!(told(json!({"sub": "a", "exp": "soon"})).contains("exp"));
    assert!(told(json!({"sub": "a", "exp": -1})).contains("exp"));
    for sub in [json!(null), json!(""), json!(7), json!(["a"])] {
        assert!(told(json!({"sub": sub, "exp": LATER})).contains("sub"));
    }
    let long = "a".repeat(limits::PRINCIPAL_BYTES);
    assert!(told(json!({"sub": long, "exp": LATER})).contains("longer"));
    assert!(told(json!({"sub": "a", "exp": LATER, "roles": "admin"})).contains("roles"));
    assert!(
        told(json!({"sub": "a", "exp": LATER, "rights": [{"actions": ["fly"]}]}))
            .contains("rights")
    );
    let conditional = json!([{"actions": ["join"], "topics": ["a"], "when": "true"}]);
    assert!(told(json!({"sub": "a", "exp": LATER, "rights": conditional})).contains("when"));
}

/// A token with further claims, as they stand there.
fn signed(more: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let claims = format!(r#"{{"sub":"ann","exp":{LATER}{more}}}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = verifier::sign(SECRET, message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn claims_nest_as_deep_as_any_value_and_no_deeper() {
    let nested = |levels: usize| {
        // The object of the claims is a level, too.
        let lists = levels - 1;
        let claim = format!(r#","x":{}{}"#, "[".repeat(lists), "]".repeat(lists));
        tokens().check(&signed(&claim), NOW)
    };

    assert!(nested(limits::VALUE_DEPTH).is_ok());
    assert!(problem(nested(limits::VALUE_DEPTH + 1)).contains("exact"));
}

#[test]
fn a_claim_that_would_be_read_as_something_else_makes_no_token() {
    assert!(tokens().check(&signed(r#","org":18446744073709551615"#), NOW).is_ok());
    for more in [
        r#","sub":"bob""#,
        r#","\u0073ub":"bob""#,
        r#","org":18446744073709551616"#,
        r#","org":1e999"#,
        r#","room":"\ud83d""#,
    ] {
        let told = problem(tokens().check(&signed(more), NOW));
        assert!(told.contains("exact"), "{more}: {told}");
    }
}

#[test]
fn the_token_does_not_choose_its_algorithm() {
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":""}"#,
        r#"{}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","x":1,"x":2}"#,
        r#"{"alg":"HS256","x":{"y":1,"y":1}}"#,
    ] {
        problem(tokens().check(&with_header(header), NOW));
    }
    let unsigned = with_header(r#"{"alg":"HS256"}"#);
    assert!(tokens().check(&unsigned, NOW).is_ok());
    let (message, _) = unsigned.rsplit_once('.').unwrap();
    problem(tokens().check(&format!("{message}."), NOW));
}

/// Public keys must not be usable as the secret of HS256.
#[test]
fn a_public_key_is_no_secret() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let tokens = of(&[(Terms::default(), KeySource::Jwks(JWKS))]);
    let claims = json!({"sub": "ann", "exp": LATER});
    for public in [URL_SAFE_NO_PAD.decode(x).unwrap(), x.as_bytes().to_vec()] {
        let forged = sign_hs256(&public, claims.as_object().unwrap()).unwrap();

        problem(tokens.check(&forged, NOW));
    }
    let pem = "-----BEGIN PUBLIC KEY-----\n\
               MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
               -----END PUBLIC KEY-----\n";
    assert!(Issuer::default().add(KeySource::Secret(pem.as_bytes())).is_err());
    assert!(Issuer::default().add(KeySource::Secret(JWKS.as_bytes())).is_err());
    assert!(Issuer::default().add(KeySource::Pem(pem)).is_ok());
}

#[test]
fn keys_are_found_by_their_id() {
    let tokens = of(&[(Terms::default(), KeySource::Jwks(JWKS))]);

    assert!(
        problem(tokens.check(&with_header(r#"{"alg":"HS256","kid":"x"}"#), NOW)).contains("kid")
    );
    let told = problem(tokens.check(&with_header(r#"{"alg":"HS256","kid":"e"}"#), NOW));
    assert!(told.contains("algorithm"), "{told}");
    let told = problem(tokens.check(&with_header(r#"{"alg":"HS256","kid":"h"}"#), NOW));
    assert!(told.contains("signature"), "{told}");
}

#[test]
fn issuer_and_audience_are_those_that_are_asked_for() {
    let terms = Terms {
        name: Some("me".into()),
        audience: Some("us".into()),
        leeway_s: 0,
        ..Terms::default()
    };
    let asking = of(&[(terms, KeySource::Secret(SECRET))]);
    let ask = |iss: Value, aud: Value| {
        let claims = json!({"sub": "a", "exp": LATER, "iss": iss, "aud": aud});
        asking.check(&sign(claims), NOW).map(|_| ())
    };

    assert_eq!(ask(json!("me"), json!("us")), Ok(()));
    assert_eq!(ask(json!("me"), json!(["them", "us"])), Ok(()));
    for (iss, aud) in
        [("you", json!("us")), ("me", json!("them")), ("me", json!([])), ("me", json!(null))]
    {
        assert!(ask(json!(iss), aud.clone()).is_err(), "{iss} {aud}");
    }
    assert!(asking.check(&sign(json!({"sub": "a", "exp": LATER})), NOW).is_err());
    assert!(problem(check(json!({"sub": "a", "exp": LATER, "aud": "us"}))).contains("aud"));
}

#[test]
fn secrets_that_can_be_guessed_and_files_without_keys_are_refused() {
    let add = |source: KeySource<'_>| Issuer::default().add(source).unwrap_err().to_string();

    assert!(add(KeySource::Secret(b"short\n")).contains("32"));
    assert!(
        add(KeySource::Pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"))
            .contains("Ed25519")
    );
    assert!(add(KeySource::Jwks("{}")).contains("JWKS"));
    assert!(
        add(KeySource::Jwks(r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#))
            .contains("no key")
    );
    let encryption = JWKS.replace("\"kid\"", "\"use\":\"enc\",\"kid\"");
    assert!(add(KeySource::Jwks(&encryption)).contains("no key"));
}

const OTHER: &[u8] = b"another secret of more than 32 bytes, too";

/// Two issuers that know different people by the same subject.
fn two() -> Tokens {
    let terms = |name: &str, audience: &str, leeway_s, prefix: &str| Terms {
        name: Some(name.into()),
        audience: Some(audience.into()),
        leeway_s,
        subject_prefix: prefix.into(),
    };
    of(&[
        (terms("https://one", "a", 0, ""), KeySource::Secret(SECRET)),
        (terms("https://two", "b", 60, "two-"), KeySource::Secret(OTHER)),
    ])
}

#[test]
fn a_token_is_checked_with_the_keys_and_terms_of_its_own_issuer_only() {
    let tokens = two();
    let told = |secret: &[u8], issuer: Value, audience: &str, exp: u64| {
        let claims = json!({"sub": "ann", "iss": issuer, "aud": audience, "exp": exp});
        let token = sign_hs256(secret, claims.as_object().unwrap()).unwrap();
        let name = |proven: Proven| proven.principal.name().to_owned();
        (tokens.check(&token, NOW).map(name), tokens.is_over(&token, NOW))
    };
    let refused = |secret: &[u8], issuer: Value, audience: &str| {
        let (Err(Refusal::TokenInvalid(problem)), false) = told(secret, issuer, audience, LATER)
        else {
            panic!("it was taken, or seen as expired")
        };
        problem
    };

    let (one, two) = (json!("https://one"), json!("https://two"));
    assert_eq!(told(SECRET, one.clone(), "a", LATER), (Ok("token:ann".into()), false));
    assert_eq!(told(OTHER, two.clone(), "b", LATER), (Ok("token:two-ann".into()), false));
    assert!(refused(OTHER, one.clone(), "a").contains("signature"));
    assert!(refused(SECRET, two.clone(), "b").contains("signature"));
    assert!(refused(SECRET, one.clone(), "b").contains("aud"));
    for issuer in
        [json!("https://three"), json!("https://one/"), json!(null), json!(["https://one"])]
    {
        assert!(refused(SECRET, issuer, "a").contains("iss"));
    }
    let just = NOW / 1000 - 1;
    assert_eq!(told(SECRET, one, "a", just), (Err(Refusal::TokenExpired), true));
    assert_eq!(told(OTHER, two, "b", just), (Ok("token:two-ann".into()), false));
}

#[test]
fn a_prefix_stands_in_front_of_the_subject_wherever_it_is_seen() {
    let long = "a".repeat(limits::PRINCIPAL_BYTES - token_name("").len() - "two-".len());
    let check = |subject: &str| {
        let claims = json!({"sub": subject, "iss": "https://two", "aud": "b", "exp": LATER});
        two().check(&sign_hs256(OTHER, claims.as_object().unwrap()).unwrap(), NOW)
    };

    assert_eq!(check("ann").unwrap().principal.claims["sub"], "two-ann");
    assert!(check(&long).is_ok());
    assert!(problem(check(&format!("{long}a"))).contains("longer"));
    assert!(problem(check("")).contains("sub"));
}

#[test]
fn a_key_that_an_issuer_gave_up_is_not_trusted_because_another_has_it() {
    let named = |name: &str| Terms { name: Some(name.into()), ..Terms::default() };
    let proven = {
        let claims = json!({"sub": "ann", "iss": "one", "exp": LATER});
        of(&[(named("one"), KeySource::Secret(SECRET))]).check(&sign(claims), NOW).unwrap()
    };
    let trusts = |one: &[u8], two: &[u8]| {
        let sources = [("one", one), ("two", two)];
        let issuers = sources.map(|(name, secret)| (named(name), KeySource::Secret(secret)));
        of(&issuers).trusts(&proven.principal, &proven.fingerprint)
    };

    assert!(trusts(SECRET, OTHER));
    assert!(!trusts(OTHER, SECRET));
}

#[test]
fn no_issuer_reaches_the_subjects_of_another_by_their_prefix() {
    let of_one = |subject: &str| {
        let claims = json!({"sub": subject, "iss": "https://one", "aud": "a", "exp": LATER});
        two().check(&sign(claims), NOW)
    };

    assert!(problem(of_one("two-ann")).contains("prefix"));
    assert_eq!(of_one("two_ann").unwrap().principal.name(), "token:two_ann");
}

#[test]
fn keys_that_cannot_be_read_close_their_own_issuer_only() {
    let mut tokens = two();
    let mut unread = Issuer::new(Terms { name: Some("https://three".into()), ..Terms::default() });
    unread.expect_keys();
    tokens.add(unread);
    let of_three = sign(json!({"sub": "ann", "iss": "https://three", "exp": LATER}));
    let of_one = sign(json!({"sub": "ann", "iss": "https://one", "aud": "a", "exp": LATER}));

    assert!(problem(tokens.check(&of_three, NOW)).contains("cannot read"));
    assert!(tokens.check(&of_one, NOW).is_ok());
}

proptest::proptest! {
    #[test]
    fn no_text_is_a_token_by_chance(
        text in "[ -~]{0,80}",
        parts in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}",
    ) {
        proptest::prop_assert!(tokens().check(&text, NOW).is_err());
        proptest::prop_assert!(tokens().check(&parts, NOW).is_err());
    }
}
