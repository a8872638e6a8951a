//! The report of a measurement: a row of a table for each number of clients, and the same as one document with every round.
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::Work;
use super::lane::Lane;
use super::measure::{LOAD, Round};
use super::plan::Plan;
use super::tally::{Latency, Spread, Tally};
use crate::show::answer::{Answer, counted};
use crate::show::table::{Column, Table};

/// All rounds of one number of clients in one lane.
#[derive(Clone, Debug)]
pub struct Series {
    /// How many clients.
    pub clients: usize,
    /// The lane's word.
    pub lane: String,
    /// In the order in which they ran.
    pub rounds: Vec<Round>,
}

impl Series {
    /// None yet.
    #[must_use]
    pub fn new(clients: usize, lane: &str) -> Series {
        Series { clients, lane: lane.to_owned(), rounds: Vec::new() }
    }

    /// Of all rounds.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut all = Tally::default();
        self.rounds.iter().for_each(|round| all.add(&round.tally));
        all
    }

    fn rates(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(Round::rate))
    }

    fn overdue(&self) -> u64 {
        self.rounds.iter().map(|round| round.overdue).sum()
    }

    /// Its clients, and its lane if there are several.
    fn named(&self, plan: &Plan) -> String {
        let clients = counted(self.clients, "client");
        if plan.lanes.len() > 1 { format!("{clients} via {}", self.lane) } else { clients }
    }

    /// Processor seconds of each part for 10,000 operations, by the part's word: the median of the rounds.
    fn cpu_by_part(&self) -> BTreeMap<&str, f64> {
        let mut parts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for round in self.rounds.iter().filter(|round| round.cpu.is_some() && round.tally.answered > 0) {
            for (part, cpu) in &round.cpu_by_part {
                let each = cpu.as_secs_f64() * 10_000.0 / round.tally.answered as f64;
                parts.entry(part).or_default().push(each);
            }
        }
        let medians = parts.into_iter().filter_map(|(part, each)| Some((part, Spread::of(each)?.median)));
        medians.collect()
    }

    /// Processor seconds of the servers for 10,000 operations; `None`: no server was found, or nothing was done.
    fn cpu(&self) -> Option<f64> {
        let of = |round: &Round| Some((round.cpu?, round.tally.answered));
        let known: Vec<(Duration, u64)> = self.rounds.iter().filter_map(of).collect();
        let operations: u64 = known.iter().map(|(_, operations)| operations).sum();
        let seconds: f64 = known.iter().map(|(cpu, _)| cpu.as_secs_f64()).sum();
        (operations > 0).then(|| seconds * 10_000.0 / operations as f64)
    }
}

/// The answer of the command.
#[must_use]
pub fn report(plan: &Plan, all: &[Series]) -> Answer {
    let several = plan.lanes.len() > 1;
    let mut columns = vec![Column::number("CLIENTS")];
    columns.extend(several.then(|| Column::whole("VIA")));
    columns.extend([
        Column::number("OPS/S"),
        Column::whole("MIN–MAX").dropped(1),
        Column::number("P50"),
        Column::number("P99"),
        Column::number("P99.9").dropped(2),
        Column::number("MAX"),
        Column::number("CPU").dropped(3),
    ]);
    let mut table = Table::new(&columns);
    for series in all {
        let rates = series.rates();
        let latency = series.tally().latency();
        let at = |of: fn(Latency) -> u64| latency.map_or_else(dash, |latency| milliseconds(of(latency)));
        let mut row = vec![series.clients.to_string()];
        row.extend(several.then(|| series.lane.clone()));
        row.extend([
            rates.map_or_else(dash, |rates| rate(rates.median)),
            rates.map_or_else(dash, |rates| format!("{}–{}", rate(rates.min), rate(rates.max))),
            at(|latency| latency.p50_us),
            at(|latency| latency.p99_us),
            at(|latency| latency.p99_9_us),
            at(|latency| latency.max_us),
            series.cpu().map_or_else(dash, |seconds| format!("{seconds:.2}")),
        ]);
        table.row(row);
    }
    let mut answer = Answer::table(plan.summary(), document(plan, all), table);
    let servers = all.iter().flat_map(|series| &series.rounds).map(|round| round.servers).max();
    let of_servers = match servers.unwrap_or(0) {
        0 => "no server process of this cluster was found here".to_owned(),
        count => format!("of the servers (processes: {count}) for 10000 operations"),
    };
    answer.notes.push(format!(
        "OPS/S: the median of the rounds, and the lowest and highest; latencies of all rounds in ms; CPU: seconds {of_servers}"
    ));
    answer.notes.extend(all.iter().filter_map(|series| of_parts(plan, series)));
    answer.notes.extend(compared(all));
    answer.notes.extend(all.iter().flat_map(|series| troubles(plan, series)));
    answer.noting(machine(all))
}

