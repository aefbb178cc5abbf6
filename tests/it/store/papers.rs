//! Numbered licenses. Every claim contains the number, so that a mix of two licenses is noticed.

use std::sync::LazyLock;

use license_gate::license::{Claims, License, Token};
use serde_json::{Value, json};

use crate::support::timed::NOW;
use crate::support::vendor::{ROOT_URL, Vendor};

/// Number of licenses; they are numbered from 1.
pub(super) const PAPERS: usize = 12;
/// `leeway`, in seconds.
const LEEWAY: u64 = 60;

/// A license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paper {
    pub(super) number: u64,
    pub(super) token: String,
    pub(super) iat: u64,
    nbf: u64,
    lexp: Option<u64>,
    exp: u64,
    /// Whether it is for another instance.
    is_strange: bool,
}

/// All licenses of the tests.
pub(super) struct Papers {
    pub(super) vendor: Vendor,
    pub(super) all: Vec<Paper>,
    /// Signed with an untrusted key.
    pub(super) forged: String,
}

static THERE_ARE: LazyLock<Papers> = LazyLock::new(|| {
    let (vendor, forger) = (Vendor::new(), Vendor::new());
    let all = (1..=PAPERS as u64).map(|number| {
        let paper = Paper {
            number,
            token: String::new(),
            iat: NOW - 100 + number * 37 % 5,
            nbf: if number % 5 == 0 { NOW + 1000 } else { NOW - 100 },
            lexp: (number % 6 == 1).then_some(NOW + 900),
            exp: NOW + [300, 1500, 4000, 100_000][number as usize % 4],
            is_strange: number == PAPERS as u64,
        };
        Paper { token: paper.sign(&vendor), ..paper }
    });
    let all: Vec<Paper> = all.collect();
    let forged = all[0].sign(&forger);
    Papers { vendor, all, forged }
});

/// All licenses, created once.
pub(super) fn papers() -> &'static Papers {
    &THERE_ARE
}

/// The license at this index.
pub(super) fn paper(place: usize) -> Paper {
    papers().all[place].clone()
}

impl Paper {
    /// A license that is valid now, and until `exp`.
    pub(super) fn lasting(number: u64, token: &str, exp: u64) -> Self {
        let token = token.to_owned();
        Self { number, token, iat: 0, nbf: 0, lexp: None, exp, is_strange: false }
    }

    fn sign(&self, vendor: &Vendor) -> String {
        let token = vendor.token().with("jti", self.jti()).with("lid", self.lid());
        let token = token.with("company", self.company()).with("included_users", self.number);
        let token = token.with("iat", self.iat).with("nbf", self.nbf).with("exp", self.exp);
        let sub = if self.is_strange { "http://elsewhere.example/" } else { ROOT_URL };
        token.with("sub", sub).with("lexp", self.lexp.unwrap_or(0)).sign()
    }

    pub(super) fn jti(&self) -> String {
        format!("J-{}", self.number)
    }

    /// Several licenses have the same, so that they can renew each other.
    pub(super) fn lid(&self) -> String {
        format!("L-{}", self.number % 3)
    }

    fn company(&self) -> String {
        format!("Company {}", self.number)
    }

    pub(super) fn parsed(&self) -> Token {
        Token::parse(&self.token).expect("a token")
    }

    pub(super) fn first_end(&self) -> u64 {
        self.lexp.unwrap_or(u64::MAX).min(self.exp)
    }

    pub(super) fn status(&self, now: u64) -> u8 {
        match self.objection(now) {
            None => 1,
            Some("subject-mismatch") => 6,
            Some("not-yet-valid") => 3,
            Some(_) => 5,
        }
    }

    pub(super) fn is_valid(&self, now: u64) -> bool {
        self.objection(now).is_none()
    }

    /// Why it is not valid at `now`: the first reason that the gate finds.
    pub(super) fn objection(&self, now: u64) -> Option<&'static str> {
        let objections = [
            (self.is_strange, "subject-mismatch"),
            (now + LEEWAY < self.nbf, "not-yet-valid"),
            (self.lexp.is_some_and(|lexp| now >= lexp), "license-expired"),
            (now >= self.exp + LEEWAY, "token-expired"),
        ];
        objections.into_iter().find(|(applies, _)| *applies).map(|(_, objection)| objection)
    }

    /// Asserts that `body` shows this license, and nothing of another.
    #[track_caller]
    pub(super) fn is_shown_by(&self, body: &Value) {
        let shown =
            ["jti", "lid", "company", "included_users", "iat", "exp"].map(|name| &body[name]);
        let expected = [
            json!(self.jti()),
            json!(self.lid()),
            json!(self.company()),
            json!(self.number),
            json!(self.iat),
            json!(self.exp),
        ];
        assert_eq!(shown, expected.each_ref(), "a mix of licenses");
    }

    /// The paper of `license`. Asserts that all its claims agree.
    #[track_caller]
    pub(super) fn of(license: &License) -> Self {
        Self::saying(license.claims(), license.token())
    }

    /// The paper with these `claims` in `token`.
    #[track_caller]
    pub(super) fn saying(claims: &Claims, token: &Token) -> Self {
        let jti = claims.jti.as_deref().and_then(|jti| jti.strip_prefix("J-"));
        let number: usize = jti.and_then(|number| number.parse().ok()).expect("a number");
        let paper = paper(number - 1);
        assert_eq!(token.as_str(), paper.token, "a mix of licenses");
        assert_eq!(
            (&*claims.lid, claims.company.as_deref(), claims.included_users),
            (&*paper.lid(), Some(&*paper.company()), Some(paper.number as i64)),
            "a mix of licenses"
        );
        paper
    }
}
