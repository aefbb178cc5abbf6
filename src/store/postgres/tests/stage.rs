//! Whole stores on a database, and an issuer that they trust.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::license::{self, Algorithm, KeyPair, Keys, License, Policy, RootUrl, Status};
use crate::store::{
    self, By, ChangeError, Config, Context, LicenseTrust, Location, Origin, RevokeError, Store,
};

pub(super) const NOW: u64 = 1_800_000_000;

/// A server, an issuer, and replicas that trust it.
pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) issuer: KeyPair,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { scene: Scene::new(), issuer: pair() }
    }

    pub(super) fn open(&self, copy: &str) -> Replica {
        self.open_with(copy, self.issuer.trusted())
    }

    pub(super) fn open_with(&self, copy: &str, keys: Keys) -> Replica {
        self.open_at(&self.scene.url(), copy, keys)
    }

    pub(super) fn open_at(&self, url: &str, copy: &str, keys: Keys) -> Replica {
        self.open_how(url, copy, keys, |_| ())
    }

    pub(super) fn open_how(
        &self,
        url: &str,
        copy: &str,
        keys: Keys,
        how: impl FnOnce(&mut Database),
    ) -> Replica {
        let root_url = RootUrl::parse("https://a.example/").expect("a root URL");
        let context = Context {
            trust: LicenseTrust {
                keys: keys.into(),
                policy: Policy::new(root_url, &license::Config::default()).into(),
            },
            render,
            clock: Clock::manual(UnixTime::from_secs(NOW)),
            jwks_url: None,
            history: 10,
            metrics: Arc::default(),
            control: self.scene.control.handle.clone(),
        };
        let mut database = Database::parse(url, |path| path.into()).expect("a URL");
        how(&mut database);
        let location = Location::Postgres(database.into());
        let config = Config { location, copy: self.scene.copy(copy), ..Config::default() };
        let store = store::open(&config, None, context).expect("a store");
        Replica { store, control: self.scene.control.handle.clone() }
    }

    pub(super) fn list(&self, seq: u64, lids: &[&str]) -> String {
        list(&self.issuer, seq, lids)
    }

    pub(super) fn token(&self, lid: &str) -> Token {
        token_by(&self.issuer, lid)
    }

    pub(super) fn sql(&self, statement: &str) -> String {
        self.scene.sql(statement)
    }

    /// Changes the row as another program would, so that gates notice it.
    pub(super) fn set(&self, what: &str) {
        self.sql(&format!("update license_gate.state set {what}, revision = revision + 1"));
    }

    /// The sequence of the list in the row.
    pub(super) fn listed(&self) -> Option<u64> {
        statements::sequence(&self.sql("select coalesce(revocations, '') from license_gate.state"))
    }
}

pub(super) fn pair() -> KeyPair {
    KeyPair::generate(Algorithm::ES256).expect("a key pair")
}

pub(super) fn list(issuer: &KeyPair, seq: u64, lids: &[&str]) -> String {
    let claims = json!({"seq": seq, "iat": NOW, "jti": [], "lid": lids});
    issuer.sign_revocations(&claims).expect("a list")
}

pub(super) fn token_by(issuer: &KeyPair, lid: &str) -> Token {
    let claims =
        json!({"sub": "https://a.example/", "jti": lid, "lid": lid, "iat": NOW, "exp": NOW + 1000});
    issuer.sign(&claims).expect("a token")
}

pub(super) fn render(status: Status, license: Option<&License>) -> Bytes {
    Bytes::from(format!("{} {}", status.code(), license.map_or("none", |l| &l.claims().lid)))
}

/// A store, and where its changes run.
pub(super) struct Replica {
    pub(super) store: Store,
    pub(super) control: Handle,
}

impl Replica {
    pub(super) fn install(&self, token: Token) -> Result<(), ChangeError> {
        self.install_as(token, Origin::Hand)
    }

    pub(super) fn install_as(&self, token: Token, by: Origin) -> Result<(), ChangeError> {
        let installing = self.store.writer.install(token, by, By::itself("ann"));
        self.control.block_on(installing).map(drop)
    }

    pub(super) fn remove(&self) {
        self.control.block_on(self.store.writer.remove(By::itself("ann"))).expect("removed");
    }

    pub(super) fn revoke(&self, list: &str) -> Result<(), RevokeError> {
        self.control.block_on(self.store.writer.revoke(list.into()))
    }

    pub(super) fn follow(&self) -> Result<(), Error> {
        self.control.block_on(self.store.writer.follow())
    }

    pub(super) fn trust_keys(&self, keys: Keys) {
        self.control.block_on(self.store.writer.trust_keys(keys.into()));
    }

    pub(super) fn catch_up(&self) {
        self.control.block_on(self.store.writer.catch_up());
    }

    pub(super) fn shown(&self) -> String {
        let body = self.store.reader.current().rendered(UnixTime::from_secs(NOW));
        String::from_utf8_lossy(&body).into_owned()
    }
}
