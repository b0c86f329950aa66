//! Stores: named collections of JSON documents that guests keep. An embedding host brings its own by
//! [`Stores`], or takes [`EmbeddedStores`].

mod caught;
mod embedded;
#[cfg(test)]
mod tests;
mod trial;

use super::codec::{StoreAnswer, StoreCall};
use serde_json::{Map, Value};
use std::path::PathBuf;

pub use embedded::EmbeddedStores;

/// The longest document and the longest criteria, in bytes of JSON.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// The longest name of a store and the longest id, in bytes.
const MAX_NAME: usize = 1024;

/// What answers the store calls of guests. All instances of a server share it; calls may block.
pub trait Stores: Send + Sync {
    /// Makes the store of this name where there is none.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a name that no store has.
    fn import(&self, name: &str) -> Result<(), StoreError>;

    /// Makes a call of an imported store. Documents are JSON objects with a string member `id`.
    ///
    /// - `Insert` gives the document back, with an id put in where it had none.
    /// - `Update` sets the members that it is given and leaves the others.
    /// - `Find` and `Count` are about the documents that have all members of the criteria with equal values, in the
    ///   order of insertion; `{}` fits all.
    ///
    /// # Errors
    /// [`StoreError`]; the store is then as it was before.
    fn call(&self, store: &str, call: &StoreCall) -> Result<StoreAnswer, StoreError>;
}

/// Why a call of a store failed, by the statuses that guests are told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// 1: the store was not imported.
    #[error("there is no such store: import it first")]
    NoSuchStore,
    /// 2: no document has the id.
    #[error("the store has no record of this id")]
    NoSuchRecord,
    /// 3: the host failed.
    #[error("the store failed: {0}")]
    Unknown(String),
    /// 4: the store takes no such name, id, document or criteria.
    #[error("{0}")]
    Invalid(String),
    /// 5: stores of this host have no such call.
    #[error("this host's stores have no such call")]
    Unsupported,
}

impl StoreError {
    /// What the guest's call returns; 0 would be success.
    pub fn status(&self) -> u32 {
        match self {
            StoreError::NoSuchStore => 1,
            StoreError::NoSuchRecord => 2,
            StoreError::Unknown(_) => 3,
            StoreError::Invalid(_) => 4,
            StoreError::Unsupported => 5,
        }
    }
}

/// Why a file cannot be opened as [`EmbeddedStores`].
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store file {}: {reason}", path.display())]
pub struct OpenError {
    path: PathBuf,
    reason: String,
}

fn name(what: &str, name: &str) -> Result<(), StoreError> {
    match name.len() {
        0 => Err(StoreError::Invalid(format!("{what} is empty; give it at least one character"))),
        1..=MAX_NAME => Ok(()),
        length => Err(StoreError::Invalid(format!("{what} has {length} bytes; the limit is {MAX_NAME}"))),
    }
}

fn limited(what: &str, json: &str) -> Result<(), StoreError> {
    match json.len() {
        0..=MAX_DOCUMENT => Ok(()),
        length => Err(StoreError::Invalid(format!("{what} has {length} bytes; the limit is {MAX_DOCUMENT}"))),
    }
}

fn object(what: &str, json: &str) -> Result<Map<String, Value>, StoreError> {
    limited(what, json)?;
    serde_json::from_str(json).map_err(|error| StoreError::Invalid(format!("{what} is not a JSON object: {error}")))
}

/// Equality of JSON, to which 1 and 1.0 are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && fits(a, b),
        (a, b) => a == b,
    }
}

/// Whether a document has all members of the criteria.
fn fits(document: &Map<String, Value>, criteria: &Map<String, Value>) -> bool {
    criteria.iter().all(|(name, wanted)| document.get(name).is_some_and(|member| same(member, wanted)))
}
