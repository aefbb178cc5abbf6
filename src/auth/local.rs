//! Callers known from `[[auth.users]]`.
//!
//! Passwords are hashed on the control runtime's blocking threads, a few at a time. An unknown name costs what a known
//! one does: its password is held against another user's hash and refused whatever comes out.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::cache::Verdict;
use super::config::User;
use super::dashboard::AskError;
use super::grants::{self, Action, Grants};
use super::{Credential, Denied};

/// Why a user of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its hash is of no kind we know.
    #[error(
        "auth.users: the password_hash of {name:?} is neither argon2 ($argon2id$…) nor bcrypt ($2b$…, $2y$…)"
    )]
    Hash {
        /// Which user.
        name: String,
    },
    /// It has a permission that does not exist.
    #[error(
        "auth.users: {name:?} has the unknown permission {permission:?}; there are licensing:read, licensing:write, licensing:delete"
    )]
    Permission {
        /// Which user.
        name: String,
        /// Which permission.
        permission: String,
    },
    /// Its name cannot be sent with Basic, or means something else.
    #[error(
        "auth.users: the name {name:?} cannot be used: it is empty, has a colon, is `api_key`, or is there twice"
    )]
    Name {
        /// Which user.
        name: String,
    },
}

/// The configured users.
#[derive(Debug)]
pub(super) struct LocalUsers {
    users: Arc<[Known]>,
    hashing: Arc<Semaphore>,
    control: Handle,
}

struct Known {
    name: String,
    hash: String,
    grants: Grants,
}

impl LocalUsers {
    pub(super) fn new(users: &[User], control: Handle) -> Result<Self, SetupError> {
        let mut known: Vec<Known> = Vec::with_capacity(users.len());
        for user in users {
            let user = Known::of(user)?;
            if known.iter().any(|other| other.name == user.name) {
                return Err(SetupError::Name { name: user.name });
            }
            known.push(user);
        }
        let at_once = available_parallelism().map_or(1, NonZero::get);
        let hashing = Arc::new(Semaphore::new(at_once));
        Ok(Self { users: known.into(), hashing, control })
    }

    /// What is granted to `credential`.
    pub(super) async fn grants(&self, credential: &Credential) -> Verdict {
        let Some((name, password)) = credential.basic() else { return Err(Denied::NoCredentials) };
        let (name, password) = (name.to_owned(), password.to_owned());
        let (users, hashing) = (self.users.clone(), self.hashing.clone());
        let check = self.control.spawn(async move {
            // Closed never; held until the hash is done, so that a flood of sign-ins waits instead of using up threads.
            let _permit = hashing.acquire_owned().await;
            tokio::task::spawn_blocking(move || sign_in(&users, &name, &password)).await
        });
        let grants = match check.await {
            Ok(Ok(grants)) => grants,
            Ok(Err(error)) | Err(error) => return Err(AskError::Interrupted(error).into()),
        };
        grants.map(grants::Known::from).ok_or_else(|| Denied::Refused {
            code: "password-auth.failed".into(),
            message: "Invalid username or password".into(),
        })
    }
}

impl Known {
    fn of(user: &User) -> Result<Self, SetupError> {
        let name = user.name.clone();
        if name.is_empty() || name.contains(':') || name == "api_key" {
            return Err(SetupError::Name { name });
        }
        if !is_hash(&user.password_hash) {
            return Err(SetupError::Hash { name });
        }
        let actions = user.permissions.iter().map(|permission| {
            Action::named(permission).ok_or_else(|| SetupError::Permission {
                name: name.clone(),
                permission: permission.clone(),
            })
        });
        let grants = actions.collect::<Result<Grants, _>>()?;
        Ok(Self { name, hash: user.password_hash.clone(), grants })
    }
}

/// Compares every name in full and hashes exactly once, whoever is asked about.
fn sign_in(users: &[Known], name: &str, password: &str) -> Option<Grants> {
    let mut named = None;
    for user in users {
        if verify_slices_are_equal(user.name.as_bytes(), name.as_bytes()).is_ok() {
            named = Some(user);
        }
    }
    let hash = named.or(users.first()).map(|user| user.hash.as_str());
    let matches = hash.is_some_and(|hash| verify(password, hash));
    named.filter(|_| matches).map(|user| user.grants)
}

