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
    /// Lines of the configuration that take the place of the shipped ones of the same name.
    settings: Vec<String>,
}

impl Mosquitto {
    /// Starts one whose files are in `folder`, and waits until it listens.
    ///
    /// # Panics
    /// If mosquitto is not installed (`cargo xtask test` installs it) or does not listen.
    #[must_use]
    pub fn start(folder: &Path) -> Mosquitto {
        Mosquitto::start_with(folder, &[])
    }

    /// The same, with these lines of the configuration instead of the shipped ones of the same name.
    ///
    /// # Panics
    /// As [`Mosquitto::start`].
    #[must_use]
    pub fn start_with(folder: &Path, settings: &[&str]) -> Mosquitto {
        let port = Port::lease();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let listener = format!("listener {} 127.0.0.1", port.number);
        let settings = [&[listener.as_str()], settings].concat().iter().map(ToString::to_string).collect();
        let mut mosquitto =
            Mosquitto { process: None, address, _port: port, folder: folder.to_owned(), settings };
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
        let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        let replaced: Vec<String> = self.settings.iter().map(|line| name(line)).collect();
        let kept = shipped.lines().filter(|line| !replaced.contains(&name(line)));
        let text: Vec<&str> = self.settings.iter().map(String::as_str).chain(kept).collect();
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
