//! The markup of the page: pure functions from what is shown to HTML. Maud escapes all text.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::assets::Asset;
use super::facts::{Audited, Facts};
use super::form::{Action, Form};
use super::sign::{class, sign};
use super::timeline;
use super::words::{self, Advice, Tone};
use crate::license::{CheckResult, Claims, License, Report, Source, acceptable, why_skipped};
use crate::store::{Earlier, Former};

/// Where a fault is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The pasted token, or the file.
    Token,
    /// The button that renews.
    Renewal,
    /// The former licenses.
    History,
    /// The instance that was typed to confirm a removal.
    Instance,
    /// The page.
    Page,
}

impl Field {
    /// The field that a fault of `action` is about.
    pub(super) const fn of(action: Option<Action>) -> Self {
        match action {
            Some(Action::Check | Action::Install) => Self::Token,
            Some(Action::Renew | Action::Request) => Self::Renewal,
            Some(Action::RollBack) => Self::History,
            Some(Action::Remove) => Self::Instance,
            None => Self::Page,
        }
    }

    const fn id(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Renewal => "renewal",
            Self::History => "history",
            Self::Instance => "instance",
            Self::Page => "main",
        }
    }
}

/// Why an action failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) field: Field,
    pub(super) message: String,
}

/// What the page shows in addition to the facts.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The sentence after a success.
    pub(super) done: Option<&'static str>,
    /// What was typed.
    pub(super) form: Form,
    pub(super) fault: Option<Fault>,
    /// The result of checking a token.
    pub(super) report: Option<Report>,
    /// The revision that the page showed, if the license has changed since.
    pub(super) changed: Option<String>,
}

impl Shown {
    fn fault_of(&self, field: Field) -> Option<&str> {
        self.fault.as_ref().filter(|fault| fault.field == field).map(|fault| &*fault.message)
    }
}

/// The frame of every page.
fn document(
    title: &str,
    root: &str,
    name: Option<&str>,
    instance: Option<&str>,
    content: &Markup,
) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" data-base=(root.trim_end_matches('/')) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href={ "assets/" (Asset::Style.name()) };
                script src={ "assets/" (Asset::Script.name()) } defer {}
            }
            body {
                a class="skip" href="#main" { (words::SKIP) }
                header {
                    div class="wide" {
                        p class="brand" { a href=(root) { (words::DASHBOARD) } }
                        @if let Some(name) = name {
                            p class="who" { (words::SIGNED_IN_AS) " " strong { (words::named(name)) } }
                        }
                    }
                }
                main id="main" tabindex="-1" class="wide" {
                    div class="title" {
                        h1 { (words::TITLE) }
                        @if let Some(instance) = instance { p class="instance" { (words::named(instance)) } }
                    }
                    (content)
                }
                p id="live" class="hidden" role="status" data-unreachable=(words::UNREACHABLE) {}
            }
        }
    };
    page.into_string()
}

/// A page without the license: why it is not shown, and what to do.
pub(super) fn message(root: &str, title: &str, content: &Markup) -> String {
    let body = html! {
        section class="card message" aria-labelledby="message" {
            h2 id="message" tabindex="-1" autofocus { (title) }
            (content)
        }
    };
    document(&format!("{title} \u{2013} {}", words::TITLE), root, None, None, &body)
}

/// The page of the license.
pub(super) fn page(facts: &Facts, shown: &Shown, root: &str) -> String {
    let advice = facts.advice();
    let tone = Facts::tone(&advice);
    let instance = facts.snapshot.policy().root_url.as_str();
    let prefix =
        if shown.fault.is_some() || shown.changed.is_some() { words::ERROR_TITLE } else { "" };
    let state = if facts.is_nothing_there() { words::ABSENT } else { badge(tone) };
    let title = format!("{prefix}{state} \u{2013} {}", words::TITLE);
    // A reader with a good license looks for its facts; another one has something to do.
    let is_good = advice.first().is_some_and(|advice| advice.tone == Tone::Good);
    let is_first = shown.report.is_some() || shown.fault_of(Field::Token).is_some() || !is_good;
    let install = if facts.may_write {
        install(facts, shown)
    } else {
        html! {}
    };
    let content = html! {
        (notice(facts, shown))
        (status(facts, &advice, tone))
        @if is_first { (install) }
        @if facts.claims().is_some() {
            div class="columns" {
                (license(facts))
                (times(facts))
            }
        }
        (facts.rules.section())
        @if !is_first { (install) }
        @if facts.license().is_some() { (renewal(facts, shown)) }
        (history(facts, shown))
        (sources(facts))
        (audit(facts))
        @if facts.may_remove && facts.is_anything_stored() { (removal(facts, shown)) }
    };
    document(&title, root, Some(&facts.name), Some(instance), &content)
}

