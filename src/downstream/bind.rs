//! Listening sockets: TCP, Unix, and those that systemd passes.
//!
//! Each worker has its own TCP socket on each address (`SO_REUSEPORT`): the kernel distributes connections, and workers share nothing.
//! Of a Unix socket, and of a socket from systemd, every worker has a clone. Socket options are set on the listener; accepted sockets
//! inherit them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// The address as it was configured.
    name: String,
    /// At least one socket per worker.
    pub sockets: Vec<Listener>,
    /// Whether systemd has passed them: they stay open after the end of this process.
    is_inherited: bool,
    /// Removes the file of a Unix socket on drop.
    file: Option<SocketFile>,
    /// The distinct sockets, for another process.
    originals: Vec<Listener>,
    is_left: Left,
}

/// Whether the process that takes over does not use an address: this process then closes it.
pub type Left = Arc<AtomicBool>;

impl Bound {
    /// Takes the sockets out. Each worker gets at least one.
    pub fn shares(&mut self) -> impl Iterator<Item = Share> + '_ {
        let (scheme, owners) = (self.scheme, (!self.is_inherited).then(Arc::default));
        let is_left = self.is_left.clone();
        self.sockets.drain(..).map(move |socket| Share {
            socket,
            scheme,
            owners: owners.clone(),
            is_left: is_left.clone(),
        })
    }

    /// Listens on sockets that were only bound so far.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self) -> io::Result<()> {
        for original in &self.originals {
            let socket = SockRef::from(original);
            if !socket.is_listener()? {
                socket.listen(BACKLOG)?;
            }
        }
        Ok(())
    }

    /// See [`Left`].
    pub fn left(&self) -> Left {
        self.is_left.clone()
    }

    /// The distinct sockets, for another process of this gate, and the name that it knows them by.
    pub fn passing(&self) -> (&str, &[Listener]) {
        (&self.name, &self.originals)
    }

    /// Keeps no socket for another process any more, so that the sockets are closed when their workers close them.
    pub fn close(&mut self) {
        self.originals.clear();
    }

    /// Takes the file of a Unix socket over from the former process.
    pub fn take_file_over(&mut self) {
        if let ListenAddress::Unix(path) = &self.place
            && !self.is_inherited
            && self.file.is_none()
        {
            self.file = SocketFile::of(path).ok();
        }
    }

    /// Leaves the file of a Unix socket to another process, if that uses the address.
    pub fn leave_file(&mut self) {
        if !self.is_left.load(Ordering::Relaxed)
            && let Some(file) = self.file.take()
        {
            file.leave();
        }
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
    /// See [`Left`].
    pub is_left: Left,
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Listener {
    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// The system's.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }
}

/// Sockets that this process was started with: from systemd (`sd_listen_fds(3)`), or from the process that it replaces.
#[derive(Debug, Default)]
pub struct Inherited {
    systemd: Vec<(String, Listener)>,
    /// One entry for each address of the former process.
    former: Vec<Former>,
    /// Ports of the former process.
    ports: Vec<u16>,
    /// Numbers of the addresses that were taken out.
    taken: Vec<usize>,
    /// Whether a former process still serves.
    is_successor: bool,
}

/// An address of the former process.
#[derive(Debug)]
struct Former {
    number: usize,
    name: String,
    sockets: Vec<Listener>,
}

/// Names the sockets of the former process, a line for each, in the order of their descriptors.
pub const FORMER_SOCKETS: &str = "GATE_FORMER_SOCKETS";

impl Inherited {
    /// Takes over those from systemd. Call it once, before threads are started: it changes the environment.
    ///
    /// # Errors
    /// If one is not a listening stream socket.
    pub fn take() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut passed = ListenFd::from_env();
        let mut systemd = Vec::new();
        for at in 0..passed.len() {
            let name = names.next().unwrap_or("unknown").to_owned();
            systemd.extend(inherited(&mut passed, at)?.map(|socket| (name, socket)));
        }
        Ok(Self { systemd, ..Self::default() })
    }

    /// Takes over those of the former process.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_former() -> io::Result<Self> {
        let names = std::env::var(FORMER_SOCKETS).unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut all = Self { is_successor: true, ..Self::default() };
        for (at, line) in (0..passed.len()).zip(names.lines()) {
            let (number, name) = line.split_once(' ').unwrap_or_default();
            let Some(socket) = inherited(&mut passed, at)? else { continue };
            let number = number.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if let Listener::Tcp(socket) = &socket {
                all.ports.push(socket.local_addr()?.port());
            }
            match all.former.last_mut().filter(|former| former.number == number) {
                Some(former) => former.sockets.push(socket),
                None => {
                    let (name, sockets) = (name.to_owned(), vec![socket]);
                    all.former.push(Former { number, name, sockets });
                }
            }
        }
        Ok(all)
    }

    /// Takes out the sockets of the former process with this name, for one address.
    pub fn former(&mut self, name: &str) -> Option<Vec<Listener>> {
        let name = escaped(name);
        let at = self.former.iter().position(|former| former.name == name)?;
        let Former { number, sockets, .. } = self.former.remove(at);
        self.taken.push(number);
        Some(sockets)
    }

    /// The number of sockets that were not taken out.
    pub fn sockets(&self) -> usize {
        self.systemd.len() + self.former.iter().map(|former| former.sockets.len()).sum::<usize>()
    }

    /// The numbers of the former addresses that were taken out.
    pub fn taken(&self) -> &[usize] {
        &self.taken
    }

    fn named(&mut self, name: &str) -> io::Result<Vec<Listener>> {
        let all = std::mem::take(&mut self.systemd);
        let (found, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(own, _)| own == name);
        self.systemd = others;
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, self.missing())),
            false => Ok(found.into_iter().map(|(_, socket)| socket).collect()),
        }
    }

    fn missing(&self) -> String {
        let names: Vec<&str> = self.systemd.iter().map(|(name, _)| &**name).collect();
        match names.is_empty() {
            true => "systemd passed no socket at all".to_owned(),
            false => {
                format!("systemd passed no socket of that name; it passed {}", names.join(", "))
            }
        }
    }
}

