//! Help, made from the table of verbs.

use super::spec::{Menu, Verb};

/// The menu: each verb with its usage and what it does.
#[must_use]
pub fn menu<O>(menu: &Menu<O>) -> Vec<[String; 2]> {
    menu.verbs.iter().map(|verb| [verb.usage(), verb.about.to_owned()]).collect()
}

/// Everything about one verb.
#[must_use]
pub fn verb<O>(verb: &Verb<O>) -> String {
    let mut text = format!("{}\n  {}\n", verb.usage(), verb.about);
    for flag in verb.flags {
        let shown = flag.value.map_or(flag.name.to_owned(), |(value, _)| format!("{} {value}", flag.name));
        text.push_str(&format!("  {shown:<15} {}\n", flag.about));
    }
    if !verb.aliases.is_empty() {
        text.push_str(&format!("  also: {}\n", verb.aliases.join(", ")));
    }
    text.push_str(&format!("  such as: {}", verb.example));
    text
}
