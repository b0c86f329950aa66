//! Answers an HTTP request with what the WebSocket server that `WS_URL` names says to the request's path.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "wasmcloud:http-guest/guest", generate_all });

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasmcloud::websocket::{
    client::{ClientConfig, connect},
    types::{Message, WebsocketError},
};

struct Component;

wasip2::http::proxy::export!(Component);

impl wasip2::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (status, text) = match ask(&path) {
            Ok(text) => (200, text),
            Err(error) => (502, format!("{error:?}")),
        };
        let response = OutgoingResponse::new(Fields::new());
        let sent = response.set_status_code(status).and_then(|()| response.body());
        ResponseOutparam::set(answer, Ok(response));
        if let Ok(body) = sent
            && let Ok(stream) = body.write()
        {
            // A client that went away has no use for the rest.
            let _ = stream.blocking_write_and_flush(text.as_bytes());
            drop(stream);
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

/// Sends a text and takes what comes back, whatever other messages come before.
fn ask(text: &str) -> Result<String, WebsocketError> {
    let url = std::env::var("WS_URL").map_err(|error| WebsocketError::InvalidUrl(format!("WS_URL: {error}")))?;
    let connection = connect(&ClientConfig {
        url,
        subprotocols: None,
        headers: None,
        timeout_ms: None,
        max_message_size: None,
        enable_keepalive: None,
        keepalive_interval_ms: None,
    })?;
    connection.send(&Message::Text(text.to_owned()))?;
    loop {
        if let Some(Message::Text(text)) = connection.receive()? {
            return Ok(text);
        }
    }
}
