//! Agreeing on the extension in the opening handshake (RFC 7692 sections 5 and 7.1).

use super::{
    Compression, EXTENSION, MAX_WINDOW_BITS, MIN_WINDOW_BITS, MemoryBudget, MemoryGrant, Options, Parameters,
    compressor, inflater,
};
use crate::{
    Role,
    handshake::extensions::{self, Extension},
};

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// Why the peer's `Sec-WebSocket-Extensions` fails the opening handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// The header is not a list of extensions (RFC 6455 section 9.1).
    #[error("the peer's Sec-WebSocket-Extensions is malformed")]
    Malformed,
    /// The server accepted an extension that was not offered.
    #[error("the server accepted the extension `{0}`, which was not offered")]
    NotOffered(String),
    /// The server accepted the extension twice.
    #[error("the server accepted {EXTENSION} twice")]
    Repeated,
    /// The parameter is not defined (RFC 7692 section 7.1).
    #[error("{EXTENSION} has no parameter `{0}`")]
    UnknownParameter(String),
    /// The parameter occurs twice.
    #[error("the parameter `{0}` of {EXTENSION} occurs twice")]
    RepeatedParameter(String),
    /// The parameter has an invalid value, or lacks its value.
    #[error("the parameter `{parameter}` of {EXTENSION} cannot be {}", .value.as_ref().map_or("without a value".to_owned(), |value| format!("`{value}`")))]
    InvalidValue {
        /// The parameter.
        parameter: &'static str,
        /// Its value, if it has one.
        value: Option<String>,
    },
    /// The server's answer lacks a parameter that the offer asked for.
    #[error("the server accepted {EXTENSION} without the parameter `{0}`, which the client demands")]
    Missing(&'static str),
    /// The server's answer allows a larger window than the offer.
    #[error("the server set `{parameter}` of {EXTENSION} to {answered}, and the client offered {offered}")]
    LargerWindow {
        /// The parameter.
        parameter: &'static str,
        /// The window bits of the offer.
        offered: u8,
        /// The window bits of the answer.
        answered: u8,
    },
}

/// The parameters of one offer or one answer, as they were sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct SentParameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Within: `None` for the parameter without a value, which an offer may have.
    client_max_window_bits: Option<Option<u8>>,
}

impl SentParameters {
    fn parse(extension: &Extension<'_>) -> Result<Self, NegotiationError> {
        let mut sent = SentParameters::default();
        for (name, value) in &extension.parameters {
            let value = value.as_deref();
            let is_repeated = match *name {
                SERVER_NO_CONTEXT_TAKEOVER => {
                    check_absent(SERVER_NO_CONTEXT_TAKEOVER, value)?;
                    std::mem::replace(&mut sent.server_no_context_takeover, true)
                }
                CLIENT_NO_CONTEXT_TAKEOVER => {
                    check_absent(CLIENT_NO_CONTEXT_TAKEOVER, value)?;
                    std::mem::replace(&mut sent.client_no_context_takeover, true)
                }
                SERVER_MAX_WINDOW_BITS => {
                    let bits = window_bits(SERVER_MAX_WINDOW_BITS, value)?;
                    sent.server_max_window_bits.replace(bits).is_some()
                }
                CLIENT_MAX_WINDOW_BITS => {
                    let bits = match value {
                        Some(_) => Some(window_bits(CLIENT_MAX_WINDOW_BITS, value)?),
                        None => None,
                    };
                    sent.client_max_window_bits.replace(bits).is_some()
                }
                _ => return Err(NegotiationError::UnknownParameter((*name).to_owned())),
            };
            if is_repeated {
                return Err(NegotiationError::RepeatedParameter((*name).to_owned()));
            }
        }
        Ok(sent)
    }

    fn header(&self) -> String {
        let mut header = EXTENSION.to_owned();
        let mut add = |parameter: &str, value: Option<u8>| {
            header.push_str("; ");
            header.push_str(parameter);
            if let Some(value) = value {
                header.push('=');
                header.push_str(&value.to_string());
            }
        };
        if self.server_no_context_takeover {
            add(SERVER_NO_CONTEXT_TAKEOVER, None);
        }
        if self.client_no_context_takeover {
            add(CLIENT_NO_CONTEXT_TAKEOVER, None);
        }
        if self.server_max_window_bits.is_some() {
            add(SERVER_MAX_WINDOW_BITS, self.server_max_window_bits);
        }
        if let Some(value) = self.client_max_window_bits {
            add(CLIENT_MAX_WINDOW_BITS, value);
        }
        header
    }
}