fn badge(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => words::GOOD,
        Tone::Warning => words::WARNING,
        Tone::Bad => words::BAD,
    }
}

fn status(facts: &Facts, advice: &[Advice], tone: Tone) -> Markup {
    html! {
        section id="status" class={ "status " (class(tone)) } aria-labelledby="state" {
            @for (at, advice) in advice.iter().enumerate() {
                div class={ "advice " (class(advice.tone)) } {
                    (sign(advice.tone))
                    div {
                        @if at == 0 {
                            p class="badge" { (if facts.is_nothing_there() { words::ABSENT } else { badge(advice.tone) }) }
                            h2 id="state" { (advice.says) }
                        } @else {
                            h3 { (advice.says) }
                        }
                        p { (advice.todo) }
                        @if at == 0 && advice.tone != Tone::Good && may_renew(facts) {
                            (renew(facts))
                            p class="hint" { (words::RENEW_HINT) }
                        }
                    }
                }
            }
        }
    }
}

fn may_renew(facts: &Facts) -> bool {
    facts.may_write && facts.renewal.is_on && facts.license().is_some()
}

/// The button that renews.
fn renew(facts: &Facts) -> Markup {
    html! {
        form method="post" action="./" data-busy=(words::RENEWING) {
            (revision(facts))
            button name="action" value="renew" { (words::RENEW) }
        }
    }
}

/// The result of the last action.
fn notice(facts: &Facts, shown: &Shown) -> Markup {
    html! {
        @if let Some(done) = shown.done {
            div class="notice good" role="status" id="notice" tabindex="-1" autofocus { (sign(Tone::Good)) p { (done) } }
        }
        @if let Some(since) = &shown.changed {
            section class="notice warning" id="notice" tabindex="-1" autofocus aria-labelledby="changed" {
                (sign(Tone::Warning))
                div {
                    h2 id="changed" { (words::CHANGED) }
                    (changed(facts, since))
                    p { (words::CHANGED_TODO) }
                    @if let Some(action) = shown.form.action.filter(|action| *action != Action::Install) { (go_on(facts, shown, action)) }
                }
            }
        } @else if let Some(fault) = &shown.fault {
            div class="notice bad" id="notice" tabindex="-1" autofocus role="alert" {
                (sign(Tone::Bad))
                div {
                    p { strong { (words::FAILED) } }
                    p { a href={ "#" (fault.field.id()) } { (words::sentence(&fault.message)) } }
                }
            }
        }
    }
}

/// The same action on the current revision.
fn go_on(facts: &Facts, shown: &Shown, action: Action) -> Markup {
    html! {
        form method="post" action="./" {
            (revision(facts))
            input type="hidden" name="jti" value=(shown.form.jti);
            input type="hidden" name="instance" value=(shown.form.instance);
            button name="action" value=(action.as_str()) { (words::GO_ON) ": " (label(action)) }
        }
    }
}

const fn label(action: Action) -> &'static str {
    match action {
        Action::Check => words::CHECK,
        Action::Install => words::APPLY,
        Action::Renew => words::RENEW,
        Action::RollBack => words::PUT_BACK,
        Action::Remove => words::REMOVE,
        Action::Request => words::REQUEST,
    }
}

