//! Values that are built from files and rebuilt when the content of a file changes. Until then, and if the new content
//! cannot be used, the last good value stays in use.
//!
//! Contents are compared, not names or times: a mounted secret changes when a symbolic link is swapped, and the two files of
//! a pair are written one after the other. Content that cannot be used is logged once, not at every check.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;

use super::{Error, File, Files};
use crate::clock::{Clock, UnixTime};
use crate::text::chain;

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(2);

/// A value that is built from files.
pub trait FromFiles {
    /// The type of the value.
    type Made;

    /// The name of the value in the log.
    const NAME: &'static str;

    /// The files that [`make`](Self::make) uses.
    fn paths(&self) -> Vec<&Path>;

    /// Builds the value.
    ///
    /// # Errors
    /// [`Error`], which names the file at fault.
    fn make(&self, files: &Files) -> Result<Self::Made, Error>;

    /// When the value expires, if it does.
    fn end(_: &Self::Made) -> Option<UnixTime> {
        None
    }
}

/// The current value of a [`FromFiles`].
#[derive(Debug)]
pub struct Watched<S: FromFiles> {
    source: S,
    current: ArcSwap<S::Made>,
    /// Digest of the content that was read last, good or bad.
    seen: Mutex<Vec<u8>>,
    /// Whether the end of the version in use was logged.
    ended: AtomicBool,
}

impl<S: FromFiles> Watched<S> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(source: S) -> Result<Self, Error> {
        let (digest, files) = read(&source);
        let made = source.make(&files?)?;
        let ended = AtomicBool::new(warn_of_end::<S>(&made));
        Ok(Self { source, current: ArcSwap::from_pointee(made), seen: Mutex::new(digest), ended })
    }

    /// The current value.
    pub fn current(&self) -> Arc<S::Made> {
        self.current.load_full()
    }

    /// Rebuilds the value if the content has changed, or in any case if `always`, and logs the result. Blocks on the file
    /// system.
    pub fn look(&self, always: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (digest, files) = read(&self.source);
        let changed = *seen != digest;
        if !changed && !always {
            if !self.ended.load(Ordering::Relaxed) {
                self.ended.store(warn_of_end::<S>(&self.current.load()), Ordering::Relaxed);
            }
            return;
        }
        *seen = digest;
        match files.and_then(|files| self.source.make(&files)) {
            Ok(made) => {
                let made = Arc::new(made);
                self.current.store(made.clone());
                let end = S::end(&made).map(tracing::field::display);
                tracing::info!(changed, end, "{} was reloaded", S::NAME);
                self.ended.store(warn_of_end::<S>(&made), Ordering::Relaxed);
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    event = "certificate.not_reloaded",
                    error,
                    "{} was not reloaded: the previous one stays in use",
                    S::NAME
                );
            }
        }
    }
}

/// Logs that `made` has expired: whether it has. It is still served: some clients accept it, and without it no client could
/// connect.
fn warn_of_end<S: FromFiles>(made: &S::Made) -> bool {
    let Some(end) = S::end(made).filter(|end| *end < Clock::system().now()) else { return false };
    tracing::warn!(event = "certificate.expired", %end, "{} has expired", S::NAME);
    true
}

/// Reads the files periodically, on a blocking thread: a file system that hangs delays nothing else.
pub async fn watch<S>(watched: Arc<Watched<S>>)
where
    S: FromFiles<Made: Send + Sync> + Send + Sync + 'static,
{
    loop {
        tokio::time::sleep(INTERVAL).await;
        let watched = watched.clone();
        // The panic is logged already; the next check may succeed.
        let _ = tokio::task::spawn_blocking(move || watched.look(false)).await;
    }
}

/// The files, and a digest of their contents or of the errors.
fn read<S: FromFiles>(source: &S) -> (Vec<u8>, Result<Files, Error>) {
    let files: Vec<_> = source.paths().into_iter().map(File::read).collect();
    let mut all = digest::Context::new(&digest::SHA256);
    for file in &files {
        let part = match file {
            Ok(file) => digest::digest(&digest::SHA256, &file.bytes),
            Err(error) => digest::digest(&digest::SHA256, chain(error).as_bytes()),
        };
        all.update(part.as_ref());
    }
    (all.finish().as_ref().to_vec(), files.into_iter().collect::<Result<_, _>>().map(Files))
}
