//! The methods of a connection: what each takes and gives, and what it says of a connection that is gone.

use crate::bindings::{ConnectionState, Message, WebsocketError};
use bytes::Bytes;
use std::{future::Future, io, time::Duration};
use tokio_util::codec::{Decoder, Encoder};
use websocket_connection::{Connection, Settings};
use wrpc_transport::{Decode, Encode};
use wrpc_transport_nats::{ParamWriter, Reader, SubjectWriter};

/// What can travel over the lattice, as a parameter and as a result.
pub(crate) trait Value:
    Encode<ParamWriter, Encoder: Encoder<Self, Error = io::Error> + 'static>
    + Encode<SubjectWriter, Encoder: Encoder<Self, Error = io::Error> + 'static>
    + Decode<Reader, Decoder: Decoder<Error = io::Error>>
    + Send
    + 'static
{
}

impl<T> Value for T where
    T: Encode<ParamWriter, Encoder: Encoder<Self, Error = io::Error> + 'static>
        + Encode<SubjectWriter, Encoder: Encoder<Self, Error = io::Error> + 'static>
        + Decode<Reader, Decoder: Decoder<Error = io::Error>>
        + Send
        + 'static
{
}

/// What a method is called with: the handle, and one more value. A tuple within a tuple has no bytes of its own on
/// the lattice, so that the value may as well be several.
pub(crate) type Params<M> = (Bytes, <M as Method>::Args);

/// One method of the resource `connection`.
pub(crate) trait Method: 'static {
    /// Its name on the lattice.
    const NAME: &'static str;
    type Args: Value;
    type Answer: Value;

    fn call(connection: &Connection, args: Self::Args) -> impl Future<Output = Self::Answer> + Send;

    /// The answer where the caller has no connection by that handle: that of a closed one.
    fn closed() -> Self::Answer;

    /// The most that it waits.
    fn longest(_: &Settings) -> Duration {
        Duration::ZERO
    }
}

pub(crate) struct SendMessage;
pub(crate) struct Receive;
pub(crate) struct Close;
pub(crate) struct GetState;
pub(crate) struct GetUrl;
pub(crate) struct GetSubprotocol;

impl Method for SendMessage {
    const NAME: &'static str = "connection.send";
    type Args = Message;
    type Answer = Result<(), WebsocketError>;

    async fn call(connection: &Connection, message: Message) -> Self::Answer {
        Ok(connection.send(&websocket_connection::Message::from(message)).await?)
    }

    fn closed() -> Self::Answer {
        Err(WebsocketError::ConnectionClosed)
    }

    fn longest(settings: &Settings) -> Duration {
        settings.write_timeout
    }
}

impl Method for Receive {
    const NAME: &'static str = "connection.receive";
    type Args = ();
    type Answer = Result<Option<Message>, WebsocketError>;

    async fn call(connection: &Connection, (): ()) -> Self::Answer {
        Ok(connection.receive().await?.map(Message::from))
    }

    fn closed() -> Self::Answer {
        Err(WebsocketError::ConnectionClosed)
    }

    fn longest(settings: &Settings) -> Duration {
        settings.receive_wait
    }
}

impl Method for Close {
    const NAME: &'static str = "connection.close";
    type Args = (Option<u16>, Option<String>);
    type Answer = Result<(), WebsocketError>;

    async fn call(connection: &Connection, (code, reason): Self::Args) -> Self::Answer {
        Ok(connection.close(code, reason)?)
    }

    fn closed() -> Self::Answer {
        Err(WebsocketError::ConnectionClosed)
    }
}

impl Method for GetState {
    const NAME: &'static str = "connection.get-state";
    type Args = ();
    type Answer = ConnectionState;

    async fn call(connection: &Connection, (): ()) -> Self::Answer {
        connection.state().into()
    }

    fn closed() -> Self::Answer {
        ConnectionState::Closed
    }
}

impl Method for GetUrl {
    const NAME: &'static str = "connection.get-url";
    type Args = ();
    type Answer = String;

    async fn call(connection: &Connection, (): ()) -> Self::Answer {
        connection.url().to_owned()
    }

    fn closed() -> Self::Answer {
        String::new()
    }
}

impl Method for GetSubprotocol {
    const NAME: &'static str = "connection.get-subprotocol";
    type Args = ();
    type Answer = Option<String>;

    async fn call(connection: &Connection, (): ()) -> Self::Answer {
        connection.subprotocol().map(str::to_owned)
    }

    fn closed() -> Self::Answer {
        None
    }
}
