//! The other end of a connection in `frames`: it says what it is told to, and reads as long as it is told to.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split},
    select,
    sync::mpsc::UnboundedReceiver,
};

pub enum Order {
    Say(Vec<u8>),
    Read(bool),
    /// To say no more after what it was told to.
    End,
    /// To be gone.
    Vanish,
}

/// What went over the transport.
#[derive(Default)]
pub struct Wire {
    pub said: Vec<u8>,
    pub heard: Vec<u8>,
}

/// Follows orders until there are no more; then it reads to the end, so that nothing must be left to keep the transport.
pub async fn peer(pipe: DuplexStream, mut orders: UnboundedReceiver<Order>) -> Wire {
    let (mut from, mut to) = split(pipe);
    let mut wire = Wire::default();
    // How much of what is to be said is written.
    let mut done = 0;
    let (mut obeys, mut reads, mut ends, mut over) = (true, true, false, false);
    loop {
        select! {
            biased;
            order = orders.recv(), if obeys => match order {
                Some(Order::Say(bytes)) if !ends => wire.said.extend(bytes),
                Some(Order::Say(_)) => {}
                Some(Order::Read(yes)) => reads = yes,
                Some(Order::End) => ends = true,
                Some(Order::Vanish) => break,
                None => (obeys, reads) = (false, true),
            },
            written = to.write(&wire.said[done..]), if done < wire.said.len() => match written {
                Ok(count) => done += count,
                // The connection is gone, and nobody hears the rest.
                Err(_) => wire.said.truncate(done),
            },
            read = from.read_buf(&mut wire.heard), if reads && !over => over = !matches!(read, Ok(1..)),
            else => break,
        }
        if ends && done == wire.said.len() {
            // It fails where the connection is gone, which is an end as well.
            let _ = to.shutdown().await;
        }
    }
    wire.said.truncate(done);
    wire
}

/// A frame with a right length, and a mask where the peer is a client.
pub fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut frame = vec![first];
    let bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        length @ ..=125 => frame.push(bit | length as u8),
        length @ ..=65_535 => {
            frame.push(bit | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(bit | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        let key = [0x12, 0x34, 0x56, 0x78];
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        frame.extend(payload);
    }
    frame
}
