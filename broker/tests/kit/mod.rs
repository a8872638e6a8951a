//! Brokers and clients for the broker's tests: the embedded broker in this process, and a real mosquitto.
#![allow(clippy::unwrap_used, dead_code)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker::{Config, Error, limits, serve};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A broker that runs.
pub(crate) struct Running {
    pub(crate) at: SocketAddr,
    what: What,
}

enum What {
    Embedded { stop: watch::Sender<bool>, task: JoinHandle<Result<(), Error>> },
    Mosquitto { process: Child, _folder: tempfile::TempDir },
}

impl Drop for Running {
    fn drop(&mut self) {
        if let What::Mosquitto { process, .. } = &mut self.what {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub(crate) fn on_port(port: u16) -> Config {
    Config { at: SocketAddr::from(([127, 0, 0, 1], port)), ..Config::default() }
}

/// The embedded broker.
pub(crate) async fn start(config: Config) -> Running {
    let (stop, stopped) = watch::channel(false);
    let (ready, bound) = oneshot::channel();
    let task = tokio::spawn(serve(config, stopped, ready));
    let at = tokio::time::timeout(DEADLINE, bound).await.unwrap().unwrap();
    Running { at, what: What::Embedded { stop, task } }
}

/// mosquitto with the repository's configuration.
pub(crate) fn mosquitto() -> Running {
    for _ in 0..10 {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = free.local_addr().unwrap();
        drop(free);
        if let Some(running) = mosquitto_at(at) {
            return running;
        }
    }
    panic!("mosquitto does not start: is it installed? cargo xtask test installs it");
}

fn mosquitto_at(at: SocketAddr) -> Option<Running> {
    let folder = tempfile::tempdir().unwrap();
    let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../mosquitto.conf")).unwrap();
    let kept = shipped.lines().filter(|line| !line.trim_start().starts_with("listener "));
    let listener = format!("listener {} 127.0.0.1", at.port());
    let text: Vec<&str> = std::iter::once(listener.as_str()).chain(kept).collect();
    let path = folder.path().join("mosquitto.conf");
    std::fs::write(&path, text.join("\n")).unwrap();
    let usual = ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    let mut process = usual.iter().find_map(|program| {
        Command::new(program).arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    })?;
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(at).is_ok() {
            return Some(Running { at, what: What::Mosquitto { process, _folder: folder } });
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let _ = process.kill();
    None
}

impl Running {
    pub(crate) async fn stop(mut self) {
        if let What::Embedded { stop, task } = &mut self.what {
            stop.send(true).unwrap();
            tokio::time::timeout(limits::STOP_GRACE + DEADLINE, task).await.unwrap().unwrap().unwrap();
        }
    }
}

pub(crate) fn options(id: &str, at: SocketAddr) -> MqttOptions {
    let mut options = MqttOptions::new(id, at.ip().to_string(), at.port());
    options.set_clean_start(true);
    // More than the broker takes, so that it is the broker that refuses.
    options.set_max_packet_size(Some(4 << 20));
    options
}

pub(crate) struct Peer {
    pub(crate) client: AsyncClient,
    pub(crate) events: EventLoop,
}

impl Peer {
    pub(crate) async fn connect(options: MqttOptions) -> Peer {
        let (client, events) = AsyncClient::new(options, 64);
        let mut peer = Peer { client, events };
        peer.until("connack", |packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
        peer
    }

    /// Polls until `pick` takes a packet.
    pub(crate) async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(Packet) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && let Some(found) = pick(packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("no {what} in time"))
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.until("suback", |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    /// Publishes at QoS 1 and waits until the broker has taken it.
    pub(crate) async fn publish(&mut self, topic: &str, retain: bool, payload: &str) {
        self.publish_with(topic, retain, payload, PublishProperties::default()).await;
    }

    pub(crate) async fn publish_with(
        &mut self,
        topic: &str,
        retain: bool,
        payload: &str,
        with: PublishProperties,
    ) {
        let payload = payload.to_owned();
        self.client.publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, with).await.unwrap();
        self.until("puback", |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    pub(crate) async fn received(&mut self) -> Publish {
        self.until("publish", |packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        })
        .await
    }

    pub(crate) async fn payloads(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(String::from_utf8(self.received().await.payload.to_vec()).unwrap());
        }
        all
    }

    /// Polls until the connection fails, and says how.
    pub(crate) async fn failure(&mut self) -> ConnectionError {
        let wait = async {
            loop {
                if let Err(error) = self.events.poll().await {
                    return error;
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap()
    }
}
