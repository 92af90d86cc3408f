use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

/// Tokens of the RFCs, and of OpenSSL 3.0, each with its key.
const RSA: &str = include_str!("tests/rsa.json");
/// The key of RFC 7515 A.2 as OpenSSL writes it.
const SPKI: &str = include_str!("tests/spki.pem");
const PKCS1: &str = include_str!("tests/pkcs1.pem");
/// A key of 1024 bits.
const SMALL: &str = include_str!("tests/small.pem");

/// The example keys of RFC 7515 A.1, RFC 8037 A.2 and RFC 7515 A.3.
const OTHERS: &str = r#"{"keys": [
    {"kty": "oct", "k":
     "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
    {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty": "EC", "crv": "P-256", "alg": "ES256",
     "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
]}"#;

const ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::EdDSA,
];

/// A signed message, and the algorithm that its header names.
struct Signed {
    algorithm: Algorithm,
    message: String,
    signature: Vec<u8>,
}

fn signed(token: &str) -> Signed {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let algorithm = jsonwebtoken::decode_header(token).unwrap().alg;
    Signed { algorithm, message: message.to_owned(), signature }
}

fn only_key(jwk: &Value) -> Result<Verifier, TokenKeyError> {
    let mut set = KeySet::from_json(&json!({"keys": [jwk]}).to_string())?;
    Ok(set.verifiers.pop().unwrap())
}

/// Holds that the key takes the signature, and nothing that is another in any way.
fn hold(key: &Verifier, token: &str) {
    let Signed { algorithm, message, signature } = signed(token);
    let bytes = message.as_bytes();

    assert!(key.verifies(algorithm, bytes, &signature), "{key:?} {algorithm:?}");
    for other in ALGORITHMS.into_iter().filter(|other| *other != algorithm) {
        assert!(!key.verifies(other, bytes, &signature), "{key:?} {algorithm:?} as {other:?}");
    }
    let changed = message.replacen('e', "f", 1);
    assert!(!key.verifies(algorithm, changed.as_bytes(), &signature), "{key:?}");
    let (last, longer) = (signature.len() - 1, [&signature[..], &[0]].concat());
    for wrong in [&signature[1..], &signature[..last], &longer, &[], &vec![0; last + 1]] {
        assert!(!key.verifies(algorithm, bytes, wrong), "{key:?}: {} bytes", wrong.len());
    }
    let mut flipped = signature.clone();
    flipped[last] ^= 1;
    assert!(!key.verifies(algorithm, bytes, &flipped), "{key:?}");
}

#[test]
fn the_examples_of_the_rfcs_verify_and_a_changed_byte_does_not() {
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc\
                  19yb290Ijp0cnVlfQ";
    let examples = [
        format!(
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{claims}.\
             dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        ),
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
         hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
            .to_owned(),
        format!(
            "eyJhbGciOiJFUzI1NiJ9.{claims}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5d\
             jxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        ),
    ];

    for (verifier, token) in KeySet::from_json(OTHERS).unwrap().verifiers.iter().zip(examples) {
        hold(verifier, &token);
    }
}

#[test]
fn rsa_is_taken_with_both_paddings_all_hashes_and_up_to_8192_bits() {
    let examples: Vec<Value> = serde_json::from_str(RSA).unwrap();

    for example in &examples {
        let token = example["token"].as_str().unwrap();
        hold(&only_key(&example["jwk"]).unwrap(), token);
    }
    assert_eq!(examples.len(), 9);
}

#[test]
fn a_key_in_pem_is_the_same_in_spki_pkcs1_and_as_jwk() {
    let examples: Vec<Value> = serde_json::from_str(RSA).unwrap();
    let jwk = only_key(&examples[0]["jwk"]).unwrap();

    for pem in [SPKI, PKCS1] {
        let key = Verifier::from_pem(pem).unwrap();

        assert_eq!(key.fingerprint, jwk.fingerprint);
        hold(&key, examples[0]["token"].as_str().unwrap());
    }
}

#[test]
fn a_key_that_names_its_algorithm_takes_no_other() {
    let examples: Vec<Value> = serde_json::from_str(RSA).unwrap();
    let mut jwk = examples[0]["jwk"].clone();
    jwk["alg"] = json!("PS256");
    let named = only_key(&jwk).unwrap();

    let taken: Vec<_> = ALGORITHMS.into_iter().filter(|alg| named.takes(*alg)).collect();

    assert_eq!(taken, [Algorithm::PS256]);
    let rs256 = signed(examples[0]["token"].as_str().unwrap());
    assert!(!named.verifies(rs256.algorithm, rs256.message.as_bytes(), &rs256.signature));
    for alg in ["HS256", "ES256", "EdDSA", "RSA-OAEP", "none", "RS1"] {
        jwk["alg"] = json!(alg);
        assert!(only_key(&jwk).unwrap_err().to_string().contains("alg"), "{alg}");
    }
}

#[test]
fn rsa_keys_that_are_too_small_too_large_or_odd_are_refused() {
    let modulus = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] >>= 8 * n.len() - bits;
        n
    };
    let refused = |n: &[u8], e: &[u8]| Verifier::rsa(n, e).unwrap_err().to_string();

    assert!(Verifier::rsa(&modulus(2048), &[3]).is_ok());
    assert!(Verifier::rsa(&modulus(8192), &[1, 0, 1]).is_ok());
    assert!(Verifier::rsa(&[&[0], &*modulus(2048)].concat(), &[0, 1, 0, 1]).is_ok(), "zeros");
    for bits in [8, 1024, 2047, 8193] {
        let told = refused(&modulus(bits), &[1, 0, 1]);
        assert!(told.contains("2048") && told.contains(&bits.to_string()), "{told}");
    }
    assert!(refused(&[], &[3]).contains("2048") && refused(&[0, 0], &[3]).contains("2048"));
    let mut even = modulus(2048);
    *even.last_mut().unwrap() = 0xfe;
    assert!(refused(&even, &[1, 0, 1]).contains("odd"));
    for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1]] {
        assert!(refused(&modulus(2048), e).contains("exponent"), "{e:?}");
    }
    assert!(Verifier::rsa(&modulus(2048), &[1, 0, 0, 0, 1]).is_ok(), "33 bits");
    assert!(Verifier::from_pem(SMALL).unwrap_err().to_string().contains("1024 bits"));
}

