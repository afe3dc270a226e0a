//! The program: hands the arguments to `cli` and exits with the status it returns.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(quiz::cli::run(std::env::args_os()))
}
