//! What the addresses of `server.redirect` answer: 308 to `server.root_url`, and the challenges of an ACME client.
//!
//! Scheme and host of `Location` are always those of `server.root_url`, whatever the request names; path and query are the
//! request's. A challenge (RFC 8555 section 8.3) is a small regular file below `server.acme_dir`, where the webroot method of
//! certbot and other clients writes it. It is read for each request, on a blocking thread: a file system may hang.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::failures::Redirected;
use crate::downstream::{ExternalScheme, Peer, RawTarget, RealClient, Scheme};
use crate::license::RootUrl;
use crate::message::RequestHead;
use crate::problem::Problem;

/// Path of a challenge, before its name.
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// Directories of that path, below the webroot.
const DIRECTORIES: [&str; 2] = [".well-known", "acme-challenge"];

/// A challenge is shorter than 200 bytes.
const MAX_CHALLENGE_BYTES: u64 = 64 * 1024;

/// Most challenges that are read at the same time, in all workers.
const MAX_READS: usize = 4;

/// How long a request waits for its file.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// ASCII characters that a URL does not contain as they are (RFC 3986 section 2). Browsers read `\` as `/`.
const NOT_IN_URL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Answers the requests of the redirect listeners. Clones share the limit of reads.
#[derive(Clone, Debug)]
pub struct Redirect {
    root_url: Arc<RootUrl>,
    challenges: Option<Challenges>,
}

#[derive(Clone, Debug)]
struct Challenges {
    webroot: Arc<Path>,
    reads: Arc<Semaphore>,
}

impl Redirect {
    /// Redirects to `root_url`, and serves challenges from `webroot`.
    pub fn new(root_url: &RootUrl, webroot: Option<&Path>) -> Self {
        let challenges = webroot.map(|webroot| Challenges {
            webroot: webroot.into(),
            reads: Arc::new(Semaphore::new(MAX_READS)),
        });
        Self { root_url: Arc::new(root_url.clone()), challenges }
    }

    /// What a request gets.
    pub(super) fn kind(&self, head: &RequestHead) -> Redirected {
        match &self.challenges {
            Some(_) if head.uri.path().starts_with(CHALLENGES) => Redirected::Challenge,
            _ => Redirected::Elsewhere,
        }
    }

    /// The response to a request of `client` on the connection of `peer`. Its head was checked.
    ///
    /// # Errors
    /// 404, 405, 500 or 503 for a challenge; 508 if the redirect would lead to the same URL.
    pub(super) async fn answer(
        &self,
        head: &RequestHead,
        client: RealClient,
        peer: &Peer,
    ) -> Result<Response<Bytes>, Problem> {
        if let Some(challenges) = &self.challenges
            && let Some(name) = head.uri.path().strip_prefix(CHALLENGES)
        {
            return challenges.answer(&head.method, name).await;
        }
        if self.is_loop(head, client, peer) {
            let message = "The request would be redirected to its own URL: the proxy in front must forward it to an address of server.listen.";
            let problem = Problem::new(StatusCode::LOOP_DETECTED, "redirect.loop", message);
            return Err(problem.proxy_error("proxy_loop_detected"));
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        response.headers_mut().insert(LOCATION, self.location(head)?);
        Ok(response)
    }

    /// Whether a trusted proxy received the request at `server.root_url`.
    fn is_loop(&self, head: &RequestHead, client: RealClient, peer: &Peer) -> bool {
        let ExternalScheme::Known(scheme) = client.scheme(peer, &head.headers) else {
            return false;
        };
        let external = client.external(&head.headers);
        let authority = || head.uri.authority().map(|authority| authority.as_str().as_bytes());
        let sent = || head.headers.get(&HOST).or_else(authority);
        let Some(host) = external.host.as_deref().or_else(sent) else { return false };
        let default: &[u8] = if scheme == Scheme::Https { b":443" } else { b":80" };
        let host = host.strip_suffix(default).unwrap_or(host);
        scheme.as_str() == self.root_url.scheme()
            && host.eq_ignore_ascii_case(self.root_url.host_header().as_bytes())
    }

    /// The target of the request at `server.root_url`.
    fn location(&self, head: &RequestHead) -> Result<HeaderValue, Problem> {
        let raw = head.extensions.get::<RawTarget>().map(RawTarget::as_str);
        let sent = raw.or_else(|| head.uri.path_and_query().map(PathAndQuery::as_str));
        // A `*` has no path. Anything but a path behind the host could become a part of the host.
        let target = sent.filter(|target| target.starts_with(['/', '?'])).unwrap_or("/");
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = utf8_percent_encode(target, NOT_IN_URL);
        let location = format!("{}{slash}{target}", self.root_url.origin());
        HeaderValue::try_from(location).map_err(|error| {
            let message = "The request target cannot be redirected: it is not part of a URL.";
            Problem::bad_request("request.target-malformed", message).caused_by(error)
        })
    }
}

impl Challenges {
    async fn answer(&self, method: &Method, name: &str) -> Result<Response<Bytes>, Problem> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let message = "A challenge can only be read: use GET.";
            let allowed = HeaderValue::from_static("GET, HEAD");
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "acme.method", message);
            return Err(problem.header(ALLOW, allowed));
        }
        if !is_name(name) {
            return Err(Problem::not_found());
        }
        let mut response = Response::new(self.read(name).await?);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    }

    async fn read(&self, name: &str) -> Result<Bytes, Problem> {
        let (webroot, name) = (self.webroot.clone(), name.to_owned());
        // An authority validates from several places at once: more requests than reads wait for their turn.
        let reading = async {
            let permit = self.reads.clone().acquire_owned().await.ok()?;
            let reading = tokio::task::spawn_blocking(move || {
                // Held by the thread, which may outlast the request.
                let _permit = permit;
                read(&webroot, &name)
            });
            Some(reading.await)
        };
        match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Some(Ok(read))) => read.map_err(Problem::from),
            Ok(Some(Err(panicked))) => Err(Problem::from(Unusable::Failed(panicked.into()))),
            Ok(None) | Err(_) => Err(busy()),
        }
    }
}

