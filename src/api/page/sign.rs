//! The signs of a tone: each has a shape of its own, so that colour is not the only difference.

use maud::{Markup, PreEscaped, html};

use super::words::Tone;

/// The class of the stylesheet.
pub(super) const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
    }
}

/// A sign with another shape for each tone.
pub(super) fn sign(tone: Tone) -> Markup {
    let path = match tone {
        Tone::Good => {
            "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm-1.6 14.6L5.8 12l1.7-1.7 2.9 2.9 6.1-6.1 1.7 1.7z"
        }
        Tone::Warning => "M12 2 0.8 21.5h22.4zM11 9h2v6h-2zm0 7.5h2v2h-2z",
        Tone::Bad => {
            "M8 1.5h8L22.5 8v8L16 22.5H8L1.5 16V8zM8.4 7 7 8.4l3.6 3.6L7 15.6 8.4 17l3.6-3.6 3.6 3.6 1.4-1.4-3.6-3.6L17 8.4 15.6 7 12 10.6z"
        }
    };
    html! {
        svg class="sign" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false" {
            path fill-rule="evenodd" d=(PreEscaped(path)) {}
        }
    }
}
