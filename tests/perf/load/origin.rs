//! The origin: a few paths, answered from memory with one write.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::echo;

const HEAD_BYTES: usize = 16 * 1024;
const BODY_BYTES: usize = 256 * 1024;

/// Complete responses, with their heads.
struct Answers {
    one_kib: Vec<u8>,
    ten_mib: Vec<u8>,
    read: Vec<u8>,
    user: Vec<u8>,
}

/// The kind of a request.
struct Asked {
    path: String,
    length: u64,
    websocket_key: Option<Vec<u8>>,
    close: bool,
}

pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let answers = Rc::new(Answers {
        one_kib: answer("application/octet-stream", &[b'x'; 1024]),
        ten_mib: answer("application/octet-stream", &vec![b'x'; 10 << 20]),
        read: answer("text/plain", b"ok"),
        user: answer(
            "application/json",
            br#"{"login":"admin","isGrafanaAdmin":true,"isDisabled":false}"#,
        ),
    });
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        // A client that disconnects or sends something unknown is closed: the load notices.
        tokio::task::spawn_local(connection(client, answers.clone()));
    }
}

fn answer(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn connection(mut client: TcpStream, answers: Rc<Answers>) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(HEAD_BYTES);
    loop {
        let Some((asked, length)) = request(&mut client, &mut buffer).await? else {
            return Ok(());
        };
        let head = buffer[..length].to_vec();
        buffer.drain(..length);
        if let Some(key) = asked.websocket_key {
            return websocket(client, buffer, &key).await;
        }
        drop_body(&mut client, &mut buffer, asked.length).await?;
        match asked.path.as_str() {
            "/1k" => client.write_all(&answers.one_kib).await?,
            "/10m" => client.write_all(&answers.ten_mib).await?,
            "/upload" => client.write_all(&answers.read).await?,
            "/api/user" => client.write_all(&answers.user).await?,
            "/head" => client.write_all(&answer("text/plain", &head)).await?,
            "/events" => return events(client).await,
            path => bail!("nothing at {path}"),
        }
        if asked.close {
            return Ok(());
        }
    }
}

/// The next head, and its length; `None` if the client has disconnected.
async fn request(
    client: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> anyhow::Result<Option<(Asked, usize)>> {
    loop {
        if let Some(found) = parse(buffer)? {
            return Ok(Some(found));
        }
        ensure!(buffer.len() < HEAD_BYTES, "a long head");
        if client.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn parse(buffer: &[u8]) -> anyhow::Result<Option<(Asked, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(buffer)? else {
        return Ok(None);
    };
    let mut asked = Asked {
        path: head.path.context("no path")?.to_owned(),
        length: 0,
        websocket_key: None,
        close: false,
    };
    for field in head.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            asked.length = std::str::from_utf8(field.value)?.parse()?;
        } else if is("sec-websocket-key") {
            asked.websocket_key = Some(field.value.to_vec());
        } else if is("connection") {
            asked.close = field.value.eq_ignore_ascii_case(b"close");
        }
        ensure!(!is("transfer-encoding"), "a chunked body");
    }
    Ok(Some((asked, length)))
}

/// Reads the complete body before the response.
async fn drop_body(
    client: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: u64,
) -> anyhow::Result<()> {
    let mut left = length;
    let buffered = buffer.len().min(usize::try_from(left)?);
    buffer.drain(..buffered);
    left -= buffered as u64;
    if left == 0 {
        return Ok(());
    }
    let mut scratch = vec![0; BODY_BYTES];
    while left > 0 {
        let wanted = scratch.len().min(usize::try_from(left)?);
        let read = client.read(&mut scratch[..wanted]).await?;
        ensure!(read > 0, "a body was cut");
        left -= read as u64;
    }
    Ok(())
}

/// Ten server-sent events a second, one to a chunk, until the client disconnects.
async fn events(mut client: TcpStream) -> anyhow::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    client.write_all(head.as_bytes()).await?;
    loop {
        client.write_all(b"d\r\ndata: event\n\n\r\n").await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn websocket(mut client: TcpStream, early: Vec<u8>, key: &[u8]) -> anyhow::Result<()> {
    let accept = derive_accept_key(key);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await?;
    let config = Some(echo::config());
    let mut socket =
        WebSocketStream::from_partially_read(client, early, Role::Server, config).await;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
