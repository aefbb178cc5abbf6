//! WebSocket ping-pong.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::pace::{Pace, Turns};

/// The longest payload of a frame with the shortest header.
const MESSAGE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc";

/// There are many sockets, and messages are short.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0)
}

pub(crate) async fn load(target: SocketAddr, pace: Pace) -> anyhow::Result<u64> {
    pace.run(|turns| messages(target, turns)).await
}

async fn messages(target: SocketAddr, turns: Turns) -> anyhow::Result<()> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(
        format!("ws://{target}/ws"),
        stream,
        Some(config()),
    )
    .await?;
    while turns.take() {
        socket.send(Message::text(MESSAGE)).await?;
        let answer = socket.next().await.context("the socket ended")??;
        ensure!(answer == Message::text(MESSAGE), "another message came back");
        turns.complete();
    }
    socket.close(None).await?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}
