//! Reading of operations from JSON. Each field is read by itself, so that an error names its
//! field.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::CowStrDeserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, Error, IntoDeserializer, MapAccess, VariantAccess, Visitor,
};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::value::RawValue;

use super::Operation;
use crate::limits;

/// Variants that have no JSON form.
const INTERNAL: [&str; 2] = ["mail", "site"];

/// Error of JSON that is no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// It is nested more deeply than any value may be.
    #[error("nested deeper than {} levels", limits::VALUE_DEPTH)]
    TooDeep,
    /// A field does not read, or the whole; the field is named.
    #[error("{0}")]
    Malformed(String),
}

impl Error for OperationError {
    fn custom<T: fmt::Display>(said: T) -> Self {
        Self::Malformed(said.to_string())
    }
}

impl OperationError {
    fn of(field: &str, error: &serde_json::Error) -> Self {
        let said = error.to_string();
        // The library tells only by its words; its limit is far above ours.
        if said.starts_with("recursion limit") {
            return Self::TooDeep;
        }
        // The place is one in the field, which is named.
        let place = format!(" at line {} column {}", error.line(), error.column());
        Self::Malformed(format!("{field}: {}", said.strip_suffix(&place).unwrap_or(&said)))
    }
}

/// Fields of an object, by their names.
pub(super) type Named<'de, T> = Vec<(Cow<'de, str>, T)>;

/// Fields of an object whose values are not read yet.
pub(super) struct Parts<'de>(pub(super) Named<'de, &'de RawValue>);

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        #[derive(Deserialize)]
        struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

        impl<'de> Visitor<'de> for Object {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((FieldName(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Parts(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The fields of an operation, and the word that says which one it is.
pub(super) struct Tagged<'de, T> {
    op: String,
    fields: std::vec::IntoIter<(Cow<'de, str>, T)>,
    value: Option<(Cow<'de, str>, T)>,
}

impl<'de, T: Deserializer<'de, Error = serde_json::Error>> Tagged<'de, T> {
    /// Reads the operation that the field `op` names from the other fields.
    pub(super) fn read(mut fields: Named<'de, T>) -> Result<Operation, OperationError> {
        let at = fields.iter().position(|(name, _)| name == "op");
        let at = at.ok_or_else(|| OperationError::missing_field("op"))?;
        let (_, op) = fields.swap_remove(at);
        let op = String::deserialize(op).map_err(|error| OperationError::of("op", &error))?;
        Operation::deserialize(Self { op, fields: fields.into_iter(), value: None })
    }
}

impl<'de, T: Deserializer<'de, Error = serde_json::Error>> Deserializer<'de> for Tagged<'de, T> {
    type Error = OperationError;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, OperationError> {
        let is_internal = |op: &str| INTERNAL.contains(&op);
        if is_internal(&self.op) || !variants.contains(&self.op.as_str()) {
            let known = variants.iter().filter(|known| !is_internal(known));
            let known: Vec<String> = known.map(|known| format!("`{known}`")).collect();
            let (op, known) = (self.op, known.join(", "));
            let said = format!("unknown variant `{op}`, expected one of {known}");
            return Err(OperationError::Malformed(said));
        }
        visitor.visit_enum(self)
    }

    /// The fields alone, for a variant that is a type of its own.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, OperationError> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de, T: Deserializer<'de, Error = serde_json::Error>> EnumAccess<'de> for Tagged<'de, T> {
    type Error = OperationError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<(S::Value, Self), OperationError> {
        let op: CowStrDeserializer<'_, OperationError> =
            Cow::<str>::Owned(std::mem::take(&mut self.op)).into_deserializer();
        Ok((seed.deserialize(op)?, self))
    }
}

impl<'de, T: Deserializer<'de, Error = serde_json::Error>> VariantAccess<'de> for Tagged<'de, T> {
    type Error = OperationError;

    fn unit_variant(self) -> Result<(), OperationError> {
        Err(OperationError::custom("an operation has fields"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, OperationError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, OperationError> {
        Err(OperationError::custom("an operation has fields with names"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, OperationError> {
        visitor.visit_map(self)
    }
}

impl<'de, T: Deserializer<'de, Error = serde_json::Error>> MapAccess<'de> for Tagged<'de, T> {
    type Error = OperationError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, OperationError> {
        self.value = self.fields.next();
        let Some((name, _)) = &self.value else { return Ok(None) };
        let name: CowStrDeserializer<'_, OperationError> =
            Cow::Borrowed(&**name).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, OperationError> {
        let (name, value) = self.value.take().expect("a value comes behind its name");
        seed.deserialize(value).map_err(|error| OperationError::of(&name, &error))
    }
}
