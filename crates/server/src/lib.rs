//! A server for HTTP/1.1 and the WebSockets that requests become: TCP or TLS, time limits for clients, a limit of
//! clients, and a graceful stop.
//!
//! A [`Listener`] accepts clients and hands their requests to a [`Service`]. A service that wants a WebSocket calls
//! [`Endpoint::upgrade`](websocket_connection::Endpoint::upgrade); `examples/echo.rs` is a whole server of that kind.
//! Requests that HTTP/1.1 forbids are refused before a service sees them
//! ([`check_request`](websocket_connection::check_request)).
//!
//! ```
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use hyper::body::{Bytes, Incoming};
//! use tokio::sync::watch;
//! use websocket_listener::{Listener, Service};
//!
//! #[derive(Clone)]
//! struct Hello;
//!
//! impl Service for Hello {
//!     async fn answer(&self, request: Request<Incoming>, _secure: bool) -> Response<Full<Bytes>> {
//!         Response::new(Full::from(format!("you asked for {}\n", request.uri())))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = Listener::bind("127.0.0.1:0").await?;
//! println!("listening on http://{}/", listener.local_addr()?);
//! let (stop, stopping) = watch::channel(false);
//! # stop.send_replace(true);
//! // Until somebody calls `stop.send_replace(true)`.
//! listener.serve(Hello, stopping).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//!
//! A client has 30 s for its TLS handshake and for the head of each request, and is dropped when it takes nothing of an
//! answer for 60 s. A service is given as long as it likes. At most 4096 clients are served at a time; others wait in
//! the queue of the operating system. A WebSocket no longer counts as a client: its `Endpoint` has limits of its own.

#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod http1;
mod listener;
mod stop;
pub mod tls;

pub use http1::Service;
pub use listener::{Listener, ServeError};
pub use stop::asked_to_stop;
