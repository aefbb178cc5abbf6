//! Licensing actions, and sets of granted actions.

use std::sync::Arc;

/// A licensing action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the license.
    Read,
    /// Install or renew a license.
    Write,
    /// Remove the license.
    Delete,
}

impl Action {
    pub(super) const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    /// The name of the permission.
    pub const fn permission(self) -> &'static str {
        match self {
            Self::Read => "licensing:read",
            Self::Write => "licensing:write",
            Self::Delete => "licensing:delete",
        }
    }

    pub(super) fn named(permission: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.permission() == permission)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Delete => 4,
        }
    }
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants(u8);

impl Grants {
    /// All actions.
    pub(super) fn all() -> Self {
        Action::ALL.into_iter().collect()
    }

    pub(super) const fn contain(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Longest name in the audit log and elsewhere. A longer one is shortened.
const MAX_NAME_BYTES: usize = 256;

/// `name`, shortened to at most 256 bytes of whole characters.
pub(super) fn shortened(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// What is known about a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The actions that the caller may perform.
    pub(super) grants: Grants,
    /// The login, [`shortened`]; `None` if the dashboard returns none.
    pub(super) login: Option<Arc<str>>,
}

impl FromIterator<Action> for Grants {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |set, action| set | action.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_the_added_actions_only() {
        let set: Grants = [Action::Read, Action::Delete].into_iter().collect();
        assert_eq!(Action::ALL.map(|action| set.contain(action)), [true, false, true]);
        assert!(Action::ALL.into_iter().all(|action| Grants::all().contain(action)));
        assert!(Grants::default().is_empty());
    }

    #[test]
    fn a_name_is_shortened_between_two_characters() {
        assert_eq!(shortened("ops"), "ops");
        assert_eq!(shortened(&"x".repeat(256)).len(), 256);
        assert_eq!(shortened(&"x".repeat(257)).len(), 256);
        assert_eq!(shortened(&format!("{}é", "x".repeat(255))).len(), 255);
        assert_eq!(shortened(&"🦀".repeat(100)).len(), 256);
        assert_eq!(shortened(""), "");
    }

    #[test]
    fn permissions_are_matched_exactly() {
        assert_eq!(Action::named("licensing:write"), Some(Action::Write));
        for other in ["licensing:*", "Licensing:read", "licensing:read ", "licensing", ""] {
            assert_eq!(Action::named(other), None, "{other}");
        }
    }
}