fn invalid(parameter: &'static str, value: Option<&str>) -> NegotiationError {
    NegotiationError::InvalidValue { parameter, value: value.map(str::to_owned) }
}

fn check_absent(parameter: &'static str, value: Option<&str>) -> Result<(), NegotiationError> {
    if value.is_some() { Err(invalid(parameter, value)) } else { Ok(()) }
}

/// A decimal number from 8 to 15 without leading zeros (RFC 7692 section 7.1.2.1).
fn window_bits(parameter: &'static str, value: Option<&str>) -> Result<u8, NegotiationError> {
    Ok(match value {
        Some("8") => 8,
        Some("9") => 9,
        Some("10") => 10,
        Some("11") => 11,
        Some("12") => 12,
        Some("13") => 13,
        Some("14") => 14,
        Some("15") => 15,
        _ => return Err(invalid(parameter, value)),
    })
}

/// What a client offers.
#[derive(Debug)]
pub struct Offer {
    options: Options,
    sent: SentParameters,
    header: String,
    grant: MemoryGrant,
}

impl Offer {
    /// An offer with these options; without context takeover if `budget` has too little left for it.
    pub fn new(options: Options, budget: &MemoryBudget) -> Self {
        let options = options.in_range();
        // The most that a server may agree to.
        let worst = |options: Options| {
            let compressor = options.compress_takeover.then(|| compressor::history_size(options.compress_window_bits));
            let inflater = options.inflate_takeover.then(|| inflater::history_size(options.inflate_window_bits));
            compressor.unwrap_or(0) + inflater.unwrap_or(0)
        };
        let (options, grant) = match budget.reserve(worst(options)) {
            Some(grant) => (options, grant),
            None => (options.without_takeover(), budget.none()),
        };
        let below_most = |bits: u8| (bits < MAX_WINDOW_BITS).then_some(bits);
        let sent = SentParameters {
            server_no_context_takeover: !options.inflate_takeover,
            client_no_context_takeover: !options.compress_takeover,
            server_max_window_bits: below_most(options.inflate_window_bits),
            // Without a value it says that the server may choose (section 7.1.2.2).
            client_max_window_bits: Some(below_most(options.compress_window_bits)),
        };
        Offer { options, sent, header: sent.header(), grant }
    }

    /// The value of the request's `Sec-WebSocket-Extensions`.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Checks the server's answer: the values of every `Sec-WebSocket-Extensions` of the response. Returns `None` if the
    /// server declined.
    ///
    /// # Errors
    /// [`NegotiationError`]: the connection must fail (RFC 7692 section 7.1).
    pub fn accept<'a>(
        self,
        answer: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Compression>, NegotiationError> {
        let mut answered = None;
        for line in answer {
            for extension in extensions::parse(line).ok_or(NegotiationError::Malformed)? {
                if extension.name != EXTENSION {
                    return Err(NegotiationError::NotOffered(extension.name.to_owned()));
                }
                if answered.replace(SentParameters::parse(&extension)?).is_some() {
                    return Err(NegotiationError::Repeated);
                }
            }
        }
        let Some(answered) = answered else { return Ok(None) };
        let parameters = self.sent.check_answer(answered)?;
        Ok(Some(Compression::new(parameters, Role::Client, self.options, self.grant)))
    }
}

