//! The REPLs on a real (pseudo) terminal: prompt, completion of verbs and of live ids with Tab, hints and history,
//! errors that do not end the session, `sair`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::process::Dialogue;
use feira_tests::wait;
use nix::sys::signal::Signal;

const TAB: &str = "\t";
const ENTER: &str = "\r";
const UP: &str = "\x1b[A";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

/// A REPL on a terminal, its history in a file of the test's own.
fn repl(cluster: &Cluster, arguments: &[&str], history: &Path) -> Dialogue {
    let mut command = cluster.command(arguments);
    command.env("FEIRA_HISTORY", history).env("NO_COLOR", "1");
    Dialogue::on_terminal(command)
}

/// Waits for the prompt to be shown once more than `before` times; how often it was shown.
fn prompted(tool: &Dialogue, prompt: &str, before: usize) -> usize {
    wait::until_blocking(&format!("the prompt {prompt:?}"), PATIENCE, || {
        let said = tool.said();
        let shown = said.matches(prompt).count();
        if shown > before { Ok(shown) } else { Err(format!("{said:?}")) }
    })
}

#[tokio::test]
async fn a_person_is_led_by_prompt_completion_and_history() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let product = ["admin", "insert-product", "description=Banana prata", "quantity=9", "price=1"];
    assert!(cluster.tool(&product).status.success());
    let history = cluster.path().join("history");
    let mut tool = repl(&cluster, &["admin"], &history);
    tool.hears("help lists the commands, Tab completes, exit (or sair) leaves", PATIENCE);
    prompted(&tool, "admin> ", 0);
    tool.say("inserirCl");
    tool.hears("inserirCl", PATIENCE);
    tool.say(&format!("{TAB}name=Ana{ENTER}"));
    tool.hears("registered", PATIENCE);
    tool.say(&format!("get-clientt ana{ENTER}"));
    tool.hears("did you mean get-client?", PATIENCE);
    // Live ids are fetched now and then: Tab until this one is known, no faster than a person.
    tool.say("get-product ban");
    let mut pressed: Option<Instant> = None;
    wait::until_blocking("the id to be completed", PATIENCE, || {
        if pressed.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
            pressed = Some(Instant::now());
            tool.say(TAB);
        }
        let said = tool.said();
        if said.contains("banana-prata") { Ok(()) } else { Err(format!("{said:?}")) }
    });
    tool.say(ENTER);
    tool.hears("Banana prata", PATIENCE);
    tool.say(&format!("\\x{ENTER}"));
    tool.hears("vertical tables are on", PATIENCE);
    tool.say(&format!("get-product banana-prata{ENTER}"));
    tool.hears("DESCRIPTION  Banana prata", PATIENCE);
    tool.say("half a line");
    tool.hears("half a line", PATIENCE);
    let shown = tool.said().matches("admin> ").count();
    tool.say(CTRL_C);
    prompted(&tool, "admin> ", shown);
    tool.say(&format!("sair{ENTER}"));
    let status = tool.ends_within(PATIENCE);
    assert!(status.success(), "{status}: {:?}", tool.said());

    // Another session has the lines of the one before.
    let kept = std::fs::read_to_string(&history).unwrap();
    assert!(kept.contains("inserirCliente name=Ana") && kept.contains("sair"), "{kept}");
    let mut tool = repl(&cluster, &["admin"], &history);
    prompted(&tool, "admin> ", 0);
    tool.say(&format!("adjust-stock banana-prata 3{ENTER}"));
    tool.hears("12", PATIENCE);
    let shown = tool.said().matches("adjust-stock banana-prata 3").count();
    tool.say(UP);
    wait::until_blocking("the last line to come back", PATIENCE, || {
        let said = tool.said();
        let again = said.matches("adjust-stock banana-prata 3").count();
        if again > shown { Ok(()) } else { Err(format!("{said:?}")) }
    });
    tool.say(ENTER);
    tool.hears("15", PATIENCE);
    tool.say(CTRL_D);
    assert!(tool.ends_within(PATIENCE).success());
}