/// What has changed since the revision `since`.
fn changed(facts: &Facts, since: &str) -> Markup {
    let stored = facts.snapshot.candidate(Source::Store).map(|it| it.license().claims());
    html! {
        @match (facts.snapshot.earlier(since), stored) {
            (Earlier::License(former), Some(now)) => {
                (differences(words::BEFORE, words::SINCE, Some(&former.claims), now))
            }
            (Earlier::License(former), None) => {
                p { "It was " (words::former(&former.claims)) ". It was removed." }
            }
            (Earlier::Same, _) => { p { (words::CHANGED_SAME) } }
            (Earlier::Nothing, Some(now)) => { p { (words::CHANGED_NOTHING) " Now it is " (words::former(now)) "." } }
            (Earlier::Nothing, None) => { p { (words::CHANGED_NOTHING) } }
            (Earlier::Unknown, _) => { p { (words::CHANGED_UNKNOWN) } }
        }
        @if let Some(Ok(lines)) = &facts.audit {
            @if let Some(last) = lines.iter().find(|line| line.outcome == "ok") {
                p { (who(last)) " " (words::audited(&last.action, &last.outcome)) ", " (stamp(last)) "." }
            }
        }
    }
}

fn revision(facts: &Facts) -> Markup {
    html! { input type="hidden" name="revision" value=(facts.snapshot.tag()); }
}

fn error(id: &str, message: Option<&str>) -> Markup {
    html! {
        @if let Some(message) = message {
            p class="error" id=(id) { (sign(Tone::Bad)) span { (words::sentence(message)) } }
        }
    }
}

fn install(facts: &Facts, shown: &Shown) -> Markup {
    let fault = shown.fault_of(Field::Token).filter(|_| shown.changed.is_none());
    let describes = if fault.is_some() { "token-hint token-error" } else { "token-hint" };
    html! {
        section class="card" id="install" aria-labelledby="install-title" {
            h2 id="install-title" { (words::INSTALL) }
            form method="post" action="./" enctype="multipart/form-data" data-drop {
                (revision(facts))
                label for="token" { (words::TOKEN) }
                p class="hint" id="token-hint" { (words::TOKEN_HINT) span class="scripted" { " " (words::DROP_HINT) } }
                (error("token-error", fault))
                textarea id="token" name="token" rows="5" spellcheck="false" autocomplete="off" autocapitalize="off"
                    translate="no" aria-describedby=(describes) aria-invalid=[fault.map(|_| "true")] {
                    (PreEscaped("\n")) (shown.form.typed())
                }
                div class="row" {
                    div class="file" {
                        label for="file" { (words::FILE) }
                        input type="file" id="file" name="file" data-large=(words::TOO_LARGE) data-binary=(words::NOT_TEXT);
                    }
                    button name="action" value="check" class="plain" { (words::CHECK) }
                }
                div id="result" { @if let Some(report) = &shown.report { (result(facts, report)) } }
            }
        }
    }
}

