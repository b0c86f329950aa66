//! Who is in the room, and who hears what.

use crate::abi;
use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};
use websocket_payload_abi::{Kind, Message, SocketId, set_receiver};

/// How many the room holds. Each message is copied as often, within the time that the host gives a callback.
const MAX_MEMBERS: usize = 1000;
/// How many bytes a message has at most, for the same reason.
const MAX_MESSAGE: usize = 1 << 20;
/// How many characters a name has at most.
const MAX_NAME: usize = 32;

/// Those whose sockets are open.
pub(crate) struct Room {
    members: Vec<Member>,
    next_id: SocketId,
}

struct Member {
    id: SocketId,
    name: String,
}

impl Room {
    pub(crate) const fn new() -> Self {
        Room { members: Vec::new(), next_id: 0 }
    }

    /// A number for a new socket, if there is room. It is nobody's until it opens: the client may be gone, or
    /// may have asked for no WebSocket.
    pub(crate) fn admit(&mut self) -> Option<SocketId> {
        if self.members.len() >= MAX_MEMBERS {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        Some(id)
    }

    pub(crate) fn open(&mut self, id: SocketId) {
        // More may have been admitted than there is room for.
        if self.members.len() >= MAX_MEMBERS {
            return abi::websocket_close(id);
        }
        let name = format!("guest {}", id + 1);
        self.members.push(Member { id, name: name.clone() });
        self.tell_others(id, &format!("{name} joined"));
    }

    pub(crate) fn message(&mut self, message: Message) {
        // Who has quit may have said more before the close got there.
        let Some(at) = self.members.iter().position(|member| member.id == message.id) else { return };
        match message.kind {
            kind if kind.len() > MAX_MESSAGE => {
                self.tell(message.id, &format!("a message has at most {MAX_MESSAGE} bytes"))
            }
            Kind::Binary(data) => self.broadcast(Kind::Binary(data), None),
            Kind::Text(text) if text == "/quit" => {
                self.close(message.id);
                abi::websocket_close(message.id);
            }
            Kind::Text(text) => match text.strip_prefix("/name ") {
                Some(name) => self.rename(at, name.trim()),
                None => self.broadcast(Kind::Text(format!("{}: {text}", self.members[at].name)), None),
            },
        }
    }

    /// A socket closed, by whomever; also one that has left already.
    pub(crate) fn close(&mut self, id: SocketId) {
        if let Some(at) = self.members.iter().position(|member| member.id == id) {
            let Member { name, .. } = self.members.remove(at);
            self.tell_others(id, &format!("{name} left"));
        }
    }

    fn rename(&mut self, at: usize, name: &str) {
        let id = self.members[at].id;
        match self.refusal(name) {
            Some(why) => self.tell(id, &why),
            None => {
                let before = core::mem::replace(&mut self.members[at].name, name.to_owned());
                self.broadcast(Kind::Text(format!("* {before} is now {name}")), None);
            }
        }
    }

    /// Why a name cannot be had. A name must not make a message look like another's, or like the room's.
    fn refusal(&self, name: &str) -> Option<String> {
        if !(1..=MAX_NAME).contains(&name.chars().count()) {
            Some(format!("a name has 1 to {MAX_NAME} characters"))
        } else if name.starts_with('*')
            || name.starts_with("guest")
            || name.contains(|c: char| c == ':' || c.is_control())
        {
            Some("a name has no colon and no control character, and does not begin with * or guest".to_string())
        } else if self.members.iter().any(|member| member.name == name) {
            Some(format!("{name} is taken: choose another name"))
        } else {
            None
        }
    }

    fn tell(&self, id: SocketId, what: &str) {
        abi::websocket_send(&Message { id, kind: Kind::Text(format!("* {what}")) }.encode(abi::DIALECT).concat());
    }

    fn tell_others(&self, id: SocketId, what: &str) {
        self.broadcast(Kind::Text(format!("* {what}")), Some(id));
    }

    /// Sends to all but one. The payload is encoded once; only the receiver's number changes.
    fn broadcast(&self, kind: Kind, except: Option<SocketId>) {
        let mut message = Message { id: 0, kind }.encode(abi::DIALECT).concat();
        for member in self.members.iter().filter(|member| Some(member.id) != except) {
            set_receiver(&mut message, member.id);
            abi::websocket_send(&message);
        }
    }
}
