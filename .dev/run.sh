# What every command of ./dev shares. Sourced, not run.

heading() { printf '\n== %s\n' "$*" >&2; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

need_rust() {
  command -v cargo >/dev/null || fail "Rust is missing; install it with:
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
}

# Runs a command that may start servers, in a process group of its own: so a signal interrupts our
# waiting at once, and we can end the whole group in order.
group=
run() {
  set -m
  "$@" </dev/null &
  group=$!
  set +m
  local status=0
  wait "$group" || status=$?
  group=
  return "$status"
}

# Asks the group to end as a Ctrl-C would, and insists after a while.
end_group() {
  [ -n "$group" ] || return 0
  local tenth
  kill -INT -- "-$group" 2>/dev/null || return 0
  for tenth in {1..80}; do
    kill -0 -- "-$group" 2>/dev/null || return 0
    [ "$tenth" != 30 ] || kill -TERM -- "-$group" 2>/dev/null || true
    sleep 0.1
  done
  kill -KILL -- "-$group" 2>/dev/null || true
}

# Everything that a run starts lives under one folder of its own, removed at the end however the
# run ends. Servers go with the process that started them (it asks the kernel for that), so a
# Ctrl-C here, or a SIGKILL of a test, leaves neither processes nor files.
run_folder=
private_temp() {
  [ -z "$run_folder" ] || return 0
  # Short, since Unix sockets in it may have paths of 107 bytes at most.
  run_folder=$(mktemp -d /tmp/xo.XXXXXX)
  # Postgres runs as another user when we are root, and has to get through.
  chmod 711 "$run_folder"
  export TMPDIR=$run_folder
}

clean_up() {
  local status=$?
  trap '' INT TERM HUP
  trap - EXIT
  end_group
  if [ -n "$run_folder" ]; then
    # A server may need a moment to be gone, and may write until then.
    rm -rf "$run_folder" 2>/dev/null || { sleep 1 && rm -rf "$run_folder"; } || true
  fi
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
