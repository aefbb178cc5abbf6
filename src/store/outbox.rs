//! The queue of events to be sent, in `events.json`.
//!
//! The queue is one small file, which each change replaces. It also contains the keys of the last 1000 events that were sent,
//! so that none is sent again after a restart.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::backend::{QueuedEvent, Settled};
use super::durable::{self, Error, io_error};
use super::folder::{Folder, Refusal};
use super::layout::EVENTS;
use crate::clock::UnixTime;

const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Most waiting events, and most keys of sent events.
pub(super) const MAX_EVENTS: usize = 1000;
/// Most events returned at a time.
pub(super) const AT_ONCE: usize = 16;

/// The queue of one directory.
#[derive(Debug)]
pub(super) struct Outbox {
    dir: PathBuf,
    queue: Option<Queue>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Queue {
    waiting: VecDeque<QueuedEvent>,
    // The name that earlier builds wrote.
    #[serde(rename = "told")]
    sent: VecDeque<String>,
}

impl Outbox {
    /// Touches nothing yet.
    pub(super) const fn new(dir: PathBuf) -> Self {
        Self { dir, queue: None }
    }

    /// Queues `event` unless one with the same key is or was in the queue. Returns whether it was queued.
    pub(super) fn post(&mut self, event: &QueuedEvent) -> Result<bool, Error> {
        let known = self.queue()?;
        let is_waiting = known.waiting.iter().any(|waiting| waiting.key == event.key);
        if is_waiting || known.sent.contains(&event.key) {
            return Ok(false);
        }
        let mut queue = known.clone();
        queue.waiting.push_back(event.clone());
        if queue.waiting.len() > MAX_EVENTS {
            tracing::warn!(
                event = "notify.queue_full",
                "too many events wait to be sent: the oldest was dropped"
            );
            queue.waiting.pop_front();
        }
        self.keep(queue).map(|()| true)
    }

    /// Events that are due at `now`, oldest first.
    pub(super) fn due(&mut self, now: UnixTime) -> Result<Vec<QueuedEvent>, Error> {
        let is_due = |waiting: &&QueuedEvent| waiting.due <= now;
        Ok(self.queue()?.waiting.iter().filter(is_due).take(AT_ONCE).cloned().collect())
    }

    /// All waiting events, and the keys of those that were sent, oldest first.
    #[cfg(feature = "postgres")]
    pub(super) fn content(&mut self) -> Result<(Vec<QueuedEvent>, Vec<String>), Error> {
        let queue = self.queue()?;
        Ok((queue.waiting.iter().cloned().collect(), queue.sent.iter().cloned().collect()))
    }

    /// Notes the result of sending the event with this key.
    pub(super) fn settle(&mut self, key: &str, settled: Settled) -> Result<(), Error> {
        let mut queue = self.queue()?.clone();
        let Some(at) = queue.waiting.iter().position(|waiting| waiting.key == key) else {
            return Ok(());
        };
        match settled {
            Settled::Again { due } => {
                let waiting = &mut queue.waiting[at];
                waiting.attempts = waiting.attempts.saturating_add(1);
                waiting.due = due;
            }
            Settled::Done => {
                queue.sent.extend(queue.waiting.remove(at).map(|waiting| waiting.key));
                if queue.sent.len() > MAX_EVENTS {
                    queue.sent.pop_front();
                }
            }
        }
        self.keep(queue)
    }

    fn queue(&mut self) -> Result<&Queue, Error> {
        let queue = match self.queue.take() {
            Some(queue) => queue,
            None => read(&self.dir)?,
        };
        Ok(self.queue.insert(queue))
    }

