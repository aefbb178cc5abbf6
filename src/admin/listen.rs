//! The address of the admin listener: TCP or a Unix socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener as TokioTcp, UnixListener as TokioUnix};

use crate::downstream::{ListenAddress, Listener, SocketFile, unix_listener};
use crate::socket::Kind;

/// Connections that wait to be accepted: a burst of them must not make the kernel drop a probe's.
const BACKLOG: i32 = 1024;

/// Where probes and metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A Unix socket at this path. Its mode is what the umask leaves of 0777.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only this machine can connect: a loopback address, also mapped into IPv6, or a Unix socket.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<Listen> for ListenAddress {
    fn from(listen: Listen) -> Self {
        match listen {
            Listen::Tcp(address) => Self::Tcp(address),
            Listen::Unix(path) => Self::Unix(path),
        }
    }
}

impl fmt::Display for Listen {
    /// `127.0.0.1:9180`, or `unix:/path`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Binds `listen`, or takes the `former` socket of it: the socket, where it is with its real port, and the file of a Unix socket.
pub(super) fn bind(
    listen: &Listen,
    former: Option<Listener>,
) -> io::Result<(Listener, Listen, Option<SocketFile>)> {
    match (listen, former) {
        (Listen::Tcp(_), Some(Listener::Tcp(listener))) => {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((Listener::Tcp(listener), address.into(), None))
        }
        (Listen::Unix(_), Some(listener)) => Ok((listener, listen.clone(), None)),
        (Listen::Tcp(address), _) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&(*address).into())?;
            socket.listen(BACKLOG)?;
            let listener = TcpListener::from(socket);
            let address = listener.local_addr()?;
            Ok((Listener::Tcp(listener), address.into(), None))
        }
        (Listen::Unix(path), None) => {
            let (listener, file) = unix_listener(path)?;
            Ok((listener, listen.clone(), Some(file)))
        }
    }
}

/// A listening socket on the runtime.
#[derive(Debug)]
pub(super) enum Accepting {
    Tcp(TokioTcp),
    Unix(TokioUnix),
}

impl Accepting {
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(socket) => Self::Tcp(TokioTcp::from_std(socket)?),
            Listener::Unix(socket) => Self::Unix(TokioUnix::from_std(socket)?),
        })
    }

    pub(super) async fn accept(&self) -> io::Result<(Kind, Peer)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                Ok((stream.into(), Peer::Tcp(address.ip().to_canonical())))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                // A peer that has left already has none.
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok((stream.into(), Peer::Unix { user }))
            }
        }
    }
}

/// The other end of a connection, as far as the system knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Tcp(IpAddr),
    Unix {
        /// User id of the process that connected.
        user: Option<u32>,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix { user: Some(user) } => write!(out, "unix:user={user}"),
            Self::Unix { user: None } => out.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_unix_sockets_are_local() {
        let cases = [
            ("127.0.0.1:9180", true),
            ("127.8.8.8:9180", true),
            ("[::1]:9180", true),
            ("[::ffff:127.0.0.1]:9180", true),
            ("0.0.0.0:9180", false),
            ("[::]:9180", false),
            ("192.0.2.1:9180", false),
            ("[::ffff:192.0.2.1]:9180", false),
            ("[::127.0.0.1]:9180", false),
        ];
        for (address, expected) in cases {
            let listen = Listen::from(address.parse::<SocketAddr>().expect(address));
            assert_eq!(listen.is_local(), expected, "{address}");
        }
        assert!(Listen::Unix("/run/admin.sock".into()).is_local());
    }
}
