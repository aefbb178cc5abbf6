//! All paths of all rules in one automaton: which rules match a reading, in one pass over its bytes.
//!
//! A dense DFA (regex-automata) has a pattern for each rule and finds all of them at once. It takes a few instructions for each byte, stops at
//! the first byte that no rule can match, and needs no memory of its own. If one automaton for all rules would be too large, there are
//! several, each for some of the rules.

use std::collections::BTreeSet;

use regex_automata::Anchored;
use regex_automata::MatchKind;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};

/// Memory for the table of one automaton. Twenty rules take about a tenth of it.
const MAX_BYTES: usize = 512 * 1024;

/// Finds the rules that match.
#[derive(Clone, Debug)]
pub(super) struct Matcher(Vec<Automata>);

/// The automaton of some consecutive rules.
#[derive(Clone, Debug)]
struct Automata {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
    /// The index of its first rule.
    first: usize,
}

/// The paths of this rule are too complex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooComplex(pub(super) usize);

impl Matcher {
    /// `regexes` has one regular expression for each rule.
    pub(super) fn new(regexes: &[String]) -> Result<Self, TooComplex> {
        let mut automata = Vec::new();
        build(regexes, 0, &mut automata)?;
        Ok(Self(automata))
    }

    /// Calls `found` with the index of each rule that matches `reading`, in order, until it returns true. Returns whether it did.
    pub(super) fn any(&self, reading: &[u8], mut found: impl FnMut(usize) -> bool) -> bool {
        self.0.iter().any(|automata| {
            let Some(end) = automata.end(reading) else { return false };
            (0..automata.dfa.match_len(end)).any(|nth| found(automata.rule(end, nth)))
        })
    }

    /// Each combination of rules that match the same path, in order. `None`: there are several automata.
    pub(super) fn combinations(&self) -> Option<BTreeSet<Vec<usize>>> {
        let [automata] = &self.0[..] else { return None };
        Some(automata.combinations())
    }
}

fn build(regexes: &[String], first: usize, to: &mut Vec<Automata>) -> Result<(), TooComplex> {
    if let Some(automata) = Automata::new(regexes, first) {
        to.push(automata);
        return Ok(());
    }
    if regexes.len() < 2 {
        return Err(TooComplex(first));
    }
    let (some, others) = regexes.split_at(regexes.len() / 2);
    build(some, first, to)?;
    build(others, first + some.len(), to)
}

impl Automata {
    fn new(regexes: &[String], first: usize) -> Option<Self> {
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MAX_BYTES))
            .determinize_size_limit(Some(MAX_BYTES));
        let syntax = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .case_insensitive(true)
            .dot_matches_new_line(true);
        let dfa = dense::Builder::new()
            .configure(config)
            .syntax(syntax)
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_BYTES)))
            .build_many(regexes)
            .ok()?;
        let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Self { dfa, start, first })
    }

    /// The state after all of `reading`, if a rule matches.
    fn end(&self, reading: &[u8]) -> Option<StateID> {
        let mut state = self.start;
        for byte in reading {
            state = self.dfa.next_state(state, *byte);
            if self.dfa.is_dead_state(state) {
                return None;
            }
        }
        let state = self.dfa.next_eoi_state(state);
        self.dfa.is_match_state(state).then_some(state)
    }

    fn rule(&self, end: StateID, nth: usize) -> usize {
        self.first + self.dfa.match_pattern(end, nth).as_usize()
    }

    fn combinations(&self) -> BTreeSet<Vec<usize>> {
        let mut seen = BTreeSet::from([self.start]);
        let mut open = vec![self.start];
        let mut found = BTreeSet::new();
        while let Some(state) = open.pop() {
            let end = self.dfa.next_eoi_state(state);
            if self.dfa.is_match_state(end) {
                let matches = 0..self.dfa.match_len(end);
                found.insert(matches.map(|nth| self.rule(end, nth)).collect());
            }
            for byte in 0..=u8::MAX {
                let next = self.dfa.next_state(state, byte);
                if !self.dfa.is_dead_state(next) && seen.insert(next) {
                    open.push(next);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(matcher: &Matcher, reading: &str) -> Vec<usize> {
        let mut found = Vec::new();
        matcher.any(reading.as_bytes(), |rule| {
            found.push(rule);
            false
        });
        found
    }

    #[test]
    fn all_rules_that_match_are_found_in_order() {
        let regexes = ["/a(?:/.*)?/?", "/[^/]+/b/?", "/a/b/?", "/c/?"].map(str::to_owned);
        let matcher = Matcher::new(&regexes).expect("simple");
        assert_eq!(matcher.0.len(), 1);
        let cases: [(&str, &[usize]); 9] = [
            ("/a", &[0]),
            ("/A/", &[0]),
            ("/a/b", &[0, 1, 2]),
            ("/a/b/c", &[0]),
            ("/ab", &[]),
            ("/x/B", &[1]),
            ("/c", &[3]),
            ("/c/d", &[]),
            ("", &[]),
        ];
        for (reading, expected) in cases {
            assert_eq!(found(&matcher, reading), expected, "{reading}");
        }
    }

    /// Each of these doubles the states of an automaton for all.
    #[test]
    fn rules_that_multiply_are_split_among_automata() {
        let regexes: Vec<_> = (0..24).map(|at| format!("(?:/.*)?/x{at:02}(?:/.*)?/?")).collect();
        let matcher = Matcher::new(&regexes).expect("each is simple");
        assert!(matcher.0.len() > 1);
        assert_eq!(matcher.combinations(), None);
        assert_eq!(found(&matcher, "/x23/x00/a/x11"), [0, 11, 23]);
    }

    /// Paths of Grafana's API, which have long common prefixes.
    #[test]
    fn hundred_usual_rules_fit_into_one_automaton() {
        let regexes: Vec<_> = (0..100)
            .map(|at| format!("/api/feature-{at}(?:/.*)?/?|/api/org/f{at}/[^/]+/?"))
            .collect();
        assert_eq!(Matcher::new(&regexes).expect("simple").0.len(), 1);
    }

    #[test]
    fn one_rule_that_is_too_complex_is_named() {
        let stars = "/a[^/]{60}/[^/]*a[^/]{30}".to_owned();
        let matcher = Matcher::new(&["/a".to_owned(), stars]);
        assert_eq!(matcher.err(), Some(TooComplex(1)));
    }
}
