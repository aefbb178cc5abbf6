//! Checks callers against `[[auth.users]]`.
//!
//! Passwords are hashed on the control runtime's blocking threads, a few at a time; a sign-in that waits longer than 10 s for
//! that is [`Denied::Busy`]. The duration does not reveal whether a name exists: every sign-in computes one hash of each kind
//! and cost in the configuration. If the user has no hash of a kind, or does not exist, the password is compared with another
//! user's hash, and the result is ignored. The cost of a sign-in is therefore the sum over all kinds.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::available_parallelism;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::timeout;

use super::cache::Verdict;
use super::config::User;
use super::credential::Credential;
use super::denied::{DEADLINE, Denied, LookupError};
use super::grants::{self, Action, Grants, shortened};

/// Why `[[auth.users]]` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The kind of the hash is not supported.
    #[error(
        "auth.users: the password_hash of {name:?} is neither argon2 ($argon2id$…) nor bcrypt ($2b$…, $2y$…, with a cost from 4 to 31): create one with `license-gate hash-password`"
    )]
    Hash {
        /// The user.
        name: String,
    },
    /// The permission does not exist.
    #[error(
        "auth.users: {name:?} has the unknown permission {permission:?}: use licensing:read, licensing:write or licensing:delete"
    )]
    Permission {
        /// The user.
        name: String,
        /// The permission.
        permission: String,
    },
    /// The name cannot be sent with Basic, is reserved, or is not unique.
    #[error(
        "auth.users: the name {name:?} cannot be used: a name is unique, not empty, has no colon and is not `api_key`"
    )]
    Name {
        /// The user.
        name: String,
    },
}

/// bcrypt ignores the bytes of a password beyond this.
const BCRYPT_MAX_BYTES: usize = 72;

/// Costs that bcrypt supports.
const BCRYPT_COSTS: RangeInclusive<u32> = 4..=31;

/// The configured users.
#[derive(Debug)]
pub(super) struct LocalUsers {
    users: Arc<Users>,
    hashing: Arc<Semaphore>,
    control: Handle,
}

#[derive(Debug)]
struct Users {
    known: Vec<LocalUser>,
    /// The index of one user for each distinct [`Work`].
    works: Vec<usize>,
}

struct LocalUser {
    name: String,
    hash: String,
    work: Work,
    grants: Grants,
}

/// The cost of comparing a password with a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Argon2 {
        algorithm: String,
        version: Option<u32>,
        memory: u32,
        passes: u32,
        lanes: u32,
        hash_bytes: usize,
    },
    Bcrypt {
        cost: u32,
    },
}

impl LocalUsers {
    pub(super) fn new(users: &[User], control: Handle) -> Result<Self, SetupError> {
        let mut known: Vec<LocalUser> = Vec::with_capacity(users.len());
        for user in users {
            let user = LocalUser::of(user)?;
            if known.iter().any(|other| other.name == user.name) {
                return Err(SetupError::Name { name: user.name });
            }
            known.push(user);
        }
        let at_once = available_parallelism().map_or(1, NonZero::get);
        let hashing = Arc::new(Semaphore::new(at_once));
        Ok(Self { users: Arc::new(Users::new(known)), hashing, control })
    }

    /// The grants of `credential`.
    pub(super) async fn grants(&self, credential: &Credential) -> Verdict {
        let Some((name, password)) = credential.basic() else { return Err(Denied::NoCredentials) };
        let (name, password) = (name.to_owned(), password.to_owned());
        let (users, hashing) = (self.users.clone(), self.hashing.clone());
        let check = self.control.spawn(async move {
            // Held until the hash is computed, so that a flood of sign-ins does not occupy all threads.
            let permit =
                timeout(DEADLINE, hashing.acquire_owned()).await.map_err(|_| Denied::Busy)?;
            let checked = tokio::task::spawn_blocking(move || {
                let known = users.sign_in(&name, &password, verify);
                drop(permit);
                known.map(LocalUser::signed_in)
            });
            checked.await.map_err(interrupted)
        });
        let known = check.await.map_err(interrupted)??;
        known.ok_or_else(|| Denied::Refused {
            code: "password-auth.failed".into(),
            message: "Invalid username or password".into(),
        })
    }
}

