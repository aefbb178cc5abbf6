//! A scripted dashboard: it has users, records its requests, and fails in the ways that a test chooses.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::gate::PATIENCE;

/// The response of a dashboard to a wrong password.
pub(crate) const WRONG_PASSWORD: &str = r#"{"extra":null,"message":"Invalid username or password","messageId":"password-auth.failed","statusCode":401,"traceID":""}"#;

/// The response of a dashboard to an unknown session.
pub(crate) const NO_SESSION: &str = r#"{"extra":null,"message":"Unauthorized","messageId":"session.token.rotate","statusCode":401,"traceID":""}"#;

/// A user of the dashboard.
#[derive(Clone, Debug, Default)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    /// Value of the session cookie; empty: not signed in.
    pub(crate) session: &'static str,
    pub(crate) admin: bool,
    pub(crate) disabled: bool,
    pub(crate) permissions: &'static [&'static str],
}

/// How a path is answered instead of normally.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    /// Exactly this status and body, `Content-Type: application/json`.
    Says(u16, String),
    /// A sign-in page, 200.
    Html,
    /// A redirect to the sign-in page.
    Redirect,
    /// Not until [`Dashboard::release`]; then normally.
    Holds,
    /// Normally, once up to four more requests have come, or after this time: out of order.
    Shuffles(Duration),
    /// The connection is closed without a response.
    HangsUp,
    /// A response that is not HTTP.
    Garbage,
}

/// One request, as received.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
}

/// A dashboard that listens; its threads end with the process.
#[derive(Clone, Debug)]
pub(crate) struct Dashboard {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    users: Vec<User>,
    moods: HashMap<String, Mood>,
    asked: Vec<Asked>,
    released: bool,
    stats: Value,
    downloads: Vec<Sender<Vec<u8>>>,
    /// Requests that wait for a response, by the client in the forwarding fields; and the maximum.
    waiting: HashMap<String, (usize, usize)>,
}

impl Asked {
    /// The value of a field that occurs at most once.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(own, _)| own == name);
        let value = values.next().map(|(_, value)| &**value);
        assert!(values.next().is_none(), "{name} several times in {self:?}");
        value
    }
}

impl Dashboard {
    /// A dashboard with `users`.
    pub(crate) fn knowing(users: &[User]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stats = json!({
            "orgs": 1, "activeUsers": 9, "activeAdmins": 1, "activeEditors": 2, "activeViewers": 6, "activeDevices": 4,
        });
        let state = State { users: users.to_vec(), stats, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Answers `path` (without its query) as `mood` from now on.
    pub(crate) fn mood(&self, path: &str, mood: Mood) {
        let mut state = self.shared.state();
        state.moods.insert(path.to_owned(), mood);
        state.released = false;
    }

    /// Answers everything normally again.
    pub(crate) fn be_good(&self) {
        self.shared.state().moods.clear();
    }

    /// Answers the requests that are held.
    pub(crate) fn release(&self) {
        self.shared.state().released = true;
        self.shared.changed.notify_all();
    }

    /// Changes a user.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut User)) {
        let mut state = self.shared.state();
        change(state.users.iter_mut().find(|user| user.name == name).expect("known"));
    }

    /// Adds a user.
    pub(crate) fn welcome(&self, user: User) {
        self.shared.state().users.push(user);
    }

    /// The maximum of concurrent requests about callers at the address `client`.
    pub(crate) fn most_at_once(&self, client: &str) -> usize {
        self.shared.state().waiting.get(client).map_or(0, |(_, most)| *most)
    }

    /// Every request so far for `path`, with or without a query.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let of_path = |asked: &&Asked| asked.path() == path;
        self.shared.state().asked.iter().filter(of_path).cloned().collect()
    }

    /// The number of all requests.
    pub(crate) fn count(&self) -> usize {
        self.shared.state().asked.len()
    }

    /// Waits until there were this many requests for `path`.
    #[track_caller]
    pub(crate) fn wait_for(&self, path: &str, times: usize) {
        let missing =
            |state: &mut State| state.asked.iter().filter(|a| a.path() == path).count() < times;
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, missing);
        assert!(!waited.expect("a lock").1.timed_out(), "{path} is not asked for {times} times");
    }

    /// Sends `block` to every client of `/download`; an empty block ends the download.
    pub(crate) fn feed(&self, block: &[u8]) {
        self.shared.state().downloads.retain(|download| download.send(block.to_vec()).is_ok());
    }
}

