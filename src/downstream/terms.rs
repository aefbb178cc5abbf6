//! What a reload replaces while connections are open. Each connection keeps the terms that it was accepted with.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use ipnet::IpNet;

use super::tls::Tls;
use super::{Limits, Scheme, Timeouts};

/// Settings of the connections that are accepted from now on.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Limits.
    pub limits: Limits,
    /// The certificate, for listeners that speak TLS.
    pub tls: Option<Arc<Tls>>,
    /// The value of `Strict-Transport-Security`, for listeners that speak TLS.
    pub hsts: Option<HeaderValue>,
    /// If set, every connection must come from one of these proxies and begin with a PROXY header.
    pub proxies: Option<Arc<[IpNet]>>,
}

impl Terms {
    /// The scheme of a listener whose configuration names none.
    pub(super) const fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }
}

/// A value that is replaced as a whole. Its users keep the one that they took. Belongs to one thread.
#[derive(Debug, Default)]
pub struct Current<T>(RefCell<Rc<T>>);

impl<T> Current<T> {
    /// The first value.
    pub fn new(value: T) -> Self {
        Self(RefCell::new(Rc::new(value)))
    }

    /// The value of now.
    pub fn get(&self) -> Rc<T> {
        self.0.borrow().clone()
    }

    /// Whether `value` is the value of now.
    pub fn is(&self, value: &Rc<T>) -> bool {
        Rc::ptr_eq(&self.0.borrow(), value)
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        // Dropped after the borrow has ended: it may be the last use of a whole client of the dashboard.
        let former = self.0.replace(Rc::new(value));
        drop(former);
    }
}
