//! `fetch METHOD URL BODY [NAME VALUE]...`: makes one request with these header fields over `wasi:http`, and prints the
//! status and the body of the response.

use std::process::ExitCode;
use wasip2::{
    http::{
        outgoing_handler::handle,
        types::{ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme},
    },
    io::streams::StreamError,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [method, url, body, fields @ ..] = &args[..] else {
        eprintln!("usage: fetch METHOD URL BODY [NAME VALUE]...");
        return ExitCode::FAILURE;
    };
    let headers = Fields::new();
    for field in fields.chunks(2) {
        if let Err(error) = headers.append(&field[0], field[1].as_bytes()) {
            println!("{error:?}");
            return ExitCode::FAILURE;
        }
    }
    match fetch(method, url, headers, body.as_bytes()) {
        Ok((status, body)) => {
            println!("{status} {}", String::from_utf8_lossy(&body));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn fetch(method: &str, url: &str, headers: Fields, body: &[u8]) -> Result<(u16, Vec<u8>), ErrorCode> {
    let (scheme, rest) = url.split_once("://").expect("the URL is whole");
    let (authority, path) = rest.split_at(rest.find('/').expect("the URL has a path"));
    let request = OutgoingRequest::new(headers);
    let set = request
        .set_method(&Method::Other(method.to_owned()))
        .and_then(|()| request.set_scheme(Some(&if scheme == "https" { Scheme::Https } else { Scheme::Http })))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    set.expect("the request is good");
    let outgoing = request.body().expect("it is taken once");
    let response = handle(request, None)?;
    let stream = outgoing.write().expect("it is taken once");
    let written = body.chunks(4096).all(|piece| stream.blocking_write_and_flush(piece).is_ok());
    drop(stream);
    // What is not written has its reason in the response.
    if written {
        OutgoingBody::finish(outgoing, None)?;
    }
    response.subscribe().block();
    let response = response.get().expect("it is there").expect("it is taken once")?;
    Ok((response.status(), read(&response)?))
}

fn read(response: &IncomingResponse) -> Result<Vec<u8>, ErrorCode> {
    let body: IncomingBody = response.consume().expect("it is taken once");
    let stream = body.stream().expect("it is taken once");
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(bytes) => all.extend(bytes),
            Err(StreamError::Closed) => return Ok(all),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(ErrorCode::InternalError(Some(error.to_debug_string())));
            }
        }
    }
}