impl LocalUser {
    fn of(user: &User) -> Result<Self, SetupError> {
        let name = user.name.clone();
        if name.is_empty() || name.contains(':') || name == "api_key" {
            return Err(SetupError::Name { name });
        }
        let Some(work) = Work::of(&user.password_hash) else {
            return Err(SetupError::Hash { name });
        };
        let actions = user.permissions.iter().map(|permission| {
            Action::named(permission).ok_or_else(|| SetupError::Permission {
                name: name.clone(),
                permission: permission.clone(),
            })
        });
        let grants = actions.collect::<Result<Grants, _>>()?;
        Ok(Self { name, hash: user.password_hash.clone(), work, grants })
    }

    fn signed_in(&self) -> grants::Known {
        grants::Known { grants: self.grants, login: Some(shortened(&self.name).into()) }
    }
}

fn interrupted(error: JoinError) -> Denied {
    LookupError::Interrupted(Some(error)).into()
}

impl Users {
    fn new(known: Vec<LocalUser>) -> Self {
        let is_first = |&index: &usize| {
            let LocalUser { work, .. } = &known[index];
            known[..index].iter().all(|earlier| earlier.work != *work)
        };
        let works = (0..known.len()).filter(is_first).collect();
        Self { known, works }
    }

    /// Compares every name in full and computes each kind of hash once, in the same order for every name and password.
    fn sign_in(
        &self,
        name: &str,
        password: &str,
        mut verify: impl FnMut(&str, &LocalUser) -> bool,
    ) -> Option<&LocalUser> {
        let mut named = None;
        for user in &self.known {
            if verify_slices_are_equal(user.name.as_bytes(), name.as_bytes()).is_ok() {
                named = Some(user);
            }
        }
        let mut matches = false;
        for &index in &self.works {
            let other = &self.known[index];
            let own = named.filter(|named| named.work == other.work);
            matches |= verify(password, own.unwrap_or(other)) && own.is_some();
        }
        named.filter(|_| matches)
    }
}

impl Work {
    /// `None`: the hash is not supported.
    fn of(hash: &str) -> Option<Self> {
        if hash.starts_with("$argon2") {
            let hash = PasswordHash::new(hash).ok()?;
            let version = hash.version.map(Version::try_from).transpose().ok()?;
            let params = Params::try_from(&hash).ok()?;
            return Some(Self::Argon2 {
                algorithm: hash.algorithm.to_string(),
                version: version.map(u32::from),
                memory: params.m_cost(),
                passes: params.t_cost(),
                lanes: params.p_cost(),
                hash_bytes: hash.hash?.as_bytes().len(),
            });
        }
        let cost = hash.parse::<bcrypt::HashParts>().ok()?.get_cost();
        BCRYPT_COSTS.contains(&cost).then_some(Self::Bcrypt { cost })
    }
}

fn verify(password: &str, user: &LocalUser) -> bool {
    match user.work {
        Work::Argon2 { .. } => PasswordHash::new(&user.hash).is_ok_and(|hash| {
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
        }),
        // Also computed for a password that does not fit, so that it takes as long as any other.
        Work::Bcrypt { .. } => {
            bcrypt::verify(password, &user.hash).unwrap_or(false) & fits_bcrypt(password)
        }
    }
}

/// Whether bcrypt distinguishes this password from all others. It ignores everything after 72 bytes and repeats a shorter
/// password with a NUL after each repetition: `a` and `a`, NUL, `a` have the same hash.
fn fits_bcrypt(password: &str) -> bool {
    password.len() <= BCRYPT_MAX_BYTES && !password.contains('\0')
}

