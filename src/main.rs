//! The program: words in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    mxprobe::main(std::env::args_os())
}
