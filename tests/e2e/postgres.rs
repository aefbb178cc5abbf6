//! Several gates on one database: a change on one of them reaches all, and none of them fails with the database.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::Request;
use license_gate::license::KeyPair;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Stop};
use crate::dashboard;
use crate::gate::{Gate, ROOT_URL, Vendor};
use crate::issuer;
use crate::process::eventually;
use crate::relay::Relay;
use crate::stage_support::Running;
use crate::two::{Dead, TWO};
use crate::wire;

const DATABASE: &str = "licenses";

/// A database, a vendor and a dashboard that several gates share.
struct Scene {
    cluster: Cluster,
    vendor: Vendor,
    dashboard: Running,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start();
        cluster.database(DATABASE);
        Self { cluster, vendor: Vendor::new(), dashboard: dashboard::start() }
    }

    /// A replica.
    fn gate(&self) -> Gate {
        self.gate_at(&self.cluster.url(DATABASE), "")
    }

    fn gate_at(&self, url: &str, settings: &str) -> Gate {
        let settings = format!(
            "[store]\nurl = {url:?}\ncopy = \"copy\"\n[limits]\nwrites_per_minute = 100000\n{settings}"
        );
        Gate::with(self.dashboard.address(), &self.vendor, &settings)
    }

    fn sql(&self, statement: &str) -> String {
        self.cluster.sql(DATABASE, statement)
    }

    fn license(&self, jti: &str, is_due: bool) -> String {
        license_by(&self.vendor, jti, is_due)
    }
}

/// A license with this id that is due for renewal, or not.
fn license_by(vendor: &Vendor, jti: &str, is_due: bool) -> String {
    const DAY: i64 = 86_400;
    let pair = KeyPair::from_pem(&std::fs::read(vendor.private_key()).unwrap()).unwrap();
    let issued = now() - if is_due { 2 * DAY } else { 60 };
    let claims = json!({
        "jti": jti, "iss": "https://vendor.example", "sub": ROOT_URL, "lid": "1001",
        "iat": issued, "nbf": issued, "exp": now() + 12 * DAY, "lexp": now() + 365 * DAY,
        "company": "Example Ltd", "limit_by": "users", "included_users": 25, "update_days": 1,
    });
    pair.sign(&claims).unwrap().as_str().to_owned()
}

fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

/// The `jti` in force.
fn in_force(gate: &Gate) -> String {
    let (status, token) = gate.call("GET", "token", &Value::Null);
    assert_eq!(status, 200, "{token}");
    token["jti"].as_str().unwrap().to_owned()
}

fn is_valid(gate: &Gate) -> bool {
    gate.call("GET", "check", &Value::Null) == (200, json!(true))
}

fn post(gate: &Gate, token: &str) -> (u16, Value) {
    gate.call("POST", "token", &json!({"token": token}))
}

/// Status and `Retry-After` of an attempt to install `token`.
fn refused(gate: &Gate, token: &str) -> (u16, Option<String>) {
    let request = Request::post(format!("{}/api/licensing/token", gate.url()))
        .header("authorization", "Basic YWRtaW46YWRtaW4=")
        .header("content-type", "application/json")
        .body(json!({"token": token}).to_string());
    let answer = wire::send(request.unwrap()).unwrap();
    let after = answer.headers().get("retry-after").map(|after| after.to_str().unwrap().to_owned());
    (answer.status().as_u16(), after)
}

