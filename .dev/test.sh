# The test suite. Sourced by ./dev, not run.

# Every stage runs, also after one has failed; the last line adds them up, in cargo's own form.
run_tests() {
  setup all
  private_temp
  local log=$run_folder/tests.log failed=0
  if [ $# -gt 0 ]; then
    # Not --workspace, which would overrule a -p among the arguments.
    stage "tests: $*" cargo test --all-features --no-fail-fast "$@"
  else
    unit_tests
    conformance_tests
    stage "doctests" cargo test "${ALL[@]}" --doc
    tests_of_own_workspaces
  fi
  failures
  total
  return "$failed"
}

stage() { # heading command…
  local copy out
  heading "$1"
  echo "== $1" >>"$log"
  shift
  # Not a pipe: `run` has to stay in this shell, which ends its command when it is interrupted.
  exec {out}> >(exec tee -i -a "$log")
  copy=$!
  run "$@" >&"$out" 2>&1 || failed=1
  exec {out}>&-
  wait "$copy" || true
}

# All but the conformance suites, by nextest where it is installed.
unit_tests() {
  local target targets=() threads
  # Most of them wait: for a server to start, a lock to be given up, a deadline to pass.
  threads=$(($(nproc) * 2))
  local -x RUST_TEST_THREADS=${RUST_TEST_THREADS:-$threads}
  local -x NEXTEST_TEST_THREADS=${NEXTEST_TEST_THREADS:-$threads}
  if cargo nextest --version >/dev/null 2>&1; then
    stage "tests" cargo nextest run "${ALL[@]}" --no-fail-fast -E 'not binary(/^conformance_/)'
    return
  fi
  stage "tests" cargo test "${ALL[@]}" --no-fail-fast --lib --bins
  # By name, since there is no "all test targets but": each package's own files are the list.
  for target in */tests/*.rs examples/*/tests/*.rs */tests/*/main.rs examples/*/tests/*/main.rs; do
    target=${target%/main.rs}
    target=${target##*/}
    case $target in
      conformance_* | '*'*) ;;
      *) targets+=(--test "${target%.rs}") ;;
    esac
  done
  [ ${#targets[@]} -eq 0 ] || stage "tests" cargo test "${ALL[@]}" --no-fail-fast "${targets[@]}"
}

# The conformance suites run under nextest too, but it starts a process for each case, and each of
# those a server of its own. `cargo test` starts one server for all cases of a target. Of the whole
# workspace, as above: with `-p` some dependencies have fewer features, and all is built once more.
conformance_tests() {
  local name names=()
  for name in $(targets tests conformance_); do
    names+=(--test "$name")
  done
  [ ${#names[@]} -eq 0 ] ||
    stage "conformance" cargo test "${ALL[@]}" --no-fail-fast "${names[@]}"
  # The same suites where the ground differs: fewer rounds and racers, every case.
  quick "PostgreSQL 18" EXACTLY_ONCE_POSTGRES=18 tokio_postgres sqlx_postgres
  quick "pgbouncer" EXACTLY_ONCE_POSTGRES_POOLER=1 tokio_postgres sqlx_postgres
  quick "Valkey" EXACTLY_ONCE_REDIS=valkey redis
  quick "a Redis cluster" EXACTLY_ONCE_REDIS=cluster redis
  quick "a Redis cluster, spread" EXACTLY_ONCE_REDIS=cluster-spread redis
}

quick() { # ground variable=value adapter…
  local ground=$1 variable=$2 names=() name
  shift 2
  for name in "$@"; do
    names+=(--test "conformance_$name")
  done
  stage "conformance, quick: $ground" env EXACTLY_ONCE_QUICK=1 "$variable" \
    cargo test "${ALL[@]}" --no-fail-fast "${names[@]}"
}

# Unit tests, test targets and doctests of the packages that have a workspace of their own.
tests_of_own_workspaces() {
  local folder
  for folder in "${OWN_WORKSPACES[@]}"; do
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} stage "tests: $folder" \
      cargo test --manifest-path "$folder/Cargo.toml" --no-fail-fast
  done
}

# What failed, each with the first lines of what it said, once more: a log of CI may keep only its
# end. Cargo tells names and texts apart (`test x ... FAILED`, then `---- x ----`); nextest tells
# both with the name.
failures() {
  sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
    function headed() {
      if (said != heading) print "\n" heading
      said = heading
    }
    /^== / { heading = $0; shown = 0 }
    /^test .* \.\.\. FAILED$/ { headed(); print }
    /^---- .* ----$/ { shown = 30 }
    /^failures:$|^test result: / { shown = 0 }
    /^ *(FAIL|TIMEOUT|ABORT|SIG[A-Z]+) \[/ {
      name = $0
      sub(/^[^]]*\] */, "", name)
      sub(/^\([^)]*\) */, "", name)
      shown = told[heading, name]++ ? 0 : 30
    }
    /^ *(PASS|Summary) \[/ { shown = 0 }
    shown-- > 0 { headed(); print }'
}

# `test result: ok. 7 passed; 0 failed; 1 ignored; …` of cargo, and
# `Summary [ 1.5s] 7 tests run: 6 passed, 1 failed, 1 skipped` of nextest.
total() {
  sed 's/\x1b\[[0-9;]*m//g' "$log" | awk -v seconds="$SECONDS" -v failed="$failed" '
    # The number before the first word that begins with `what`.
    function before(what,   i) {
      for (i = 2; i <= NF; i++) if (index($i, what) == 1) return $(i - 1)
      return 0
    }
    /^test result: / || /^ *Summary \[/ {
      passed += before("passed"); bad += before("failed") + before("timed")
      ignored += before("ignored")
    }
    END {
      word = failed || bad ? "FAILED" : "ok"
      printf "\ntest result: %s. %d passed; %d failed; %d ignored; finished in %ds\n",
        word, passed, bad, ignored, seconds
      # No test at all is no success.
      exit !passed || bad
    }' || failed=1
}
