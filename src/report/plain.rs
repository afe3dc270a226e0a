//! Text of anybody's on a terminal: what a terminal takes for a command of it is shown as a sign in its place.
//!
//! Knows nothing of what the text says.

/// The text without commands for a terminal. Lines and tabs stay.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || c == '\t' { c } else { sign(c) }).collect()
}

fn sign(c: char) -> char {
    match c {
        // Unicode has a picture of each control character.
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        // Commands of eight bits, marks that turn the direction of writing, and what has no width: the text would be read as another.
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            char::REPLACEMENT_CHARACTER
        }
        c => c,
    }
}

/// The same on one line.
pub(super) fn one_line(text: &str) -> String {
    plain(text).replace(['\n', '\t'], " ")
}

/// Whole lines for a terminal, with the colours that quiz, or a compiler, put into them. All else that moves something there is a sign: nobody
/// who writes a table has to think of it.
pub(super) fn coloured(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        all += &plain(&rest[..at]);
        rest = &rest[at..];
        let end = colour(rest).unwrap_or(0);
        if end == 0 {
            all.push(sign('\x1b'));
            rest = &rest[1..];
        } else {
            // Of gcc, to the end of the line, for a background that it does not set.
            all += if rest[..end].ends_with('m') { &rest[..end] } else { "" };
            rest = &rest[end..];
        }
    }
    all + &plain(rest)
}

/// How long the colour is with which the text begins: `ESC [ numbers m`, without 8, which hides what follows (so does a letter in the colour that
/// is behind it, which is not looked for); or `ESC [ K`
/// (<https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>, `SGR` and `EL`).
fn colour(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("\x1b[")?;
    let end = inside.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    let mut numbers = inside[..end].split(';').map(|number| number.parse::<u32>().unwrap_or(0));
    let mut hides = false;
    while let Some(number) = numbers.next() {
        match number {
            // A colour by its number, or by its parts.
            38 | 48 | 58 => match numbers.next() {
                Some(5) => drop(numbers.next()),
                Some(2) => drop(numbers.nth(2)),
                _ => {}
            },
            8 => hides = true,
            _ => {}
        }
    }
    let is_whole = match inside.as_bytes()[end] {
        b'm' => !hides,
        b'K' => end == 0,
        _ => false,
    };
    is_whole.then_some("\x1b[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_takes_for_a_command_is_a_sign() {
        assert_eq!(plain("two\nlines\tand\u{1b}[0m"), "two\nlines\tand␛[0m");
        assert_eq!(one_line("two\nlines\tand\u{1b}[0m\r"), "two lines and␛[0m␍");
    }

    #[test]
    fn of_a_whole_text_only_colours_come_through() {
        let ours = "\x1b[1;32mcached\x1b[0m\n\tä\x1b[01m\x1b[Kx\x1b[38;5;8my\x1b[48;2;8;8;8m\x1b[m\x1b[K";
        assert_eq!(coloured(ours), "\x1b[1;32mcached\x1b[0m\n\tä\x1b[01mx\x1b[38;5;8my\x1b[48;2;8;8;8m\x1b[m");
        let evil = "\x1b]0;title\x07\x1b[2J\x1b[8mhidden\x1b[1;08m\x1b[38;5;1;8m\u{9b}31m\r\u{202e}\x1b[\x1b[1K\x1b";
        assert_eq!(coloured(evil), "␛]0;title␇␛[2J␛[8mhidden␛[1;08m␛[38;5;1;8m\u{fffd}31m␍\u{fffd}␛[␛[1K␛");
    }
}
