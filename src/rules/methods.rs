//! The methods that a rule applies to.

use std::fmt;

use http::Method;

/// The methods with a bit of their own.
const KNOWN: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

/// A set of methods. `GET` includes HEAD, and a WebSocket, which begins as a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods {
    known: u8,
    others: Vec<Method>,
    is_all: bool,
}

impl Methods {
    /// Every method.
    pub const ALL: Self = Self { known: u8::MAX, others: Vec::new(), is_all: true };

    /// These methods.
    pub fn of(methods: impl IntoIterator<Item = Method>) -> Self {
        let mut this = Self { known: 0, others: Vec::new(), is_all: false };
        for method in methods {
            match bit(&method) {
                0 if this.others.contains(&method) => {}
                0 => this.others.push(method),
                bit => this.known |= bit,
            }
        }
        if this.known & bit(&Method::GET) != 0 {
            this.known |= bit(&Method::HEAD);
        }
        this
    }

    /// Whether `method` is one of them.
    pub fn has(&self, method: &Method) -> bool {
        self.is_all || self.known & bit(method) != 0 || self.others.contains(method)
    }

    /// Whether these are all methods.
    pub const fn are_all(&self) -> bool {
        self.is_all
    }

    /// Their names; empty if these are all methods.
    pub fn names(&self) -> Vec<&str> {
        if self.is_all {
            return Vec::new();
        }
        let is_implied = |method: &Method| *method == Method::HEAD && self.has(&Method::GET);
        let known = KNOWN.iter().filter(|method| self.has(method) && !is_implied(method));
        known.chain(&self.others).map(Method::as_str).collect()
    }

    /// A representative of each class of methods that some of `sets` distinguish, if this set has it.
    pub(super) fn representatives<'a>(
        &'a self,
        sets: impl Iterator<Item = &'a Self>,
    ) -> impl Iterator<Item = Method> {
        // No list has it, so that it stands for all other methods.
        let other = Method::from_bytes(b"-").unwrap_or_default();
        let others = sets.flat_map(|set| &set.others).cloned();
        KNOWN.into_iter().chain(others).chain([other]).filter(|method| self.has(method))
    }
}

fn bit(method: &Method) -> u8 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 2,
        Method::POST => 4,
        Method::PUT => 8,
        Method::PATCH => 16,
        Method::DELETE => 32,
        Method::OPTIONS => 64,
        Method::TRACE => 128,
        _ => 0,
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_all {
            true => out.pad("all"),
            false => out.pad(&self.names().join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_includes_head_and_other_names_are_kept() {
        let purge = Method::from_bytes(b"PURGE").expect("a method");
        let methods = Methods::of([Method::GET, purge.clone(), purge.clone()]);
        assert!(methods.has(&Method::GET) && methods.has(&Method::HEAD) && methods.has(&purge));
        assert!(!methods.has(&Method::POST));
        assert!(!methods.has(&Method::from_bytes(b"Purge").expect("a method")));
        assert_eq!(methods.to_string(), "GET PURGE");
        assert!(!Methods::of([Method::HEAD]).has(&Method::GET));
        assert!(Methods::ALL.has(&purge));
        assert_eq!(Methods::ALL.to_string(), "all");
        assert_eq!(Methods::of([]).to_string(), "");
    }
}
