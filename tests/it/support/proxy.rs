//! A corporate proxy: opens tunnels for `CONNECT`, forwards requests with absolute URLs, and records its requests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// How a proxy behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Serves everyone.
    Helps,
    /// Serves requests with this `Proxy-Authorization`, and answers others with 407.
    HelpsOnly(&'static str),
    /// Always sends this response, and closes.
    Says(&'static str),
    /// Sends nothing.
    Silent,
}

/// A proxy that listens; its thread ends with the process.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy that resolves no names and connects everyone to `to`.
    pub(crate) fn to(to: SocketAddr, manner: Manner) -> Self {
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let recorded = heads.clone();
        let address = listen(async move |client| serve(client, to, manner, &recorded).await);
        Self { address, heads }
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("a lock").clone()
    }
}

/// Terminates TLS with `config` in front of the server at `to`. Returns the address.
pub(crate) fn tls_before(to: SocketAddr, config: ServerConfig) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    listen(async move |client| {
        let mut client = acceptor.accept(client).await?;
        let mut server = TcpStream::connect(to).await?;
        copy_bidirectional(&mut client, &mut server).await.map(drop)
    })
}

/// Serves each connection at a new address, in a thread that ends with the process.
fn listen<F>(serve: F) -> SocketAddr
where
    F: AsyncFn(TcpStream) -> io::Result<()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let serve = std::rc::Rc::new(serve);
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                let serve = serve.clone();
                // Either side may close early.
                tokio::task::spawn_local(async move { drop(serve(client).await) });
            }
        });
    });
    address
}

async fn serve(
    mut client: TcpStream,
    to: SocketAddr,
    manner: Manner,
    heads: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let head = head(&mut client).await?;
    heads.lock().expect("a lock").push(head.clone());
    let is_helped = match manner {
        Manner::Helps => true,
        Manner::HelpsOnly(credentials) => has_field(&head, "proxy-authorization", credentials),
        Manner::Says(answer) => return client.write_all(answer.as_bytes()).await,
        // Until the client gives up.
        Manner::Silent => return client.read(&mut [0]).await.map(drop),
    };
    if !is_helped {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\
            Proxy-Authenticate: Basic realm=\"proxy\"\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await;
    }
    let mut server = TcpStream::connect(to).await?;
    if head.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n").await?;
    } else {
        server.write_all(forwarded(&head).as_bytes()).await?;
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Reads up to the empty line, and no further.
async fn head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

/// The request for the server: the target without scheme and host, and without fields for the proxy.
fn forwarded(head: &str) -> String {
    let (method, rest) = head.split_once(" http://").expect("a whole URL");
    let (_, rest) = rest.split_once('/').expect("a path");
    let lines = rest.split_inclusive("\r\n");
    let ours = |line: &&str| !line.to_ascii_lowercase().starts_with("proxy-");
    format!("{method} /{}", lines.filter(ours).collect::<String>())
}

/// Whether one line of `head` is the field `name` with exactly this value.
pub(crate) fn has_field(head: &str, name: &str, value: &str) -> bool {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).any(|(_, other)| other == value)
}