#[tokio::test]
async fn a_shopper_logs_in_and_orders_and_errors_do_not_end_the_session() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let both =
        "insert-client ana {}; insert-product fig '{\"description\":\"Fig\",\"quantity\":3,\"price\":2}'";
    assert!(cluster.tool(&["admin", "-c", both]).status.success());
    let mut tool = repl(&cluster, &["shop"], &cluster.path().join("history"));
    prompted(&tool, "shop> ", 0);
    tool.say(&format!("use nobody{ENTER}"));
    tool.hears("there is no client \"nobody\"", PATIENCE);
    assert!(!tool.said().contains("UNAUTHENTICATED"), "a person reads a sentence: {}", tool.said());
    tool.say(&format!("entrar ana{ENTER}"));
    tool.hears("you are ana; 0 orders so far", PATIENCE);
    prompted(&tool, "ana> ", 0);
    tool.say(&format!("create-order fig=9{ENTER}"));
    tool.hears("3 left", PATIENCE);
    tool.say(&format!("create-order fig=2{ENTER}"));
    tool.hears("total 4.00", PATIENCE);
    tool.say(&format!("sair{ENTER}"));
    assert!(tool.ends_within(PATIENCE).success(), "a person has seen the refusals: they are no failure");
}

#[tokio::test]
async fn completing_a_product_and_typing_the_rest_orders_it() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let both = "insert-client ana {}; insert-product figo-roxo description=Figo quantity=9 price=2";
    assert!(cluster.tool(&["admin", "-c", both]).status.success());
    let mut tool = repl(&cluster, &["shop"], &cluster.path().join("history"));
    prompted(&tool, "shop> ", 0);
    // Nobody ordered yet, so nothing is known that could be completed: the line stays, and no menu comes.
    tool.say(&format!("create-order {TAB}x=1{ENTER}"));
    tool.hears("say who you are first: use CID", PATIENCE);
    assert!(!tool.said().contains("NO RECORDS"), "{}", tool.said());
    tool.say(&format!("use ana{ENTER}"));
    tool.hears("you are ana; 0 orders so far", PATIENCE);
    prompted(&tool, "ana> ", 0);
    tool.say(&format!("create-order fig{TAB}=3{ENTER}"));
    tool.hears("opened order", PATIENCE);
    tool.hears("total 6.00", PATIENCE);
    tool.say(&format!("exit{ENTER}"));
    assert!(tool.ends_within(PATIENCE).success());
}

#[tokio::test]
async fn each_field_of_a_new_product_is_checked_as_it_is_entered() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let mut tool = repl(&cluster, &["admin"], &cluster.path().join("history"));
    prompted(&tool, "admin> ", 0);
    tool.say(&format!("insert-product{ENTER}"));
    for (question, answers, complaint) in [
        ("description: ", &["!!", "Figo roxo"][..], "to make the id from"),
        ("quantity: ", &["many", "12"], "quantity: must be an integer"),
        ("price, such as 6.90: ", &["cheap", "1,99"], "a price is digits"),
    ] {
        let shown = prompted(&tool, question, 0);
        tool.say(&format!("{}{ENTER}", answers[0]));
        tool.hears(complaint, PATIENCE);
        prompted(&tool, question, shown);
        tool.say(&format!("{}{ENTER}", answers[1]));
    }
    prompted(&tool, "Enter: done", 0);
    tool.say(ENTER);
    tool.hears("added with the PID figo-roxo", PATIENCE);
    tool.hears("1.99", PATIENCE);
    tool.say(CTRL_D);
    assert!(tool.ends_within(PATIENCE).success());
}

