//! Requests of earlier sessions whose answer never came, as the prompt tells of them.

use crate::reach::open_requests::OpenRequest;
use crate::show::answer::counted;
use crate::show::moment;
use crate::show::out::Out;
use crate::show::written::in_line;
use crate::verb::shared::REQUEST;
use crate::verb::words::quoted;

/// So many are told one by one.
const TOLD_MAX: usize = 8;
/// A longer command is shown by its beginning.
const SHOWN_CHARS_MAX: usize = 600;

/// Tells of them, and what can be done about each.
pub fn tell(left: &[OpenRequest], out: &Out) {
    for one in left.iter().take(TOLD_MAX) {
        lines(one).iter().for_each(|line| out.insist(line));
    }
    if left.len() > TOLD_MAX {
        let more = left.len() - TOLD_MAX;
        out.insist(&format!(
            "and {} more that were not answered: settle those first",
            counted(more as u64, "request")
        ));
    }
}

fn lines(one: &OpenRequest) -> [String; 2] {
    let id = in_line(&one.begun.id);
    let command = command(one);
    let shown: String = command.chars().take(SHOWN_CHARS_MAX).collect();
    let is_cut = shown.len() < command.len();
    let when = moment::shown(one.begun.begun_ms);
    let repeat = if is_cut {
        format!("the same command with {} {id} repeats it", REQUEST.name)
    } else {
        format!("{shown} {} {} repeats it", REQUEST.name, quoted(&id))
    };
    let cut = if is_cut { "…" } else { "" };
    [
        format!("not answered, since {when}: {shown}{cut}"),
        format!(
            "  {} tells what became of it, and closes it; {repeat}, and it is done once at most",
            one.matter().settling(&one.begun.id)
        ),
    ]
}

/// The command as it is to be typed, in the name that it had.
fn command(one: &OpenRequest) -> String {
    let mut words: Vec<String> = one.begun.words.iter().map(|word| quoted(&in_line(word))).collect();
    let names_client = one.begun.words.iter().any(|word| word == "--cid" || word.starts_with("--cid="));
    if !one.begun.cid.is_empty() && !names_client {
        words.extend(["--cid".to_owned(), quoted(&in_line(&one.begun.cid))]);
    }
    words.join(" ")
}

/// A command without its request id: what makes two of them the same.
#[must_use]
pub fn without_id(words: &[String]) -> Vec<String> {
    let joined = format!("{}=", REQUEST.name);
    let mut kept = Vec::with_capacity(words.len());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word {
            flag if flag == REQUEST.name => drop(words.next()),
            flag if flag.starts_with(&joined) => {}
            other => kept.push(other.clone()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::open_requests::Begun;
    use crate::verb::words::words;

    #[test]
    fn what_was_not_answered_is_told_as_it_can_be_repeated() {
        let words = words("insert-client 'name=Ana Maria' \"note=a'b\"").unwrap();
        let begun = Begun { id: "r 1".into(), begun_ms: 1_795_962_000_000, words, ..Begun::default() };
        let told = lines(&OpenRequest { begun: begun.clone(), sent: None });
        assert!(told[0].starts_with("not answered, since 2026-11-2"), "{}", told[0]);
        let again = r"insert-client 'name=Ana Maria' 'note=a'\''b' --request 'r 1' repeats it";
        assert!(told[1].contains(again), "{}", told[1]);
        assert!(told[1].contains("settle 'r 1' tells"), "{}", told[1]);
        let long = Begun { words: vec!["x".repeat(700)], ..begun };
        let told = lines(&OpenRequest { begun: long, sent: None });
        assert!(
            told[0].ends_with('…') && told[1].contains("the same command with --request r 1"),
            "{told:?}"
        );
    }

    #[test]
    fn a_shoppers_command_is_repeated_in_the_same_name() {
        let of = |line: &str| {
            let begun = Begun { cid: "ana".into(), words: words(line).unwrap(), ..Begun::default() };
            command(&OpenRequest { begun, sent: None })
        };
        assert_eq!(of("create-order fig=2"), "create-order fig=2 --cid ana");
        assert_eq!(of("create-order fig=2 --cid=ana"), "create-order fig=2 --cid=ana");
    }

    #[test]
    fn the_id_is_no_part_of_what_makes_two_commands_the_same() {
        let without = |line: &str| without_id(&words(line).unwrap()).join(" ");
        assert_eq!(without("set-shop --request r1 --currency BRL"), "set-shop --currency BRL");
        assert_eq!(without("set-shop --currency BRL --request=r1"), "set-shop --currency BRL");
    }
}