/// Where portals are asked, the CPU of each part by itself: what asks is not what is measured.
fn of_parts(plan: &Plan, series: &Series) -> Option<String> {
    let parts = series.cpu_by_part();
    if parts.len() < 2 || !matches!(plan.work, Work::PortalOrder | Work::GetProduct) {
        return None;
    }
    let each: Vec<String> = parts.iter().map(|(part, seconds)| format!("{part} {seconds:.2}")).collect();
    Some(format!("{}: CPU of each part, and of what asks ({LOAD}): {}", series.named(plan), each.join(", ")))
}

/// The rates of the lanes beside that of the first, with as many clients.
fn compared(all: &[Series]) -> Vec<String> {
    let mut told = Vec::new();
    for series in all {
        let Some(first) = all.iter().find(|first| first.clients == series.clients) else { continue };
        if let (Some(rates), Some(firsts)) = (series.rates(), first.rates())
            && first.lane != series.lane
            && firsts.median > 0.0
        {
            let ratio = rates.median / firsts.median;
            let clients = counted(series.clients, "client");
            told.push(format!("{clients}: {} has {ratio:.2} times the rate of {}", series.lane, first.lane));
        }
    }
    told
}

/// What did not go well with so many clients.
fn troubles(plan: &Plan, series: &Series) -> Vec<String> {
    let clients = series.named(plan);
    let mut troubles = Vec::new();
    let errors = series.tally().errors;
    if !errors.is_empty() {
        let each: Vec<String> = errors.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        troubles.push(format!("{clients}: failed: {}", each.join(", ")));
    }
    let restarted = series.rounds.iter().filter(|round| round.cpu.is_none() && round.servers > 0).count();
    if restarted > 0 {
        troubles.push(format!(
            "{clients}: CPU leaves out {}, in which a part was started again",
            counted(restarted, "round")
        ));
    }
    if series.overdue() > 0 {
        troubles.push(format!(
            "{clients}: due and not begun when their round ended: {}, of which no latency is known; so many clients may not \
             reach that rate",
            counted(series.overdue(), "operation")
        ));
    }
    troubles
}

/// How much the machine changed between rounds.
fn machine(all: &[Series]) -> Option<String> {
    let rounds = || all.iter().flat_map(|series| &series.rounds);
    let spread = |us: Vec<u64>| Spread::of(us.into_iter().map(|us| us as f64 / 1_000.0));
    let cpu = spread(rounds().map(|round| micros(round.machine.cpu_loop)).collect())?;
    let syncs = spread(rounds().filter_map(|round| round.machine.fdatasync.map(micros)).collect());
    let told = |spread: Spread| format!("{:.2} ms, {:.2} to {:.2}", spread.median, spread.min, spread.max);
    let syncs = syncs.map_or_else(|| "not known".to_owned(), told);
    Some(format!(
        "the machine before the rounds (median, lowest to highest): a CPU loop {}; an fdatasync {syncs}",
        told(cpu)
    ))
}

/// A round in a line, as soon as it is over; `number` counts from 1.
#[must_use]
pub fn line(number: usize, plan: &Plan, series: &Series, round: &Round) -> String {
    let latency = round.tally.latency().map_or_else(String::new, |latency| {
        format!(", p50 {} ms, p99 {} ms", milliseconds(latency.p50_us), milliseconds(latency.p99_us))
    });
    let failed: u64 = round.tally.errors.values().sum();
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    let cpu = milliseconds(micros(round.machine.cpu_loop));
    let sync = round.machine.fdatasync.map_or_else(dash, |took| milliseconds(micros(took)));
    format!(
        "round {number} of {}, {}: {} operations/s{latency}{failed}; before it a CPU loop {cpu} ms, an fdatasync {sync} ms",
        plan.rounds,
        series.named(plan),
        rate(round.rate())
    )
}

fn document(plan: &Plan, all: &[Series]) -> Value {
    let is_of_products = matches!(plan.work, Work::Order | Work::PortalOrder | Work::GetProduct);
    let lanes: Vec<&str> = plan.lanes.iter().map(Lane::word).collect();
    let is_of_keys = matches!(plan.work, Work::Put | Work::Get);
    json!({
        "work": plan.work.word(),
        "bytes": (!is_of_products).then_some(plan.bytes),
        "keys": is_of_keys.then_some(plan.keys),
        "products": is_of_products.then(|| plan.products()),
        "hot": plan.hot,
        "via": lanes.join(","),
        "rate": plan.rate,
        "seconds": plan.span.as_secs(),
        "warm_up_seconds": plan.warm_up.as_secs(),
        "rounds": plan.rounds,
        "results": all.iter().map(series_document).collect::<Vec<Value>>(),
    })
}

