//! Highlighting: a verb that is known, one that is not, flags, and what is quoted.

use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

use crate::verb::spec::Menu;

/// For reedline.
pub struct TableHighlighter<O: 'static> {
    /// The table.
    pub menu: &'static Menu<O>,
    /// Whether colours are wanted.
    pub color: bool,
}

impl<O: Send + Sync> Highlighter for TableHighlighter<O> {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        if !self.color {
            styled.push((Style::new(), line.to_owned()));
            return styled;
        }
        for (piece, style) in pieces(self.menu, line) {
            styled.push((style, piece.to_owned()));
        }
        styled
    }
}

/// The line in pieces, spaces with the word before them, so that nothing is lost.
fn pieces<'l, O>(menu: &'static Menu<O>, line: &'l str) -> Vec<(&'l str, Style)> {
    let mut first = true;
    line.split_inclusive([' ', ';'])
        .map(|piece| {
            let word = piece.trim_end_matches([' ', ';']);
            let style = match word.chars().next() {
                None => Style::new(),
                Some(_) if first && menu.find(word).is_some() => Style::new().fg(Color::Green).bold(),
                Some(_) if first => Style::new().fg(Color::Red),
                Some('-') if word.starts_with("--") => Style::new().fg(Color::Cyan),
                Some('\'' | '"' | '{') => Style::new().fg(Color::Yellow),
                Some(_) => Style::new(),
            };
            first = piece.ends_with(';') || (first && word.is_empty());
            (piece, style)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::shop;

    #[test]
    fn nothing_of_the_line_is_lost_and_verbs_stand_out() {
        let line = " use ana; gibberish 'x y' --cid b";
        let pieces = pieces(&shop::MENU, line);
        assert_eq!(pieces.iter().map(|(piece, _)| *piece).collect::<String>(), line);
        assert_eq!(pieces[1].1.foreground, Some(Color::Green));
        let wrong = pieces.iter().find(|(piece, _)| *piece == "gibberish ").expect("there");
        assert_eq!(wrong.1.foreground, Some(Color::Red));
    }
}
