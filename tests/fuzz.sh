#!/bin/sh
# Lets libFuzzer make up inputs for the readers of src/fuzz.rs: each, or those that are named, for FUZZ_TIME seconds (60) of a processor.
#
# Needs a C++ compiler, and of Rust no more than the stable compiler: what shows libFuzzer which branches an input takes are flags of
# LLVM's, as cargo-fuzz has them. Starts from tests/corpus and what earlier runs have found (target/fuzz/corpus), so that one that was
# stopped goes on from there, and how long a target has run with this very program is noted each minute. What breaks a reader lies in
# target/fuzz/broken.
set -eu

# cargo calls this script for the compiler of quiz's own crates; all others are taken as they are built for the tests.
case "$*" in
# A build script runs while cargo builds, and so without libFuzzer.
*rustc\ *--crate-name\ build_script_*) exec "$@" ;;
*rustc\ *)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac

cd "$(dirname "$0")/.."
command -v c++ >/dev/null || {
    echo "libFuzzer is compiled by c++, which is missing; run: apt-get install -y --no-install-recommends g++" >&2
    exit 1
}
seconds="${FUZZ_TIME:-60}"
trap 'rm -f "target/fuzz/times.$$"' EXIT
RUSTC_WORKSPACE_WRAPPER="$PWD/tests/fuzz.sh" cargo build --locked --features fuzz --example fuzz
program=target/debug/examples/fuzz
sum="$(sha256sum <"$program")"

# Sets `processor` to the seconds that the programs started so far have had of one: a busy machine gives less than the clock says. A shell within
# this one has started none, so this is no function that prints.
of_processor() {
    times >"target/fuzz/times.$$"
    processor=$(sed -n '2s/[ms]/ /gp' "target/fuzz/times.$$" | awk '{ print int($1 * 60 + $2 + $3 * 60 + $4) }')
}

mkdir -p target/fuzz
[ $# -gt 0 ] || set -- tests/corpus/*
failed=
for target; do
    target="${target##*/}"
    [ -d "tests/corpus/$target" ] || {
        echo "tests/fuzz.sh: there is no target $target" >&2
        exit 2
    }
    mkdir -p "target/fuzz/corpus/$target" target/fuzz/broken target/fuzz/done
    done="target/fuzz/done/$target"
    read -r had inputs of 2>/dev/null <"$done" || of=
    [ "$of" = "$sum" ] || had=0 inputs=0
    echo "$target: $had of $seconds s"
    # A memory comes with the files of its kernel and of a module.
    [ "$target" = memory ] && longest=16384 || longest=8192
    while [ "$had" -lt "$seconds" ]; do
        left=$((seconds - had))
        of_processor
        before=$processor
        QUIZ_FUZZ="$target" "$program" -max_total_time=$((left < 60 ? left : 60)) -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 \
            -max_len="$longest" -print_final_stats=1 -artifact_prefix="target/fuzz/broken/$target-" \
            "target/fuzz/corpus/$target" "tests/corpus/$target" >"target/fuzz/$target.log" 2>&1 || {
            failed="$failed $target"
            tail -n 30 "target/fuzz/$target.log" >&2
            break
        }
        # One that is there for less than a second ran all the same.
        of_processor
        spent=$((processor - before))
        had=$((had + (spent > 0 ? spent : 1)))
        inputs=$((inputs + $(sed -n 's/^stat::number_of_executed_units: *//p' "target/fuzz/$target.log")))
        echo "$had $inputs $sum" >"$done"
    done
    echo "    inputs: $inputs"
done
[ -z "$failed" ] || {
    echo "broken:$failed; what breaks them is in target/fuzz/broken, and belongs into tests/corpus when it is mended" >&2
    exit 1
}
