//! The calls of stores: what they take and give.

use super::{
    PayloadError,
    field::{Reader, Writer},
};
use alloc::{format, string::String, vec, vec::Vec};
use bytes::{Bytes, BytesMut};

/// A call of a store with what it takes; documents and criteria are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreCall {
    /// How many documents fit these criteria.
    Count(String),
    /// Deletes the document of this id.
    Delete(String),
    /// The documents that fit these criteria.
    Find(String),
    /// The document of this id.
    Get(String),
    /// Whether there is a document of this id.
    Has(String),
    /// A new document.
    Insert(String),
    /// Changes the document of an id.
    Update(String, String),
    /// Deletes all.
    Clear,
}

/// What a call of a store gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAnswer {
    /// Nothing.
    Done,
    /// A number: of documents, or 0 and 1 for no and yes.
    Number(u32),
    /// JSON.
    Json(String),
}

impl StoreCall {
    /// Reads what `store` followed by this name takes: `Count`, `Delete` and so on.
    ///
    /// # Errors
    /// [`PayloadError`] for other bytes, and for another name.
    pub fn decode(name: &str, payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let call = match name {
            "Count" => StoreCall::Count(reader.string("the criteria")?),
            "Delete" => StoreCall::Delete(reader.string("the id")?),
            "Find" => StoreCall::Find(reader.string("the criteria")?),
            "Get" => StoreCall::Get(reader.string("the id")?),
            "Has" => StoreCall::Has(reader.string("the id")?),
            "Insert" => StoreCall::Insert(reader.string("the document")?),
            "Update" => {
                let id = reader.string("the id")?;
                StoreCall::Update(id, reader.string("the document")?)
            }
            "Clear" => StoreCall::Clear,
            other => return Err(reader.error(0, format!("stores have no call {other}"))),
        };
        reader.end()?;
        Ok(call)
    }

    /// The name and the payload.
    pub fn encode(&self) -> (&'static str, Bytes) {
        let mut payload = BytesMut::new();
        let (name, texts): (_, Vec<&str>) = match self {
            StoreCall::Count(criteria) => ("Count", vec![criteria]),
            StoreCall::Delete(id) => ("Delete", vec![id]),
            StoreCall::Find(criteria) => ("Find", vec![criteria]),
            StoreCall::Get(id) => ("Get", vec![id]),
            StoreCall::Has(id) => ("Has", vec![id]),
            StoreCall::Insert(document) => ("Insert", vec![document]),
            StoreCall::Update(id, document) => ("Update", vec![id, document]),
            StoreCall::Clear => ("Clear", vec![]),
        };
        texts.into_iter().for_each(|text| payload.string(text));
        (name, payload.freeze())
    }
}

/// The payload of `storeImport`: the name of a store.
pub fn encode_name(name: &str) -> Bytes {
    let mut payload = BytesMut::new();
    payload.string(name);
    payload.freeze()
}

/// Reads what `storeImport` takes: the name of a store.
///
/// # Errors
/// [`PayloadError`] for bytes that are not one string.
pub fn decode_name(payload: &[u8]) -> Result<String, PayloadError> {
    let mut reader = Reader::new(payload);
    let name = reader.string("the store's name")?;
    reader.end()?;
    Ok(name)
}

impl StoreAnswer {
    /// The payload.
    pub fn encode(&self) -> Bytes {
        let mut payload = BytesMut::new();
        match self {
            StoreAnswer::Done => {}
            StoreAnswer::Number(number) => payload.number(*number),
            StoreAnswer::Json(json) => payload.string(json),
        }
        payload.freeze()
    }

    /// Reads the answer to `store` followed by this name: `Import`, `Count`, `Delete` and so on.
    ///
    /// # Errors
    /// [`PayloadError`] for other bytes, and for the name of no call.
    pub fn decode(name: &str, payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let answer = match name {
            "Import" | "Count" | "Has" => StoreAnswer::Number(reader.u32("the number")?),
            "Find" | "Get" | "Insert" => StoreAnswer::Json(reader.string("the JSON")?),
            "Delete" | "Update" | "Clear" => StoreAnswer::Done,
            other => return Err(reader.error(0, format!("stores have no call {other}"))),
        };
        reader.end()?;
        Ok(answer)
    }
}
