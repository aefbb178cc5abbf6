//! The reference issuer, asked by others than the gate it knows.

use http::Request;
use license_gate::license::KeyPair;
use serde_json::json;

use crate::gate::{ROOT_URL, Vendor};
use crate::issuer_support::{self, Issuer};
use crate::stage_support::Running;
use crate::wire;

/// An issuer with the vendor's key, in a thread of this process.
pub(crate) fn start(vendor: &Vendor) -> Running {
    let pair = KeyPair::from_pem(&std::fs::read(vendor.private_key()).unwrap()).unwrap();
    let server = |listener| issuer_support::serve(listener, Issuer::new(pair));
    Running::start("issuer", ([127, 0, 0, 1], 0).into(), server).unwrap()
}

#[test]
fn only_the_holder_of_a_license_has_it_renewed() {
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
