//! A database that an earlier version has written is still used: `tests/it/formats/VERSION/database.sql`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::dashboard;
use crate::gate::Gate;

const DATABASE: &str = "licenses";

fn json_in(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_database_of_an_earlier_version_is_used_as_it_is() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats");
    for fixture in fixtures.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        if !fixture.is_dir() {
            continue;
        }
        let cluster = Cluster::start();
        cluster.database(DATABASE);
        let dump = fs::File::open(fixture.join("database.sql")).unwrap();
        let restored = cluster.psql(DATABASE).stdin(dump).stdout(Stdio::null()).status().unwrap();
        assert!(restored.success());
        let lines = || cluster.sql(DATABASE, "select count(*) from license_gate.audit");
        let before: u32 = lines().parse().unwrap();

        // The database has no fetched keys: here they are trusted as files.
        let keys = tempfile::tempdir().unwrap();
        fs::copy(fixture.join("keys.json"), keys.path().join("first.json")).unwrap();
        let fetched = json_in(fixture.join("store/jwks.json"))["jwks"].to_string();
        fs::write(keys.path().join("second.json"), fetched).unwrap();
        let url = cluster.url(DATABASE);
        let settings = format!("[store]\nurl = {url:?}\ncopy = \"copy\"\n");
        let expected = json_in(fixture.join("expected.json"));
        let dashboard = dashboard::start();
        let root_url = expected["token"]["sub"].as_str().unwrap();
        let gate = Gate::of(root_url, dashboard.address(), keys.path(), &settings);

        let jtis = |history: &Value| -> Vec<Value> {
            history.as_array().unwrap().iter().map(|license| license["jti"].clone()).collect()
        };
        let get = |path: &str| gate.call("GET", path, &Value::Null).1;
        assert_eq!(get("token")["jti"], expected["token"]["jti"]);
        assert_eq!(get("check"), json!(true));
        assert_eq!(jtis(&get("history")), jtis(&expected["history"]));
        let revoked = fs::read_to_string(fixture.join("revoked.jwt")).unwrap();
        let (status, answer) = gate.call("POST", "token", &json!({ "token": revoked }));
        assert_eq!((status, &answer["messageId"]), (400, &json!("licensing.token.revoked")));
        let former = jtis(&expected["history"]).pop().unwrap();
        assert_eq!(gate.call("POST", "token/rollback", &json!({ "jti": former })).0, 200);
        assert_eq!(get("token")["jti"], former);
        assert_eq!(lines().parse::<u32>().unwrap(), before + 2);
    }
}
