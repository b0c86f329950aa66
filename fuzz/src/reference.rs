//! A decoder of frames to hold the product's against: all bytes at once, as plain as RFC 6455 section 5 has it, and RFC 7692
//! section 6.

use crate::inflate::{Inflated, inflate};

/// A message, or a control frame: its opcode and its payload.
pub type Frame = (u8, Vec<u8>);

/// What a whole stream says.
#[derive(Debug)]
pub struct Stream {
    /// Messages, control frames included, in the order in which they end.
    pub messages: Vec<Frame>,
    /// What ends it.
    pub end: End,
    /// How many bytes come after the end.
    pub rest: usize,
    /// The end is within a compressed message. It is inflated here once it is whole, and the product may find it invalid or too
    /// large before that.
    pub within_compressed: bool,
    /// Of each text and binary message, the payloads that its frames have on the wire, unmasked.
    pub fragments: Vec<Vec<Vec<u8>>>,
    /// The message that the end cuts short: its kind, and its bytes so far unless they are compressed.
    pub cut: Option<(u8, Option<Vec<u8>>)>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum End {
    /// The bytes.
    Cut,
    /// A close frame, which is the last message.
    Closed,
    /// The rules are broken, or a message is too large: the close code that says so.
    Broken(u16),
    /// A compressed message is too large, and its beginning is not valid either: 1009 or 1007.
    TooLargeOrInvalid,
}

/// How the negotiated compression works.
#[derive(Debug, Clone, Copy)]
pub struct Compression {
    /// Messages may refer to those before.
    pub takeover: bool,
}

/// A message that has begun.
struct Partial {
    kind: u8,
    data: Vec<u8>,
    is_compressed: bool,
    fragments: Vec<Vec<u8>>,
}

/// What the frames so far leave behind.
struct Decoder {
    masked: bool,
    largest: usize,
    compression: Option<Compression>,
    partial: Option<Partial>,
    /// The messages that compressed ones may refer to.
    before: Vec<u8>,
    fragments: Vec<Vec<Vec<u8>>>,
    /// The kind of the compressed message that is whole, and invalid or too large.
    failed: Option<u8>,
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

const PROTOCOL: End = End::Broken(1002);
const NOT_UTF8: End = End::Broken(1007);
/// Invalid compressed data.
const INVALID: End = End::Broken(1007);
const TOO_LARGE: End = End::Broken(1009);

/// Whether a close frame may carry this code, in either direction.
pub fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Decodes what one end sent: masked or not, with messages of at most so many bytes.
pub fn decode(wire: &[u8], masked: bool, largest: usize) -> Stream {
    decode_compressed(wire, masked, largest, None)
}

/// [`decode`] where compression may have been negotiated.
pub fn decode_compressed(mut wire: &[u8], masked: bool, largest: usize, compression: Option<Compression>) -> Stream {
    let mut decoder = Decoder {
        masked,
        largest,
        compression,
        partial: None,
        before: Vec::new(),
        fragments: Vec::new(),
        failed: None,
    };
    let mut messages = Vec::new();
    let end = loop {
        match decoder.frame(&mut wire) {
            Ok(None) => {}
            Ok(Some(message)) => {
                messages.push(message);
                if messages.last().is_some_and(|(kind, _)| *kind == CLOSE) {
                    break End::Closed;
                }
            }
            Err(end) => break end,
        }
    };
    let within_compressed = decoder.partial.as_ref().is_some_and(|partial| partial.is_compressed);
    let partial = decoder.partial.map(|partial| (partial.kind, (!partial.is_compressed).then_some(partial.data)));
    let cut = partial.or(decoder.failed.map(|kind| (kind, None)));
    Stream { messages, end, rest: wire.len(), within_compressed, fragments: decoder.fragments, cut }
}

impl Decoder {
    /// Takes a frame off the wire; gives the message that it ends. Of a frame that is not whole, the header, and the text so
    /// far, may be wrong already.
    fn frame(&mut self, wire: &mut &[u8]) -> Result<Option<Frame>, End> {
        let header = header(wire, self.masked, self.compression.is_some())?;
        let rest = &wire[header.size..];
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let is_whole = rest.len() >= length;
        let (payload, rest) = rest.split_at(length.min(rest.len()));
        let mut payload = payload.to_vec();
        if self.masked {
            payload.iter_mut().zip(header.key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        if header.opcode >= CLOSE {
            if !is_whole {
                return Err(End::Cut);
            }
            if header.opcode == CLOSE {
                check_close(&payload)?;
            }
            *wire = rest;
            return Ok(Some((header.opcode, payload)));
        }
        if (header.opcode == 0) != self.partial.is_some() {
            return Err(PROTOCOL);
        }
        let partial = self.partial.get_or_insert(Partial {
            kind: header.opcode,
            data: Vec::new(),
            is_compressed: header.is_compressed,
            fragments: Vec::new(),
        });
        if !partial.is_compressed && partial.data.len().saturating_add(length) > self.largest {
            return Err(TOO_LARGE);
        }
        partial.data.extend(&payload);
        if partial.kind == TEXT && !partial.is_compressed && !is_text(&partial.data, is_whole && header.is_final) {
            return Err(NOT_UTF8);
        }
        if !is_whole {
            return Err(End::Cut);
        }
        partial.fragments.push(payload);
        *wire = rest;
        let Some(mut whole) = self.partial.take_if(|_| header.is_final) else { return Ok(None) };
        let (kind, fragments) = (whole.kind, std::mem::take(&mut whole.fragments));
        let message = if whole.is_compressed { self.inflate(whole) } else { Ok((kind, whole.data)) };
        match &message {
            Ok(_) => self.fragments.push(fragments),
            Err(_) => self.failed = Some(kind),
        }
        message.map(Some)
    }

    fn inflate(&mut self, Partial { kind, data, .. }: Partial) -> Result<Frame, End> {
        match inflate(&self.before, &data, self.largest) {
            Inflated::TooLarge(data) if kind == TEXT && !is_text(&data, false) => Err(End::TooLargeOrInvalid),
            Inflated::TooLarge(_) => Err(TOO_LARGE),
            Inflated::TooLargeOrInvalid => Err(End::TooLargeOrInvalid),
            Inflated::Invalid => Err(INVALID),
            Inflated::Data(data) if kind == TEXT && !is_text(&data, true) => Err(NOT_UTF8),
            Inflated::Data(data) => {
                if self.compression.is_some_and(|compression| compression.takeover) {
                    self.before.extend(&data);
                }
                Ok((kind, data))
            }
        }
    }
}

struct Header {
    is_final: bool,
    is_compressed: bool,
    opcode: u8,
    length: u64,
    key: [u8; 4],
    size: usize,
}

fn header(wire: &[u8], masked: bool, compression: bool) -> Result<Header, End> {
    let [first, second, ..] = *wire else { return Err(End::Cut) };
    let part = |at: usize, length: usize| wire.get(at..at + length).ok_or(End::Cut);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (length, least, mut size) = match second & 0x7F {
        126 => (number(part(2, 2)?), 126, 4),
        127 => (number(part(2, 8)?), 65_536, 10),
        short => (u64::from(short), 0, 2),
    };
    let is_masked = second & 0x80 != 0;
    let mut key = [0; 4];
    if is_masked {
        key.copy_from_slice(part(size, 4)?);
        size += 4;
    }
    let (is_final, is_compressed, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0F);
    let is_good = first & 0x30 == 0
        && (!is_compressed || compression && matches!(opcode, TEXT | BINARY))
        && matches!(opcode, 0..=2 | 8..=10)
        && is_masked == masked
        && length >= least
        && length >> 63 == 0
        && (opcode < CLOSE || length <= 125 && is_final);
    if is_good { Ok(Header { is_final, is_compressed, opcode, length, key, size }) } else { Err(PROTOCOL) }
}

fn is_text(data: &[u8], whole: bool) -> bool {
    match std::str::from_utf8(data) {
        Ok(_) => true,
        Err(error) => !whole && error.error_len().is_none(),
    }
}

fn check_close(payload: &[u8]) -> Result<(), End> {
    let (code, reason) = match payload {
        [] => return Ok(()),
        [_] => return Err(PROTOCOL),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !is_close_code(code) {
        return Err(PROTOCOL);
    }
    if is_text(reason, true) { Ok(()) } else { Err(NOT_UTF8) }
}
