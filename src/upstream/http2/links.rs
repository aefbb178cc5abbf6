//! All connections of one worker: a place on one of them, or a new one.
//!
//! A new connection is made by a task of its own, so that whoever waits for it may leave; as many are made at once as those
//! who wait will fill. A failure is told to all of them.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;

use super::super::connect::{self, Protocol};
use super::super::{Config, Error, Stream, Tls};
use super::link::{Driver, Link, Place};
use crate::sweep::Sweep;

/// How many requests a connection is expected to take before one has said.
const USUAL_LIMIT: usize = 100;

/// Connections that speak HTTP/2, and those on their way.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Links {
    open: RefCell<Vec<Rc<Link>>>,
    attempts: RefCell<Vec<Rc<Attempt>>>,
    /// How many requests the last connection took.
    expected: Cell<Option<usize>>,
}

/// What a request is sent on.
#[derive(Debug)]
pub(in crate::upstream) enum Taken {
    /// A connection of HTTP/2.
    Place(Place),
    /// The dashboard chose HTTP/1.1.
    Http1(Stream),
}

/// A connection that is being made.
#[derive(Debug, Default)]
struct Attempt {
    joined: Cell<usize>,
    outcome: OnceCell<Outcome>,
    done: Notify,
}

#[derive(Debug)]
enum Outcome {
    Link(Rc<Link>),
    Http1(RefCell<Option<Stream>>),
    Failed(Error),
}

impl Links {
    /// Whether the dashboard's last word was HTTP/1.1: then its pooled connections are worth a look first.
    pub(in crate::upstream) fn speaks_http1(&self) -> bool {
        self.expected.get() == Some(0)
    }

    /// A place on a connection that has room, or on a new one.
    pub(in crate::upstream) async fn take(
        self: &Rc<Self>,
        config: &Config,
        tls: Option<&Arc<Tls>>,
        sweep: &Sweep,
    ) -> Result<Taken, Error> {
        loop {
            if let Some(place) = self.place() {
                return Ok(Taken::Place(place));
            }
            let attempt = self.attempt(config, tls, sweep);
            match attempt.outcome().await {
                // A dashboard that takes none for now: the codec holds the request until it does.
                Outcome::Link(link) if link.has_room() || link.limit() == 0 => {
                    return Ok(Taken::Place(Place::on(link)));
                }
                Outcome::Link(_) => {}
                Outcome::Http1(stream) => {
                    if let Some(stream) = stream.borrow_mut().take() {
                        return Ok(Taken::Http1(stream));
                    }
                }
                Outcome::Failed(error) => return Err(again(error)),
            }
        }
    }

    fn place(&self) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        open.retain(|link| link.is_open());
        open.iter().find(|link| link.has_room()).map(Place::on)
    }

    /// An attempt whose connection will have room for one more.
    fn attempt(
        self: &Rc<Self>,
        config: &Config,
        tls: Option<&Arc<Tls>>,
        sweep: &Sweep,
    ) -> Rc<Attempt> {
        let room = self.expected.get().unwrap_or(USUAL_LIMIT).max(1);
        let mut attempts = self.attempts.borrow_mut();
        let known = attempts.iter().find(|attempt| attempt.joined.get() < room).cloned();
        let attempt = known.unwrap_or_else(|| {
            let new = Rc::<Attempt>::default();
            attempts.push(new.clone());
            let (links, attempt) = (Rc::downgrade(self), new.clone());
            let (config, tls, sweep) = (config.clone(), tls.cloned(), sweep.clone());
            crate::shutdown::detach_local(async move {
                let made = connection(&config, tls.as_deref(), &sweep).await;
                attend(made, links, attempt).await;
            });
            new
        });
        attempt.joined.set(attempt.joined.get() + 1);
        attempt
    }

    fn settled(&self, attempt: &Rc<Attempt>, outcome: Outcome) {
        match &outcome {
            Outcome::Link(link) => {
                self.expected.set(Some(link.limit().clamp(1, USUAL_LIMIT)));
                self.open.borrow_mut().push(link.clone());
            }
            Outcome::Http1(_) => self.expected.set(Some(0)),
            Outcome::Failed(_) => {}
        }
        self.attempts.borrow_mut().retain(|other| !Rc::ptr_eq(other, attempt));
        // It is set once, here.
        drop(attempt.outcome.set(outcome));
        attempt.done.notify_waiters();
    }
}

impl Attempt {
    async fn outcome(&self) -> &Outcome {
        loop {
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            self.done.notified().await;
        }
    }
}

/// Tells how connecting went, and drives the connection to its end.
async fn attend(made: Result<Made, Error>, links: Weak<Links>, attempt: Rc<Attempt>) {
    let Some(links) = links.upgrade() else { return };
    let (driver, link) = match made {
        Ok(Made::Http2(driver, link)) => (driver, link),
        Ok(Made::Http1(stream)) => {
            return links.settled(&attempt, Outcome::Http1(RefCell::new(Some(stream))));
        }
        Err(error) => return links.settled(&attempt, Outcome::Failed(error)),
    };
    let watched = Rc::downgrade(&link);
    links.settled(&attempt, Outcome::Link(link));
    // Whoever drives it must not keep it: it ends once nobody else has it.
    drop((links, attempt));
    driver.drive(watched).await;
}

enum Made {
    Http2(Box<Driver>, Rc<Link>),
    Http1(Stream),
}

async fn connection(config: &Config, tls: Option<&Tls>, sweep: &Sweep) -> Result<Made, Error> {
    let (stream, chosen) = connect::connect(config, tls, Protocol::Http2, sweep).await?;
    if chosen == Protocol::Http1 {
        return Ok(Made::Http1(stream));
    }
    let driver = Driver::begin(stream, sweep, config.idle_timeout).await;
    let mut driver = Box::new(driver.map_err(|error| super::fault(error, true))?);
    let timeout = || Error::ConnectTimeout { origin: config.origin.to_string() };
    let link = driver.settle(config.connect_timeout).await.map_err(|error| match error {
        Error::HeaderTimeout => timeout(),
        error => error,
    })?;
    Ok(Made::Http2(driver, link))
}

/// The same failure for one more who waited for it.
fn again(error: &Error) -> Error {
    let copy = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
    match error {
        Error::Connect { origin, source } => {
            Error::Connect { origin: origin.clone(), source: copy(source) }
        }
        Error::Tls { origin, fault, source } => {
            Error::Tls { origin: origin.clone(), fault: *fault, source: copy(source) }
        }
        Error::ConnectTimeout { origin } => Error::ConnectTimeout { origin: origin.clone() },
        Error::Closed { unanswered, source } => {
            Error::Closed { unanswered: *unanswered, source: source.as_ref().map(copy) }
        }
        Error::Protocol(error) => Error::Closed {
            unanswered: true,
            source: Some(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        },
        _ => Error::Nonsense("it does not speak HTTP/2"),
    }
}
