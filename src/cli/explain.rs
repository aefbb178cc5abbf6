//! `check-config --explain`: which gate rule decides about a request, and what would happen; or all rules as a table.
//!
//! Uses the license that a gate with this configuration has in force, or the one in `--license`, at the present time or at `--at`. Reads the
//! store's directory without its lock, because a gate may be running. Nothing is requested.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use http::{Method, Uri};

use super::streams::{DONE, FAILED, Streams, with_streams};
use super::trusted::{Sources, license_in};
use crate::api::endpoint::Router;
use crate::clock::{Clock, UnixTime};
use crate::config::Config;
use crate::license::{License, Policy, RootUrl, Standing, printable};
use crate::message::Fields;
use crate::path::{self, Readings};
use crate::rules::{
    Closed, Decision, LicenseNow, Missing, Requirement, Rule, Rules, State, Verdict,
};
use crate::telemetry::metrics::Metrics;

/// Flags of `check-config` that show gate rules instead of the configuration.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Show which gate rule decides about a request, for example "POST /api/reports/1", and what would happen to it now;
    /// without a request, show the state of each rule
    #[arg(long, value_name = "METHOD PATH", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,

    /// With --explain: use the license in this file, not the one that a gate has in force
    #[arg(long, value_name = "FILE", requires = "explain")]
    license: Option<PathBuf>,

    /// With --explain: at this time, for example 2027-01-31 or 2027-01-31T08:00:00Z, not now
    #[arg(long, value_name = "TIME", requires = "explain", value_parser = moment)]
    at: Option<UnixTime>,
}

/// A date, which means its first second in UTC, or a time in RFC 3339.
fn moment(text: &str) -> Result<UnixTime, String> {
    let time = match text.len() {
        10 => humantime::parse_rfc3339(&format!("{text}T00:00:00Z")),
        _ => humantime::parse_rfc3339(text),
    };
    let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map(|since| UnixTime::from_secs(since.as_secs())).ok_or_else(|| {
        "write a date such as 2027-01-31, or a time in UTC such as 2027-01-31T08:00:00Z".to_owned()
    })
}

impl Explain {
    /// Explains the rules of `config`, if that is asked for. Returns the exit code.
    pub(super) fn run(&self, config: &Config) -> Option<u8> {
        let request = self.explain.as_deref()?;
        Some(with_streams(|streams| match self.explain(request, config, streams) {
            Ok(()) => DONE,
            Err(error) => {
                streams.report(&error);
                FAILED
            }
        }))
    }

    fn explain(
        &self,
        request: &str,
        config: &Config,
        streams: &mut Streams<'_>,
    ) -> anyhow::Result<()> {
        let now = self.at.unwrap_or_else(|| Clock::system().now());
        let root_url = RootUrl::parse(&config.root_url)?;
        let mut held = Held::find(config, &root_url, now, streams)?;
        if let Some(file) = &self.license {
            let (keys, _) = Sources::of(config).keys(streams)?;
            let license = license_in(file, &keys);
            held.license =
                Some(license.with_context(|| format!("{} is not used", file.display()))?);
        }
        let Some(rules) = Rules::new(&config.gate, root_url.base_path(), &Metrics::default())?
        else {
            writeln!(streams.out, "There are no gate rules: every request is forwarded.")?;
            return Ok(());
        };
        let standing = held.standing(now);
        let license = LicenseNow {
            standing: &standing,
            claims: held.license.as_ref().map(License::claims),
            policy: &held.policy,
            now,
        };
        let base = root_url.base_path();
        let text = match request.trim() {
            "" => table(&rules, &license),
            request => Request::parse(request)?.explain(&rules, &license, base)?,
        };
        let is_unused = license.claims.is_none() && !Sources::of(config).unused().is_empty();
        write!(streams.out, "{}\n{text}", described(&license, is_unused))?;
        Ok(())
    }
}

