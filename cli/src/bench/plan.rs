//! The plan of a measurement: the command line with the bounds that hold between its values. Pure.

use std::time::Duration;

use super::args::{Bench, Work};
use super::lane::{Lane, Way};
use crate::failure::Failure;

/// Numbers of clients in one measurement.
const COUNTS_MAX: usize = 16;
/// Bytes of all records that are put beforehand: they go into the database of every node, and stay.
const RECORDS_BYTES_MAX: u64 = 1 << 30;
/// Bytes of requests that wait in one handle (`store_client`): more would be refused here, and not by the cluster.
const WAITING_BYTES_MAX: u64 = 32 << 20;
/// Products of orders: each is made through the portals beforehand.
const PRODUCTS_MAX: u64 = 1_000;

/// A measurement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What is done.
    pub work: Work,
    /// Numbers of clients, which take turns; 1 to 16 different ones of 1 to 1024.
    pub clients: Vec<usize>,
    /// Rounds of each.
    pub rounds: usize,
    /// Load before each round that does not count.
    pub warm_up: Duration,
    /// The part of a round that counts.
    pub span: Duration,
    /// Bytes of a record's data.
    pub bytes: usize,
    /// Keys of put and get.
    pub keys: u64,
    /// Operations a second of all clients; `None`: each client begins the next when the last is answered.
    pub rate: Option<u64>,
    /// Orders of one product only.
    pub hot: bool,
    /// Who is asked, and how: at least one; several take turns.
    pub lanes: Vec<Lane>,
}

impl Plan {
    /// The plan that a command line asks for.
    ///
    /// # Errors
    /// Usage: a number of clients given twice, too many of them, too much data, or a flag that says nothing about this work.
    pub fn of(args: &Bench) -> Result<Plan, Failure> {
        let mut clients: Vec<usize> = Vec::new();
        for count in &args.clients {
            let count = usize::try_from(*count).map_err(|_| Failure::usage("--clients: too many"))?;
            if clients.contains(&count) {
                return Err(Failure::usage(format!("--clients names {count} twice")));
            }
            clients.push(count);
        }
        if clients.is_empty() || clients.len() > COUNTS_MAX {
            let message = format!("--clients names {} numbers; 1 to {COUNTS_MAX} are allowed", clients.len());
            return Err(Failure::usage(message));
        }
        let is_of_records = matches!(args.work, Work::Put | Work::Get);
        let all = args.keys.saturating_mul(args.bytes);
        if is_of_records && all > RECORDS_BYTES_MAX {
            let message = format!(
                "{} keys of {} bytes are {all} bytes; at most {RECORDS_BYTES_MAX}",
                args.keys, args.bytes
            );
            return Err(Failure::usage(message).next("give fewer --keys, or fewer --bytes"));
        }
        let at_once = clients.iter().max().map_or(0, |most| (*most as u64).saturating_mul(args.bytes));
        if args.work == Work::Put && at_once > WAITING_BYTES_MAX {
            let message = format!(
                "{at_once} bytes of --clients times --bytes; at most {WAITING_BYTES_MAX} may wait in one handle"
            );
            return Err(Failure::usage(message).next("give fewer --clients, or fewer --bytes"));
        }
        if args.hot && matches!(args.work, Work::Put | Work::Get | Work::UnaryPut) {
            return Err(Failure::usage(format!(
                "--hot is about products, and {} has none",
                args.work.word()
            )));
        }
        Ok(Plan {
            work: args.work,
            clients,
            rounds: usize::try_from(args.rounds).map_err(|_| Failure::usage("--rounds: too many"))?,
            warm_up: Duration::from_secs(args.warm_up),
            span: Duration::from_secs(args.seconds),
            bytes: usize::try_from(args.bytes).map_err(|_| Failure::usage("--bytes: too many"))?,
            keys: args.keys,
            rate: args.rate,
            hot: args.hot,
            lanes: lanes(args)?,
        })
    }

    /// The highest number of clients.
    #[must_use]
    pub fn clients_max(&self) -> usize {
        self.clients.iter().copied().max().unwrap_or(1)
    }

    /// Products that orders name, each as often.
    #[must_use]
    pub fn products(&self) -> u64 {
        if self.hot { 1 } else { self.keys.min(PRODUCTS_MAX) }
    }

    /// In words, for the line above the table.
    #[must_use]
    pub fn summary(&self) -> String {
        let what = match self.work {
            Work::Put | Work::Get => format!("of {} bytes, {} keys", self.bytes, self.keys),
            Work::UnaryPut => format!("of {} bytes, new keys", self.bytes),
            Work::Order | Work::PortalOrder | Work::GetProduct if self.hot => "of one product".to_owned(),
            Work::Order | Work::PortalOrder | Work::GetProduct => {
                format!("of one product of {}", self.products())
            }
        };
        let way = match self.lanes.as_slice() {
            [] | [Lane::Cluster(Way::Grpc)] => String::new(),
            lanes => {
                let words: Vec<&str> = lanes.iter().map(Lane::word).collect();
                format!(" via {}", words.join(", "))
            }
        };
        let pace = match self.rate {
            None => "closed loop".to_owned(),
            Some(rate) => format!("{rate} due a second"),
        };
        format!(
            "{} {what}{way}; {pace}; rounds: {} of {} s after {} s of warm-up",
            self.work.word(),
            self.rounds,
            self.span.as_secs(),
            self.warm_up.as_secs()
        )
    }
}