fn series_document(series: &Series) -> Value {
    let tally = series.tally();
    let rates = series.rates().map(
        |rates| json!({ "min": tenths(rates.min), "median": tenths(rates.median), "max": tenths(rates.max) }),
    );
    json!({
        "clients": series.clients,
        "via": series.lane,
        "answered": tally.answered,
        "operations_per_second": rates,
        "latency_us": tally.latency().map(latency_document),
        "errors": errors_document(&tally.errors),
        "overdue": series.overdue(),
        "cpu_seconds_per_10000": series.cpu().map(thousandths),
        "cpu_seconds_per_10000_by_part":
            series.cpu_by_part().into_iter().map(|(part, seconds)| (part, thousandths(seconds))).collect::<BTreeMap<_, _>>(),
        "rounds": series.rounds.iter().map(round_document).collect::<Vec<Value>>(),
    })
}

fn round_document(round: &Round) -> Value {
    json!({
        "answered": round.tally.answered,
        "due": round.tally.operations() + round.tally.errors.values().sum::<u64>(),
        "operations_per_second": tenths(round.rate()),
        "latency_us": round.tally.latency().map(latency_document),
        "errors": errors_document(&round.tally.errors),
        "overdue": round.overdue,
        "cpu_seconds": round.cpu.map(|cpu| cpu.as_secs_f64()),
        "cpu_seconds_by_part":
            round.cpu_by_part.iter().map(|(part, cpu)| (part, cpu.as_secs_f64())).collect::<BTreeMap<_, _>>(),
        "server_processes": round.servers,
        "cpu_loop_us": micros(round.machine.cpu_loop),
        "fdatasync_us": round.machine.fdatasync.map(micros),
    })
}

fn latency_document(latency: Latency) -> Value {
    let Latency { p50_us, p99_us, p99_9_us, max_us } = latency;
    json!({ "p50": p50_us, "p99": p99_us, "p99_9": p99_9_us, "max": max_us })
}

