//! The document describes what the router and the manual have, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, Method};
use serde_json::Value;

use super::super::endpoint::{Endpoint, Router};
use super::*;

const MANUAL: &str = include_str!("../manual/api.md");
const ROUTER: &str = include_str!("endpoint.rs");
/// Codes of the manual that no path of the API is answered with: the request is forwarded, or names no path.
const ELSEWHERE: [&str; 9] = [
    "upstream.",
    "acme.",
    "redirect.",
    "licensing.required",
    "request.body-broken",
    "request.body-timeout",
    "request.unsendable",
    "request.connect",
    "request.connect-protocol",
];

fn document() -> Value {
    serde_json::from_str(SOURCE).expect("JSON")
}

/// Path, method in capitals, operation.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            all.push((path.clone(), method.to_ascii_uppercase(), operation));
        }
    }
    all
}

/// `value`, or what its `$ref` names.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        None => value,
        Some(name) => {
            let found = document.pointer(name.strip_prefix('#').expect("a local reference"));
            found.unwrap_or_else(|| panic!("{name} does not exist"))
        }
    }
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let (document, router) = (document(), Router::new("/grafana"));
    let described = operations(&document);
    for path in document["paths"].as_object().expect("paths").keys() {
        let of_asset = |asset: super::super::Asset| path.replace("{name}", asset.name());
        let real = of_asset(super::super::Asset::Style);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"] {
            let asked = Method::from_bytes(method.as_bytes()).expect("a method");
            for base in ["", "/grafana"] {
                let endpoint = router.endpoint(&asked, &format!("{base}{real}"));
                let endpoint = endpoint.expect("well-formed").expect("of the gate");
                let is_route = match endpoint {
                    Endpoint::WrongMethod { .. } => false,
                    Endpoint::Unknown | Endpoint::Misspelled => panic!("{real}: {endpoint:?}"),
                    _ => true,
                };
                let is_described = described.iter().any(|(own, of, _)| own == path && of == method);
                assert_eq!(is_described, is_route, "{method} {path}: {endpoint:?}");
            }
        }
    }
    let (_, routes) = ROUTER.split_once("fn route(").expect("the table of routes");
    let (routes, _) = routes.split_once("#[cfg(test)]").expect("the tests");
    let literals = routes.lines().filter_map(|line| {
        let (name, _) = line.trim().strip_prefix('"')?.split_once("\" =>")?;
        Some(format!("/api/licensing{name}"))
    });
    let mut expected: BTreeSet<_> = literals.collect();
    assert!(expected.len() > 9, "{expected:?}");
    expected.insert("/api/licensing/assets/{name}".into());
    let described = document["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(expected, described);
}

/// The table under "Routes" of the manual: for each request its permission, whether it has a body, and its statuses.
fn routes_of_the_manual() -> BTreeMap<String, (String, bool, BTreeSet<String>)> {
    let mut routes = BTreeMap::new();
    for line in MANUAL.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [request, permission, body, success, errors] = cells[..] else { continue };
        let Some(request) = request.strip_prefix('`').and_then(|it| it.strip_suffix('`')) else {
            continue;
        };
        let statuses = format!("{success} {errors}");
        let words = statuses.split(|c: char| !c.is_ascii_alphanumeric());
        let is_status = |word: &&str| {
            word.len() == 3
                && word.bytes().all(|it| it.is_ascii_digit())
                && "2345".contains(&word[..1])
        };
        let statuses = words.filter(is_status).map(str::to_owned).collect();
        let request = request.replace("/NAME", "/{name}");
        routes.insert(request, (permission.into(), !body.is_empty(), statuses));
    }
    routes
}

#[test]
fn the_statuses_and_permissions_of_each_route_are_those_of_the_manual() {
    let (document, mut manual) = (document(), routes_of_the_manual());
    assert!(manual.len() > 10, "{manual:?}");
    for (path, method, operation) in operations(&document) {
        let request = format!("{method} {path}");
        let described: BTreeSet<String> =
            operation["responses"].as_object().expect("responses").keys().cloned().collect();
        if path == "/api/licensing" {
            assert!(described.contains("308"));
            continue;
        }
        let (permission, has_body, mut statuses) =
            manual.remove(&request).unwrap_or_else(|| panic!("the manual lacks {request}"));
        // Not valid HTTP, or too many connections.
        let mut further = vec!["400", "408", "431", "503"];
        match permission.contains("licensing:") || permission == "of the action" {
            true => further.extend(["401", "403", "429"]),
            false => assert_eq!(permission, "–", "{request}"),
        }
        if has_body {
            further.extend(["413", "415"]);
            assert!(operation["requestBody"].is_object(), "{request}");
        }
        statuses.extend(further.into_iter().map(str::to_owned));
        if request == "POST /api/licensing/" {
            assert!(described.is_superset(&statuses), "{described:?}");
            continue;
        }
        assert_eq!(described, statuses, "{request}");
        let description = operation["description"].as_str().unwrap_or_default();
        assert!(permission == "–" || description.contains(&permission), "{request}");
        assert_eq!(
            operation["security"] == Value::Array(Vec::new()),
            permission == "–",
            "{request}"
        );
    }
    assert!(manual.is_empty(), "not described: {manual:?}");
}

