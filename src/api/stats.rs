//! `/api/licensing/refresh-stats`: the number of users of the dashboard.

use super::context::{Api, ApiRequest};
use super::wire;
use crate::auth::{Action, Credential, Dashboard, SignedIn, StatisticsError};
use crate::problem::Problem;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

/// The dashboard's statistics. A missing number is 0.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Statistics {
    active_users: u64,
    active_admins: u64,
    active_editors: u64,
    active_viewers: u64,
    active_devices: u64,
}

/// The response. The order of the fields is part of the API.
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

/// `GET /api/licensing/refresh-stats`: the dashboard's statistics, requested with the caller's credentials.
///
/// Needs `licensing:read`, and the dashboard's own permission. 200; 403 the dashboard refuses the caller; 404 with
/// `mode = "local"`; 502 the dashboard sends no statistics.
pub(super) async fn get<D: Dashboard>(
    api: &Api,
    request: ApiRequest<'_, D>,
) -> Result<Response<Bytes>, Problem> {
    let SignedIn { credential, .. } = api.require(Action::Read, request).await?;
    let statistics = api.auth.statistics(&credential, request.caller, request.dashboard).await?;
    let view = view(&statistics).ok_or(StatisticsError::NotStatistics)?;
    Ok(wire::json(StatusCode::OK, view))
}

/// The number of active users.
pub(super) async fn active_users<D: Dashboard>(
    api: &Api,
    credential: &Credential,
    request: ApiRequest<'_, D>,
) -> Result<u64, StatisticsError> {
    let statistics = api.auth.statistics(credential, request.caller, request.dashboard).await?;
    let read = wire::object::<Statistics>(&statistics);
    read.map(|it| it.active_users).map_err(|_| StatisticsError::NotStatistics)
}

fn view(statistics: &[u8]) -> Option<Bytes> {
    let statistics: Statistics = wire::object(statistics).ok()?;
    serde_json::to_vec(&StatsView::from(statistics)).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_mapped_and_missing_ones_are_0() {
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
