//! The page of a request that a gate rule refuses: what is missing, since when, and what to do. It has no script, so times are in UTC.

use maud::{DOCTYPE, html};

use super::assets::Asset;
use super::sign::sign;
use super::words::{self, Tone};
use crate::license::printable;
use crate::rules::Denial;

/// The page about `denial`. `advice`: what to do; `base`: the base path, without a slash at its end. Its content policy has to allow
/// stylesheets of its own origin, and images in `data:`.
pub fn refusal(denial: &Denial, advice: &str, base: &str, request_id: &str) -> String {
    let Denial { rule, closed } = denial;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (words::REFUSAL_TITLE) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href={ (base) "/api/licensing/assets/" (Asset::Style.name()) };
            }
            body {
                header { div class="wide" { p class="brand" { a href={ (base) "/" } { (words::DASHBOARD) } } } }
                main class="wide" {
                    section class="status" aria-labelledby="state" {
                        div class="advice bad" {
                            (sign(Tone::Bad))
                            div {
                                p class="badge" { (words::REFUSAL_BADGE) }
                                h1 id="state" { (words::required(&rule.requirement)) }
                                p {
                                    (words::missing(&closed.missing))
                                    @if let Some(since) = closed.since.filter(|_| !rule.grace.is_zero()) { " " (words::grace_ended(since)) }
                                }
                                p class="ask" { bdi dir="auto" { (printable(advice)) } }
                            }
                        }
                    }
                    div class="actions" {
                        a class="button" href={ (base) "/api/licensing/" } { (words::TO_LICENSE) }
                        p class="hint" { (words::TO_LICENSE_HINT) }
                    }
                    p class="hint" { (words::refused_by(&rule.name, request_id)) }
                }
            }
        }
    };
    page.into_string()
}
