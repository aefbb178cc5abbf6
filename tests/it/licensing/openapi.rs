//! The OpenAPI document: how it is served, and that real answers are as it describes them.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::issuer::{Issuer, Script};
use crate::support::scene::{Scene, Setup};
use crate::support::vendor::ROOT_URL;

const PATH: &str = "/api/licensing/openapi.json";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../src/api/openapi.json")).expect("JSON")
});

/// Header fields of HTTP itself.
const OF_HTTP: [&str; 4] = ["connection", "content-length", "content-type", "date"];

#[test]
fn the_document_needs_no_credentials_and_is_revalidated() {
    let scene = Setup::new().set("server.root_url", "\"https://a.example/grafana/\"").start();
    for path in [PATH.to_owned(), format!("/grafana{PATH}")] {
        let answer = scene.ask("GET", &path).send().is(200);
        is_described("/api/licensing/openapi.json", "get", &answer);
        assert_eq!(answer.json()["servers"][0]["url"], "/grafana");
        assert_eq!(answer.value("content-type"), Some("application/json"));
        let tag = answer.value("etag").expect("a tag").to_owned();

        let again = scene.ask("GET", &path).field("If-None-Match", &tag).send().is(304);
        is_described("/api/licensing/openapi.json", "get", &again);
        assert_eq!((again.value("etag"), &*again.body), (Some(&*tag), &b""[..]));
        assert_eq!(again.value("content-length"), None);
        let head = scene.ask("HEAD", &path).field("If-None-Match", &tag).send().is(304);
        assert_eq!((head.value("etag"), head.value("content-length")), (Some(&*tag), None));
        scene.ask("GET", &path).field("If-None-Match", "\"other\"").send().is(200);

        let head = scene.ask("HEAD", &path).send().is(200);
        assert_eq!(head.value("content-length"), answer.value("content-length"));
        assert_eq!((head.value("etag"), &*head.body), (Some(&*tag), &b""[..]));
        let options = scene.ask("OPTIONS", &path).send().is(204);
        assert_eq!(options.value("allow"), Some("GET, HEAD, OPTIONS"));
        scene.ask("POST", &path).send().fails(405, "licensing.method.not-allowed");
    }
    scene.ask("GET", "/grafana/api/licensing/openapi%2ejson").send().is(400);
    assert_eq!(scene.dashboard.count(), 0);
}

#[test]
fn real_answers_are_as_described() {
    let issuer = Issuer::playing(Script::Silent);
    let scene = Setup::new().set("renewal.url", format!("{:?}", issuer.url())).start();
    let call = |method: &str, rest: &str, body: Option<Value>, status: u16| {
        let path = format!("/api/licensing{rest}");
        let asked = scene.admin(method, &path);
        let asked = if let Some(body) = body { asked.json(&body) } else { asked };
        let answer = asked.send().is(status);
        is_described(&path, &method.to_ascii_lowercase(), &answer);
        answer
    };
    call("GET", "/check", None, 200);
    call("GET", "/token", None, 200);
    call("GET", "/history", None, 200);
    call("GET", "/refresh-stats", None, 200);
    call("GET", "/", None, 200);
    call("GET", "", None, 308);
    call("POST", "/token/renew", Some(json!({})), 404);
    call("POST", "/token/request", None, 404);
    call("POST", "/token", Some(json!({})), 400);
    call("POST", "/token", Some(json!({ "token": "x" })), 400);
    call("POST", "/token", None, 415);
    call("POST", "/token/validate", Some(json!({ "token": "x" })), 200);
    call("POST", "/token/rollback", Some(json!({})), 400);
    call("POST", "/token/rollback", Some(json!({ "jti": "x" })), 404);
    call("DELETE", "/token", Some(json!({})), 422);
    let first = scene.vendor.token().with("prod", json!(["a"])).sign();
    let token = scene.vendor.token().with("jti", "J-2").sign();
    call("POST", "/token", Some(json!({ "token": first })), 200);
    call("POST", "/token/validate", Some(json!({ "token": token })), 200);
    call("POST", "/token", Some(json!({ "token": token })), 200);
    call("GET", "/history", None, 200);
    call("POST", "/token/request", Some(json!({})), 200);
    issuer.play(Script::Grants(scene.vendor.token().with("jti", "J-3").sign()));
    call("POST", "/token/renew", Some(json!({})), 200);
    issuer.play(Script::Grants("x".into()));
    call("POST", "/token/renew", Some(json!({})), 502);
    call("POST", "/token/rollback", Some(json!({ "jti": "J-2" })), 200);
    call("DELETE", "/token", Some(json!({ "instance": ROOT_URL })), 202);
    other_callers(&scene);
}

/// Callers without credentials or permissions, a stale revision, and a page of another origin.
fn other_callers(scene: &Scene) {
    let (path, token) = ("/api/licensing/token", json!({ "token": "x" }));
    is_described(path, "get", &scene.ask("GET", path).send().is(401));
    is_described(path, "get", &scene.ask("GET", path).basic("admin", "wrong").send().is(401));
    is_described(path, "get", &scene.ask("GET", path).basic("nobody", "n").send().is(403));
    let stale = scene.admin("DELETE", path).field("If-Match", "\"0\"");
    let stale = stale.json(&json!({ "instance": ROOT_URL })).send().is(412);
    is_described(path, "delete", &stale);
    let foreign = scene.admin("POST", path).field("Origin", "https://other.example").json(&token);
    is_described(path, "post", &foreign.send().fails(403, "auth.origin-not-allowed"));
    let large = scene.admin("POST", path).json(&json!({ "token": "x".repeat(140_000) }));
    is_described(path, "post", &large.send().is(413));
    let root = "/api/licensing/";
    let page = |method| scene.ask(method, root).field("Accept", "text/html");
    is_described(root, "get", &page("GET").send().is(303));
    is_described(root, "get", &page("GET").basic("nobody", "n").send().is(403));
    let form = page("POST").basic("admin", "hunter2");
    let form = form.field("Content-Type", "application/x-www-form-urlencoded");
    is_described(root, "post", &form.body("action=install&token=x").send().is(400));
    let shown = scene.admin("GET", root).send().is(200);
    let text = shown.text();
    for ending in [".css\"", ".js\""] {
        let (before, _) = text.split_once(ending).expect("an asset");
        let name = before.rsplit('/').next().expect("a name");
        let path = format!("/api/licensing/assets/{name}{}", ending.trim_end_matches('"'));
        let answer = scene.ask("GET", &path).send().is(200);
        is_described("/api/licensing/assets/{name}", "get", &answer);
    }
    let missing = scene.ask("GET", "/api/licensing/assets/style.css").send().is(404);
    is_described("/api/licensing/assets/{name}", "get", &missing);
}