#[test]
fn a_change_on_one_replica_reaches_all_at_once() {
    let scene = Scene::new();
    let gates = [scene.gate(), scene.gate(), scene.gate()];
    for (n, teller) in gates.iter().enumerate() {
        let jti = format!("license-{n}");
        teller.install(&scene.license(&jti, false));
        let start = Instant::now();
        for gate in &gates {
            eventually("all know it", || (in_force(gate) == jti).then_some(()));
        }
        // Sent by a notification: without one, replicas poll every 15 s. On an idle machine it takes milliseconds.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    let (_, history) = gates[0].call("GET", "history", &Value::Null);
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    let put_back = json!({"jti": "license-0"});
    assert_eq!(gates[1].call("POST", "token/rollback", &put_back).0, 200);
    eventually("all go back", || (in_force(&gates[2]) == "license-0").then_some(()));
    assert_eq!(gates[2].call("DELETE", "token", &json!({"instance": ROOT_URL})).0, 202);
    eventually("it is gone", || (!is_valid(&gates[0])).then_some(()));
    assert_eq!(
        actions(&scene),
        ["install ok", "install ok", "install ok", "rollback ok", "remove ok"]
    );
}

/// The audit log in short. Its chain is verified as well.
fn actions(scene: &Scene) -> Vec<String> {
    let lines = scene.sql("select line from license_gate.audit order by seq");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{lines}\n")).unwrap();
    let verified = gate_program(&["audit", "verify", &file.path().display().to_string()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let short = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("{} {}", word("action"), word("outcome"))
    };
    lines.lines().map(short).collect()
}

/// Runs the gate's program in a new directory, because defaults are relative to it.
fn gate_program(arguments: &[&str]) -> std::process::Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_license-gate"));
    command.args(arguments).current_dir(home.path()).output().unwrap()
}

/// A transaction that holds the row of the state until it is dropped.
struct Holder(Child);

impl Holder {
    fn of(scene: &Scene) -> Self {
        let mut command = scene.cluster.psql(DATABASE);
        let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = psql.stdin.as_mut().unwrap();
        writeln!(input, "begin; select 'held' from license_gate.state for update;").unwrap();
        let mut output = [0; 4];
        std::io::Read::read_exact(psql.stdout.as_mut().unwrap(), &mut output).unwrap();
        assert_eq!(&output, b"held");
        Self(psql)
    }

    fn let_go(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn of_eight_concurrent_writers_one_wins_and_the_others_get_409() {
    let scene = Scene::new();
    let gates: Vec<_> = (0..8).map(|_| scene.gate()).collect();
    // All callers are signed in and connected before the race.
    gates.iter().for_each(|gate| assert!(!is_valid(gate)));
    let holder = Holder::of(&scene);
    let answers: Vec<_> = thread::scope(|scope| {
        let scene = &scene;
        let race = |(n, gate)| {
            let token = scene.license(&format!("license-{n}"), false);
            scope.spawn(move || post(gate, &token))
        };
        let writers: Vec<_> = gates.iter().enumerate().map(race).collect();
        // Gates that have just started store the time, too.
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                       and query not like '%set newest_time%'";
        eventually("all wait for the row", || (scene.sql(waiting) == "8").then_some(()));
        holder.let_go();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409], "{answers:?}");
    let winner = answers.iter().find(|(status, _)| *status == 200).unwrap();
    for gate in &gates {
        eventually("all have the winner's", || (winner.1["jti"] == in_force(gate)).then_some(()));
    }
    let actions = actions(&scene);
    assert_eq!(actions.iter().filter(|action| *action == "install ok").count(), 1, "{actions:?}");
    assert_eq!(actions.len(), 8, "{actions:?}");
}

/// Ends the load, also if the test fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_database_crash_under_load_keeps_the_license() {
    let scene = Scene::new();
    let gates = [scene.gate(), scene.gate()];
    gates[0].install(&scene.license("before", false));
    eventually("both have it", || (in_force(&gates[1]) == "before").then_some(()));
    let stop = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let readers: Vec<_> = gates
            .iter()
            .map(|gate| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut asked = 0;
                    while !stop.load(Ordering::Relaxed) {
                        assert!(is_valid(gate), "the license stays");
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        let end = Ended(&stop);
        for round in 0..2 {
            scene.cluster.down(Stop::Immediate);
            let refusal = refused(&gates[0], &scene.license("lost", false));
            assert_eq!(refusal, (503, Some("5".to_owned())));
            scene.cluster.up();
            let jti = format!("after-{round}");
            let token = scene.license(&jti, false);
            eventually("changes work again", || (post(&gates[0], &token).0 == 200).then_some(()));
            eventually("both have it", || (in_force(&gates[1]) == jti).then_some(()));
        }
        drop(end);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<u32>>()
    });
    assert!(asked.iter().all(|asked| *asked > 0), "{asked:?}");
    assert!(!actions(&scene).is_empty());
}

#[test]
fn a_replica_without_the_database_keeps_serving_and_catches_up() {
    let scene = Scene::new();
    scene.sql("create role other superuser login password 's3cret-of-the-test'");
    let one = scene.gate();
    let url = scene.cluster.url(DATABASE).replace("//gate:", "//other:");
    let other = scene.gate_at(&url, "");
    one.install(&scene.license("first", false));
    eventually("both have it", || (in_force(&other) == "first").then_some(()));

    scene.sql(
        "alter role other nologin; \
         select pg_terminate_backend(pid) from pg_stat_activity where usename = 'other'",
    );
    other.logs(|line| line.contains("the database is away").then_some(()));
    one.install(&scene.license("second", false));
    assert_eq!(in_force(&other), "first");
    assert_eq!(refused(&other, &scene.license("third", false)).0, 503);
    // A gate can even start without the database, from its own copy.
    let other = other.again();
    assert_eq!(in_force(&other), "first");
    assert!(is_valid(&other));
    let outage = |line: &str| line.contains("the database is away").then(|| line.to_owned());
    let fault = other.logs(outage);
    assert!(fault.contains("not permitted to log in") && !fault.contains("s3cret"), "{fault}");

    scene.sql("alter role other login");
    eventually("it catches up", || (in_force(&other) == "second").then_some(()));
    other.install(&scene.license("third", false));
    eventually("both have it", || (in_force(&one) == "third").then_some(()));
}

#[test]
fn a_forged_row_is_ignored_until_the_next_change_replaces_it() {
    let scene = Scene::new();
    let gates = [scene.gate(), scene.gate()];
    // Also on a replica without a license.
    scene.sql(
        "update license_gate.state set token = 'x', change_id = 'x', revision = revision + 1; \
         select pg_notify('license_gate', 'forged')",
    );
    for gate in &gates {
        gate.logs(|line| line.contains("was not applied as it is").then_some(()));
    }
    gates[0].install(&scene.license("true", false));
    eventually("both have it", || (in_force(&gates[1]) == "true").then_some(()));
    let forged = license_by(&Vendor::new(), "forged", false);
    for forged in [forged.as_str(), "garbage"] {
        scene.sql(&format!(
            "update license_gate.state set token = '{forged}', revision = revision + 1; \
             select pg_notify('license_gate', 'forged')"
        ));
        for gate in &gates {
            gate.logs(|line| line.contains("was not applied as it is").then_some(()));
            assert_eq!(in_force(gate), "true");
            assert!(is_valid(gate));
        }
    }
    let [one, other] = gates;
    let one = one.again();
    assert_eq!(in_force(&one), "true", "a start does not believe it either");
    one.install(&scene.license("next", false));
    eventually("both have it", || (in_force(&other) == "next").then_some(()));
    assert_eq!(scene.sql("select token = 'garbage' from license_gate.state"), "f");
}

#[test]
fn behind_a_pooler_without_notify_a_gate_polls_every_second_and_logs_it_once() {
    let scene = Scene::new();
    let pooler = Relay::without_notifications(scene.cluster.port());
    let (from, to) = (format!(":{}/", scene.cluster.port()), format!(":{}/", pooler.port));
    let url = scene.cluster.url(DATABASE).replace(&from, &to) + "&sslmode=disable";
    let (one, other) = (scene.gate(), scene.gate_at(&url, ""));
    let polls = |line: &str| line.contains("checks for changes every second").then_some(());
    other.logs(polls);
    for jti in ["first", "second"] {
        one.install(&scene.license(jti, false));
        eventually("it finds it by looking", || (in_force(&other) == jti).then_some(()));
    }
    other.stop_without(|line| polls(line).is_some());
}

#[test]
fn a_dead_address_of_the_database_host_is_skipped() {
    let scene = Scene::new();
    let _dead = Dead::beside(scene.cluster.port());
    let url = scene.cluster.url(DATABASE).replace("localhost", TWO) + "&sslmode=disable";
    let (one, other) = (scene.gate_at(&url, ""), scene.gate());
    one.install(&scene.license("first", false));
    eventually("both have it", || (in_force(&other) == "first").then_some(()));
}

#[test]
fn of_two_replicas_one_renews() {
    let scene = Scene::new();
    let issuer = issuer::start(&scene.vendor);
    let settings = format!("[renewal]\nurl = \"http://{}/renew\"\n", issuer.address());
    let url = scene.cluster.url(DATABASE);
    let gates = [scene.gate_at(&url, &settings), scene.gate_at(&url, &settings)];
    gates[0].install(&scene.license("due", true));
    let renewed =
        "select count(*) from license_gate.audit where line like '%\"action\":\"renew\"%'";
    // One of the replicas does so within a minute.
    let end = Instant::now() + Duration::from_secs(120);
    while scene.sql(renewed) == "0" {
        assert!(Instant::now() < end, "no replica renews");
        crate::process::pause();
    }
    for gate in &gates {
        eventually("both have it", || (in_force(gate) != "due").then_some(()));
    }
    assert_eq!(scene.sql(renewed), "1");
    let leases = "select count(*) from license_gate.lease where name = 'schedule'";
    assert_eq!(scene.sql(leases), "1");
    gates.iter().for_each(Gate::stop);
    assert_eq!(scene.sql(leases), "0", "the next replica does not have to wait until it expires");
}

#[test]
fn renewals_through_the_api_on_several_replicas_take_turns() {
    let scene = Scene::new();
    let issuer = issuer::start(&scene.vendor);
    let settings = format!("[renewal]\nurl = \"http://{}/renew\"\n", issuer.address());
    let url = scene.cluster.url(DATABASE);
    let gates = [scene.gate_at(&url, &settings), scene.gate_at(&url, &settings)];
    gates[0].install(&scene.license("first", false));
    eventually("both have it", || (in_force(&gates[1]) == "first").then_some(()));
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = |gate| scope.spawn(move || Gate::call(gate, "POST", "token/renew", &json!({})).0);
        let asking: Vec<_> = gates.iter().cycle().take(6).map(ask).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    // If two replicas had requested a renewal at the same time, one result would have been dropped: 409.
    assert_eq!(statuses, [200; 6]);
    let renewed = "select count(*) from license_gate.audit where line like '%\"renew\"%\"ok\"%'";
    // Concurrent renewals on one replica share one result.
    let renewed: u32 = scene.sql(renewed).parse().unwrap();
    assert!((2..=6).contains(&renewed), "{renewed}");
}

#[test]
fn a_gate_refuses_newer_tables_without_showing_the_password() {
    let scene = Scene::new();
    drop(scene.gate());
    scene.sql("insert into license_gate.schema_version values (99)");
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("gate.toml");
    let url = scene.cluster.url(DATABASE);
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"\"\n[license]\nkeys = {:?}\n[store]\nurl = {url:?}\n",
        scene.vendor.public_keys()
    )
    .replace("listen = \"127.0.0.1:0\"", "listen = [\"127.0.0.1:0\"]");
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let ended = gate_program(&["serve", "--config", &config]);
    let output = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{output}");
    assert!(output.contains("schema version 99"), "{output}");
    let checked = gate_program(&["check-config", "--print", "--config", &config]);
    let shown = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && shown.contains("gate:***@localhost"), "{shown}");
    assert!(!shown.contains("s3cret") && !output.contains("s3cret"));
}

