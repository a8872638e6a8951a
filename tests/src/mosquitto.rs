//! A real mosquitto with the repository's configuration, on a port of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::port::Port;
use crate::process::Process;
use crate::wait;

/// A broker that tests may kill, stop and start again on the same port.
#[derive(Debug)]
pub struct Mosquitto {
    /// The process; `None` while it is dead.
    pub process: Option<Process>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Keeps the port.
    _port: Port,
    /// Its configuration and its log.
    folder: PathBuf,
    /// It takes no packet that is larger.
    packet_bytes_max: Option<u32>,
}

impl Mosquitto {
    /// Starts one whose files are in `folder`, and waits until it listens.
    ///
    /// # Panics
    /// If mosquitto is not installed (`cargo xtask test` installs it) or does not listen.
    #[must_use]
    pub fn start(folder: &Path) -> Mosquitto {
        Mosquitto::start_with(folder, None)
    }

    /// The same, with another limit on packets.
    ///
    /// # Panics
    /// As [`Mosquitto::start`].
    #[must_use]
    pub fn start_with(folder: &Path, packet_bytes_max: Option<u32>) -> Mosquitto {
        let port = Port::lease();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let mut mosquitto =
            Mosquitto { process: None, address, _port: port, folder: folder.to_owned(), packet_bytes_max };
        mosquitto.start_again();
        mosquitto
    }

    /// Starts it (again) on its port.
    ///
    /// # Panics
    /// As [`Mosquitto::start`].
    pub fn start_again(&mut self) {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../mosquitto.conf");
        let shipped = std::fs::read_to_string(shipped).expect("the repository has mosquitto.conf");
        let limit = self.packet_bytes_max.map(|bytes| format!("max_packet_size {bytes}"));
        let replaced: &[&str] =
            if limit.is_some() { &["listener ", "max_packet_size "] } else { &["listener "] };
        let is_kept = |line: &&str| !replaced.iter().any(|start| line.trim_start().starts_with(start));
        let kept = shipped.lines().filter(is_kept);
        let listener = format!("listener {} 127.0.0.1", self.address.port());
        let text: Vec<&str> =
            std::iter::once(listener.as_str()).chain(limit.as_deref()).chain(kept).collect();
        let path = self.folder.join("mosquitto.conf");
        std::fs::write(&path, text.join("\n")).expect("the test's folder can be written");
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&path);
        let mut process = Process::start("mosquitto", command, &self.folder.join("mosquitto.log"));
        wait::until_blocking("mosquitto to listen", Duration::from_secs(10), || {
            let ended = process.ended();
            assert!(ended.is_none(), "mosquitto ended ({ended:?}): {}", process.output());
            TcpStream::connect(self.address)
        });
        self.process = Some(process);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }
}
