//! What libFuzzer runs: the target that the variable QUIZ_FUZZ names, on bytes that it makes up. Started by `tests/fuzz.sh`.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("QUIZ_FUZZ").unwrap_or_default();
    quiz::fuzz::target(&name).unwrap_or_else(|| panic!("QUIZ_FUZZ={name}: there is no such target"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