fn errors_document(errors: &BTreeMap<String, u64>) -> Value {
    errors
        .iter()
        .map(|(reason, count)| (reason.clone(), Value::from(*count)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn dash() -> String {
    "-".to_owned()
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn thousandths(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// Whole where a tenth says nothing.
fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// In milliseconds, three digits that count.
fn milliseconds(us: u64) -> String {
    let ms = us as f64 / 1_000.0;
    match us {
        0..=9_994 => format!("{ms:.2}"),
        9_995..=99_949 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::*;
    use crate::bench::lane::Way;

    fn plan() -> Plan {
        Plan {
            work: Work::Put,
            clients: vec![1, 64],
            rounds: 2,
            warm_up: Duration::from_secs(1),
            span: Duration::from_secs(2),
            bytes: 256,
            keys: 10_000,
            rate: None,
            hot: false,
            lanes: vec![Lane::Cluster(Way::Grpc)],
        }
    }

    /// So many operations of so many microseconds in two seconds.
    fn round(operations: u64, us: u64, cpu: Option<Duration>) -> Round {
        let mut tally = Tally::default();
        (0..operations).for_each(|_| tally.done(Duration::from_micros(us)));
        tally.answered = operations;
        let machine =
            Machine { cpu_loop: Duration::from_micros(8_125), fdatasync: Some(Duration::from_micros(640)) };
        Round {
            tally,
            span: Duration::from_secs(2),
            overdue: 0,
            servers: 6,
            cpu,
            cpu_by_part: BTreeMap::new(),
            machine,
        }
    }

    #[test]
    fn programs_get_numbers_and_every_round() {
        let cpu = Some(Duration::from_millis(500));
        let mut failed = round(0, 0, None);
        failed.tally.failed("AWAY".to_owned());
        failed.overdue = 7;
        let all = [
            Series {
                rounds: vec![round(2_000, 900, cpu), round(3_000, 1_000, cpu)],
                ..Series::new(1, "grpc")
            },
            Series { rounds: vec![failed], ..Series::new(64, "grpc") },
        ];
        let document = report(&plan(), &all).document;
        assert_eq!((&document["work"], &document["rate"]), (&json!("put"), &Value::Null));
        let one = &document["results"][0];
        assert_eq!(one["operations_per_second"], json!({ "min": 1000.0, "median": 1250.0, "max": 1500.0 }));
        assert_eq!(one["latency_us"], json!({ "p50": 1000, "p99": 1000, "p99_9": 1000, "max": 1000 }));
        assert_eq!(one["cpu_seconds_per_10000"], json!(2.0));
        assert_eq!(one["rounds"][0]["latency_us"]["max"], json!(900));
        assert_eq!(
            (&one["rounds"][1]["cpu_loop_us"], &one["rounds"][1]["fdatasync_us"]),
            (&json!(8125), &json!(640))
        );
        let none = &document["results"][1];
        assert_eq!((&none["latency_us"], &none["cpu_seconds_per_10000"]), (&Value::Null, &Value::Null));
        assert_eq!((&none["errors"], &none["overdue"]), (&json!({ "AWAY": 1 }), &json!(7)));
    }

    #[test]
    fn people_get_a_row_for_each_number_of_clients_and_what_went_wrong() {
        let mut failed = round(10, 12_300, None);
        failed.tally.failed("AWAY".to_owned());
        failed.overdue = 1;
        failed.servers = 0;
        let other = Round { servers: 0, ..round(10, 99_999, None) };
        let all = [Series { rounds: vec![failed, other], ..Series::new(64, "grpc") }];
        let answer = report(&plan(), &all);
        let row = &answer.table.as_ref().unwrap().rows[0];
        assert_eq!(row[..4], ["64", "5.0", "5.0–5.0", "12.3"]);
        assert_eq!(row[7], "-");
        assert!(answer.notes[0].ends_with("no server process of this cluster was found here"));
        assert_eq!(answer.notes[1], "64 clients: failed: 1 AWAY");
        let late = "64 clients: due and not begun when their round ended: 1 operation,";
        assert!(answer.notes[2].starts_with(late), "{}", answer.notes[2]);
        assert!(
            answer.notes[3].ends_with("a CPU loop 8.12 ms, 8.12 to 8.12; an fdatasync 0.64 ms, 0.64 to 0.64")
        );
    }

    #[test]
    fn lanes_that_take_turns_are_told_beside_the_first_and_what_asks_apart_from_what_is_asked() {
        let lanes = vec![Lane::Cluster(Way::Grpc), Lane::Cluster(Way::Http)];
        let plan = Plan { work: Work::PortalOrder, lanes, ..plan() };
        let of = |operations: u64, portal_ms: u64| {
            let parts = [("client-portal", portal_ms), (LOAD, 50)];
            let parts = parts.map(|(part, ms)| (part.to_owned(), Duration::from_millis(ms)));
            let cpu = Some(Duration::from_millis(portal_ms));
            Round { cpu_by_part: BTreeMap::from(parts), ..round(operations, 900, cpu) }
        };
        let all = [
            Series { rounds: vec![of(1_000, 100)], ..Series::new(64, "grpc") },
            Series { rounds: vec![of(900, 90)], ..Series::new(64, "http") },
        ];
        let answer = report(&plan, &all);
        let row = &answer.table.as_ref().unwrap().rows[1];
        assert_eq!(row[..3], ["64", "http", "450"]);
        let parts =
            "64 clients via http: CPU of each part, and of what asks (load): client-portal 1.00, load 0.56";
        assert_eq!(answer.notes[2], parts);
        assert_eq!(answer.notes[3], "64 clients: http has 0.90 times the rate of grpc");
        let document = answer.document;
        assert_eq!((&document["via"], &document["results"][1]["via"]), (&json!("grpc,http"), &json!("http")));
        let parts = &document["results"][1]["cpu_seconds_per_10000_by_part"];
        assert_eq!(parts, &json!({ "client-portal": 1.0, "load": 0.556 }));
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let ms = [0, 420, 9_994, 9_995, 99_949, 99_950, 1_234_567].map(milliseconds);
        assert_eq!(ms, ["0.00", "0.42", "9.99", "10.0", "99.9", "100", "1235"]);
        assert_eq!((rate(9.94), rate(99.96), rate(12_345.6)), ("9.9".into(), "100.0".into(), "12346".into()));
    }

    #[test]
    fn a_round_is_told_in_a_line() {
        let told = "round 1 of 2, 1 client: 1000 operations/s, p50 0.90 ms, p99 0.90 ms; before it a CPU loop 8.12 ms, an \
                    fdatasync 0.64 ms";
        assert_eq!(line(1, &plan(), &Series::new(1, "grpc"), &round(2_000, 900, None)), told);
    }
}