#[tokio::test]
async fn what_is_most_often_a_slip_is_asked_back_before_it_is_sent() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let mut tool = repl(&cluster, &["admin"], &cluster.path().join("history"));
    prompted(&tool, "admin> ", 0);
    let free = "insert-product description='Maca fuji' quantity=1 price=0 --pid 'maca fuji'";
    tool.say(&format!("{free}{ENTER}"));
    tool.hears("whoever orders it pays nothing; is that meant?", PATIENCE);
    let shown = tool.said().matches("admin> ").count();
    tool.say(ENTER);
    tool.hears("the price is 0; nothing was changed", PATIENCE);
    prompted(&tool, "admin> ", shown);
    tool.say(&format!("{free}{ENTER}"));
    wait::until_blocking("the question to come again", PATIENCE, || {
        let said = tool.said();
        if said.matches("is that meant?").count() > 1 { Ok(()) } else { Err(format!("{said:?}")) }
    });
    let shown = tool.said().matches("admin> ").count();
    tool.say(&format!("y{ENTER}"));
    tool.hears("added with the PID maca fuji", PATIENCE);
    prompted(&tool, "admin> ", shown);
    // Tab quotes an id that has a blank, as words are read.
    tool.say(&format!("get-product mac{TAB}"));
    tool.hears("get-product 'maca fuji'", PATIENCE);
    let shown = tool.said().matches("admin> ").count();
    tool.say(ENTER);
    prompted(&tool, "admin> ", shown);
    tool.say(&format!("sair{ENTER}"));
    assert!(tool.ends_within(PATIENCE).success());
    assert!(!tool.said().contains("one word too many"), "{}", tool.said());
}

#[tokio::test]
async fn answers_of_the_store_come_above_the_line_that_is_being_typed() {
    let options = Options { admin_portals: 0, client_portals: 0, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let mut tool = repl(&cluster, &["kv", "--quiet"], &cluster.path().join("history"));
    prompted(&tool, "kv> ", 0);
    for at in 1..=5 {
        let shown = tool.said().matches("kv> ").count();
        tool.say(&format!("set {at} x{ENTER}"));
        tool.hears(&format!("#{at} set {at}: SUCCESS"), PATIENCE);
        prompted(&tool, "kv> ", shown);
    }
    tool.say("test-a");
    tool.hears("test-a", PATIENCE);
    tool.say(&format!("{TAB}5 1 y{ENTER}"));
    tool.hears("#6 test-and-set 5: SUCCESS, version now 2", PATIENCE);
    tool.say(&format!("del nothing{ENTER}"));
    tool.hears("#7 del nothing: ERROR", PATIENCE);
    tool.say(&format!("sair{ENTER}"));
    assert!(tool.ends_within(PATIENCE).success());
}

/// Waits until the tool has taken this line: it stands in the history as soon as the terminal was given back.
fn taken(history: &Path, line: &str) {
    wait::until_blocking(&format!("{line:?} to be taken"), PATIENCE, || {
        let kept = std::fs::read_to_string(history).unwrap_or_default();
        if kept.lines().any(|kept| kept == line) { Ok(()) } else { Err(kept) }
    });
}

#[tokio::test]
async fn who_waits_may_stop_waiting_and_answers_to_questions_may_be_typed_ahead() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let history = cluster.path().join("history");
    let mut tool = repl(&cluster, &["admin"], &history);
    prompted(&tool, "admin> ", 0);
    tool.say(&format!(
        "insert-client{ENTER}Ana Maria{ENTER}city=Recife{ENTER}{ENTER}get-client ana-maria{ENTER}"
    ));
    tool.hears("registered with the CID ana-maria", PATIENCE);
    tool.hears("Recife", PATIENCE);
    let shown = tool.said().matches("name: ").count();
    tool.say(&format!("insert-client{ENTER}"));
    prompted(&tool, "name: ", shown);
    tool.say(CTRL_C);
    tool.hears("cancelled: nothing was sent", PATIENCE);
    cluster.signal("admin-1", Signal::SIGSTOP);
    tool.say(&format!("get-client nobody{ENTER}"));
    taken(&history, "get-client nobody");
    // The terminal of a test controls no session, so that the signal does not come from it.
    tool.signal(Signal::SIGINT);
    tool.hears("interrupted: what was sent may still be done", PATIENCE);
    cluster.signal("admin-1", Signal::SIGCONT);
    tool.say(&format!("get-client noone{ENTER}"));
    tool.hears("there is no client \"noone\"", PATIENCE);
    tool.say(CTRL_D);
    assert!(tool.ends_within(PATIENCE).success());
}

