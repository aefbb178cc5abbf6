//! The stylesheet and the script of the page, in the binary. Their names contain a hash of their content, and browsers keep them.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};

use crate::text::hex;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asset {
    /// The stylesheet.
    Style,
    /// The script.
    Script,
}

static NAMES: LazyLock<[(Asset, String); 2]> = LazyLock::new(|| {
    let name = |stem: &str, content: &str, ending: &str| {
        let digest = digest::digest(&digest::SHA256, content.as_bytes());
        format!("{stem}.{}.{ending}", hex(&digest.as_ref()[..8]))
    };
    [(Asset::Style, name("style", STYLE, "css")), (Asset::Script, name("script", SCRIPT, "js"))]
});

impl Asset {
    /// The asset with this name. Only the current names exist.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, own)| own == name).map(|(asset, _)| *asset)
    }

    /// Its name.
    pub(in crate::api) fn name(self) -> &'static str {
        match self {
            Self::Style => &NAMES[0].1,
            Self::Script => &NAMES[1].1,
        }
    }

    /// The response to `GET`.
    pub(super) fn response(self) -> Response<Bytes> {
        let (content, kind) = match self {
            Self::Style => (STYLE, "text/css; charset=utf-8"),
            Self::Script => (SCRIPT, "text/javascript; charset=utf-8"),
        };
        let mut response = Response::new(Bytes::from_static(content.as_bytes()));
        let fields = [
            (CONTENT_TYPE, kind),
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        for (name, value) in fields {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
