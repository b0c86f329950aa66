//! Makes the calls of the protocol. The probe of wasmCloud's lattice includes this file as well.

use crate::protocol::{Answer, Ask, Config, Failure, Message, State};
use crate::wasmcloud::websocket::{
    client::{self, Connection},
    types,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// What the guest holds.
#[derive(Default)]
pub(crate) struct Probe {
    connections: HashMap<u32, Connection>,
    count: u32,
}

impl Probe {
    pub(crate) fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Connect(config) => {
                Answer::Connected(client::connect(&config.into()).map_err(Failure::from).map(|new| {
                    self.count += 1;
                    self.connections.insert(self.count, new);
                    self.count
                }))
            }
            Ask::Send(on, message) => Answer::Done(self.on(on).send(&message.into()).map_err(Failure::from)),
            Ask::Receive(on) => {
                let received = self.on(on).receive().map_err(Failure::from);
                Answer::Received(received.map(|message| message.map(Message::from)))
            }
            Ask::Close(on, code, reason) => {
                Answer::Done(self.on(on).close(code, reason.as_deref()).map_err(Failure::from))
            }
            Ask::State(on) => Answer::State(self.on(on).get_state().into()),
            Ask::Url(on) => Answer::Text(Some(self.on(on).get_url())),
            Ask::Subprotocol(on) => Answer::Text(self.on(on).get_subprotocol()),
            Ask::Drop(on) => {
                self.connections.remove(&on);
                Answer::Done(Ok(()))
            }
            Ask::Burst(on, messages, millis) => {
                let messages: Vec<_> = messages.into_iter().map(types::Message::from).collect();
                let connection = self.on(on);
                let sent = messages.iter().try_for_each(|message| connection.send(message));
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(millis) {}
                Answer::Done(sent.map_err(Failure::from))
            }
        }
    }

    fn on(&self, number: u32) -> &Connection {
        self.connections.get(&number).expect("the test names a connection that it opened")
    }
}

impl From<Config> for client::ClientConfig {
    fn from(config: Config) -> Self {
        let header = |(name, value)| types::WebsocketHeaders { name, value };
        client::ClientConfig {
            url: config.url,
            subprotocols: config.subprotocols,
            headers: config.headers.map(|headers| headers.into_iter().map(header).collect()),
            timeout_ms: config.timeout_ms,
            max_message_size: config.max_message_size,
            enable_keepalive: config.enable_keepalive,
            keepalive_interval_ms: config.keepalive_interval_ms,
        }
    }
}

impl From<Message> for types::Message {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => types::Message::Text(text),
            Message::Binary(data) => types::Message::Binary(data),
            Message::Ping(data) => types::Message::Ping(data),
            Message::Pong(data) => types::Message::Pong(data),
            Message::Close(code, reason) => types::Message::Close(types::CloseInfo { code, reason }),
        }
    }
}

impl From<types::Message> for Message {
    fn from(message: types::Message) -> Self {
        match message {
            types::Message::Text(text) => Message::Text(text),
            types::Message::Binary(data) => Message::Binary(data),
            types::Message::Ping(data) => Message::Ping(data),
            types::Message::Pong(data) => Message::Pong(data),
            types::Message::Close(info) => Message::Close(info.code, info.reason),
        }
    }
}

impl From<types::ConnectionState> for State {
    fn from(state: types::ConnectionState) -> Self {
        match state {
            types::ConnectionState::Connecting => State::Connecting,
            types::ConnectionState::Open => State::Open,
            types::ConnectionState::Closing => State::Closing,
            types::ConnectionState::Closed => State::Closed,
        }
    }
}

impl From<types::WebsocketError> for Failure {
    fn from(error: types::WebsocketError) -> Self {
        use types::WebsocketError as Error;
        match error {
            Error::ConnectionFailed(why) => Failure::ConnectionFailed(why),
            Error::InvalidUrl(why) => Failure::InvalidUrl(why),
            Error::ProtocolError(why) => Failure::ProtocolError(why),
            Error::ConnectionClosed => Failure::ConnectionClosed,
            Error::AuthenticationFailed(why) => Failure::AuthenticationFailed(why),
            Error::Timeout => Failure::Timeout,
            Error::InvalidMessage(why) => Failure::InvalidMessage(why),
            Error::IoError(why) => Failure::IoError(why),
        }
    }
}
