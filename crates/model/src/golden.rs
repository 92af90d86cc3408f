//! Golden vectors: everything that is stored, or handed to another program, as bytes that are
//! committed beside its value.
//!
//! Each file in `tests/golden` holds vectors of one type: a name, the value in readable form, and
//! the bytes. Today's code must encode the value to these bytes and decode them to the value, and
//! each variant of an enum must have a vector, in the order in which variants are numbered.
//!
//! `WRITE_GOLDEN=1 cargo nextest run -p instep-model golden` adds vectors that are missing and
//! brings readable forms up to date. It never changes bytes: those of a format that data may have
//! been written in are of no other one. See `docs/internals/formats.md`.

use std::fmt::Debug;
use std::fmt::Write as _;
use std::path::Path;

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Serialize, forward_to_deserialize_any};

mod history;
pub(crate) mod messages;
mod parts;
mod records;

/// A value with the bytes that it is stored as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) bytes: Vec<u8>,
}

impl Vector {
    pub(crate) fn new(name: &str, value: &dyn Debug, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), value: format!("{value:?}"), bytes }
    }
}

/// Holds values of an enum against the vectors that are committed, both ways. `values` has each
/// variant at least once, with a word that tells it from others of the same variant.
pub(crate) fn hold_enum<T>(file: &str, values: &[(&str, T)])
where
    T: Serialize + DeserializeOwned + Debug + PartialEq,
{
    let variants = variants_of::<T>();
    let name_of = |bytes: &[u8]| {
        let number = usize::from(bytes[0]);
        variants.get(number).copied().unwrap_or("without a number of its own")
    };
    let vectors: Vec<Vector> = values
        .iter()
        .map(|(word, value)| {
            let bytes = postcard::to_allocvec(value).unwrap();
            let name = format!("{} {word}", name_of(&bytes));
            Vector::new(name.trim(), value, bytes)
        })
        .collect();
    let mut covered: Vec<&str> = vectors.iter().map(|vector| name_of(&vector.bytes)).collect();
    covered.dedup();
    assert_eq!(covered, variants, "{file}: each variant has a vector, in order");
    for (committed, (_, value)) in hold(file, &vectors).iter().zip(values) {
        let decoded: T = postcard::from_bytes(&committed.bytes).unwrap();
        assert_eq!(decoded, *value, "{file}: {}", committed.name);
    }
}

/// Holds vectors against the committed ones, which it answers.
pub(crate) fn hold(file: &str, vectors: &[Vector]) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let committed = read(&path);
    for vector in &committed {
        let now = vectors.iter().find(|now| now.name == vector.name);
        let now = now.unwrap_or_else(|| panic!("{file}: nothing is {} any more", vector.name));
        assert_eq!(
            text_of(&now.bytes),
            text_of(&vector.bytes),
            "{file}: {} is stored in other bytes than before: give it a format of its own",
            vector.name
        );
    }
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        write(&path, vectors);
    } else {
        assert_eq!(committed, vectors, "{file}: see the head of model/src/golden.rs");
    }
    read(&path)
}

/// The variants of an enum, as they are numbered.
pub(crate) fn variants_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut variants: &'static [&'static str] = &[];
    let asked = T::deserialize(Question(&mut variants));
    assert!(asked.is_err() && !variants.is_empty(), "not an enum");
    variants
}

/// Asks a type for its variants instead of giving it a value.
struct Question<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Question<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("not an enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("only asked"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Bytes in a line.
const LINE: usize = 32;

fn text_of(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(LINE).map(line).collect::<Vec<_>>().join("\n  ")
}

fn write(path: &Path, vectors: &[Vector]) {
    let mut text = String::from("# name, = value, bytes: see model/src/golden.rs\n");
    for Vector { name, value, bytes } in vectors {
        write!(text, "\n{name}\n= {value}\n  {}\n", text_of(bytes)).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn read(path: &Path) -> Vec<Vector> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut vectors: Vec<Vector> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(digits) = line.strip_prefix("  ") {
            let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let bytes = (0..digits.len()).step_by(2).map(byte);
            vectors.last_mut().unwrap().bytes.extend(bytes);
        } else if let Some(value) = line.strip_prefix("= ") {
            vectors.last_mut().unwrap().value = value.to_owned();
        } else {
            vectors.push(Vector { name: line.to_owned(), value: String::new(), bytes: vec![] });
        }
    }
    vectors
}

#[test]
fn a_variant_without_a_vector_and_one_that_moved_are_found() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Two {
        One,
        Other,
    }
    assert_eq!(variants_of::<Two>(), ["One", "Other"]);

    for values in [vec![("", Two::One)], vec![("", Two::Other), ("", Two::One)]] {
        let held = std::panic::catch_unwind(|| hold_enum("two.txt", &values));
        let said = *held.unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains("each variant has a vector, in order"), "{said}");
    }
}
