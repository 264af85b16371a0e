# What every change has to pass, apart from the tests. Reads only. Sourced by ./dev, not run.

# The stages of `verify`, in the order in which they fail soonest.
STAGES=(fmt msrv links words deps deny package clippy powerset docs api doctests)

# Drivers that only the feature of their backend may pull in.
DRIVERS='rusqlite|libsqlite3-sys|tokio-postgres|deadpool-postgres|sqlx(-core|-postgres|-sqlite|-mysql)?|redis|restate-sdk'

verify() {
  need_rust
  build_tools
  local stages=("$@") stage
  [ $# -gt 0 ] || stages=("${STAGES[@]}")
  for stage in "${stages[@]}"; do
    declare -F "verify_$stage" >/dev/null || fail "verify knows ${STAGES[*]}; not '$stage'"
    "verify_$stage"
  done
  heading "verified: ${stages[*]}"
}

# The packages with a workspace of their own: an adapter as an outsider writes it, and an engine whose
# SDK brings 250 crates.
OWN_WORKSPACES=(examples/custom-adapter engines/temporal)

# In each of them; their dependencies are built beside everybody else's.
own_workspaces() { # cargo's command and arguments
  local folder
  for folder in "${OWN_WORKSPACES[@]}"; do
    heading "$folder: cargo $1"
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} \
      cargo "$1" --manifest-path "$folder/Cargo.toml" "${@:2}"
  done
}

verify_fmt() {
  heading "formatting"
  cargo fmt --all --check
  own_workspaces fmt --check
}

# The oldest Rust that the packages promise is the one that everything here is built and tested with.
verify_msrv() {
  heading "minimum supported Rust version"
  local promised channel used
  promised=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
  used=$(cargo --version | cut -d' ' -f2)
  [ -n "$promised" ] && [ "$channel" = "$promised.0" ] ||
    fail "Cargo.toml promises Rust $promised, rust-toolchain.toml builds with $channel"
  [ "$used" = "$channel" ] ||
    fail "this is cargo $used, and not $channel: is RUSTUP_TOOLCHAIN set?"
  ! grep -L "^rust-version = \"$promised\"" "${OWN_WORKSPACES[@]/%//Cargo.toml}" |
    grep . || fail "the packages above promise another Rust version, or none"
  ! grep -Ln '^rust-version.workspace = true' ./*/Cargo.toml examples/*/Cargo.toml |
    grep -v custom-adapter || fail "the packages above promise another Rust version, or none"
  echo "rust-version $promised, built with $used"
}

verify_links() {
  heading "links of the Markdown files"
  local files
  need_node
  mapfile -t files < <(git ls-files '*.md')
  node .dev/links.mjs "${files[@]}"
}

# Words that CONTRIBUTING.md asks not to use; their number only falls.
verify_words() {
  heading "words"
  need_node
  node .dev/words.mjs check
}

need_node() {
  command -v node >/dev/null || fail "Node is missing; install it with:
  apt-get install nodejs npm"
}

# With cargo-deny where it is installed: it takes longer to build than everything else here, so it
# is not installed for this. Without it, all but the advisories, which need the network anyway.
verify_deny() {
  local manifest manifests=(Cargo.toml engines/temporal/Cargo.toml)
  heading "licences, sources, banned crates"
  if cargo deny --version >/dev/null 2>&1; then
    for manifest in "${manifests[@]}"; do
      cargo deny --manifest-path "$manifest" --all-features check --config deny.toml
    done
    return
  fi
  need_node
  for manifest in "${manifests[@]}"; do
    cargo metadata --manifest-path "$manifest" --quiet --locked --all-features --format-version 1 |
      node .dev/licences.mjs deny.toml
  done
  cat >&2 <<'TEXT'
NOTE: cargo-deny is not installed, so known vulnerabilities and yanked crates were NOT looked for.
      The workflow on GitHub does; here: cargo install --locked cargo-deny && ./dev verify deny
TEXT
}

# The features of the library, from its own manifest, so that none is forgotten here. Those that
# only name what others share are not for direct use.
features() {
  sed -n '/^\[features\]/,/^\[dep/s/^\([a-z][a-z0-9-]*\) = .*/\1/p' adapters/Cargo.toml |
    grep -vxE 'default|.*-shared'
}