impl Asked {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Status and body.
type Reply = (u16, String);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a lock")
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(asked) = read(&mut reader) {
            let (mood, nth) = self.note(&asked);
            let stream = reader.get_mut();
            let (status, body) = match mood {
                None => match asked.path() {
                    "/download" => return self.download(stream),
                    "/ws" => return echo(reader.into_inner(), &asked),
                    _ => self.reply(&asked),
                },
                Some(Mood::Holds) => {
                    let held = |state: &mut State| !state.released;
                    drop(self.changed.wait_while(self.state(), held).expect("a lock"));
                    self.reply(&asked)
                }
                Some(Mood::Shuffles(most)) => {
                    let missing = |state: &mut State| state.asked.len() < nth + nth * 7 % 5;
                    let waited = self.changed.wait_timeout_while(self.state(), most, missing);
                    drop(waited.expect("a lock"));
                    self.reply(&asked)
                }
                Some(Mood::Says(status, body)) => (status, body),
                Some(Mood::Html) => {
                    return page(stream, "200 OK\r\nContent-Type: text/html");
                }
                Some(Mood::Redirect) => return page(stream, "302 Found\r\nLocation: /login"),
                Some(Mood::Garbage) => return drop(stream.write_all(b"SSH-2.0-x\r\n\r\n")),
                Some(Mood::HangsUp) => return drop(stream.shutdown(Shutdown::Both)),
            };
            self.done(&asked);
            let head = format!("HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n");
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// How to answer, and the number of requests before.
    fn note(&self, asked: &Asked) -> (Option<Mood>, usize) {
        let mut state = self.state();
        if let Some(client) = asked.value("x-forwarded-for") {
            let (waiting, most) = state.waiting.entry(client.to_owned()).or_default();
            *waiting += 1;
            *most = (*most).max(*waiting);
        }
        state.asked.push(asked.clone());
        self.changed.notify_all();
        (state.moods.get(asked.path()).cloned(), state.asked.len())
    }

    /// Counts the response before the gate can receive it.
    fn done(&self, asked: &Asked) {
        let client = asked.value("x-forwarded-for").unwrap_or_default();
        if let Some((waiting, _)) = self.state().waiting.get_mut(client) {
            *waiting -= 1;
        }
    }

    fn reply(&self, asked: &Asked) -> Reply {
        let state = self.state();
        let user = match asked.path() {
            "/api/user" | "/api/access-control/user/permissions" | "/api/admin/stats" => {
                match state.who(asked) {
                    Ok(user) => user,
                    Err(words) => return (401, words.to_owned()),
                }
            }
            path => return (200, json!({ "dashboard": path }).to_string()),
        };
        match asked.path() {
            "/api/user" => (200, identity(user)),
            "/api/admin/stats" if user.admin => (200, state.stats.to_string()),
            "/api/admin/stats" => (403, r#"{"title":"Access denied"}"#.to_owned()),
            _ => {
                let scopes: HashMap<_, _> =
                    user.permissions.iter().map(|action| (action, json!([""]))).collect();
                (200, json!(scopes).to_string())
            }
        }
    }

    fn download(&self, stream: &mut TcpStream) {
        let (feed, blocks): (Sender<Vec<u8>>, Receiver<_>) = channel();
        self.state().downloads.push(feed);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut sent = stream.write_all(head.as_bytes());
        while let (Ok(()), Ok(block)) = (&sent, blocks.recv()) {
            let size = format!("{:x}\r\n", block.len());
            sent = stream.write_all(&[size.as_bytes(), &block, b"\r\n"].concat());
            if block.is_empty() {
                return;
            }
        }
    }
}

impl State {
    /// Basic before the cookie, as in the real dashboard.
    fn who(&self, asked: &Asked) -> Result<&User, &'static str> {
        if let Some(field) = asked.value("authorization") {
            let pair = field.strip_prefix("Basic ").and_then(|pair| STANDARD.decode(pair).ok());
            let pair = pair.and_then(|pair| String::from_utf8(pair).ok()).unwrap_or_default();
            let is = |user: &&User| format!("{}:{}", user.name, user.password) == pair;
            return self.users.iter().find(is).ok_or(WRONG_PASSWORD);
        }
        let cookie = asked.value("cookie").unwrap_or_default();
        let is = |user: &&User| {
            !user.session.is_empty() && cookie == format!("grafana_session={}", user.session)
        };
        self.users.iter().find(is).ok_or(NO_SESSION)
    }
}

fn identity(user: &User) -> String {
    json!({
        "id": 1, "login": user.name, "isGrafanaAdmin": user.admin, "isDisabled": user.disabled, "isExternal": false,
    })
    .to_string()
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut fields = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.split_once(':') else { break };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let asked = Asked { method, target, fields };
    let length = asked.value("content-length").and_then(|length| length.parse().ok());
    reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
    Some(asked)
}

fn page(stream: &mut TcpStream, head: &str) {
    let body = "<!doctype html><title>Sign in</title>";
    let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    drop(stream.write_all(answer.as_bytes()));
}

/// A WebSocket that echoes, until the other side closes it.
fn echo(mut stream: TcpStream, asked: &Asked) {
    let key = asked.value("sec-websocket-key").unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket";
    let head = format!("{head}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    while let Ok(message) = socket.read() {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).is_err()
        {
            return;
        }
    }
}