/// The lanes that a command line names.
fn lanes(args: &Bench) -> Result<Vec<Lane>, Failure> {
    let asks_portals = matches!(args.work, Work::PortalOrder | Work::GetProduct);
    if args.via != [Way::Grpc] && !asks_portals {
        return Err(Failure::usage(format!("--via is about portals, and {} asks none", args.work.word())));
    }
    if args.beside.is_some() && args.work != Work::GetProduct {
        return Err(Failure::usage(format!(
            "--beside is about get-product, and this is {}",
            args.work.word()
        )));
    }
    let mut lanes: Vec<Lane> = Vec::new();
    for way in &args.via {
        let lane = Lane::Cluster(*way);
        if lanes.contains(&lane) {
            return Err(Failure::usage(format!("--via names {} twice", way.word())));
        }
        lanes.push(lane);
    }
    lanes.extend(args.beside.clone().map(Lane::Beside));
    Ok(lanes)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(line: &str) -> Result<Bench, clap::Error> {
        let cli = Cli::try_parse_from(format!("feira bench {line}").split(' '))?;
        match cli.command {
            Command::Bench(args) => Ok(args),
            other => panic!("{other:?} is no bench"),
        }
    }

    fn plan(line: &str) -> Result<Plan, Failure> {
        Plan::of(&parsed(line).expect(line))
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let plan = plan("put").unwrap();
        assert_eq!(
            (plan.clients.as_slice(), plan.rounds, plan.bytes, plan.keys),
            (&[1, 16, 64][..], 3, 256, 10_000)
        );
        assert_eq!((plan.span, plan.warm_up), (Duration::from_secs(5), Duration::from_secs(1)));
        assert_eq!((plan.rate, plan.hot, plan.clients_max()), (None, false, 64));
    }

    #[test]
    fn every_number_has_bounds_and_the_refusal_names_the_flag() {
        for bad in [
            "--clients 0",
            "--clients 1,1025",
            "--clients x",
            "--seconds 0",
            "--seconds 3601",
            "--rounds 0",
            "--rounds 101",
            "--warm-up 601",
            "--bytes 0",
            "--bytes 524289",
            "--keys 0",
            "--keys 1000001",
            "--rate 0",
            "--rate 1000001",
        ] {
            let error = parsed(&format!("put {bad}")).expect_err(bad).to_string();
            assert!(error.contains(bad.split(' ').next().unwrap()), "{error}");
        }
        assert!(parsed("push").is_err() && parsed("").is_err());
    }

    #[test]
    fn bounds_between_values_are_told_with_both() {
        let refused = |line: &str| plan(line).expect_err(line).message;
        assert!(refused("put --clients 4,8,4").contains("4 twice"));
        let many: Vec<String> = (1..=17).map(|count| count.to_string()).collect();
        assert!(refused(&format!("put --clients {}", many.join(","))).contains("17 numbers"));
        assert!(refused("get --bytes 524288").contains("10000 keys of 524288 bytes"));
        assert!(refused("put --keys 100 --bytes 524288 --clients 256").contains("--clients times --bytes"));
        assert!(refused("unary-put --hot").contains("unary-put has none"));
        assert!(plan("unary-put --bytes 524288").is_ok(), "no keys are put beforehand");
    }

    #[test]
    fn orders_have_a_bounded_number_of_products_and_one_when_hot() {
        assert_eq!(plan("order").unwrap().products(), 1_000);
        assert_eq!(plan("order --keys 20").unwrap().products(), 20);
        assert_eq!(plan("portal-order --hot").unwrap().products(), 1);
    }

    #[test]
    fn lanes_are_those_that_were_named_each_once_and_only_where_portals_are_asked() {
        let words = |line: &str| {
            let lanes = plan(line).expect(line).lanes;
            lanes.iter().map(|lane| lane.word().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words("order"), ["grpc"]);
        assert_eq!(words("portal-order --via http,grpc,http2"), ["http", "grpc", "http2"]);
        assert_eq!(words("get-product --beside 127.0.0.1:9"), ["grpc", "127.0.0.1:9"]);
        let refused = |line: &str| plan(line).expect_err(line).message;
        assert!(refused("portal-order --via http,http").contains("http twice"));
        assert!(refused("order --via http").contains("order asks none"));
        assert!(refused("portal-order --beside 127.0.0.1:9").contains("this is portal-order"));
    }

    #[test]
    fn a_plan_is_told_in_a_line() {
        let summary = "put of 256 bytes, 10000 keys; closed loop; rounds: 3 of 5 s after 1 s of warm-up";
        assert_eq!(plan("put").unwrap().summary(), summary);
        let summary = "order of one product; 200 due a second; rounds: 1 of 5 s after 0 s of warm-up";
        assert_eq!(plan("order --hot --rate 200 --rounds 1 --warm-up 0").unwrap().summary(), summary);
    }
}