    fn keep(&mut self, queue: Queue) -> Result<(), Error> {
        let content = serde_json::to_vec(&queue).unwrap_or_default();
        durable::put(&self.dir, EVENTS, &content)?;
        self.queue = Some(queue);
        Ok(())
    }
}

/// Reads the queue that the last run left. A file that is not the gate's own counts as an empty queue; the next write renames
/// it. A file that cannot be parsed is renamed, so that new events can be sent. Needs the lock.
fn read(dir: &Path) -> Result<Queue, Error> {
    let folder = match Folder::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Queue::default()),
        opened => opened.map_err(io_error("open", dir))?,
    };
    let path = folder.at(EVENTS);
    match folder.refusal(EVENTS).map_err(io_error("read", &path))? {
        None | Some(Refusal::Directory) => {}
        Some(_) => return Ok(Queue::default()),
    }
    let content = durable::found(folder.read(EVENTS, MAX_FILE_BYTES), || path.clone())?;
    let Some(content) = content else { return Ok(Queue::default()) };
    if let Ok(queue) = serde_json::from_slice(&content) {
        return Ok(queue);
    }
    let aside = format!("{EVENTS}.bad");
    tracing::warn!(
        event = "notify.queue_damaged",
        "{EVENTS} in the store is not a queue of events; it was moved to {aside}"
    );
    folder.make_way(&aside).map_err(io_error("set aside", &path))?;
    folder.rename(EVENTS, &aside).map_err(io_error("set aside", &path))?;
    Ok(Queue::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str, due: u64) -> QueuedEvent {
        QueuedEvent {
            key: key.into(),
            body: "{}".into(),
            attempts: 0,
            due: UnixTime::from_secs(due),
        }
    }

    fn due(outbox: &mut Outbox, now: u64) -> Vec<String> {
        let due = outbox.due(UnixTime::from_secs(now)).expect("a queue");
        due.into_iter().map(|event| event.key).collect()
    }

    #[test]
    fn an_event_is_sent_once_over_restarts() {
        let home = tempfile::tempdir().expect("a directory");
        let open = || Outbox::new(home.path().into());
        assert!(open().post(&event("a", 5)).expect("kept"));
        assert!(open().post(&event("b", 9)).expect("kept"));
        assert!(!open().post(&event("a", 5)).expect("kept"), "waits already");
        assert_eq!(due(&mut open(), 4), [""; 0]);
        assert_eq!(due(&mut open(), 9), ["a", "b"]);
        let again = Settled::Again { due: UnixTime::from_secs(20) };
        open().settle("a", again).expect("kept");
        open().settle("b", Settled::Done).expect("kept");
        open().settle("unknown", Settled::Done).expect("nothing to do");
        assert_eq!(due(&mut open(), 19), [""; 0]);
        assert_eq!(open().due(UnixTime::from_secs(20)).expect("a queue")[0].attempts, 1);
        assert!(!open().post(&event("b", 0)).expect("kept"), "was sent");
    }

    #[test]
    fn the_file_of_an_earlier_build_is_read_and_written_in_the_same_form() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join(EVENTS);
        let form = |key: &str, attempts| {
            format!(
                r#"{{"waiting":[{{"key":"{key}","body":"{{}}","attempts":{attempts},"due":5}}],"told":["s"]}}"#
            )
        };
        std::fs::write(&file, form("a", 2)).expect("written");
        let mut outbox = Outbox::new(home.path().into());
        let expected = QueuedEvent { attempts: 2, ..event("a", 5) };
        assert_eq!(outbox.due(UnixTime::from_secs(5)).expect("a queue"), [expected]);
        outbox.settle("a", Settled::Again { due: UnixTime::from_secs(5) }).expect("kept");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), form("a", 3));
    }

    #[test]
    fn the_queue_is_bounded_and_the_oldest_goes() {
        let home = tempfile::tempdir().expect("a directory");
        let mut outbox = Outbox::new(home.path().into());
        let full = (0..MAX_EVENTS).map(|number| event(&number.to_string(), 0));
        outbox.keep(Queue { waiting: full.collect(), sent: VecDeque::new() }).expect("kept");
        assert!(outbox.post(&event("new", 0)).expect("kept"));
        assert_eq!(due(&mut outbox, 0).first().map(String::as_str), Some("1"));
    }

    #[test]
    fn a_damaged_queue_is_set_aside() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join(EVENTS), "{\"waiting\":[").expect("written");
        let mut outbox = Outbox::new(home.path().into());
        assert!(outbox.post(&event("a", 0)).expect("kept"));
        let aside = std::fs::read(home.path().join("events.json.bad")).expect("kept");
        assert_eq!(aside, b"{\"waiting\":[");
    }
}
