//! The responses of every endpoint, for every caller and every error.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::LocalSet;

use super::*;
use crate::auth::{Auth, Config as AuthConfig, Mode};
use crate::clock::{Clock, UnixTime};
use crate::feed::{self, Installer, Renewal};
use crate::license::{Algorithm, Config as LicenseConfig, KeyPair, Policy, RootUrl};
use crate::notify;
use crate::store::{self, Config as StoreConfig, LicenseTrust};
use crate::upstream;

const NOW: u64 = 1_800_000_000;

/// A dashboard with the users `admin`, `reader` (may read) and `nobody` (may do nothing), each with the password `pw`.
#[derive(Clone, Default)]
struct Users(Rc<State>);

#[derive(Default)]
struct State {
    asked: Cell<u32>,
    down: Cell<bool>,
}

impl std::ops::Deref for Users {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Dashboard for Users {
    async fn fetch(
        &self,
        request: Request<()>,
        _limit_bytes: usize,
    ) -> Result<Response<Bytes>, upstream::Error> {
        self.asked.set(self.asked.get() + 1);
        if self.down.get() {
            return Err(upstream::Error::HeaderTimeout);
        }
        let field = request.headers().get("authorization").map(|field| field.as_bytes().to_vec());
        let is = |user: &str| field == Some(basic(user).into_bytes());
        let (status, body) = match request.uri().path() {
            "/api/user" if is("admin") => (200, r#"{"isGrafanaAdmin":true}"#),
            "/api/user" if is("reader") || is("nobody") => (200, "{}"),
            "/api/access-control/user/permissions" if is("reader") => {
                (200, r#"{"licensing:read":[""]}"#)
            }
            "/api/access-control/user/permissions" => (200, "{}"),
            "/api/admin/stats" if is("admin") => (200, r#"{"activeUsers":3,"activeAdmins":1}"#),
            "/api/admin/stats" => (403, "{}"),
            _ => (
                401,
                r#"{"message":"Invalid username or password","messageId":"password-auth.failed"}"#,
            ),
        };
        let answer = Response::builder().status(status).body(Bytes::from_static(body.as_bytes()));
        Ok(answer.expect("an answer"))
    }

    fn run(&self, work: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(work);
    }

    async fn stopping(&self) {
        std::future::pending().await
    }
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:pw")))
}

struct Bench {
    api: Api,
    users: Users,
    issuer: KeyPair,
    _home: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(&AuthConfig::default())
    }

    fn with(auth: &AuthConfig) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let issuer = KeyPair::generate(Algorithm::ES256).expect("a key pair");
        let root_url = RootUrl::parse("https://a.example/grafana/").expect("a root URL");
        let clock = Clock::manual(UnixTime::from_secs(NOW));
        let control = Handle::current();
        let context = store::Context {
            trust: LicenseTrust {
                keys: Arc::new(issuer.trusted()),
                policy: Policy::new(root_url.clone(), &LicenseConfig::default()).into(),
            },
            render,
            clock: clock.clone(),
            jwks_url: None,
            history: 10,
            metrics: Arc::default(),
            control: control.clone(),
        };
        let config = StoreConfig::file(home.path());
        let store = store::open(&config, None, context).expect("a store");
        let auth = Auth::new(auth, root_url, control.clone()).expect("settings");
        let (reader, writer, housekeeping) = (store.reader, store.writer, store.housekeeping);
        let installer = Installer::new(reader.clone(), writer.clone(), None);
        let context = feed::Context {
            reader: reader.clone(),
            installer: installer.clone(),
            writer: writer.clone(),
            housekeeping: housekeeping.clone(),
            events: notify::Events::new(None, reader.clone(), clock.clone()),
            clock: clock.clone(),
            metrics: Arc::default(),
            control,
        };
        let renewal = Renewal::new(None, context);
        let metrics = Arc::default();
        let keys_from = String::new();
        let rules = crate::rules::Published::new(None);
        let context = Context {
            reader,
            writer,
            installer,
            renewal,
            housekeeping,
            rules,
            keys_from,
            clock,
            metrics,
        };
        let api = Api::new(auth.into(), context);
        Self { api, users: Users::default(), issuer, _home: home }
    }

    fn token(&self, sub: &str) -> Value {
        let claims = json!({"sub": sub, "lid": "L-1", "jti": "j", "exp": NOW + 1000});
        json!({"token": self.issuer.sign(&claims).expect("a token").as_str()})
    }

    async fn answer(&self, endpoint: Endpoint, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let caller = Caller { address: Ipv4Addr::LOCALHOST.into(), request_id: "r1" };
        let answer = self.api.answer(endpoint, request, caller, &self.users);
        let answer = LocalSet::new().run_until(answer).await;
        answer.unwrap_or_else(|problem| problem.into_response("r1"))
    }

    async fn ask(&self, user: &str, endpoint: Endpoint, body: &str) -> (u16, String) {
        let request = Request::builder()
            .method(method(endpoint))
            .header("authorization", basic(user))
            .header("content-type", "application/json")
            .body(Full::from(body.to_owned()))
            .expect("a request");
        status_and_code(self.answer(endpoint, request).await)
    }
}

/// The status, and `messageId` or the whole body.
fn status_and_code(answer: Response<Bytes>) -> (u16, String) {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let whole = || String::from_utf8_lossy(answer.body()).into_owned();
    let code = body.get("messageId").and_then(Value::as_str).map_or_else(whole, str::to_owned);
    (answer.status().as_u16(), code)
}

fn method(endpoint: Endpoint) -> Method {
    match endpoint {
        Endpoint::InstallToken | Endpoint::RenewToken => Method::POST,
        Endpoint::RemoveToken => Method::DELETE,
        _ => Method::GET,
    }
}

fn expected(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_license_is_installed_read_and_removed() {
    let bench = Bench::new();
    let token = bench.token("https://a.example/grafana").to_string();
    assert_eq!(bench.ask("reader", Endpoint::Check, "").await, expected(200, "false"));
    let (status, none) = bench.ask("reader", Endpoint::ReadToken, "").await;
    assert!(status == 200 && none.starts_with(r#"{"status":4,"jti":"","#), "{none}");

    let (status, installed) = bench.ask("admin", Endpoint::InstallToken, &token).await;
    assert!(status == 200 && installed.starts_with(r#"{"status":1,"jti":"j","#), "{installed}");
    assert_eq!(bench.ask("reader", Endpoint::Check, "").await, expected(200, "true"));
    assert_eq!(bench.ask("reader", Endpoint::ReadToken, "").await, expected(200, &installed));

    let instance = r#"{"instance":"HTTPS://A.example:443/grafana"}"#;
    for _ in 0..2 {
        assert_eq!(bench.ask("admin", Endpoint::RemoveToken, instance).await, expected(202, "{}"));
    }
    assert_eq!(bench.ask("reader", Endpoint::Check, "").await, expected(200, "false"));
}

#[tokio::test]
async fn errors_have_their_status_and_code() {
    let bench = Bench::new();
    let elsewhere = bench.token("https://b.example/").to_string();
    let cases = [
        (Endpoint::InstallToken, elsewhere.as_str(), 400, "licensing.token.subject-mismatch"),
        (Endpoint::InstallToken, r#"{"token":"x"}"#, 400, "licensing.token.malformed"),
        (Endpoint::InstallToken, r#"{"token":1}"#, 400, "licensing.token.missing"),
        (Endpoint::InstallToken, "{}", 400, "licensing.token.missing"),
        (Endpoint::InstallToken, "[]", 400, "licensing.body.malformed"),
        (Endpoint::InstallToken, "token", 400, "licensing.body.malformed"),
        (Endpoint::RemoveToken, "", 400, "licensing.body.malformed"),
        (Endpoint::RemoveToken, "{}", 422, "licensing.instance.missing"),
        (Endpoint::RemoveToken, "[]", 422, "licensing.instance.missing"),
        (Endpoint::RemoveToken, r#"{"instance":null}"#, 422, "licensing.instance.missing"),
        (
            Endpoint::RemoveToken,
            r#"{"instance":"https://a.example/"}"#,
            422,
            "licensing.instance.mismatch",
        ),
        (
            Endpoint::RemoveToken,
            r#"{"instance":"https://*.example/grafana/"}"#,
            422,
            "licensing.instance.mismatch",
        ),
        (Endpoint::RenewToken, "{}", 404, "licensing.renewal.off"),
        (Endpoint::RenewToken, "", 404, "licensing.renewal.off"),
        (Endpoint::RenewToken, "[]", 400, "licensing.body.malformed"),
        (Endpoint::RemoveToken, r#"{"instance":""}"#, 422, "licensing.instance.mismatch"),
        (Endpoint::InstallToken, "\u{feff}{}", 400, "licensing.token.missing"),
    ];
    for (endpoint, body, status, code) in cases {
        assert_eq!(bench.ask("admin", endpoint, body).await, expected(status, code), "{body}");
    }
}

#[tokio::test]
async fn a_mismatch_names_both_instances() {
    let bench = Bench::new();
    let elsewhere = bench.token("https://b.example/").to_string();
    let removal = r#"{"instance":"https://b.example/"}"#;
    for (endpoint, body) in
        [(Endpoint::InstallToken, &*elsewhere), (Endpoint::RemoveToken, removal)]
    {
        let request = Request::builder()
            .method(method(endpoint))
            .header("authorization", basic("admin"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_owned()))
            .expect("a request");
        let answer = bench.answer(endpoint, request).await;
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        assert!(
            body.contains("https://b.example/") && body.contains("https://a.example/grafana/"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn callers_need_the_permission_of_the_action() {
    let bench = Bench::new();
    let missing = |permission: &str| format!("Permissions needed: {permission}");
    for (user, endpoint, expected) in [
        ("nobody", Endpoint::Check, missing("licensing:read")),
        ("nobody", Endpoint::ReadToken, missing("licensing:read")),
        ("reader", Endpoint::InstallToken, missing("licensing:write")),
        ("reader", Endpoint::RenewToken, missing("licensing:write")),
        ("reader", Endpoint::RemoveToken, missing("licensing:delete")),
    ] {
        let (status, body) = bench.ask(user, endpoint, "{}").await;
        assert_eq!(status, 403);
        assert!(body.contains(&expected) && body.contains(r#"{"accessErrorId":"ACE"#), "{body}");
    }
    let stranger = bench.ask("stranger", Endpoint::Check, "").await;
    assert_eq!(stranger, expected(401, "password-auth.failed"));
    bench.users.down.set(true);
    assert_eq!(bench.ask("admin", Endpoint::Check, "").await, expected(503, "auth.unavailable"));
    // A cached grant for reading does not permit writing.
    assert_eq!(
        bench.ask("reader", Endpoint::InstallToken, "{}").await,
        expected(503, "auth.unavailable")
    );
}

#[tokio::test]
async fn credentials_are_checked_before_bodies_and_origins_before_the_dashboard() {
    let bench = Bench::new();
    let request = || Request::post("/").header("content-type", "text/plain");
    let body = || Full::from("x".repeat(1 << 18));
    let no_one = request().body(body()).expect("a request");
    let answer = bench.answer(Endpoint::InstallToken, no_one).await;
    assert_eq!(
        answer.headers()["www-authenticate"],
        r#"Basic realm="license-gate", charset="UTF-8""#
    );
    assert_eq!(status_and_code(answer), expected(401, "auth.unauthorized"));

    let bearer = request().header("authorization", "Bearer x").body(body()).expect("a request");
    assert_eq!(
        status_and_code(bench.answer(Endpoint::InstallToken, bearer).await),
        expected(401, "auth.service-account")
    );

    let foreign =
        request().header("authorization", basic("admin")).header("origin", "https://evil.example");
    let foreign = foreign.body(body()).expect("a request");
    let answer = bench.answer(Endpoint::InstallToken, foreign).await;
    assert_eq!(status_and_code(answer), expected(403, "auth.origin-not-allowed"));
    assert_eq!(bench.users.asked.get(), 0);

    let typed = request().header("authorization", basic("admin")).body(body()).expect("a request");
    assert_eq!(
        status_and_code(bench.answer(Endpoint::InstallToken, typed).await),
        expected(415, "licensing.body.type")
    );
    let huge = bench.ask("admin", Endpoint::InstallToken, &"x".repeat(1 << 18)).await;
    assert_eq!(huge, expected(413, "licensing.body.too-large"));
}

#[tokio::test]
async fn grants_are_cached_and_refusals_are_not() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.ask("reader", Endpoint::Check, "").await;
    }
    assert_eq!(bench.users.asked.get(), 2, "identity and permissions, once");
    for _ in 0..2 {
        bench.ask("stranger", Endpoint::Check, "").await;
    }
    assert_eq!(bench.users.asked.get(), 4);
}

#[tokio::test]
async fn failed_sign_ins_and_changes_are_limited() {
    let bench = Bench::new();
    for _ in 0..20 {
        assert_eq!(bench.ask("stranger", Endpoint::Check, "").await.0, 401);
    }
    assert_eq!(
        bench.ask("stranger", Endpoint::Check, "").await,
        expected(429, "auth.too-many-failures")
    );
    assert_eq!(bench.users.asked.get(), 20);

    let bench = Bench::new();
    for _ in 0..60 {
        assert_eq!(bench.ask("admin", Endpoint::RenewToken, "{}").await.0, 404);
    }
    let request = Request::post("/").header("authorization", basic("admin"));
    let request = request.body(Full::default()).expect("a request");
    let answer = bench.answer(Endpoint::RenewToken, request).await;
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(status_and_code(answer), expected(429, "licensing.writes.too-many"));
    assert_eq!(bench.ask("admin", Endpoint::Check, "").await.0, 200, "reads are not counted");
}

#[tokio::test]
async fn statistics_come_from_the_dashboard() {
    let bench = Bench::new();
    let stats = r#"{"active_users":3,"active_admins_and_editors":1,"active_viewers":0,"active_anonymous_devices":0}"#;
    assert_eq!(bench.ask("admin", Endpoint::RefreshStats, "").await, expected(200, stats));
    assert_eq!(
        bench.ask("reader", Endpoint::RefreshStats, "").await,
        expected(403, "licensing.stats.forbidden")
    );
    bench.users.down.set(true);
    assert_eq!(
        bench.ask("admin", Endpoint::RefreshStats, "").await,
        expected(502, "licensing.stats.unavailable")
    );
}

#[tokio::test]
async fn a_public_check_does_not_call_the_dashboard() {
    let bench =
        Bench::with(&AuthConfig { public_check: true, mode: Mode::Local, ..AuthConfig::default() });
    let written = bench.api.public_check().expect("a response");
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(written.response().headers()[name], value);
    }
    assert_eq!((written.response().status(), &**written.body()), (StatusCode::OK, &b"false"[..]));
    assert!(Bench::new().api.public_check().is_none());
}

#[tokio::test]
async fn paths_and_methods_need_no_credentials() {
    let bench = Bench::new();
    let request = || Request::get("/").body(Full::default()).expect("a request");
    let answer = bench.answer(Endpoint::Options { allow: "GET, OPTIONS" }, request()).await;
    assert_eq!(
        (answer.status(), &answer.headers()["allow"]),
        (StatusCode::NO_CONTENT, &"GET, OPTIONS".parse().expect("a value"))
    );
    let answer = bench.answer(Endpoint::WrongMethod { allow: "GET" }, request()).await;
    assert_eq!(answer.headers()["allow"], "GET");
    assert_eq!(status_and_code(answer), expected(405, "licensing.method.not-allowed"));
    let answer = bench.answer(Endpoint::Slash, request()).await;
    assert_eq!(answer.headers()["location"], "/grafana/api/licensing/");
    assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT);
    let answer = bench.answer(Endpoint::Unknown, request()).await;
    assert_eq!(status_and_code(answer), expected(404, r#"{"message":"Not found"}"#));
    let answer = bench.answer(Endpoint::Misspelled, request()).await;
    assert_eq!(status_and_code(answer), expected(400, "licensing.path.misspelled"));
}

#[test]
fn workers_share_the_api() {
    fn shared<T: Send + Sync>() {}
    shared::<Api>();
}