#[test]
fn texts_that_are_no_public_keys_in_pem_are_refused() {
    let cut = SPKI.replacen("MIIB", "MIIC", 1);
    let private = SPKI.replace("PUBLIC", "PRIVATE");
    let mislabeled = PKCS1.replace("RSA PUBLIC", "PUBLIC");

    for pem in [&*cut, &private, &mislabeled, "", "-----BEGIN PUBLIC KEY-----"] {
        assert!(Verifier::from_pem(pem).unwrap_err().to_string().contains("in PEM"), "{pem}");
    }
}

/// RFC 7517: 4.2, 4.3 and 5.
#[test]
fn keys_of_a_set_that_are_not_understood_are_skipped_and_told() {
    let good = json!({"kty": "OKP", "crv": "Ed25519", "kid": "good",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    let skipped = [
        with("kty", json!("new")),
        with("kty", json!(7)),
        with("kty", Value::Null),
        with("crv", json!("Ed448")),
        with("alg", json!("ES512")),
        with("alg", json!(["EdDSA"])),
        with("use", json!("enc")),
        with("use", json!("another")),
        with("key_ops", json!(["sign"])),
        with("kid", json!(7)),
        with("x", json!("AAAA")),
        with("x", json!("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo")),
        with("x", Value::Null),
        json!({"kty": "oct", "k": "c2hvcnQ"}),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        json!("no key"),
        Value::Null,
    ];
    let taken = [
        with("use", json!("sig")),
        with("alg", json!("EdDSA")),
        with("key_ops", json!(["verify", "another"])),
        with("x5t", json!("anything")),
    ];
    let keys = [&skipped[..], &taken].concat();

    let set = KeySet::from_json(&json!({"keys": keys, "more": 1}).to_string()).unwrap();

    assert_eq!((set.verifiers.len(), set.skipped.len()), (taken.len(), skipped.len()));
    assert!(set.skipped[6].contains("keys[6] (\"good\"): use"), "{}", set.skipped[6]);
}

#[test]
fn a_set_without_a_key_or_with_too_many_is_refused() {
    let refused = |json: &str| KeySet::from_json(json).unwrap_err().to_string();
    let secret = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 32])});
    let keys = vec![secret; limits::TOKEN_KEYS + 1];

    assert!(refused("{").contains("no JWKS"));
    assert!(refused("{}").contains("keys"));
    assert!(refused(r#"{"keys":[]}"#).contains("no key"));
    let told = refused(r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#);
    assert!(told.contains("no key") && told.contains("keys[0]: an RSA key of 17 bits"), "{told}");
    assert!(refused(&json!({"keys": keys}).to_string()).contains("65 keys, at most 64"));
}