impl SentParameters {
    /// What a client that sent this offer makes of the server's answer.
    fn check_answer(&self, answer: SentParameters) -> Result<Parameters, NegotiationError> {
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err(NegotiationError::Missing(SERVER_NO_CONTEXT_TAKEOVER));
        }
        let server_max_window_bits = match (self.server_max_window_bits, answer.server_max_window_bits) {
            (Some(_), None) => return Err(NegotiationError::Missing(SERVER_MAX_WINDOW_BITS)),
            (Some(offered), Some(answered)) => at_most(SERVER_MAX_WINDOW_BITS, offered, answered)?,
            (None, answered) => answered.unwrap_or(MAX_WINDOW_BITS),
        };
        let client_max_window_bits = match answer.client_max_window_bits {
            None => MAX_WINDOW_BITS,
            Some(None) => return Err(invalid(CLIENT_MAX_WINDOW_BITS, None)),
            Some(Some(answered)) => {
                let offered = self.client_max_window_bits.flatten().unwrap_or(MAX_WINDOW_BITS);
                at_most(CLIENT_MAX_WINDOW_BITS, offered, answered)?
            }
        };
        Ok(Parameters {
            server_no_context_takeover: answer.server_no_context_takeover,
            // The client's own promise holds whatever the server answers (section 7.1.1.2).
            client_no_context_takeover: answer.client_no_context_takeover || self.client_no_context_takeover,
            server_max_window_bits,
            client_max_window_bits,
        })
    }

    /// The answer of a server to this offer; `None` to decline it.
    fn answer(&self, options: Options) -> Option<SentParameters> {
        let server_max_window_bits = match self.server_max_window_bits {
            Some(bits) if bits < MIN_WINDOW_BITS => return None,
            Some(bits) => Some(bits.min(options.compress_window_bits)),
            None => Some(options.compress_window_bits).filter(|bits| *bits < MAX_WINDOW_BITS),
        };
        let client_max_window_bits = self
            .client_max_window_bits
            .map(|bits| bits.unwrap_or(MAX_WINDOW_BITS).min(options.inflate_window_bits))
            .filter(|bits| *bits < MAX_WINDOW_BITS)
            .map(Some);
        Some(SentParameters {
            server_no_context_takeover: self.server_no_context_takeover || !options.compress_takeover,
            client_no_context_takeover: self.client_no_context_takeover || !options.inflate_takeover,
            server_max_window_bits,
            client_max_window_bits,
        })
    }

    /// What this answer makes both ends agree on.
    fn parameters(&self) -> Parameters {
        Parameters {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS),
            client_max_window_bits: self.client_max_window_bits.flatten().unwrap_or(MAX_WINDOW_BITS),
        }
    }
}

fn at_most(parameter: &'static str, offered: u8, answered: u8) -> Result<u8, NegotiationError> {
    if answered <= offered {
        Ok(answered)
    } else {
        Err(NegotiationError::LargerWindow { parameter, offered, answered })
    }
}

/// What a server answers to an offer that it accepts.
#[derive(Debug)]
pub struct Answer {
    /// The value of the response's `Sec-WebSocket-Extensions`.
    pub header: String,
    /// The compression of the connection.
    pub compression: Compression,
}

/// Answers the offers of a client: the values of every `Sec-WebSocket-Extensions` of the request. The first acceptable offer
/// of permessage-deflate is accepted, without context takeover if `budget` has too little left for it. Offers with invalid
/// parameters are declined (RFC 7692 section 7.1), as are those that ask for 8 window bits of this end's compressor. Returns
/// `None` if no offer is acceptable: the response then has no such header.
///
/// # Errors
/// [`NegotiationError::Malformed`]: the handshake must fail (RFC 6455 section 9.1).
pub fn answer<'a>(
    offers: impl IntoIterator<Item = &'a [u8]>,
    options: Options,
    budget: &MemoryBudget,
) -> Result<Option<Answer>, NegotiationError> {
    let options = options.in_range();
    let mut accepted = None;
    for line in offers {
        for extension in extensions::parse(line).ok_or(NegotiationError::Malformed)? {
            if accepted.is_none() && extension.name == EXTENSION {
                accepted = SentParameters::parse(&extension)
                    .ok()
                    .and_then(|offer| offer.answer(options).map(|sent| (offer, sent)));
            }
        }
    }
    let Some((offer, mut sent)) = accepted else { return Ok(None) };
    let grant = match budget.reserve(Compression::memory(sent.parameters(), Role::Server, options)) {
        Some(grant) => grant,
        None => {
            let Some(without) = offer.answer(options.without_takeover()) else { return Ok(None) };
            sent = without;
            budget.none()
        }
    };
    let compression = Compression::new(sent.parameters(), Role::Server, options, grant);
    Ok(Some(Answer { header: sent.header(), compression }))
}
