//! The rules of a configuration, compiled, and how they judge a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderName, Method};

use super::config::{Config, Rule};
use super::glob::literal;
use super::matcher::{Matcher, TooComplex};
use super::state::{Closed, LicenseNow, State};
use crate::clock::{Moment, UnixTime};
use crate::message::Fields;
use crate::path::Readings;
use crate::telemetry::metrics::Metrics;

/// Names the method that some servers use instead of the request's own.
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// Time between two log lines of one rule.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// Rules, ready to judge requests. At least one.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Compiled>,
    matcher: Matcher,
    /// `gate.dry_run`.
    dry_run: bool,
}

#[derive(Debug)]
struct Compiled {
    rule: Arc<Rule>,
    denied: Denied,
}

/// What a rule refused, or would refuse.
#[derive(Debug)]
pub struct Denied {
    /// For `license_gate_gate_denied_total`.
    count: Arc<AtomicU64>,
    /// The moment of the last log line, and the count then.
    logged: AtomicU64,
    logged_count: AtomicU64,
}

/// Why rules cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the paths of the rule {rule:?} are too complex: use fewer *, or several rules")]
pub struct RuleError {
    /// The name of the rule.
    pub rule: String,
    /// Its index.
    pub at: usize,
}

/// A rule that never decides: the rules above it match all of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable<'a> {
    /// Its index.
    pub at: usize,
    /// The rules that decide instead, in order.
    pub by: Vec<&'a Rule>,
}

/// The decision of the rules on a request.
#[derive(Debug)]
pub enum Verdict {
    /// It may be forwarded.
    Admitted {
        /// When the earliest grace ends that it passes by; `None`: no grace is needed.
        grace: Option<UnixTime>,
    },
    /// It is refused.
    Refused(Denial),
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The rule that refuses.
    pub rule: Arc<Rule>,
    /// Why.
    pub closed: Closed,
}

/// What a rule does with one reading of a path and one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its state.
    pub state: State,
    /// Whether it decides: a rule with a `dry_run` of its own does not, and the rules below it are tried.
    pub decides: bool,
}

/// How one reading of a path, with one method, is judged: for people.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The reading.
    pub reading: Vec<u8>,
    /// The method.
    pub method: Method,
    /// The rules with a matching path and method, in order, up to the one that decides.
    pub steps: Vec<Step<'a>>,
}

impl Rules {
    /// Compiles the rules of `config` for the base path `base`, which has no slash at its end. `None`: there are none.
    ///
    /// # Errors
    /// The paths of a rule are too complex.
    pub fn new(config: &Config, base: &str, metrics: &Metrics) -> Result<Option<Self>, RuleError> {
        if config.rules.is_empty() {
            return Ok(None);
        }
        let base = optional(base);
        let regexes: Vec<_> = config.rules.iter().map(|rule| regex(rule, &base)).collect();
        let matcher = Matcher::new(&regexes)
            .map_err(|TooComplex(at)| RuleError { rule: config.rules[at].name.clone(), at })?;
        let rules = config.rules.iter().map(|rule| Compiled {
            rule: Arc::new(rule.clone()),
            denied: Denied {
                count: match rule.allow {
                    true => Arc::default(),
                    false => metrics.gate_denied(&rule.name, rule.dry_run || config.dry_run),
                },
                logged: AtomicU64::new(Moment::NEVER.to_bits()),
                logged_count: AtomicU64::new(0),
            },
        });
        Ok(Some(Self { rules: rules.collect(), matcher, dry_run: config.dry_run }))
    }