/// Collects the values that `messageId` may have in `schema`.
fn codes(document: &Value, schema: &Value, is_code: bool, found: &mut BTreeSet<String>) {
    let schema = resolved(document, schema);
    if is_code {
        // The dashboard may have other codes: then those of the gate are examples.
        let listed = ["enum", "examples"].iter().filter_map(|list| schema[list].as_array());
        let listed = listed.flatten();
        found.extend(listed.filter_map(Value::as_str).map(str::to_owned));
    }
    for part in ["allOf", "anyOf"] {
        for schema in schema[part].as_array().into_iter().flatten() {
            codes(document, schema, is_code, found);
        }
    }
    if let Some(member) = schema["properties"].get("messageId") {
        codes(document, member, true, found);
    }
}

#[test]
fn every_code_of_the_manual_is_described_with_its_status() {
    let document = document();
    let mut described = BTreeSet::new();
    let mut add = |status: &str, response: &Value| {
        let mut found = BTreeSet::new();
        let media = &resolved(&document, response)["content"]["application/json"];
        codes(&document, &media["schema"], false, &mut found);
        if let Some(code) = media["example"]["messageId"].as_str() {
            assert!(found.contains(code), "the example has another code: {code}");
            assert_eq!(media["example"]["statusCode"].to_string(), status, "{code}");
        }
        described.extend(found.into_iter().map(|code| (code, status.to_owned())));
    };
    for (_, _, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            add(status, response);
        }
    }
    add("405", &document["components"]["responses"]["MethodNotAllowed"]);
    let mut manual = BTreeSet::new();
    for line in MANUAL.lines() {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (Some(code), Some(status)) = (cells.next(), cells.next()) else { continue };
        let Some(code) = code.strip_prefix('`').and_then(|it| it.strip_suffix('`')) else {
            continue;
        };
        let is_status = status.len() == 3 && status.bytes().all(|it| it.is_ascii_digit());
        let is_elsewhere =
            ELSEWHERE.iter().any(|own| code == *own || own.ends_with('.') && code.starts_with(own));
        if is_status && !is_elsewhere {
            manual.insert((code.to_owned(), status.to_owned()));
        }
    }
    assert!(manual.len() > 80);
    assert_eq!(described, manual);
}

#[test]
fn every_reference_exists_and_every_component_is_used() {
    fn walk(document: &Value, value: &Value, used: &mut BTreeSet<String>) {
        if let Some(name) = value["$ref"].as_str() {
            resolved(document, value);
            used.insert(name.to_owned());
        }
        match value {
            Value::Object(members) => members.values().for_each(|it| walk(document, it, used)),
            Value::Array(items) => items.iter().for_each(|it| walk(document, it, used)),
            _ => {}
        }
    }
    let (document, mut used) = (document(), BTreeSet::new());
    walk(&document, &document, &mut used);
    for kind in ["parameters", "headers", "schemas", "responses"] {
        for name in document["components"][kind].as_object().expect("components").keys() {
            // For all paths at once; `info.description` names them.
            let is_general = ["Options", "MethodNotAllowed", "NotFound"].contains(&&**name);
            let name = format!("#/components/{kind}/{name}");
            assert!(is_general || used.contains(&name), "{name} is not used");
        }
    }
}

#[test]
fn the_base_path_is_filled_in_and_only_it() {
    for base in ["", "/grafana", "/a/b"] {
        let text = Description::new(base).text;
        let mut served: Value = serde_json::from_slice(&text).expect("JSON");
        let url = if base.is_empty() { "/" } else { base };
        assert_eq!(served["servers"][0]["url"].take(), url);
        let mut own = document();
        own["servers"][0]["url"].take();
        assert_eq!(served, own);
        assert!(text.len() < 100_000, "{}", text.len());
    }
    assert_ne!(Description::new("").tag, Description::new("/a").tag);
}

#[test]
fn if_none_match_is_a_list_and_compares_weakly() {
    let cases = [
        (&[][..], false),
        (&["\"a\""], true),
        (&["W/\"a\""], true),
        (&["\"b\", \"a\""], true),
        (&["\"b\"", "\"a\""], true),
        (&["*"], true),
        (&["a"], false),
        (&["\"b\""], false),
        (&["\"A\""], false),
    ];
    for (lines, expected) in cases {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_NONE_MATCH, HeaderValue::from_static(line));
        }
        assert_eq!(is_named("\"a\"", &headers), expected, "{lines:?}");
    }
}
