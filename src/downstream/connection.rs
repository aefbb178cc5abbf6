//! One task per client connection: TLS handshake, HTTP/1.1 or HTTP/2, deadlines, drain.
//!
//! The protocol is selected by ALPN on TLS, and by the first bytes (RFC 9113 section 3.4) on a plain socket. Every wait for the client
//! has a deadline. After an upgrade, the tunnel runs in the same task.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_rustls::StartHandshake;

use super::hello::{self, Hello};
use super::io::{Socket, Stream};
use super::peer::Peer;
use super::shared::{Scratch, within};
use super::tls::Tls;
use super::{Service, http1, http2};
use crate::shutdown::Phase;

pub(super) use super::shared::{
    Shared, limit_silence_for_drain, set_closing_deadline, shorten_for_drain,
};

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long input is still read after plain HTTP was refused.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one accepted socket to its end.
pub(super) async fn serve<S: Service>(
    socket: Socket,
    tls: Option<Arc<Tls>>,
    peer: Rc<Peer>,
    shared: Rc<Shared<S>>,
) {
    let opened = match tls {
        // Boxed: a handshake is large and short, and every connection would reserve memory for it.
        Some(tls) => Box::pin(shake_hands(socket, &tls, &peer, &shared)).await,
        None => detect(socket, &peer, &shared).await,
    };
    let outcome = match opened {
        Ok(Some(opened)) => serve_http(opened, &peer, &shared).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // An unused takeover holds its peer: without this, both and the dashboard's connection would leak.
    drop(peer.taken_over());
    if let Err(error) = outcome {
        tracing::debug!(client.address = %peer.address, %error, "connection ended early");
    }
}

/// A connection whose protocol is known.
struct Opened {
    stream: Stream,
    /// Already read from it.
    early: BytesMut,
    h2: bool,
}

/// Does the TLS handshake; ALPN selects the protocol. `None` if the gate stops meanwhile, or plain HTTP was refused.
async fn shake_hands<S: Service>(
    mut socket: Socket,
    tls: &Tls,
    peer: &Rc<Peer>,
    shared: &Shared<S>,
) -> io::Result<Option<Opened>> {
    peer.deadline().set(peer.timeouts().tls_handshake);
    let hello = hello::read(&mut socket);
    let hello = within(peer.deadline(), &shared.drain, hello).await;
    let accepted = match hello {
        None => return Ok(None),
        Some(hello) => match hello? {
            Hello::Tls(accepted) => accepted,
            Hello::Plain(early) => {
                refuse_plain_http(socket, early, peer, shared).await?;
                return Ok(None);
            }
        },
    };
    let handshake = StartHandshake::from_parts(*accepted, socket);
    let handshake = handshake.into_stream(tls.current().config.clone());
    let handshake = within(peer.deadline(), &shared.drain, handshake);
    let stream = handshake.await.ok_or(io::ErrorKind::TimedOut)??;
    peer.deadline().set(peer.timeouts().request_header);
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Some(Opened { stream: Stream::Tls(Box::new(stream)), early: BytesMut::new(), h2 }))
}

/// Refuses plain HTTP on a TLS port.
async fn refuse_plain_http<S: Service>(
    mut socket: Socket,
    early: BytesMut,
    peer: &Rc<Peer>,
    shared: &Shared<S>,
) -> io::Result<()> {
    shared.connections.spoke_plain_http(peer.address);
    let (deadline, drain) = (peer.deadline(), &shared.drain);
    deadline.set(peer.timeouts().request_header);
    let refused = hello::refuse(&mut socket, early, peer, shared);
    within(deadline, drain, refused).await.ok_or(io::ErrorKind::TimedOut)??;
    // With unread bytes, closing would reset the connection, and the client might lose the response.
    deadline.set(LINGER);
    let mut sink = tokio::io::sink();
    let rest = tokio::io::copy(&mut socket, &mut sink);
    within(deadline, drain, rest).await.map_or(Ok(()), |read| read.map(drop))
}

/// Detects the protocol of a plain socket by its first bytes. `None` if the client sends nothing before it disconnects, its deadline
/// passes, or the gate stops.
async fn detect<S>(socket: Socket, peer: &Peer, shared: &Shared<S>) -> io::Result<Option<Opened>> {
    peer.deadline().set(peer.timeouts().request_header);
    let mut stream = Stream::Plain(socket);
    let mut early = BytesMut::new();
    let sniffed = poll_fn(|cx| poll_sniff(&mut stream, &mut early, &shared.scratch, cx));
    let sniffed = within(peer.deadline(), &shared.drain, sniffed).await;
    let h2 = match sniffed {
        Some(sniffed) => sniffed?,
        // An incomplete HTTP/2 preface: HTTP/1.1 sends the refusal.
        None if !early.is_empty() && shared.drain.phase() < Phase::Replaced => Some(false),
        None => None,
    };
    Ok(h2.map(|h2| Opened { stream, early, h2 }))
}

/// Whether the client uses HTTP/2 with prior knowledge; `None` if it disconnects without a byte.
fn poll_sniff(
    stream: &mut Stream,
    early: &mut BytesMut,
    scratch: &Scratch,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<bool>>> {
    loop {
        let known = early.len().min(H2_PREFACE.len());
        if known > 0 && early[..known] != H2_PREFACE[..known] {
            return Poll::Ready(Ok(Some(false)));
        }
        if known == H2_PREFACE.len() {
            return Poll::Ready(Ok(Some(true)));
        }
        let mut scratch = scratch.borrow_mut();
        let mut buf = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            return Poll::Ready(Ok((!early.is_empty()).then_some(false)));
        }
        early.extend_from_slice(buf.filled());
    }
}

async fn serve_http<S: Service>(
    opened: Opened,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<()> {
    let Opened { stream, early, h2 } = opened;
    match h2 {
        // Boxed, like the handshake.
        true => Box::pin(http2::serve(stream, early, peer, shared)).await,
        false => {
            // Boxed, and dropped before a tunnel begins, which may last for hours.
            #[cfg(not(feature = "hyper-http1"))]
            let handed_over = Box::pin(http1::serve(stream, early, peer, shared)).await?;
            #[cfg(feature = "hyper-http1")]
            let handed_over = match shared.by_hyper {
                true => Box::pin(super::http1_by_hyper::serve(stream, early, peer, shared)).await?,
                false => Box::pin(http1::serve(stream, early, peer, shared)).await?,
            };
            if let Some((takeover, io)) = handed_over {
                takeover(io).await;
            }
            Ok(())
        }
    }
}