    /// The rules, in order.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|compiled| &*compiled.rule)
    }

    /// Whether `rule` refuses nothing: it is a dry run, or all rules are.
    pub const fn is_dry_run(&self, rule: &Rule) -> bool {
        self.dry_run || rule.dry_run
    }

    /// Each rule with its state for this license, in order. Exceptions are open.
    pub fn states<'a>(
        &'a self,
        license: &'a LicenseNow<'a>,
    ) -> impl Iterator<Item = (&'a Rule, State)> {
        self.rules().map(|rule| (rule, rule.state(license)))
    }

    /// Judges a request for the path with these `readings`. `state` computes the state of a rule; it is called only for rules that match.
    ///
    /// Refusals, and what a dry run would refuse, are counted and logged.
    pub fn judge(
        &self,
        method: &Method,
        headers: &Fields,
        readings: &Readings<'_>,
        state: &mut dyn FnMut(&Rule) -> State,
    ) -> Verdict {
        let mut case =
            Case { rules: self, method, headers, state, asked: None, verdict: Found::default() };
        readings.any(|reading| case.is_refused(reading));
        let Found { refused, would_refuse, grace } = case.verdict;
        for at in would_refuse {
            self.rules[at].would_deny();
        }
        match refused {
            Some((at, closed)) => {
                self.rules[at].deny();
                Verdict::Refused(Denial { rule: self.rules[at].rule.clone(), closed })
            }
            None => Verdict::Admitted { grace },
        }
    }

    /// How a request is judged by each reading of its path, for people. Nothing is counted.
    pub fn explain(
        &self,
        methods: &[Method],
        readings: &Readings<'_>,
        license: &LicenseNow<'_>,
    ) -> Vec<Decision<'_>> {
        let mut decisions: Vec<Decision<'_>> = Vec::new();
        readings.any(|reading| {
            let reading = reading.to_ascii_lowercase();
            if decisions.iter().all(|other| other.reading != reading) {
                for method in methods {
                    let steps = self.steps(&reading, method, license);
                    let (reading, method) = (reading.clone(), method.clone());
                    decisions.push(Decision { reading, method, steps });
                }
            }
            false
        });
        decisions
    }

    fn steps(&self, reading: &[u8], method: &Method, license: &LicenseNow<'_>) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        self.matcher.any(reading, |at| {
            let rule = &*self.rules[at].rule;
            if !rule.methods.has(method) {
                return false;
            }
            steps.push(Step { rule, state: rule.state(license), decides: !rule.dry_run });
            !rule.dry_run
        });
        steps
    }

    /// The rules that never decide. Empty if there are too many rules to find out.
    pub fn unreachable(&self) -> Vec<Unreachable<'_>> {
        let Some(combinations) = self.matcher.combinations() else { return Vec::new() };
        let rules: Vec<_> = self.rules().collect();
        let unreachable = |at: usize| {
            let rule = rules[at];
            let mut by = Vec::new();
            for together in combinations.iter().filter(|together| together.contains(&at)) {
                for method in rule.methods.representatives(rules.iter().map(|rule| &rule.methods)) {
                    let decides = |other: &&usize| {
                        !rules[**other].dry_run && rules[**other].methods.has(&method)
                    };
                    let first = together.iter().take_while(|other| **other < at).find(decides)?;
                    if !by.contains(first) {
                        by.push(*first);
                    }
                }
            }
            by.sort_unstable();
            Some(Unreachable { at, by: by.into_iter().map(|at| rules[at]).collect() })
        };
        (0..rules.len()).filter_map(unreachable).collect()
    }
}

impl Compiled {
    #[cold]
    fn deny(&self) {
        let Some(requests) = self.denied.count() else { return };
        let rule = &*self.rule.name;
        tracing::info!(
            event = "gate.denied",
            rule,
            requests,
            "a gate rule refuses requests; the next line follows after a minute at the earliest"
        );
    }

    #[cold]
    fn would_deny(&self) {
        let Some(requests) = self.denied.count() else { return };
        let rule = &*self.rule.name;
        tracing::info!(
            event = "gate.would_deny",
            rule,
            requests,
            "a gate rule would refuse requests without dry_run; the next line follows after a minute at the earliest"
        );
    }
}

