//! The program: words in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    mxprobe::commands::execute(mxprobe::cli::parse(std::env::args_os()))
}
