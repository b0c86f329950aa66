//! Messages to frames (RFC 6455 section 5.2). A message leaves as one frame.

use super::{Role, mask};
use crate::{CloseInfo, Message};
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

impl Encoder {
    pub(crate) fn new(role: Role) -> Self {
        Encoder { role }
    }

    /// Appends a message's frame to `output`.
    pub(crate) fn message(&self, message: &Message, output: &mut BytesMut) {
        match message {
            Message::Text(text) => self.frame(OpCode::Data(Data::Text), text.as_bytes(), output),
            Message::Binary(data) => self.frame(OpCode::Data(Data::Binary), data, output),
            Message::Ping(data) => self.frame(OpCode::Control(Control::Ping), data, output),
            Message::Pong(data) => self.frame(OpCode::Control(Control::Pong), data, output),
            Message::Close(info) => self.close(Some(info), output),
        }
    }

    /// Appends a close frame, empty where there is no code to send.
    pub(crate) fn close(&self, info: Option<&CloseInfo>, output: &mut BytesMut) {
        let mut payload = Vec::new();
        if let Some(info) = info {
            payload.extend(info.code.to_be_bytes());
            payload.extend(info.reason.as_deref().unwrap_or_default().as_bytes());
        }
        self.frame(OpCode::Control(Control::Close), &payload, output);
    }

    fn frame(&self, opcode: OpCode, payload: &[u8], output: &mut BytesMut) {
        let key = match self.role {
            Role::Client => Some(rand::random()),
            Role::Server => None,
        };
        let header = FrameHeader { opcode, mask: key, ..FrameHeader::default() };
        output.reserve(header.len(payload.len() as u64) + payload.len());
        if header.format(payload.len() as u64, &mut (&mut *output).writer()).is_err() {
            unreachable!("a growing buffer takes every header");
        }
        let start = output.len();
        output.extend_from_slice(payload);
        if let Some(key) = key {
            mask(&mut output[start..], key, 0);
        }
    }
}