/// Warnings about rules that require a product which the license in force does not include.
pub(super) fn missing_products(config: &Config) -> Vec<String> {
    let rules = config.gate.rules.iter().zip(&config.rules_at);
    let required: Vec<_> = rules
        .filter_map(|(rule, at)| match &rule.requirement {
            Requirement::Product(product) if !rule.allow => Some((rule, product, at)),
            Requirement::Product(_) | Requirement::License => None,
        })
        .collect();
    let Ok(root_url) = RootUrl::parse(&config.root_url) else { return Vec::new() };
    if required.is_empty() {
        return Vec::new();
    }
    let (mut input, mut out, mut err) = (std::io::empty(), Vec::new(), std::io::sink());
    let mut streams = Streams { input: &mut input, out: &mut out, err: &mut err };
    let now = Clock::system().now();
    let held = Held::find(config, &root_url, now, &mut streams);
    let Some(license) = held.ok().and_then(|held| held.license) else { return Vec::new() };
    let lid = printable(&license.claims().lid);
    let missing = required.iter().filter(|(_, product, _)| !license.claims().includes(product));
    missing
        .map(|(rule, product, at)| {
            let effect = match rule.dry_run || config.gate.dry_run {
                true => "its requests would be refused without dry_run",
                false => "its requests are refused",
            };
            let name = &rule.name;
            format!("{at}: gate.rules: the rule {name:?} requires the product {product:?}, which the license in force ({lid}) does not include, so that {effect}; correct require, or ask the issuer for a license with the product")
        })
        .collect()
}

/// The license that a gate would have in force.
struct Held {
    license: Option<License>,
    policy: Policy,
}

impl Held {
    fn find(
        config: &Config,
        root_url: &RootUrl,
        now: UnixTime,
        streams: &mut Streams<'_>,
    ) -> anyhow::Result<Self> {
        let sources = Sources::of(config);
        let policy = Policy::new(root_url.clone(), &config.license);
        let keys = match sources.keys(streams) {
            Ok((keys, _)) => keys,
            Err(error) => {
                streams.report(&error.context("no license can be verified"));
                return Ok(Self { license: None, policy });
            }
        };
        if sources.is_copy {
            let copy = sources.store.display();
            streams
                .report(&anyhow!("the store is a database: this command reads the copy in {copy}"));
        }
        let (list, unchecked) = sources.revocations(&keys, streams);
        for source in unchecked {
            streams.report(&anyhow!(source).context("the revocations are incomplete"));
        }
        let policy = policy.revoking(list.as_ref());
        // If both rank the same, the store's license wins, as in a gate.
        let rank = |license: &License| {
            let is_valid = Standing::of(Some(license), &policy, now).is_active();
            (is_valid, license.claims().counted_iat(now))
        };
        let license = sources.licenses(&keys, streams).into_iter().max_by_key(rank);
        Ok(Self { license, policy })
    }

    fn standing(&self, now: UnixTime) -> Standing {
        Standing::of(self.license.as_ref(), &self.policy, now)
    }
}

/// Time and license, one line each. `is_unused`: there is a token that is not used, which was reported.
fn described(license: &LicenseNow<'_>, is_unused: bool) -> String {
    let LicenseNow { standing, claims, now, .. } = license;
    let license = match (claims, standing.reason()) {
        (None, _) if is_unused => "not in force: see the warnings".to_owned(),
        (None, _) => "there is none".to_owned(),
        (Some(claims), None) => {
            format!("{}, valid until {}", printable(&claims.lid), claims.first_end())
        }
        (Some(claims), Some(reason)) => format!("{}, not valid: {reason}", printable(&claims.lid)),
    };
    format!("time     {now}\nlicense  {license}\n")
}

/// All rules, one line each.
fn table(rules: &Rules, license: &LicenseNow<'_>) -> String {
    let head = ["rule", "methods", "require", "grace", "state", "paths"].map(str::to_owned);
    let lines = rules.states(license).map(|(rule, state)| {
        let (require, grace) = match rule.allow {
            true => ("-".to_owned(), "-".to_owned()),
            false => {
                (rule.requirement.to_string(), humantime::format_duration(rule.grace).to_string())
            }
        };
        let paths: Vec<_> = rule.paths.iter().map(ToString::to_string).collect();
        let state = shown(rule, &state, rules.is_dry_run(rule));
        [rule.name.clone(), rule.methods.to_string(), require, grace, state, paths.join(" ")]
    });
    aligned([head].into_iter().chain(lines).collect())
}

