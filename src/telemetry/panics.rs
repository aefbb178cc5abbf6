//! A panic is one log line and one count, not text on standard error.

use std::panic::{PanicHookInfo, set_hook};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Panics of this process since [`log`].
pub(super) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Installs the panic hook: panics are logged with their place and counted.
pub(super) fn log() {
    set_hook(Box::new(|info| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            event = "gate.panicked",
            panic.location = location,
            panic.message = message(info),
            "a task panicked"
        );
    }));
}

/// The message, if it is a constant of the source. A message that was formatted at run time may hold a secret.
fn message(info: &PanicHookInfo<'_>) -> &'static str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("...")
}