#[test]
fn store_migrate_copies_everything_to_a_database() {
    let scene = Scene::new();
    let home = tempfile::tempdir().unwrap();
    let from = format!("file:{}/data", home.path().display());
    let url = scene.cluster.url(DATABASE);
    let migrate = |from: &str, to: &str| {
        let ended = gate_program(&["store", "migrate", "--from", from, "--to", to]);
        let output = [ended.stdout, ended.stderr].concat();
        let output = String::from_utf8(output).unwrap();
        assert!(!output.contains("s3cret"), "{output}");
        (ended.status.code().unwrap(), output)
    };
    let (code, output) = migrate(&from, &url);
    assert!(code == 1 && output.contains("is not a directory"), "{output}");
    assert!(!home.path().join("data").exists(), "nothing is made");

    // A receiver that refuses connections, so that events wait.
    std::fs::write(home.path().join("secret"), "a secret of more than 16 bytes").unwrap();
    let notify = format!(
        "[notify]\nurl = \"http://127.0.0.1:9/\"\nsecret_file = {:?}\n",
        home.path().join("secret")
    );
    let gate = scene.gate_at(&from, &notify);
    for jti in ["first", "second", "third"] {
        gate.install(&scene.license(jti, false));
    }
    assert_eq!(post(&gate, "garbage").0, 400);
    let (code, output) = migrate(&from, &url);
    assert!(code == 1 && output.contains("stop the gate"), "{output}");
    let waiting = || {
        let queue = std::fs::read(home.path().join("data/events.json")).unwrap_or_default();
        let queue: Value = serde_json::from_slice(&queue).unwrap_or_default();
        queue["waiting"].as_array().map(Vec::len).filter(|waiting| *waiting > 0)
    };
    eventually("an event waits", waiting);
    drop(gate);
    let waiting = waiting().unwrap().to_string();
    let before = std::fs::read_to_string(home.path().join("data/audit.jsonl")).unwrap();
    let (code, output) = migrate(&from, &url.replace("localhost", "127.0.0.1"));
    assert!(code == 1 && output.contains("certificate"), "{output}");
    let (code, output) = migrate(&from, &(url.clone() + "&sslmode=prefer"));
    assert!(code == 1 && output.contains("sslmode=verify-full"), "{output}");

    let (code, output) = migrate(&from, &url);
    assert!(code == 0 && output.contains("former licenses: 2"), "{output}");
    assert!(output.contains(&format!("events waiting for delivery: {waiting}\n")), "{output}");
    assert_eq!(scene.sql("select count(*) from license_gate.events where not settled"), waiting);
    let lines = scene.sql("select line from license_gate.audit order by seq");
    assert_eq!(lines, before.trim_end(), "lines are as they were");
    let gate = scene.gate();
    assert_eq!(in_force(&gate), "third");
    let (_, history) = gate.call("GET", "history", &Value::Null);
    let former: Vec<_> = history.as_array().unwrap().iter().map(|one| &one["jti"]).collect();
    assert_eq!(former, ["second", "first"]);
    gate.install(&scene.license("fourth", false));
    assert_eq!(actions(&scene).last().unwrap(), "install ok");
    let (code, output) = migrate(&from, &url);
    assert!(code == 1 && output.contains("is not empty"), "{output}");
    assert_eq!(in_force(&gate), "fourth");
}

