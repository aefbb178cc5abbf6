//! A gate in each state that the license page explains.

use license_gate::license::KeyPair;
use serde_json::{Value, json};

use crate::gate::{Gate, ROOT_URL, Vendor};
use crate::stage_support::Running;

pub(crate) const DAY: i64 = 86_400;

/// A state of the license, or of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Valid,
    LicenseEndsSoon,
    TokenEndsSoon,
    TrialEndsSoon,
    RenewalFailing,
    TokenEnded,
    LicenseEnded,
    TrialEnded,
    OtherInstance,
    NotYetValid,
    Revoked,
    KeyNotTrusted,
    ProductMissing,
    Absent,
    StoreNotWritable,
    ClockWentBack,
    OnItsCopy,
}

impl State {
    pub(crate) const ALL: [Self; 17] = [
        Self::Valid,
        Self::LicenseEndsSoon,
        Self::TokenEndsSoon,
        Self::TrialEndsSoon,
        Self::RenewalFailing,
        Self::TokenEnded,
        Self::LicenseEnded,
        Self::TrialEnded,
        Self::OtherInstance,
        Self::NotYetValid,
        Self::Revoked,
        Self::KeyNotTrusted,
        Self::ProductMissing,
        Self::Absent,
        Self::StoreNotWritable,
        Self::ClockWentBack,
        Self::OnItsCopy,
    ];

    /// The states of a normal run: one of each kind of sign, and those that need most room.
    pub(crate) const SAMPLE: [Self; 4] =
        [Self::Valid, Self::RenewalFailing, Self::OtherInstance, Self::OnItsCopy];

    /// What the page must say about it: a part of its first sentence, or of another one.
    pub(crate) const fn says(self) -> &'static str {
        match self {
            Self::Valid => "The license is valid for 12 days more, until ",
            Self::LicenseEndsSoon => "The license ends in 11 days, on ",
            Self::TokenEndsSoon => "The token ends in 47 hours, on ",
            Self::TrialEndsSoon => "The trial ends in 4 days, on ",
            Self::RenewalFailing => ", but its renewal has failed since ",
            Self::TokenEnded => "The token ended 3 days ago, on ",
            Self::LicenseEnded => "The license ended 40 days ago, on ",
            Self::TrialEnded => "The trial ended 2 days ago, on ",
            Self::OtherInstance => {
                "This license is for https://elsewhere.example/, but this instance is http://dashboard.example/."
            }
            Self::NotYetValid => "The license starts in ",
            Self::Revoked => "The issuer has revoked this license.",
            Self::KeyNotTrusted => "There is a license, but its key is not trusted.",
            Self::ProductMissing => "The license does not include the product reports.",
            Self::Absent => "There is no license.",
            Self::StoreNotWritable => {
                "The store cannot be written, so the license cannot be changed."
            }
            Self::ClockWentBack => "The clock of the gate went back: it shows ",
            Self::OnItsCopy => {
                "The database does not respond: this gate runs on its own copy of the license."
            }
        }
    }

    /// A gate in this state.
    pub(crate) fn gate(self, dashboard: &Running, vendor: &Vendor) -> Gate {
        let token = token(vendor, &self.claims());
        let stored = ("data/license.jwt", token.clone().into_bytes());
        let pair = pair(vendor);
        let renewal = "[renewal]\nurl = \"http://127.0.0.1:9/renew\"\n";
        let (settings, files) = match self {
            Self::RenewalFailing => (renewal, vec![stored]),
            Self::Revoked => {
                let list = pair.sign_revocations(&json!({ "seq": 1, "lid": ["1001"] })).unwrap();
                (
                    "revocations = \"revoked.jwt\"\n",
                    vec![stored, ("revoked.jwt", list.into_bytes())],
                )
            }
            Self::KeyNotTrusted => {
                let other = self::token(&Vendor::new(), &self.claims());
                ("", vec![("data/license.jwt", other.into_bytes())])
            }
            Self::ProductMissing => ("product = \"reports\"\n", vec![stored]),
            Self::Absent => ("", vec![]),
            Self::StoreNotWritable => (
                "file = \"mounted.jwt\"\n[store]\nurl = \"file:gate.toml/data\"\n",
                vec![("mounted.jwt", token.into_bytes())],
            ),
            Self::ClockWentBack => {
                ("", vec![stored, ("data/clock", (now() + 400 * DAY).to_string().into_bytes())])
            }
            Self::OnItsCopy => (
                "[store]\nurl = \"postgres://gate@127.0.0.1:9/gate\"\ncopy = \"data\"\n",
                vec![stored],
            ),
            _ => ("", vec![stored]),
        };
        let gate = Gate::with_files(dashboard.address(), vendor, settings, &files);
        if self == Self::RenewalFailing {
            let (status, _) = gate.call("POST", "token/renew", &json!({}));
            assert_eq!(status, 502);
        }
        gate
    }

    fn claims(self) -> Value {
        let now = now();
        let changes = match self {
            Self::LicenseEndsSoon => json!({ "lexp": now + 12 * DAY - 60 }),
            Self::TokenEndsSoon => json!({ "iat": now - 12 * DAY, "exp": now + 2 * DAY - 60 }),
            Self::TrialEndsSoon => json!({ "trial": true, "trial_exp": now + 5 * DAY - 60 }),
            Self::TokenEnded => json!({ "iat": now - 17 * DAY, "exp": now - 3 * DAY - 60 }),
            Self::LicenseEnded => json!({ "iat": now - 50 * DAY, "lexp": now - 40 * DAY - 60 }),
            Self::TrialEnded => json!({ "trial": true, "trial_exp": now - 2 * DAY - 60 }),
            Self::OtherInstance => json!({ "sub": "https://elsewhere.example/" }),
            Self::NotYetValid => json!({ "nbf": now + 10 * DAY + 60, "exp": now + 24 * DAY }),
            Self::ProductMissing => json!({ "prod": ["alerts"] }),
            _ => json!({}),
        };
        claims(&changes)
    }
}

/// Claims of a usual license, with `changes`.
pub(crate) fn claims(changes: &Value) -> Value {
    let now = now();
    let mut claims = json!({
        "jti": format!("J-{}", unique()), "iss": "https://issuer.example/", "sub": ROOT_URL, "iat": now - DAY, "exp": now + 13 * DAY,
        "nbf": now - 100 * DAY, "lexp": now + 265 * DAY, "lid": "1001", "limit_by": "users", "included_users": 25,
        "prod": ["reports", "alerts"], "company": "Example Ltd", "account": "ACC-7",
        "details_url": "https://issuer.example/licenses/1001",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn unique() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A token of `vendor` with these claims.
pub(crate) fn token(vendor: &Vendor, claims: &Value) -> String {
    pair(vendor).sign(claims).unwrap().as_str().to_owned()
}

fn pair(vendor: &Vendor) -> KeyPair {
    KeyPair::from_pem(&std::fs::read(vendor.private_key()).unwrap()).unwrap()
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    i64::try_from(now).unwrap()
}