/// Every example has the fields that its schema has, as a real answer.
#[test]
fn every_example_has_its_schema() {
    let mut count = 0;
    let responses = &DOCUMENT["components"]["responses"];
    let mut contents: Vec<_> =
        responses.as_object().expect("responses").values().map(|it| &it["content"]).collect();
    let paths = DOCUMENT["paths"].as_object().expect("paths").values();
    for operation in paths.flat_map(|path| path.as_object().expect("operations").values()) {
        contents.push(&operation["requestBody"]["content"]);
        let responses = operation["responses"].as_object().expect("responses");
        contents.extend(responses.values().map(|it| &it["content"]));
    }
    for media in contents.into_iter().filter_map(Value::as_object).flat_map(|it| it.values()) {
        if let Some(example) = media.get("example") {
            fits(example, &media["schema"]).unwrap_or_else(|why| panic!("{why}: {example}"));
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// A checker that accepts everything would prove nothing.
#[test]
fn the_checker_of_schemas_refuses_what_does_not_fit() {
    let license = json!({ "$ref": "#/components/schemas/Stats" });
    let good = json!({ "active_users": 1, "active_admins_and_editors": 0, "active_viewers": 0, "active_anonymous_devices": 0 });
    assert_eq!(fits(&good, &license), Ok(()));
    for (member, value) in [("active_users", json!("1")), ("other", json!(1))] {
        let mut bad = good.clone();
        bad[member] = value;
        assert!(fits(&bad, &license).is_err(), "{bad}");
    }
    assert!(fits(&json!({}), &license).is_err());
    assert!(fits(&json!(2), &json!({ "enum": [1] })).is_err());
    assert!(
        fits(&json!("x"), &json!({ "anyOf": [{ "const": "y" }, { "type": "null" }] })).is_err()
    );
}

/// Asserts that the document has the status, the header fields and the body of `answer`.
#[track_caller]
fn is_described(path: &str, method: &str, answer: &Answer) {
    let what = format!("{method} {path} {}", answer.status);
    let response = &DOCUMENT["paths"][path][method]["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{what} is not described");
    let response = resolved(response);
    let described = response["headers"].as_object().expect("headers");
    for (name, value) in &answer.fields {
        let name = name.to_ascii_lowercase();
        let own = described.iter().find(|(own, _)| own.to_ascii_lowercase() == name);
        match own {
            Some((_, header)) => {
                let value = json!(String::from_utf8_lossy(value.as_ref()));
                let fitting = fits(&value, &resolved(header)["schema"]);
                assert_eq!(fitting, Ok(()), "{what}: {name}: {value}");
            }
            None => assert!(OF_HTTP.contains(&&*name), "{what}: {name} is not described"),
        }
    }
    for (name, header) in described {
        let is_required = resolved(header)["required"] == true;
        assert!(
            !is_required || answer.value(&name.to_ascii_lowercase()).is_some(),
            "{what}: {name} is missing"
        );
    }
    let Some(kind) = answer.value("content-type") else {
        return assert!(response.get("content").is_none() || answer.body.is_empty(), "{what}");
    };
    let kind = kind.split(';').next().expect("a type");
    let media = &response["content"][kind];
    assert!(media.is_object(), "{what}: {kind} is not described");
    if kind == "application/json" {
        assert_eq!(fits(&answer.json(), &media["schema"]), Ok(()), "{what}: {}", answer.text());
    }
}

fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        None => value,
        Some(name) => DOCUMENT.pointer(&name[1..]).unwrap_or_else(|| panic!("{name}")),
    }
}

/// Whether `value` has this schema, as far as the document uses JSON Schema.
fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(value, DOCUMENT.pointer(&name[1..]).ok_or(name)?);
    }
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the checker does not know {other}"),
    };
    let fitting = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if !fitting {
        return Err(format!("{value} is not {}", schema["type"]));
    }
    if schema.get("const").is_some_and(|only| only != value)
        || schema["enum"].as_array().is_some_and(|all| !all.contains(value))
    {
        return Err(format!("{value} is not one of {schema}"));
    }
    for schema in schema["allOf"].as_array().into_iter().flatten() {
        fits(value, schema)?;
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let faults: Vec<_> = any.iter().filter_map(|schema| fits(value, schema).err()).collect();
        if faults.len() == any.len() {
            return Err(faults.join("; or "));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fits(item, &schema["items"])?;
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !members.contains_key(*name)) {
        return Err(format!("{missing} is missing"));
    }
    for (name, member) in members {
        match schema["properties"].get(name) {
            Some(schema) => fits(member, schema).map_err(|why| format!("{name}: {why}"))?,
            None if schema["additionalProperties"] == false => {
                return Err(format!("{name} is not described"));
            }
            None => {}
        }
    }
    Ok(())
}
