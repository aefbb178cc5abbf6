//! A WebSocket in Chromium over HTTP/2 (RFC 8441): the browser sends CONNECT, the dashboard gets an upgrade.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

use crate::browser::Browser;
use crate::gate::{Gate, Vendor};

const PAGE: &str = r#"<!doctype html><link rel="icon" href="data:,"><p id="heard"></p><script>
const socket = new WebSocket(location.href.replace(/^http/, 'ws') + 'live', ['one', 'two'])
socket.onopen = () => socket.send('hello')
socket.onmessage = message => {
  document.querySelector('#heard').textContent = `${socket.protocol}: ${message.data}`
  socket.close(1000)
}
socket.onclose = event => { document.title = `closed ${event.code} ${event.wasClean}` }
</script>"#;

#[test]
fn a_websocket_over_http_2_is_an_upgrade_for_the_dashboard() {
    let (address, upgrades) = serve();
    let gate = Gate::before(address, &Vendor::new(), "");
    let browser = Browser::start();
    browser.open(&format!("{}/", gate.secure_url()));
    browser.until("document.querySelector('#heard').textContent === 'two: heard hello'");
    browser.until("document.title === 'closed 1000 true'");

    let head = upgrades.recv().unwrap();
    let has = |line: &str| head.lines().any(|found| found == line);
    assert!(head.starts_with("GET /live HTTP/1.1\r\n"), "{head}");
    assert!(has("connection: upgrade") && has("upgrade: websocket"), "{head}");
    assert!(has(&format!("origin: {}", gate.secure_url())), "{head}");
    // The WebSocket uses the connection of the page.
    gate.logs(|line| (line.contains("/live") && line.contains("HTTP/2")).then_some(()));
    assert_eq!(browser.console_errors(), [""; 0]);
}

/// A dashboard with one page and one echo. Sends the head of each upgrade to the test.
fn serve() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, upgrades) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || attend(socket, &seen));
        }
    });
    (address, upgrades)
}

fn attend(mut socket: TcpStream, seen: &Sender<String>) -> Option<()> {
    loop {
        let head = head(&mut socket)?;
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
        let Some(key) = key else {
            let length = PAGE.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n"
            );
            socket.write_all(format!("{head}{PAGE}").as_bytes()).ok()?;
            continue;
        };
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: two\r\n\r\n"
        );
        socket.write_all(answer.as_bytes()).ok()?;
        seen.send(head).ok()?;
        let mut echo = WebSocket::from_raw_socket(socket, Role::Server, None);
        loop {
            let message = echo.read().ok()?;
            if message.is_text() {
                let heard = format!("heard {}", message.to_text().ok()?);
                echo.send(heard.into()).ok()?;
            }
        }
    }
}

fn head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}
