//! Settings of `[auth]`, and the limits of `[limits]` that belong to them.

use std::fmt;
use std::time::Duration;

/// How callers are authorized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where callers are checked. Default: the dashboard.
    pub mode: Mode,
    /// Whether `GET /check` needs no credentials. Default false.
    pub public_check: bool,
    /// Path of the dashboard's identity API. Default `/api/user`.
    pub identity_path: String,
    /// Path of the dashboard's permissions API. Default `/api/access-control/user/permissions`.
    pub permissions_path: String,
    /// Path of the dashboard's statistics API. Default `/api/admin/stats`.
    pub stats_path: String,
    /// JSON pointer (RFC 6901) to the administrator flag in the identity response. Default `/isGrafanaAdmin`.
    pub admin_field: String,
    /// JSON pointer (RFC 6901) to the disabled flag in the identity response. Default `/isDisabled`.
    pub disabled_field: String,
    /// Name of the dashboard's session cookie. Default `grafana_session`.
    pub session_cookie: String,
    /// Path of the dashboard's sign-in, below the base path. Default `/login`.
    pub login_path: String,
    /// Path of the dashboard that rotates a session, below the base path. Default `/user/auth-tokens/rotate`.
    pub rotate_path: String,
    /// How long a grant is cached; 0: not at all. Default 30 s.
    pub cache_ttl: Duration,
    /// Users of `mode = "local"`.
    pub users: Vec<User>,
    /// Refused passwords per minute and client address (IPv6: /64); 0: no limit. Default 20.
    pub failed_sign_ins_per_minute: u32,
    /// Licensing writes per minute and client address; 0: no limit. Default 60.
    pub writes_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Dashboard,
            public_check: false,
            identity_path: "/api/user".into(),
            permissions_path: "/api/access-control/user/permissions".into(),
            stats_path: "/api/admin/stats".into(),
            admin_field: "/isGrafanaAdmin".into(),
            disabled_field: "/isDisabled".into(),
            session_cookie: "grafana_session".into(),
            login_path: "/login".into(),
            rotate_path: "/user/auth-tokens/rotate".into(),
            cache_ttl: Duration::from_secs(30),
            users: Vec::new(),
            failed_sign_ins_per_minute: 20,
            writes_per_minute: 60,
        }
    }
}

/// Where callers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the dashboard, with the caller's own credentials.
    Dashboard,
    /// Against `[[auth.users]]`.
    Local,
}

/// A user of `mode = "local"`.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// User name for Basic.
    pub name: String,
    /// PHC string of argon2 (`$argon2id$…`) or bcrypt (`$2b$…`, `$2y$…`).
    pub password_hash: String,
    /// Any of `licensing:read`, `licensing:write`, `licensing:delete`.
    pub permissions: Vec<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "User {{ name: {:?}, password_hash: ..., permissions: {:?} }}",
            self.name, self.permissions
        )
    }
}