/// A name without line breaks, as [`FORMER_SOCKETS`] has it.
pub fn escaped(name: &str) -> String {
    name.escape_debug().to_string()
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

/// Binds `listen` for `workers` workers. Sockets of that address are taken out of `inherited`; `role` distinguishes addresses of
/// different settings.
///
/// # Errors
/// The system's: the address is in use or not local, the path exists, there is no socket of that name.
pub fn bind(
    listen: &Listen,
    role: &str,
    workers: usize,
    inherited: &mut Inherited,
) -> io::Result<Vec<Bound>> {
    // A peer on a Unix socket is on this machine: plain, unless TLS is configured explicitly.
    let default = |socket: &Listener| match socket {
        Listener::Tcp(_) => None,
        Listener::Unix(_) => Some(Scheme::Http),
    };
    let name = format!("{role} {}", listen.place);
    let bound = |place, originals: Vec<Listener>, file| {
        let scheme = listen.scheme.or_else(|| originals.first().and_then(default));
        let is_inherited = matches!(listen.place, ListenAddress::Systemd(_));
        let sockets = clones(&originals, workers)?;
        let name = name.clone();
        let is_left = Left::default();
        Ok(Bound { place, scheme, name, sockets, is_inherited, file, originals, is_left })
    };
    Ok(match &listen.place {
        ListenAddress::Tcp(address) => {
            let (address, sockets) = match inherited.former(&name) {
                Some(sockets) => tcp_again(sockets, workers)?,
                None => tcp(*address, workers, inherited)?,
            };
            vec![bound(ListenAddress::Tcp(address), sockets, None)?]
        }
        ListenAddress::Unix(path) => {
            let (sockets, file) = match inherited.former(&name) {
                Some(sockets) => (sockets, None),
                None => {
                    let (socket, file) = unix_listener(path)?;
                    (vec![socket], Some(file))
                }
            };
            vec![bound(listen.place.clone(), sockets, file)?]
        }
        ListenAddress::Systemd(systemd) => {
            let mut groups: Vec<_> = std::iter::from_fn(|| inherited.former(&name)).collect();
            if groups.is_empty() {
                groups.extend(inherited.named(systemd)?.into_iter().map(|socket| vec![socket]));
            }
            let groups = groups.into_iter().map(|sockets| {
                let place = sockets.first().and_then(place_of);
                bound(place.unwrap_or_else(|| listen.place.clone()), sockets, None)
            });
            groups.collect::<io::Result<_>>()?
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

/// Another descriptor of each socket, and more until every worker has one.
fn clones(originals: &[Listener], workers: usize) -> io::Result<Vec<Listener>> {
    for original in originals {
        match original {
            Listener::Tcp(socket) => socket.set_nonblocking(true)?,
            Listener::Unix(socket) => socket.set_nonblocking(true)?,
        }
    }
    let number = workers.max(originals.len());
    originals.iter().cycle().take(number).map(Listener::try_clone).collect()
}

/// The sockets of a former process on one address, and more until every worker has its own.
fn tcp_again(
    mut sockets: Vec<Listener>,
    workers: usize,
) -> io::Result<(SocketAddr, Vec<Listener>)> {
    let Some(Listener::Tcp(first)) = sockets.first() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a socket of the former process is not a TCP socket",
        ));
    };
    let address = first.local_addr()?;
    while sockets.len() < workers {
        sockets.push(Listener::Tcp(shared(address, false)?));
    }
    Ok((address, sockets))
}

/// Sockets on `address`. They listen, unless a former process still serves: clients would wait for this one, and be reset if it fails.
fn tcp(
    address: SocketAddr,
    workers: usize,
    Inherited { ports, is_successor, .. }: &Inherited,
) -> io::Result<(SocketAddr, Vec<Listener>)> {
    if address.port() != 0 && !ports.contains(&address.port()) {
        // SO_REUSEPORT would share the port with any other process of the same user; binding without it fails instead. This socket
        // does not listen: its clients would be reset.
        drop(tcp_socket(address, false)?);
    }
    let first = shared(address, !is_successor)?;
    let address = first.local_addr()?;
    let mut sockets = vec![Listener::Tcp(first)];
    while sockets.len() < workers {
        sockets.push(Listener::Tcp(shared(address, !is_successor)?));
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

fn shared(address: SocketAddr, listens: bool) -> io::Result<TcpListener> {
    let socket = tcp_socket(address, true)?;
    options(&socket)?;
    if listens {
        socket.listen(BACKLOG)?;
    }
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
    /// Device and inode: a later process may have replaced the file. `None`: another process removes it.
    id: Option<(u64, u64)>,
}

impl SocketFile {
    /// The file of a socket at `path`.
    ///
    /// # Errors
    /// There is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: Some(id(&fs::symlink_metadata(path)?)) })
    }

    /// Leaves the file to another process.
    pub fn leave(mut self) {
        self.id = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path).is_ok_and(|found| Some(id(&found)) == self.id);
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
    let file = SocketFile::of(path)?;
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
