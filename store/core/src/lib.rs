//! The replication protocol of feira as a pure function: [`Replica::step`] takes one [`Input`] and returns the duties
//! of the world as [`Output`]s. There is no clock in here, no randomness, no I/O, no thread and no log
//! output; time is ticks, randomness is an input, and the bytes of entries never pass through.
//!
//! # The protocol in prose
//!
//! A *replica group* keeps one log. An entry has a [`Position`]: the *epoch* of its author, a leader (Raft's term), and
//! its *offset* (Raft's index), which counts 1, 2, 3 … without gaps over all epochs. In each epoch at most one replica
//! leads; it alone appends, and it never removes or changes an entry of its own.
//!
//! **Writing.** The leader appends a client's entries to its own log and at the same time pushes them to every
//! replica. An append names the position before its first entry. A replica takes it only if it continues its own
//! log exactly there; it makes the entries durable and acknowledges the highest position that appends *of this
//! epoch* have matched. Until they are committed the entries are *intermediate* (uncommitted): on disk, never readable.
//! When a majority of the voters (the leader's own durable log counts as one) holds an entry of the leader's own epoch,
//! that entry and all before it are *committed*: the leader applies them, answers the clients, and sends the *commit
//! order* with its commit index. A replica applies on a commit order and on nothing else, and never beyond its
//! position that is matched in this epoch and durable.
//!
//! ```text
//!  client     leader (e4)                    replica 2              replica 3
//!    │ write ──►│ append 7 ─┬── Append e4:6 +7 ─►│ append 7             │
//!    │          │           └── Append e4:6 +7 ───────────────────────►│ append 7
//!    │          │ fsync 7                        │ fsync 7              │ fsync 7
//!    │          │◄───────────── Ack e4:7 ────────┤                      │
//!    │          │ 7 is on 2 of 3: committed, applied                    │
//!    │◄── done ─┤── CommitOrder e4:7 ───────────►│ apply 7              │
//!    │          └── CommitOrder e4:7 ────────────────────────────────► │ (not durable yet: applies after fsync)
//! ```
//!
//! **Divergence of logs.** After failures a replica's log may end in entries that were never committed. If the log is
//! too short for an append, nothing is cut; if another epoch stands in the append's way, the replica durably
//! truncates from there. Either way it answers with its [`AppendRejection`], and the leader, which knows where each epoch
//! begins in its own log ([`EpochHistory`]), probes at the furthest point at which the two can still agree. Each
//! probe passes at least one epoch, so the point is found in O(epochs). An append that brings nothing new never
//! shortens a log, so late and repeated messages are harmless. Truncating at or below the commit offset would
//! break a promise: it is fatal, and the replica stops rather than do it.
//!
//! ```text
//!  leader   offset  1  2  3  4  5  6  7         probe at e5:7?  too short: AppendRejection last e3:6
//!           epoch   1  1  1  4  4  5  5         probe at e1:3   matches; stream 4 … 7:
//!  replica  epoch   1  1  1  2  2  3                            e2 stands at 4: truncate 4 … 6, AppendRejection last e1:3
//!           then    1  1  1                                     resend 4 … 7, ack e5:7
//! ```
//!
//! **Elections.** A replica that hears no leader for a random while campaigns. It asks the others whether they *would*
//! vote for it (pre-vote), so that a replica that was cut off cannot depose a working leader. Only if a majority would, it
//! raises the epoch and asks for votes. A voter gives one vote an epoch, makes it durable first, and gives it only to
//! a candidate whose log's last position is at least its own. A new leader appends an empty entry at once: by
//! committing it, it commits all entries before it. It never counts replicas for an entry of an earlier epoch.
//! A leader that does not hear a majority within an election timer steps down. A leader that stops gracefully transfers
//! leadership: it waits until another replica has its whole log and tells it to campaign at once.
//!
//! **A disk that hangs.** A leader counts its own disk before it commits, so a disk that does not answer would keep
//! everybody waiting. The leader looks at the acknowledgements of a majority of the voters *without itself*. If its own
//! disk has not reported the same within an election timer, and others can be elected, it answers all requests that wait
//! for a commit with an unknown outcome ([`Output::AnswerUnknown`]), takes no more writes, and tells the most advanced
//! of the others to campaign. If none has taken over within an election timer more, it steps down in its epoch, which
//! needs no disk. An applier with work and without progress for [`limits::HANG_TIMERS`] timers counts as such a disk.
//! If the others are no majority, the leader stays, since nobody could do better. A replica whose disk hangs does not
//! campaign, and for a while after that (longer each time) leadership is not transferred to it; its acks say so.
//!
//! ```text
//!  leader n1 ── Append e4:9 ──► n2, n3: Ack e4:9      own fsync of 9 … (an election timer)
//!            │ requests that wait for 9: unknown; no more writes
//!            ── TransferLeadership e4 ──► n2 ── VoteRequest e5 ──► n3: yes      n1: its vote waits for its disk
//!            n2 leads e5, and commits 9
//! ```
//!
//! **Reading.** A read is linearizable if the leader still led after the read arrived. So a read waits for a
//! heartbeat *round* that was sent after it arrived and that a majority acknowledged, and then for the commit
//! offset noted before that round to be applied. Reads that arrive while a round is out share the next one. A leader
//! without a committed entry of its own epoch does not know the commit offset: reads wait for that too.
//!
//! **Members.** The membership is in the log. Entry 1 of every log is a membership, and the last membership of a log is
//! in force from its append, committed or not; a truncation takes it back, and the one before it is in force again.
//!
//! A leader that has committed an entry of its own epoch may begin one change ([`MemberChange`]). A change of votes is
//! *joint* first: commits, elections, reads and check-quorum need a majority of the voters before *and* of those after
//! it, so that any two majorities meet at any moment. When the joint membership is committed, the leader of that time
//! appends the final one. A leader that is no longer a voter leads until that is committed, without counting itself,
//! and then gives leadership away.
//!
//! - A new member begins as a learner. A learner receives the log, does not count, and does not campaign. It gets a vote
//!   when it keeps up.
//! - A replica campaigns if it is a voter in the last membership that it knows to be committed, or in a later one. A
//!   replica that has removed itself thus campaigns until it knows the change to be committed: its log may be the only
//!   one that can win. It does not count itself.
//! - A replica answers every candidate, whatever its own log says of the two: the candidate may know of a newer change.
//! - A removed member is told so, and campaigns no more. One that could not be told disturbs nobody: voters that hear a
//!   leader refuse it, and its log is behind.
//!
//! ```text
//!  leader n1 │ promote n4 ─┬─ e2:7 joint {1 2 3 4}·{1 2 3} ─► 2, 3, 4
//!            │             │   acks of two of {1 2 3} and three of {1 2 3 4}: committed
//!            │             └─ e2:8 {1 2 3 4} ──────────────► 2, 3, 4    acks of three of {1 2 3 4}: done
//! ```
//!
//! **A log that lost its tail.** A disk may lose acknowledged entries. The replica's log says so (*possibly lost tail*).
//! The replica's vote then counts only for a candidate that has seen every voter's log, until the replica holds a
//! committed entry of an epoch later than any in which it can have acknowledged a lost entry. A leader that hears of such
//! a log in its own epoch therefore gives leadership away, once, as soon as others can be elected without it.
//!
//! **Divergence of states.** Replicas that apply the same entries reach the same state, unless a disk or a mistake
//! changes it behind their backs. Each keeps a running hash of its applied effects and notes it every
//! [`limits::CHECKPOINT_EVERY`] offsets ([`checkpoints`]). The leader asks in its heartbeats for the hash at one offset.
//! When a majority has the same, it tells every replica with another ([`LeaderMessage::Quarantine`]). That replica
//! *quarantines* itself: it keeps its log, acknowledges and votes, for log and votes are sound. It neither campaigns nor
//! leads, and its driver neither serves reads from its table nor gives snapshots of it, until a snapshot of the leader's
//! has replaced the table. A leader that finds itself in the minority steps down first. Without a majority for one hash
//! nobody is quarantined: the leader says so ([`Output::Divergence`]), and while no majority *can* have one, writes are
//! refused.
//!
//! ```text
//!  leader n1 ── Heartbeat compare 2048 ──► n2: Ack 2048 a1…      n3: Ack 2048 9e…
//!            ◄── a1… a1… 9e…: n3 differs from a majority
//!            ── Quarantine 2048 a1… ──────────────────────────────► n3: quarantine durable; table no longer read or written
//!                                                               fetch a snapshot; replace the table; go on with the log
//! ```
//!
//! # Transactions over several groups
//!
//! The log of one group says nothing of another's. [`coordinate`] is the memory of the leader that decides a transaction over
//! several groups, beside the replica and without knowledge of it.
//!
//! # Invariants
//!
//! [`invariants`] names them; the asserts in here, the simulator's report and docs/ARCHITECTURE.md use the same names.
//!
//! # Files
//!
//! [`replica`] only dispatches. `disk` watches the replica's own disk. [`membership`] computes the result of a change.
//! [`follower`], [`election`] and [`leader`] are the roles, which never import each other: a role asks for a change by
//! returning a [`state::Change`]. [`state`] is shared by all roles.
//!
//! # Sources
//!
//! Safety is Raft's: Ongaro and Ousterhout 2014, "In Search of an Understandable Consensus Algorithm"; Ongaro's
//! dissertation 2014 for pre-vote (9.6), leadership transfer (3.10), joint consensus (4.3), check-quorum (6.2) and
//! read-index (6.4). The search for the point of agreement by epochs is Kafka's KIP-101 and KIP-279.
#![no_std]

extern crate alloc;

pub mod checkpoints;
mod comparison;
mod config;
pub mod coordinate;
pub mod cut;
mod disk;
mod election;
mod follower;
pub mod invariants;
mod leader;
pub mod limits;
pub mod membership;
pub mod mutation;
mod pending_change;
pub mod progress;
pub mod protocol;
pub mod quorum;
mod reads;
pub mod replica;
pub mod ring;
mod state;
pub mod types;

pub use checkpoints::{Checkpoint, Checkpoints, Divergence, Verdict};
pub use config::Config;
pub use disk::{DiskView, Hang};
pub use membership::{ChangeRefusal, MemberChange};
pub use protocol::*;
pub use replica::{PeerView, Replica};
pub use state::Restored;
pub use types::*;
