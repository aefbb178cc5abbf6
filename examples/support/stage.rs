//! Runs servers in threads, for a program with several servers.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread::{Builder, JoinHandle};

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::http_support::block_on;

/// A server that stops when dropped.
pub(crate) struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Binds `address`, port 0 for a free one, and runs `server` in a thread called `name`.
    pub(crate) fn start<S: Future<Output = ()>>(
        name: &str,
        address: SocketAddr,
        server: impl FnOnce(TcpListener) -> S + Send + 'static,
    ) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            let work = async move {
                let listener = TcpListener::from_std(listener)?;
                tokio::select! {
                    () = server(listener) => {}
                    _ = stopped => {}
                }
                Ok::<_, io::Error>(())
            };
            // Without a runtime, nothing is served, and connections are refused.
            let _ = block_on(work);
        };
        let thread = Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
