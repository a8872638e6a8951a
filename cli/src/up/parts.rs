//! The parts of a local cluster.

use crate::config::shape::{BrokerKind, Config};
use crate::failure::Failure;

/// What a part does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// The MQTT broker.
    Broker,
    /// A node of the store, by id.
    Node(u64),
    /// A portal for administrators, from 1.
    AdminPortal(usize),
    /// A portal for shoppers, from 1.
    ClientPortal(usize),
}

impl Kind {
    /// The part's name: of its log file, and for `feira node`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Kind::Broker => "broker".to_owned(),
            Kind::Node(id) => format!("node-{id}"),
            Kind::AdminPortal(at) => format!("admin-portal-{at}"),
            Kind::ClientPortal(at) => format!("client-portal-{at}"),
        }
    }
}

/// One process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What it does.
    pub kind: Kind,
    /// Its name: of its log file, and for `feira node`.
    pub name: String,
    /// host:port where it serves.
    pub address: String,
}

impl Part {
    /// The arguments that make this binary that part.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = match self.kind {
            Kind::Broker => vec!["broker".to_owned()],
            Kind::Node(id) => vec!["store".to_owned(), "--node".to_owned(), id.to_string()],
            Kind::AdminPortal(at) => {
                vec!["admin-portal".to_owned(), "--instance".to_owned(), at.to_string()]
            }
            Kind::ClientPortal(at) => {
                vec!["client-portal".to_owned(), "--instance".to_owned(), at.to_string()]
            }
        };
        arguments.push("--supervised".to_owned());
        arguments
    }
}

/// All parts, in the order in which they are started; they are stopped the other way round.
#[must_use]
pub fn parts(config: &Config) -> Vec<Part> {
    let part = |kind: Kind, address: &str| Part { kind, name: kind.name(), address: address.to_owned() };
    let mut parts = Vec::new();
    if config.broker.kind != BrokerKind::External {
        parts.push(part(Kind::Broker, &config.broker.listen));
    }
    parts.extend(config.store.nodes.iter().map(|node| part(Kind::Node(node.id), &node.listen)));
    let admin = (1..).zip(&config.admin_portals);
    parts.extend(admin.map(|(at, portal)| part(Kind::AdminPortal(at), &portal.listen)));
    let client = (1..).zip(&config.client_portals);
    parts.extend(client.map(|(at, portal)| part(Kind::ClientPortal(at), &portal.listen)));
    parts
}

/// The name of the part that a person means: a node by its number, anything by its name.
///
/// # Errors
/// There is no such part.
pub fn name_of(config: &Config, id: &str) -> Result<String, Failure> {
    let parts = parts(config);
    let wanted = if id.parse::<u64>().is_ok() { format!("node-{id}") } else { id.to_owned() };
    if parts.iter().any(|part| part.name == wanted) {
        return Ok(wanted);
    }
    let known: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    Err(Failure::usage(format!("there is no part {id:?}"))
        .next(format!("the parts are {}", known.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_names_that_people_can_say() {
        let config = Config::default();
        let names: Vec<String> = parts(&config).into_iter().map(|part| part.name).collect();
        assert_eq!(names, ["broker", "node-1", "node-2", "node-3", "admin-portal-1", "client-portal-1"]);
        assert_eq!(name_of(&config, "2").unwrap(), "node-2");
        assert_eq!(name_of(&config, "broker").unwrap(), "broker");
        assert!(name_of(&config, "9").unwrap_err().to_string().contains("node-3"));
    }
}
