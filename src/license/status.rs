//! The license's status as answers state it.

/// A number on the wire. 2 is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Nothing has been looked for yet.
    NotLoaded = 0,
    /// In force.
    Valid = 1,
    /// Not acceptable: not started, revoked, of another issuer, without the product; or it does not verify.
    Invalid = 3,
    /// There is no license.
    NotFound = 4,
    /// The license, its trial or its token has ended.
    Expired = 5,
    /// Licensed for another instance.
    InvalidSubject = 6,
}

impl Status {
    /// Every status, in the order of the wire.
    pub const ALL: [Self; 6] = [
        Self::NotLoaded,
        Self::Valid,
        Self::Invalid,
        Self::NotFound,
        Self::Expired,
        Self::InvalidSubject,
    ];

    /// The number on the wire; one digit.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotLoaded => "not loaded",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::Expired => "expired",
            Self::InvalidSubject => "invalid subject",
        }
    }
}