# What a package brings into somebody's program, of all drivers.
drivers() { # cargo-tree arguments…
  local tree
  tree=$(cargo tree --quiet -e normal --prefix none --format '{p}' "$@")
  sed 's/ .*//' <<<"$tree" | { grep -xE "$DRIVERS" || true; } | sort -u | tr '\n' ' '
}

verify_deps() {
  local feature wanted
  heading "dependencies: every feature pulls in its own driver, and no other"
  only "exactly-once-core" "" -p exactly-once-core
  only "exactly-once-conformance" "" -p exactly-once-conformance
  only "exactly-once without features" "" -p exactly-once --no-default-features
  for feature in $(features); do
    case $feature in
      rusqlite) wanted="libsqlite3-sys rusqlite" ;;
      tokio-postgres | tokio-postgres-tls) wanted="deadpool-postgres tokio-postgres" ;;
      sqlx-postgres | sqlx-postgres-tls) wanted="sqlx sqlx-core sqlx-postgres" ;;
      redis | redis-tls) wanted="redis" ;;
      restate | serve) wanted="restate-sdk" ;;
      *) wanted="" ;;
    esac
    only "exactly-once, feature $feature" "$wanted" \
      -p exactly-once --no-default-features --features "$feature"
  done
}

only() { # what drivers cargo-tree arguments…
  local found
  found=$(drivers "${@:3}")
  [ "${found% }" = "$2" ] || fail "$1 pulls in [${found% }], and should pull in [$2]"
  echo "$1: [${found% }]"
}

# The crates as they would be published; building them from there is left to the release.
verify_package() {
  heading "packages"
  local crate folder
  folder=$(mktemp -d)
  # Dirty files are in as well: this looks at what is here, not at what is committed.
  cargo package --quiet --no-verify --allow-dirty --target-dir "$folder" \
    -p exactly-once-core -p exactly-once -p exactly-once-conformance
  for crate in exactly-once-core exactly-once exactly-once-conformance; do
    inspect_package "$crate" "$folder"/package/"$crate"-[0-9]*.crate
  done
  rm -rf "$folder"
}

inspect_package() { # crate file
  local list name
  list=$(tar -tzf "$2")
  for name in Cargo.toml src/lib.rs; do
    grep -q "/$name\$" <<<"$list" || fail "$1 would be published without its $name"
  done
  ! grep -E '\.(db|log|profraw)$' <<<"$list" || fail "$1 would be published with the files above"
  ! tar -xzOf "$2" --wildcards '*/Cargo.toml' | grep -n 'path = "\.\.' ||
    fail "$1 would be published with a dependency by path"
  echo "$1: $(wc -l <<<"$list") files, $(($(wc -c <"$2") / 1024)) KiB"
}

verify_clippy() {
  heading "clippy: everything"
  cargo clippy --quiet "${ALL[@]}" --all-targets -- -D warnings
  # Each by itself: no feature may lean on what another one brings along.
  heading "clippy: each feature of exactly-once and exactly-once-core alone"
  {
    features | sed 's/^/-p exactly-once --features /'
    printf '%s\n' '-p exactly-once' '-p exactly-once-core' '-p exactly-once-core --features restate'
  } | in_lanes
  own_workspaces clippy --quiet --all-targets -- -D warnings
}

# Clippy without the default features, for each line of arguments on the standard input, in two lanes:
# a look at one crate occupies one core. Cargo lets one build into a folder, so each lane has its own.
in_lanes() {
  local target=${CARGO_TARGET_DIR:-$PWD/target}
  TARGET=$target second_lane
  # 255 ends the other lane as well.
  TARGET=$target xargs --max-procs=2 --process-slot-var=LANE -I{} bash -c '
    [ "$LANE" = 0 ] || TARGET=$TARGET/second-lane
    CARGO_TARGET_DIR=$TARGET cargo clippy --quiet --no-default-features $1 -- -D warnings &&
      echo "$1" || { echo "error: with $1" >&2; exit 255; }' lane {}
}

# Starts with the dependencies that the first lane has.
second_lane() {
  local folder=$TARGET/second-lane/debug
  [ ! -d "$folder" ] && [ -d "$TARGET/debug/deps" ] || return 0
  mkdir -p "$folder/deps"
  cp -a "$TARGET"/debug/{.fingerprint,build} "$folder"
  find "$TARGET/debug/deps" \( -name '*.d' -o -name '*.rmeta' -o -name '*.rlib' -o -name '*.so' \) -print0 |
    xargs -0 cp -a -t "$folder/deps"
}

