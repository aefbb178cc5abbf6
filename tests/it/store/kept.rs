//! A model of the store: the stored license, and the former ones that stay.

use super::papers::Paper;

/// A former license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Former {
    pub(super) paper: Paper,
    /// When it was replaced.
    pub(super) at: u64,
    /// Its place in the order of replacement.
    pub(super) number: u64,
}

/// The expected content of a store.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) stored: Option<Paper>,
    /// Newest first.
    pub(super) history: Vec<Former>,
    /// Number of former licenses that stay.
    most: usize,
}

impl Kept {
    /// An empty store with `store.history` = `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { stored: None, history: Vec::new(), most }
    }

    /// Stores `next`, or removes the license (`None`), at `now`. Returns the former licenses that are dropped.
    pub(super) fn put(&mut self, next: Option<Paper>, now: u64) -> Vec<Former> {
        let replaced = std::mem::replace(&mut self.stored, next);
        if let Some(paper) = replaced.filter(|paper| Some(paper) != self.stored.as_ref()) {
            let number = self.history.iter().map(|former| former.number).max().unwrap_or(0) + 1;
            self.history.insert(0, Former { paper, at: now, number });
        }
        let again = |former: &&Former| Some(&former.paper) == self.stored.as_ref();
        let mut gone: Vec<Former> = self.history.iter().filter(again).cloned().collect();
        let rest: Vec<Former> = self.history.iter().filter(|it| !again(it)).cloned().collect();
        // The one that is valid longest stays, whatever its age; of several, the newest.
        let valid = rest.iter().filter(|former| former.paper.is_valid(now));
        let lasting = valid.max_by_key(|former| (former.paper.first_end(), former.number));
        let lasting = lasting.filter(|_| self.most > 0).cloned();
        let stays =
            |place: usize, former: &Former| place < self.most || Some(former) == lasting.as_ref();
        let (mut kept, mut oldest) = (Vec::new(), Vec::new());
        for (place, former) in rest.into_iter().enumerate() {
            if stays(place, &former) { kept.push(former) } else { oldest.push(former) }
        }
        self.history = kept;
        gone.append(&mut oldest);
        gone
    }

    /// Loads `left` at a start: former licenses that a crash left although they were to be dropped.
    pub(super) fn find(&mut self, left: Vec<Former>) {
        self.history.extend(left);
        self.history.sort_by_key(|former| std::cmp::Reverse((former.number, former.at)));
        let mut seen: Vec<Paper> = self.stored.iter().cloned().collect();
        self.history.retain(|former| {
            let is_new = !seen.contains(&former.paper);
            seen.push(former.paper.clone());
            is_new
        });
    }
}
