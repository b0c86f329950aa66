//! `poll_oneoff`: what a transport waits for.

use super::{
    descriptors::Descriptor,
    errno::Errno,
    state::{Guest, State},
    stream::Ready,
};
use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Instant, sleep_until};
use wasmtime::Caller;

const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;
/// How many subscriptions one call may have.
const MAX_SUBSCRIPTIONS: u32 = 1024;
/// How long a clock may run: longer than any transport lives.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The flag of an event that nothing more will come.
const HANG_UP: u16 = 1;
/// The flag of a clock that it is about a time, not about a duration.
const ABSOLUTE: u16 = 1;

struct Subscription {
    userdata: [u8; 8],
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Clock(Instant),
    Read(i32),
    Write(i32),
    /// What nobody has.
    Invalid(u8),
}

struct Event {
    errno: u16,
    bytes: u64,
    flags: u16,
}

const NOTHING_WRONG: Event = Event { errno: 0, bytes: 0, flags: 0 };

/// Waits until at least one subscription has an event, and writes those that have.
pub(super) async fn poll_oneoff(
    caller: &mut Caller<'_, State>,
    input: u32,
    output: u32,
    count: u32,
) -> Result<u32, Errno> {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Err(Errno::INVAL);
    }
    let began = caller.data().began;
    let subscriptions = read(&mut Guest(caller), input, count, began)?;
    let earliest = subscriptions.iter().filter_map(|subscription| match subscription.what {
        What::Clock(due) => Some(due),
        _ => None,
    });
    let earliest = earliest.min().unwrap_or_else(|| Instant::now() + LONGEST);
    let mut alarm = pin!(sleep_until(earliest));
    let state = caller.data_mut();
    let events = poll_fn(|cx| {
        let is_due = alarm.as_mut().poll(cx).is_ready();
        let events = ready_events(state, &subscriptions, is_due, cx);
        if events.is_empty() { Poll::Pending } else { Poll::Ready(events) }
    })
    .await;
    let written = events.len() as u32;
    let into = (written as usize * EVENT) as u32;
    let mut guest = Guest(caller);
    let all = guest.slice_mut(output, into)?;
    for (bytes, (subscription, event)) in all.chunks_exact_mut(EVENT).zip(&events) {
        bytes.fill(0);
        bytes[..8].copy_from_slice(&subscriptions[*subscription].userdata);
        bytes[8..10].copy_from_slice(&event.errno.to_le_bytes());
        bytes[10] = match subscriptions[*subscription].what {
            What::Clock(_) => 0,
            What::Read(_) => 1,
            What::Write(_) => 2,
            What::Invalid(tag) => tag,
        };
        bytes[16..24].copy_from_slice(&event.bytes.to_le_bytes());
        bytes[24..26].copy_from_slice(&event.flags.to_le_bytes());
    }
    Ok(written)
}

/// The subscriptions that have something to say now, by their places.
fn ready_events(
    state: &mut State,
    subscriptions: &[Subscription],
    is_due: bool,
    cx: &mut Context<'_>,
) -> Vec<(usize, Event)> {
    state.descriptors.poll_send(cx);
    // A stream that can be written to, or is at its end, stays so. A transport that keeps asking, though it has nothing
    // to write or knows the end, would never sleep: it is told again when something else has happened, as long as
    // something else can.
    let waits_otherwise = subscriptions.iter().any(|one| match one.what {
        What::Clock(_) => true,
        What::Read(number) => {
            matches!(state.descriptors.poll_readable(number, cx), Poll::Pending | Poll::Ready(Ok(Ready::Bytes(_))))
        }
        What::Write(_) | What::Invalid(_) => false,
    });
    let now = Instant::now();
    let (mut events, mut happens) = (Vec::new(), false);
    for (place, subscription) in subscriptions.iter().enumerate() {
        let event = match subscription.what {
            What::Clock(due) => (is_due && due <= now).then(|| {
                happens = true;
                NOTHING_WRONG
            }),
            What::Read(number) => readable(state, number, waits_otherwise, &mut happens, cx),
            What::Write(number) => writable(state, number, waits_otherwise),
            What::Invalid(_) => Some(Event { errno: Errno::INVAL.0, ..NOTHING_WRONG }),
        };
        events.extend(event.map(|event| (place, event)));
    }
    // Only now: what was told together with it may be asked again because of it.
    state.happened += u64::from(happens);
    events
}