# Features of the library together. By default a covering array: its sets show every combination of
# on and off of any three features, and no `cfg` of ours asks for more than three. Every subset with
# EXACTLY_ONCE_POWERSET=full, which the workflow on GitHub does. Each alone is above, with clippy.
#
# Beside the test servers, whose own needs hold the features of shared dependencies still: so the
# dependencies are built once, and each set costs one look at our own crate.
verify_powerset() {
  local list sets=() set
  mapfile -t list < <(features)
  if [ "${EXACTLY_ONCE_POWERSET-}" = full ]; then
    mapfile -t sets < <(subsets "${list[@]}")
  else
    mapfile -t sets < <(covering "${list[@]}")
  fi
  heading "feature sets: ${#sets[@]}, of ${#list[@]} features"
  printf -- '-p exactly-once -p exactly-once-servers --features %s\n' "${sets[@]}" | in_lanes
}

# Sets in which any three of up to 19 words are seen in all eight combinations, as lines with
# commas; but for the empty set, which is one of them. Paley's construction over the squares mod 19.
covering() { # word…
  [ $# -le 19 ] || fail "more than 19 features: verify_powerset needs a larger covering array"
  awk 'BEGIN {
    for (row = 0; row < 19; row++) {
      line = ""
      for (i = 1; i < ARGC; i++)
        if (substr("1100111101010000110", (i - 1 - row + 19) % 19 + 1, 1) == 1)
          line = line (line == "" ? "" : ",") "exactly-once/" ARGV[i]
      if (line != "") print line
    }
  }' "$@"
}

# Every subset of at least two words, as lines with commas.
subsets() { # word…
  awk 'BEGIN {
    for (set = 1; set < 2 ^ (ARGC - 1); set++) {
      line = ""; size = 0; rest = set
      for (i = 1; i < ARGC; i++) {
        if (rest % 2) line = line (size++ ? "," : "") "exactly-once/" ARGV[i]
        rest = int(rest / 2)
      }
      if (size >= 2) print line
    }
  }' "$@"
}

verify_docs() {
  heading "documentation"
  RUSTDOCFLAGS="-D warnings" cargo doc --quiet "${ALL[@]}" --no-deps
  RUSTDOCFLAGS="-D warnings" own_workspaces doc --quiet --no-deps
}

# The public API of each published package, as `.dev/api` lists it: a change of it is seen in review.
# `./dev fix` writes the listings.
verify_api() {
  local crate listing
  heading "public API"
  public_api_tool
  rustdoc_json
  for crate in "${PUBLISHED[@]}"; do
    listing=.dev/api/$crate.txt
    public_api "$crate" | diff -u "$listing" - ||
      fail "the public API of $crate is not as $listing lists it: review the change, then run ./dev fix"
    echo "$crate: $(wc -l <"$listing") items"
  done
}

PUBLISHED=(exactly-once-core exactly-once exactly-once-conformance)
PUBLIC_API_VERSION=0.52.0

public_api_tool() {
  [ ! -x ".tools/public-api-$PUBLIC_API_VERSION/bin/cargo-public-api" ] || return 0
  heading "installing cargo-public-api $PUBLIC_API_VERSION into .tools/"
  # Without optimization: it runs for a second.
  CARGO_TARGET_DIR=$PWD/.tools/build cargo install --quiet --locked --debug \
    --root ".tools/public-api-$PUBLIC_API_VERSION" "cargo-public-api@$PUBLIC_API_VERSION"
  rm -rf .tools/build
}

# Of the whole workspace, as everything else: the dependencies are built already.
rustdoc_json() {
  RUSTDOC=$PWD/.dev/rustdoc-unstable RUSTDOCFLAGS="-Z unstable-options --output-format json" \
    cargo doc --quiet "${ALL[@]}" --no-deps
}

public_api() { # crate
  ".tools/public-api-$PUBLIC_API_VERSION/bin/cargo-public-api" public-api -sss \
    --rustdoc-json "${CARGO_TARGET_DIR:-$PWD/target}/doc/${1//-/_}.json"
}

verify_doctests() {
  heading "doctests"
  cargo test "${ALL[@]}" --doc
}
