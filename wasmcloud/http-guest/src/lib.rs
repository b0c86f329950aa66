//! Answers an HTTP request with what the WebSocket server that `WS_URL` names says to the request's path; `/measure/100`
//! with how long so many calls took.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "wasmcloud:http-guest/guest", generate_all });

#[path = "../../measure-guest/src/measure.rs"]
mod measure;

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
        let count = path.strip_prefix("/measure/").and_then(|count| count.parse().ok());
        let answered = server().and_then(|url| match count {
            Some(count) => measure::measure(&url, count),
            None => ask(url, &path),
        });
        let (status, text) = match answered {
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

fn server() -> Result<String, WebsocketError> {
    std::env::var("WS_URL").map_err(|error| WebsocketError::InvalidUrl(format!("WS_URL: {error}")))
}

/// Sends a text and takes what comes back, whatever other messages come before.
fn ask(url: String, text: &str) -> Result<String, WebsocketError> {
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
