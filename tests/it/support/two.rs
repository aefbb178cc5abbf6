//! A host name with two addresses, the first of which does not respond.

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;

use socket2::{Domain, SockAddr, Socket, Type};

/// The name. A gate with this host in its configuration resolves it to `::1` and `127.0.0.1`, in this order.
pub(crate) const TWO: &str = "two.test";

/// The hosts file for the gate.
pub(crate) const HOSTS: &str = "::1 two.test\n127.0.0.1 two.test\n127.0.0.1 localhost\n";

/// `license-gate` with the file at `$HOSTS` as its `/etc/hosts`.
pub(crate) fn named() -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$HOSTS\" /etc/hosts && exec \"$0\" \"$@\"";
    command.args(["--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(env!("CARGO_BIN_EXE_license-gate"));
    command
}

/// A listener at `[::1]` with a full backlog: a connect gets no answer.
pub(crate) struct Dead {
    _sockets: Vec<Socket>,
}

impl Dead {
    /// On the same port as a listener at `127.0.0.1`.
    pub(crate) fn beside(port: u16) -> Self {
        let address = SockAddr::from(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
        let socket = || Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
        let listener = socket();
        listener.set_reuse_address(true).expect("set");
        listener.bind(&address).expect("the same port is free");
        listener.listen(0).expect("listening");
        let mut sockets = vec![listener];
        // One connection that is established, and those that wait behind it.
        for _ in 0..4 {
            let client = socket();
            client.set_nonblocking(true).expect("set");
            let _ = client.connect(&address);
            sockets.push(client);
        }
        Self { _sockets: sockets }
    }
}
