//! Sessions, as guests see and make them.

use super::{
    Generation, PayloadError,
    field::{Reader, Writer},
};
use alloc::{borrow::ToOwned, format, string::String};
use bytes::{Bytes, BytesMut};

/// A session that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What the client's cookie has.
    pub id: String,
    /// JSON.
    pub data: String,
    /// Whether this request made it; newer guests are not told.
    pub is_new: bool,
}

impl Session {
    /// The payload that tells a guest its session, or that it has none.
    pub fn encode(session: Option<&Session>, generation: Generation) -> Bytes {
        let mut payload = BytesMut::new();
        match (generation, session) {
            (Generation::Older, session) => {
                // Older guests know no request without a session.
                payload.string(session.map_or("{}", |session| &session.data));
                payload.number(u32::from(session.is_none_or(|session| session.is_new)));
                payload.string(session.map_or("", |session| &session.id));
            }
            (Generation::Newer, session) => payload.optional(session, |payload, session| {
                payload.string(&session.id);
                payload.string(&session.data);
            }),
        }
        payload.freeze()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`PayloadError`] for bytes that [`Session::encode`] does not give.
    pub fn decode(payload: &[u8], generation: Generation) -> Result<Option<Self>, PayloadError> {
        let mut reader = Reader::new(payload);
        let session = match generation {
            Generation::Older => {
                let data = reader.string("the session's data")?;
                let is_new = match reader.u32("whether the session is new")? {
                    0 => false,
                    1 => true,
                    other => return Err(reader.error(4, format!("new is 0 or 1, not {other}"))),
                };
                let id = reader.string("the session's id")?;
                match (id.is_empty(), data.as_str(), is_new) {
                    (false, ..) => Some(Session { id, data, is_new }),
                    (true, "{}", true) => None,
                    (true, ..) => return Err(reader.error(4, "what has no id is new and has the data {}")),
                }
            }
            Generation::Newer => reader.optional("the session", |reader, _| {
                let id = reader.string("the session's id")?;
                Ok(Session { id, data: reader.string("the session's data")?, is_new: false })
            })?,
        };
        reader.end()?;
        Ok(session)
    }
}

/// What a guest puts into a session: a string, or for `sessionSet` also the bare JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// JSON.
    pub data: String,
}

impl NewSession {
    /// Reads the payload of `newSession` and `sessionNew`.
    ///
    /// # Errors
    /// [`PayloadError`] for bytes that are not one string.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let data = reader.string("the session's data")?;
        reader.end()?;
        Ok(NewSession { data })
    }

    /// Reads the payload of `sessionSet`: a string, or all of it is the JSON. JSON never begins with the length
    /// of what follows it, since none of its texts has a byte 0 among the first four, and a string of that
    /// length is over sixteen mebibytes.
    ///
    /// # Errors
    /// [`PayloadError`] for bytes that are neither.
    pub fn decode_either(payload: &[u8]) -> Result<Self, PayloadError> {
        let as_string = NewSession::decode(payload);
        match (as_string, core::str::from_utf8(payload)) {
            (Ok(session), _) => Ok(session),
            (Err(_), Ok(data))
                if data.trim_start().starts_with(['{', '[', '"', 'n', 't', 'f', '-'])
                    || data.trim_start().starts_with(|c: char| c.is_ascii_digit()) =>
            {
                Ok(NewSession { data: data.to_owned() })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The payload.
    pub fn encode(&self) -> Bytes {
        let mut payload = BytesMut::new();
        payload.string(&self.data);
        payload.freeze()
    }
}
