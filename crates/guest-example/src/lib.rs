//! Connects to the WebSocket server that `WS_URL` names, sends a text and says what came back.

wit_bindgen::generate!({
    path: "wit",
    world: "websocket-client",
    generate_all,
});

use exports::wasmcloud::examples::invoke::Guest;
use wasmcloud::websocket::client::{ClientConfig, connect};
use wasmcloud::websocket::types::{Message, WebsocketHeaders};

struct Component;

impl Guest for Component {
    fn call() -> String {
        let config = ClientConfig {
            url: std::env::var("WS_URL").unwrap_or_else(|_| "ws://echo.websocket.org".to_owned()),
            subprotocols: Some(vec!["chat".to_owned()]),
            headers: Some(vec![WebsocketHeaders {
                name: "User-Agent".to_owned(),
                value: "wasmCloud-Component/1.0".to_owned(),
            }]),
            timeout_ms: Some(5000),
            max_message_size: Some(1024 * 1024),
            enable_keepalive: Some(true),
            keepalive_interval_ms: Some(30_000),
        };
        let connection = match connect(&config) {
            Ok(connection) => connection,
            Err(error) => return format!("ERROR: Failed to connect: {error:?}"),
        };
        if let Err(error) = connection.send(&Message::Text("Hello, WebSocket!".to_owned())) {
            return format!("ERROR: Failed to send message: {error:?}");
        }
        match connection.receive() {
            Ok(Some(Message::Text(text))) => format!("SUCCESS: Received response: {text}"),
            Ok(Some(_)) => "SUCCESS: Received non-text message".to_owned(),
            Ok(None) => "SUCCESS: No message received".to_owned(),
            Err(error) => format!("ERROR: Failed to receive message: {error:?}"),
        }
    }
}

export!(Component);
