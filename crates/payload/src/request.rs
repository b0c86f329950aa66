//! What a guest gets of an HTTP request.

use super::{
    Generation, PayloadError,
    field::{Reader, Writer},
};
use alloc::{format, string::String, vec::Vec};
use bytes::{Bytes, BytesMut};

/// Names and values, in order.
pub type Fields = Vec<(String, String)>;

/// A request in sections, each behind its number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Section 0: the URL.
    pub url: String,
    /// Section 1.
    pub body: Body,
    /// Section 2: what a router found in the path.
    pub path: Fields,
    /// Section 3: what is behind the question mark.
    pub query: Fields,
    /// Section 4: header fields.
    pub headers: Fields,
    /// Section 5.
    pub cookies: Fields,
}

/// The body of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Body {
    /// The request has no body.
    #[default]
    None,
    /// Text.
    Text(String),
    /// A form, URL-encoded or in parts.
    Form(Vec<(String, Field)>),
    /// Bytes of a type; newer guests only.
    Blob {
        /// The media type.
        mime: String,
        /// The bytes.
        bytes: Bytes,
    },
    /// JSON as it came; newer guests only.
    Json(String),
}

/// The value of a form's field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// Text.
    Text(String),
    /// A file.
    File(File),
}

/// A file of a form. Older guests get its bytes alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// The name that the client gives it.
    pub name: String,
    /// The media type.
    pub mime: String,
    /// The content.
    pub bytes: Bytes,
}

impl Request {
    /// The payload; `None` for a body that guests of this generation cannot be told. Entries with an empty
    /// value are left out.
    pub fn encode(&self, generation: Generation) -> Option<Bytes> {
        let mut payload = BytesMut::new();
        payload.number(0);
        payload.string(&self.url);
        payload.number(1);
        self.body.encode(generation, &mut payload)?;
        for (number, fields) in (2..).zip([&self.path, &self.query, &self.headers, &self.cookies]) {
            let present = || fields.iter().filter(|(_, value)| !value.is_empty());
            payload.number(number);
            payload.number(u32::try_from(present().count()).unwrap_or(u32::MAX));
            for (name, value) in present() {
                payload.string(name);
                payload.string(value);
            }
        }
        Some(payload.freeze())
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`PayloadError`] for bytes that [`Request::encode`] does not give.
    pub fn decode(payload: &[u8], generation: Generation) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        reader.tag(0, "the URL's section")?;
        let url = reader.string("the URL")?;
        reader.tag(1, "the body's section")?;
        let body = Body::decode(&mut reader, generation)?;
        let mut section = |number, what: &str| {
            reader.tag(number, what)?;
            reader.list(what, |reader| {
                let name = reader.string(what)?;
                match reader.string(what)? {
                    empty if empty.is_empty() => Err(reader.error(4, format!("{what} has an empty value"))),
                    value => Ok((name, value)),
                }
            })
        };
        let request = Request {
            path: section(2, "the path's section")?,
            query: section(3, "the query's section")?,
            headers: section(4, "the headers' section")?,
            cookies: section(5, "the cookies' section")?,
            url,
            body,
        };
        reader.end()?;
        Ok(request)
    }
}

impl Body {
    fn encode(&self, generation: Generation, payload: &mut BytesMut) -> Option<()> {
        let newer = generation == Generation::Newer;
        match self {
            Body::None => payload.number(0),
            Body::Text(text) => {
                payload.number(1);
                payload.string(text);
            }
            Body::Form(fields) => {
                payload.number(2);
                payload.number(u32::try_from(fields.len()).unwrap_or(u32::MAX));
                for (name, field) in fields {
                    payload.string(name);
                    match field {
                        Field::Text(text) => {
                            payload.number(0);
                            payload.string(text);
                        }
                        Field::File(file) => {
                            payload.number(1);
                            if newer {
                                payload.string(&file.name);
                                payload.string(&file.mime);
                            }
                            payload.bytes(&file.bytes);
                        }
                    }
                }
            }
            Body::Blob { mime, bytes } if newer => {
                payload.number(3);
                payload.string(mime);
                payload.bytes(bytes);
            }
            Body::Json(json) if newer => {
                payload.number(4);
                payload.string(json);
            }
            // The closest that an older guest knows.
            Body::Json(json) => {
                payload.number(1);
                payload.string(json);
            }
            Body::Blob { bytes, .. } => {
                let text = core::str::from_utf8(bytes).ok()?;
                payload.number(1);
                payload.string(text);
            }
        }
        Some(())
    }

    fn decode(reader: &mut Reader<'_>, generation: Generation) -> Result<Self, PayloadError> {
        let newer = generation == Generation::Newer;
        match reader.u32("the kind of body")? {
            0 => Ok(Body::None),
            1 => reader.string("the text").map(Body::Text),
            2 => {
                let fields = reader.list("the form", |reader| {
                    let name = reader.string("a field's name")?;
                    let field = match reader.u32("the kind of a field")? {
                        0 => Field::Text(reader.string("a field")?),
                        1 => {
                            let mut file = File::default();
                            if newer {
                                file.name = reader.string("a file's name")?;
                                file.mime = reader.string("a file's type")?;
                            }
                            file.bytes = Bytes::copy_from_slice(reader.bytes("a file")?);
                            Field::File(file)
                        }
                        other => return Err(reader.error(4, format!("no kind of field is {other}"))),
                    };
                    Ok((name, field))
                })?;
                Ok(Body::Form(fields))
            }
            3 if newer => {
                let mime = reader.string("the body's type")?;
                Ok(Body::Blob { mime, bytes: Bytes::copy_from_slice(reader.bytes("the body")?) })
            }
            4 if newer => reader.string("the JSON").map(Body::Json),
            other => Err(reader.error(4, format!("no kind of body is {other}"))),
        }
    }
}
