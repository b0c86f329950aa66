//! A WebSocket server that sends back what it gets.

use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, UnboundedReceiver},
};
use tokio_tungstenite::{
    accept_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// What happens at a connection of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client opened it.
    Opened,
    /// The client's close frame came, with this code.
    Closed(Option<u16>),
    /// It ended without a close frame.
    Lost,
}

/// The server, for as long as the test runs.
#[derive(Debug)]
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    /// What happened, with the address that the client dialled from.
    pub events: UnboundedReceiver<(SocketAddr, Event)>,
}

impl Echo {
    /// Starts it at a port that was free.
    pub async fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, client)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
                    let Ok(mut socket) = accept_async_with_config(tcp, Some(config)).await else { return };
                    let tell = |event| told.send((client, event)).unwrap_or_default();
                    tell(Event::Opened);
                    let end = loop {
                        match socket.next().await {
                            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                                if socket.send(message).await.is_err() {
                                    break Event::Lost;
                                }
                            }
                            Some(Ok(Message::Close(frame))) => {
                                break Event::Closed(frame.map(|frame| frame.code.into()));
                            }
                            Some(Ok(_)) => {}
                            Some(Err(_)) | None => break Event::Lost,
                        }
                    };
                    // The rest of the closing handshake.
                    while let Some(Ok(_)) = socket.next().await {}
                    tell(end);
                });
            }
        });
        Echo { address, events }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// The next thing that happens.
    pub async fn event(&mut self) -> (SocketAddr, Event) {
        test_peer::soon(self.events.recv()).await.unwrap()
    }
}
