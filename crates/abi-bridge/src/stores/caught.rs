//! Panics of the database. It panics on some damaged pages, which is an error of the file, not of this program.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether this thread is in [`caught`].
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Has the panic hook say nothing of panics that are caught; all others go to the hook that was there before.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                before(info);
            }
        }));
    });
}

/// Does what may panic; fails with the text of the panic. Nothing that `work` has changed may be used after one.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    quiet();
    let outer = CATCHING.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    done.map_err(|panic| text(&*panic))
}

fn text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a text".to_owned(),
    }
}
