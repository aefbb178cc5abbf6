//! Listening sockets: TCP, Unix, and those that systemd passes.
//!
//! Each worker has its own TCP socket on each address (`SO_REUSEPORT`): the kernel distributes connections, and workers share nothing.
//! Of a Unix socket, and of a socket from systemd, every worker has a clone. Socket options are set on the listener; accepted sockets
//! inherit them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::{Listen, ListenAddress, Scheme};
use crate::socket::keep_alive;

const BACKLOG: i32 = 4096;

/// One listening address: a socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the actual port.
    pub place: ListenAddress,
    /// With or without TLS; `None`: with TLS while there is a certificate.
    pub scheme: Option<Scheme>,
    /// One socket per worker.
    pub sockets: Vec<Listener>,
    /// Whether systemd has passed them: they stay open after the end of this process.
    is_inherited: bool,
    /// Removes the file of a Unix socket on drop.
    _file: Option<SocketFile>,
}

impl Bound {
    /// Takes the sockets out, one for each worker.
    pub fn shares(&mut self) -> impl Iterator<Item = Share> + '_ {
        let (scheme, owners) = (self.scheme, (!self.is_inherited).then(Arc::default));
        self.sockets.drain(..).map(move |socket| Share { socket, scheme, owners: owners.clone() })
    }
}

/// A worker's socket on one address.
#[derive(Debug)]
pub struct Share {
    /// The socket.
    pub socket: Listener,
    /// With or without TLS; `None`: with TLS while there is a certificate.
    pub scheme: Option<Scheme>,
    /// Held by all workers that share the address. `None`: the socket stays open after the end of this process, with the clients in its
    /// queue.
    pub owners: Option<Arc<()>>,
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl Listener {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }
}

/// Sockets that systemd passed to this process (`sd_listen_fds(3)`), by name.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, Listener)>);

impl Inherited {
    /// Takes them over. Call it once, before threads are started: it changes the environment.
    ///
    /// # Errors
    /// If one is not a listening stream socket.
    pub fn take() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..passed.len() {
            let name = names.next().unwrap_or("unknown").to_owned();
            sockets.extend(inherited(&mut passed, at)?.map(|socket| (name, socket)));
        }
        Ok(Self(sockets))
    }

    fn named(&mut self, name: &str) -> io::Result<Vec<Listener>> {
        let all = std::mem::take(&mut self.0);
        let (found, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(own, _)| own == name);
        self.0 = others;
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, self.missing())),
            false => Ok(found.into_iter().map(|(_, socket)| socket).collect()),
        }
    }

    fn missing(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        match names.is_empty() {
            true => "systemd passed no socket at all".to_owned(),
            false => {
                format!("systemd passed no socket of that name; it passed {}", names.join(", "))
            }
        }
    }
}

fn inherited(passed: &mut ListenFd, at: usize) -> io::Result<Option<Listener>> {
    if let Ok(found) = passed.take_unix_listener(at) {
        found.as_ref().map(|socket| is_listening(&SockRef::from(socket))).transpose()?;
        return Ok(found.map(Listener::Unix));
    }
    let found = passed.take_tcp_listener(at)?;
    if let Some(socket) = &found {
        is_listening(&SockRef::from(socket))?;
        options(&SockRef::from(socket))?;
    }
    Ok(found.map(Listener::Tcp))
}

/// With `Accept=yes`, systemd passes accepted connections instead.
fn is_listening(socket: &Socket) -> io::Result<()> {
    match socket.is_listener()? {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a socket from systemd is not listening; set Accept=no",
        )),
    }
}

