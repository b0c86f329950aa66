//! Messages to frames (RFC 6455 section 5.2). A message leaves as one frame.

use super::{LARGE, Role, mask};
use crate::{CloseInfo, MessageRef};
use bytes::{BufMut, BytesMut};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// Writes the frames of one end of a connection.
#[derive(Debug)]
pub(crate) struct Encoder {
    role: Role,
}

/// A frame whose header is written, and what is left of its payload.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    rest: &'a [u8],
    key: Option<[u8; 4]>,
}

impl Encoder {
    pub(crate) fn new(role: Role) -> Self {
        Encoder { role }
    }

    /// Appends a message's frame to `output`.
    pub(crate) fn message(&self, message: MessageRef<'_>, output: &mut BytesMut) {
        self.begin(message, output).put(usize::MAX, output);
    }

    /// Appends the header of a message's frame to `output`. Its payload is to follow before any other frame.
    pub(crate) fn begin<'a>(&self, message: MessageRef<'a>, output: &mut BytesMut) -> Frame<'a> {
        match message {
            MessageRef::Text(text) => self.frame(OpCode::Data(Data::Text), text.as_bytes(), output),
            MessageRef::Binary(data) => self.frame(OpCode::Data(Data::Binary), data, output),
            MessageRef::Ping(data) => self.frame(OpCode::Control(Control::Ping), data, output),
            MessageRef::Pong(data) => self.frame(OpCode::Control(Control::Pong), data, output),
            MessageRef::Close(info) => {
                self.close(Some(info), output);
                Frame { rest: &[], key: None }
            }
        }
    }

    /// Appends a close frame, empty where there is no code to send.
    pub(crate) fn close(&self, info: Option<&CloseInfo>, output: &mut BytesMut) {
        let mut payload = Vec::new();
        if let Some(info) = info {
            payload.extend(info.code.to_be_bytes());
            payload.extend(info.reason.as_deref().unwrap_or_default().as_bytes());
        }
        self.frame(OpCode::Control(Control::Close), &payload, output).put(usize::MAX, output);
    }

    fn frame<'a>(&self, opcode: OpCode, payload: &'a [u8], output: &mut BytesMut) -> Frame<'a> {
        let key = match self.role {
            Role::Client => Some(rand::random()),
            Role::Server => None,
        };
        let header = FrameHeader { opcode, mask: key, ..FrameHeader::default() };
        let length = payload.len() as u64;
        output.reserve(header.len(length) + payload.len().min(LARGE));
        if header.format(length, &mut output.writer()).is_err() {
            unreachable!("a growing buffer takes every header");
        }
        Frame { rest: payload, key }
    }
}

impl Frame<'_> {
    /// Appends what comes next of the payload to `output`, at most so many bytes: a multiple of a mask's length.
    pub(crate) fn put(&mut self, most: usize, output: &mut BytesMut) {
        let (piece, rest) = self.rest.split_at(self.rest.len().min(most));
        self.rest = rest;
        let start = output.len();
        output.extend_from_slice(piece);
        if let Some(key) = self.key {
            mask(&mut output[start..], key, 0);
        }
    }
}
