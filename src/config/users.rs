//! Parses `[[auth.users]]`: names, password hashes, permissions.

use argon2::password_hash::phc::PasswordHash;

use super::fault::{Fault, Faults};
use super::text;
use super::value::{Kind, Value};
use crate::auth::User;
use crate::text::nearest;

const FIELDS: [&str; 3] = ["name", "password_hash", "permissions"];
const PERMISSIONS: [&str; 3] = ["licensing:read", "licensing:write", "licensing:delete"];

/// All users, or all faults.
pub(super) fn users(value: &Value) -> Result<Vec<User>, Faults> {
    let tables = match &value.kind {
        Kind::List(tables) => tables,
        Kind::Word(_) => return Err(value.fault("can only be set in the file").into()),
        _ => return Err(value.fault("takes tables: write [[auth.users]]").into()),
    };
    let mut faults = Faults::default();
    let mut names: Vec<String> = Vec::new();
    let mut users = Vec::new();
    for table in tables {
        if let Some(user) = faults.take(user(table)) {
            if names.contains(&user.name) {
                faults.push(table.fault(format!("there are two users {:?}", user.name)));
            }
            names.push(user.name.clone());
            users.push(user);
        }
    }
    faults.or(users)
}

fn user(table: &Value) -> Result<User, Faults> {
    let Kind::Table(fields) = &table.kind else {
        return Err(table.fault("takes tables: write [[auth.users]]").into());
    };
    let mut faults = Faults::default();
    let mut found = FIELDS.map(|_| None);
    for field in fields {
        match FIELDS.iter().position(|name| field.key == format!("auth.users.{name}")) {
            Some(at) => found[at] = Some(field),
            None => faults.push(unknown(field)),
        }
    }
    for (name, _) in FIELDS.iter().zip(&found).filter(|(_, field)| field.is_none()) {
        faults.push(table.fault(format!("a user has no {name}")));
    }
    let [name, hash, permissions] = found;
    let user = User {
        name: faults.take_from(name, user_name).unwrap_or_default(),
        password_hash: faults.take_from(hash, password_hash).unwrap_or_default(),
        permissions: faults
            .take_from(permissions, |list| list.each(permission))
            .unwrap_or_default(),
    };
    faults.or(user)
}

impl Faults {
    fn take_from<T, F: Into<Self>>(
        &mut self,
        field: Option<&Value>,
        read: impl Fn(&Value) -> Result<T, F>,
    ) -> Option<T> {
        field.and_then(|field| self.take(read(field)))
    }
}

fn unknown(field: &Value) -> Fault {
    let name = field.key.strip_prefix("auth.users.").unwrap_or_default();
    field.fault(match nearest(name, FIELDS) {
        Some(meant) => format!("unknown key; the nearest is auth.users.{meant}"),
        None => format!("unknown key; a user has {}", FIELDS.join(", ")),
    })
}

fn user_name(value: &Value) -> Result<String, Fault> {
    let name = text::name(value)?;
    match &*name {
        // RFC 7617 section 2: the first colon ends the name.
        colon if colon.contains(':') => Err(value.fault("must not contain a colon")),
        "api_key" => Err(value.fault("\"api_key\" is reserved for service accounts")),
        _ => Ok(name),
    }
}

fn permission(value: &Value) -> Result<String, Fault> {
    let known = PERMISSIONS.map(|permission| (permission, permission));
    text::one_of(value, &known).map(str::to_owned)
}

/// A hash of a supported kind. It is a secret: faults do not quote it.
fn password_hash(value: &Value) -> Result<String, Fault> {
    let hash = value.text()?;
    let well_formed = match hash.starts_with("$2") {
        true => is_bcrypt(hash),
        false => is_argon2(hash),
    };
    if !well_formed {
        let message = "is not an argon2 or bcrypt hash: make one with `license-gate hash-password`";
        return Err(value.fault(message));
    }
    Ok(hash.to_owned())
}

fn is_bcrypt(hash: &str) -> bool {
    let known = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|version| hash.starts_with(version));
    let parts = hash.parse::<bcrypt::HashParts>();
    known && hash.len() == 60 && parts.is_ok_and(|parts| (4..=31).contains(&parts.get_cost()))
}

fn is_argon2(hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        argon2::Algorithm::try_from(hash.algorithm.as_str()).is_ok()
            && argon2::Params::try_from(&hash).is_ok()
            && hash.salt.is_some()
            && hash.hash.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fault::Origin;

    #[test]
    fn hashes_are_checked_and_never_quoted() {
        let good = [
            "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQxMjM0$dGhpc2lzYWhhc2hvZnRoaXJ0eXR3b2J5dGVzISEhISE",
        ];
        let bad = [
            "",
            "hunter2",
            "$2y$05$short",
            "$2y$99$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQxMjM0",
            "$argon2id$v=19$m=1,t=0,p=1$c29tZXNhbHQxMjM0$dGhpc2lzYWhhc2hvZnRoaXJ0eXR3b2J5dGVzISEhISE",
            "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        ];
        let written = |hash: &str| Value {
            key: "auth.users.password_hash".into(),
            origin: Origin::Default,
            kind: Kind::Text(hash.into()),
        };
        for hash in good {
            assert!(password_hash(&written(hash)).is_ok(), "{hash}");
        }
        for hash in bad {
            let fault = password_hash(&written(hash)).expect_err(hash).to_string();
            assert!(hash.is_empty() || !fault.contains(hash), "{fault}");
        }
    }
}
