# The conformance suite of some adapters, and its report. Sourced by ./dev, not run.

REPORTS=reports

# Words before `--` choose adapters, words after it go to the suite. Every adapter runs, also after
# one has failed; then the page shows them all. `--repeat N` runs each N times, to find what fails
# now and then, and stops an adapter at its first failure; the page shows its last run.
conformance() {
  local chosen=() all name failed=0 repeat=1 round
  all=$(suites)
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
      --quick) export EXACTLY_ONCE_QUICK=1 ;;
      --repeat)
        shift
        [[ ${1-} =~ ^[1-9][0-9]*$ ]] || fail "--repeat needs a number of runs"
        repeat=$1
        ;;
      -*) fail "conformance knows --quick and --repeat; what is for the suite comes after --" ;;
      *) chosen+=("$1") ;;
    esac
    shift
  done
  [ "${1-}" != -- ] || shift
  [ ${#chosen[@]} -gt 0 ] || mapfile -t chosen <<<"$all"
  for name in "${chosen[@]}"; do
    grep -qxF -- "$name" <<<"$all" || fail "there is no adapter '$name'; there are:" $all
  done
  for name in "${chosen[@]}"; do
    servers_for "$name"
  done
  private_temp
  mkdir -p "$REPORTS"
  # Of earlier runs of the suite; the benchmarks' are in the same folder.
  find "$REPORTS" -maxdepth 1 -type f ! -name 'bench*' -delete
  export EXACTLY_ONCE_REPORT_DIR=$PWD/$REPORTS
  for name in "${chosen[@]}"; do
    for ((round = 1; round <= repeat; round++)); do
      if [ "$repeat" -gt 1 ]; then heading "conformance: $name, $round of $repeat"; else heading "conformance: $name"; fi
      suite "$name" "$@" || {
        failed=1
        break
      }
    done
  done
  if compgen -G "$REPORTS/*.json" >/dev/null; then
    heading "report"
    cargo run --quiet -p exactly-once-conformance --bin conformance-report -- "$REPORTS"
    echo "file://$PWD/$REPORTS/conformance.html"
  fi
  return "$failed"
}

# The names to choose from: the library's own targets are the list; then Redis once more, as a
# cluster, and the adapter from outside.
suites() {
  targets tests conformance_ | sed 's/^conformance_//; s/_/-/g'
  echo valkey
  echo redis-cluster
  echo redis-cluster-spread
  echo custom-adapter
}

servers_for() {
  need_rust
  build_tools
  case $1 in
    *postgres*) setup_postgres ;;
    *redis*) setup_redis ;;
    valkey) setup_valkey ;;
  esac
}

suite() { # name arguments for the suite…
  local name=$1
  shift
  case $name in
    custom-adapter)
      CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} run cargo test \
        --manifest-path examples/custom-adapter/Cargo.toml --test conformance -- "$@"
      ;;
    valkey) EXACTLY_ONCE_REDIS=valkey library_suite conformance_redis "$@" ;;
    redis-cluster) EXACTLY_ONCE_REDIS=cluster library_suite conformance_redis "$@" ;;
    redis-cluster-spread)
      EXACTLY_ONCE_REDIS=cluster-spread library_suite conformance_redis "$@"
      ;;
    *) library_suite "conformance_${name//-/_}" "$@" ;;
  esac
}

library_suite() { # target arguments for the suite…
  run cargo test "${ALL[@]}" --test "$1" -- "${@:2}"
}
