//! The guard over real sockets: places given, places taken away, and bytes that come back.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admission::place::{Class, Full, Side};
use admission::{Connection, Guard, Limits};
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits {
    newcomers_max: 2,
    users_max: 2,
    members_kept: 1,
    members_max: 2,
    connection_bytes_max: 100,
    process_bytes_max: 150,
};

struct Process {
    guard: Arc<Guard>,
    listener: TcpListener,
    at: SocketAddr,
}

impl Process {
    async fn new() -> Process {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        Process { guard: Guard::new(LIMITS, 4), listener, at }
    }

    async fn connect(&self) -> (TcpStream, Connection) {
        let (theirs, ours) = tokio::join!(TcpStream::connect(self.at), self.guard.accept(&self.listener));
        (theirs.unwrap(), ours)
    }
}

/// Ready with the connection gone when the guard has closed it, as a server's task would be.
async fn until_closed(mut connection: Connection) {
    let mut heard = [0; 16];
    while connection.read(&mut heard).await.is_ok() {}
}

#[tokio::test]
async fn newcomers_find_a_place_while_others_only_connect() {
    let process = Process::new().await;
    let mut theirs = Vec::new();
    for _ in 0..50 {
        let (stream, ours) = tokio::time::timeout(Duration::from_secs(10), process.connect()).await.unwrap();
        theirs.push(stream);
        tokio::spawn(until_closed(ours));
    }
    let (_stream, ours) = process.connect().await;
    drop(ours.place().begin());
    assert_eq!(ours.place().class(), Class::User);
}

#[tokio::test]
async fn members_and_those_who_work_keep_their_places() {
    let process = Process::new().await;
    let (_a, member) = process.connect().await;
    member.place().is_members();
    let (_b, working) = process.connect().await;
    let work = working.place().begin();
    let (_c, idle) = process.connect().await;
    drop(idle.place().begin());
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let (stream, ours) = process.connect().await;
        strangers.push(stream);
        tokio::spawn(until_closed(ours));
    }
    assert!(!member.place().is_closed() && !working.place().is_closed() && !idle.place().is_closed());
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(admission::limits::IDLE_MS)).await;
    tokio::time::resume();
    // All places of users are taken: the idle one makes room for one who works.
    let (_d, new) = process.connect().await;
    let _new_work = new.place().begin();
    assert!(idle.place().is_closed() && !working.place().is_closed() && !new.place().is_closed());
    // And nobody does for one more.
    drop(idle);
    let (_e, late) = process.connect().await;
    drop(late.place().begin());
    assert!(late.place().is_closed() && !working.place().is_closed() && !member.place().is_closed());
    drop(work);
}

// Of a group of five, the members' connections beyond the places that are kept for them stayed newcomers', which go first.
#[tokio::test]
async fn members_beyond_the_places_that_are_kept_for_them_take_users_places() {
    let process = Process::new().await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let (theirs, ours) = process.connect().await;
        ours.place().is_members();
        members.push((theirs, ours));
    }
    let classes: Vec<Class> = members.iter().map(|(_, ours)| ours.place().class()).collect();
    assert_eq!(classes, [Class::Member, Class::Member, Class::Newcomer], "users keep one place");
    let (_a, first) = process.connect().await;
    let _work = first.place().begin();
    let (_b, second) = process.connect().await;
    let _more = second.place().begin();
    assert!(!first.place().is_closed() && second.place().is_closed(), "one, and not two");
    let (_, member) = members.remove(0);
    drop(member);
    let (_c, third) = process.connect().await;
    let _third_work = third.place().begin();
    assert!(!third.place().is_closed(), "it is theirs again when the member is gone");
}

#[tokio::test]
async fn a_connection_must_begin_to_speak_and_may_then_be_silent() {
    let process = Process::new().await;
    let (mut theirs, mut ours) = process.connect().await;
    theirs.write_all(b"abc").await.unwrap();
    let mut heard = [0; 16];
    assert_eq!(ours.read(&mut heard).await.unwrap(), 3);
    tokio::time::pause();
    let late = tokio::time::timeout(Duration::from_secs(3_600), ours.read(&mut heard)).await;
    let late = late.expect("nobody is waited for so long").unwrap_err();
    assert_eq!(late.kind(), std::io::ErrorKind::TimedOut);
    tokio::time::resume();
    let (mut theirs, mut ours) = process.connect().await;
    theirs.write_all(b"abcd").await.unwrap();
    assert_eq!(ours.read(&mut heard).await.unwrap(), 4);
    tokio::time::pause();
    let silent = tokio::time::timeout(Duration::from_secs(3_600), ours.read(&mut heard)).await;
    assert!(silent.is_err(), "from here on pings look after it");
}

#[tokio::test]
async fn whoever_holds_the_room_without_taking_anything_is_cut_for_others() {
    let process = Process::new().await;
    let (_a, holder) = process.connect().await;
    let mut charge = holder.place().charge(Side::Answers, 100).await.unwrap();
    charge.wait_for_caller();
    assert!(holder.place().charge(Side::Answers, 1).now_or_never().is_none(), "its own budget is used up");
    assert!(holder.place().try_charge(Side::Requests, 50).is_some(), "the other side has one of its own");
    let (_b, other) = process.connect().await;
    let cut = tokio::spawn(async move {
        holder.place().closed().await;
        drop((holder, charge));
    });
    let granted = other.place().charge(Side::Answers, 100).await;
    assert!(granted.is_ok(), "the process's room is given to whoever takes");
    cut.await.unwrap();
    drop(granted);
    assert_eq!(process.guard.budget(Side::Answers).held(), 0);
}

#[tokio::test]
async fn room_that_is_worked_in_is_nobodys_fault() {
    let process = Process::new().await;
    let (_a, busy) = process.connect().await;
    let _charge = busy.place().charge(Side::Answers, 100).await.unwrap();
    let (_b, other) = process.connect().await;
    // There was no room in time, neither for the other nor for more of the same.
    let (of_other, of_busy) =
        tokio::join!(other.place().charge(Side::Answers, 100), busy.place().charge(Side::Answers, 1));
    assert_eq!((of_other.err(), of_busy.err()), (Some(Full::All), Some(Full::All)));
    assert!(!busy.place().is_closed());
}
