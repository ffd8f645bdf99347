//! Shell completions and the man page, made of the same grammar as the help.

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe completions bash > /etc/bash_completion.d/mxprobe
  mxprobe completions zsh > ~/.zfunc/_mxprobe";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  mxprobe man > /usr/local/share/man/man1/mxprobe.1
  mxprobe man | man -l -";

/// A shell's completions.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "mxprobe", &mut script);
    script
}

/// The man page, in roff: every command with its flags and examples.
#[must_use]
pub fn man() -> Vec<u8> {
    let mut grammar = super::command();
    grammar.build();
    let mut page = Vec::new();
    let whole = Man::new(grammar.clone());
    // Writing to memory does not fail.
    _ = whole.render_title(&mut page);
    _ = whole.render_name_section(&mut page);
    _ = whole.render_synopsis_section(&mut page);
    _ = whole.render_description_section(&mut page);
    for verb in grammar.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let mut head = Roff::new();
        head.control("SH", ["COMMAND", &verb.get_name().to_uppercase()]);
        head.text([roman(verb.get_about().map(ToString::to_string).unwrap_or_default())]);
        head.control("PP", []);
        head.text([bold(verb.clone().render_usage().to_string())]);
        page.extend(head.render().into_bytes());
        let mut body = Vec::new();
        let part = Man::new(verb.clone());
        _ = part.render_options_section(&mut body);
        _ = part.render_extra_section(&mut body);
        page.extend(String::from_utf8_lossy(&body).replace(".SH ", ".SS ").into_bytes());
    }
    _ = whole.render_extra_section(&mut page);
    page
}
