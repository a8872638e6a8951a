//! The command line of `feira bench`: its words, flags and their bounds.

use clap::{Args, ValueEnum, value_parser};

use super::lane::Way;

/// What stands below the help.
pub const AFTER: &str = "Such as: feira bench put --clients 1,64, feira bench order --hot --rate 2000. Its records stay: keys under \
                         bench/, clients and products whose ids begin with bench-. Measure a shop of its own, not one that sells.";

/// One operation, which is done again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Work {
    /// Write a record over, through one handle of all clients, as portals do
    Put,
    /// Read a record linearizably, through the same handle
    Get,
    /// Create a record by a unary call to the leader, each client over a connection of its own (256 at most)
    UnaryPut,
    /// The transaction of an order, without a portal: client and product exist, stock moves, the order is written
    Order,
    /// CreateOrder at the client portals, over connections as in unary-put
    PortalOrder,
    /// GetProduct at the client portals, of products that they have cached, over connections as in portal-order
    GetProduct,
}

impl Work {
    /// Its word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Work::Put => "put",
            Work::Get => "get",
            Work::UnaryPut => "unary-put",
            Work::Order => "order",
            Work::PortalOrder => "portal-order",
            Work::GetProduct => "get-product",
        }
    }
}

/// A load on the running cluster, and what came of it.
#[derive(Args, Debug, Clone)]
pub struct Bench {
    /// What is done
    #[arg(value_enum, value_name = "WORK")]
    pub work: Work,
    /// Clients, each with one operation under way, 1 to 1024; several numbers take turns, round by round
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16,64",
          value_parser = value_parser!(u64).range(1..=1024))]
    pub clients: Vec<u64>,
    /// Seconds of a round that count, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Rounds of each number of clients, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u64).range(1..=100))]
    pub rounds: u64,
    /// Seconds of load before each round that do not count, 0 to 600
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = value_parser!(u64).range(0..=600))]
    pub warm_up: u64,
    /// Bytes of a record's data, 1 to 524288 (the store's bound); of put, get and unary-put
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = value_parser!(u64).range(1..=524_288))]
    pub bytes: u64,
    /// Keys of put and get, 1 to 1000000, put beforehand; of orders so many products, 1000 at most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub keys: u64,
    /// Operations a second of all clients together, 1 to 1000000, latency from when each was due; else as fast as answers come
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub rate: Option<u64>,
    /// Orders of one product only, which all clients want
    #[arg(long)]
    pub hot: bool,
    /// The ways in which portal-order and get-product ask; several take turns, round by round
    #[arg(long, value_enum, value_name = "WAY,…", value_delimiter = ',', default_value = "grpc")]
    pub via: Vec<Way>,
    /// Of get-product: ask also what answers the same call at this address, by gRPC, in turns (an echo to compare with)
    #[arg(long, value_name = "HOST:PORT")]
    pub beside: Option<String>,
}