impl std::fmt::Debug for LocalUser {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "LocalUser {{ name: {:?}, hash: ..., grants: {:?} }}", self.name, self.grants)
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
    async fn both_kinds_of_hash_accept_their_password_only() {
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
    async fn bcrypt_refuses_passwords_that_it_cannot_distinguish() {
        let long = "x".repeat(72);
        let hash = |password: &str| bcrypt::hash(password, 4).expect("a hash");
        let users = [
            user("long", hash(&long), &["licensing:read"]),
            user("cut", hash(&format!("{long}tail")), &["licensing:read"]),
            user("nul", hash("a"), &["licensing:read"]),
            user("argon", argon2id(&format!("{long}tail\0")), &["licensing:read"]),
        ];
        let users = LocalUsers::new(&users, Handle::current()).expect("users");
        let cases = [
            ("long", long.clone(), true),
            ("long", format!("{long}x"), false),
            ("cut", format!("{long}tail"), false),
            ("cut", long.clone(), true),
            ("nul", "a".to_owned(), true),
            ("nul", "a\0a".to_owned(), false),
            ("nul", "a\0".to_owned(), false),
            ("argon", format!("{long}tail\0"), true),
            ("argon", long, false),
        ];
        for (name, password, signs_in) in cases {
            let verdict = users.grants(&basic(name, &password)).await;
            assert_eq!(verdict.is_ok(), signs_in, "{name} {password:?} {verdict:?}");
        }
    }

    #[test]
    fn every_name_costs_the_same_work() {
        let bcrypt = |cost| bcrypt::hash("b", cost).expect("a hash");
        let argon2 = |memory, passes| {
            let params = Params::new(memory, passes, 1, None).expect("parameters");
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let hash: PasswordHash =
                argon2.hash_password_with_salt(b"a", b"salt of 16 bytes").expect("a hash");
            hash.to_string()
        };
        let users = [
            user("first", argon2(8, 1), &[]),
            user("cheap", bcrypt(4), &[]),
            user("dear", bcrypt(5), &[]),
            user("cheap too", bcrypt(4), &[]),
            user("memory", argon2(16, 1), &[]),
            user("passes", argon2(8, 2), &[]),
            user("like first", argon2(8, 1), &[]),
        ];
        let known: Vec<_> = users.iter().map(|user| LocalUser::of(user).expect("a user")).collect();
        let users = Users::new(known);
        let work = |name: &str, password: &str| {
            let (mut works, mut own) = (Vec::new(), 0);
            users.sign_in(name, password, |_, user| {
                works.push(user.work.clone());
                own += usize::from(user.name == name);
                verify(password, user)
            });
            (works, own)
        };
        let (unknown, _) = work("nobody", "a");
        assert_eq!(unknown.len(), 5, "one of each kind and cost: {unknown:?}");
        for user in &users.known {
            for password in ["a", "b", "wrong", "", &"long".repeat(100)] {
                let (works, own) = work(&user.name, password);
                assert_eq!(works, unknown, "{} {password:?}", user.name);
                assert_eq!(own, 1, "its own hash is compared once");
            }
        }
        let signs_in =
            |name, password| users.sign_in(name, password, verify).map(|user| &*user.name);
        assert_eq!(signs_in("like first", "a"), Some("like first"));
        assert_eq!(signs_in("cheap too", "b"), Some("cheap too"));
        assert_eq!(signs_in("cheap too", "a"), None, "the password of another");
        assert_eq!(signs_in("nobody", "a"), None);
    }

    #[tokio::test]
    async fn without_users_every_sign_in_is_refused() {
        let users = LocalUsers::new(&[], Handle::current()).expect("no users");
        assert!(users.grants(&basic("ann", "")).await.is_err());
    }

    #[tokio::test]
    async fn invalid_users_are_errors_that_name_the_user() {
        let hash = argon2id("x");
        let cases = [
            (user("a", "plain".into(), &[]), "Hash"),
            (user("a", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ".into(), &[]), "Hash"),
            (user("a", String::new(), &[]), "Hash"),
            (user("a", bcrypt::hash("x", 4).expect("a hash").replace("$04$", "$03$"), &[]), "Hash"),
            (user("a", bcrypt::hash("x", 4).expect("a hash").replace("$04$", "$32$"), &[]), "Hash"),
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
