//! What a guest answers to an HTTP request.

use super::{
    PayloadError, SocketId,
    field::{Reader, Writer},
};
use alloc::{format, string::String};
use bytes::{Bytes, BytesMut};

/// A response, by the number that it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// 0: text.
    Text {
        /// The body.
        body: String,
        /// The HTTP status.
        status: u32,
        /// Header fields, as a JSON object.
        headers: String,
    },
    /// 1: JSON.
    Json(String),
    /// 2: bytes.
    Blob {
        /// The body.
        bytes: Bytes,
        /// The media type.
        content_type: Option<String>,
    },
    /// 3: a view of the framework that the guest was written for.
    View {
        /// Which one.
        name: String,
        /// JSON.
        props: String,
        /// JSON.
        options: String,
    },
    /// 4: an error.
    Error {
        /// The body.
        body: Option<String>,
        /// The HTTP status.
        status: u32,
        /// The page of the framework.
        page: Option<String>,
    },
    /// 5: a redirect.
    Redirect {
        /// Where to.
        location: String,
        /// The HTTP status.
        status: Option<u32>,
    },
    /// 6: a URI to answer with.
    Uri(String),
    /// 7: the request becomes the WebSocket of this number.
    Upgrade(SocketId),
}

impl Response {
    /// The payload.
    pub fn encode(&self) -> Bytes {
        let mut payload = BytesMut::new();
        match self {
            Response::Text { body, status, headers } => {
                payload.number(0);
                payload.string(body);
                payload.number(*status);
                payload.string(headers);
            }
            Response::Json(json) => {
                payload.number(1);
                payload.string(json);
            }
            Response::Blob { bytes, content_type } => {
                payload.number(2);
                payload.bytes(bytes);
                payload.optional(content_type.as_deref(), BytesMut::string);
            }
            Response::View { name, props, options } => {
                payload.number(3);
                [name, props, options].into_iter().for_each(|text| payload.string(text));
            }
            Response::Error { body, status, page } => {
                payload.number(4);
                payload.optional(body.as_deref(), BytesMut::string);
                payload.number(*status);
                payload.optional(page.as_deref(), BytesMut::string);
            }
            Response::Redirect { location, status } => {
                payload.number(5);
                payload.string(location);
                payload.optional(*status, BytesMut::number);
            }
            Response::Uri(uri) => {
                payload.number(6);
                payload.string(uri);
            }
            Response::Upgrade(id) => {
                payload.number(7);
                payload.long(*id);
            }
        }
        payload.freeze()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`PayloadError`] for bytes that [`Response::encode`] does not give.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let response = match reader.u32("the kind of response")? {
            0 => Response::Text {
                body: reader.string("the body")?,
                status: reader.u32("the status")?,
                headers: reader.string("the headers")?,
            },
            1 => Response::Json(reader.string("the JSON")?),
            2 => Response::Blob {
                bytes: Bytes::copy_from_slice(reader.bytes("the body")?),
                content_type: reader.optional("the content type", Reader::string)?,
            },
            3 => Response::View {
                name: reader.string("the view's name")?,
                props: reader.string("the view's props")?,
                options: reader.string("the view's options")?,
            },
            4 => Response::Error {
                body: reader.optional("the error's body", Reader::string)?,
                status: reader.u32("the status")?,
                page: reader.optional("the error's page", Reader::string)?,
            },
            5 => Response::Redirect {
                location: reader.string("the location")?,
                status: reader.optional("the status", Reader::u32)?,
            },
            6 => Response::Uri(reader.string("the URI")?),
            7 => Response::Upgrade(reader.u64("the socket's number")?),
            other => return Err(reader.error(4, format!("no kind of response is {other}"))),
        };
        reader.end()?;
        Ok(response)
    }
}