impl Denied {
    /// Counts a request. Returns the number of requests since the last log line, if another line is due.
    fn count(&self) -> Option<u64> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let (now, last) = (Moment::now(), self.logged.load(Ordering::Relaxed));
        let is_due = Moment::from_bits(last) == Moment::NEVER
            || now.since(Moment::from_bits(last)) >= LOGGED_EVERY;
        // Of several threads, one logs.
        let is_ours = is_due
            && self
                .logged
                .compare_exchange(last, now.to_bits(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        is_ours.then(|| count.saturating_sub(self.logged_count.swap(count, Ordering::Relaxed)))
    }
}

/// One request before the rules.
struct Case<'a> {
    rules: &'a Rules,
    method: &'a Method,
    headers: &'a Fields,
    state: &'a mut dyn FnMut(&Rule) -> State,
    /// Computed when the first rule matches.
    asked: Option<Asked>,
    verdict: Found,
}

/// What a request asks for, by its fields.
struct Asked {
    is_preflight: bool,
    /// The methods that fields name instead of the request's own.
    others: Vec<Method>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    refused: Option<(usize, Closed)>,
    /// Rules that would refuse it without `dry_run`, each once.
    would_refuse: Vec<usize>,
    grace: Option<UnixTime>,
}

impl Case<'_> {
    /// Judges one reading.
    fn is_refused(&mut self, reading: &[u8]) -> bool {
        let rules = self.rules;
        if !rules.matcher.any(reading, |_| true) {
            return false;
        }
        let (method, headers) = (self.method, self.headers);
        let asked = self.asked.take().unwrap_or_else(|| Asked::of(method, headers));
        let is_refused = !asked.is_preflight
            && (self.is_refused_for(reading, method)
                || asked.others.iter().any(|other| self.is_refused_for(reading, other)));
        self.asked = Some(asked);
        is_refused
    }

    fn is_refused_for(&mut self, reading: &[u8], method: &Method) -> bool {
        let rules = self.rules;
        rules
            .matcher
            .any(reading, |at| rules.rules[at].rule.methods.has(method) && self.decides(at));
        self.verdict.refused.is_some()
    }

    /// Whether the rule `at` decides.
    fn decides(&mut self, at: usize) -> bool {
        let rule = &*self.rules.rules[at].rule;
        let is_dry_run = self.rules.is_dry_run(rule);
        let found = &mut self.verdict;
        match (self.state)(rule) {
            State::Open => {}
            State::Grace { .. } if is_dry_run => {}
            State::Grace { until } => {
                found.grace = Some(found.grace.map_or(until, |other| other.min(until)));
            }
            State::Closed(_) if is_dry_run => {
                if !found.would_refuse.contains(&at) {
                    found.would_refuse.push(at);
                }
            }
            State::Closed(closed) => found.refused = Some((at, closed)),
        }
        !rule.dry_run
    }
}

impl Asked {
    fn of(method: &Method, headers: &Fields) -> Self {
        let named = headers
            .get_all(&METHOD_OVERRIDE)
            .filter_map(|value| Method::from_bytes(&value.trim_ascii().to_ascii_uppercase()).ok());
        let others: Vec<_> = named.filter(|other| other != method).collect();
        // A browser adds no other method to a preflight.
        let is_preflight = *method == Method::OPTIONS
            && others.is_empty()
            && headers.get(&ORIGIN).is_some()
            && headers.get(&ACCESS_CONTROL_REQUEST_METHOD).is_some();
        Self { is_preflight, others }
    }
}

/// The base path as a part of a regular expression that may be absent: as written, and decoded.
fn optional(base: &str) -> String {
    if base.is_empty() {
        return String::new();
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(base).collect();
    let mut regex = String::from("(?:");
    base.bytes().for_each(|byte| literal(&mut regex, byte));
    if decoded != base.as_bytes() {
        regex.push('|');
        decoded.into_iter().for_each(|byte| literal(&mut regex, byte));
    }
    regex.push_str(")?");
    regex
}

fn regex(rule: &Rule, base: &str) -> String {
    let globs: Vec<_> = rule.paths.iter().map(|glob| glob.regex()).collect();
    format!("{base}(?:{})", globs.join("|"))
}
