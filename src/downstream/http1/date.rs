//! `Date` for answers that have none, written once a second.

use std::cell::Cell;
use std::time::Duration;

use crate::clock;
use crate::sweep::Sweep;

/// An IMF-fixdate (RFC 9110 section 5.6.7).
pub(in crate::downstream) type ImfDate = [u8; clock::HTTP_DATE_BYTES];

/// One worker's date. The clock is looked at once a tick of the worker's sweep, of which an answer is sure.
#[derive(Debug)]
pub(in crate::downstream) struct DateLine {
    as_of: Cell<Option<Duration>>,
    date: Cell<ImfDate>,
}

impl DateLine {
    /// A date that has not been written yet.
    pub(in crate::downstream) fn new() -> Self {
        Self { as_of: Cell::new(None), date: Cell::new([b' '; clock::HTTP_DATE_BYTES]) }
    }

    /// The date by `sweep`'s last tick.
    pub(in crate::downstream) fn now(&self, sweep: &Sweep) -> ImfDate {
        let now = Some(sweep.elapsed());
        if self.as_of.replace(now) != now {
            self.date.set(clock::http_date());
        }
        self.date.get()
    }
}
