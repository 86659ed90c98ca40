# The index of what one does here. `.ci/run` is the statement of the gates; nothing needs `just`.

# What there is.
list:
    @just --list

# Quick look before a commit.
check:
    cargo fmt --check && cargo clippy --workspace --all-targets -- -D warnings

# All tests, or those of one room: `just test -p proxy`.
test *args="--workspace":
    cargo test {{args}}

# The story, with a report to look at.
demo *args:
    cargo run --release -- demo {{args}}

# Anything of the command line: `just run up -m web=2,worker=1`.
run *args:
    cargo run --release -- {{args}}

# Update the expectations of snapshot tests, then look at the diff.
snap:
    UPDATE_EXPECT=1 cargo test --workspace

# CPU per transaction beside PgBouncer, in one run.
bench:
    cargo run --release -p bench-pooler

# Instructions and system calls per transaction: `just instructions --against OTHER/surgetank`.
instructions *args:
    cargo build --release -p surgetank -p bench-pooler && target/release/bench-pooler --instructions {{args}}

# CPU per request of the router, beside nginx.
bench-router *args:
    cargo run --release -p bench-router -- {{args}}

# The adaptive limit on a real PostgreSQL, beside static sizes: `just bench-limit --only G1,G2`.
bench-limit *args:
    cargo build --release --workspace && target/release/bench-limit {{args}}

# The law of the limit beside others, on a model of a database.
simulate *args:
    cargo run --release -p simulator -- {{args}}

# Throws bytes at a reader: `just fuzz frames 600`. See fuzz/README.md.
fuzz target seconds:
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} -- -max_total_time={{seconds}}
# Real clients, direct and through us; what is missing is installed.
drivers:
    cargo build --release && examples/drivers/run --install

# Other projects' own driver tests, direct and through us. Takes a quarter of an hour: for the night.
nightly:
    cargo build --release && bench/suites/run

# The documentation, as CI builds it.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# What CI runs.
ci:
    .ci/run
