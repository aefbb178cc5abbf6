//! The reference issuer, called by other clients than the gate.

use http::Request;
use license_gate::license::{KeyPair, Keys, Revocations};
use serde_json::json;

use crate::gate::{ROOT_URL, Vendor};
use crate::issuer_support::{self, Issuer};
use crate::stage_support::Running;
use crate::wire;

/// An issuer with the vendor's key, in a thread of this process.
pub(crate) fn start(vendor: &Vendor) -> Running {
    let pair = KeyPair::from_pem(&std::fs::read(vendor.private_key()).unwrap()).unwrap();
    let list = vendor.private_key().with_file_name("revocations.jwt");
    let claims = json!({ "seq": 1, "jti": ["J"] });
    std::fs::write(&list, pair.sign_revocations(&claims).unwrap()).unwrap();
    let server = |listener| issuer_support::serve(listener, Issuer::new(pair).revoking(list));
    Running::start("issuer", ([127, 0, 0, 1], 0).into(), server).unwrap()
}

#[test]
fn only_the_holder_of_a_license_can_renew_it() {
    let (vendor, stranger) = (Vendor::new(), Vendor::new());
    let issuer = start(&vendor);
    let cases = [
        (vendor.license(), "https://elsewhere.example/", "1001", 403),
        (vendor.license(), ROOT_URL, "1002", 403),
        (stranger.license(), ROOT_URL, "1001", 401),
        ("x".to_owned(), ROOT_URL, "1001", 401),
    ];
    for (token, instance, lid, expected) in cases {
        let request = Request::post(format!("http://{}/renew", issuer.address()))
            .header("authorization", format!("Bearer {token}"))
            .body(json!({"instance": instance, "lid": lid, "jti": ""}).to_string());
        assert_eq!(wire::send(request.unwrap()).unwrap().status(), expected, "{instance} {lid}");
    }
}

#[test]
fn keys_and_revocations_are_published_and_logged_once() {
    let vendor = Vendor::new();
    let issuer = start(&vendor);
    let ask = |method: &str, path: &str, tag: &str| {
        let url = format!("http://{}{path}", issuer.address());
        let request = Request::builder().method(method).uri(url).header("if-none-match", tag);
        wire::send(request.body(String::new()).unwrap()).unwrap()
    };
    let (keys, faults) = Keys::from_jwks(ask("GET", "/jwks.json", "").body()).unwrap();
    assert!(faults.is_empty());
    let list = Revocations::verify(ask("GET", "/revocations", "").body(), &keys).unwrap();
    assert!(list.revoked().jti.contains("J"));
    for path in ["/jwks.json", "/revocations"] {
        let answer = ask("GET", path, "\"old\"");
        let field = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            (answer.status().as_u16(), field("cache-control").as_str()),
            (200, "max-age=300")
        );
        let known = ask("GET", path, &format!("\"old\", {}", field("etag")));
        assert_eq!((known.status().as_u16(), known.body().len()), (304, 0), "{path}");
        assert_eq!(ask("POST", path, "").status(), 405);
    }
    assert_eq!(ask("GET", "/else", "").status(), 404);
    assert_eq!(ask("GET", "/renew", "").headers()["allow"], "POST");
}