fn readable(
    state: &mut State,
    number: i32,
    waits_otherwise: bool,
    happens: &mut bool,
    cx: &mut Context<'_>,
) -> Option<Event> {
    let ready = state.descriptors.poll_readable(number, cx);
    match state.descriptors.get(number) {
        Err(error) => Some(Event { errno: error.0, ..NOTHING_WRONG }),
        Ok(Descriptor::Stream(stream)) => match ready {
            Poll::Pending => None,
            Poll::Ready(Err(errno)) => Some(Event { errno: errno.0, ..NOTHING_WRONG }),
            Poll::Ready(Ok(Ready::Bytes(bytes))) => {
                *happens = true;
                Some(Event { bytes: bytes as u64, ..NOTHING_WRONG })
            }
            Poll::Ready(Ok(Ready::End)) if waits_otherwise && stream.told_end == Some(state.happened) => None,
            // Not an error: the read that follows tells.
            Poll::Ready(Ok(Ready::End)) => {
                *happens |= stream.told_end.is_none();
                stream.told_end = Some(state.happened);
                Some(Event { flags: HANG_UP, ..NOTHING_WRONG })
            }
        },
        Ok(Descriptor::Config(rest)) => Some(Event { bytes: rest.len() as u64, ..NOTHING_WRONG }),
        Ok(Descriptor::Input) => Some(Event { flags: HANG_UP, ..NOTHING_WRONG }),
        Ok(Descriptor::Output(_)) => Some(Event { errno: Errno::BADF.0, ..NOTHING_WRONG }),
    }
}

fn writable(state: &mut State, number: i32, waits_otherwise: bool) -> Option<Event> {
    match state.descriptors.get(number) {
        Err(error) => Some(Event { errno: error.0, ..NOTHING_WRONG }),
        Ok(Descriptor::Stream(stream)) if stream.is_full() => None,
        Ok(Descriptor::Stream(stream)) if waits_otherwise && stream.told_writable == Some(state.happened) => None,
        Ok(Descriptor::Stream(stream)) => {
            stream.told_writable = Some(state.happened);
            Some(NOTHING_WRONG)
        }
        Ok(Descriptor::Output(_)) => Some(NOTHING_WRONG),
        Ok(Descriptor::Input | Descriptor::Config(_)) => Some(Event { errno: Errno::BADF.0, ..NOTHING_WRONG }),
    }
}

fn read(guest: &mut Guest<'_, '_>, input: u32, count: u32, began: Instant) -> Result<Vec<Subscription>, Errno> {
    let all = guest.slice(input, count * SUBSCRIPTION as u32)?;
    Ok(all.chunks_exact(SUBSCRIPTION).map(|bytes| subscription(bytes, began)).collect())
}

fn subscription(bytes: &[u8], began: Instant) -> Subscription {
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let descriptor = (number(16..20) as u32).cast_signed();
    let what = match bytes[8] {
        0 => What::Clock(due(number(16..20), Duration::from_nanos(number(24..32)), number(40..42) as u16, began)),
        1 => What::Read(descriptor),
        2 => What::Write(descriptor),
        other => What::Invalid(other),
    };
    let mut userdata = [0; 8];
    userdata.copy_from_slice(&bytes[..8]);
    Subscription { userdata, what }
}

/// When a clock rings. Clock 0 is that of the calendar, the others count from the transport's beginning.
fn due(clock: u64, time: Duration, flags: u16, began: Instant) -> Instant {
    let now = Instant::now();
    let left = match (flags & ABSOLUTE, clock) {
        (0, _) => time,
        (_, 0) => time.saturating_sub(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        (_, _) => time.saturating_sub(now - began),
    };
    now + left.min(LONGEST)
}
