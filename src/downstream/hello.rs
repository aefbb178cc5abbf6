//! The first bytes on a TLS port: a ClientHello, or plain HTTP, which is refused in plain HTTP.

use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::Method;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::Service;
use super::io::Socket;
use super::peer::Peer;
use super::refuse::Refused;
use super::shared::Shared;
use crate::codec::write_field;
use crate::message::Response;

/// The first bytes of a client.
pub(super) enum Hello {
    /// A ClientHello.
    Tls(Box<Accepted>),
    /// Plain HTTP; these bytes were read.
    Plain(BytesMut),
}

/// Reads a whole ClientHello, or the first bytes of plain HTTP. Anything else gets a TLS alert (RFC 8446 section 6).
pub(super) async fn read(socket: &mut Socket) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut is_first = true;
    let begun = poll_fn(|cx| poll(&mut acceptor, &mut is_first, socket, cx)).await?;
    let (error, mut alert) = match begun {
        Begun::Hello(hello) => return Ok(hello),
        Begun::Invalid(invalid) => *invalid,
    };
    let mut bytes = Vec::new();
    alert.write_all(&mut bytes)?;
    socket.write_all(&bytes).await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, error))
}

enum Begun {
    Hello(Hello),
    Invalid(Box<(rustls::Error, AcceptedAlert)>),
}

fn poll(
    acceptor: &mut Acceptor,
    is_first: &mut bool,
    socket: &mut Socket,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Begun>> {
    loop {
        let mut bytes = Bytes { socket: &mut *socket, cx, is_first, plain: None };
        let read = acceptor.read_tls(&mut bytes);
        if let Some(plain) = bytes.plain {
            return Poll::Ready(Ok(Begun::Hello(Hello::Plain(plain))));
        }
        match read {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                return Poll::Ready(Ok(Begun::Hello(Hello::Tls(accepted.into()))));
            }
            Err(invalid) => return Poll::Ready(Ok(Begun::Invalid(invalid.into()))),
        }
    }
}

/// The socket as rustls reads it. If the first byte is a letter, the bytes are kept from rustls: a method begins with a letter, a TLS
/// record does not.
struct Bytes<'a, 'b> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'b>,
    is_first: &'a mut bool,
    plain: Option<BytesMut>,
}

impl Read for Bytes<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buf) {
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            Poll::Ready(read) => read?,
        }
        let bytes = buf.filled();
        if std::mem::replace(self.is_first, false)
            && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        {
            self.plain = Some(bytes.into());
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(bytes.len())
    }
}

/// Refuses plain HTTP that begins with `early`.
pub(super) async fn refuse<S: Service>(
    socket: &mut Socket,
    early: BytesMut,
    peer: &Rc<Peer>,
    shared: &Shared<S>,
) -> io::Result<()> {
    let method = method(socket, early).await?;
    send_refusal(socket, Refused::PlainHttp, method, peer, shared).await
}

/// Sends a refusal in HTTP/1.1, and closes this half of the connection. Does not use `http1`: with a second instance of that module the
/// compiler inlines less of it, which costs every request.
pub(super) async fn send_refusal<S: Service>(
    socket: &mut Socket,
    refused: Refused,
    method: Method,
    peer: &Rc<Peer>,
    shared: &Shared<S>,
) -> io::Result<()> {
    let response = shared.service.refuse(refused, method, peer.clone());
    let Response { status, headers, body, .. } = response;
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    headers.write(|_| true, |line| bytes.extend_from_slice(line));
    if !headers.contains(&CONTENT_LENGTH) {
        write_field(&mut bytes, b"content-length", body.len().to_string().as_bytes());
    }
    write_field(&mut bytes, b"date", &shared.date.now(peer.sweep()));
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    socket.write_all(&bytes).await?;
    socket.shutdown().await
}

/// Longest method that is read; only HEAD changes the response.
const MAX_METHOD_BYTES: usize = 16;

/// The method at the start of `bytes`; GET if there is none.
async fn method(socket: &mut Socket, mut bytes: BytesMut) -> io::Result<Method> {
    loop {
        if let Some(end) = bytes.iter().position(|byte| *byte == b' ') {
            return Ok(Method::from_bytes(&bytes[..end]).unwrap_or_default());
        }
        if bytes.len() >= MAX_METHOD_BYTES || socket.read_buf(&mut bytes).await? == 0 {
            return Ok(Method::GET);
        }
    }
}
