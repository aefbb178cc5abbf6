//! What is made of files, and made anew when their content changes: the last good version is in use meanwhile.
//!
//! Content is compared, neither names nor times: a mounted secret changes by the swap of a symbolic link, and a pair of
//! files is written one after the other. What cannot be used is told once, not at every look.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;

use super::{Error, File, Files};
use crate::clock::{Clock, UnixTime};
use crate::text::chain;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// Files, and what is made of them.
pub trait FromFiles {
    /// What is made.
    type Made;

    /// What the log calls it.
    const NAME: &'static str;

    /// The files that [`make`](Self::make) looks at.
    fn paths(&self) -> Vec<&Path>;

    /// Makes it of the files' content.
    ///
    /// # Errors
    /// [`Error`], which names the file at fault.
    fn make(&self, files: &Files) -> Result<Self::Made, Error>;

    /// When what was made loses its worth, if it does.
    fn end(_: &Self::Made) -> Option<UnixTime> {
        None
    }
}

/// The version in use of what a [`FromFiles`] makes.
#[derive(Debug)]
pub struct Watched<S: FromFiles> {
    source: S,
    current: ArcSwap<S::Made>,
    /// Of the content last looked at, good or bad.
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

    /// The version in use.
    pub fn current(&self) -> Arc<S::Made> {
        self.current.load_full()
    }

    /// Takes changed content into use, and says so in the log; `always` does without a change too. Blocks for as long
    /// as the file system does.
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
                    "{} was not reloaded: the former stays in use",
                    S::NAME
                );
            }
        }
    }
}

/// Logs that `made` has ended: whether it has. It is served all the same, because some clients accept it.
fn warn_of_end<S: FromFiles>(made: &S::Made) -> bool {
    let Some(end) = S::end(made).filter(|end| *end < Clock::system().now()) else { return false };
    tracing::warn!(event = "certificate.expired", %end, "{} has expired", S::NAME);
    true
}

/// Looks at the files for ever, off the runtime: a file system that hangs holds up nothing else.
pub async fn watch<S>(watched: Arc<Watched<S>>)
where
    S: FromFiles<Made: Send + Sync> + Send + Sync + 'static,
{
    loop {
        tokio::time::sleep(INTERVAL).await;
        let watched = watched.clone();
        // A look that panicked has been logged; the next one may not.
        let _ = tokio::task::spawn_blocking(move || watched.look(false)).await;
    }
}

/// What the files hold, and a digest of it or of what kept it from being read.
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