/// Binds `listen` for `workers` workers. If it names sockets from systemd, all of that name are taken out of `inherited`.
///
/// # Errors
/// The system's: the address is in use or not local, the path exists, there is no socket of that name.
pub fn bind(listen: &Listen, workers: usize, inherited: &mut Inherited) -> io::Result<Vec<Bound>> {
    // A peer on a Unix socket is on this machine: plain, unless TLS is configured explicitly.
    let default = |socket: &Listener| match socket {
        Listener::Tcp(_) => None,
        Listener::Unix(_) => Some(Scheme::Http),
    };
    let bound = |place, sockets: Vec<Listener>, file| {
        let scheme = listen.scheme.or_else(|| sockets.first().and_then(default));
        let is_inherited = matches!(listen.place, ListenAddress::Systemd(_));
        Bound { place, scheme, sockets, is_inherited, _file: file }
    };
    Ok(match &listen.place {
        ListenAddress::Tcp(address) => {
            let (address, sockets) = tcp(*address, workers)?;
            vec![bound(ListenAddress::Tcp(address), sockets, None)]
        }
        ListenAddress::Unix(path) => {
            let (socket, file) = unix_listener(path)?;
            vec![bound(listen.place.clone(), clones(socket, workers)?, Some(file))]
        }
        ListenAddress::Systemd(name) => {
            let sockets = inherited.named(name)?.into_iter().map(|socket| {
                let place = place_of(&socket).unwrap_or_else(|| listen.place.clone());
                Ok(bound(place, clones(socket, workers)?, None))
            });
            sockets.collect::<io::Result<_>>()?
        }
    })
}

/// The address of an inherited socket.
fn place_of(socket: &Listener) -> Option<ListenAddress> {
    match socket {
        Listener::Tcp(socket) => socket.local_addr().ok().map(ListenAddress::Tcp),
        Listener::Unix(socket) => {
            let address = socket.local_addr().ok()?;
            address.as_pathname().map(|path| ListenAddress::Unix(path.to_owned()))
        }
    }
}

fn clones(socket: Listener, workers: usize) -> io::Result<Vec<Listener>> {
    match &socket {
        Listener::Tcp(socket) => socket.set_nonblocking(true)?,
        Listener::Unix(socket) => socket.set_nonblocking(true)?,
    }
    let mut sockets = vec![socket];
    while sockets.len() < workers {
        sockets.push(sockets[0].try_clone()?);
    }
    Ok(sockets)
}

fn tcp(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<Listener>)> {
    if address.port() != 0 {
        // SO_REUSEPORT would share the port with any other process of the same user; binding without it fails instead. This socket
        // does not listen: its clients would be reset.
        drop(tcp_socket(address, false)?);
    }
    let first = listening(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![Listener::Tcp(first)];
    while sockets.len() < workers {
        sockets.push(Listener::Tcp(listening(address)?));
    }
    Ok((address, sockets))
}

/// What to do if [`lacks_privilege`].
pub const PRIVILEGED: &str = "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit) or a socket from systemd; or choose a higher port";

/// Whether this process lacks the privilege for the port of `address`. Does not listen; false if the port is in use.
pub fn lacks_privilege(address: SocketAddr) -> bool {
    tcp_socket(address, true).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// An explanation of a failed bind, or what to do, in parentheses; empty if the error says enough.
pub fn bind_remedy(place: &ListenAddress, error: &io::Error) -> String {
    let user = rustix::process::geteuid().as_raw();
    match (place, error.kind()) {
        (ListenAddress::Tcp(_), io::ErrorKind::PermissionDenied) => format!(" ({PRIVILEGED})"),
        (ListenAddress::Unix(_), io::ErrorKind::PermissionDenied) => {
            format!(
                " (this process runs as user {user}, which must be able to write the directory)"
            )
        }
        (_, io::ErrorKind::AddrInUse) => " (another process listens there)".to_owned(),
        (ListenAddress::Tcp(_), io::ErrorKind::AddrNotAvailable) => {
            " (it is not an address of this machine)".to_owned()
        }
        _ => String::new(),
    }
}

fn listening(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = tcp_socket(address, true)?;
    options(&socket)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Options that accepted TCP sockets inherit.
fn options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    keep_alive(socket)
}

/// The file of a Unix socket of ours. Removed when this is dropped, unless another socket has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: a later process may have replaced the file.
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path).is_ok_and(|found| id(&found) == self.id);
        if own {
            // If this fails, the next process replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn id(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Listens on a Unix socket at `path`, non-blocking, in place of one that nobody listens on. Its mode is what the umask leaves of 0777.
///
/// # Errors
/// The system's; also if `path` is in use or no socket.
pub fn unix_listener(path: &Path) -> io::Result<(Listener, SocketFile)> {
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), id: id(&fs::symlink_metadata(path)?) };
    socket.listen(BACKLOG)?;
    Ok((Listener::Unix(socket.into()), file))
}

/// Removes the socket of an earlier process, if nothing listens on it.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket has this path",
            ));
        }
        Ok(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // A full backlog means that a process listens.
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Err(error) => Err(error),
    }
}