fn busy() -> Problem {
    let message = "The file of the challenge could not be read in time: try again.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "acme.busy", message)
        .retry_after(1)
        .proxy_error("proxy_internal_error")
}

/// The base64url alphabet (RFC 8555 section 8.3).
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    // The longest name of a file.
    (1..=255).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Why a challenge is not served.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("there is no such file")]
    Missing,
    #[error("a symbolic link is not followed, and a file is not a directory")]
    Link,
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is larger than {MAX_CHALLENGE_BYTES} bytes")]
    Large,
    #[error("a file below server.acme_dir cannot be read")]
    Failed(#[source] io::Error),
}

impl From<Errno> for Unusable {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Missing,
            Errno::LOOP | Errno::NOTDIR => Self::Link,
            // A socket, or a device without a driver.
            Errno::NXIO | Errno::NODEV => Self::NotAFile,
            error => Self::Failed(error.into()),
        }
    }
}

impl From<Unusable> for Problem {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Failed(_) => {
                let message = "The challenge cannot be read: see the log of the gate.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "acme.unreadable", message)
                    .proxy_error("proxy_internal_error")
                    .caused_by(unusable)
            }
            Unusable::Missing | Unusable::Link | Unusable::NotAFile | Unusable::Large => {
                Self::not_found().caused_by(unusable)
            }
        }
    }
}

/// Reads the challenge `name` below `webroot`. Only the path of `webroot` itself may contain symbolic links.
fn read(webroot: &Path, name: &str) -> Result<Bytes, Unusable> {
    // To enter a directory, no permission to list it is needed.
    let enter = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, webroot, enter, Mode::empty())?;
    for inner in DIRECTORIES {
        dir = openat(dir.as_fd(), inner, enter | OFlags::NOFOLLOW, Mode::empty())?;
    }
    // Without `NONBLOCK`, opening a pipe waits for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(dir.as_fd(), name, flags | OFlags::NOCTTY, Mode::empty())?);
    if !file.metadata().map_err(Unusable::Failed)?.is_file() {
        return Err(Unusable::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_CHALLENGE_BYTES + 1).read_to_end(&mut bytes).map_err(Unusable::Failed)?;
    match bytes.len() as u64 {
        0..=MAX_CHALLENGE_BYTES => Ok(bytes.into()),
        _ => Err(Unusable::Large),
    }
}
