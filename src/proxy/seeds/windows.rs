//! HTTP/2 windows that stay closed, and windows that open slowly, with a paused clock.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, client, server};
use http::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::LocalSet;
use tokio::time::{Instant, Sleep, sleep};

use super::gate;
use super::scenario::{Protocol, Scenario};
use crate::downstream::Scheme;
use crate::shutdown::Drain;
use crate::socket::memory::{self, End, Seed};
use crate::sweep::Sweep;

const SEEDS: u64 = 60;
const WINDOW: u32 = 10;
const BODY: Bytes = Bytes::from_static(&[b'x'; 60]);
const LARGE: Bytes = Bytes::from_static(&[b'x'; 100 * 1024]);
/// Less than `timeouts.send`, which is 60 s.
const SLOWLY: Duration = Duration::from_secs(55);

/// Reads a body "all" at once, "slowly" or "nothing" of it.
async fn take(how: &str, mut body: RecvStream) -> Result<usize, Option<Reason>> {
    let mut taken = 0;
    while let Some(data) = body.data().await {
        let bytes = data.map_err(|error| error.reason())?.len();
        taken += bytes;
        if how == "slowly" {
            sleep(SLOWLY).await;
        }
        if how != "nothing" {
            body.flow_control().release_capacity(bytes).expect("as much as came");
        }
    }
    Ok(taken)
}

/// How the dashboard's reads of bodies ended.
type Outcomes = Rc<RefCell<Vec<Result<usize, Option<Reason>>>>>;

/// Responds to GET with [`BODY`] or [`LARGE`]; reads other requests as their paths say, and then responds.
async fn dashboard(end: End, taken: Outcomes) {
    let builder = server::Builder::new().initial_window_size(WINDOW).clone();
    let mut connection = builder.handshake::<_, Bytes>(end).await.expect("a preface");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let taken = taken.clone();
        tokio::task::spawn_local(async move {
            let (parts, body) = request.into_parts();
            let is_get = parts.method == Method::GET;
            if parts.method == Method::POST {
                let outcome = take(parts.uri.path().trim_start_matches('/'), body).await;
                taken.borrow_mut().push(outcome);
                if outcome.is_err() {
                    return;
                }
            }
            let mut outgoing = respond.send_response(Response::new(()), !is_get).expect("open");
            if is_get {
                let body = if parts.uri.path() == "/large" { LARGE } else { BODY };
                outgoing.send_data(body, true).expect("open");
            }
        });
    }
}

struct Stage {
    client: SendRequest<Bytes>,
    taken: Outcomes,
    dials: Rc<Cell<usize>>,
}

impl Stage {
    async fn new(seed: u64) -> Self {
        Self::over(seed, None, WINDOW, |end| end).await
    }

    /// A client with this window, on a transport of this capacity.
    async fn over<T: AsyncRead + AsyncWrite + Unpin + 'static>(
        seed: u64,
        most_for_client: Option<usize>,
        window: u32,
        transport: impl FnOnce(End) -> T,
    ) -> Self {
        let seed = Seed::new(seed);
        let (sweep, drain) = (Sweep::new(), Drain::default());
        let ticking = sweep.clone();
        tokio::task::spawn_local(async move { ticking.run().await });
        let mut scenario = Scenario::of(&seed);
        scenario.dashboard = Protocol::Http2(WINDOW, 65_535);
        if most_for_client.is_some() {
            // All available bytes are read at once.
            seed.set_pace(0);
        }
        let (taken, dials, most) = (Outcomes::default(), Rc::new(Cell::new(0)), scenario.most);
        let (record, dialled, own) = (taken.clone(), dials.clone(), seed.clone());
        memory::on_dial(move || {
            dialled.set(dialled.get() + 1);
            let (theirs, ours) = memory::pair(&own, most);
            tokio::task::spawn_local(dashboard(theirs, record.clone()));
            ours
        });
        let (end, accepted) = memory::pair(&seed, most_for_client.unwrap_or(most));
        Rc::new(gate(&scenario, &sweep, &drain)).take_in(accepted.into(), Scheme::Http);
        let builder = client::Builder::new().initial_window_size(window).clone();
        let handshake = builder.handshake(transport(end)).await;
        let (client, connection) = handshake.expect("a connection");
        tokio::task::spawn_local(connection);
        Self { client, taken, dials }
    }

    async fn ask(&mut self, method: Method, path: &str) -> Response<RecvStream> {
        let uri = format!("http://gate.example/{path}");
        let is_post = method == Method::POST;
        let request = Request::builder().method(method).uri(uri).body(()).expect("a request");
        let (response, mut body) = self.client.send_request(request, !is_post).expect("sent");
        if is_post {
            body.send_data(BODY, true).expect("sent");
        }
        response.await.expect("a response")
    }
}

/// A client that reads at intervals.
struct Slow(End, Pin<Box<Sleep>>);

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.1.as_mut().poll(cx));
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        self.1.as_mut().reset(Instant::now() + Duration::from_secs(4));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn each_seed<F: Future<Output = ()>>(seeds: u64, story: impl Fn(u64) -> F) {
    for seed in 0..seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, story(seed));
    }
}

/// A minute, with the resolution of deadlines.
fn is_a_minute(time: Duration) -> bool {
    time >= Duration::from_secs(60) && time < Duration::from_secs(62)
}

#[test]
fn a_response_ends_if_its_window_stays_closed_but_not_if_it_is_slow() {
    each_seed(SEEDS, async |seed| {
        let mut stage = Stage::new(seed).await;
        let body = stage.ask(Method::GET, "").await.into_body();
        let began = Instant::now();
        assert_eq!(take("nothing", body).await, Err(Some(Reason::CANCEL)));
        assert!(is_a_minute(began.elapsed()), "after {:?}", began.elapsed());
        let body = stage.ask(Method::GET, "").await.into_body();
        assert_eq!(take("slowly", body).await, Ok(BODY.len()));
        assert!(began.elapsed() > 4 * SLOWLY);
        assert_eq!(stage.ask(Method::HEAD, "").await.status(), StatusCode::OK);
    });
}

#[test]
fn an_upload_ends_if_the_window_stays_closed_but_not_if_it_is_slow() {
    each_seed(SEEDS, async |seed| {
        let mut stage = Stage::new(seed).await;
        let began = Instant::now();
        assert_eq!(stage.ask(Method::POST, "nothing").await.status(), StatusCode::BAD_GATEWAY);
        assert!(is_a_minute(began.elapsed()), "after {:?}", began.elapsed());
        assert_eq!(stage.ask(Method::POST, "slowly").await.status(), StatusCode::OK);
        assert_eq!(*stage.taken.borrow(), [Err(Some(Reason::CANCEL)), Ok(BODY.len())]);
        assert_eq!(stage.dials.get(), 1, "the connection stays open");
    });
}

/// Each frame of a stream waits for those of all others, for longer than `timeouts.send`, although the windows are open.
#[test]
fn a_slow_socket_ends_no_stream() {
    each_seed(3, async |seed| {
        let slow = |end| Slow(end, Box::pin(sleep(Duration::ZERO)));
        let mut stage = Stage::over(seed, Some(4_096), 1 << 20, slow).await;
        let mut taken = Vec::new();
        for _ in 0..6 {
            let body = stage.ask(Method::GET, "large").await.into_body();
            taken.push(tokio::task::spawn_local(take("all", body)));
        }
        for body in taken {
            assert_eq!(body.await.expect("no panic"), Ok(LARGE.len()));
        }
    });
}