#[tokio::test]
async fn status_goes_on_in_place_until_it_is_told_to_stop() {
    let options = Options { admin_portals: 0, client_portals: 0, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let mut tool = Dialogue::on_terminal(cluster.command(&["status", "--watch"]));
    tool.hears("\u{1b}[H\u{1b}[J", PATIENCE);
    tool.hears("leader", PATIENCE);
    tool.signal(Signal::SIGINT);
    assert!(tool.ends_within(PATIENCE).success());
}

#[tokio::test]
async fn lines_typed_while_a_command_runs_are_all_run() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let history = cluster.path().join("history");
    let mut tool = repl(&cluster, &["admin"], &history);
    prompted(&tool, "admin> ", 0);
    cluster.signal("admin-1", Signal::SIGSTOP);
    tool.say(&format!("insert-client c0 {{}}{ENTER}"));
    taken(&history, "insert-client c0 {}");
    let ahead: String = (1..=40).map(|at| format!("insert-client c{at} {{}}{ENTER}")).collect();
    tool.say(&ahead);
    cluster.signal("admin-1", Signal::SIGCONT);
    for at in 0..=40 {
        tool.hears(&format!("registered with the CID c{at}\r\n"), PATIENCE);
    }
    tool.say(CTRL_D);
    assert!(tool.ends_within(PATIENCE).success());
}