/// The state of a rule in a few words.
fn shown(rule: &Rule, state: &State, is_dry_run: bool) -> String {
    let text = match state {
        State::Open if rule.allow => "exception".to_owned(),
        State::Open => "open".to_owned(),
        State::Grace { until } => format!("in grace until {until}"),
        State::Closed(Closed { since: Some(since), .. }) => format!("closed since {since}"),
        State::Closed(Closed { missing: Missing::Product(product), .. }) => {
            format!("closed: no product {product}")
        }
        State::Closed(Closed { missing: Missing::License, .. }) => "closed: no license".to_owned(),
        State::Closed(_) => "closed".to_owned(),
    };
    match is_dry_run && !rule.allow {
        true => format!("{text} (dry run)"),
        false => text,
    }
}

fn aligned<const N: usize>(lines: Vec<[String; N]>) -> String {
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// A request to explain.
struct Request {
    method: Method,
    path: String,
}

impl Request {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let words: Vec<_> = text.split_whitespace().collect();
        let (method, target) = match words[..] {
            [target] if target.starts_with('/') => ("GET", target),
            [method, target] => (method, target),
            _ => {
                return Err(anyhow!(
                    "{text:?} is not a request: write for example \"POST /api/reports/1\""
                ));
            }
        };
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes());
        let method = method.with_context(|| format!("{text:?} does not begin with a method"))?;
        ensure!(target.starts_with('/'), "{target:?} is not a path: it must start with a slash");
        let uri: Uri = target.parse().with_context(|| format!("{target:?} is not a path"))?;
        Ok(Self { method, path: uri.path().to_owned() })
    }

    fn explain(
        &self,
        rules: &Rules,
        license: &LicenseNow<'_>,
        base: &str,
    ) -> anyhow::Result<String> {
        let Self { method, path } = self;
        let mut text = format!("request  {method} {path}\n\n");
        let readings = match path::readings(path) {
            Ok(readings) => readings,
            Err(error) => {
                writeln!(text, "refused with 400: {error}")?;
                return Ok(text);
            }
        };
        if Router::new(base).endpoint_of(method, path, &readings).is_some() {
            text += "answered by the gate: the path belongs to the licensing API, which no rule applies to\n";
            return Ok(text);
        }
        let decisions = rules.explain(std::slice::from_ref(method), &readings, license);
        let head = ["reading", "rule", "state"].map(str::to_owned);
        let mut lines = vec![head];
        for Decision { reading, steps, .. } in &decisions {
            let mut reading = printable(&String::from_utf8_lossy(reading));
            if steps.is_empty() {
                lines.push([reading.clone(), "-".to_owned(), "no rule matches".to_owned()]);
            }
            for step in steps {
                let state = shown(step.rule, &step.state, rules.is_dry_run(step.rule));
                lines.push([std::mem::take(&mut reading), step.rule.name.clone(), state]);
            }
        }
        text += &aligned(lines);
        writeln!(text, "\n{}", outcome(rules, method, &readings, license))?;
        Ok(text)
    }
}

/// What happens to a request, in one line.
fn outcome(
    rules: &Rules,
    method: &Method,
    readings: &Readings<'_>,
    license: &LicenseNow<'_>,
) -> String {
    let mut would_refuse = None;
    let state = &mut |rule: &Rule| {
        let state = rule.state(license);
        if rules.is_dry_run(rule) && matches!(state, State::Closed(_)) {
            would_refuse.get_or_insert_with(|| rule.name.clone());
        }
        state
    };
    match rules.judge(method, &Fields::default(), readings, state) {
        Verdict::Refused(denial) => {
            format!(
                "refused with 403 by the rule {:?}: {}",
                denial.rule.name, denial.closed.missing
            )
        }
        Verdict::Admitted { grace: Some(until) } => {
            format!("forwarded, with the response field License-Gate-Warning: grace until {until}")
        }
        Verdict::Admitted { grace: None } => match would_refuse {
            Some(rule) => format!("forwarded; without dry_run, the rule {rule:?} would refuse it"),
            None => "forwarded".to_owned(),
        },
    }
}
