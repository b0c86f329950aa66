//! A decoder of frames to hold the product's against: all bytes at once, as plain as RFC 6455 section 5 has it.

/// What a whole stream says.
#[derive(Debug, Default)]
pub struct Stream {
    /// Messages, control frames included, in the order in which they end.
    pub messages: Vec<(u8, Vec<u8>)>,
    /// What ends it.
    pub end: End,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub enum End {
    /// The bytes.
    #[default]
    Cut,
    /// A close frame, which is the last message.
    Closed,
    /// The rules are broken, or a message is too large.
    Broken,
}

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PONG: u8 = 10;

/// Decodes what one end sent: masked or not, with messages of at most so many bytes, and close codes that are
/// defined or any that the contract lets a guest send.
pub fn decode(mut wire: &[u8], masked: bool, largest: usize, defined_codes: bool) -> Stream {
    let mut stream = Stream::default();
    let mut partial: Option<(u8, Vec<u8>)> = None;
    loop {
        match frame(wire, masked) {
            Err(()) => stream.end = End::Broken,
            Ok(None) => {
                // Of a frame that is not whole, the header, and the text so far, may be wrong already.
                if header(wire, masked)
                    .is_ok_and(|header| header.is_some_and(|header| !fits(&header, &partial, largest)))
                    || begins_badly(wire, masked, &partial)
                {
                    stream.end = End::Broken;
                }
            }
            Ok(Some((first, payload, rest))) => {
                wire = rest;
                let (is_final, opcode) = (first & 0x80 != 0, first & 0x0F);
                match opcode {
                    0..=2 => {
                        if (opcode == 0) != partial.is_some() {
                            stream.end = End::Broken;
                            return stream;
                        }
                        let (kind, mut data) = partial.take().unwrap_or((opcode, Vec::new()));
                        data.extend(payload);
                        if data.len() > largest || kind == TEXT && !is_text(&data, is_final) {
                            stream.end = End::Broken;
                            return stream;
                        }
                        if is_final {
                            stream.messages.push((kind, data));
                        } else {
                            partial = Some((kind, data));
                        }
                    }
                    CLOSE if !is_close(&payload, defined_codes) => stream.end = End::Broken,
                    CLOSE => {
                        stream.messages.push((CLOSE, payload));
                        stream.end = End::Closed;
                    }
                    _ => stream.messages.push((opcode, payload)),
                }
                if stream.end == End::Cut {
                    continue;
                }
            }
        }
        return stream;
    }
}

struct Header {
    first: u8,
    length: u64,
    key: [u8; 4],
    size: usize,
}

/// A frame's header: an error where it breaks the rules, nothing where it is not whole.
fn header(wire: &[u8], masked: bool) -> Result<Option<Header>, ()> {
    let [first, second, ..] = *wire else { return Ok(None) };
    let (length, mut size) = match second & 0x7F {
        126 => match wire.get(2..4) {
            Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
            None => return Ok(None),
        },
        127 => match wire.get(2..10) {
            Some(bytes) => (u64::from_be_bytes(bytes.try_into().expect("eight bytes")), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let mut key = [0; 4];
    if second & 0x80 != 0 {
        match wire.get(size..size + 4) {
            Some(bytes) => key.copy_from_slice(bytes),
            None => return Ok(None),
        }
        size += 4;
    }
    let control = first & 0x08 != 0;
    let least = match second & 0x7F {
        126 => 126,
        127 => 65_536,
        _ => 0,
    };
    let known = matches!(first & 0x0F, 0..=2 | 8..=10);
    let broken = first & 0x70 != 0
        || !known
        || (second & 0x80 != 0) != masked
        || length < least
        || control && (length > 125 || first & 0x80 == 0);
    if broken { Err(()) } else { Ok(Some(Header { first, length, key, size })) }
}

type Frame<'a> = (u8, Vec<u8>, &'a [u8]);

fn frame(wire: &[u8], masked: bool) -> Result<Option<Frame<'_>>, ()> {
    let Some(Header { first, length, key, size }) = header(wire, masked)? else { return Ok(None) };
    let rest = &wire[size..];
    if (rest.len() as u64) < length {
        return Ok(None);
    }
    let (payload, rest) = rest.split_at(length as usize);
    Ok(Some((first, payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect(), rest)))
}

/// Whether a data frame may follow what came before, and is not too large with it.
fn fits(header: &Header, partial: &Option<(u8, Vec<u8>)>, largest: usize) -> bool {
    let before = partial.as_ref().map_or(0, |(_, data)| data.len() as u64);
    match header.first & 0x0F {
        0 => partial.is_some() && before.saturating_add(header.length) <= largest as u64,
        1..=2 => partial.is_none() && header.length <= largest as u64,
        _ => true,
    }
}

/// Whether the bytes that are there of a text frame cannot begin a text.
fn begins_badly(wire: &[u8], masked: bool, partial: &Option<(u8, Vec<u8>)>) -> bool {
    let Ok(Some(header)) = header(wire, masked) else { return false };
    let mut text = match (header.first & 0x0F, partial) {
        (0, Some((TEXT, data))) => data.clone(),
        (TEXT, None) => Vec::new(),
        _ => return false,
    };
    text.extend(wire[header.size..].iter().zip(header.key.iter().cycle()).map(|(byte, key)| byte ^ key));
    !is_text(&text, false)
}

fn is_text(data: &[u8], whole: bool) -> bool {
    match std::str::from_utf8(data) {
        Ok(_) => true,
        Err(error) => !whole && error.error_len().is_none(),
    }
}

fn is_close(payload: &[u8], defined_codes: bool) -> bool {
    match payload {
        [] => true,
        [_] => false,
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let defined = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            (defined || !defined_codes && matches!(code, 1016..=2999)) && std::str::from_utf8(reason).is_ok()
        }
    }
}
