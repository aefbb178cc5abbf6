//! `POST /-/reload`: reads the configuration again, and answers what has changed. Text, or JSON if `Accept` asks for it.

use bytes::Bytes;
use http::header::VARY;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::wire::{text, typed, wants_json};

/// What a reload has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The settings that have changed and are in force now.
    pub changed: Vec<&'static str>,
    /// The settings that differ and need a restart.
    pub restart: Vec<&'static str>,
}

/// Why a reload was not performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReloaded {
    /// Every fault of the configuration, as `check-config` lists them. Nothing has changed.
    Faults(Vec<String>),
    /// The gate does not reload now, in one sentence. Nothing has changed.
    Busy(&'static str),
    /// The gate stops while it applies the changes.
    Interrupted,
}

/// What is true after [`NotReloaded::Interrupted`].
const INTERRUPTED: &str = "the gate is stopping: some of the changes may apply until it ends, and all of them from the next start";

#[derive(Serialize)]
struct Faulty {
    faults: Vec<String>,
}

/// 200 with what has changed; 400 with every fault; 503: not now.
pub(super) fn answer(
    headers: &HeaderMap,
    reloaded: Result<Reloaded, NotReloaded>,
) -> Response<Full<Bytes>> {
    let is_json = wants_json(headers);
    let mut response = match reloaded {
        Ok(done) if is_json => json(StatusCode::OK, &done),
        Ok(done) => text(StatusCode::OK, lines(&done)),
        Err(NotReloaded::Faults(faults)) if is_json => {
            json(StatusCode::BAD_REQUEST, &Faulty { faults })
        }
        Err(NotReloaded::Faults(faults)) => {
            text(StatusCode::BAD_REQUEST, faults.join("\n") + "\nnothing has changed\n")
        }
        Err(NotReloaded::Busy(why)) => {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\nnothing has changed\n"))
        }
        Err(NotReloaded::Interrupted) => {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("{INTERRUPTED}\n"))
        }
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    // Lists of strings always serialise.
    typed(status, "application/json", serde_json::to_string(body).unwrap_or_default() + "\n")
}

fn lines(Reloaded { changed, restart }: &Reloaded) -> String {
    let mut text = match changed.is_empty() {
        true => "no setting has changed\n".to_owned(),
        false => format!("changed: {}\n", changed.join(", ")),
    };
    if !restart.is_empty() {
        text += &format!("not changed, needs a restart: {}\n", restart.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use http_body::Body;

    use super::*;

    #[test]
    fn only_a_reload_that_was_interrupted_may_have_changed_something() {
        let shown = |why| answer(&HeaderMap::new(), Err(why));
        let length = |why| shown(why).body().size_hint().exact();
        assert_eq!(length(NotReloaded::Interrupted), Some(INTERRUPTED.len() as u64 + 1));
        let busy = "no\nnothing has changed\n".len() as u64;
        assert_eq!(length(NotReloaded::Busy("no")), Some(busy));
        assert_eq!(shown(NotReloaded::Interrupted).status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn what_has_changed_and_what_needs_a_restart_are_two_lines() {
        let shown = |changed: &[&'static str], restart: &[&'static str]| {
            lines(&Reloaded { changed: changed.to_vec(), restart: restart.to_vec() })
        };
        assert_eq!(shown(&[], &[]), "no setting has changed\n");
        assert_eq!(shown(&["a.b", "c"], &[]), "changed: a.b, c\n");
        let both = "no setting has changed\nnot changed, needs a restart: d.e, f\n";
        assert_eq!(shown(&[], &["d.e", "f"]), both);
    }
}
