use crate::{
    model::{Model, Socket},
    shared::Shared,
    timer::{Manual, Never, Timer},
};
use shuttle::{check_pct, check_random, future::block_on, thread};
use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

/// How many schedules each test tries, with each of two schedulers.
const SCHEDULES: usize = 2000;

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    check_random(scenario, SCHEDULES);
    check_pct(scenario, SCHEDULES, 3);
}

fn start(socket: &Socket, capacity: usize, timer: impl Timer) -> (Arc<Shared<Model>>, thread::JoinHandle<()>) {
    let shared = Arc::new(Shared::new(Model::new(socket, capacity)));
    let run = Arc::clone(&shared);
    let timer = Box::pin(timer);
    let task = thread::spawn(move || block_on(async move { run.run(timer).await }));
    (shared, task)
}

async fn receive(shared: &Arc<Shared<Model>>) -> Option<u32> {
    shared.wait(Duration::from_secs(1), |model, _| model.receive()).await.expect("time stands still")
}

/// Receives until the end.
fn receiver(shared: &Arc<Shared<Model>>) -> thread::JoinHandle<Vec<u32>> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        block_on(async {
            let mut received = Vec::new();
            while let Some(message) = receive(&shared).await {
                received.push(message);
            }
            received
        })
    })
}

fn sorted(parts: impl IntoIterator<Item = thread::JoinHandle<Vec<u32>>>) -> Vec<u32> {
    let mut all: Vec<u32> = parts.into_iter().flat_map(|part| part.join().unwrap()).collect();
    all.sort_unstable();
    all
}

#[test]
fn several_receivers_get_each_message_once_and_all_hear_of_the_end() {
    check(|| {
        let socket = Socket::default();
        let (shared, task) = start(&socket, 8, Never);
        let receivers = [receiver(&shared), receiver(&shared)];
        (0..4).map(Some).chain([None]).for_each(|message| socket.arrive(message));
        assert_eq!(sorted(receivers), [0, 1, 2, 3]);
        task.join().unwrap();
    });
}

#[test]
fn reading_goes_on_when_the_inbox_has_capacity_again() {
    check(|| {
        let socket = Socket::default();
        let (shared, task) = start(&socket, 1, Never);
        let arriving = {
            let socket = socket.clone();
            thread::spawn(move || (0..4).map(Some).chain([None]).for_each(|message| socket.arrive(message)))
        };
        assert_eq!(sorted([receiver(&shared)]), [0, 1, 2, 3]);
        arriving.join().unwrap();
        task.join().unwrap();
    });
}

#[test]
fn a_receive_that_is_dropped_takes_no_wake_up_from_others() {
    check(|| {
        let socket = Socket::default();
        let (shared, task) = start(&socket, 8, Never);
        let dropped = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                block_on(async {
                    // Polled once, then dropped, whether or not it was woken meanwhile.
                    let mut call = pin!(receive(&shared));
                    poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await
                })
            })
        };
        let other = receiver(&shared);
        socket.arrive(Some(1));
        socket.arrive(None);
        let mut all = sorted([other]);
        if let Poll::Ready(Some(message)) = dropped.join().unwrap() {
            all.push(message);
        }
        assert_eq!(all, [1]);
        task.join().unwrap();
    });
}

#[test]
fn the_task_goes_on_when_the_calls_that_the_socket_woke_are_dropped() {
    check(|| {
        let socket = Socket::default();
        let (shared, task) = start(&socket, 8, Never);
        // The first message makes the connection busy: from then on, the socket wakes waiting calls alone.
        socket.arrive(Some(1));
        assert_eq!(block_on(receive(&shared)), Some(1));
        let mut call = Box::pin({
            let shared = Arc::clone(&shared);
            async move { receive(&shared).await }
        });
        assert!(block_on(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx)))).is_pending());
        let ending = thread::spawn(move || socket.arrive(None));
        drop(call);
        ending.join().unwrap();
        task.join().unwrap();
    });
}

#[test]
fn the_task_reads_ahead_for_a_call_that_is_never_polled_again() {
    check(|| {
        let socket = Socket::default();
        let timer = Manual::default();
        let (shared, task) = start(&socket, 8, timer.clone());
        // The call is polled once and then held until the task has ended.
        let mut held = Box::pin({
            let shared = Arc::clone(&shared);
            async move { receive(&shared).await }
        });
        let polled = block_on(poll_fn(|cx| Poll::Ready(held.as_mut().poll(cx))));
        assert!(polled.is_pending());
        socket.arrive(Some(1));
        socket.arrive(None);
        // Time passes: the task polls the socket at intervals while it is busy.
        let passing = thread::spawn(move || {
            (0..8).for_each(|_| {
                timer.elapse();
                thread::yield_now();
            })
        });
        passing.join().unwrap();
        let elapsing = Arc::clone(&shared);
        drop(held);
        task.join().unwrap();
        assert_eq!(elapsing.lock().receive(), Some(Some(1)));
    });
}

#[test]
fn a_batch_is_written_although_its_sender_never_waits() {
    check(|| {
        let socket = Socket::default();
        let (shared, task) = start(&socket, 8, Never);
        let senders = [0, 1].map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || (0..2).for_each(|_| shared.with(|model, _| model.send())))
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        while socket.written() < 4 {
            thread::yield_now();
        }
        socket.arrive(None);
        task.join().unwrap();
    });
}