fn verify(password: &str, hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        let hash = PasswordHash::new(hash);
        return hash.is_ok_and(|hash| {
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
        });
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

fn is_hash(hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return PasswordHash::new(hash).is_ok_and(|hash| {
            let version = hash.version.is_none_or(|version| Version::try_from(version).is_ok());
            version && hash.hash.is_some() && Params::try_from(&hash).is_ok()
        });
    }
    hash.parse::<bcrypt::HashParts>().is_ok()
}

impl std::fmt::Debug for Known {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Known {{ name: {:?}, hash: ..., grants: {:?} }}", self.name, self.grants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::Algorithm;
    use argon2::password_hash::PasswordHasher;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use http::HeaderMap;

    fn argon2id(password: &str) -> String {
        let params = Params::new(8, 1, 1, None).expect("parameters");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash: PasswordHash = argon2
            .hash_password_with_salt(password.as_bytes(), b"salt of 16 bytes")
            .expect("a hash");
        hash.to_string()
    }

    fn user(name: &str, password_hash: String, permissions: &[&str]) -> User {
        let permissions = permissions.iter().map(|name| (*name).to_owned()).collect();
        User { name: name.into(), password_hash, permissions }
    }

    fn basic(name: &str, password: &str) -> Credential {
        let pair = STANDARD.encode(format!("{name}:{password}"));
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Basic {pair}").parse().expect("a value"));
        Credential::of(&headers, None).expect("a credential")
    }

    #[tokio::test]
    async fn both_kinds_of_hash_know_their_password_and_no_other() {
        let bcrypt = bcrypt::hash("b:pass", 4).expect("a hash").replace("$2b$", "$2y$");
        let users = [
            user("ann", argon2id("pass"), &["licensing:read"]),
            user("bob", bcrypt, &["licensing:read", "licensing:write", "licensing:delete"]),
        ];
        let users = LocalUsers::new(&users, Handle::current()).expect("users");
        let reading: Grants = [Action::Read].into_iter().collect();
        assert_eq!(users.grants(&basic("ann", "pass")).await.expect("known").grants, reading);
        assert_eq!(
            users.grants(&basic("bob", "b:pass")).await.expect("known").grants,
            Grants::all()
        );
        for (name, password) in
            [("ann", "Pass"), ("ann", ""), ("Ann", "pass"), ("bob", "pass"), ("eve", "pass")]
        {
            let denied = users.grants(&basic(name, password)).await.expect_err("refused");
            assert!(matches!(denied, Denied::Refused { .. }), "{name} {denied:?}");
        }
    }

    #[tokio::test]
    async fn without_users_nobody_is_known() {
        let users = LocalUsers::new(&[], Handle::current()).expect("no users");
        assert!(users.grants(&basic("ann", "")).await.is_err());
    }

    #[tokio::test]
    async fn settings_that_cannot_work_are_named() {
        let hash = argon2id("x");
        let cases = [
            (user("a", "plain".into(), &[]), "Hash"),
            (user("a", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ".into(), &[]), "Hash"),
            (user("a", String::new(), &[]), "Hash"),
            (user("a", hash.clone(), &["licensing:all"]), "Permission"),
            (user("a:b", hash.clone(), &[]), "Name"),
            (user("", hash.clone(), &[]), "Name"),
            (user("api_key", hash.clone(), &[]), "Name"),
        ];
        for (user, fault) in cases {
            let error = LocalUsers::new(&[user], Handle::current()).expect_err(fault);
            assert!(format!("{error:?}").starts_with(fault), "{error:?}");
        }
        let twice = [user("a", hash.clone(), &[]), user("a", hash, &[])];
        assert!(matches!(LocalUsers::new(&twice, Handle::current()), Err(SetupError::Name { .. })));
    }
}