/// The result of checking a token.
fn result(facts: &Facts, report: &Report) -> Markup {
    let tone = if report.valid { Tone::Good } else { Tone::Bad };
    let title = if report.valid { words::RESULT_GOOD } else { words::RESULT_BAD };
    html! {
        div class={ "report " (class(tone)) } {
            div class="report-title" { (sign(tone)) h3 id="report" tabindex="-1" data-focus { (title) } }
            @if let Some(reason) = report.reason() { p { (words::sentence(&reason.to_string())) } }
            @if let Some(offered) = &report.license {
                h4 { (words::CHANGES) }
                (differences(words::FROM, words::TO, facts.claims(), offered.claims()))
            }
            @if report.valid {
                button name="action" value="install" { (words::APPLY) }
            }
            details open[!report.valid] {
                summary { (words::CHECKS) }
                ul class="checks" {
                    @for check in &report.checks {
                        @let state = match check.result {
                            CheckResult::Passed => "good",
                            CheckResult::Failed(_) => "bad",
                            CheckResult::Skipped => "skipped",
                        };
                        li class=(state) {
                            (words::check(check.name)) ": " strong { (words::result(&check.result)) }
                            @match &check.result {
                                CheckResult::Passed => {}
                                CheckResult::Failed(reason) => { " \u{2013} " (words::sentence(&reason.to_string())) }
                                CheckResult::Skipped if report.license.is_some() => {
                                    " \u{2013} " (why_skipped(check.name.as_str(), true))
                                }
                                CheckResult::Skipped => {}
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A difference of two licenses.
struct Difference {
    claim: &'static str,
    from: Option<Value>,
    to: Option<Value>,
}

impl Difference {
    /// Whether it is one of two times that look the same.
    fn is_within_a_minute(&self) -> bool {
        let seconds = |value: &Option<Value>| value.as_ref().and_then(Value::as_u64);
        let is_time = ["iat", "exp", "nbf", "lexp", "trial_exp"].contains(&self.claim);
        match (seconds(&self.from), seconds(&self.to)) {
            (Some(from), Some(to)) => is_time && from > 0 && to > 0 && from.abs_diff(to) < 60,
            _ => false,
        }
    }

    /// Whether the new license gives less: fewer seats, an earlier end, a lost product.
    fn is_less(&self) -> bool {
        let number = |value: &Option<Value>| {
            value.as_ref().and_then(Value::as_i64).filter(|number| *number > 0)
        };
        let no_limit = |value: &Option<Value>| number(value).unwrap_or(i64::MAX);
        let names = |value: &Option<Value>| {
            value.as_ref().and_then(Value::as_array).cloned().unwrap_or_default()
        };
        match self.claim {
            "included_users" | "lexp" | "trial_exp" | "exp" => {
                no_limit(&self.to) < no_limit(&self.from)
            }
            "prod" => {
                let new = names(&self.to);
                names(&self.from).iter().any(|name| !new.contains(name))
            }
            _ => false,
        }
    }
}

/// Every difference, those that people look for first.
fn compared(old: Option<&Claims>, new: &Claims) -> Vec<Difference> {
    const FIRST: [&str; 7] =
        ["included_users", "lexp", "prod", "exp", "trial", "trial_exp", "company"];
    let (old, new) = (old.map(Claims::stated).unwrap_or_default(), new.stated());
    let value = |claims: &[(&'static str, Value)], name: &str| {
        claims.iter().find(|(claim, _)| *claim == name).map(|(_, value)| value.clone())
    };
    let others = Claims::NAMES.into_iter().filter(|name| !FIRST.contains(name));
    FIRST
        .into_iter()
        .chain(others)
        .map(|claim| Difference { claim, from: value(&old, claim), to: value(&new, claim) })
        .filter(|difference| difference.from != difference.to && !difference.is_within_a_minute())
        .collect()
}

fn differences(from: &str, to: &str, old: Option<&Claims>, new: &Claims) -> Markup {
    let all = compared(old, new);
    html! {
        @if all.is_empty() { p { (words::NO_CHANGES) } } @else {
            div class="scroll" { table class="differences" {
                thead { tr { th scope="col" { (words::CLAIM) } @if old.is_some() { th scope="col" { (from) } } th scope="col" { (to) } } }
                tbody {
                    @for it in &all {
                        @let less = old.is_some() && it.is_less();
                        tr class=[less.then_some("less")] {
                            th scope="row" { (words::claim(it.claim)) }
                            @if old.is_some() { td data-label=(from) { (words::value(it.claim, it.from.as_ref())) } }
                            td data-label=(to) {
                                (words::value(it.claim, it.to.as_ref()))
                                @if less { " " strong class="mark" { (words::LESS) } }
                            }
                        }
                    }
                }
            } }
        }
    }
}

fn row(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn text(claim: Option<&str>) -> Markup {
    match claim.filter(|text| !text.trim().is_empty()) {
        Some(text) => words::named(text),
        None => html! { span class="faint" { (words::NOT_STATED) } },
    }
}

fn license(facts: &Facts) -> Markup {
    let Some(claims) = facts.claims() else { return html! {} };
    let products: Vec<_> = claims.prod.iter().flatten().map(String::as_str).collect();
    html! {
        section class="card" aria-labelledby="facts" {
            h2 id="facts" { (words::FACTS) }
            dl class="facts" {
                (row(words::LICENSEE, &text(claims.company.as_deref())))
                @if claims.account.is_some() { (row(words::ACCOUNT, &text(claims.account.as_deref()))) }
                (row(words::LICENSE_ID, &text(Some(&claims.lid))))
                (row(words::LICENSED_FOR, &text(Some(&claims.sub))))
                (row(words::PRODUCTS, &html! {
                    (words::products(&products))
                    @if let Some(product) = facts.missing_product() { br; (words::product_absent(product)) }
                }))
                @if claims.trial == Some(true) {
                    (row(words::TRIAL, &html! { (words::value("trial", Some(&Value::Bool(true)))) }))
                }
                @if let Some(link) = claims.details_url.as_deref().filter(|link| !link.is_empty()) {
                    (row(words::DETAILS, &details(link)))
                }
                (row(words::SEATS, &seats(facts, claims)))
            }
        }
    }
}

/// A link if it leads to a web page, otherwise text.
fn details(link: &str) -> Markup {
    const MAX_BYTES: usize = 1024;
    let uri = Some(link).filter(|link| link.len() <= MAX_BYTES && link.is_ascii());
    let uri = uri.and_then(|link| link.parse::<http::Uri>().ok());
    let is_web = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some()
    });
    html! {
        @if is_web { a href=(link) rel="noopener noreferrer" { (words::named(link)) } } @else { (words::named(link)) }
    }
}

fn seats(facts: &Facts, claims: &Claims) -> Markup {
    let included = claims.included_users;
    html! {
        @match &facts.seats {
            Some(Ok(used)) => {
                @let limit = included.and_then(|seats| u64::try_from(seats).ok()).filter(|seats| *seats > 0);
                span id="seats" { (words::seats_used(*used, included)) }
                @if let Some(limit) = limit { (meter(*used, limit)) }
            }
            Some(Err(why)) => { span id="seats" { (words::seats(included)) " included" } p class="faint" { (words::sentence(why)) } }
            None if facts.has_statistics => {
                span id="seats" data-load="?seats=1" { (words::seats(included)) " included" }
                p { a href="?seats=1" id="show-seats" { (words::SHOW_SEATS) } }
            }
            None => { span id="seats" { (words::seats(included)) " included" } }
        }
    }
}

fn meter(used: u64, limit: u64) -> Markup {
    let percent = (used.saturating_mul(100) / limit).min(100);
    let class = match used.saturating_mul(100) / limit {
        0..80 => "good",
        80..100 => "warning",
        _ => "bad",
    };
    html! {
        svg class={ "meter " (class) } width="100%" height="8" aria-hidden="true" focusable="false" {
            rect class="whole" width="100%" height="8" rx="4" {}
            rect class="used" width={ (percent) "%" } height="8" rx="4" {}
        }
    }
}

fn times(facts: &Facts) -> Markup {
    html! {
        @if facts.claims().is_some() {
            section class="card" aria-labelledby="times" {
                h2 id="times" { (words::TIMES) }
                (timeline::lines(facts))
                p class="hint" { (words::TOKEN_EXPLAINED) }
            }
        }
    }
}

fn renewal(facts: &Facts, shown: &Shown) -> Markup {
    let fault = shown.fault_of(Field::Renewal).filter(|_| shown.changed.is_none());
    let has_license = facts.license().is_some();
    let progress = &facts.renewal;
    html! {
        section class="card" id="renewal" tabindex="-1" aria-labelledby="renewal-title" {
            h2 id="renewal-title" { (words::RENEWAL) }
            @if progress.is_on {
                dl class="facts" {
                    (row(words::LAST_RENEWAL, &html! {
                        @match facts.last_renewal() { Some(at) => { (words::moment(at)) } None => { (words::NONE_YET) } }
                    }))
                    (row(words::NEXT_RENEWAL, &html! {
                        @match progress.next { Some(at) => { (words::moment(at)) } None => { (words::NOT_SCHEDULED) } }
                    }))
                }
            } @else { p { (words::RENEWAL_OFF) } }
            (error("renewal-error", fault))
            @if facts.may_write && has_license {
                div class="actions" {
                    @if may_renew(facts) { (renew(facts)) }
                    form method="post" action="./" data-download {
                        (revision(facts))
                        button name="action" value="request" class="plain" aria-describedby="request-hint" { (words::REQUEST) }
                    }
                }
                @if may_renew(facts) { p class="hint" { (words::RENEW_HINT) } }
                p class="hint" id="request-hint" { (words::REQUEST_HINT) }
            }
        }
    }
}

fn history(facts: &Facts, shown: &Shown) -> Markup {
    let fault = shown.fault_of(Field::History).filter(|_| shown.changed.is_none());
    let former = facts.snapshot.former();
    let replacements = facts.replacements();
    html! {
        section class="card" id="history" tabindex="-1" aria-labelledby="history-title" {
            h2 id="history-title" { (words::HISTORY) }
            (error("history-error", fault))
            @if former.is_empty() { p { (words::NO_HISTORY) } } @else {
                ol class="history" {
                    @for (at, it) in former.iter().enumerate() {
                        @let newer = at.checked_sub(1).and_then(|at| former.get(at)).map(|newer| &newer.claims);
                        @let newer = newer.or_else(|| {
                            let stored = facts.snapshot.candidate(Source::Store)?;
                            Some(stored.license().claims())
                        });
                        @let by = replacements.get(at).copied().flatten();
                        li { (entry(facts, it, by, newer)) }
                    }
                }
            }
        }
    }
}

/// A former license: what replaced it, and the button that restores it.
fn entry(facts: &Facts, former: &Former, by: Option<&Audited>, newer: Option<&Claims>) -> Markup {
    let policy = facts.snapshot.policy();
    let refused = match &former.license {
        Ok(license) => {
            acceptable(license, policy, facts.now).err().map(|reason| reason.to_string())
        }
        Err(reason) => Some(reason.to_string()),
    };
    let jti = former.claims.jti.as_deref().filter(|jti| !jti.is_empty());
    html! {
        div class="entry" {
            p class="former" { (words::former(&former.claims)) }
            p class="hint" {
                (words::REPLACED) " " (words::instant(former.replaced_at))
                @if let Some(by) = by { " \u{2013} " (who(by)) " " (words::audited(&by.action, &by.outcome)) }
            }
            @if let Some(newer) = newer {
                @let all = compared(Some(&former.claims), newer);
                @let notable: Vec<_> = all.iter().filter(|it| !["jti", "iat"].contains(&it.claim)).take(4).collect();
                @if !notable.is_empty() {
                    ul class="notable" {
                        @for it in notable {
                            li { (words::claim(it.claim)) ": " (words::value(it.claim, it.from.as_ref())) " \u{2192} " (words::value(it.claim, it.to.as_ref())) }
                        }
                    }
                }
            }
        }
        @if let Some(reason) = &refused { p class="faint" { (words::sentence(reason)) } }
        @else if facts.may_write {
            @if let Some(jti) = jti {
                form method="post" action="./" {
                    (revision(facts))
                    input type="hidden" name="jti" value=(jti);
                    button name="action" value="rollback" class="plain" { (words::PUT_BACK) span class="hidden" { " " (words::bounded(jti)) } }
                }
            } @else { p class="faint" { (words::NO_TOKEN_ID) } }
        }
    }
}

fn who(line: &Audited) -> Markup {
    html! {
        (words::named(&line.actor))
        @if !line.address.is_empty() { " (" (words::named(&line.address)) ")" }
    }
}

fn sources(facts: &Facts) -> Markup {
    let in_force = &facts.in_force;
    let other = match in_force.source {
        Source::File => Source::Store,
        Source::Store | Source::Nowhere => Source::File,
    };
    let keys: Vec<_> = facts.snapshot.trust().keys.names().take(20).collect();
    html! {
        section class="card" aria-labelledby="sources" {
            h2 id="sources" { (words::SOURCES) }
            dl class="facts" {
                @if facts.license().is_some() {
                    (row(words::IN_FORCE, &html! {
                        (words::source(in_force.source)) " \u{2013} " (words::why(in_force.why))
                    }))
                }
                @if facts.license().is_some() || facts.snapshot.unused(other).is_some() {
                    (row(words::OTHER_SOURCE, &other_source(facts, other)))
                }
                (row(words::KEYS, &html! {
                    @if keys.is_empty() { (words::NO_KEYS) } @else {
                        ul class="plain-list" {
                            @for (algorithm, kid) in keys {
                                li {
                                    @match kid { Some(kid) => { (words::named(kid)) } None => { (words::WITHOUT_ID) } }
                                    " (" (algorithm.name()) ")"
                                }
                            }
                        }
                    }
                    p class="faint" { (words::named(&facts.keys_from)) }
                }))
            }
        }
    }
}

fn other_source(facts: &Facts, source: Source) -> Markup {
    let name = if source == Source::File { "license.file" } else { "the store" };
    let found = facts.snapshot.candidate(source);
    let standing = found.map(|it| it.standing(facts.snapshot.policy(), facts.now));
    let unused = facts.snapshot.unused(source).map(words::unused_why);
    html! {
        (name) ": "
        @match (found.map(|it| it.license()), standing) {
            (Some(license), Some(standing)) => {
                (words::named(&License::claims(license).lid)) ", "
                (words::standing(standing.is_active(), standing.reason().map(|it| it.to_string())))
            }
            _ => { (words::standing(false, unused)) }
        }
    }
}

fn audit(facts: &Facts) -> Markup {
    html! {
        @if let Some(lines) = &facts.audit {
            section class="card" aria-labelledby="audit" {
                h2 id="audit" { (words::AUDIT) }
                @match lines {
                    Err(()) => { p { (words::AUDIT_UNREADABLE) } }
                    Ok(lines) if lines.is_empty() => { p { (words::AUDIT_NONE) } }
                    Ok(lines) => { (audit_table(lines)) }
                }
            }
        }
    }
}

fn audit_table(lines: &[Audited]) -> Markup {
    html! {
        div class="scroll" { table class="audit" {
            thead { tr {
                th scope="col" { (words::WHEN) } th scope="col" { (words::WHO) } th scope="col" { (words::WHAT) }
                th scope="col" { (words::LICENSE) }
            } }
            tbody {
                @for line in lines {
                    tr {
                        td data-label=(words::WHEN) { (stamp(line)) }
                        td data-label=(words::WHO) { (who(line)) }
                        td data-label=(words::WHAT) {
                            (words::audited(&line.action, &line.outcome))
                            @if !line.reason.is_empty() { " (" (words::bounded(&line.reason)) ")" }
                        }
                        td data-label=(words::LICENSE) { (words::named(&line.license)) }
                    }
                }
            }
        } }
    }
}

/// The time of a line of the audit log.
fn stamp(line: &Audited) -> Markup {
    match line.at() {
        Some(at) => words::instant(at),
        None => html! { (words::bounded(&line.time)) },
    }
}

fn removal(facts: &Facts, shown: &Shown) -> Markup {
    let fault = shown.fault_of(Field::Instance).filter(|_| shown.changed.is_none());
    let describes = if fault.is_some() { "remove-hint instance-error" } else { "remove-hint" };
    html! {
        section class="card danger" aria-labelledby="remove" {
            h2 id="remove" { (words::REMOVE) }
            form method="post" action="./" {
                (revision(facts))
                p id="remove-hint" { (words::REMOVE_HINT) " " code { (facts.snapshot.policy().root_url) } }
                label for="instance" { (words::INSTANCE) }
                (error("instance-error", fault))
                div class="row" {
                    input type="text" id="instance" name="instance" value=(shown.form.instance) spellcheck="false" autocomplete="off"
                        autocapitalize="off" aria-describedby=(describes) aria-invalid=[fault.map(|_| "true")];
                    button name="action" value="remove" class="bad" { (words::REMOVE_DO) }
                }
            }
        }
    }
}

/// The page of an action whose session has ended: nothing of the license, and what was typed.
pub(super) fn session_ended(
    form: &Form,
    root: &str,
    sign_in: Option<&str>,
    rotate: bool,
) -> String {
    let content = html! {
        section class="card message" aria-labelledby="message" data-rotate[rotate] {
            h2 id="message" tabindex="-1" autofocus { (words::SESSION_ENDED) }
            p { (words::SESSION_ENDED_WHY) }
            p {
                @match sign_in {
                    Some(to) => { a class="button" href=(to) target="_blank" rel="noopener" { (words::SIGN_IN_TAB) } }
                    None => { (words::SIGN_IN_BASIC) }
                }
            }
            form method="post" action="./" {
                input type="hidden" name="revision" value=(form.revision.as_deref().unwrap_or_default());
                input type="hidden" name="jti" value=(form.jti);
                @if form.action == Some(Action::Remove) {
                    label for="instance" { (words::INSTANCE) }
                    input type="text" id="instance" name="instance" value=(form.instance);
                }
                @if matches!(form.action, Some(Action::Check | Action::Install)) {
                    label for="token" { (words::TOKEN) }
                    textarea id="token" name="token" rows="5" spellcheck="false" { (PreEscaped("\n")) (form.typed()) }
                }
                @if let Some(action) = form.action {
                    button name="action" value=(action.as_str()) { (words::REPEAT) ": " (label(action)) }
                }
            }
        }
    };
    document(
        &format!("{} \u{2013} {}", words::SESSION_ENDED, words::TITLE),
        root,
        None,
        None,
        &content,
    )
}
