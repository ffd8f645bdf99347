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
    page.extend(notes(&whole));
    for verb in grammar.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let usage = verb.clone().render_usage().to_string();
        let mut head = Roff::new();
        head.control("SH", ["COMMAND", &verb.get_name().to_uppercase()]);
        head.text([roman(verb.get_about().map(ToString::to_string).unwrap_or_default())]);
        head.control("PP", []);
        head.text([bold(usage.trim_start_matches("Usage: "))]);
        page.extend(head.render().into_bytes());
        let part = Man::new(verb.clone());
        let mut options = Vec::new();
        _ = part.render_options_section(&mut options);
        options.extend(notes(&part));
        page.extend(String::from_utf8_lossy(&options).replace(".SH ", ".SS ").into_bytes());
    }
    page
}

/// What stands below the options, line by line as written.
fn notes(part: &Man) -> Vec<u8> {
    let mut notes = Vec::new();
    _ = part.render_extra_section(&mut notes);
    let notes = String::from_utf8_lossy(&notes).replace(".SH EXTRA\n", ".SH NOTES\n.nf\n");
    format!("{notes}.fi\n").into_bytes()
}
