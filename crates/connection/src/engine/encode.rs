//! Messages to frames (RFC 6455 section 5.2). A message leaves as one frame.

use super::{LARGE, Output, Role, mask};
use crate::{CloseInfo, Message};
use bytes::{BufMut, Bytes};
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

    /// Appends a message's frame to `output`. A large payload that nobody else has is masked where it is.
    pub(crate) fn message(&self, message: Message, output: &mut Output) {
        match message {
            Message::Text(text) => self.frame(OpCode::Data(Data::Text), text.into(), output),
            Message::Binary(data) => self.frame(OpCode::Data(Data::Binary), data, output),
            Message::Ping(data) => self.frame(OpCode::Control(Control::Ping), data, output),
            Message::Pong(data) => self.frame(OpCode::Control(Control::Pong), data, output),
            Message::Close(info) => self.close(Some(&info), output),
        }
    }

    /// Appends a close frame, empty where there is no code to send.
    pub(crate) fn close(&self, info: Option<&CloseInfo>, output: &mut Output) {
        let mut payload = Vec::new();
        if let Some(info) = info {
            payload.extend(info.code.to_be_bytes());
            payload.extend(info.reason.as_deref().unwrap_or_default().as_bytes());
        }
        self.frame(OpCode::Control(Control::Close), payload.into(), output);
    }

    fn frame(&self, opcode: OpCode, payload: Bytes, output: &mut Output) {
        let key = match self.role {
            Role::Client => Some(rand::random()),
            Role::Server => None,
        };
        let header = FrameHeader { opcode, mask: key, ..FrameHeader::default() };
        let length = payload.len();
        let copied = if length < LARGE { length } else { 0 };
        let tail = output.tail();
        tail.reserve(header.len(length as u64) + copied);
        if header.format(length as u64, &mut (&mut *tail).writer()).is_err() {
            unreachable!("a growing buffer takes every header");
        }
        match key {
            Some(key) if length < LARGE => {
                let start = tail.len();
                tail.extend_from_slice(&payload);
                mask(&mut tail[start..], key, 0);
            }
            Some(key) => {
                let mut own = payload.try_into_mut().unwrap_or_else(|shared| shared[..].into());
                mask(&mut own, key, 0);
                output.push(own.freeze());
            }
            None if length < LARGE => tail.extend_from_slice(&payload),
            None => output.push(payload),
        }
    }
}
