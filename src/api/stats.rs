//! `/api/licensing/refresh-stats`: how many use the dashboard.

use super::context::{Api, ApiRequest};
use super::{error, wire};
use crate::auth::{Action, Dashboard, SignedIn};
use crate::problem::Problem;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

/// What is read of the dashboard's statistics; a number it does not have is 0.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Statistics {
    active_users: u64,
    active_admins: u64,
    active_editors: u64,
    active_viewers: u64,
    active_devices: u64,
}

/// The answer; the order of its fields is part of the contract.
#[derive(Serialize)]
struct StatsView {
    active_users: u64,
    active_admins_and_editors: u64,
    active_viewers: u64,
    active_anonymous_devices: u64,
}

impl From<Statistics> for StatsView {
    fn from(statistics: Statistics) -> Self {
        Self {
            active_users: statistics.active_users,
            active_admins_and_editors: statistics
                .active_admins
                .saturating_add(statistics.active_editors),
            active_viewers: statistics.active_viewers,
            active_anonymous_devices: statistics.active_devices,
        }
    }
}

/// `GET /api/licensing/refresh-stats`: the dashboard's statistics, asked for with the caller's credentials.
///
/// Needs `licensing:read`, and whatever the dashboard asks for. 200; 403 the dashboard does not show them to the caller;
/// 404 callers are not the dashboard's (`mode = "local"`); 502 it does not answer.
pub(super) async fn get<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
) -> Result<Response<Bytes>, Problem> {
    let SignedIn { credential, .. } = api.require(Action::Read, request).await?;
    let statistics = api.auth.statistics(&credential, request.caller, request.dashboard).await?;
    let view = view(&statistics).ok_or_else(error::statistics_unreadable)?;
    Ok(wire::json(StatusCode::OK, view))
}

fn view(statistics: &[u8]) -> Option<Bytes> {
    let statistics: Statistics = wire::object(statistics).ok()?;
    serde_json::to_vec(&StatsView::from(statistics)).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_mapped_and_missing_ones_are_zero() {
        let cases = [
            (
                r#"{"orgs":1,"activeUsers":9,"activeAdmins":1,"activeEditors":2,"activeViewers":6,"activeDevices":4}"#,
                Some(
                    r#"{"active_users":9,"active_admins_and_editors":3,"active_viewers":6,"active_anonymous_devices":4}"#,
                ),
            ),
            (
                "{}",
                Some(
                    r#"{"active_users":0,"active_admins_and_editors":0,"active_viewers":0,"active_anonymous_devices":0}"#,
                ),
            ),
            (r#"{"activeUsers":"9"}"#, None),
            ("[1,2,3,4,5]", None),
            ("<html>", None),
        ];
        for (statistics, expected) in cases {
            let view = view(statistics.as_bytes());
            assert_eq!(view.as_deref(), expected.map(str::as_bytes), "{statistics}");
        }
    }
}
