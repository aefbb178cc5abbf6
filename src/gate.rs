//! Whether a request that is the dashboard's may go on to it.
//!
//! A [`Permit`] is the only ticket into `proxy::forward`, and only [`Gate::admit`] writes one: a request whose path was not
//! classified cannot be forwarded by mistake. No rules are configured in this version, so every such request is permitted.

/// Leave to be forwarded, good for one request.
#[derive(Debug)]
#[must_use]
pub struct Permit(());

/// The gate's rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate;

impl Gate {
    /// Lets a request pass whose path is not the gate's own.
    pub fn admit(self) -> Permit {
        Permit(())
    }
}
