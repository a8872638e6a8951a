//! Help, made from the table of verbs.

use nu_ansi_term::Style;

use super::spec::{Menu, Verb};
use crate::show::table::{Look, labelled};
use crate::show::wrap::wrapped;

/// The menu: each verb with its usage and what it does, and how lines are written.
#[must_use]
pub fn menu<O>(menu: &Menu<O>, look: Look) -> String {
    let bold = |text: &str| {
        let lines = wrapped(text, look.width);
        if look.color { Style::new().bold().paint(lines).to_string() } else { lines }
    };
    let mut text = vec![bold(menu.title)];
    for verb in menu.verbs {
        text.push(bold(&format!("  {}", verb.usage())));
        text.push(wrapped(&format!("      {}", verb.about), look.width));
    }
    text.push(wrapped(LINES, look.width));
    text.join("\n")
}

const LINES: &str = "separate commands with ;  words are quoted as in a shell; \\x turns vertical tables on and off; --json, \
                     --wide and --quiet stand anywhere on a line";

/// Everything about one verb.
#[must_use]
pub fn verb<O>(verb: &Verb<O>, look: Look) -> String {
    const INDENT: &str = "  ";
    let mut text =
        vec![wrapped(&verb.usage(), look.width), wrapped(&format!("{INDENT}{}", verb.about), look.width)];
    let flags: Vec<(String, &str)> = verb
        .flags
        .iter()
        .map(|flag| {
            (
                flag.value.map_or(flag.name.to_owned(), |(value, _)| format!("{} {value}", flag.name)),
                flag.about,
            )
        })
        .collect();
    let room = look.width.map(|width| width.saturating_sub(INDENT.len()));
    let flags = labelled(flags.iter().map(|(flag, about)| (flag.as_str(), *about)), room);
    text.extend(flags.iter().map(|line| format!("{INDENT}{line}")));
    if !verb.aliases.is_empty() {
        text.push(wrapped(&format!("{INDENT}also: {}", verb.aliases.join(", ")), look.width));
    }
    text.push(wrapped(&format!("{INDENT}such as: {}", verb.example), look.width));
    text.join("\n")
}
