//! Recovery: what a log says when its records are taken in order. Pure but for reading.

use std::path::{Path, PathBuf};

use super::error::WalError;
use super::index::{EntryPosition, Index};
use super::record::{EntryKind, LogId, Membership, Record, Vote};
use super::segment::{FORMAT_VERSION, Identity, SegmentHead};
use super::walk::{Summary, Walked, walk};
use crate::disk::Disk;

/// What a log remembers.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The last vote.
    pub vote: Option<Vote>,
    /// What was known to be committed; the state machine is replayed up to here before it is read.
    pub committed: Option<LogId>,
    /// Entries up to this one were released.
    pub purged: Option<LogId>,
    /// The newest membership in the log, committed or not.
    pub membership: Option<Membership>,
    /// Where each entry is.
    pub index: Index,
    /// The tear that was cut, if there was one.
    pub cut: Option<Cut>,
    /// The last entry before the oldest segment: released by what stands further on in the log.
    before: Option<LogId>,
}

/// A tear: what a crash left of writes that were never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment file.
    pub file: PathBuf,
    /// Offset in the file from which content was dropped.
    pub offset: u64,
}

impl Recovered {
    /// The last entry, or the last that was released.
    pub fn last(&self) -> Option<LogId> {
        self.index.last().or(self.purged)
    }

    /// Takes one record.
    fn take(&mut self, record: &Record, place: EntryPosition) -> Result<(), &'static str> {
        match record {
            Record::Entry(entry) => {
                if let Some(last) = self.index.last().or(self.purged.max(self.before))
                    && entry.id.index != last.index + 1
                {
                    return Err("an entry does not follow the one before it");
                }
                self.index.push(entry.id.index, place);
                if entry.kind == EntryKind::Membership {
                    let encoded = entry.payload.clone();
                    self.membership = Some(Membership { id: Some(entry.id), encoded });
                }
            }
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Committed(id) => self.committed = Some(*id),
            Record::Truncate(keep) => {
                self.index.truncate(keep.map(|id| id.index));
                if self.before.map(|id| id.index) > keep.map(|id| id.index) {
                    self.before = *keep;
                }
            }
            Record::Purge(id) => {
                self.index.purge(id.index);
                self.purged = self.purged.max(Some(*id));
            }
            Record::Membership(membership) => self.membership = Some(membership.clone()),
        }
        Ok(())
    }

    /// Takes the head of the oldest segment: it stands for everything before.
    fn take_first_head(&mut self, head: &SegmentHead) {
        self.vote = head.vote;
        self.committed = head.committed;
        self.purged = head.purged;
        self.membership.clone_from(&head.membership);
        self.before = head.last.filter(|_| head.base > 0);
    }
}

/// Every segment that was met, oldest first: its base, and the last entry before it.
pub(crate) type SegmentEnds = Vec<(u64, Option<LogId>)>;

/// Reads the whole log.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    identity: Identity,
) -> Result<(Recovered, Summary, SegmentEnds), WalError> {
    let mut recovered = Recovered::default();
    let mut segments: SegmentEnds = Vec::new();
    let mut foreign = None;
    let summary = walk(disk, dir, &mut |walked| {
        match walked {
            Walked::Segment { file, head } => {
                if head.identity != identity {
                    foreign.get_or_insert((file.to_owned(), head.identity));
                }
                if segments.is_empty() {
                    recovered.take_first_head(head);
                }
                segments.push((head.base, head.last));
            }
            Walked::Batch { .. } => {}
            Walked::Record { position, length, seed, record } => {
                let term = match record {
                    Record::Entry(entry) => entry.id.term,
                    _ => 0,
                };
                recovered.take(record, EntryPosition { term, position, length, seed })?;
            }
        }
        Ok(())
    })?;
    if let Some((file, found)) = foreign {
        return Err(WalError::WrongIdentity {
            file,
            found_cluster: found.cluster_id,
            found_node: found.node_id,
            cluster: identity.cluster_id,
            node: identity.node_id,
        });
    }
    // Segments go only after the release of all their entries is on disk.
    if recovered.before.map(|last| last.index) > recovered.purged.map(|purged| purged.index)
        && let Some((base, _)) = segments.first()
    {
        let file = dir.join(super::segment::file_name(*base));
        return Err(WalError::MissingSegment { file, expected: 0, found: *base });
    }
    recovered.committed = recovered.committed.min(recovered.last());
    if summary.torn {
        recovered.cut = Some(Cut {
            file: dir.join(super::segment::file_name(summary.last_base)),
            offset: summary.end - summary.last_base,
        });
    }
    debug_assert_eq!(FORMAT_VERSION, 1, "a new format needs a reader of the old one here");
    Ok((recovered, summary, segments))
}
