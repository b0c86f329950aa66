//! What one run of `frames` does, as the fuzzer's bytes say it: one for each choice, and payloads as they are, so that
//! seeds and splices keep their meaning.

use arbitrary::{Arbitrary, Result, Unstructured};
use std::time::Duration;

/// The most steps of one run: enough to fill every buffer, and few enough for thousands of runs a second.
const STEPS: usize = 100;
/// About how often a transport is filled in one run at the most.
const TURNS: usize = 64;
/// The largest payload, and the largest `max-message-size`: lengths that take eight bytes are among them.
pub const LARGEST: usize = 0x2_0000;

#[derive(Debug)]
pub struct Case {
    pub is_client: bool,
    pub small_inbox: bool,
    pub largest: usize,
    /// How many bytes the transport holds in each direction.
    pub pipe: usize,
    pub keepalive: Option<Duration>,
    pub ending: Ending,
    /// Each with whether others have their turn after it.
    pub steps: Vec<(Step, bool)>,
}

#[derive(Debug)]
pub enum Step {
    /// Bytes of the peer.
    Wire(Vec<u8>),
    /// A frame of the peer, with a right length and mask.
    Frame(u8, Vec<u8>),
    Receive,
    /// A call that is given up when it waits.
    TryReceive,
    Send(Kind, Vec<u8>),
    /// A call that is given up when it waits.
    TrySend(Kind, Vec<u8>),
    /// Both calls at once.
    SendAndReceive(Kind, Vec<u8>),
    Close(Option<u16>, Option<String>),
    Pause(Duration),
    /// From now on the peer reads, or does not.
    PeerReads(bool),
    /// The peer ends what it says, and goes on reading.
    PeerEnds,
    /// The peer is gone.
    PeerVanishes,
}

#[derive(Debug)]
pub enum Kind {
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

/// What happens once all steps are done.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer ends what it says, and the guest takes the rest.
    Peer,
    /// The guest closes, and takes the rest.
    Close,
    /// The guest takes whatever comes of a silent peer.
    Wait,
    /// The guest drops the connection.
    Drop,
}

impl Arbitrary<'_> for Case {
    fn arbitrary(data: &mut Unstructured<'_>) -> Result<Self> {
        let [flags, largest, pipe, keepalive]: [u8; 4] = data.arbitrary()?;
        let mut case = Case {
            is_client: flags & 1 == 0,
            small_inbox: flags & 2 != 0,
            largest: if largest == u8::MAX { LARGEST } else { usize::from(largest) + 1 },
            pipe: 1 << (pipe % 21),
            keepalive: (keepalive != 0).then(|| Duration::from_secs(keepalive.into())),
            ending: match flags >> 2 & 3 {
                0 => Ending::Peer,
                1 => Ending::Close,
                2 => Ending::Wait,
                _ => Ending::Drop,
            },
            steps: Vec::new(),
        };
        while !data.is_empty() && case.steps.len() < STEPS {
            let step: u8 = data.arbitrary()?;
            case.steps.push((Step::read(step & 0x7F, data)?, step & 0x80 == 0));
        }
        case.pipe = case.pipe.max(case.steps.iter().map(|(step, _)| step.size()).sum::<usize>() / TURNS);
        Ok(case)
    }
}

impl Step {
    fn read(step: u8, data: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match step % 12 {
            0 => Step::Wire(bytes(data.arbitrary()?, data)?),
            1 => Step::Frame(data.arbitrary()?, payload(data)?),
            2 => Step::Receive,
            3 => Step::TryReceive,
            4 => Step::Send(kind(data)?, payload(data)?),
            5 => Step::TrySend(kind(data)?, payload(data)?),
            6 => Step::SendAndReceive(kind(data)?, payload(data)?),
            7 => {
                let has: u8 = data.arbitrary()?;
                let code = if has & 1 != 0 { Some(data.arbitrary::<u16>()?.swap_bytes()) } else { None };
                let reason = if has & 2 != 0 { Some(text(payload(data)?)) } else { None };
                Step::Close(code, reason)
            }
            8 => Step::Pause(Duration::from_millis(data.arbitrary::<u16>()?.into())),
            9 => Step::PeerReads(data.arbitrary()?),
            10 => Step::PeerEnds,
            _ => Step::PeerVanishes,
        })
    }

    fn size(&self) -> usize {
        match self {
            Step::Wire(payload) | Step::Frame(_, payload) => payload.len(),
            Step::Send(_, payload) | Step::TrySend(_, payload) | Step::SendAndReceive(_, payload) => payload.len(),
            _ => 0,
        }
    }
}

fn kind(data: &mut Unstructured<'_>) -> Result<Kind> {
    Ok(match data.arbitrary::<u8>()? % 5 {
        0 => Kind::Text,
        1 => Kind::Binary,
        2 => Kind::Ping,
        3 => Kind::Pong,
        _ => Kind::Close,
    })
}

/// A byte for the length, and the payload; or 255, and a byte that is repeated as often as two more say, times two.
fn payload(data: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    match data.arbitrary()? {
        u8::MAX => Ok(vec![data.arbitrary()?; usize::from(data.arbitrary::<u16>()?) * 2]),
        length => bytes(length, data),
    }
}

fn bytes(length: u8, data: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = usize::from(length).min(data.len());
    Ok(data.bytes(length)?.to_vec())
}

/// As much of it as is text.
pub fn text(mut bytes: Vec<u8>) -> String {
    if let Err(error) = std::str::from_utf8(&bytes) {
        bytes.truncate(error.valid_up_to());
    }
    String::from_utf8(bytes).expect("the rest is cut off")
}