/// The revision is that of the database: the same at all replicas, and compared in the change itself.
#[test]
fn of_writes_on_one_revision_at_different_replicas_one_is_made() {
    let scene = Scene::new();
    let gates = [scene.gate(), scene.gate()];
    let revision = |gate: &Gate| {
        let request = call(gate, "GET", "token").body(String::new()).unwrap();
        wire::send(request).unwrap().headers()["etag"].to_str().unwrap().to_owned()
    };
    gates[0].install(&scene.license("J-0", false));
    for round in 0..5 {
        let seen = eventually("both have the revision", || {
            let [one, other] = [&gates[0], &gates[1]].map(revision);
            (one == other).then_some(one)
        });
        let statuses: Vec<u16> = thread::scope(|scope| {
            let write = |at: usize| {
                let token = scene.license(&format!("J-{round}-{at}"), false);
                let request = call(&gates[at % 2], "POST", "token").header("if-match", &seen);
                let request = request.body(json!({ "token": token }).to_string()).unwrap();
                scope.spawn(move || wire::send(request).unwrap().status().as_u16())
            };
            let writes: Vec<_> = (0..6).map(write).collect();
            writes.into_iter().map(|write| write.join().unwrap()).collect()
        });
        let made = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(made, 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");
    }
    let request = call(&gates[1], "GET", "").header("accept", "text/html").body(String::new());
    let page = wire::send(request.unwrap()).unwrap();
    let page = String::from_utf8_lossy(page.body());
    assert!(page.contains("tried to install a license: refused (changed)"), "{page}");
}

/// A request to the API by the administrator.
fn call(gate: &Gate, method: &str, path: &str) -> http::request::Builder {
    use base64::Engine as _;
    let basic = base64::prelude::BASE64_STANDARD.encode("admin:admin");
    Request::builder()
        .method(method)
        .uri(format!("{}/api/licensing/{path}", gate.url()))
        .header("authorization", format!("Basic {basic}"))
        .header("content-type", "application/json")
}
