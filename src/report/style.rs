//! Colours: whether, and which.

/// `--color`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Always, also into files and pipes.
    Always,
    /// No colours.
    Never,
}

/// Turns words into coloured words, or leaves them.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    on: bool,
}

impl Style {
    /// Decides once. `terminal`: the stream that is written to is one.
    pub fn new(color: Color, terminal: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain,
        };
        Self { on }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.wrap(text, "1;32")
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.wrap(text, "1;31")
    }

    pub(super) fn warn(self, text: &str) -> String {
        self.wrap(text, "1;33")
    }

    pub(super) fn hint(self, text: &str) -> String {
        self.wrap(text, "1;36")
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap(text, "2")
    }

    /// Whether there are colours.
    pub(super) fn is_on(self) -> bool {
        self.on
    }

    fn wrap(self, text: &str, code: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
