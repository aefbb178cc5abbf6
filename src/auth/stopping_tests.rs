//! Checks in flight when the gate stops.

use std::net::Ipv4Addr;
use std::rc::Rc;

use http::{Request, Response};
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::*;
use crate::shutdown::{Drain, Phase};
use crate::upstream;

/// A dashboard that never answers, and a worker that stops.
#[derive(Clone, Default)]
struct Silent(Drain);

impl Dashboard for Silent {
    async fn fetch(
        &self,
        _request: Request<()>,
        _limit_bytes: usize,
    ) -> Result<Response<Bytes>, upstream::Error> {
        std::future::pending().await
    }

    fn run(&self, work: impl Future<Output = ()> + 'static) {
        self.0.spawn(|counted| async move {
            work.await;
            drop(counted);
        });
    }

    async fn stopping(&self) {
        self.0.begun().await;
    }
}

/// A request of a caller with this session.
async fn ask(auth: Rc<Auth>, dashboard: Silent, session: &'static str) -> Result<SignedIn, Denied> {
    let head = Request::get("/").header("cookie", format!("grafana_session={session}"));
    let (head, ()) = head.body(()).expect("a request").into_parts();
    let caller = Caller { address: Ipv4Addr::LOCALHOST.into(), request_id: "r1" };
    auth.require(Action::Read, &head, caller, &dashboard).await
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_checks_that_have_callers() {
    let root_url = RootUrl::parse("https://dash.example/").expect("a root URL");
    let auth = Auth::new(&Config::default(), root_url, Handle::current()).expect("set up");
    let (auth, silent) = (Rc::new(auth), Silent::default());
    let local = LocalSet::new();
    local
        .run_until(async {
            let begin = tokio::time::Instant::now();
            let callers: Vec<_> = ["left", "leaves", "stays", "stays"]
                .into_iter()
                .map(|session| spawn_local(ask(auth.clone(), silent.clone(), session)))
                .collect();
            yield_now().await;
            callers[0].abort();
            yield_now().await;
            silent.0.advance(Phase::Draining);
            yield_now().await;
            callers[1].abort();
            // One of the two callers of the same check remains.
            callers[2].abort();
            yield_now().await;
            let stays = callers.into_iter().next_back().expect("a caller");
            let denied = stays.await.expect("no panic").expect_err("no answer came");
            assert!(matches!(denied, Denied::Unavailable(_)), "{denied:?}");
            assert_eq!(begin.elapsed(), denied::DEADLINE);
            silent.0.emptied().await;

            let begin = tokio::time::Instant::now();
            let left = spawn_local(ask(auth.clone(), silent.clone(), "left"));
            yield_now().await;
            left.abort();
            silent.0.emptied().await;
            assert_eq!(begin.elapsed(), Duration::ZERO);
        })
        .await;
}
