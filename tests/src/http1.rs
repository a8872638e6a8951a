//! HTTP/1.1 by hand, as a stranger's simplest client speaks it: one request a connection.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// As it came.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header; empty: it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Asks `METHOD path` of a server, with these headers and this body.
///
/// # Panics
/// There is no answer, or none of HTTP/1.1.
#[must_use]
pub fn ask(address: &str, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut text = format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    // A server that refuses may answer before it has read all.
    let sent = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        panic!("no answer to {line}: {sent:?}, {read:?}, {answer:?}")
    };
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line[..3].parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Answer {
        status: status.unwrap_or_else(|| panic!("{head:?}")),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

/// Asks for what has no end, and reads until `enough` of it has come; what came, head and all.
///
/// # Panics
/// It ends before, or nothing comes for 20 s.
#[must_use]
pub fn read_some(
    address: &str,
    line: &str,
    headers: &[(&str, &str)],
    enough: impl Fn(&str) -> bool,
) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut text = format!("{line} HTTP/1.1\r\nhost: {address}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    stream.write_all((text + "\r\n").as_bytes()).expect("it listens");
    let (mut read, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        let so_far = String::from_utf8_lossy(&read).into_owned();
        if enough(&so_far) {
            return so_far;
        }
        let length = stream.read(&mut part).unwrap_or_else(|error| panic!("{error}: {so_far}"));
        assert!(length > 0, "it ended: {so_far}");
        read.extend_from_slice(&part[..length]);
    }
}