/// What was said, whatever the lines that it was wrapped into.
fn in_one_line(tool: &Dialogue) -> String {
    tool.said().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits for words that may be wrapped into lines.
fn hears_words(tool: &Dialogue, words: &str) {
    wait::until_blocking(&format!("{words:?}"), PATIENCE, || {
        let said = in_one_line(tool);
        if said.contains(words) { Ok(()) } else { Err(said) }
    });
}

/// Kills a tool while nobody answers it: it has sent what a file tells of.
fn killed_before_its_answer(cluster: &Cluster, portal: &str, arguments: &[&str], line: &str) -> String {
    let history = cluster.path().join("history");
    let mut tool = repl(cluster, arguments, &history);
    prompted(&tool, "> ", 0);
    cluster.signal(portal, Signal::SIGSTOP);
    tool.say(&format!("{line}{ENTER}"));
    let folder = cluster.path().join("history.requests");
    let id = wait::until_blocking("the request to be kept", PATIENCE, || {
        let files = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let kept: Vec<String> = texts.filter(|text| text.ends_with('\n')).collect();
        let first = kept.first().and_then(|text| text.lines().next()).unwrap_or("null");
        let begun: serde_json::Value = serde_json::from_str(first).unwrap();
        begun["id"].as_str().map(str::to_owned).ok_or_else(|| format!("{kept:?}"))
    });
    tool.signal(Signal::SIGKILL);
    assert!(!tool.ends_within(PATIENCE).success());
    cluster.signal(portal, Signal::SIGCONT);
    id
}

/// Whatever became of it: what `settle` says is so, and stays so.
#[tokio::test]
async fn a_request_that_was_open_when_the_shoppers_tool_was_killed_is_told_and_settled() {
    let options = Options { client_portals: 1, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let both = "insert-client ana {}; insert-product fig description=Fig quantity=9 price=2";
    assert!(cluster.tool(&["admin", "-c", both]).status.success());
    let shop = ["shop", "--cid", "ana"];
    let id = killed_before_its_answer(&cluster, "client-1", &shop, "create-order fig=2@2.0");
    let history = cluster.path().join("history");
    let mut tool = repl(&cluster, &shop, &history);
    hears_words(&tool, "not answered, since ");
    hears_words(&tool, "create-order fig=2@2.0");
    hears_words(&tool, &format!("settle {id} --cid ana tells what became of it"));
    let shown = prompted(&tool, "ana> ", 0);
    tool.say(&format!("settle {id}{ENTER}"));
    hears_words(&tool, &format!("the request {id} was "));
    prompted(&tool, "ana> ", shown);
    let is_done = in_one_line(&tool).contains(&format!("the request {id} was done: order "));
    assert!(
        is_done || in_one_line(&tool).contains("was not done, and now it never will be"),
        "{}",
        tool.said()
    );
    tool.say(&format!("exit{ENTER}"));
    assert!(tool.ends_within(PATIENCE).success());
    // The same command under the id is the same order, or refused for good.
    let again =
        cluster.tool(&["--json", "shop", "--cid", "ana", "create-order", "fig=2@2.0", "--request", &id]);
    assert_eq!(again.status.success(), is_done, "{again:?}");
    let orders = cluster.tool(&["--json", "shop", "--cid", "ana", "list-orders"]);
    let orders: serde_json::Value = serde_json::from_slice(&orders.stdout).unwrap();
    assert_eq!(orders.as_array().unwrap().len(), usize::from(is_done), "{orders}");
    let mut tool = repl(&cluster, &shop, &history);
    prompted(&tool, "ana> ", 0);
    assert!(!in_one_line(&tool).contains("not answered"), "it is settled: {}", tool.said());
    tool.say(CTRL_D);
    tool.ends_within(PATIENCE);
    cluster.assert_audited().await;
}

#[tokio::test]
async fn a_request_that_was_open_when_the_tool_of_staff_was_killed_is_told_and_settled() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    assert!(cluster.tool(&["admin", "insert-client", "ana", "{}"]).status.success());
    let product = "insert-product fig description=Fig quantity=9 price=2";
    let id = killed_before_its_answer(&cluster, "admin-1", &["admin"], product);
    let history = cluster.path().join("history");
    let mut tool = repl(&cluster, &["admin"], &history);
    hears_words(&tool, &format!("{product} --request {id} repeats it"));
    let shown = prompted(&tool, "admin> ", 0);
    tool.say(&format!("settle {id} --pid fig{ENTER}"));
    hears_words(&tool, &format!("the request {id} was "));
    prompted(&tool, "admin> ", shown);
    let is_done = in_one_line(&tool).contains(&format!("the request {id} was done"));
    assert!(
        is_done || in_one_line(&tool).contains("was not done, and now it never will be"),
        "{}",
        tool.said()
    );
    assert_eq!(cluster.tool(&["admin", "get-product", "fig"]).status.success(), is_done);
    let again = cluster.tool(&["admin", "-c", &format!("{product} --request {id}")]);
    assert_eq!(again.status.success(), is_done, "{again:?}");
    tool.say(CTRL_D);
    tool.ends_within(PATIENCE);
    cluster.assert_audited().await;
}

#[tokio::test]
async fn an_interrupted_command_closes_nothing_and_can_be_repeated() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let mut tool = repl(&cluster, &["admin"], &cluster.path().join("history"));
    let shown = prompted(&tool, "admin> ", 0);
    cluster.signal("admin-1", Signal::SIGSTOP);
    tool.say(&format!("insert-client ana {{}}{ENTER}"));
    hears_words(&tool, "s left: ");
    tool.signal(Signal::SIGINT);
    hears_words(&tool, "interrupted: what was sent may still be done");
    hears_words(&tool, "repeats it: it is done once at most");
    prompted(&tool, "admin> ", shown);
    cluster.signal("admin-1", Signal::SIGCONT);
    let said = tool.said().replace(['\r', '\n'], " ");
    let id =
        said.split("--request ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned();
    tool.say(&format!("insert-client ana {{}} --request {id}{ENTER}"));
    tool.hears("registered with the CID ana", PATIENCE);
    tool.say(CTRL_D);
    tool.ends_within(PATIENCE);
    assert_eq!(std::fs::read_dir(cluster.path().join("history.requests")).unwrap().count(), 0);
}
